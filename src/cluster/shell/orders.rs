//! Orders to this host's agent from another host: `order/H`, taken once and carried out.
//!
//! Refuses an order that it could not remove first: a restart that stays written would be obeyed
//! for ever.

use std::sync::Arc;
use std::time::Duration;

use super::{Agent, Order};
use crate::cluster::keys::{self, OrderRecord, PerHost};
use crate::store::{Compare, Op, Store, Txn};

/// The pause before the store is asked again after it did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Obeys for as long as it is polled.
pub(super) async fn run(agent: Arc<Agent>) {
    let mut settled = agent.settled.subscribe();
    if settled.wait_for(|known| *known).await.is_err() {
        return;
    }
    let key = PerHost::Order.of(&agent.host);
    loop {
        let Ok(snapshot) = agent.store.range(&key).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        if let Some(entry) = snapshot.entries.iter().find(|entry| entry.key == key) {
            let when = vec![Compare::Revision(key.clone(), entry.revision)];
            let then = vec![Op::Delete { key: key.clone() }];
            let taken = agent.store.txn(Txn { when, then }).await.is_ok_and(|done| done.applied);
            let record: Option<OrderRecord> = keys::read(&entry.value);
            if let Some(record) = record
                && (taken || is_gone(&agent, &key, entry.revision).await)
            {
                obey(&agent, &record);
            }
            continue;
        }
        if let Ok(mut changes) = agent.store.watch(&key, snapshot.revision + 1).await {
            // Whatever comes, a change or an error: look again.
            drop(changes.recv().await);
        } else {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Whether the order is not there any more. Nobody else takes it, so that an earlier try to take it
/// did, whose answer was lost.
async fn is_gone(agent: &Agent, key: &str, revision: i64) -> bool {
    let now = agent.store.range(key).await;
    now.is_ok_and(|now| now.entries.iter().all(|one| one.key != key || one.revision != revision))
}

fn obey(agent: &Agent, record: &OrderRecord) {
    let Some(order) = Order::parse(&record.what) else {
        tracing::warn!("{} orders `{}`, which this version does not know", record.by, record.what);
        return;
    };
    tracing::info!("{} asks this agent to {}", record.by, order.as_str());
    if agent.orders.try_send(order).is_err() {
        tracing::info!("the agent is ending already");
    }
}
