//! The records of a cluster after a recovery: a new epoch, and nothing that was under way.
//!
//! Refuses to touch what is not the membership's own.

use std::sync::Arc;

use crate::cluster::keys::{self, ClusterRecord, PerHost};
use crate::store::etcd::{Endpoints, EtcdStore};
use crate::store::{Op, Store, Txn};

/// Writes them; a recovery from a snapshot names the uuid and the token of the new cluster.
pub(super) async fn renew(
    endpoints: Arc<Endpoints>,
    other: Option<(String, String)>,
) -> Result<(), String> {
    let store = EtcdStore::new(endpoints);
    let (lists, _) = store.read_many(&[keys::cluster()]).await.map_err(|why| why.to_string())?;
    let entry = lists.first().and_then(|list| list.first());
    let record: Option<ClusterRecord> = entry.and_then(|entry| keys::read(&entry.value));
    let mut record = record.ok_or("the cluster's own record is not in the data")?;
    record.epoch += 1;
    if let Some((uuid, token)) = other {
        (record.uuid, record.token) = (uuid, token);
    }
    let mut then = vec![Op::Put { key: keys::cluster(), value: keys::write(&record), lease: None }];
    for prefix in gone() {
        let found = store.range(&prefix).await.map_err(|why| why.to_string())?;
        then.extend(found.entries.into_iter().map(|entry| Op::Delete { key: entry.key }));
    }
    // Nobody else writes here, and a part that is written is written again by the next try.
    for some in then.chunks(crate::cluster::writes::SWEEP) {
        let txn = Txn { when: Vec::new(), then: some.to_vec() };
        store.txn(txn).await.map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// What belonged to members that are no more. Claims, too: whoever had one may be gone for good.
fn gone() -> Vec<String> {
    let mut prefixes =
        vec![keys::controller(), keys::change(), keys::decision(), keys::endpoints()];
    let kinds = [
        PerHost::Host,
        PerHost::Volunteer,
        PerHost::Nominate,
        PerHost::Leave,
        PerHost::Away,
        PerHost::Quarantine,
        PerHost::Order,
    ];
    prefixes.extend(kinds.map(PerHost::all));
    prefixes
}
