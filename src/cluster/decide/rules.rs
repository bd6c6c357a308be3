//! The rules of the decision in their order; the first that wants something wins.
//!
//! Refuses to act for more than one rule at a time, so that every state in between is one that the
//! rules have seen.

use super::{Action, Decision, Learner, Observation, Spare, Voter, quorum};

/// The next change of membership.
pub fn decide(seen: &Observation) -> Decision {
    let held = held(seen);
    if seen.ticket || seen.leader == 0 || !seen.has_quorum() {
        return Decision { action: None, held };
    }
    let rules: [fn(&Observation) -> Option<Action>; 6] =
        [lost_learner, leaving, dead, shrink, grow, standby];
    Decision { action: rules.iter().find_map(|rule| rule(seen)), held }
}

/// Rule 1: a learner that cannot become anything goes. Always safe, since it does not vote.
fn lost_learner(seen: &Observation) -> Option<Action> {
    let lost = seen.learners.iter().find(|l| l.lost)?;
    Some(Action::Remove { id: lost.id, why: "the new member did not become ready" })
}

/// Rule 2: a voter wants to go. A ready learner takes its place first, where that keeps the size.
fn leaving(seen: &Observation) -> Option<Action> {
    let wants = |v: &&Voter| v.leaving;
    // The leader last, so that leadership moves once and not from one leaving host to the next.
    let voter = seen.voters.iter().filter(wants).min_by_key(|v| (v.id == seen.leader, v.id))?;
    let ready = ready_learner(seen);
    if seen.voters.len() <= seen.target()
        && seen.can_promote()
        && let Some(learner) = ready
    {
        return Some(Action::Promote { id: learner.id });
    }
    if seen.can_remove(voter) {
        return take_out(seen, voter, "it asked to leave");
    }
    if seen.learners.is_empty() { add(seen) } else { promote_if_possible(seen) }
}

/// Rule 3: a dead voter is replaced; without a replacement it goes only if that makes the cluster
/// safer.
fn dead(seen: &Observation) -> Option<Action> {
    let voter = seen.voters.iter().filter(|v| v.dead).min_by_key(|v| v.id)?;
    let (n, up) = (seen.voters.len(), seen.up());
    if let Some(learner) = ready_learner(seen) {
        if seen.can_remove(voter) {
            return Some(Action::Remove { id: voter.id, why: "dead, and a new member is ready" });
        }
        let safer = (up + 1).saturating_sub(quorum(n + 1)) > up - quorum(n);
        return (safer && seen.can_promote()).then_some(Action::Promote { id: learner.id });
    }
    if seen.learners.is_empty() && !seen.spares.is_empty() {
        return add(seen);
    }
    let all = seen.voters.iter().filter(|v| v.dead).count();
    let safer = n > all && up >= quorum(n - all) && up - quorum(n - all) > up - quorum(n);
    let alone = seen.learners.is_empty() && safer && seen.can_remove(voter);
    alone.then_some(Action::Remove { id: voter.id, why: "dead, and fewer voters are safer" })
}

/// Rule 4: fewer voters are wanted. Those that are down go first, the leader last.
fn shrink(seen: &Observation) -> Option<Action> {
    if seen.voters.len() <= usize::from(seen.desired.max(1)) {
        return None;
    }
    let mut order: Vec<&Voter> = seen.voters.iter().collect();
    order.sort_by_key(|v| (v.up, v.id == seen.leader, std::cmp::Reverse(v.id)));
    let victim = order.into_iter().find(|v| seen.can_remove(v))?;
    take_out(seen, victim, "fewer voters are wanted")
}

/// Rule 5: more voters are wanted and there is a host for it: learner first, then its promotion.
fn grow(seen: &Observation) -> Option<Action> {
    let n = seen.voters.len();
    if n >= seen.target() {
        return None;
    }
    let Some(learner) = seen.learners.first() else { return add(seen) };
    let odd_after = n.is_multiple_of(2);
    let voter_down = seen.up() < n;
    // An even size is only passed through: with a further host at hand, or to replace what is down.
    let passes = odd_after || !seen.spares.is_empty() || voter_down;
    (learner.ready && learner.stable && passes && seen.can_promote())
        .then_some(Action::Promote { id: learner.id })
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
        .max_by_key(|v| (!v.leaving, v.index, v.id))
        .map(|to| Action::MoveLeader { to: to.id })
}

fn ready_learner(seen: &Observation) -> Option<&Learner> {
    seen.learners.iter().find(|l| l.ready && !l.lost)
}

fn promote_if_possible(seen: &Observation) -> Option<Action> {
    let learner = ready_learner(seen)?;
    seen.can_promote().then_some(Action::Promote { id: learner.id })
}

fn add(seen: &Observation) -> Option<Action> {
    seen.spares.iter().min().map(|spare: &Spare| Action::AddLearner { host: spare.host.clone() })
}

/// Why hosts stay what they are.
fn held(seen: &Observation) -> Vec<(String, String)> {
    let n = seen.voters.len();
    let mut held = Vec::new();
    let spare_reason = if !seen.has_quorum() {
        format!("no quorum: {} of {n} voters answer", seen.up())
    } else if n >= usize::from(seen.desired) {
        format!("{n} of {} wanted voters serve already", seen.desired)
    } else if n >= seen.target() {
        format!("{n} voters serve, and an even number would not be safer; one more host is needed")
    } else {
        "waits for its turn: members are added one at a time".to_owned()
    };
    held.extend(seen.spares.iter().map(|s| (s.host.clone(), spare_reason.clone())));
    for learner in seen.learners.iter().filter(|l| !l.lost) {
        let reason = if !learner.ready {
            "its etcd is not ready yet"
        } else if n >= seen.target() {
            "follows without a vote: an even number of voters would not be safer"
        } else {
            "waits for its promotion"
        };
        held.push((learner.host.clone(), reason.to_owned()));
    }
    for voter in &seen.voters {
        let reason = match (voter.leaving, voter.dead, voter.up) {
            (true, ..) if n == 1 => "is the only voter and keeps the data",
            (true, ..) if !seen.can_remove(voter) => "cannot leave: too few voters would answer",
            (_, true, _) => "is dead, and no other host can take its place",
            (_, false, false) => "does not answer",
            _ => continue,
        };
        held.push((voter.host.clone(), reason.to_owned()));
    }
    held
}

#[cfg(test)]
#[path = "model.rs"]
mod model;
