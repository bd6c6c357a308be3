//! Exports of which some fields are for some hosts only: sealed where they are published, opened
//! where they are collected.
//!
//! Sealing the same to the same keys gives the same bytes, so that nothing is written anew that did
//! not change. What was sealed is bound to its place and to all else that its record says: copied
//! into another record, or beside another path, it does not open.
//!
//! Refuses to seal for a host whose key is not known, and to say what was sealed.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::collect::publish::{Published, Sealing};
use crate::collect::record::{
    About, HOSTS_MAX, SEALED, Seal, Sealed, digest_of, fields_json, fields_of, shown,
};
use crate::collect::{Address, Code, Export, keys};
use crate::ident::HostName;
use crate::kind;
use crate::matching::Me;
use crate::seal::{Lock, PrivateKey, PublicKey};
use crate::spec::{Fields, HostSelector, Value};
use crate::store::{Change, Entry, Snapshot};

/// What stands first in what seals are bound to.
const PURPOSE: &str = "quorate sealed fields 1";
/// The length of what is sealed is a multiple of this, so that it does not tell that of a password.
const PAD: usize = 256;
/// The version of the form in which a host shows its key.
const VERSION: u64 = 1;

/// The keys that hosts show, with the revision of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<HostName, (PublicKey, i64)>);

/// How a host shows its key.
#[derive(Serialize, Deserialize)]
struct Shown {
    v: u64,
    key: String,
}

/// The bytes under which a host shows its key.
pub fn encode(key: &PublicKey) -> Vec<u8> {
    let shown = Shown { v: VERSION, key: key.to_string() };
    serde_json::to_vec(&shown).expect("texts and numbers are JSON")
}

/// The key that a host shows; `None` when it is not in our form.
pub fn decode(bytes: &[u8]) -> Option<PublicKey> {
    let shown: Shown = serde_json::from_slice(bytes).ok()?;
    (shown.v == VERSION).then(|| PublicKey::parse(&shown.key)).flatten()
}

impl Keys {
    /// These and no others.
    pub fn of(snapshot: Snapshot) -> Self {
        let mut keys = Keys::default();
        snapshot.entries.into_iter().for_each(|entry| keys.put(entry));
        keys
    }

    /// These changes happened.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(entry) => self.put(entry),
                Change::Delete { key } => {
                    keys::seal_key_of(&key).and_then(|host| self.0.remove(&host));
                }
            }
        }
    }

    fn put(&mut self, entry: Entry) {
        let Some(host) = keys::seal_key_of(&entry.key) else { return };
        match decode(&entry.value) {
            Some(key) => drop(self.0.insert(host, (key, entry.revision))),
            None => drop(self.0.remove(&host)),
        }
    }

    /// The key of a host. Of a store that knows who writes since a revision, only what was written
    /// since then counts.
    pub fn get(&self, host: &HostName, since: Option<i64>) -> Option<&PublicKey> {
        let (key, revision) = self.0.get(host)?;
        since.is_none_or(|since| *revision >= since).then_some(key)
    }
}

/// Who seals, and by which keys.
#[derive(Clone, Copy, Debug)]
pub struct Sealer<'a> {
    /// The exporter.
    pub host: &'a HostName,
    /// Its own key.
    pub key: &'a PrivateKey,
    /// Those of the others.
    pub keys: &'a Keys,
    /// Since when the store knows who writes.
    pub since: Option<i64>,
}

