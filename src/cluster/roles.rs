//! What a host is in the cluster and how it becomes something else, as a machine: seek, volunteer,
//! start etcd, serve, begin again (3.1).
//!
//! Refuses to act and to know the time of day: it is told what happened and says what is to be
//! done. At most one command that has an outcome is in hand: its outcome comes as an event, and a
//! command that comes later takes its place.

use std::time::Duration;

use super::aftermath::Cause;
use super::flags::Mode;
use super::identity::Phase;
use super::start::Start;
use super::status::Role;

mod machine;
#[cfg(test)]
mod tests;

pub use machine::Membership;

/// What our own etcd says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// It has the cluster id and the member id that it should have.
    pub ours: bool,
    /// It knows a leader.
    pub led: bool,
    /// It has no vote.
    pub learner: bool,
}

/// An order to become a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nomination {
    /// The change that added the member.
    pub seq: i64,
    /// The member's id.
    pub member: u64,
}

/// What happened. Words for people may come with it; [`Why::Heard`] means them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The start was decided.
    Begin {
        /// What the table says.
        start: Start,
        /// How far the folder had come.
        phase: Phase,
        /// The member that the folder names.
        member: Option<u64>,
    },
    /// What was in hand is done.
    Done,
    /// It came to nothing, and may be tried again.
    Failed,
    /// The state folder refused it; the words say why.
    Refused,
    /// Nobody answers yet; the words say who and why. What is in hand goes on.
    Silent,
    /// Who answers turns us away, or is another cluster. What is in hand goes on.
    Barred,
    /// The claim to the name, and with it the offer, is gone or new.
    Claim,
    /// The order for this host, as it is now.
    Order(Option<Nomination>),
    /// Our etcd was asked for its health.
    Look {
        /// What it answered, if it did.
        health: Option<Health>,
        /// More than half of the voters were seen lately.
        quorum: bool,
    },
    /// The child has ended.
    ChildEnded {
        /// Why; the words are its last ones.
        cause: Cause,
        /// The other voters are a quorum without us.
        others: bool,
    },
    /// The others have a quorum and do not list our member, which our etcd was not told.
    Unlisted,
    /// Time has passed.
    Time,
}

/// The words that go with what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// None.
    Nothing,
    /// These.
    Told(&'static str),
    /// Those that came with the event.
    Heard,
    /// Why this host has no etcd, if it was to have one.
    NoEtcd,
    /// Those that came with the event, and that a person has to mend it.
    Mend {
        /// Its version does not suit the cluster.
        version: bool,
        /// How often in a row it ended like this.
        times: u32,
    },
}

/// What follows from something that is told to the log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// The cluster is founded on new data.
    FoundAnew,
    /// The others are asked for another try.
    AskAgain,
    /// The host volunteers again.
    Volunteer,
    /// The member is given up.
    GiveUp,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tell this role from now on.
    Say(Role, Why),
    /// Tell the log.
    Tell(Why, Follows),
    /// KILL the child; its end comes as an event.
    Kill,
    /// Our own etcd takes part in what this process asks the store.
    UseOwn,
    /// Ask everybody known, until the cluster answers and is ours.
    Seek,
    /// Write the offer to serve, until the store takes it.
    Offer {
        /// Since when it counts; the longest waiting comes first.
        since: Duration,
        /// For how many seconds the host asks to be left alone.
        not_before: u64,
    },
    /// Put old data aside, make uuid and token, store the phase `bootstrapping`.
    Found,
    /// Put old data aside, store what the order says and the phase `joining`.
    Follow,
    /// Have another voter correct our addresses in the list, if they are wrong.
    Readdress,
    /// Start etcd.
    Spawn(Mode),
    /// Store the ids that etcd answered with and the phase `member`; a founder writes the cluster's
    /// records before that phase.
    Accept {
        /// How it was started.
        mode: Mode,
        /// It has a vote.
        votes: bool,
    },
    /// Correct our addresses in the list through our own etcd.
    Correct,
    /// Put the data aside for this reason, and keep the identity.
    Clear(&'static str),
    /// Put the data aside for this reason, forget the membership.
    Archive(&'static str),
    /// Write the wish that our old member goes, for this reason, until the store takes it.
    GiveUp(&'static str),
}

impl Command {
    /// It is in hand until its outcome comes.
    pub fn has_outcome(self) -> bool {
        use Command::{Kill, Say, Tell, UseOwn};
        !matches!(self, Say(..) | Tell(..) | Kill | UseOwn)
    }
}

/// How a look at our etcd is to be timed: the first of a kind at once, the next ones after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It starts.
    Starting,
    /// It follows without a vote, or without a leader.
    Waiting,
    /// It votes.
    Voting,
}
