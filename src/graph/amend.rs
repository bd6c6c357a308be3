//! A graph with another value in some of its resources, without compiling the others.
//!
//! Refuses whatever may concern other resources: who is there, where they work, and what they
//! receive.

use std::sync::Arc;

use super::compile::{build_collected, build_local};
use super::{Graph, Origin, Vertex};
use crate::kind;
use crate::spec::{Collected, ResourceSpec};

/// `old` with what these resources of the file say now, when that concerns nobody else: each is in
/// the graph, works at the same place, and receives from the same ones. `None` when it may concern
/// others.
pub fn amend(old: &Arc<Graph>, specs: &[ResourceSpec]) -> Option<Arc<Graph>> {
    let here = specs.iter().filter(|spec| !spec.export.as_ref().is_some_and(|one| one.hidden));
    replace(old, here.map(|spec| build_local(kind::all(), spec).ok()))
}

/// `old`, in which exactly these are the resources of other hosts, with what they say now; `None`
/// when that may concern others.
pub fn amend_collected(old: &Arc<Graph>, collected: &[Collected]) -> Option<Arc<Graph>> {
    let same = |one: &Collected| {
        old.vertices.get(&one.id).is_some_and(|before| {
            let (from, within) = (one.from.clone(), one.within.clone());
            before.fields == one.fields
                && before.meta == one.meta
                && before.origin == Origin::Collected { from, within }
        })
    };
    let changed = collected.iter().filter(|one| !same(one));
    replace(old, changed.map(|one| build_collected(kind::all(), one).ok()))
}

/// `old` with these in the place of those that have their names.
fn replace(old: &Arc<Graph>, vertices: impl Iterator<Item = Option<Vertex>>) -> Option<Arc<Graph>> {
    let mut changed = Vec::new();
    for after in vertices {
        let after = after?;
        let before = old.vertices.get(&after.id)?;
        if **before != after {
            changed.push(concerns_only_itself(before, &after).then_some(after)?);
        }
    }
    if changed.is_empty() {
        return Some(Arc::clone(old));
    }
    let mut new = Graph::clone(old);
    new.vertices.extend(changed.into_iter().map(|one| (one.id.clone(), Arc::new(one))));
    Some(Arc::new(new))
}

fn concerns_only_itself(before: &Vertex, after: &Vertex) -> bool {
    // Who gave it decides what waits for it.
    before.receives == after.receives
        && before.origin == after.origin
        && before.meta.autoedge == after.meta.autoedge
        && before.resource.hints() == after.resource.hints()
}

#[cfg(test)]
mod tests;
