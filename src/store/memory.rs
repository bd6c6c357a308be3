//! The store of a host on its own: revisions, watches, transactions and leases in this process.
//!
//! Refuses to persist anything and to reach other hosts. The semantics are etcd's: the same claims
//! are tested on both (`store::contract`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{
    Batch, Change, Committed, Compare, Entry, LeaseId, Op, Snapshot, Store, StoreError, Txn,
    WATCH_QUEUE, Watched,
};

/// How many changes are kept for watches that start in the past or read slowly. The agent's own
/// readers are a few thousand changes behind at most; who falls further behind reads all again.
pub const HISTORY: usize = 8192;

/// How many changes a batch has at most, unless one revision alone has more: keeps a slow reader's
/// queue small.
const BATCH_CHANGES: usize = 256;

/// The store of one process. Clones and watches share it; it ends with its last owner.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// An empty store at revision 1, as etcd starts.
    pub fn new() -> Self {
        Self::with_history(HISTORY)
    }

    /// An empty store that forgets changes earlier.
    pub fn with_history(changes: usize) -> Self {
        Self::with(changes, true)
    }

    /// An empty store with one user, with whom it ends: its leases last, so that a host on its own
    /// is not woken by them.
    pub fn alone() -> Self {
        Self::with(HISTORY, false)
    }

    fn with(history_limit: usize, leases_run_out: bool) -> Self {
        let state = State { revision: 1, history_limit, ..State::default() };
        let (revisions, _) = watch::channel(state.revision);
        let state = Mutex::new(state);
        MemoryStore { shared: Arc::new(Shared { state, revisions, leases_run_out }) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        Ok(self.shared.lock().range(prefix))
    }

    async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError> {
        let (to, batches) = mpsc::channel(WATCH_QUEUE);
        let news = self.shared.revisions.subscribe();
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(serve(shared, prefix.to_owned(), from, news, to));
        Ok(batches)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        self.shared.change(|state| state.txn(txn))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let id = {
            let mut state = self.shared.lock();
            state.last_lease += 1;
            let id = state.last_lease;
            let lease = Lease { ttl, ends: Instant::now() + ttl, keys: BTreeSet::new() };
            state.leases.insert(id, lease);
            id
        };
        if self.shared.leases_run_out {
            tokio::spawn(expire(Arc::downgrade(&self.shared), id));
        }
        Ok(LeaseId(id))
    }

    async fn refresh(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        let lease = state.leases.get_mut(&lease.0).ok_or(StoreError::LeaseGone)?;
        lease.ends = Instant::now() + lease.ttl;
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.shared.change(|state| state.end_lease(lease.0))
    }

    fn leases_run_out(&self) -> bool {
        self.shared.leases_run_out
    }
}

/// What the store, its watches and its leases have in common.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the watches; its value is the newest revision.
    revisions: watch::Sender<i64>,
    leases_run_out: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No change can panic half-way: each is computed before it is stored.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.revision;
        let result = change(&mut state);
        if state.revision != before {
            self.revisions.send_replace(state.revision);
        }
        result
    }
}

