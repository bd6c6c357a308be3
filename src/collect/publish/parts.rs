//! Operations, cut into transactions of a size that etcd takes.
//!
//! Refuses to let a collector see a part of a set.

use super::{BYTES_MAX, OPS_MAX, Set};
use crate::store::Op;

/// Cuts the operations into transactions. The first one writes a record of the new generation, so
/// that collectors hold on to the previous set from there to the end.
pub(super) fn parts(mut set: Set, reserve: usize, marker: impl Fn(&str) -> Op) -> Vec<Vec<Op>> {
    let mut at_the_end = None;
    if set.puts.is_empty() {
        if let Some(kept) = set.kept.pop() {
            set.puts.push(kept);
        } else if let Some(Op::Delete { key }) = set.deletes.pop() {
            set.puts.push(marker(&key));
            at_the_end = Some(Op::Delete { key });
        }
    }
    let reserve = reserve + at_the_end.as_ref().map_or(0, size);
    let mut parts: Vec<Vec<Op>> = vec![Vec::new()];
    let mut bytes = reserve;
    for op in set.puts.into_iter().chain(set.deletes) {
        let full = parts.last().is_some_and(|part| part.len() + 1 >= OPS_MAX);
        if full || bytes + size(&op) > BYTES_MAX {
            parts.push(Vec::new());
            bytes = reserve;
        }
        bytes += size(&op);
        if let Some(part) = parts.last_mut() {
            part.push(op);
        }
    }
    if let Some(part) = parts.last_mut() {
        part.extend(at_the_end);
    }
    parts
}

pub(super) fn size(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    }
}
