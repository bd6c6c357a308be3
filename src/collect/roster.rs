//! The roster: changes of the store in, live exports out. The work is that of the change, not that
//! of the roster.
//!
//! A host's set changes only as a whole: while any of its records has a higher generation than its
//! publisher says, its previous set stays. Session exports are live while their host is present
//! with the session that its publisher names.
//!
//! Refuses to show half a set, and to forget a set because nothing was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::collect::keys::{self, Key};
use crate::collect::publish::{Own, OwnRecord};
use crate::collect::record::{self, Life, Presence, Publisher};
use crate::collect::{Address, Export, Exports};
use crate::ident::HostName;
use crate::store::{Change, Entry, LeaseId, Snapshot};

/// The presence of a host as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// What it says; `None` when it is not in our form.
    pub presence: Option<Presence>,
    /// The revision of its last change.
    pub revision: i64,
    /// The lease that it is bound to.
    pub lease: Option<LeaseId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    export: Arc<Export>,
    life: Life,
    generation: u64,
    digest: Option<String>,
}

#[derive(Debug, Default)]
struct Host {
    records: BTreeMap<Address, Known>,
    /// How many records there are of each generation.
    generations: BTreeMap<u64, usize>,
    /// Addresses whose record may differ from the settled one.
    dirty: BTreeSet<Address>,
    /// The last complete set.
    settled: BTreeMap<Address, Known>,
    publisher: Option<(Option<Publisher>, i64)>,
    present: Option<Present>,
    /// Whether the session exports of the settled set are shown.
    shown: bool,
}

/// All that the store says about exports, and which of them are live.
#[derive(Debug, Default)]
pub struct Roster {
    hosts: BTreeMap<HostName, Host>,
    touched: BTreeSet<HostName>,
    live: BTreeMap<Address, Arc<Export>>,
}

impl Roster {
    /// Everything below `prefix` is now this and nothing else. True when the live exports differ.
    pub fn replace(&mut self, prefix: &str, snapshot: Snapshot) -> bool {
        let there: BTreeSet<&str> =
            snapshot.entries.iter().map(|entry| entry.key.as_str()).collect();
        let gone: Vec<String> = self
            .known_keys()
            .filter(|key| key.starts_with(prefix) && !there.contains(key.as_str()))
            .collect();
        for key in gone {
            self.delete(&key);
        }
        for entry in snapshot.entries {
            self.put(entry);
        }
        self.settle()
    }

    /// These changes happened, in this order; they are those of whole revisions. True when the live
    /// exports differ.
    pub fn apply(&mut self, changes: Vec<Change>) -> bool {
        for change in changes {
            match change {
                Change::Put(entry) => self.put(entry),
                Change::Delete { key } => self.delete(&key),
            }
        }
        self.settle()
    }

    /// All live exports, sorted by address.
    pub fn exports(&self) -> Exports {
        self.live.values().cloned().collect()
    }

    /// What the store holds of `host`: its records and its publisher.
    pub fn own(&self, host: &HostName) -> Own {
        let Some(known) = self.hosts.get(host) else { return Own::default() };
        Own {
            revision: known.publisher.as_ref().map(|(_, revision)| *revision),
            publisher: known.publisher.as_ref().and_then(|(publisher, _)| publisher.clone()),
            records: known
                .records
                .iter()
                .map(|(address, known)| (address.clone(), OwnRecord::from(known)))
                .collect(),
        }
    }

    /// The presence of `host`, if there is one.
    pub fn present(&self, host: &HostName) -> Option<&Present> {
        self.hosts.get(host)?.present.as_ref()
    }

    /// All hosts that are present, in the order of their names.
    pub fn present_hosts(&self) -> Vec<HostName> {
        let present = self.hosts.iter().filter(|(_, host)| host.present.is_some());
        present.map(|(name, _)| name.clone()).collect()
    }

