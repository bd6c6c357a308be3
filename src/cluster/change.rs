//! The ticket of a change: how it is opened, what became of one that is found open, and what its
//! end writes (3.2).
//!
//! Refuses to trust the answer of an order about members: what the list shows is what was done.

use std::time::Duration;

use super::decide::{Action, Lost, Observation};
use super::flags;
use super::keys::{
    self, ChangeKind, ChangeRecord, HistoryRecord, NominateRecord, QuarantineRecord,
};
use super::seen::{Member, Seen, find};
use super::writes::Closing;

/// How long a host is left alone after its first failure, and at most; doubled with each.
const QUARANTINE: (u64, u64) = (10, 600);
/// How a change ended when it was made.
pub const DONE: &str = "done";
/// How a change ended when it was not made.
pub const CALLED_OFF: &str = "called off";

/// What is to become of an open ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has been made: close it, with the order to the host of a new member.
    Done(Option<NominateRecord>),
    /// It cannot or must not be made any more.
    CallOff,
    /// Give the order, first or again.
    Order,
}

/// The ticket for an action; `None` for one that changes no member.
pub fn ticket(action: &Action, seen: &Seen, by: &str, now_seconds: u64) -> Option<ChangeRecord> {
    let (kind, host, member, why) = match action {
        Action::MoveLeader { .. } => return None,
        Action::AddLearner { host } => (ChangeKind::Add, host.clone(), 0, "more voters are wanted"),
        Action::Promote { id } => (ChangeKind::Promote, seen.host_of(*id), *id, "it is ready"),
        Action::Remove { id, why } => (ChangeKind::Remove, seen.host_of(*id), *id, *why),
    };
    let peer = find(&seen.volunteers, &host).map(|offer| offer.record.peer.clone());
    Some(ChangeRecord {
        v: keys::VERSION,
        seq: seen.revision,
        kind,
        host,
        member,
        peer: peer.unwrap_or_default(),
        by: by.to_owned(),
        started: now_seconds,
        why: why.into(),
        deadline: keys::change_deadline(),
    })
}

/// What became of a ticket that was found open, `age` after it was first seen.
pub fn judge(
    seen: &Seen,
    ticket: &ChangeRecord,
    observation: &Observation,
    age: Duration,
) -> Verdict {
    let by_id = seen.members.iter().find(|m| m.id == ticket.member);
    let by_url = seen.members.iter().find(|m| m.peer == ticket.peer);
    match (ticket.kind, by_id, by_url) {
        (ChangeKind::Add, _, Some(member)) => {
            return Verdict::Done(Some(order(seen, ticket, member.id, &seen.members)));
        }
        (ChangeKind::Promote, Some(member), _) if !member.learner => return Verdict::Done(None),
        (ChangeKind::Promote, None, _) => return Verdict::CallOff,
        (ChangeKind::Remove, None, _) => return Verdict::Done(None),
        _ => {}
    }
    // Who took its offer back must not become a member that nobody starts.
    let gone = ticket.kind == ChangeKind::Add && find(&seen.volunteers, &ticket.host).is_none();
    let late = age > Duration::from_secs(ticket.deadline);
    if late || gone || !observation.still_safe(ticket.kind, ticket.member) {
        return Verdict::CallOff;
    }
    Verdict::Order
}

/// The order to an added host, with everybody's list.
pub fn order(seen: &Seen, ticket: &ChangeRecord, id: u64, members: &[Member]) -> NominateRecord {
    let offer = find(&seen.volunteers, &ticket.host);
    let instance = offer.map(|offer| offer.record.instance.as_str()).unwrap_or_default();
    let own = flags::name_of(&ticket.host, instance);
    let list = members.iter().map(|m| (m.id, m.peer.as_slice()));
    NominateRecord {
        v: keys::VERSION,
        seq: ticket.seq,
        member: id,
        uuid: seen.cluster.uuid.clone(),
        token: seen.cluster.token.clone(),
        initial_cluster: flags::initial_cluster(list, (id, &own)),
    }
}

/// What the end of a ticket writes besides itself: the order to a new member, a pause for a host
/// that failed to join, and its end for one that has shown that it can serve.
pub fn closing(seen: &Seen, ticket: &ChangeRecord, order: Option<NominateRecord>) -> Closing {
    let failure = Lost::FAILURES.into_iter().any(|lost| lost.why() == ticket.why);
    let quarantine = (ticket.kind == ChangeKind::Remove && failure).then(|| {
        let earlier = find(&seen.quarantined, &ticket.host).map_or(0, |kept| kept.record.fails);
        let doubled = QUARANTINE.0.saturating_mul(1 << earlier.min(20));
        QuarantineRecord {
            v: keys::VERSION,
            seconds: doubled.min(QUARANTINE.1),
            fails: earlier.saturating_add(1),
            why: ticket.why.clone(),
        }
    });
    Closing { order, quarantine, absolved: ticket.kind == ChangeKind::Promote }
}

