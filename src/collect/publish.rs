//! The publish planner: what this host has in the store and what it wants there in, transactions
//! out.
//!
//! A set that fits one transaction is written by one. A larger one is written under a generation
//! that collectors do not accept yet, and the last transaction accepts it. Fields that do not fit a
//! record are written before it, in pieces, and what no record names is removed after it.
//!
//! Refuses to touch what another host published, and to write anything when nothing differs.

use std::collections::{BTreeMap, BTreeSet};

use crate::collect::record::{
    self, BODY_BYTES_MAX, Body, Life, Publisher, RECORD_BYTES_MAX, Record,
};
use crate::collect::sets::Sum;
use crate::collect::{Address, keys};
use crate::ident::{HostName, NAME_BYTES_MAX};
use crate::spec::{Fields, HostSelector};
use crate::store::{Compare, Op, Txn};

pub use crate::collect::record::Session;
use parts::{parts, size};
pub use published::{Published, Sealing};
pub use wanted::wanted;

mod awaiting;
mod bodies;
mod parts;
mod published;
mod wanted;

/// Operations of one transaction: etcd takes 128; one is the publisher's, one the presence's.
pub const OPS_MAX: usize = 126;
/// Keys and values of one transaction: etcd takes 1.5 MiB with everything around them.
pub const BYTES_MAX: usize = 1 << 20;

/// One record of this host in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRecord {
    /// Its generation.
    pub generation: u64,
    /// How long it lives.
    pub life: Life,
    /// The digest of its fields; `None` when it cannot be read.
    pub digest: Option<String>,
    /// The body that its fields stand in, if not in the record.
    pub body: Option<String>,
    /// The revision of its last change.
    pub revision: i64,
    /// Some of its fields are sealed.
    pub sealed: bool,
    /// It has to be written again, whatever it says.
    pub doubted: bool,
}

/// What the store holds of this host, whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Own {
    /// The revision of the publisher, if there is one.
    pub revision: Option<i64>,
    /// The publisher, if it can be read.
    pub publisher: Option<Publisher>,
    /// All records, those of earlier runs and other graphs included.
    pub records: BTreeMap<Address, OwnRecord>,
    /// The pieces of bodies, by the digest of the body.
    pub bodies: BTreeMap<String, BTreeSet<usize>>,
    /// The durations, in seconds, for which exports are kept alive beyond the presence.
    pub lifetimes: BTreeSet<u64>,
}

impl Own {
    /// Has what was written before this revision written again: since then the store knows who
    /// writes.
    pub fn doubt_before(&mut self, since: i64) {
        let old = self.records.values_mut().filter(|record| record.revision < since);
        old.for_each(|record| record.doubted = true);
    }

    /// A record of which some fields are sealed, with its digest.
    fn sealed(&self, address: &Address) -> Option<(&OwnRecord, &str)> {
        let known = self.records.get(address).filter(|known| known.sealed)?;
        Some((known, known.digest.as_deref()?))
    }
}

/// What has to be written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Bodies, to be committed before anything else.
    pub bodies: Vec<Txn>,
    /// To be committed in this order; after one that was not applied, plan again.
    pub txns: Vec<Txn>,
    /// Bodies that nothing names any more, to be removed when all that is done.
    pub garbage: Vec<Txn>,
    /// How many exports this host has in the store afterwards.
    pub exports: usize,
    /// How many of these stay as they are there until the turn of their resource comes.
    pub stays: usize,
    /// How many records are written, new or changed.
    pub put: usize,
    /// How many records are removed.
    pub deleted: usize,
    /// Exports that cannot be published (`XE02 …`).
    pub messages: Vec<String>,
}