/// Sends what changed below `prefix` until the receiver or the store is dropped.
async fn serve(
    shared: Weak<Shared>,
    prefix: String,
    from: i64,
    mut news: watch::Receiver<i64>,
    to: mpsc::Sender<Result<Batch, StoreError>>,
) {
    let mut next = from;
    loop {
        // Marked as seen before the look, so that a change during the look wakes us again.
        news.borrow_and_update();
        let Some(found) = shared.upgrade().map(|shared| shared.lock().since(&prefix, next)) else {
            return;
        };
        let message = match found {
            Ok((None, after)) => {
                next = after;
                tokio::select! {
                    () = to.closed() => return,
                    changed = news.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
            Ok((Some(batch), after)) => {
                next = after;
                Ok(batch)
            }
            Err(error) => Err(error),
        };
        let last = message.is_err();
        if to.send(message).await.is_err() || last {
            return;
        }
    }
}

/// Ends a lease when its time is over.
async fn expire(shared: Weak<Shared>, id: i64) {
    loop {
        let Some(ends) =
            shared.upgrade().and_then(|shared| shared.lock().leases.get(&id).map(|l| l.ends))
        else {
            return;
        };
        sleep_until(ends).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.change(|state| state.end_lease_if_over(id, Instant::now()));
    }
}

#[derive(Debug, Default)]
struct State {
    revision: i64,
    keys: BTreeMap<String, Stored>,
    history: VecDeque<(i64, Change)>,
    history_limit: usize,
    /// The newest revision of which changes were forgotten.
    compacted: i64,
    leases: BTreeMap<i64, Lease>,
    last_lease: i64,
}

#[derive(Clone, Debug)]
struct Stored {
    value: Vec<u8>,
    revision: i64,
    lease: Option<LeaseId>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
    keys: BTreeSet<String>,
}

impl State {
    fn range(&self, prefix: &str) -> Snapshot {
        let from = self.keys.range(prefix.to_owned()..);
        let entries = from
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| entry(key, stored))
            .collect();
        Snapshot { entries, revision: self.revision }
    }

    /// The next changes below `prefix` from revision `from` on, in whole revisions, and the
    /// revision to go on from.
    fn since(&self, prefix: &str, from: i64) -> Result<(Option<Batch>, i64), StoreError> {
        if from <= self.compacted {
            return Err(StoreError::Compacted);
        }
        let start = self.history.partition_point(|(revision, _)| *revision < from);
        let mut changes = Vec::new();
        let mut newest = from;
        for (revision, change) in self.history.range(start..) {
            if changes.len() >= BATCH_CHANGES && *revision != newest {
                return Ok((Some(Batch { revision: newest, changes }), newest + 1));
            }
            if key_of(change).starts_with(prefix) {
                changes.push(change.clone());
                newest = *revision;
            }
        }
        let after = from.max(self.revision + 1);
        Ok(((!changes.is_empty()).then_some(Batch { revision: newest, changes }), after))
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Missing(key) => !self.keys.contains_key(key),
            Compare::Revision(key, revision) => {
                self.keys.get(key).map_or(0, |stored| stored.revision) == *revision
            }
        }
    }

    fn txn(&mut self, txn: Txn) -> Result<Committed, StoreError> {
        self.check(&txn.then)?;
        if !txn.when.iter().all(|compare| self.holds(compare)) {
            return Ok(Committed { applied: false, repeated: false, revision: self.revision });
        }
        self.write(txn.then);
        Ok(Committed { applied: true, repeated: false, revision: self.revision })
    }

    /// What etcd refuses: a key written twice, a put bound to a lease that ended.
    fn check(&self, ops: &[Op]) -> Result<(), StoreError> {
        let mut puts = BTreeSet::new();
        for op in ops {
            let Op::Put { key, lease, .. } = op else { continue };
            if !puts.insert(key) {
                return Err(StoreError::Refused(format!("key {key} is written twice")));
            }
            if lease.is_some_and(|lease| !self.leases.contains_key(&lease.0)) {
                return Err(StoreError::LeaseGone);
            }
        }
        for op in ops {
            if let Op::Delete { key } = op
                && puts.contains(key)
            {
                return Err(StoreError::Refused(format!("key {key} is written and deleted")));
            }
        }
        Ok(())
    }

    /// Makes the writes in one new revision; none when nothing changes.
    fn write(&mut self, ops: Vec<Op>) {
        let revision = self.revision + 1;
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    self.unbind(&key);
                    if let Some(bound) = lease.and_then(|lease| self.leases.get_mut(&lease.0)) {
                        bound.keys.insert(key.clone());
                    }
                    let stored = Stored { value, revision, lease };
                    self.record(revision, Change::Put(entry(&key, &stored)));
                    self.keys.insert(key, stored);
                }
                Op::Delete { key } => {
                    self.unbind(&key);
                    if self.keys.remove(&key).is_some() {
                        self.record(revision, Change::Delete { key });
                    }
                }
            }
        }
        self.forget();
    }

    fn unbind(&mut self, key: &str) {
        let lease = self.keys.get(key).and_then(|stored| stored.lease);
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease.0)) {
            lease.keys.remove(key);
        }
    }

    fn record(&mut self, revision: i64, change: Change) {
        self.revision = revision;
        self.history.push_back((revision, change));
    }

    /// Forgets old changes in whole revisions, but never those of the newest one.
    fn forget(&mut self) {
        while self.history.len() > self.history_limit
            && let Some(&(oldest, _)) = self.history.front()
            && oldest < self.revision
        {
            while self.history.front().is_some_and(|(revision, _)| *revision == oldest) {
                self.history.pop_front();
            }
            self.compacted = oldest;
        }
    }

    fn end_lease(&mut self, id: i64) -> Result<(), StoreError> {
        let lease = self.leases.remove(&id).ok_or(StoreError::LeaseGone)?;
        self.write(lease.keys.into_iter().map(|key| Op::Delete { key }).collect());
        Ok(())
    }

    fn end_lease_if_over(&mut self, id: i64, now: Instant) {
        if self.leases.get(&id).is_some_and(|lease| lease.ends <= now)
            && let Err(error) = self.end_lease(id)
        {
            tracing::debug!("lease {id}: {error}");
        }
    }
}

fn entry(key: &str, stored: &Stored) -> Entry {
    Entry {
        key: key.to_owned(),
        value: stored.value.clone(),
        revision: stored.revision,
        lease: stored.lease,
    }
}

fn key_of(change: &Change) -> &str {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Delete { key } => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::store_contract;

    fn put(key: &str) -> Txn {
        let op = Op::Put { key: key.to_owned(), value: Vec::new(), lease: None };
        Txn { when: Vec::new(), then: vec![op] }
    }

    #[tokio::test]
    async fn the_store_of_one_process_keeps_the_contract() {
        store_contract(&MemoryStore::new(), "/contract/").await.unwrap();
    }

    #[tokio::test]
    async fn a_watch_that_fell_behind_the_history_is_told_so() {
        let store = MemoryStore::with_history(3);
        for number in 0..10 {
            store.txn(put(&format!("/k/{number}"))).await.unwrap();
        }
        let mut old = store.watch("/k/", 2).await.unwrap();
        assert_eq!(old.recv().await.unwrap().unwrap_err(), StoreError::Compacted);
        assert!(old.recv().await.is_none(), "nothing comes after an error");
        let mut recent = store.watch("/k/", 9).await.unwrap();
        let batch = recent.recv().await.unwrap().unwrap();
        assert_eq!((batch.revision, batch.changes.len()), (11, 3));
    }

    #[tokio::test]
    async fn watches_end_with_the_store() {
        let store = MemoryStore::new();
        let mut watch = store.watch("/", 1).await.unwrap();
        drop(store);
        assert!(watch.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_watch_that_nobody_reads_holds_back_no_writer() {
        let store = MemoryStore::new();
        let _unread = store.watch("/", 1).await.unwrap();
        for number in 0..2 * HISTORY {
            store.txn(put(&format!("/k/{number}"))).await.unwrap();
        }
        assert_eq!(store.shared.lock().history.len(), HISTORY);
    }
}
