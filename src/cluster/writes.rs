//! Every write of the clustering's keys, with the condition that it is made under (3.2).
//!
//! Refuses to write without one where two hosts could write: who finds the condition broken reads
//! again. What the deciding host writes compares its claim to decide, so that an earlier decider
//! writes nothing.

use super::keys::{
    self, AwayRecord, ChangeRecord, ClusterRecord, ControllerRecord, EndpointsRecord,
    HistoryRecord, HostRecord, LeaveRecord, NominateRecord, OrderRecord, PerHost, QuarantineRecord,
    SizeRecord, VolunteerRecord,
};
use super::told::Told;
use crate::store::{Compare, LeaseId, Op, Txn};

/// How many keys one transaction removes at most; etcd's own bound is 512 for parts of any kind.
pub const SWEEP: usize = 64;

/// A host's claim to its name: the lease, and the revision that what rests on the claim compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its lease.
    pub lease: LeaseId,
    /// The revision of `host/H`.
    pub revision: i64,
}

impl Claim {
    fn holds(self, host: &str) -> Compare {
        Compare::Revision(PerHost::Host.of(host), self.revision)
    }
}

/// A claim to decide about members: the revision of `controller`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The revision.
    pub revision: i64,
}

impl Fence {
    fn holds(self) -> Compare {
        Compare::Revision(keys::controller(), self.revision)
    }
}

/// The records that a new cluster begins with; nobody can have written them before.
pub fn found(cluster: &ClusterRecord, size: &SizeRecord) -> Txn {
    Txn {
        when: vec![Compare::Missing(keys::cluster())],
        then: vec![
            put(keys::cluster(), keys::write(cluster), None),
            put(keys::size(), keys::write(size), None),
        ],
    }
}

/// The cluster's record after a recovery, in place of the one of revision `seen`.
pub fn recover(cluster: &ClusterRecord, seen: i64) -> Txn {
    Txn {
        when: vec![Compare::Revision(keys::cluster(), seen)],
        then: vec![put(keys::cluster(), keys::write(cluster), None)],
    }
}

/// Another wanted size, in place of the one of revision `seen`.
pub fn resize(size: &SizeRecord, seen: Option<i64>) -> Txn {
    Txn {
        when: vec![unchanged(keys::size(), seen)],
        then: vec![put(keys::size(), keys::write(size), None)],
    }
}

/// The claim to a host's name. `seen` is the revision of an earlier run's claim, whose instance the
/// caller has compared. Who is here is no longer away.
pub fn claim(host: &str, record: &HostRecord, seen: Option<i64>, lease: LeaseId) -> Txn {
    let key = PerHost::Host.of(host);
    Txn {
        when: vec![unchanged(key.clone(), seen)],
        then: vec![
            put(key, keys::write(record), Some(lease)),
            Op::Delete { key: PerHost::Away.of(host) },
        ],
    }
}

/// The offer to serve.
pub fn volunteer(host: &str, offer: &VolunteerRecord, claim: Claim) -> Txn {
    Txn {
        when: vec![claim.holds(host)],
        then: vec![put(PerHost::Volunteer.of(host), keys::write(offer), Some(claim.lease))],
    }
}

/// The wish that a member goes, by its own host or by a person. `seen` is the revision of `host/H`
/// with the instance that the wish names; `None` for a host whose claim is gone. An offer to serve
/// ends with it: it would be taken up again.
pub fn leave(host: &str, wish: &LeaveRecord, seen: Option<i64>) -> Txn {
    Txn {
        when: vec![unchanged(PerHost::Host.of(host), seen)],
        then: vec![
            put(PerHost::Leave.of(host), keys::write(wish), None),
            Op::Delete { key: PerHost::Volunteer.of(host) },
        ],
    }
}

/// The wish that a member whose data are lost goes. The order that made it must not be followed
/// again.
pub fn disk_lost(host: &str, wish: &LeaveRecord, claim: Option<Claim>) -> Txn {
    Txn {
        when: claim.into_iter().map(|claim| claim.holds(host)).collect(),
        then: vec![
            put(PerHost::Leave.of(host), keys::write(wish), None),
            Op::Delete { key: PerHost::Nominate.of(host) },
        ],
    }
}

