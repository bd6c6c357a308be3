//! What is known about one host, and the last complete set of its exports.
//!
//! Refuses to take over records that are not a whole set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Present;
use crate::collect::publish::OwnRecord;
use crate::collect::record::{Body, Life, Publisher, Seal};
use crate::collect::sets::Sum;
use crate::collect::{Address, Export, Slot};
use crate::store::LeaseId;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) export: Arc<Export>,
    pub(super) life: Life,
    pub(super) generation: u64,
    pub(super) digest: Option<String>,
    /// Where its fields stand, if not in the record.
    pub(super) body: Option<Body>,
    /// What of it is sealed, and for whom.
    pub(super) seal: Option<Seal>,
    /// They are wanted here and were not fetched yet.
    pub(super) waits: bool,
}

impl Known {
    fn sum(&self) -> Option<Sum> {
        let digest = self.digest.as_deref()?;
        Some(Sum::of(&self.export.address.name, self.life, digest))
    }
}

/// The records of one slot, added up.
#[derive(Debug, Default)]
struct Total {
    sum: Sum,
    count: usize,
    /// Those that cannot be read here, so that nobody can say what they add.
    unreadable: usize,
}

#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) records: BTreeMap<Address, Known>,
    /// Those whose fields stand elsewhere.
    pub(super) apart: BTreeSet<Address>,
    /// How many wait for their fields.
    waiting: usize,
    totals: BTreeMap<String, Total>,
    /// How many records there are of each generation.
    generations: BTreeMap<u64, usize>,
    /// Addresses whose record may differ from the settled one.
    dirty: BTreeSet<Address>,
    /// The last complete set.
    settled: BTreeMap<Address, Known>,
    pub(super) publisher: Option<(Option<Publisher>, i64)>,
    pub(super) present: Option<Present>,
    /// Durations for which it keeps exports alive.
    pub(super) lifetimes: BTreeMap<u64, Option<LeaseId>>,
    /// An operator says something about it.
    pub(super) informed: bool,
    pub(super) decommissioned: bool,
    /// Its records are taken as they are until something of it changes.
    pub(super) accepted: bool,
    /// Its records are the set that it says it has, as far as they are followed.
    pub(super) whole: bool,
    /// Which exports of the settled set are shown.
    shown: Shown,
}

/// What decides whether an export of a set is live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    session: bool,
    lifetimes: BTreeSet<u64>,
    gone: bool,
}

impl Host {
    pub(super) fn set(&mut self, address: Address, known: Option<Known>) {
        self.accepted = false;
        if known.as_ref().is_some_and(|known| known.body.is_some()) {
            self.apart.insert(address.clone());
        } else {
            self.apart.remove(&address);
        }
        let slot = address.slot().to_string();
        if let Some(known) = &known {
            *self.generations.entry(known.generation).or_default() += 1;
            self.waiting += usize::from(known.waits);
            let total = self.totals.entry(slot.clone()).or_default();
            total.count += 1;
            match known.sum() {
                Some(sum) => total.sum.add(sum),
                None => total.unreadable += 1,
            }
        }
        let old = match known {
            Some(known) => self.records.insert(address.clone(), known),
            None => self.records.remove(&address),
        };
        if let Some(old) = old {
            self.forget(&slot, &old);
        }
        self.dirty.insert(address);
    }

    fn forget(&mut self, slot: &str, old: &Known) {
        self.waiting -= usize::from(old.waits);
        if let Some(count) = self.generations.get_mut(&old.generation) {
            *count -= 1;
            if *count == 0 {
                self.generations.remove(&old.generation);
            }
        }
        if let Some(total) = self.totals.get_mut(slot) {
            total.count -= 1;
            match old.sum() {
                Some(sum) => total.sum.remove(sum),
                None => total.unreadable -= 1,
            }
            if total.count == 0 {
                self.totals.remove(slot);
            }
        }
    }

    /// Forgets what was settled in other slots.
    pub(super) fn drop_settled(&mut self, slots: &BTreeSet<Slot>) {
        self.settled.retain(|address, _| slots.contains(&address.slot()));
        self.dirty.retain(|address| slots.contains(&address.slot()));
    }

