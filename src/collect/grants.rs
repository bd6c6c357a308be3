//! What an operator says about the hosts of a site (`h/HOST`), beside the policy on exports.
//!
//! Refuses to give a host a label that nobody gave it: a record that cannot be read says nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{HostInfo, Policy, policy};
use crate::ident::{HostName, decode_segment, encode_segment};
use crate::store::{Change, Entry, PREFIX, Snapshot};

/// The longest label and the longest key of one, in bytes.
pub const LABEL_MAX: usize = 128;
/// How many labels a host may have.
pub const LABELS_MAX: usize = 64;
/// The version of the records' form.
const VERSION: u64 = 1;

/// The prefix of all that is said about hosts.
pub fn hosts_prefix() -> String {
    format!("{PREFIX}h/")
}

/// The key of what is said about a host.
pub fn host_key(host: &HostName) -> String {
    format!("{PREFIX}h/{}", encode_segment(host.as_str()))
}

/// The host that a key says something about.
pub fn host_of(key: &str) -> Option<HostName> {
    let segment = key.strip_prefix(PREFIX)?.strip_prefix("h/")?;
    HostName::parse(&decode_segment(segment)?).ok()
}

/// What is said about one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    v: u64,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its exports are gone for good, whatever it says.
    #[serde(default, skip_serializing_if = "is_false")]
    pub decommissioned: bool,
    /// What newer versions say stays.
    #[serde(flatten)]
    rest: BTreeMap<String, Json>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Default for HostRecord {
    fn default() -> Self {
        let (labels, rest) = (BTreeMap::new(), BTreeMap::new());
        HostRecord { v: VERSION, labels, decommissioned: false, rest }
    }
}

impl HostRecord {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("maps have text keys and writing to memory cannot fail")
    }

    /// Reads one; `None` when it is not in our form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|record: &Self| record.v == VERSION)
    }

    /// It says nothing.
    pub fn is_empty(&self) -> bool {
        *self == HostRecord::default()
    }

    /// Gives and takes labels; says why not.
    pub fn label(
        &mut self,
        set: &BTreeMap<String, String>,
        unset: &[String],
    ) -> Result<(), String> {
        for (key, value) in set {
            check_label(key, value)?;
            self.labels.insert(key.clone(), value.clone());
        }
        unset.iter().for_each(|key| drop(self.labels.remove(key)));
        match self.labels.len() {
            0..=LABELS_MAX => Ok(()),
            n => Err(format!("a host has at most {LABELS_MAX} labels, these would be {n}")),
        }
    }
}

/// Why this is no label.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    let known = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '/' | '-')
    };
    if !(1..=63).contains(&key.len()) || !key.chars().all(known) {
        return Err(format!(
            "`{key}` is no key of a label; it has 1 to 63 letters `a` to `z`, digits, `.`, `_`, \
             `/` and `-`"
        ));
    }
    if value.len() > LABEL_MAX || value.chars().any(char::is_control) {
        return Err(format!(
            "the label `{key}` is longer than {LABEL_MAX} bytes, or has control characters"
        ));
    }
    Ok(())
}

/// All that is said about the site, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Grants {
    /// All of it was read at least once. Before that nothing is taken and nothing is published.
    pub complete: bool,
    /// The policy on exports.
    pub policy: Policy,
    /// What is said about hosts, and found out about them.
    pub hosts: BTreeMap<HostName, HostInfo>,
    /// The store knows who writes, and did so from this revision on.
    pub proved: Option<i64>,
}

impl Grants {
    /// The hosts that were taken out of service.
    pub fn decommissioned(&self) -> BTreeSet<HostName> {
        let gone = self.hosts.iter().filter(|(_, info)| info.decommissioned);
        gone.map(|(host, _)| host.clone()).collect()
    }

    /// Whether a host was taken out of service.
    pub fn is_decommissioned(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_some_and(|info| info.decommissioned)
    }

    /// What the site says of a host.
    pub fn labels(&self, host: &HostName) -> BTreeMap<String, String> {
        self.hosts.get(host).map(|info| info.labels.clone()).unwrap_or_default()
    }
}

/// The entries that [`Grants`] are made of, as they are followed.
#[derive(Debug, Default)]
pub struct Known {
    entries: BTreeMap<String, Entry>,
    hosts: bool,
    policy: bool,
}

/// What is kept of them for a start without the store: key, value and revision of each.
#[derive(Serialize, Deserialize)]
struct Kept {
    v: u64,
    entries: Vec<(String, String, i64)>,
}