/// The note that an absence is planned, by the host itself, which compares its claim, or by a
/// person.
pub fn away(host: &str, note: &AwayRecord, claim: Option<Claim>) -> Txn {
    Txn {
        when: claim.into_iter().map(|claim| claim.holds(host)).collect(),
        then: vec![put(PerHost::Away.of(host), keys::write(note), None)],
    }
}

/// An order to a host's agent; it ends with the claim of the agent that it was meant for.
pub fn order(host: &str, order: &OrderRecord, claim: Claim) -> Txn {
    Txn {
        when: vec![claim.holds(host)],
        then: vec![put(PerHost::Order.of(host), keys::write(order), Some(claim.lease))],
    }
}

/// The claim to decide, in place of the one of revision `seen`. Whose etcd leads may take it from
/// anybody; the one before is fenced off by that.
pub fn control(record: &ControllerRecord, seen: Option<i64>, lease: LeaseId) -> Txn {
    Txn {
        when: vec![unchanged(keys::controller(), seen)],
        then: vec![put(keys::controller(), keys::write(record), Some(lease))],
    }
}

/// A new change, when none is open.
pub fn open(change: &ChangeRecord, fence: Fence) -> Txn {
    Txn {
        when: vec![fence.holds(), Compare::Missing(keys::change())],
        then: vec![put(keys::change(), keys::write(change), None)],
    }
}

/// What else a change's end writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// The order to the host of a new member.
    pub order: Option<NominateRecord>,
    /// The host failed: how long it is left alone.
    pub quarantine: Option<QuarantineRecord>,
    /// The host has shown that it can serve: its earlier failures no longer count.
    pub absolved: bool,
}

/// The end of the change of revision `seen`, with its entry in the history.
pub fn close(ended: &HistoryRecord, seen: i64, closing: &Closing, fence: Fence) -> Txn {
    let host = &ended.change.host;
    let quarantine = PerHost::Quarantine.of(host);
    let mut then = vec![
        Op::Delete { key: keys::change() },
        put(keys::history(ended.change.seq), keys::write(ended), None),
    ];
    if let Some(order) = &closing.order {
        then.push(put(PerHost::Nominate.of(host), keys::write(order), None));
    }
    match &closing.quarantine {
        Some(record) => then.push(put(quarantine, keys::write(record), None)),
        None if closing.absolved => then.push(Op::Delete { key: quarantine }),
        None => {}
    }
    Txn { when: vec![fence.holds(), Compare::Revision(keys::change(), seen)], then }
}

/// The voters' addresses, in place of the list of revision `seen`; `None` for an empty list, which
/// would cut everybody off.
pub fn endpoints(list: &EndpointsRecord, seen: Option<i64>, fence: Fence) -> Option<Txn> {
    let when = vec![fence.holds(), unchanged(keys::endpoints(), seen)];
    let then = vec![put(keys::endpoints(), keys::write(list), None)];
    (!list.list.is_empty()).then_some(Txn { when, then })
}

/// Why nothing more is done, for the other hosts to show.
pub fn tell(told: &Told, fence: Fence) -> Txn {
    Txn { when: vec![fence.holds()], then: vec![put(keys::decision(), keys::write(told), None)] }
}

/// Removes what has served its time: orders and wishes whose member is gone, old history. At most
/// [`SWEEP`] at once; `None` when there is nothing.
pub fn sweep(keys: impl IntoIterator<Item = String>, fence: Fence) -> Option<Txn> {
    let then: Vec<Op> = keys.into_iter().take(SWEEP).map(|key| Op::Delete { key }).collect();
    (!then.is_empty()).then_some(Txn { when: vec![fence.holds()], then })
}

fn put(key: String, value: Vec<u8>, lease: Option<LeaseId>) -> Op {
    Op::Put { key, value, lease }
}

