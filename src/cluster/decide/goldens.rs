//! What is said about hosts that nothing is done for: every role and every refused action, as text
//! (A21).

use super::super::{Action, Barred, Learner, Lost, Observation, Spare, Voter};
use super::decide;
use crate::cluster::flags::Version;
use crate::cluster::keys::ChangeKind;

fn voters(many: u64) -> Vec<Voter> {
    let voter = |id| Voter { id, host: format!("h{id}"), up: true, ..Voter::default() };
    (1..=many).map(voter).collect()
}

fn seen(many: u64) -> Observation {
    Observation { desired: 3, floor: 1, leader: 1, voters: voters(many), ..Observation::default() }
}

fn learner(id: u64) -> Learner {
    Learner { id, host: format!("h{id}"), ready: true, stable: true, ..Learner::default() }
}

fn spare(host: &str) -> Spare {
    Spare { host: host.into(), ..Spare::default() }
}

fn barred(barred: Barred) -> Vec<Spare> {
    vec![Spare { barred: Some(barred), ..spare("s") }]
}

/// What is done and what is said, a line each.
fn told(mut seen: Observation, change: impl FnOnce(&mut Observation)) -> String {
    change(&mut seen);
    let decision = decide(&seen);
    let done = match decision.action {
        Some(Action::AddLearner { host }) => Some(format!("add {host}")),
        Some(Action::Promote { id }) => Some(format!("promote {id}")),
        Some(Action::Remove { id, why }) => Some(format!("remove {id}: {why}")),
        Some(Action::MoveLeader { to }) => Some(format!("leader {to}")),
        None => None,
    };
    let held = decision.held.into_iter().map(|(host, reason)| format!("{host} {reason}"));
    done.into_iter().chain(held).collect::<Vec<_>>().join("\n")
}

fn lost_quorum(seen: &mut Observation) {
    seen.voters[1].up = false;
    seen.voters[2].up = false;
    seen.leader = 0;
}

fn down(seen: &mut Observation, voter: usize) {
    seen.voters[voter].up = false;
}

fn dies(seen: &mut Observation, voter: usize) {
    down(seen, voter);
    seen.voters[voter].dead = true;
}

