//! Who a state folder belongs to, and how far its membership has come: `identity.json`.
//!
//! Refuses to read or write files. The phase is stored before the act that it names, so that a
//! crash in between is seen.

use serde::{Deserialize, Serialize};

use super::timers::Timers;

/// The version of the file's form.
pub const VERSION: u32 = 1;

/// How far the membership of this folder has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not a member, nothing begun.
    #[default]
    None,
    /// About to found a cluster.
    Bootstrapping,
    /// About to start as a new member of an existing cluster.
    Joining,
    /// A member, voting or not.
    Member,
    /// About to leave.
    Leaving,
}

/// The content of `identity.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The form of this record.
    pub v: u32,
    /// Made once per folder; tells a restart from a second agent of the same name.
    pub instance: String,
    /// The host that the folder belongs to.
    pub hostname: String,
    /// A hash of the machine's id, to notice a cloned machine; empty where the machine has none.
    pub machine: String,
    /// The cluster, once known.
    pub cluster_uuid: Option<String>,
    /// etcd's id of the cluster, once seen.
    #[serde(default, with = "hex_id")]
    pub cluster_id: Option<u64>,
    /// The token that the cluster was founded with.
    pub token: Option<String>,
    /// etcd's id of our member.
    #[serde(default, with = "hex_id")]
    pub member: Option<u64>,
    /// How far we are.
    pub phase: Phase,
    /// `name=url` of every member at the time of joining.
    #[serde(default)]
    pub initial_cluster: Vec<String>,
    /// The peer URLs that we advertised last.
    #[serde(default)]
    pub peer: Vec<String>,
    /// The client URLs that we advertised last.
    #[serde(default)]
    pub client: Vec<String>,
    /// How soon the cluster's members miss their leader, as its record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Timers>,
}

impl Identity {
    /// A new folder's identity.
    pub fn new(instance: String, hostname: String, machine: String) -> Self {
        Identity {
            v: VERSION,
            instance,
            hostname,
            machine,
            cluster_uuid: None,
            cluster_id: None,
            token: None,
            member: None,
            phase: Phase::None,
            initial_cluster: Vec::new(),
            peer: Vec::new(),
            client: Vec::new(),
            timers: None,
        }
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let identity: Identity = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if identity.v != VERSION {
            return Err(format!("form {} is unknown, this version reads {VERSION}", identity.v));
        }
        Ok(identity)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The first eight characters of the instance, for names that people read.
    pub fn short(&self) -> &str {
        self.instance.get(..8).unwrap_or(&self.instance)
    }

    /// Whether data of this member and cluster are not this folder's. Ids that are not known yet
    /// disown nobody.
    pub fn disowns(&self, member: u64, cluster: u64) -> bool {
        self.member.is_some_and(|own| own != member)
            || self.cluster_id.is_some_and(|own| own != cluster)
    }

    /// Forgets the membership but not the cluster: what remains is a host that knows where it once
    /// belonged.
    pub fn forget_membership(&mut self) {
        self.phase = Phase::None;
        self.member = None;
        self.initial_cluster.clear();
    }
}

/// A member or cluster id as people see it in etcd's tools: hex digits, which JSON numbers could
/// not hold exactly.
pub fn show_id(id: u64) -> String {
    format!("{id:016x}")
}

/// Reads what [`show_id`] wrote.
pub fn parse_id(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Ids in JSON.
pub(crate) mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::show_id(*id))
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<u64, D::Error> {
        let text = String::deserialize(d)?;
        super::parse_id(&text).ok_or_else(|| serde::de::Error::custom("not a hex id"))
    }
}

/// Optional ids in JSON.
pub(crate) mod hex_id {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => s.serialize_some(&super::show_id(*id)),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Option<u64>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else {
            return Ok(None);
        };
        super::parse_id(&text).map(Some).ok_or_else(|| serde::de::Error::custom("not a hex id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_file() {
        let mut identity = Identity::new("9f3c0000-x".into(), "h1".into(), String::new());
        identity.cluster_id = Some(u64::MAX);
        identity.member = Some(0x8e9e_05c5_2164_694d);
        identity.phase = Phase::Joining;
        assert_eq!(Identity::parse(&identity.render()), Ok(identity));
    }

    #[test]
    fn a_file_of_a_later_form_is_refused() {
        let mut identity = Identity::new("i".into(), "h1".into(), String::new());
        identity.v = 2;
        assert!(Identity::parse(&identity.render()).is_err_and(|e| e.contains("form 2")));
        assert!(Identity::parse("{").is_err());
    }
}