fn unchanged(key: String, seen: Option<i64>) -> Compare {
    match seen {
        Some(revision) => Compare::Revision(key, revision),
        None => Compare::Missing(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::keys::ChangeKind;

    const FENCE: Fence = Fence { revision: 9 };

    fn change() -> ChangeRecord {
        ChangeRecord {
            v: keys::VERSION,
            seq: 5,
            kind: ChangeKind::Add,
            host: "h2".into(),
            member: 0,
            peer: Vec::new(),
            by: "h1".into(),
            started: 0,
            why: String::new(),
            deadline: 15,
        }
    }

    fn quarantine() -> QuarantineRecord {
        QuarantineRecord { v: keys::VERSION, seconds: 10, fails: 1, why: "not ready".into() }
    }

    fn written(txn: &Txn) -> Vec<String> {
        let key = |op: &Op| match op {
            Op::Put { key, .. } => format!("+{key}"),
            Op::Delete { key } => format!("-{key}"),
        };
        txn.then.iter().map(key).map(|key| key.replace(crate::store::PREFIX, "")).collect()
    }

    #[test]
    fn whatever_the_decider_writes_compares_its_claim() {
        let ended = HistoryRecord { change: change(), outcome: "done".into(), ended: 0 };
        let list = EndpointsRecord {
            v: keys::VERSION,
            epoch: 0,
            seq: 1,
            list: vec![keys::Endpoint { host: "h1".into(), member: 1, urls: Vec::new() }],
        };
        let all = [
            open(&change(), FENCE),
            close(&ended, 7, &Closing::default(), FENCE),
            endpoints(&list, Some(3), FENCE).expect("a list"),
            sweep(["a".to_owned()], FENCE).expect("a key"),
        ];
        for txn in all {
            let claim = Compare::Revision(keys::controller(), 9);
            assert_eq!(txn.when.first(), Some(&claim), "{txn:?}");
        }
    }

    #[test]
    fn a_second_change_cannot_be_opened_and_another_ones_end_is_not_ours() {
        let opened = open(&change(), FENCE);
        assert!(opened.when.contains(&Compare::Missing(keys::change())));
        let ended = HistoryRecord { change: change(), outcome: "done".into(), ended: 0 };
        let closed = close(&ended, 7, &Closing::default(), FENCE);
        assert!(closed.when.contains(&Compare::Revision(keys::change(), 7)));
    }

    #[test]
    fn the_end_of_a_change_is_one_transaction_with_all_that_follows_from_it() {
        let ended = HistoryRecord { change: change(), outcome: "done".into(), ended: 0 };
        let absolved = Closing { absolved: true, ..Closing::default() };
        let failed = Closing { quarantine: Some(quarantine()), ..Closing::default() };
        for (closing, last) in
            [(absolved, "-quarantine/h2"), (failed, "+quarantine/h2"), (Closing::default(), "")]
        {
            let mut want = vec!["-change".to_owned(), "+history/00000000000000000005".into()];
            want.extend((!last.is_empty()).then(|| last.to_owned()));
            assert_eq!(written(&close(&ended, 7, &closing, FENCE)), want);
        }
    }

    #[test]
    fn a_name_is_claimed_only_as_it_was_seen() {
        let record: HostRecord = keys::read(
            br#"{"v":1,"instance":"i","machine":"","pid":7,"started":1,"client":[],
                "version":"0","etcd":null}"#,
        )
        .expect("a record");
        let lease = LeaseId(4);
        let first = claim("h1", &record, None, lease);
        assert_eq!(first.when, [Compare::Missing(PerHost::Host.of("h1"))]);
        let again = claim("h1", &record, Some(6), lease);
        assert_eq!(again.when, [Compare::Revision(PerHost::Host.of("h1"), 6)]);
        assert_eq!(written(&again), ["+host/h1", "-away/h1"]);
    }

    #[test]
    fn nobody_is_cut_off_by_an_empty_list_and_nothing_is_swept_for_nothing() {
        let none = EndpointsRecord { v: keys::VERSION, epoch: 0, seq: 1, list: Vec::new() };
        assert_eq!(endpoints(&none, None, FENCE), None);
        assert_eq!(sweep([], FENCE), None);
        let many = (0..1000).map(|n| n.to_string());
        assert_eq!(sweep(many, FENCE).expect("some").then.len(), SWEEP);
    }
}
