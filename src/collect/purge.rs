//! What is left of a host's set of exports when somebody removes records of it.
//!
//! Refuses to leave sums that no longer fit: collectors would wait for records that nobody writes.

use std::collections::{BTreeMap, BTreeSet};

use super::Address;
use super::keys::{self, Key};
use super::listing::Parts;
use super::record::{self, Publisher};
use super::sets::Sum;
use crate::ident::HostName;
use crate::store::{Compare, Entry, Op};

/// The digests of the bodies that records of `host` name once those under the keys `gone` are
/// removed.
pub fn bodies(parts: &Parts, host: &HostName, gone: &BTreeSet<&str>) -> BTreeSet<String> {
    let left = left(parts, host, gone);
    left.filter_map(|(address, entry)| record::decode(&address.kind, &entry.value).body)
        .map(|body| body.digest)
        .collect()
}

/// The records of `host` but those under the keys `gone`.
fn left<'a>(
    parts: &'a Parts,
    host: &'a HostName,
    gone: &'a BTreeSet<&str>,
) -> impl Iterator<Item = (Address, &'a Entry)> {
    let left = parts.records.entries.iter().filter(|entry| !gone.contains(entry.key.as_str()));
    left.filter_map(move |entry| match keys::parse(&entry.key) {
        Some(Key::Record(address)) if address.from == *host => Some((address, entry)),
        _ => None,
    })
}

/// What closes the set of `host` once the records under the keys `gone` are removed: it is to be
/// written with the last of them, if nobody wrote it meanwhile. Nothing for the set of an agent
/// that does not sum up.
pub fn closing(parts: &Parts, host: &HostName, gone: &BTreeSet<&str>) -> Option<(Compare, Op)> {
    let key = keys::publisher(host);
    let entry = parts.publishers.entries.iter().find(|entry| entry.key == key)?;
    let publisher = Publisher::decode(&entry.value).filter(|one| one.sets.is_some())?;
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut count = 0;
    for (address, left) in left(parts, host, gone) {
        count += 1;
        let decoded = record::decode(&address.kind, &left.value);
        let sum = sums.entry(address.slot().to_string()).or_default();
        // What cannot be read here is not waited for by who cannot read it either.
        if let Some(digest) = decoded.digest {
            sum.add(Sum::of(&address.name, decoded.life, &digest));
        }
    }
    let unchanged = Compare::Revision(key.clone(), entry.revision);
    let op = match count {
        0 => Op::Delete { key },
        _ => {
            let sets = sums.into_iter().map(|(slot, sum)| (slot, sum.text())).collect();
            let value = publisher.with_sets(count, sets).encode();
            Op::Put { key, value, lease: None }
        }
    };
    Some((unchanged, op))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::publish::{Own, Published, Session, plan};
    use crate::collect::record::Life;
    use crate::collect::roster::Roster;
    use crate::spec::{Fields, Value};
    use crate::store::{Change, Snapshot};

    fn host() -> HostName {
        HostName::parse("web1").unwrap()
    }

    fn export(name: &str, life: Life) -> Published {
        let fields = Fields::from([("content", Value::Str("x".to_owned()))]);
        Published { life, ..Published::plain("default", "file", name, fields) }
    }

    fn entries(ops: Vec<Op>) -> Vec<Entry> {
        let entry = |op| match op {
            Op::Put { key, value, lease } => Entry { key, value, revision: 7, lease },
            Op::Delete { .. } => panic!("nothing is there to delete"),
        };
        ops.into_iter().map(entry).collect()
    }

    #[test]
    fn what_a_purge_leaves_of_a_set_is_taken_at_once() {
        let session =
            Session { instance: "i".into(), run: "r".into(), session: "s".into(), at: None };
        let wanted = ["a", "b", "kept"].map(|name| match name {
            "kept" => export(name, Life::Permanent),
            name => export(name, Life::Session),
        });
        let mut txns = plan(&host(), &Own::default(), &wanted, &session).txns;
        let all = entries(txns.remove(0).then);
        let mut roster = Roster::default();
        roster.apply(all.iter().cloned().map(Change::Put).collect());
        let (publishers, records) = all.into_iter().partition(|entry| entry.key.contains("/xo/"));
        let at = |entries: Vec<Entry>| Snapshot { entries, revision: 9 };
        let parts = Parts { records: at(records), publishers: at(publishers), ..Parts::default() };
        let keys: Vec<String> = parts.records.entries.iter().map(|one| one.key.clone()).collect();
        let gone: BTreeSet<&str> = keys[..2].iter().map(String::as_str).collect();
        let (unchanged, op) = closing(&parts, &host(), &gone).unwrap();
        assert_eq!(unchanged, Compare::Revision(keys::publisher(&host()), 7));
        let deleted = gone.iter().map(|key| Change::Delete { key: (*key).to_owned() });
        roster.apply(deleted.collect());
        assert!(!roster.is_complete(&host()), "the sums are those of before");
        roster.apply(entries(vec![op]).into_iter().map(Change::Put).collect());
        assert!(roster.is_complete(&host()));
        let gone: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        let (_, op) = closing(&parts, &host(), &gone).unwrap();
        assert_eq!(op, Op::Delete { key: keys::publisher(&host()) });
    }
}
