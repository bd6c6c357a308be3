//! One store for all hosts as a value: revisions, transactions, leases. Pure; refuses to lose
//! anything: what gets lost on the way is the world's business.

use std::collections::BTreeMap;

use quorate::store::{Change, Committed, Compare, Entry, LeaseId, Op, Snapshot, Txn};

/// How long a lease lasts without being refreshed.
pub(crate) const TTL: u64 = 60_000;

/// Everything that is stored.
#[derive(Default)]
pub(crate) struct Store {
    entries: BTreeMap<String, Entry>,
    revision: i64,
    /// When each lease ends.
    leases: BTreeMap<i64, u64>,
    granted: i64,
}

impl Store {
    /// Everything below a prefix.
    pub(crate) fn range(&self, prefix: &str) -> Snapshot {
        let below = self.entries.values().filter(|entry| entry.key.starts_with(prefix));
        Snapshot { entries: below.cloned().collect(), revision: self.revision }
    }

    /// Writes all or nothing; gives what changed, of one revision.
    pub(crate) fn txn(&mut self, txn: Txn) -> (Committed, Vec<Change>) {
        let holds = |compare: &Compare| match compare {
            Compare::Missing(key) => !self.entries.contains_key(key),
            Compare::Revision(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
        };
        if !txn.when.iter().all(holds) {
            return (
                Committed { applied: false, repeated: false, revision: self.revision },
                Vec::new(),
            );
        }
        self.revision += 1;
        let mut changes = Vec::new();
        for op in txn.then {
            match op {
                Op::Put { key, value, lease } => {
                    let entry = Entry { key: key.clone(), value, revision: self.revision, lease };
                    self.entries.insert(key, entry.clone());
                    changes.push(Change::Put(entry));
                }
                Op::Delete { key } => {
                    if self.entries.remove(&key).is_some() {
                        changes.push(Change::Delete { key });
                    }
                }
            }
        }
        (Committed { applied: true, repeated: false, revision: self.revision }, changes)
    }

    /// A new lease.
    pub(crate) fn grant(&mut self, now: u64) -> LeaseId {
        self.granted += 1;
        self.leases.insert(self.granted, now + TTL);
        LeaseId(self.granted)
    }

    /// Makes a lease last; false when it has ended.
    pub(crate) fn refresh(&mut self, lease: LeaseId, now: u64) -> bool {
        self.leases.get_mut(&lease.0).map(|ends| *ends = now + TTL).is_some()
    }

    /// Ends leases whose time has come; gives what went with them.
    pub(crate) fn expire(&mut self, now: u64) -> Vec<Change> {
        let ended: Vec<i64> =
            self.leases.iter().filter(|(_, ends)| **ends <= now).map(|(id, _)| *id).collect();
        let mut changes = Vec::new();
        for id in ended {
            self.leases.remove(&id);
            let bound = self.entries.values().filter(|entry| entry.lease == Some(LeaseId(id)));
            let keys: Vec<String> = bound.map(|entry| entry.key.clone()).collect();
            for key in keys {
                self.entries.remove(&key);
                changes.push(Change::Delete { key });
            }
        }
        self.revision += i64::from(!changes.is_empty());
        changes
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }
}
