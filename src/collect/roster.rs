//! The roster: changes of the store in, live exports out. The work is that of the change, not that
//! of the roster.
//!
//! A host's set changes only as a whole: while its records are not those that its publisher sums
//! up, in all slots that are followed, its previous set stays, whatever order the watches tell it
//! in. Session exports are live while their host is present with the session that its publisher
//! names.
//!
//! Refuses to show half a set, and to forget a set because nothing was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::collect::keys::{self, Key};
use crate::collect::publish::{Own, OwnRecord};
use crate::collect::record::{self, Body, Presence, Publisher};
use crate::collect::{Address, Content, Export, Exports, Slot, convergence};
use crate::ident::HostName;
use crate::store::{Change, Entry, LeaseId, Snapshot};

mod bodies;
mod host;

use bodies::Bodies;
pub use bodies::Wanting;
use host::{Host, Known};

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

/// All that the store says about exports, and which of them are live.
#[derive(Debug, Default)]
pub struct Roster {
    hosts: BTreeMap<HostName, Host>,
    touched: BTreeSet<HostName>,
    live: BTreeMap<Address, Arc<Export>>,
    bodies: Bodies,
    /// The slots that are followed; all without it.
    followed: Option<BTreeSet<Slot>>,
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

    /// From now on only these slots are followed: what is known of others is forgotten, and sets
    /// are whole without them. True when the live exports differ.
    pub fn follow(&mut self, slots: BTreeSet<Slot>) -> bool {
        for (name, host) in &mut self.hosts {
            let gone = |address: &&Address| !slots.contains(&address.slot());
            let gone: Vec<Address> = host.records.keys().filter(gone).cloned().collect();
            for address in gone {
                host.set(address, None);
            }
            host.drop_settled(&slots);
            self.touched.insert(name.clone());
        }
        let before = self.live.len();
        self.live.retain(|address, _| slots.contains(&address.slot()));
        let fewer = self.live.len() != before;
        self.followed = Some(slots);
        self.settle() || fewer
    }

    /// The hosts whose records are not what they sum up. While they are present they are writing,
    /// or will repair it; nobody will for one that is gone.
    pub fn incomplete(&self) -> impl Iterator<Item = (&HostName, bool)> {
        let open = self.hosts.iter().filter(|(_, host)| !host.whole);
        open.map(|(name, host)| (name, host.present.is_some()))
    }

    /// These hosts and no others were taken out of service. True when the live exports differ.
    pub fn decommission(&mut self, gone: &BTreeSet<HostName>) -> bool {
        let before = self.hosts.iter().filter(|(_, host)| host.decommissioned);
        let before: BTreeSet<HostName> = before.map(|(name, _)| name.clone()).collect();
        for name in before.symmetric_difference(gone) {
            let host = self.touch(name);
            let now = gone.contains(name);
            (host.informed, host.decommissioned) = (now, now);
        }
        self.settle()
    }

    /// Takes the records of a host as they are. True when the live exports differ.
    pub fn accept(&mut self, name: &HostName) -> bool {
        if let Some(host) = self.hosts.get_mut(name) {
            host.accepted = true;
            self.touched.insert(name.clone());
        }
        self.settle()
    }

    /// Which bodies are wanted here, from now on. True when the live exports differ.
    pub fn want(&mut self, wanting: Wanting) -> bool {
        self.bodies.wanting = Some(wanting);
        let apart: Vec<Address> = self.apart().map(|(address, _)| address).collect();
        for address in apart {
            let name = address.from.clone();
            let Some(known) = self.hosts.get(&name).and_then(|host| host.records.get(&address))
            else {
                continue;
            };
            let known = self.bodies.read(known.clone());
            self.touch(&name).set(address, Some(known));
        }
        self.settle()
    }

    /// Bodies that have to be fetched, each with a host that has it.
    pub fn missing(&self) -> BTreeMap<String, (HostName, Body)> {
        let waiting = self.apart().filter(|(_, known)| known.waits);
        let named = waiting.filter_map(|(address, known)| {
            let body = known.body.clone()?;
            Some((body.digest.clone(), (address.from, body)))
        });
        named.collect()
    }

    /// A body was fetched, or cannot be. True when the live exports differ.
    pub fn fetched(&mut self, digest: &str, content: Content) -> bool {
        self.bodies.keep(digest, content);
        let with_it: Vec<(Address, Known)> = self
            .apart()
            .filter(|(_, known)| known.body.as_ref().is_some_and(|body| body.digest == digest))
            .map(|(address, known)| (address, known.clone()))
            .collect();
        for (address, known) in with_it {
            let known = self.bodies.read(known);
            let name = address.from.clone();
            self.touch(&name).set(address, Some(known));
        }
        self.settle()
    }

