//! What hosts give each other: keys and records, the live exports behind them, the rules that take
//! them, and the plan that publishes ours. All of it pure: values in, values out.
//!
//! Refuses to talk to a store, to read a clock, and to stop because of what another host wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::ident::{HostName, ResourceId};
use crate::spec::{Collected, EdgeSpec, Fields, HostSelector};

pub mod convergence;
pub mod explain;
pub mod grants;
pub mod health;
pub mod interest;
pub mod keys;
pub mod listing;
pub mod offline;
pub mod policy;
pub mod presence;
pub mod publish;
pub mod purge;
pub mod record;
pub mod request;
pub mod roster;
pub mod rules;
pub mod sealing;
pub mod sets;
pub mod slots;

pub use grants::Grants;
pub use policy::Policy;
pub use rules::{Local, Site, read_owed, run, run_at, run_beside, write_owed};

/// The routing scope of an export that names none.
pub const DEFAULT_CHANNEL: &str = "default";

/// Where an export stands in the store. Host, kind, name and channel come from the key alone, so a
/// record cannot lie about them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The routing scope.
    pub channel: String,
    /// The kind, known here or not.
    pub kind: String,
    /// The host that exports it.
    pub from: HostName,
    /// The name that it is published under.
    pub name: String,
}

impl Address {
    /// Where it is followed.
    pub fn slot(&self) -> Slot {
        Slot::new(&self.channel, &self.kind)
    }

    /// Kind and name, as they would be called here.
    pub fn id(&self) -> ResourceId {
        ResourceId::new(self.kind.as_str(), self.name.as_str())
    }
}

/// A channel and a kind: what a host can follow alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The channel.
    pub channel: String,
    /// The kind.
    pub kind: String,
}

impl Slot {
    /// The slot of these.
    pub fn new(channel: &str, kind: &str) -> Self {
        Slot { channel: channel.to_owned(), kind: kind.to_owned() }
    }

    /// Reads `CHANNEL/KIND`.
    pub fn parse(text: &str) -> Option<Self> {
        let (channel, kind) = text.split_once('/')?;
        (!channel.is_empty() && !kind.is_empty()).then(|| Slot::new(channel, kind))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.kind)
    }
}

/// What a record says, as far as this agent understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The fields, checked against the record's digest but not yet against the kind.
    Fields(Fields),
    /// Fields of which some can be read by some hosts only.
    Sealed(Arc<record::Sealed>),
    /// Written by an agent with a newer form; says which (`record version 9`). Listed, ignored.
    Unknown(String),
    /// Not a record; says why. Held.
    Broken(String),
}

impl Content {
    /// The fields that everybody may read, if there are any.
    pub fn open(&self) -> Option<&Fields> {
        match self {
            Content::Fields(fields) => Some(fields),
            Content::Sealed(sealed) => Some(&sealed.open),
            Content::Unknown(_) | Content::Broken(_) => None,
        }
    }
}

/// One export of one host that is live now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Where it stands.
    pub address: Address,
    /// What it says.
    pub content: Content,
    /// The revision of its last change.
    pub revision: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who may collect it.
    pub to: HostSelector,
}

/// What the site says about a host.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HostInfo {
    /// The labels that an operator gave it.
    pub labels: BTreeMap<String, String>,
    /// It proved to the store who it is.
    pub authenticated: bool,
    /// Its exports are gone for good.
    pub decommissioned: bool,
}

/// Why an export was not taken as it is. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Two exporters, same identity, different values.
    Xc01,
    /// A local resource has the same identity and other values.
    Xc02,
    /// Another resource has the same target.
    Xc03,
    /// The path leaves the rule's directory.
    Xc04,
    /// A template gives nothing: an undefined name, a wrong type, too much work.
    Xc05,
    /// A powerful kind or field without consent.
    Xc06,
    /// The record or its fields make no resource.
    Xc07,
    /// More or fewer exports than the rule expects.
    Xc08,
    /// An edge of the rule would close a cycle.
    Xc09,
    /// The rule is not valid.
    Xc10,
    /// A rule is overruled by another one.
    Xc11,
    /// Kind or record version unknown here.
    Xc12,
    /// Sealed to other hosts, or it cannot be opened here.
    Xc13,
    /// The policy or the exporter excludes this host.
    Xc14,
}

impl Code {
    /// The number without its letters.
    fn number(self) -> u8 {
        match self {
            Code::Xc01 => 1,
            Code::Xc02 => 2,
            Code::Xc03 => 3,
            Code::Xc04 => 4,
            Code::Xc05 => 5,
            Code::Xc06 => 6,
            Code::Xc07 => 7,
            Code::Xc08 => 8,
            Code::Xc09 => 9,
            Code::Xc10 => 10,
            Code::Xc11 => 11,
            Code::Xc12 => 12,
            Code::Xc13 => 13,
            Code::Xc14 => 14,
        }
    }

    /// True when something that was wanted is missing, so that the agent's health is degraded.
    pub fn degrades(self) -> bool {
        !matches!(self, Code::Xc02 | Code::Xc11 | Code::Xc12 | Code::Xc13 | Code::Xc14)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XC{:02}", self.number())
    }
}

/// An export that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// What it would have been here.
    pub id: ResourceId,
    /// Who exports it.
    pub from: Vec<HostName>,
    /// Why, for programs.
    pub code: Code,
    /// Why, for people: the whole line `CODE SUBJECT: TEXT[; ACTION][, rule ID]`.
    pub message: String,
}

/// What the rules made of the exports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Collection {
    /// To be managed here, sorted by identity.
    pub resources: Vec<Collected>,
    /// The order that the rules ask for, between what they made and anything else.
    pub edges: Vec<EdgeSpec>,
    /// Not taken, sorted by identity.
    pub held: Vec<Held>,
    /// Every message once: those of `held` and the warnings about the rules, sorted.
    pub messages: Vec<String>,
}

/// A list of live exports, cheap to clone.
pub type Exports = Arc<[Arc<Export>]>;

#[cfg(test)]
mod tests;
