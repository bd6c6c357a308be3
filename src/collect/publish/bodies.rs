//! Fields that do not fit their record: written before it in pieces, removed when nothing names
//! them.
//!
//! Refuses to write a piece that is there.

use std::collections::BTreeSet;

use super::{OPS_MAX, Set, Writer, parts};
use crate::collect::keys;
use crate::collect::record::{self, Body};
use crate::ident::HostName;
use crate::spec::Value;
use crate::store::{Op, Txn};

impl Writer<'_> {
    /// The pieces of a body that are not there.
    pub(super) fn pieces(&self, me: &HostName, body: &Body, bytes: &[u8]) -> Vec<Op> {
        let there = self.own.bodies.get(&body.digest);
        let missing = record::pieces(bytes)
            .enumerate()
            .filter(|(number, _)| there.is_none_or(|there| !there.contains(number)));
        missing
            .map(|(number, piece)| Op::Put {
                key: keys::chunk(me, &body.digest, number),
                value: piece.to_vec(),
                lease: None,
            })
            .collect()
    }

    /// The removal of bodies that no record names.
    pub(super) fn garbage(&self, me: &HostName, named: &BTreeSet<String>) -> Vec<Txn> {
        let unnamed = self.own.bodies.iter().filter(|(digest, _)| !named.contains(*digest));
        let ops: Vec<Op> = unnamed
            .flat_map(|(digest, numbers)| {
                numbers.iter().map(|number| Op::Delete { key: keys::chunk(me, digest, *number) })
            })
            .collect();
        ops.chunks(OPS_MAX).map(|ops| Txn { when: Vec::new(), then: ops.to_vec() }).collect()
    }

    /// Transactions of writes that nobody looks at yet.
    pub(super) fn alone(&self, mut ops: Vec<Op>, me: &HostName) -> Vec<Txn> {
        // Two exports may say the same.
        let mut seen = BTreeSet::new();
        ops.retain(|op| matches!(op, Op::Put { key, .. } if seen.insert(key.clone())));
        if ops.is_empty() {
            return Vec::new();
        }
        let when = vec![self.unchanged(me)];
        let parts = parts(Set { puts: ops, ..Set::default() }, 0, |key| self.marker(key));
        parts.into_iter().map(|then| Txn { when: when.clone(), then }).collect()
    }
}

/// How many bytes the texts in this value have.
pub(super) fn texts(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.iter().map(texts).sum(),
        Value::Map(entries) => entries.values().map(texts).sum(),
        Value::Bool(_) | Value::Int(_) => 0,
    }
}
