//! One etcd cluster as a value: keys, leases that last while nobody leads, and the list of members.
//! Pure; refuses to lose anything: what gets lost on the way is the world's business.

use std::collections::{BTreeMap, BTreeSet};

use quorate::cluster::seen::Member;
use quorate::store::{Committed, Compare, Entry, LeaseId, Op, Txn};

/// How long a lease lasts without being refreshed.
const TTL: u64 = 10_000;

/// Everything that a quorum has agreed on.
#[derive(Default)]
pub(crate) struct Etcd {
    /// Of the cluster, once it is founded.
    pub(crate) uuid: Option<String>,
    entries: BTreeMap<String, Entry>,
    pub(crate) revision: i64,
    leases: BTreeMap<i64, u64>,
    granted: i64,
    pub(crate) members: Vec<Member>,
    pub(crate) removed: BTreeSet<u64>,
    last_id: u64,
    /// Who leads, if anybody does.
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
}

impl Etcd {
    /// The first member of a new cluster.
    pub(crate) fn found(&mut self, uuid: &str, name: &str, urls: (&str, &str)) -> u64 {
        self.uuid = Some(uuid.to_owned());
        let id = self.join(urls.0, false);
        self.publish(id, name, urls.1);
        id
    }

    fn join(&mut self, peer: &str, learner: bool) -> u64 {
        self.last_id += 1;
        let id = 100 + self.last_id;
        let peer = vec![peer.to_owned()];
        self.members.push(Member { id, peer, learner, ..Member::default() });
        id
    }

    /// A member has started and tells its name.
    pub(crate) fn publish(&mut self, id: u64, name: &str, client: &str) {
        for member in self.members.iter_mut().filter(|m| m.id == id) {
            member.name = name.to_owned();
            member.client = vec![client.to_owned()];
        }
    }

    pub(crate) fn member(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    pub(crate) fn voters(&self) -> Vec<u64> {
        self.members.iter().filter(|m| !m.learner).map(|m| m.id).collect()
    }

    pub(crate) fn add_learner(&mut self, peer: &str) -> Result<u64, &'static str> {
        if self.members.iter().any(|m| m.peer.iter().any(|url| url == peer)) {
            return Err("member ID already exist");
        }
        if self.members.iter().any(|m| m.learner) {
            return Err("too many learner members");
        }
        Ok(self.join(peer, true))
    }

    /// `caught_up`: the learner has the whole log.
    pub(crate) fn promote(&mut self, id: u64, caught_up: bool) -> Result<(), &'static str> {
        let member = self.members.iter_mut().find(|m| m.id == id).ok_or("member not found")?;
        if !caught_up || !member.learner {
            return Err("can only promote a learner member which is in sync with leader");
        }
        member.learner = false;
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: u64) -> Result<(), &'static str> {
        let at = self.members.iter().position(|m| m.id == id).ok_or("member not found")?;
        self.members.remove(at);
        self.removed.insert(id);
        if self.leader == Some(id) {
            self.leader = None;
        }
        Ok(())
    }

    /// Somebody leads now; leases begin anew, as etcd does for want of knowing when they were
    /// refreshed.
    pub(crate) fn elect(&mut self, id: u64, now: u64) {
        self.leader = Some(id);
        self.term += 1;
        self.leases.values_mut().for_each(|ends| *ends = now + TTL);
    }

    /// What is below each prefix.
    pub(crate) fn read(&self, prefixes: &[String]) -> Vec<Vec<Entry>> {
        prefixes.iter().map(|prefix| self.range(prefix)).collect()
    }

    pub(crate) fn range(&self, prefix: &str) -> Vec<Entry> {
        let from = self.entries.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, e)| e.clone()).collect()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Writes all or nothing.
    pub(crate) fn txn(&mut self, txn: &Txn) -> Committed {
        let holds = |compare: &Compare| match compare {
            Compare::Missing(key) => !self.entries.contains_key(key),
            Compare::Revision(key, revision) => {
                self.entries.get(key).is_some_and(|entry| entry.revision == *revision)
            }
        };
        let leased = |op: &Op| match op {
            Op::Put { lease: Some(lease), .. } => self.leases.contains_key(&lease.0),
            _ => true,
        };
        if !txn.when.iter().all(holds) || !txn.then.iter().all(leased) {
            return Committed { applied: false, repeated: false, revision: self.revision };
        }
        self.revision += 1;
        for op in &txn.then {
            match op.clone() {
                Op::Put { key, value, lease } => {
                    let entry = Entry { key: key.clone(), value, revision: self.revision, lease };
                    self.entries.insert(key, entry);
                }
                Op::Delete { key } => drop(self.entries.remove(&key)),
            }
        }
        Committed { applied: true, repeated: false, revision: self.revision }
    }

    pub(crate) fn grant(&mut self, now: u64) -> LeaseId {
        self.granted += 1;
        self.leases.insert(self.granted, now + TTL);
        LeaseId(self.granted)
    }

    /// Makes a lease last; false when it has ended.
    pub(crate) fn refresh(&mut self, lease: LeaseId, now: u64) -> bool {
        self.leases.get_mut(&lease.0).map(|ends| *ends = now + TTL).is_some()
    }

    pub(crate) fn revoke(&mut self, lease: LeaseId) {
        self.leases.remove(&lease.0);
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.lease != Some(lease));
        self.revision += i64::from(before != self.entries.len());
    }

    /// Ends leases whose time has come. Without a leader none ends.
    pub(crate) fn expire(&mut self, now: u64) {
        if self.leader.is_none() {
            return;
        }
        let due = self.leases.iter().filter(|(_, ends)| **ends <= now);
        let ended: Vec<i64> = due.map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.revoke(LeaseId(id)));
    }
}