    /// All records whose fields stand elsewhere.
    fn apart(&self) -> impl Iterator<Item = (Address, &Known)> {
        let all = self.hosts.values().flat_map(|host| host.apart.iter().map(move |at| (host, at)));
        all.filter_map(|(host, address)| Some((address.clone(), host.records.get(address)?)))
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
            bodies: BTreeMap::new(),
            lifetimes: known.lifetimes.keys().copied().collect(),
        }
    }

    /// The slots in which `host` says that it has records.
    pub fn slots(&self, host: &HostName) -> BTreeSet<Slot> {
        let known = self.hosts.get(host).and_then(|host| host.publisher.as_ref());
        let publisher = known.and_then(|(publisher, _)| publisher.as_ref());
        let slots = publisher.into_iter().flat_map(|publisher| &publisher.slots);
        slots.filter_map(|slot| Slot::parse(slot)).collect()
    }

    /// The presence of `host`, if there is one.
    pub fn present(&self, host: &HostName) -> Option<&Present> {
        self.hosts.get(host)?.present.as_ref()
    }

    /// The durations for which `host` keeps exports alive beyond its presence, with their leases.
    pub fn lifetimes(&self, host: &HostName) -> BTreeMap<u64, Option<LeaseId>> {
        self.hosts.get(host).map(|host| host.lifetimes.clone()).unwrap_or_default()
    }

    /// The digest of what every host says of its whole set, and of whether it is live and seen as
    /// a whole: the same on all hosts that have seen the same, whatever they follow.
    pub fn digest(&self) -> String {
        let sets = self.hosts.iter().filter_map(|(name, host)| {
            let (_, revision) = host.publisher.as_ref()?;
            let live = host.session_is_live() && !host.decommissioned;
            Some((name, *revision, [live, host.whole]))
        });
        convergence::digest_of_sets(sets)
    }

    /// Whether what is known of `host` is the set that it says it has.
    pub fn is_complete(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_none_or(|host| host.whole)
    }

    /// All hosts that are present, in the order of their names.
    pub fn present_hosts(&self) -> Vec<HostName> {
        let here = |host: &Host| host.present.is_some() && !host.decommissioned;
        let present = self.hosts.iter().filter(|(_, host)| here(host));
        present.map(|(name, _)| name.clone()).collect()
    }

    fn known_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.hosts.iter().flat_map(|(name, host)| {
            let publisher = host.publisher.is_some().then(|| keys::publisher(name));
            let presence = host.present.is_some().then(|| keys::presence(name));
            let info = host.informed.then(|| keys::host_info(name));
            let lives = host.lifetimes.keys().map(|seconds| keys::lifetime(name, *seconds));
            let one = publisher.into_iter().chain(presence).chain(info);
            host.records.keys().map(keys::record).chain(one).chain(lives)
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
                let known = self.bodies.read(Known {
                    life: decoded.life,
                    generation: decoded.generation,
                    digest: decoded.digest,
                    body: decoded.body,
                    seal: decoded.seal,
                    waits: false,
                    export: Arc::new(Export {
                        address: address.clone(),
                        content: decoded.content,
                        revision: entry.revision,
                        labels: decoded.labels,
                        to: decoded.to,
                    }),
                });
                let name = address.from.clone();
                self.touch(&name).set(address, Some(known));
            }
            Some(Key::Publisher(name)) => {
                let publisher = Publisher::decode(&entry.value);
                let host = self.touch(&name);
                (host.publisher, host.accepted) = (Some((publisher, entry.revision)), false);
            }
            Some(Key::Presence(name)) => {
                self.touch(&name).present = Some(Present {
                    presence: Presence::decode(&entry.value),
                    revision: entry.revision,
                    lease: entry.lease,
                });
            }
            Some(Key::Lifetime(name, seconds)) => {
                self.touch(&name).lifetimes.insert(seconds, entry.lease);
            }
            Some(Key::Host(name)) => {
                let host = self.touch(&name);
                host.informed = true;
                host.decommissioned = record::is_decommissioned(&entry.value);
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
            Some(Key::Lifetime(name, seconds)) => {
                self.touch(&name).lifetimes.remove(&seconds);
            }
            Some(Key::Host(name)) => {
                let host = self.touch(&name);
                (host.informed, host.decommissioned) = (false, false);
            }
            None => {}
        }
    }

    /// Brings the live exports of every touched host up to date.
    fn settle(&mut self) -> bool {
        let mut differs = false;
        for name in std::mem::take(&mut self.touched) {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            for address in host.settle(self.followed.as_ref()) {
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
        self.bodies.forget(self.hosts.values().flat_map(Host::bodies));
        differs
    }
}

#[cfg(test)]
#[path = "roster/tests.rs"]
mod tests;