/// The entry of the history.
pub fn ended(ticket: &ChangeRecord, outcome: &str, now_seconds: u64) -> HistoryRecord {
    HistoryRecord { change: ticket.clone(), outcome: outcome.into(), ended: now_seconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::clocks::tests::{learner, look, offer, voter};
    use crate::cluster::decide::Voter;
    use crate::cluster::keys::PerHost;

    fn change(kind: ChangeKind, host: &str, member: u64) -> ChangeRecord {
        let action = match kind {
            ChangeKind::Add => Action::AddLearner { host: host.into() },
            ChangeKind::Promote => Action::Promote { id: member },
            ChangeKind::Remove => Action::Remove { id: member, why: Lost::Silent.why() },
        };
        ticket(&action, &look(), "h1", 0).expect("a ticket")
    }

    fn calm() -> Observation {
        let voters = vec![Voter { id: 1, up: true, ..Voter::default() }];
        Observation { desired: 3, leader: 1, voters, ..Observation::default() }
    }

    #[test]
    fn what_the_list_shows_is_what_was_done() {
        let mut seen = look();
        seen.volunteers.push(offer("h2", 5));
        let add = ticket(&Action::AddLearner { host: "h2".into() }, &seen, "h1", 0).expect("one");
        assert_eq!(judge(&seen, &add, &calm(), Duration::ZERO), Verdict::Order);
        seen.members.push(Member { peer: add.peer.clone(), ..learner(2, "") });
        let Verdict::Done(Some(order)) = judge(&seen, &add, &calm(), Duration::ZERO) else {
            panic!("the new member is in the list")
        };
        assert_eq!((order.member, order.seq), (2, seen.revision));
        let own = &order.initial_cluster[1];
        assert!(own.starts_with("h2-") && own.ends_with(&add.peer[0]), "{own}");

        let promote = change(ChangeKind::Promote, "h2", 2);
        let removed = change(ChangeKind::Remove, "h2", 2);
        seen.members.pop();
        assert_eq!(judge(&seen, &promote, &calm(), Duration::ZERO), Verdict::CallOff);
        assert_eq!(judge(&seen, &removed, &calm(), Duration::ZERO), Verdict::Done(None));
        seen.members.push(voter(2, "h2"));
        assert_eq!(judge(&seen, &promote, &calm(), Duration::ZERO), Verdict::Done(None));
    }

    #[test]
    fn a_change_is_called_off_when_it_is_late_unsafe_or_unwanted() {
        let mut seen = look();
        let add = change(ChangeKind::Add, "h2", 0);
        // The volunteer is gone.
        assert_eq!(judge(&seen, &add, &calm(), Duration::ZERO), Verdict::CallOff);
        seen.volunteers.push(offer("h2", 5));
        let add = ticket(&Action::AddLearner { host: "h2".into() }, &seen, "h1", 0).expect("one");
        let late = Duration::from_secs(add.deadline + 1);
        assert_eq!(judge(&seen, &add, &calm(), late), Verdict::CallOff);
        let lost = Observation { voters: Vec::new(), ..calm() };
        assert_eq!(judge(&seen, &add, &lost, Duration::ZERO), Verdict::CallOff);
        assert_eq!(judge(&seen, &add, &calm(), Duration::ZERO), Verdict::Order);
    }

    #[test]
    fn who_fails_to_join_is_left_alone_twice_as_long_each_time_until_it_serves() {
        let mut seen = look();
        let removed = change(ChangeKind::Remove, "h2", 2);
        for (fails, seconds) in [(1, 10), (2, 20), (3, 40)] {
            let record = closing(&seen, &removed, None).quarantine.expect("a pause");
            assert_eq!((record.fails, record.seconds), (fails, seconds));
            let kept =
                crate::cluster::seen::Kept { host: removed.host.clone(), record, revision: 3 };
            seen.quarantined = vec![kept];
        }
        seen.quarantined[0].record.fails = u32::MAX;
        assert_eq!(closing(&seen, &removed, None).quarantine.map(|q| q.seconds), Some(600));
        let asked = ChangeRecord { why: "it is to leave".into(), ..removed };
        assert_eq!(closing(&seen, &asked, None).quarantine, None);
        assert!(closing(&seen, &change(ChangeKind::Promote, "h2", 2), None).absolved);
        assert!(PerHost::Quarantine.of("h2").ends_with("quarantine/h2"));
    }
}
