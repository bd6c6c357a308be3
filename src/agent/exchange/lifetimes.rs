//! Keys that outlive a presence: one for each duration for which this host exports something.
//!
//! Refuses to decide which durations these are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::publisher::ask;
use crate::collect::keys;
use crate::ident::HostName;
use crate::store::{Compare, LeaseId, Op, Store, StoreError, Txn};

/// A lease is refreshed at least this often, however long it is: the time from the end of a host to
/// the end of its exports is as declared, but for this.
const REFRESH_MAX: Duration = Duration::from_secs(60);

/// The leases that are kept alive.
#[derive(Default)]
pub(super) struct Lifetimes {
    kept: BTreeMap<u64, (LeaseId, Instant)>,
}

impl Lifetimes {
    /// Keeps `wanted` alive, continues what an earlier run left, and removes what is not wanted any
    /// more; gives when to look again.
    pub(super) async fn keep(
        &mut self,
        store: &Arc<dyn Store>,
        host: &HostName,
        there: &BTreeMap<u64, Option<LeaseId>>,
        wanted: &BTreeSet<u64>,
        guard: &Compare,
    ) -> Result<Option<Instant>, StoreError> {
        for seconds in wanted {
            let ttl = Duration::from_secs(*seconds);
            let known = there.get(seconds).copied().flatten();
            let kept = self.kept.get(seconds).copied();
            match (known, kept) {
                (Some(lease), Some((ours, at))) if lease == ours && at > Instant::now() => {}
                (Some(lease), _) => match ask(store.refresh(lease)).await {
                    Ok(()) => self.note(*seconds, lease),
                    Err(StoreError::LeaseGone) => {
                        self.kept.remove(seconds);
                    }
                    Err(error) => return Err(error),
                },
                // It was written a moment ago and is not shown yet.
                (None, Some((_, at))) if at > Instant::now() => {}
                (None, _) => {
                    let lease = ask(store.grant(ttl)).await?;
                    let key = keys::lifetime(host, *seconds);
                    let put = Op::Put { key, value: b"{\"v\":1}".to_vec(), lease: Some(lease) };
                    let txn = Txn { when: vec![guard.clone()], then: vec![put] };
                    if ask(store.txn(txn)).await?.applied {
                        self.note(*seconds, lease);
                    }
                }
            }
        }
        let gone = there.keys().filter(|seconds| !wanted.contains(seconds));
        let ops: Vec<Op> =
            gone.map(|seconds| Op::Delete { key: keys::lifetime(host, *seconds) }).collect();
        if !ops.is_empty() {
            ask(store.txn(Txn { when: vec![guard.clone()], then: ops })).await?;
        }
        self.kept.retain(|seconds, _| wanted.contains(seconds));
        let next = self.kept.values().map(|(_, at)| *at).min();
        Ok(next.filter(|_| store.leases_run_out()))
    }

    fn note(&mut self, seconds: u64, lease: LeaseId) {
        let pause = (Duration::from_secs(seconds) / 3).min(REFRESH_MAX);
        self.kept.insert(seconds, (lease, Instant::now() + pause));
    }

    /// The leases, to be ended at once.
    pub(super) fn leases(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.kept.values().map(|(lease, _)| *lease)
    }
}