/// What has to be written so that the store holds exactly `wanted` of `me`.
pub fn plan(me: &HostName, own: &Own, wanted: &[Published], session: &Session) -> Plan {
    let closed = own.publisher.as_ref().map_or(0, |publisher| publisher.generation);
    let writer = Writer { own, session, closed, generation: closed + 1 };
    let mut messages = Vec::new();
    let wanted = sorted(me, wanted, &mut messages);
    let mut set = Set::default();
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut gone: BTreeSet<&Address> = own.records.keys().collect();
    let mut named = BTreeSet::new();
    let (mut exports, mut stays) = (0, 0);
    for (address, export) in &wanted {
        if export.awaits.is_some() {
            let Some((sum, body)) = writer.stays(address, export) else { continue };
            gone.remove(address);
            (exports, stays) = (exports + 1, stays + 1);
            named.extend(body);
            sums.entry(address.slot().to_string()).or_default().add(sum);
            continue;
        }
        if let Sealing::Waits(why) = &export.sealing {
            messages.push(why.clone());
            if let Some((known, digest)) = own.sealed(address) {
                named.extend(known.body.clone());
                gone.remove(address);
                exports += 1;
                let sum = sums.entry(address.slot().to_string()).or_default();
                sum.add(Sum::of(&address.name, known.life, digest));
            }
            continue;
        }
        let value = match writer.record(export) {
            Ok(Written { value, body: None }) => value,
            Ok(Written { value, body: Some((body, bytes)) }) => {
                set.bodies.extend(writer.pieces(me, &body, &bytes));
                named.insert(body.digest);
                value
            }
            Err(why) => {
                messages.push(format!("XE02 {}: {why}; not exported", address.id()));
                continue;
            }
        };
        gone.remove(address);
        exports += 1;
        let digest = export.digest();
        let put = Op::Put { key: keys::record(address), value, lease: None };
        match writer.is_there(address, &digest, export.life) {
            true => set.kept.push(put),
            false => set.puts.push(put),
        }
        let sum = sums.entry(address.slot().to_string()).or_default();
        sum.add(Sum::of(&address.name, export.life, &digest));
    }
    set.deletes =
        gone.into_iter().map(|address| Op::Delete { key: keys::record(address) }).collect();
    let sets = sums.into_iter().map(|(slot, sum)| (slot, sum.text())).collect();
    let publisher = Publisher::new(session, writer.generation).with_sets(exports, sets).encode();
    let (put, deleted) = (set.puts.len(), set.deletes.len());
    let garbage = writer.garbage(me, &named);
    let bodies = writer.alone(std::mem::take(&mut set.bodies), me);
    if put + deleted == 0 && writer.is_closed(exports) {
        return Plan { bodies, exports, stays, messages, garbage, ..Plan::default() };
    }
    let publisher = Op::Put { key: keys::publisher(me), value: publisher, lease: None };
    let txns = writer.txns(me, set, publisher);
    Plan { bodies, txns, garbage, exports, stays, put, deleted, messages }
}

/// Wanted exports by address. Two with one address must be equal; the first stays if they are not.
fn sorted<'a>(
    me: &HostName,
    wanted: &'a [Published],
    messages: &mut Vec<String>,
) -> BTreeMap<Address, &'a Published> {
    let mut sorted: BTreeMap<Address, &Published> = BTreeMap::new();
    for export in wanted {
        let address = export.address(me);
        if let Some(problem) = &export.problem {
            messages.push(format!("{problem}; not exported"));
        } else if let Some(why) = bad_name(&export.name) {
            let name = record::shown(&export.name);
            messages.push(format!("XE01 {}[{name}]: {why}; not exported", export.kind));
        } else if export.channel.is_empty() || export.kind.is_empty() {
            let id = address.id();
            messages.push(format!("XE01 {id}: its channel or kind is empty; not exported"));
        } else if matches!(export.sealing, Sealing::Wanted(_)) {
            let id = address.id();
            messages.push(format!("XE06 {id}: its fields were not sealed; not exported"));
        } else if let Some(first) = sorted.get(&address) {
            if !first.says_as(export) {
                let id = address.id();
                messages
                    .push(format!("XE04 {id}: exported twice with different values; first stays"));
            }
        } else {
            sorted.insert(address, export);
        }
    }
    sorted
}

fn bad_name(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("the name is empty".to_owned())
    } else if name.len() > NAME_BYTES_MAX {
        Some(format!("the name has {} bytes, at most {NAME_BYTES_MAX}", name.len()))
    } else if name.chars().any(char::is_control) {
        Some("the name has control characters".to_owned())
    } else {
        None
    }
}

/// What has to be done to the records.
#[derive(Default)]
struct Set {
    /// Pieces of bodies that are not there yet.
    bodies: Vec<Op>,
    puts: Vec<Op>,
    deletes: Vec<Op>,
    /// Records that are right as they are.
    kept: Vec<Op>,
}

