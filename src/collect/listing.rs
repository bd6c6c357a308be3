//! All records that the store holds, live or not, in rows for people and programs.
//!
//! Refuses to judge whether somebody collects them, and to tell what is sealed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::grants::{HostRecord, host_of, hosts_prefix};
use super::keys::{self, Key};
use super::policy::{self, Policy, Ruling};
use super::record::{self, Life, Presence, Publisher, json_fields};
use super::request::{HostRow, Listing};
use super::sealing::Keys;
use super::{Address, Content};
use crate::ident::{HostName, encode_segment};
use crate::spec::HostSelector;
use crate::spec::rule::{LabelTest, Matcher};
use crate::store::{PREFIX, Snapshot};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Row {
    /// Who exports it.
    pub from: String,
    /// The routing scope.
    pub channel: String,
    /// Its kind.
    pub kind: String,
    /// The name that it is published under.
    pub name: String,
    /// Who may collect it.
    pub to: Vec<String>,
    /// `session` or `permanent`.
    pub life: String,
    /// `live`, `gone` with its host, `decommissioned`, `denied` by the policy, or `unreadable`.
    pub state: String,
    /// What there is to say about the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The revision of its last change.
    pub revision: i64,
    /// When that was, in seconds since 1970 by its host's clock, as far as it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Its size in the store.
    pub bytes: usize,
    /// The store knew who wrote it.
    pub proved: bool,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The names of the fields that are sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<String>,
    /// What it says, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<serde_json::Map<String, Json>>,
}

/// What the store holds, read part by part.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Below the prefix of records, or a part of that.
    pub records: Snapshot,
    /// All publishers.
    pub publishers: Snapshot,
    /// All presences.
    pub presences: Snapshot,
    /// All that is said about hosts.
    pub hosts: Snapshot,
    /// The policy, if there is one.
    pub policy: Snapshot,
    /// The keys that hosts show for others to seal by.
    pub keys: Snapshot,
    /// What was written from this revision on was written by who it says.
    pub proved: Option<i64>,
}

/// The prefixes of [`Parts`], in their order, with that of the records narrowed.
pub fn prefixes(channel: Option<&str>, kind: Option<&str>) -> [String; 6] {
    [
        records_prefix(channel, kind),
        format!("{PREFIX}xo/"),
        keys::presence_prefix(),
        hosts_prefix(),
        policy::key(),
        keys::seal_keys_prefix(),
    ]
}

fn records_prefix(channel: Option<&str>, kind: Option<&str>) -> String {
    let segment = |text: &str| format!("{}/", encode_segment(text));
    let channel_part = channel.map(segment).unwrap_or_default();
    // Channels come first in a key.
    let kind_part = channel.and(kind).map(segment).unwrap_or_default();
    format!("{PREFIX}x/{channel_part}{kind_part}")
}

/// All hosts of which the store knows anything.
#[derive(Default)]
struct Hosts {
    sessions: BTreeMap<HostName, String>,
    present: BTreeMap<HostName, Option<String>>,
    /// Hosts whose exports live for so many seconds longer than they, and still do.
    kept: BTreeSet<(HostName, u64)>,
    said: BTreeMap<HostName, HostRecord>,
}

impl Hosts {
    fn of(parts: &Parts) -> Self {
        let mut hosts = Hosts::default();
        for entry in parts.publishers.entries.iter().chain(&parts.presences.entries) {
            match keys::parse(&entry.key) {
                Some(Key::Publisher(host)) => {
                    if let Some(publisher) = Publisher::decode(&entry.value) {
                        hosts.sessions.insert(host, publisher.session);
                    }
                }
                Some(Key::Presence(host)) => {
                    let presence = Presence::decode(&entry.value);
                    hosts.present.insert(host, presence.map(|one| one.session));
                }
                Some(Key::Lifetime(host, seconds)) => {
                    hosts.kept.insert((host, seconds));
                }
                _ => {}
            }
        }
        for entry in &parts.hosts.entries {
            let record = HostRecord::decode(&entry.value).unwrap_or_default();
            hosts.said.extend(host_of(&entry.key).map(|host| (host, record)));
        }
        hosts
    }

    fn is_live(&self, host: &HostName) -> bool {
        let present = self.present.get(host).and_then(Option::as_ref);
        present.is_some_and(|session| self.sessions.get(host) == Some(session))
    }
}

/// The hosts, by name.
pub fn hosts(parts: &Parts) -> Vec<HostRow> {
    let (hosts, keys) = (Hosts::of(parts), Keys::of(parts.keys.clone()));
    let mut counts: BTreeMap<HostName, usize> = BTreeMap::new();
    for entry in &parts.records.entries {
        if let Some(Key::Record(address)) = keys::parse(&entry.key) {
            *counts.entry(address.from).or_default() += 1;
        }
    }
    let names: BTreeSet<&HostName> =
        counts.keys().chain(hosts.present.keys()).chain(hosts.said.keys()).collect();
    let row = |host: &HostName| {
        let said = hosts.said.get(host).cloned().unwrap_or_default();
        HostRow {
            host: host.to_string(),
            present: hosts.present.contains_key(host),
            decommissioned: said.decommissioned,
            sealable: keys.get(host, parts.proved).is_some(),
            labels: said.labels,
            exports: counts.get(host).copied().unwrap_or_default(),
        }
    };
    names.into_iter().map(row).collect()
}

