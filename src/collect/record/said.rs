//! What hosts say about themselves and their sets, and operators about hosts.
//!
//! Refuses what is not in our form: it says nothing then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{GENERATION_MAX, VERSION, json, sha256};

/// Who publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// One state folder.
    pub instance: String,
    /// One process.
    pub run: String,
    /// Ends with the presence; a process that is started in time continues it.
    pub session: String,
    /// When it writes, in seconds since 1970 by its own clock; what is written then says so.
    pub at: Option<u64>,
}

/// What a host says about its whole set of exports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    v: u64,
    /// Who wrote it: one state folder.
    pub instance: String,
    /// The process that wrote it.
    pub run: String,
    /// The session that wrote it. Exports live while the presence names the same one.
    pub session: String,
    /// Records with a higher generation belong to a set that is not complete yet.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// How many records the set has.
    pub count: usize,
    /// The digest of the set; for listing.
    pub digest: String,
    /// Where the records are, as `CHANNEL/KIND`.
    pub slots: Vec<String>,
    /// What the records of each slot add up to; `None` when an older agent wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<BTreeMap<String, String>>,
}

/// That a host is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    v: u64,
    /// Who: one state folder.
    pub instance: String,
    /// The session that it continues.
    pub session: String,
    /// The version of the agent.
    pub version: String,
}

impl Publisher {
    /// What is said about a set of this generation.
    pub fn new(session: &Session, generation: u64) -> Self {
        Publisher {
            v: VERSION,
            instance: session.instance.clone(),
            run: session.run.clone(),
            session: session.session.clone(),
            generation,
            count: 0,
            digest: String::new(),
            slots: Vec::new(),
            sets: None,
        }
    }

    /// With the set itself: how many records there are, and what those of each `CHANNEL/KIND` add
    /// up to.
    pub fn with_sets(mut self, count: usize, sets: BTreeMap<String, String>) -> Self {
        self.count = count;
        let lines: String = sets.iter().map(|(slot, sum)| format!("{slot} {sum}\n")).collect();
        self.digest = sha256(lines.as_bytes());
        self.slots = sets.keys().cloned().collect();
        self.sets = Some(sets);
        self
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads one; `None` when it is not in our form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let publisher: Publisher = serde_json::from_slice(bytes).ok()?;
        (publisher.v == VERSION && publisher.generation <= GENERATION_MAX).then_some(publisher)
    }
}

impl Presence {
    /// That `instance` continues `session`.
    pub fn new(instance: &str, session: &str) -> Self {
        Presence {
            v: VERSION,
            instance: instance.to_owned(),
            session: session.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads one; `None` when it is not in our form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let presence: Presence = serde_json::from_slice(bytes).ok()?;
        (presence.v == VERSION).then_some(presence)
    }
}

/// Whether what an operator says about a host takes it out of service.
pub fn is_decommissioned(bytes: &[u8]) -> bool {
    let said = serde_json::from_slice::<serde_json::Map<String, Json>>(bytes);
    said.is_ok_and(|said| said.get("decommissioned") == Some(&Json::Bool(true)))
}
