//! The shared store: one trait, served by etcd and, for a host on its own, by this process.
//!
//! Refuses to know what the keys mean. Keys are full keys; the prefix is part of them.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::mpsc;

#[doc(hidden)]
pub mod contract;
pub mod etcd;
pub mod follow;
pub mod memory;

/// The prefix of every key.
pub const PREFIX: &str = "/quorate/1/";

/// How many watch batches may wait for a slow reader before the watch is slowed down.
pub const WATCH_QUEUE: usize = 64;

/// A lease: keys bound to it go when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The full key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision of its last change.
    pub revision: i64,
    /// The lease that it is bound to.
    pub lease: Option<LeaseId>,
}

/// Everything below a prefix at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Sorted by key.
    pub entries: Vec<Entry>,
    /// The revision of the store that this is a picture of.
    pub revision: i64,
}

/// One change below a watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has this value now.
    Put(Entry),
    /// The key is gone.
    Delete {
        /// The full key.
        key: String,
    },
}

/// All changes of one or more whole revisions, in order; or the end of the watch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The newest revision in it.
    pub revision: i64,
    /// What changed.
    pub changes: Vec<Change>,
}

/// What a watch yields. After an error it yields nothing more.
pub type Watched = mpsc::Receiver<Result<Batch, StoreError>>;

/// A condition of a transaction. Values are never compared: etcd calls a compare with a missing key
/// false whatever the operator (etcd-io/etcd#10566).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Missing(String),
    /// The key was last changed by this revision.
    Revision(String, i64),
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The full key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// Bound to this lease.
        lease: Option<LeaseId>,
    },
    /// Removes a key.
    Delete {
        /// The full key.
        key: String,
    },
}

/// All writes if all conditions hold, else none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions.
    pub when: Vec<Compare>,
    /// The writes.
    pub then: Vec<Op>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The conditions held and the writes were made.
    pub applied: bool,
    /// It was tried more than once, so that an earlier try may have made the writes, and with them
    /// an end of the conditions.
    pub repeated: bool,
    /// The revision of the store after it.
    pub revision: i64,
}

/// Why the store did not answer as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Nobody answers, or no leader; may work later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The revision asked for is compacted away: read everything again.
    #[error("the watched revision is compacted away")]
    Compacted,
    /// The lease has ended.
    #[error("the lease has ended")]
    LeaseGone,
    /// The store refused the request itself; asking again does not help.
    #[error("the store refused: {0}")]
    Refused(String),
}

/// A key-value store with revisions, watches, transactions and leases.
#[async_trait]
pub trait Store: Send + Sync {
    /// Everything below `prefix` (a single key is a prefix too), linearizable.
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError>;
    /// The keys below `prefix` without their values.
    async fn keys(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let mut all = self.range(prefix).await?;
        all.entries.iter_mut().for_each(|entry| entry.value = Vec::new());
        Ok(all)
    }
    /// What is below `prefix` and was changed by revision `since` or a later one.
    async fn changed(&self, prefix: &str, since: i64) -> Result<Snapshot, StoreError> {
        let mut all = self.range(prefix).await?;
        all.entries.retain(|entry| entry.revision >= since);
        Ok(all)
    }
    /// Which store this is, when that is known: another one has nothing to do with what is known of
    /// this one.
    fn identity(&self) -> Option<u64> {
        None
    }
    /// All changes below `prefix` from revision `from` on. The watch ends when the receiver is
    /// dropped.
    async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError>;
    /// Writes all or nothing.
    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError>;
    /// A new lease that ends `ttl` after its last refresh.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Makes the lease last another `ttl`.
    async fn refresh(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Ends the lease now; its keys go in one revision.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Whether a lease ends when nobody refreshes it. Not in a store that ends with its only user:
    /// there is nobody whom a lease would have to tell.
    fn leases_run_out(&self) -> bool {
        true
    }
}