/// Which records are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Those of this host only.
    pub from: Option<&'a HostName>,
    /// Those of this kind only.
    pub kind: Option<&'a str>,
    /// With what they say.
    pub in_full: bool,
}

/// The records, by host, kind and name.
pub fn list(parts: &Parts, wanted: Wanted<'_>) -> Listing {
    let Wanted { from, kind, in_full } = wanted;
    let hosts = Hosts::of(parts);
    let policy = parts.policy.entries.iter().find(|entry| entry.key == policy::key());
    let policy = policy.map_or(Policy::Absent, |entry| Policy::decode(&entry.value));
    let judge = policy.judge().unwrap_or_default();
    let mut rows = Vec::new();
    for entry in &parts.records.entries {
        let Some(Key::Record(address)) = keys::parse(&entry.key) else { continue };
        if from.is_some_and(|from| *from != address.from) {
            continue;
        }
        if kind.is_some_and(|kind| *kind != address.kind) {
            continue;
        }
        let decoded = record::decode(&address.kind, &entry.value);
        let said = hosts.said.get(&address.from).cloned().unwrap_or_default();
        let ruling = judge.ruling(&address, &said.labels);
        let lives = match decoded.life {
            Life::Permanent => true,
            Life::Session => hosts.is_live(&address.from),
            Life::For(seconds) => {
                hosts.is_live(&address.from)
                    || hosts.kept.contains(&(address.from.clone(), seconds))
            }
        };
        let (state, why) = match (&decoded.content, ruling) {
            _ if said.decommissioned => ("decommissioned", None),
            _ if !lives => ("gone", None),
            (Content::Unknown(why) | Content::Broken(why), _) => ("unreadable", Some(why.clone())),
            (_, Ruling::Denied(rule)) => ("denied", Some(format!("policy rule {rule}"))),
            _ => ("live", None),
        };
        let fields = decoded.content.open().filter(|_| in_full).map(json_fields);
        let sealed = decoded.seal.map(|seal| seal.fields).unwrap_or_default();
        let Address { channel, kind, from, name } = address;
        rows.push(Row {
            from: from.to_string(),
            channel,
            kind,
            name,
            to: to(&decoded.to),
            life: decoded.life.to_string(),
            state: state.to_owned(),
            why,
            revision: entry.revision,
            at: decoded.at,
            bytes: entry.value.len(),
            proved: parts.proved.is_some_and(|since| entry.revision >= since),
            labels: decoded.labels,
            sealed: sealed.into_iter().collect(),
            fields,
        });
    }
    rows.sort_by(|a, b| {
        (&a.from, &a.kind, &a.name, &a.channel).cmp(&(&b.from, &b.kind, &b.name, &b.channel))
    });
    Listing { revision: parts.records.revision, rows }
}

/// Who may collect it, as texts.
pub fn to(to: &HostSelector) -> Vec<String> {
    match to {
        HostSelector::Names(names) => names.clone(),
        HostSelector::Labels(tests) => tests.iter().map(|(key, test)| tested(key, test)).collect(),
    }
}

fn tested(key: &str, test: &LabelTest) -> String {
    match test {
        LabelTest::Exists(true) => key.to_owned(),
        LabelTest::Exists(false) => format!("!{key}"),
        LabelTest::Matches(matcher) => format!("{key}={}", matched(matcher)),
    }
}