    /// Takes the records over if they are a complete set; gives the addresses that may differ.
    pub(super) fn settle(&mut self, followed: Option<&BTreeSet<Slot>>) -> BTreeSet<Address> {
        let mut affected = BTreeSet::new();
        self.whole = self.is_complete(followed);
        if self.whole {
            affected = std::mem::take(&mut self.dirty);
            for address in &affected {
                match self.records.get(address) {
                    Some(known) => self.settled.insert(address.clone(), known.clone()),
                    None => self.settled.remove(address),
                };
            }
        }
        let shown = Shown {
            session: self.session_is_live(),
            lifetimes: self.lifetimes.keys().copied().collect(),
            gone: self.decommissioned,
        };
        if shown != self.shown {
            self.shown = shown;
            affected.extend(self.settled.keys().cloned());
        }
        affected
    }

    /// Whether its records are the set that it says it has, as far as they are followed.
    fn is_complete(&self, followed: Option<&BTreeSet<Slot>>) -> bool {
        if self.accepted {
            return true;
        }
        let closed = self.publisher().map_or(0, |publisher| publisher.generation);
        let newest = self.generations.last_key_value();
        self.waiting == 0
            && newest.is_none_or(|(newest, _)| *newest <= closed)
            && self.sums_up(followed)
    }

    fn sums_up(&self, followed: Option<&BTreeSet<Slot>>) -> bool {
        // An older agent does not say what it wrote.
        let Some(sets) = self.publisher().and_then(|publisher| publisher.sets.as_ref()) else {
            return true;
        };
        let is_followed = |slot: &str| {
            followed.is_none_or(|all| Slot::parse(slot).is_some_and(|slot| all.contains(&slot)))
        };
        let right = |slot: &str, wanted: Option<&String>| {
            let total = self.totals.get(slot);
            let sum = total.map_or_else(Sum::default, |total| total.sum);
            total.is_some_and(|total| total.unreadable > 0)
                || match wanted {
                    Some(wanted) => sum.text() == *wanted,
                    None => sum == Sum::default(),
                }
        };
        let named = sets.iter().all(|(slot, sum)| !is_followed(slot) || right(slot, Some(sum)));
        let mut unnamed = self.totals.keys().filter(|slot| !sets.contains_key(*slot));
        named && unnamed.all(|slot| right(slot, None))
    }

    fn publisher(&self) -> Option<&Publisher> {
        self.publisher.as_ref()?.0.as_ref()
    }

    pub(super) fn session_is_live(&self) -> bool {
        let present = self.present.as_ref().and_then(|present| present.presence.as_ref());
        match (present, self.publisher()) {
            (Some(presence), Some(publisher)) => presence.session == publisher.session,
            _ => false,
        }
    }

    pub(super) fn live(&self, address: &Address) -> Option<&Arc<Export>> {
        let known = self.settled.get(address)?;
        let lives = match known.life {
            Life::Permanent => true,
            Life::Session => self.shown.session,
            Life::For(seconds) => self.shown.session || self.shown.lifetimes.contains(&seconds),
        };
        (lives && !self.shown.gone).then_some(&known.export)
    }

    /// The bodies that its records name.
    pub(super) fn bodies(&self) -> impl Iterator<Item = &str> {
        let known = self.apart.iter().filter_map(|address| self.records.get(address));
        known.filter_map(|known| known.body.as_ref().map(|body| body.digest.as_str()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.settled.is_empty()
            && self.publisher.is_none()
            && self.present.is_none()
            && self.lifetimes.is_empty()
            && !self.informed
    }
}

impl From<&Known> for OwnRecord {
    fn from(known: &Known) -> Self {
        let revision = known.export.revision;
        OwnRecord {
            generation: known.generation,
            life: known.life,
            digest: known.digest.clone(),
            revision,
            sealed: known.seal.is_some(),
            body: known.body.as_ref().map(|body| body.digest.clone()),
            doubted: false,
        }
    }
}
