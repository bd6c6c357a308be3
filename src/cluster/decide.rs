//! Which change of membership comes next: one at a time, learner first, never below a healthy
//! quorum (3.4).
//!
//! Refuses to look at a clock or at the world: who is up, dead or overdue is said by the
//! observation.

use serde::{Deserialize, Serialize};

use super::identity::hex;

mod rules;

pub use rules::decide;

/// One member of etcd that votes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Its id.
    #[serde(with = "hex")]
    pub id: u64,
    /// Its host; empty when no record names it.
    pub host: String,
    /// It answers with the right ids, a leader and the current term.
    pub up: bool,
    /// Down for longer than `dead-after`, and its agent's claim is gone. Implies not up.
    pub dead: bool,
    /// It asked to go.
    pub leaving: bool,
    /// Its raft log's end, to choose whom to hand the leadership.
    pub index: u64,
}

/// One member of etcd that follows without a vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learner {
    /// Its id.
    #[serde(with = "hex")]
    pub id: u64,
    /// Its host; empty when no record names it.
    pub host: String,
    /// It answers, with the right ids, close to the leader's log.
    pub ready: bool,
    /// Ready for long enough: at once while all voters are up, else after 10 s.
    pub stable: bool,
    /// Not ready within its deadline, or its agent is gone, or it asked to go.
    pub lost: bool,
}

/// A host that could serve and is not a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spare {
    /// Seconds since 1970 from which on it volunteers; the longest waiting goes first.
    pub since: u64,
    /// Its name.
    pub host: String,
}

/// Everything that the decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// How many voters are wanted.
    pub desired: u16,
    /// Never fewer voters than this; at least 1.
    pub floor: u16,
    /// All members that vote.
    pub voters: Vec<Voter>,
    /// All members that do not.
    pub learners: Vec<Learner>,
    /// Usable volunteers.
    pub spares: Vec<Spare>,
    /// The id of the leader; 0 when there is none.
    #[serde(with = "hex")]
    pub leader: u64,
    /// A change is under way.
    pub ticket: bool,
}

/// One change of membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Add a volunteer as a learner.
    AddLearner {
        /// Its host.
        host: String,
    },
    /// Make a learner a voter.
    Promote {
        /// Its id.
        id: u64,
    },
    /// Remove a member.
    Remove {
        /// Its id.
        id: u64,
        /// Why, for people.
        why: &'static str,
    },
    /// Hand the leadership to another voter.
    MoveLeader {
        /// Its id.
        to: u64,
    },
}

/// What to do now, and why not more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The next change, if any.
    pub action: Option<Action>,
    /// Hosts that nothing is done for, with the reason.
    pub held: Vec<(String, String)>,
}

/// The votes that a cluster of `voters` needs.
pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Observation {
    /// How many voters answer.
    pub fn up(&self) -> usize {
        self.voters.iter().filter(|v| v.up).count()
    }

    /// More than half of the voters answer.
    pub fn has_quorum(&self) -> bool {
        !self.voters.is_empty() && self.up() >= quorum(self.voters.len())
    }

    /// How many voters to aim for: the largest odd number that is wanted and that there are hosts
    /// for.
    pub fn target(&self) -> usize {
        let staying = self.voters.iter().filter(|v| !v.dead && !v.leaving).count();
        let learners = self.learners.iter().filter(|l| !l.lost).count();
        let candidates = staying + learners + self.spares.len();
        let most = candidates.min(usize::from(self.desired));
        if most == 0 { 0 } else { most - (most + 1) % 2 }
    }

    /// Removing this voter leaves a quorum of those that answer.
    pub fn can_remove(&self, voter: &Voter) -> bool {
        let n = self.voters.len();
        let left = self.up().saturating_sub(usize::from(voter.up));
        n > usize::from(self.floor.max(1)) && left >= quorum(n - 1)
    }

    /// Promoting a ready learner leaves a quorum of those that answer.
    pub fn can_promote(&self) -> bool {
        self.up() + 1 >= quorum(self.voters.len() + 1)
    }
}
