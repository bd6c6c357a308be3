//! The rules of the decision in their order; the first that wants something wins.
//!
//! Refuses to act for more than one rule at a time, so that every state in between is one that the
//! rules have seen.

use std::cmp::Reverse;

use super::{Action, Decision, Learner, Observation, Voter, quorum, reasons};

/// The next change of membership.
pub fn decide(seen: &Observation) -> Decision {
    let action = next(seen);
    let held = reasons::held(seen, action.as_ref());
    Decision { action, held }
}

/// The first that a rule wants.
pub(super) fn next(seen: &Observation) -> Option<Action> {
    if seen.ticket.is_some() || seen.leader == 0 || !seen.has_quorum() {
        return None;
    }
    let rules: [fn(&Observation) -> Option<Action>; 7] =
        [lost_learner, stranger, leaving, dead, shrink, grow, standby];
    rules.iter().find_map(|rule| rule(seen))
}

/// Rule 1: a learner that cannot become anything goes. Always safe, since it does not vote.
fn lost_learner(seen: &Observation) -> Option<Action> {
    seen.learners.iter().find_map(|l| Some(Action::Remove { id: l.id, why: l.lost?.why() }))
}

/// Rule 1 as well: a voter that somebody's hand added counts in the quorum and belongs to nobody.
fn stranger(seen: &Observation) -> Option<Action> {
    let foreign = seen.voters.iter().find(|v| v.stranger && seen.can_remove(v))?;
    take_out(seen, foreign, "no host was asked to be this member")
}

/// Rule 2: voters want to go. A ready learner takes the place of one first, where that keeps the
/// size.
fn leaving(seen: &Observation) -> Option<Action> {
    let mut leavers: Vec<&Voter> = seen.voters.iter().filter(|v| v.leaving).collect();
    if leavers.is_empty() {
        return None;
    }
    // Who is down costs nothing and may be what keeps the others. The leader goes last, so that
    // leadership moves once and not from one leaving host to the next.
    leavers.sort_by_key(|v| (v.up, v.id == seen.leader, v.id));
    if seen.voters.len() <= seen.target()
        && let Some(promote) = promote_if_possible(seen)
    {
        return Some(promote);
    }
    if let Some(voter) = leavers.into_iter().find(|v| seen.can_remove(v)) {
        return take_out(seen, voter, "it is to leave");
    }
    if seen.learners.is_empty() { add(seen) } else { promote_if_possible(seen) }
}

/// Rule 3: a dead voter is replaced; without a replacement it goes only if that makes the cluster
/// safer. The dead goes before the new one votes, so that the number of voters never inflates.
fn dead(seen: &Observation) -> Option<Action> {
    let voter = seen.voters.iter().filter(|v| v.dead).min_by_key(|v| v.id)?;
    let (n, up) = (seen.voters.len(), seen.up());
    let slack = up - quorum(n);
    let can_remove = seen.can_remove(voter);
    if ready_learner(seen).is_some() {
        if can_remove {
            return Some(Action::Remove { id: voter.id, why: "dead, and a new member is ready" });
        }
        let after = (up + 1).saturating_sub(quorum(n + 1));
        // At the floor the dead cannot go first; one more voter in between costs nothing then.
        let at_floor = n <= seen.least() && after >= slack;
        return if after > slack || at_floor { promote_if_possible(seen) } else { None };
    }
    let spare = seen.usable().next().is_some();
    if seen.learners.is_empty() && spare {
        // With etcd's own check nobody can be added as long as the dead is there.
        let first = seen.strict && can_remove;
        let why = "dead, and a volunteer waits";
        return if first { Some(Action::Remove { id: voter.id, why }) } else { add(seen) };
    }
    let all = seen.voters.iter().filter(|v| v.dead).count();
    let safer = n > all && up >= quorum(n - all) && up - quorum(n - all) > slack;
    let alone = seen.learners.is_empty() && safer && can_remove;
    alone.then_some(Action::Remove { id: voter.id, why: "dead, and fewer voters are safer" })
}

/// Rule 4: fewer voters are wanted. The leader last.
fn shrink(seen: &Observation) -> Option<Action> {
    if !seen.too_many() {
        return None;
    }
    let victim = victims(seen).into_iter().find(|v| seen.can_remove(v))?;
    take_out(seen, victim, "fewer voters are wanted")
}

/// All voters, the most dispensable first: what is down, then who shares a zone, then the newest.
pub(super) fn victims(seen: &Observation) -> Vec<&Voter> {
    let mut order: Vec<&Voter> = seen.voters.iter().collect();
    order.sort_by_key(|v| {
        let alone = seen.in_zone(v.zone.as_ref()) < 2;
        (v.up, !v.dead, v.id == seen.leader, alone, Reverse((v.joined, v.id)))
    });
    order
}

/// Rule 5: more voters are wanted and there is a host for it: learner first, then its promotion. As
/// the target is odd unless even sizes are wanted, an even one is only passed through, with a
/// further host at hand.
fn grow(seen: &Observation) -> Option<Action> {
    if seen.voters.len() >= seen.target() {
        return None;
    }
    let Some(learner) = seen.learners.first() else { return add(seen) };
    if learner.stable { promote_if_possible(seen) } else { None }
}

/// Rule 6: with two hosts, the second follows without a vote; a learner beyond the wanted size
/// becomes a spare again, unless it is on its way to take somebody's place.
fn standby(seen: &Observation) -> Option<Action> {
    let n = seen.voters.len();
    if n >= usize::from(seen.desired) {
        let replaces = seen.voters.iter().any(|v| v.dead || v.leaving);
        let learner = seen.learners.first().filter(|_| !replaces)?;
        return Some(Action::Remove { id: learner.id, why: "enough voters" });
    }
    (n == 1 && seen.learners.is_empty()).then(|| add(seen)).flatten()
}

/// Removes a voter, after its leadership has gone elsewhere.
fn take_out(seen: &Observation, voter: &Voter, why: &'static str) -> Option<Action> {
    if voter.id != seen.leader {
        return Some(Action::Remove { id: voter.id, why });
    }
    seen.voters
        .iter()
        .filter(|v| v.up && v.id != voter.id)
        .max_by_key(|v| (!v.leaving && !v.stranger, v.index, v.id))
        .map(|to| Action::MoveLeader { to: to.id })
}

/// Rule 1 has seen to it that none of them is lost.
fn ready_learner(seen: &Observation) -> Option<&Learner> {
    seen.learners.iter().find(|l| l.ready)
}

fn promote_if_possible(seen: &Observation) -> Option<Action> {
    let learner = ready_learner(seen)?;
    seen.can_promote().then_some(Action::Promote { id: learner.id })
}

/// Adds the volunteer of the emptiest zone that failed least and waits longest.
fn add(seen: &Observation) -> Option<Action> {
    if seen.strict && seen.up() < seen.voters.len() {
        // etcd's own check would refuse.
        return None;
    }
    seen.usable()
        .min_by_key(|s| (seen.in_zone(s.zone.as_ref()), s.fails, s.since, &s.host))
        .map(|spare| Action::AddLearner { host: spare.host.clone() })
}

#[cfg(test)]
#[path = "goldens.rs"]
mod goldens;
#[cfg(test)]
#[path = "model.rs"]
mod model;
#[cfg(test)]
#[path = "schedules.rs"]
mod schedules;