#[test]
fn a_volunteer_is_told_why_it_is_not_taken_up() {
    let old = Version { major: 3, minor: 4, patch: 23 };
    let new = Version { major: 3, minor: 5, patch: 30 };
    let waits = |s: &mut Observation| s.spares = vec![spare("s")];
    let with = |why: Barred| move |s: &mut Observation| s.spares = barred(why);
    let busy = |s: &mut Observation| {
        s.spares = vec![spare("s")];
        s.ticket = Some((ChangeKind::Remove, "h9".into()));
    };
    let quarantined = |fails| Barred::Quarantined { fails, why: Lost::Silent.why().into() };
    let joining = |s: &mut Observation| {
        s.spares = vec![spare("s")];
        s.learners = vec![Learner { ready: false, ..learner(9) }];
    };
    let lost = |s: &mut Observation| {
        s.spares = vec![spare("s")];
        lost_quorum(s);
    };
    let strict = |s: &mut Observation| {
        (s.spares, s.strict, s.desired) = (vec![spare("s"), spare("t")], true, 5);
        down(s, 2);
    };
    for (got, want) in [
        (told(seen(3), waits), "s 3 of 3 wanted voters serve already"),
        (told(seen(1), waits), "add s"),
        (
            told(Observation { desired: 5, ..seen(3) }, waits),
            "s 4 voters could lose no more than 3 can; with one more host 5 would vote",
        ),
        (told(seen(3), busy), "s waits for its turn: removing h9 is under way"),
        (
            told(seen(3), lost),
            "s no quorum: 1 of 3 voters answer\nh2 does not answer\n\
            h3 does not answer",
        ),
        (
            told(seen(1), joining),
            "s waits for its turn: h9 is joining\n\
            h9 its etcd is not ready yet",
        ),
        (
            told(seen(3), strict),
            "s etcd's own check (--etcd-strict) adds nobody while a voter is down\n\
            t etcd's own check (--etcd-strict) adds nobody while a voter is down\n\
            h3 does not answer",
        ),
        (
            told(seen(1), with(quarantined(1))),
            "s is left alone for a while: it failed to join once (the new member did not become \
            ready in time)",
        ),
        (
            told(seen(1), with(quarantined(3))),
            "s is left alone for a while: it failed to join 3 times (the new member did not \
            become ready in time)",
        ),
        (told(seen(1), with(Barred::Resting)), "s rests before it joins"),
        (told(seen(1), with(Barred::Leaving)), "s is on its way out"),
        (
            told(seen(1), with(Barred::Version { has: old, oldest: new })),
            "s its etcd 3.4.23 cannot join a cluster with etcd 3.5.30",
        ),
        (
            told(seen(1), with(Barred::Address { host: "h1".into() })),
            "s its peer address is that of the member on h1",
        ),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn a_learner_is_told_why_it_does_not_vote() {
    let joins = |learner: Learner| move |s: &mut Observation| s.learners = vec![learner];
    let lost = |lost| Learner { lost: Some(lost), ready: false, ..learner(9) };
    for (got, want) in [
        (told(seen(2), joins(learner(9))), "promote 9"),
        (
            told(seen(1), joins(learner(9))),
            "h9 follows without a vote: an even number of voters would not be safer",
        ),
        (
            told(seen(2), joins(Learner { ready: false, stable: false, ..learner(9) })),
            "h9 its etcd is not ready yet",
        ),
        (
            told(seen(2), joins(Learner { stable: false, ..learner(9) })),
            "h9 must stay ready for 10 s before it votes, since not all is well",
        ),
        (told(seen(3), joins(learner(9))), "remove 9: enough voters"),
        (
            told(seen(2), |s| {
                s.learners = vec![learner(9)];
                s.voters[0].up = false;
            }),
            "h9 no quorum: 1 of 2 voters answer\nh1 does not answer",
        ),
        (
            told(seen(1), joins(lost(Lost::Foreign))),
            "remove 9: no host was asked to be this member",
        ),
        (told(seen(1), joins(lost(Lost::Gone))), "remove 9: the agent of the new member is gone"),
        (told(seen(1), joins(lost(Lost::Leaving))), "remove 9: it is to leave"),
        (
            told(seen(1), joins(lost(Lost::Silent))),
            "remove 9: the new member did not become ready in time",
        ),
        (told(seen(1), joins(lost(Lost::Stuck))), "remove 9: the new member does not catch up"),
        (
            told(seen(1), |s| {
                s.learners = vec![lost(Lost::Stuck)];
                s.ticket = Some((ChangeKind::Remove, "h9".into()));
            }),
            "h9 is to be removed: the new member does not catch up",
        ),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn a_voter_is_told_why_it_stays() {
    let leaves = |s: &mut Observation, n: usize| s.voters[n].leaving = true;
    for (got, want) in [
        (told(seen(3), |s| leaves(s, 2)), "remove 3: it is to leave"),
        (
            told(Observation { leader: 0, ..seen(3) }, |s| leaves(s, 2)),
            "h3 cannot leave yet: the voters have no leader at the moment",
        ),
        (told(seen(3), |s| leaves(s, 0)), "leader 3"),
        (told(seen(1), |s| leaves(s, 0)), "h1 is the only voter and keeps the data"),
        (
            told(Observation { floor: 3, ..seen(3) }, |s| leaves(s, 2)),
            "h3 cannot leave yet: there are to be at least 3 voters",
        ),
        (
            told(seen(3), |s| {
                leaves(s, 2);
                down(s, 1);
            }),
            "h2 does not answer\nh3 cannot leave yet: too few of the others answer",
        ),
        (
            told(seen(3), |s| {
                leaves(s, 2);
                lost_quorum(s);
            }),
            "h2 does not answer\nh3 cannot leave yet: no quorum: 1 of 3 voters answer",
        ),
        (
            told(seen(5), |s| {
                s.desired = 5;
                leaves(s, 1);
                leaves(s, 2);
            }),
            "remove 2: it is to leave\nh3 cannot leave yet: waits for its turn",
        ),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn a_voter_that_is_down_dead_unknown_or_too_many_is_accounted_for() {
    for (got, want) in [
        (told(seen(3), |s| down(s, 2)), "h3 does not answer"),
        (told(seen(3), |s| dies(s, 2)), "h3 is dead, and no other host can take its place"),
        (
            told(Observation { floor: 3, ..seen(3) }, |s| dies(s, 2)),
            "h3 is dead, and no other host can take its place: there are to be at least 3 voters",
        ),
        (
            told(seen(3), |s| {
                dies(s, 2);
                s.spares = vec![spare("s")];
            }),
            "add s\nh3 is dead, and waits for its turn to be replaced",
        ),
        (
            told(seen(3), |s| {
                dies(s, 2);
                s.learners = vec![Learner { ready: false, ..learner(9) }];
            }),
            "h9 its etcd is not ready yet\nh3 is dead; h9 takes its place once it is ready",
        ),
        (
            told(seen(3), |s| {
                dies(s, 2);
                s.ticket = Some((ChangeKind::Add, "h9".into()));
            }),
            "h3 is dead: waits for its turn: adding h9 is under way",
        ),
        (
            told(seen(3), |s| {
                down(s, 2);
                s.voters[2].stranger = true;
                s.floor = 3;
            }),
            "h3 was added by hand, and cannot be removed yet: there are to be at least 3 voters",
        ),
        (
            told(seen(3), |s| {
                down(s, 2);
                s.voters[2].stranger = true;
            }),
            "remove 3: no host was asked to be this member",
        ),
        (
            told(Observation { desired: 1, floor: 3, ..seen(3) }, |_| {}),
            "h3 is a voter more than the 1 wanted, and stays: there are to be at least 3 voters",
        ),
        (told(Observation { desired: 1, ..seen(3) }, |_| {}), "remove 3: fewer voters are wanted"),
    ] {
        assert_eq!(got, want);
    }
}
