//! Automatic edges: from the nearest managed directory to what lies in it.
//!
//! Refuses to touch an edge that a person wrote, and to close a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Edge, EdgeOrigin, Graph};
use crate::ident::ResourceId;

/// Adds the automatic edges. Gives one sentence for each that was left out because it would have
/// closed a cycle. The same graph always gets the same edges.
pub(super) fn add(graph: &mut Graph) -> Vec<String> {
    let paths = managed_paths(graph);
    let mut directories: BTreeMap<&Path, &ResourceId> = BTreeMap::new();
    for managed in paths.iter().filter(|managed| managed.directory) {
        directories.entry(&managed.path).or_insert(&managed.id);
    }
    let mut before: BTreeMap<ResourceId, Vec<ResourceId>> = BTreeMap::new();
    for (from, to) in graph.edges.keys() {
        before.entry(to.clone()).or_default().push(from.clone());
    }
    let mut left_out = Vec::new();
    for Managed { id, path, .. } in &paths {
        let Some(&parent) = path.ancestors().skip(1).find_map(|above| directories.get(above))
        else {
            continue;
        };
        let ends = (parent.clone(), id.clone());
        if parent == id || graph.edges.contains_key(&ends) {
            continue;
        }
        if runs_before(&before, id, parent) {
            left_out.push(format!("automatic edge {parent} -> {id}: it would close a cycle"));
            continue;
        }
        before.entry(id.clone()).or_default().push(parent.clone());
        let edge = Edge { notify: false, origin: EdgeOrigin::Automatic, name: None };
        graph.edges.insert(ends, edge);
    }
    left_out
}

struct Managed {
    id: ResourceId,
    path: PathBuf,
    directory: bool,
}

fn managed_paths(graph: &Graph) -> Vec<Managed> {
    let taking_part = graph.vertices.values().filter(|vertex| vertex.meta.autoedge);
    taking_part
        .filter_map(|vertex| {
            let hints = vertex.resource.hints();
            let (id, directory) = (vertex.id.clone(), hints.directory);
            hints.path.map(|path| Managed { id, path, directory })
        })
        .collect()
}

/// Whether `first` is somewhere before `last`. Walks backwards, since what is before a directory
/// is mostly its few ancestors, while thousands of files may come after.
fn runs_before(
    before: &BTreeMap<ResourceId, Vec<ResourceId>>,
    first: &ResourceId,
    last: &ResourceId,
) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![last];
    while let Some(id) = waiting.pop() {
        if id == first {
            return true;
        }
        if seen.insert(id) {
            waiting.extend(before.get(id).into_iter().flatten());
        }
    }
    false
}