/// A matcher as one word.
fn matched(matcher: &Matcher) -> String {
    match matcher {
        Matcher::Is(text) | Matcher::Glob(text) => text.clone(),
        Matcher::Regex(text) => format!("/{text}/"),
        Matcher::Any(all) => all.iter().map(matched).collect::<Vec<_>>().join("|"),
        Matcher::Not(one) => format!("!{}", matched(one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::record::{Record, Session};
    use crate::spec::{Fields, Value};
    use crate::store::Entry;

    fn entry(key: String, value: Vec<u8>, revision: i64) -> Entry {
        Entry { key, value, revision, lease: None }
    }

    fn record(from: &str, name: &str, life: Life, revision: i64) -> Entry {
        let from = HostName::parse(from).unwrap();
        let (channel, kind) = ("default".to_owned(), "file".to_owned());
        let record = Record {
            generation: 1,
            session: "s".to_owned(),
            life,
            fields: Fields::from([("content", Value::Str("x".to_owned()))]),
            labels: BTreeMap::new(),
            to: HostSelector::Names(vec!["lb*".to_owned()]),
            seal: None,
        };
        let value = record::encode("file", &record);
        let address = Address { channel, kind, from, name: name.to_owned() };
        entry(keys::record(&address), value, revision)
    }

    #[test]
    fn an_export_with_a_duration_lives_so_long_beyond_its_host_and_no_longer() {
        let mut parts = parts();
        parts.records.entries = vec![record("web2", "long", Life::For(600), 8)];
        let state = |parts: &Parts| list(parts, Wanted::default()).rows.remove(0).state;
        assert_eq!(state(&parts), "gone", "web2 has another session now");
        let kept = keys::lifetime(&HostName::parse("web2").unwrap(), 600);
        parts.presences.entries.push(entry(kept, b"{}".to_vec(), 5));
        assert_eq!(state(&parts), "live");
        let other = keys::lifetime(&HostName::parse("web2").unwrap(), 60);
        parts.presences.entries.pop();
        parts.presences.entries.push(entry(other, b"{}".to_vec(), 5));
        assert_eq!(state(&parts), "gone", "another duration");
    }

    #[test]
    fn a_host_that_shows_a_key_can_be_sealed_to() {
        let mut parts = parts();
        let key = crate::seal::PrivateKey::parse(&format!("x25519-seed:{}", "01".repeat(32)));
        let key = key.unwrap().public();
        let at = keys::seal_key(&HostName::parse("web1").unwrap());
        parts.keys.entries = vec![entry(at, crate::collect::sealing::encode(&key), 60)];
        let sealable = |parts: &Parts| hosts(parts).iter().filter(|one| one.sealable).count();
        assert_eq!(sealable(&parts), 1);
        parts.keys.entries[0].revision = 40;
        assert_eq!(sealable(&parts), 0, "written before the store knew who writes");
    }

    fn parts() -> Parts {
        let at = |entries: Vec<Entry>| Snapshot { entries, revision: 90 };
        let host = |name: &str| HostName::parse(name).unwrap();
        let session = |name: &str| Session {
            instance: name.to_owned(),
            run: "r".to_owned(),
            session: format!("{name}-1"),
            at: None,
        };
        let publisher = |name: &str| {
            entry(keys::publisher(&host(name)), Publisher::new(&session(name), 1).encode(), 5)
        };
        let presence = |name: &str, session: &str| {
            entry(keys::presence(&host(name)), Presence::new(name, session).encode(), 5)
        };
        let said = br#"{"v":1,"labels":{"role":"web"},"decommissioned":true}"#.to_vec();
        let denies = br#"{"v":1,"rules":[{"allow":false,"hosts":{"names":["*"]},"kinds":["*"],
            "names":["secret"],"channels":["*"]}]}"#;
        Parts {
            records: at(vec![
                record("web1", "a", Life::Session, 7),
                record("web1", "secret", Life::Session, 80),
                record("web2", "b", Life::Session, 8),
                record("web2", "kept", Life::Permanent, 9),
                record("web3", "c", Life::Permanent, 10),
                entry(format!("{PREFIX}x/default/file/web1/odd"), b"?".to_vec(), 11),
            ]),
            publishers: at(vec![publisher("web1"), publisher("web2")]),
            presences: at(vec![presence("web1", "web1-1"), presence("web2", "web2-2")]),
            hosts: at(vec![entry(format!("{PREFIX}h/web3"), said, 3)]),
            policy: at(vec![entry(policy::key(), denies.to_vec(), 4)]),
            keys: at(Vec::new()),
            proved: Some(50),
        }
    }

    #[test]
    fn each_record_says_whether_it_lives_and_why_not() {
        let listing = list(&parts(), Wanted::default());
        let rows: Vec<String> = listing
            .rows
            .iter()
            .map(|row| {
                let why = row.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                let proved = if row.proved { " proved" } else { "" };
                format!("{} {} {} {}{why}{proved}", row.from, row.name, row.life, row.state)
            })
            .collect();
        let wanted = [
            "web1 a session live",
            "web1 odd session unreadable: the record is not a JSON object",
            "web1 secret session denied: policy rule 1 proved",
            "web2 b session gone",
            "web2 kept permanent live",
            "web3 c permanent decommissioned",
        ];
        assert_eq!(rows, wanted);
        assert_eq!((listing.revision, &listing.rows[0].to), (90, &vec!["lb*".to_owned()]));
        let web3 = HostName::parse("web3").unwrap();
        let wanted = Wanted { from: Some(&web3), kind: Some("file"), in_full: true };
        let one = list(&parts(), wanted);
        assert_eq!(one.rows[0].fields.as_ref().unwrap()["content"], "x");
    }

    #[test]
    fn each_host_that_the_store_knows_is_listed_once() {
        let hosts = hosts(&parts());
        let found: Vec<_> = hosts
            .iter()
            .map(|row| (row.host.as_str(), row.present, row.decommissioned, row.exports))
            .collect();
        let wanted = [("web1", true, false, 3), ("web2", true, false, 2), ("web3", false, true, 1)];
        assert_eq!(found, wanted);
        assert_eq!(hosts[2].labels["role"], "web");
    }
}
