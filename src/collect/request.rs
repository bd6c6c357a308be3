//! What can be asked about a site through an agent's socket, and what comes back.
//!
//! Refuses to judge: these are the words alone. Fields are only ever added.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::listing::Row;

/// A request. Each is answered once, within [`PATIENCE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// What is known of every host.
    Hosts,
    /// A host gets labels and loses others.
    Label {
        /// Its name.
        host: String,
        /// What it gets.
        set: BTreeMap<String, String>,
        /// What it loses.
        unset: Vec<String>,
    },
    /// The exports of a host go for good.
    Decommission {
        /// Its name.
        host: String,
        /// It comes back.
        undo: bool,
    },
    /// The policy on exports.
    Policy,
    /// Another policy, or none.
    SetPolicy {
        /// In the form of the store.
        policy: Option<Json>,
    },
    /// Records, as the store holds them.
    Exports {
        /// Of this host only.
        from: Option<String>,
        /// Of this channel only.
        channel: Option<String>,
        /// Of this kind only.
        kind: Option<String>,
        /// With what they say.
        in_full: bool,
    },
    /// Whether and how the store asks who writes.
    Auth(AuthVerb),
    /// Records of hosts that are gone are removed.
    Purge {
        /// Of this host; of all that are gone without one.
        from: Option<String>,
        /// Only says what would go.
        dry: bool,
    },
}

/// How long the agent may take: as much as there is in the store.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// All hosts, by name.
    Hosts(Vec<HostRow>),
    /// The policy.
    Policy(PolicyView),
    /// Records, by address.
    Exports(Listing),
    /// Whether and how the store asks who writes.
    Auth(AuthRow),
    /// Records that went, or would.
    Purged(Listing),
    /// It is done; one sentence.
    Said(String),
    /// No: one sentence says why, and what to do.
    Refused(String),
    /// It went wrong, or nobody answered in time.
    Failed(String),
}

/// What is known of one host.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostRow {
    /// Its name.
    pub host: String,
    /// It publishes now.
    pub present: bool,
    /// Its exports are gone for good.
    pub decommissioned: bool,
    /// Fields can be sealed to it.
    pub sealable: bool,
    /// The labels that an operator gave it.
    pub labels: BTreeMap<String, String>,
    /// How many records the store holds of it.
    pub exports: usize,
}

/// The policy as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyView {
    /// The revision of its last change; 0 when there is none.
    pub revision: i64,
    /// In the form of the store; nothing when there is none.
    pub policy: Option<Json>,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
}

/// What is to be done about the store's asking who writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthVerb {
    /// Nothing; it is only shown.
    Status,
    /// It asks from now on; or, if it did, rights are made to fit anew.
    Enable {
        /// Channels that are granted beside those that are used or named by the policy.
        channels: BTreeSet<String>,
    },
    /// It asks no more.
    Disable,
}

/// Whether and how the store asks who writes.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuthRow {
    /// It asks.
    pub on: bool,
    /// The host whose agent was told to have it ask.
    pub by: Option<String>,
    /// When that was, in seconds since 1970.
    pub at: Option<u64>,
    /// What was written from this revision on was written by who it says.
    pub proved: Option<i64>,
    /// The users of the store, as far as the asked host may see them.
    pub users: Vec<String>,
    /// What each host may export, as `CHANNEL/KIND`.
    pub grants: BTreeMap<String, Vec<String>>,
    /// Why the asked host cannot change anything about it.
    pub obstacle: Option<String>,
    /// The files of the operator's certificate and its key.
    pub certificate: Vec<String>,
}

/// Records of a site.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// The revision of the store that this is a picture of.
    pub revision: i64,
    /// Sorted by host, kind and name.
    pub rows: Vec<Row>,
}