impl Sealer<'_> {
    /// Seals what has to be sealed of an export; says so when it cannot be.
    pub fn seal(&self, export: &Published) -> Published {
        match &export.sealing {
            Sealing::Wanted(names) => self.sealed(export, names).unwrap_or_else(|why| {
                let id = shown(&export.address(self.host).id().to_string());
                let why = format!("XE06 {id}: {why}");
                Published { sealing: Sealing::Waits(why), ..without(export, names) }
            }),
            _ => export.clone(),
        }
    }

    fn sealed(&self, export: &Published, names: &BTreeSet<String>) -> Result<Published, String> {
        let recipients = self.recipients(&export.to)?;
        let mut sealed = without(export, names);
        let context = context(&export.address(self.host), &sealed, names);
        let mut secret = export.fields.clone();
        secret.retain(|name, _| names.contains(name));
        let mut plain = fields_json(&secret);
        plain.resize(plain.len().next_multiple_of(PAD), b' ');
        let Lock { keys, bytes } = self
            .key
            .seal(&context, &plain, &recipients)
            .map_err(|host| format!("the key of {host} is none; held until it has another one"))?;
        let keys = keys.into_iter().map(|(host, key)| (host, BASE64.encode(key))).collect();
        sealed.fields.insert(SEALED, Value::Str(BASE64.encode(bytes)));
        sealed.sealing = Sealing::Done(Seal { fields: names.clone(), keys });
        Ok(sealed)
    }

    /// Its own key a host knows before it is shown.
    fn key_of(&self, host: &HostName) -> Option<PublicKey> {
        match host == self.host {
            true => Some(self.key.public()),
            false => self.keys.get(host, self.since).copied(),
        }
    }

    fn recipients(&self, to: &HostSelector) -> Result<BTreeMap<String, PublicKey>, String> {
        let HostSelector::Names(names) = to else {
            return Err("it is sealed to labels; name the hosts in `to`".to_owned());
        };
        let (mut found, mut missing) = (BTreeMap::new(), BTreeSet::new());
        for name in names {
            let key = HostName::parse(name).ok().and_then(|host| self.key_of(&host));
            match key {
                Some(key) => drop(found.insert(name.clone(), key)),
                None => drop(missing.insert(shown(name))),
            }
        }
        let missing: Vec<String> = missing.into_iter().collect();
        match (missing.len(), found.len()) {
            (0, 1..=HOSTS_MAX) => Ok(found),
            (0, hosts) => Err(format!("it is sealed to {hosts} hosts, 1 to {HOSTS_MAX} may be")),
            (1, _) => Err(format!("{} has shown no key; held until it has one", missing[0])),
            _ => Err(format!("{} have shown no keys; held until they do", missing.join(", "))),
        }
    }
}

/// An export without these fields.
fn without(export: &Published, names: &BTreeSet<String>) -> Published {
    let mut open = export.clone();
    open.fields.retain(|name, _| !names.contains(name));
    open
}

/// What the seal of an export is bound to.
fn context(address: &Address, open: &Published, names: &BTreeSet<String>) -> Vec<u8> {
    bound(address, &open.fields, names, About { labels: &open.labels, to: &open.to, seal: None })
}

fn bound(address: &Address, open: &Fields, names: &BTreeSet<String>, about: About<'_>) -> Vec<u8> {
    let Address { channel, kind, from, name } = address;
    let said = digest_of(open, about);
    serde_json::to_vec(&(PURPOSE, channel, kind, from.as_str(), name, names, said))
        .expect("texts are JSON")
}

/// All fields of an export of which some are sealed, opened for this host; or why not.
pub fn open(export: &Export, sealed: &Sealed, me: &Me) -> Result<Fields, (Code, String)> {
    let seal = &sealed.seal;
    let unsealable = |name: &&String| {
        let kind = kind::find(&export.address.kind);
        kind.is_some_and(|kind| !kind.sealable().contains(&name.as_str()))
    };
    if let Some(name) = seal.fields.iter().find(unsealable) {
        return Err((Code::Xc07, format!("field {} may not be sealed; held", shown(name))));
    }
    let ignored = |why: String| (Code::Xc13, format!("{why}; ignored"));
    let Some(lock) = seal.keys.get(me.host.as_str()) else {
        return Err(ignored(format!("{}, not to {}", seal.words(), me.host)));
    };
    let Some(key) = &me.key else {
        return Err(ignored(format!("{}, and opened nowhere else", seal.words())));
    };
    let about = About { labels: &export.labels, to: &export.to, seal: None };
    let context = bound(&export.address, &sealed.open, &seal.fields, about);
    let opened = BASE64
        .decode(lock)
        .ok()
        .zip(BASE64.decode(&sealed.bytes).ok())
        .and_then(|(lock, bytes)| key.open(&context, me.host.as_str(), &lock, &bytes));
    let Some(opened) = opened else {
        let text = format!("what is sealed to {} does not open with its key", me.host);
        return Err(ignored(text));
    };
    let secret = fields_of(&opened)
        .filter(|secret| secret.keys().eq(seal.fields.iter().map(String::as_str)));
    let Some(secret) = secret else {
        return Err((Code::Xc07, "what was sealed is not what the record names; held".to_owned()));
    };
    let mut all = sealed.open.clone();
    all.extend(secret);
    Ok(all)
}

#[cfg(test)]
mod tests;
