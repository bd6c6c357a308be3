//! An etcd without the record that makes it a cluster of quorate. Where agents run it the founder
//! is about to write it; else the first client does.
//!
//! Refuses a cluster that agents run: there the founder writes the record.

use std::time::Duration;

use tokio::time::timeout;

use super::{Agent, now_seconds};
use crate::cluster::flags::is_member_name;
use crate::cluster::keys::{self, ClusterRecord};
use crate::store::{Change, Compare, Op, Store, Txn};

/// How long the founder may take between leading and the record, before that is said.
const FOUNDING: Duration = Duration::from_millis(500);

/// The founder's record, as soon as it is there; it was not at this revision.
pub(super) async fn written(agent: &Agent, revision: i64) -> Option<ClusterRecord> {
    let key = keys::cluster();
    let told = async {
        let mut changes = agent.store.watch(&key, revision + 1).await.ok()?;
        loop {
            let changes = changes.recv().await?.ok()?.changes;
            let put = changes.iter().find_map(|change| match change {
                Change::Put(entry) if entry.key == key => keys::read(&entry.value),
                _ => None,
            });
            if put.is_some() {
                return put;
            }
        }
    };
    timeout(FOUNDING, told).await.ok().flatten()
}

/// The record that is there afterwards; `None` when it is not ours to write, or cannot be written.
pub(super) async fn record(agent: &Agent) -> Option<ClusterRecord> {
    if agent.rpc.names(&agent.endpoints.urls()).await?.iter().any(|n| is_member_name(n)) {
        return None;
    }
    let record = ClusterRecord {
        v: keys::VERSION,
        uuid: uuid::Uuid::new_v4().to_string(),
        // Nobody starts a member by it.
        token: String::new(),
        created: now_seconds(),
        epoch: 0,
        timers: None,
    };
    let put = Op::Put { key: keys::cluster(), value: keys::write(&record), lease: None };
    let when = vec![Compare::Missing(keys::cluster())];
    let done = agent.store.txn(Txn { when, then: vec![put] }).await.ok()?;
    if done.applied {
        tracing::info!("this etcd is used by quorate from now on, below {}", crate::store::PREFIX);
        return Some(record);
    }
    // Another client was first.
    let snapshot = agent.store.range(&keys::cluster()).await.ok()?;
    let entry = snapshot.entries.iter().find(|entry| entry.key == keys::cluster())?;
    keys::read(&entry.value)
}
