//! What the deciding host saw and why it does no more, as it is written down for every other host.
//!
//! Only the host that decides knows since when a voter is silent; without this record nobody else
//! could say why nothing happens. Refuses to decide anew: it repeats what was decided.

use serde::{Deserialize, Serialize};

use super::decide::{Action, Decision, Observation, decide, quorum};
use super::{keys, when};

/// The record behind [`keys::decision`]: written whenever nothing is to be done and that, or the
/// reasons for it, are other than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// [`keys::VERSION`]
    pub v: u32,
    /// The deciding host.
    pub by: String,
    /// The raft term that it decides in.
    pub term: u64,
    /// Seconds since 1970, for people.
    pub at: u64,
    /// What it saw.
    pub seen: Observation,
    /// Why hosts stay what they are.
    pub held: Vec<Held>,
}

/// Why a host stays what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The host.
    pub host: String,
    /// Why, for people.
    pub reason: String,
}

/// The reasons of a decision.
pub fn held(decision: &Decision) -> Vec<Held> {
    let one =
        |(host, reason): &(String, String)| Held { host: host.clone(), reason: reason.clone() };
    decision.held.iter().map(one).collect()
}

impl Told {
    /// What `by` saw and decided.
    pub fn new(by: &str, term: u64, at: u64, seen: &Observation, decision: &Decision) -> Self {
        let mut seen = seen.clone();
        // It moves with every write, and nobody asks why.
        seen.voters.iter_mut().for_each(|voter| voter.index = 0);
        Told { v: keys::VERSION, by: by.into(), term, at, seen, held: held(decision) }
    }

    /// The same sight, decided by this version.
    pub fn again(self) -> Told {
        let held = held(&decide(&self.seen));
        Told { held, ..self }
    }

    /// Whether this says the same as `other`, at whatever time.
    pub fn same(&self, other: &Told) -> bool {
        Told { at: other.at, ..self.clone() } == *other
    }
}

/// What is done next, for people.
pub fn sentence(seen: &Observation, action: &Action) -> String {
    let voters = seen.voters.iter().map(|one| (one.id, &one.host));
    let members: Vec<_> =
        voters.chain(seen.learners.iter().map(|one| (one.id, &one.host))).collect();
    let name = |id: &u64| {
        let found = members.iter().find(|(known, _)| known == id);
        found.map_or_else(|| super::identity::show_id(*id), |(_, host)| (*host).clone())
    };
    match action {
        Action::AddLearner { host } => format!("adds {host}, to follow without a vote"),
        Action::Promote { id } => format!("gives {} a vote", name(id)),
        Action::Remove { id, why } => format!("removes {}: {why}", name(id)),
        Action::MoveLeader { to } => format!("hands the leadership to {}", name(to)),
    }
}

/// The explanation for people, with a final line break.
pub fn render(told: &Told) -> String {
    let seen = &told.seen;
    let mut lines = vec![
        format!("decided    by {} at {}, in term {}", told.by, when::date(told.at), told.term),
        format!(
            "voters     {} of {} up, {} needed, {} wanted, {} aimed at",
            seen.up(),
            seen.voters.len(),
            quorum(seen.voters.len()),
            seen.desired,
            seen.target()
        ),
    ];
    for voter in &seen.voters {
        let leads = (voter.id == seen.leader).then_some("leads");
        let state = if voter.dead {
            "dead"
        } else if voter.up {
            "up"
        } else {
            "silent"
        };
        let leaves = voter.leaving.then_some("is to go");
        let facts: Vec<&str> = [Some(state), leads, leaves].into_iter().flatten().collect();
        lines.push(format!("voter      {}: {}", voter.host, facts.join(", ")));
    }
    for learner in &seen.learners {
        let state = match (learner.lost.is_some(), learner.ready) {
            (true, _) => "given up",
            (false, true) => "ready",
            (false, false) => "not ready yet",
        };
        lines.push(format!("learner    {}: {state}", learner.host));
    }
    lines.extend(seen.spares.iter().map(|spare| format!("volunteer  {}", spare.host)));
    let next = decide(seen).action.map(|action| sentence(seen, &action));
    lines.push(format!("next       {}", next.unwrap_or_else(|| "nothing".into())));
    let held = told.held.iter().map(|one| format!("waiting    {}: {}", one.host, one.reason));
    lines.extend(held);
    // What other hosts wrote must not drive a terminal, nor forge a line.
    let clean = |line: &String| line.replace(char::is_control, "\u{fffd}") + "\n";
    lines.iter().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::super::decide::Voter;
    use super::*;

    fn seen(index: u64, up: bool) -> Observation {
        let voter = Voter { id: 1, host: "h1".into(), up, index, ..Voter::default() };
        Observation { desired: 1, floor: 1, voters: vec![voter], leader: 1, ..Default::default() }
    }

    #[test]
    fn what_moves_with_every_write_is_no_news_but_a_silent_voter_is() {
        let told = |at, seen: Observation| Told::new("h1", 2, at, &seen, &decide(&seen));
        assert!(told(1, seen(5, true)).same(&told(2, seen(6, true))));
        assert!(!told(1, seen(5, true)).same(&told(1, seen(5, false))));
    }

    #[test]
    fn it_survives_its_value_with_all_digits_of_its_ids() {
        let mut seen = seen(0, true);
        seen.leader = u64::MAX - 1;
        let told = Told::new("h1", 2, 3, &seen, &decide(&seen));
        assert_eq!(keys::read(&keys::write(&told)), Some(told));
    }
}