    fn known_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.hosts.iter().flat_map(|(name, host)| {
            let publisher = host.publisher.is_some().then(|| keys::publisher(name));
            let presence = host.present.is_some().then(|| keys::presence(name));
            host.records.keys().map(keys::record).chain(publisher).chain(presence)
        })
    }

    fn touch(&mut self, name: &HostName) -> &mut Host {
        self.touched.insert(name.clone());
        self.hosts.entry(name.clone()).or_default()
    }

    fn put(&mut self, entry: Entry) {
        match keys::parse(&entry.key) {
            Some(Key::Record(address)) => {
                let decoded = record::decode(&address.kind, &entry.value);
                let known = Known {
                    life: decoded.life,
                    generation: decoded.generation,
                    digest: decoded.digest,
                    export: Arc::new(Export {
                        address: address.clone(),
                        content: decoded.content,
                        revision: entry.revision,
                        labels: decoded.labels,
                        to: decoded.to,
                    }),
                };
                let name = address.from.clone();
                self.touch(&name).set(address, Some(known));
            }
            Some(Key::Publisher(name)) => {
                let publisher = Publisher::decode(&entry.value);
                self.touch(&name).publisher = Some((publisher, entry.revision));
            }
            Some(Key::Presence(name)) => {
                self.touch(&name).present = Some(Present {
                    presence: Presence::decode(&entry.value),
                    revision: entry.revision,
                    lease: entry.lease,
                });
            }
            None => {}
        }
    }

    fn delete(&mut self, key: &str) {
        match keys::parse(key) {
            Some(Key::Record(address)) => {
                let name = address.from.clone();
                self.touch(&name).set(address, None);
            }
            Some(Key::Publisher(name)) => self.touch(&name).publisher = None,
            Some(Key::Presence(name)) => self.touch(&name).present = None,
            None => {}
        }
    }

    /// Brings the live exports of every touched host up to date.
    fn settle(&mut self) -> bool {
        let mut differs = false;
        for name in std::mem::take(&mut self.touched) {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            for address in host.settle() {
                differs |= match host.live(&address) {
                    Some(export) => {
                        let old = self.live.insert(address, export.clone());
                        old.as_ref() != Some(export)
                    }
                    None => self.live.remove(&address).is_some(),
                };
            }
            if host.is_empty() {
                self.hosts.remove(&name);
            }
        }
        differs
    }
}

impl Host {
    fn set(&mut self, address: Address, known: Option<Known>) {
        let new = known.as_ref().map(|known| known.generation);
        let old = match known {
            Some(known) => self.records.insert(address.clone(), known),
            None => self.records.remove(&address),
        };
        if let Some(generation) = new {
            *self.generations.entry(generation).or_default() += 1;
        }
        if let Some(Known { generation, .. }) = old
            && let Some(count) = self.generations.get_mut(&generation)
        {
            *count -= 1;
            if *count == 0 {
                self.generations.remove(&generation);
            }
        }
        self.dirty.insert(address);
    }

    /// Takes the records over if they are a complete set; gives the addresses that may differ.
    fn settle(&mut self) -> BTreeSet<Address> {
        let mut affected = BTreeSet::new();
        if self.complete() {
            affected = std::mem::take(&mut self.dirty);
            for address in &affected {
                match self.records.get(address) {
                    Some(known) => self.settled.insert(address.clone(), known.clone()),
                    None => self.settled.remove(address),
                };
            }
        }
        let shown = self.session_is_live();
        if shown != self.shown {
            self.shown = shown;
            affected.extend(self.settled.keys().cloned());
        }
        affected
    }

    fn complete(&self) -> bool {
        let closed = self.publisher().map_or(0, |publisher| publisher.generation);
        self.generations.last_key_value().is_none_or(|(newest, _)| *newest <= closed)
    }

    fn publisher(&self) -> Option<&Publisher> {
        self.publisher.as_ref()?.0.as_ref()
    }

    fn session_is_live(&self) -> bool {
        let present = self.present.as_ref().and_then(|present| present.presence.as_ref());
        match (present, self.publisher()) {
            (Some(presence), Some(publisher)) => presence.session == publisher.session,
            _ => false,
        }
    }

    fn live(&self, address: &Address) -> Option<&Arc<Export>> {
        let known = self.settled.get(address)?;
        (self.shown || known.life == Life::Permanent).then_some(&known.export)
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.settled.is_empty()
            && self.publisher.is_none()
            && self.present.is_none()
    }
}

impl From<&Known> for OwnRecord {
    fn from(known: &Known) -> Self {
        let revision = known.export.revision;
        let digest = known.digest.clone();
        OwnRecord { generation: known.generation, life: known.life, digest, revision }
    }
}

#[cfg(test)]
#[path = "roster/tests.rs"]
mod tests;
