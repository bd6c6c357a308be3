//! Why hosts stay what they are: one sentence for each that nothing is done for.
//!
//! Refuses to decide: it only words what [`super::rules`] found, in their order.

use super::rules::victims;
use super::{Action, Barred, Learner, Observation, Spare, Voter};
use crate::ident::counted;

/// Everybody who waits for something, with the reason.
pub(super) fn held(seen: &Observation, action: Option<&Action>) -> Vec<(String, String)> {
    let mut held = Vec::new();
    for spare in &seen.spares {
        let added = matches!(action, Some(Action::AddLearner { host }) if *host == spare.host);
        if !added {
            held.push((spare.host.clone(), of_spare(seen, spare)));
        }
    }
    let acts_on = |member: u64| match action {
        Some(Action::Promote { id } | Action::Remove { id, .. }) => *id == member,
        // The leadership moves for the sake of the leader's removal.
        Some(Action::MoveLeader { .. }) => member == seen.leader,
        _ => false,
    };
    for learner in seen.learners.iter().filter(|l| !acts_on(l.id)) {
        held.push((learner.host.clone(), of_learner(seen, learner)));
    }
    for voter in seen.voters.iter().filter(|v| !acts_on(v.id)) {
        let reason = of_voter(seen, voter).or_else(|| too_many(seen, voter, action));
        held.extend(reason.map(|reason| (voter.host.clone(), reason)));
    }
    held
}

/// What keeps everybody from everything.
fn nothing_goes(seen: &Observation) -> Option<String> {
    if !seen.has_quorum() {
        let voters = counted(seen.voters.len(), "voter");
        return Some(format!("no quorum: {} of {voters} answer", seen.up()));
    }
    if seen.leader == 0 {
        return Some("the voters have no leader at the moment".into());
    }
    let (kind, host) = seen.ticket.as_ref()?;
    Some(format!("waits for its turn: {} {host} is under way", kind.doing()))
}

fn of_spare(seen: &Observation, spare: &Spare) -> String {
    let n = seen.voters.len();
    if let Some(barred) = &spare.barred {
        return of_barred(barred);
    }
    if let Some(reason) = nothing_goes(seen) {
        return reason;
    }
    let replaces = seen.voters.iter().any(|v| v.dead || v.leaving);
    match seen.learners.first() {
        _ if n >= usize::from(seen.desired) && !replaces => {
            format!("{n} of {} serve already", counted(seen.desired.into(), "wanted voter"))
        }
        Some(learner) if n < seen.target() || replaces => {
            format!("waits for its turn: {} is joining", learner.host)
        }
        _ if seen.strict && seen.up() < n => {
            "etcd's own check (--etcd-strict) adds nobody while a voter is down".into()
        }
        _ if n >= seen.target() && !replaces => odd_one(n, seen.desired.into()),
        _ => "waits for its turn: members are added one at a time".into(),
    }
}

/// A host that would make the number of voters even.
fn odd_one(n: usize, desired: usize) -> String {
    let gain = match desired > n + 1 {
        true => format!("; with one more host {} would vote", n + 2),
        false => String::new(),
    };
    format!("{} voters could lose no more than {n} can{gain}", n + 1)
}

fn of_barred(barred: &Barred) -> String {
    match barred {
        Barred::Quarantined { fails, why } => {
            let times = if *fails == 1 { "once".into() } else { format!("{fails} times") };
            format!("is left alone for a while: it failed to join {times} ({why})")
        }
        Barred::Resting => "rests before it joins".into(),
        Barred::Leaving => "is on its way out".into(),
        Barred::Version { has, oldest } => {
            format!("its etcd {has} cannot join a cluster with etcd {oldest}")
        }
        Barred::Address { host } => format!("its peer address is that of the member on {host}"),
    }
}

fn of_learner(seen: &Observation, learner: &Learner) -> String {
    if let Some(lost) = learner.lost {
        return format!("is to be removed: {}", lost.why());
    }
    if !learner.ready {
        return "its etcd is not ready yet".into();
    }
    if let Some(reason) = nothing_goes(seen) {
        return reason;
    }
    if seen.voters.len() >= seen.target() {
        return "follows without a vote: an even number of voters would not be safer".into();
    }
    if !seen.can_promote() {
        return "cannot vote yet: too few voters would answer".into();
    }
    if learner.stable {
        "waits for its turn to vote".into()
    } else {
        "must stay ready for 10 s before it votes, since not all is well".into()
    }
}

fn of_voter(seen: &Observation, voter: &Voter) -> Option<String> {
    let n = seen.voters.len();
    let wish = match voter {
        Voter { leaving: true, .. } => "cannot leave",
        Voter { stranger: true, .. } => "was added by hand, and cannot be removed",
        Voter { dead: true, .. } => return Some(of_dead(seen, voter)),
        Voter { up: false, .. } => return Some("does not answer".into()),
        _ => return None,
    };
    if n == 1 {
        return Some("is the only voter and keeps the data".into());
    }
    if let Some(reason) = nothing_goes(seen) {
        return Some(format!("{wish} yet: {reason}"));
    }
    let reason = match cannot_go(seen, voter) {
        Some(reason) => reason,
        None => "waits for its turn".into(),
    };
    Some(format!("{wish} yet: {reason}"))
}

fn of_dead(seen: &Observation, voter: &Voter) -> String {
    if let Some(reason) = nothing_goes(seen) {
        return format!("is dead: {reason}");
    }
    if let Some(learner) = seen.learners.iter().find(|l| l.lost.is_none()) {
        return format!("is dead; {} takes its place once it is ready", learner.host);
    }
    match (seen.usable().next(), cannot_go(seen, voter)) {
        (Some(_), _) => "is dead, and waits for its turn to be replaced".into(),
        (None, Some(reason)) => format!("is dead, and no other host can take its place: {reason}"),
        (None, None) => "is dead, and no other host can take its place".into(),
    }
}

fn too_many(seen: &Observation, voter: &Voter, action: Option<&Action>) -> Option<String> {
    let wanted = seen.desired.max(1);
    let first = victims(seen).first().is_some_and(|victim| victim.id == voter.id);
    if !seen.too_many() || action.is_some() || !first {
        return None;
    }
    let reason = nothing_goes(seen).or_else(|| cannot_go(seen, voter))?;
    Some(format!("is a voter more than the {wanted} wanted, and stays: {reason}"))
}

/// Why a voter cannot be removed, if it cannot.
fn cannot_go(seen: &Observation, voter: &Voter) -> Option<String> {
    let n = seen.voters.len();
    if seen.can_remove(voter) {
        return None;
    }
    let least = seen.least();
    Some(match n <= least {
        true => format!("there are to be at least {}", counted(least, "voter")),
        false => "too few of the others answer".into(),
    })
}
