//! Which change of membership comes next: one at a time, learner first, never below a healthy
//! quorum (3.4).
//!
//! Refuses to look at a clock or at the world: who is up, dead or overdue is said by the
//! observation, which [`super::clocks`] makes.

use serde::{Deserialize, Serialize};

use super::flags::Version;
use super::identity::hex;
use super::keys::ChangeKind;

mod reasons;
mod rules;

pub use rules::decide;

/// One member of etcd that votes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Voter {
    /// Its id.
    #[serde(with = "hex")]
    pub id: u64,
    /// Its host; empty when no record names it.
    pub host: String,
    /// What fails together with it, if its host says so.
    pub zone: Option<String>,
    /// It answers with the right ids, a leader and the current term.
    pub up: bool,
    /// Down for longer than `dead-after`, and its agent's claim is gone. Implies not up.
    pub dead: bool,
    /// It asked to go.
    pub leaving: bool,
    /// Somebody's hand added it: it has never started, or no agent of ours made it, for a minute.
    pub stranger: bool,
    /// Orders the voters by when they joined; 0 for the founder.
    pub joined: i64,
    /// Its raft log's end, to choose whom to hand the leadership.
    pub index: u64,
}

/// One member of etcd that follows without a vote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learner {
    /// Its id.
    #[serde(with = "hex")]
    pub id: u64,
    /// Its host; empty when no record names it.
    pub host: String,
    /// What fails together with it, if its host says so.
    pub zone: Option<String>,
    /// It answers, with the right ids, close to the leader's log.
    pub ready: bool,
    /// Ready for long enough: at once while the cluster forms, else for 10 s.
    pub stable: bool,
    /// Why it cannot become a voter, if it cannot.
    pub lost: Option<Lost>,
}

/// Why a learner goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lost {
    /// Somebody's hand added it.
    Foreign,
    /// Its agent is gone.
    Gone,
    /// It asked to go.
    Leaving,
    /// It did not answer in time.
    Silent,
    /// It answers, but its log does not grow.
    Stuck,
}

impl Lost {
    /// For people.
    pub fn why(self) -> &'static str {
        match self {
            Lost::Foreign => "no host was asked to be this member",
            Lost::Gone => "the agent of the new member is gone",
            Lost::Leaving => "it is to leave",
            Lost::Silent => "the new member did not become ready in time",
            Lost::Stuck => "the new member does not catch up",
        }
    }

    /// After these the host is left alone for a while: the same would happen again.
    pub const FAILURES: [Lost; 2] = [Lost::Silent, Lost::Stuck];
}

/// A host that could serve and is not a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spare {
    /// Its name.
    pub host: String,
    /// What fails together with it, if it says so.
    pub zone: Option<String>,
    /// How often in a row it failed to join.
    pub fails: u32,
    /// Seconds since 1970 from which on it volunteers; the longest waiting goes first.
    pub since: u64,
    /// Why it cannot be taken up, if it cannot.
    pub barred: Option<Barred>,
}

/// Why a volunteer is not usable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Barred {
    /// It failed before and is left alone for a while.
    Quarantined {
        /// How often.
        fails: u32,
        /// The last time.
        why: String,
    },
    /// It wants to rest first.
    Resting,
    /// It is on its way out.
    Leaving,
    /// Its etcd cannot join the cluster's.
    Version {
        /// What it has.
        has: Version,
        /// The oldest that votes.
        oldest: Version,
    },
    /// One of its peer URLs is that of a member.
    Address {
        /// The member's host.
        host: String,
    },
}

/// Everything that the decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// How many voters are wanted.
    pub desired: u16,
    /// Never fewer voters than this; at least 1.
    pub floor: u16,
    /// An even number of voters is wanted as well.
    pub allow_even: bool,
    /// etcd checks changes as well, and adds nobody while a voter is down.
    pub strict: bool,
    /// All members that vote.
    pub voters: Vec<Voter>,
    /// All members that do not.
    pub learners: Vec<Learner>,
    /// All volunteers.
    pub spares: Vec<Spare>,
    /// The id of the leader; 0 when there is none.
    #[serde(with = "hex")]
    pub leader: u64,
    /// The change that is under way, and its host.
    pub ticket: Option<(ChangeKind, String)>,
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

    /// How many of the voters that answer may fail before writes stop.
    pub fn slack(&self) -> usize {
        self.up().saturating_sub(quorum(self.voters.len()))
    }

    /// The volunteers that can be taken up.
    pub fn usable(&self) -> impl Iterator<Item = &Spare> {
        self.spares.iter().filter(|s| s.barred.is_none())
    }

    /// How many hosts vote, or could.
    pub fn candidates(&self) -> usize {
        let stays = |v: &&Voter| !v.dead && !v.leaving && !v.stranger;
        let staying = self.voters.iter().filter(stays).count();
        let learners = self.learners.iter().filter(|l| l.lost.is_none()).count();
        staying + learners + self.usable().count()
    }

    /// How many voters to aim for: the largest odd number that is wanted and that there are hosts
    /// for.
    pub fn target(&self) -> usize {
        let most = self.candidates().min(usize::from(self.desired));
        let odd = most % 2 == 1 || most == 0 || self.allow_even;
        if odd { most } else { most - 1 }
    }

    /// Fewer voters are wanted.
    pub fn too_many(&self) -> bool {
        self.voters.len() > usize::from(self.desired.max(1))
    }

    /// No decision leaves fewer voters.
    pub fn least(&self) -> usize {
        usize::from(self.floor.max(1))
    }

    /// Removing this voter leaves a quorum of those that answer, and enough voters.
    pub fn can_remove(&self, voter: &Voter) -> bool {
        let n = self.voters.len();
        let left = self.up().saturating_sub(usize::from(voter.up));
        n > self.least() && left >= quorum(n - 1)
    }

    /// Promoting a ready learner leaves a quorum of those that answer.
    pub fn can_promote(&self) -> bool {
        self.up() + 1 >= quorum(self.voters.len() + 1)
    }

    /// The change may be made in the cluster as it is now: its decision may be old, and its first
    /// try may have been made already.
    pub fn still_safe(&self, kind: ChangeKind, member: u64) -> bool {
        let learner = self.learners.iter().find(|l| l.id == member);
        let voter = self.voters.iter().find(|v| v.id == member);
        self.has_quorum()
            && match kind {
                ChangeKind::Add => self.learners.is_empty(),
                ChangeKind::Promote => {
                    learner.is_some_and(|l| l.ready && l.lost.is_none()) && self.can_promote()
                }
                ChangeKind::Remove => voter.is_none_or(|v| {
                    // Who came back or thought better of it stays.
                    let still = v.dead || v.leaving || v.stranger || self.too_many();
                    still && v.id != self.leader && self.can_remove(v)
                }),
            }
    }

    /// How many that stay are in this zone already; nobody knows of a host without one.
    fn in_zone(&self, zone: Option<&String>) -> usize {
        let Some(zone) = zone else { return 0 };
        let voters = self.voters.iter().filter(|v| !v.dead && !v.leaving).map(|v| &v.zone);
        let members = voters.chain(self.learners.iter().map(|l| &l.zone));
        members.flatten().filter(|one| *one == zone).count()
    }
}