/// A record as it is written, with the fields that do not fit it.
struct Written {
    value: Vec<u8>,
    body: Option<(Body, Vec<u8>)>,
}

struct Writer<'a> {
    own: &'a Own,
    session: &'a Session,
    /// The generation of the set that collectors accept now.
    closed: u64,
    /// The one that is written.
    generation: u64,
}

impl Writer<'_> {
    fn record(&self, export: &Published) -> Result<Written, String> {
        let record = Record {
            generation: self.generation,
            session: record::stamp(self.session),
            life: export.life,
            fields: export.fields.clone(),
            labels: export.labels.clone(),
            to: export.to.clone(),
            seal: export.seal().cloned(),
        };
        // What is large is not written twice only to see that.
        if export.fields.values().map(bodies::texts).sum::<usize>() <= RECORD_BYTES_MAX {
            let value = record::encode(&export.kind, &record);
            if value.len() <= RECORD_BYTES_MAX {
                return Ok(Written { value, body: None });
            }
        }
        let (value, body, bytes) = record::encode_apart(&export.kind, &record);
        if bytes.len() > BODY_BYTES_MAX {
            return Err(format!("it has {} bytes, at most {BODY_BYTES_MAX}", bytes.len()));
        }
        if value.len() > RECORD_BYTES_MAX {
            let text = format!("its labels and hosts have {} bytes", value.len());
            return Err(format!("{text}, at most {RECORD_BYTES_MAX}"));
        }
        Ok(Written { value, body: Some((body, bytes)) })
    }

    /// Nobody else has published for this host meanwhile.
    fn unchanged(&self, me: &HostName) -> Compare {
        match self.own.revision {
            Some(revision) => Compare::Revision(keys::publisher(me), revision),
            None => Compare::Missing(keys::publisher(me)),
        }
    }

    /// A record that an interrupted publication left is as good as ours; one with a generation that
    /// nobody writes is not.
    fn is_there(&self, address: &Address, digest: &str, life: Life) -> bool {
        self.own.records.get(address).is_some_and(|known| {
            known.digest.as_deref() == Some(digest)
                && !known.doubted
                && known.life == life
                && known.generation <= self.generation
        })
    }

    /// True when the publisher says what it would say now.
    fn is_closed(&self, exports: usize) -> bool {
        match &self.own.publisher {
            None => exports == 0 && self.own.revision.is_none(),
            Some(publisher) => {
                publisher.instance == self.session.instance
                    && publisher.session == self.session.session
                    && publisher.count == exports
                    && publisher.sets.is_some()
                    && self.own.records.values().all(|known| known.generation <= self.closed)
            }
        }
    }

    fn txns(&self, me: &HostName, set: Set, publisher: Op) -> Vec<Txn> {
        let when = self.unchanged(me);
        let one = size(&publisher) + set.puts.iter().chain(&set.deletes).map(size).sum::<usize>();
        let fits = set.puts.len() + set.deletes.len() <= OPS_MAX && one <= BYTES_MAX;
        let parts = match fits {
            true => vec![set.puts.into_iter().chain(set.deletes).collect()],
            false => parts(set, size(&publisher), |key| self.marker(key)),
        };
        let last = parts.len() - 1;
        let mut publisher = Some(publisher);
        parts
            .into_iter()
            .enumerate()
            .map(|(at, mut then)| {
                if at == last {
                    then.extend(publisher.take());
                }
                Txn { when: vec![when.clone()], then }
            })
            .collect()
    }

    /// A record without fields that opens the generation under the key of one that goes.
    fn marker(&self, key: &str) -> Op {
        let kind = match keys::parse(key) {
            Some(keys::Key::Record(address)) => address.kind,
            _ => String::new(),
        };
        let record = Record {
            generation: self.generation,
            session: record::stamp(self.session),
            life: Life::Session,
            fields: Fields::new(),
            labels: BTreeMap::new(),
            to: HostSelector::everybody(),
            seal: None,
        };
        Op::Put { key: key.to_owned(), value: record::encode(&kind, &record), lease: None }
    }
}

#[cfg(test)]
#[path = "publish/tests.rs"]
mod tests;