impl Known {
    /// What is to be kept for a start without the store, once all of it was read.
    pub fn keep(&self) -> Option<Vec<u8>> {
        if !(self.hosts && self.policy) {
            return None;
        }
        let entry = |entry: &Entry| {
            // What is no text is no record of ours, and says the same when it is shown as text.
            let value = String::from_utf8_lossy(&entry.value).into_owned();
            (entry.key.clone(), value, entry.revision)
        };
        let kept = Kept { v: VERSION, entries: self.entries.values().map(entry).collect() };
        serde_json::to_vec(&kept).ok()
    }

    /// What was kept; nothing is known when it cannot be read.
    pub fn of_kept(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Kept>(bytes) {
            Ok(kept) if kept.v == VERSION => {
                let entry = |(key, value, revision): (String, String, i64)| {
                    let value = value.into_bytes();
                    (key.clone(), Entry { key, value, revision, lease: None })
                };
                let entries = kept.entries.into_iter().map(entry).collect();
                Known { entries, hosts: true, policy: true }
            }
            _ => Known::default(),
        }
    }

    /// Everything below this prefix is now this.
    pub fn replace(&mut self, prefix: &str, snapshot: Snapshot) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
        self.entries.extend(snapshot.entries.into_iter().map(|entry| (entry.key.clone(), entry)));
        self.hosts |= prefix == hosts_prefix();
        self.policy |= prefix == policy::key();
    }

    /// These changes happened.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(entry) => drop(self.entries.insert(entry.key.clone(), entry)),
                Change::Delete { key } => drop(self.entries.remove(&key)),
            }
        }
    }

    /// What they say.
    pub fn grants(&self) -> Grants {
        let policy = self.entries.get(&policy::key());
        let host = |(key, entry): (&String, &Entry)| {
            let record = HostRecord::decode(&entry.value)?;
            let HostRecord { labels, decommissioned, .. } = record;
            Some((host_of(key)?, HostInfo { labels, decommissioned, authenticated: false }))
        };
        Grants {
            complete: self.hosts && self.policy,
            policy: policy.map_or(Policy::Absent, |entry| Policy::decode(&entry.value)),
            hosts: self.entries.iter().filter_map(host).collect(),
            proved: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: String, value: &[u8]) -> Entry {
        Entry { key, value: value.to_vec(), revision: 1, lease: None }
    }

    #[test]
    fn what_is_said_of_a_host_comes_back_with_what_newer_versions_say() {
        let host = HostName::parse("web1").unwrap();
        assert_eq!(host_of(&host_key(&host)), Some(host));
        let text = r#"{"v":1,"labels":{"role":"web"},"newer":[1]}"#;
        let mut record = HostRecord::decode(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.encode()).unwrap(), text);
        record.label(&BTreeMap::from([("dc".into(), "a".into())]), &["role".into()]).unwrap();
        assert_eq!(record.labels, BTreeMap::from([("dc".into(), "a".into())]));
        assert!(HostRecord::decode(b"{\"v\":2,\"labels\":{}}").is_none());
        for (key, value) in [("", "x"), ("Role", "x"), ("a", "b\n"), ("a", &*"x".repeat(129))] {
            let set = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert!(HostRecord::default().label(&set, &[]).is_err(), "{key:?} {value:?}");
        }
    }

    #[test]
    fn nothing_is_known_before_both_parts_were_read_and_each_change_counts_after_that() {
        let mut known = Known::default();
        let at = |entries| Snapshot { entries, revision: 7 };
        let web1 = entry(format!("{PREFIX}h/web1"), br#"{"v":1,"labels":{"role":"web"}}"#);
        let odd = entry(format!("{PREFIX}h/odd"), b"?");
        known.replace(&hosts_prefix(), at(vec![web1, odd]));
        assert!(!known.grants().complete);
        known.replace(&policy::key(), at(Vec::new()));
        let grants = known.grants();
        let host = HostName::parse("web1").unwrap();
        assert!(grants.complete && grants.policy == Policy::Absent);
        assert_eq!(grants.labels(&host)["role"], "web");
        assert_eq!(grants.hosts.len(), 1, "what cannot be read says nothing");
        known.apply(vec![
            Change::Put(entry(policy::key(), b"?")),
            Change::Delete { key: host_key(&host) },
        ]);
        let grants = known.grants();
        assert!(matches!(grants.policy, Policy::Unreadable(_)) && grants.hosts.is_empty());
        let kept = known.keep().unwrap();
        assert_eq!(Known::of_kept(&kept).grants(), grants, "a start without the store");
        assert!(Known::default().keep().is_none() && !Known::of_kept(b"?").grants().complete);
    }
}
