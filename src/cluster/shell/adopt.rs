//! An existing etcd that no agent runs: the first client of it writes the record that makes it a
//! cluster of quorate.
//!
//! Refuses a cluster that agents run: there the founder writes the record.

use super::{Agent, now_seconds};
use crate::cluster::flags::is_member_name;
use crate::cluster::keys::{self, ClusterRecord};
use crate::store::{Compare, Op, Store, Txn};

/// The record that is there afterwards; `None` when it is not ours to write, or cannot be written.
pub(super) async fn record(agent: &Agent) -> Option<ClusterRecord> {
    let serves = agent.etcd.is_some();
    if serves || agent.rpc.names(&agent.endpoints.urls()).await?.iter().any(|n| is_member_name(n)) {
        return None;
    }
    let record = ClusterRecord {
        v: keys::VERSION,
        uuid: uuid::Uuid::new_v4().to_string(),
        // Nobody starts a member by it.
        token: String::new(),
        created: now_seconds(),
        epoch: 0,
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
