//! Automatic edges: from the nearest managed directory to what lies in it.
//!
//! Refuses to touch an edge that a person wrote, and to close a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{Edge, EdgeOrigin, Graph};
use crate::ident::ResourceId;

/// Adds the automatic edges. Gives one sentence for each that was left out because it would have
/// closed a cycle. The same graph always gets the same edges.
pub fn add(graph: &mut Graph) -> Vec<String> {
    let wanted = wanted(graph);
    let tangles = Tangles::of(graph, &wanted);
    let mut before: BTreeMap<ResourceId, Vec<ResourceId>> = BTreeMap::new();
    for (from, to) in graph.edges.keys().filter(|(from, to)| tangles.share(from, to)) {
        before.entry(to.clone()).or_default().push(from.clone());
    }
    let mut left_out = Vec::new();
    for (parent, id) in wanted {
        if tangles.share(&parent, &id) {
            let back = (id.clone(), parent.clone());
            if graph.edges.contains_key(&back) || runs_before(&before, &id, &parent) {
                let edge = format!("automatic edge {parent} -> {id}");
                left_out.push(format!("{edge}: it would close a cycle"));
                continue;
            }
            before.entry(id.clone()).or_default().push(parent.clone());
        }
        let edge = Edge { notify: false, origin: EdgeOrigin::Automatic, name: None };
        graph.edges.insert((parent, id), edge);
    }
    left_out
}

/// The ends of all edges that the paths ask for and nobody declared.
fn wanted(graph: &Graph) -> Vec<(ResourceId, ResourceId)> {
    let paths = managed_paths(graph);
    let mut directories: BTreeMap<&Path, &ResourceId> = BTreeMap::new();
    for managed in paths.iter().filter(|managed| managed.directory) {
        directories.entry(&managed.path).or_insert(&managed.id);
    }
    let ends = |Managed { id, path, .. }: &Managed| {
        let parent = path.ancestors().skip(1).find_map(|above| directories.get(above))?;
        let ends = ((*parent).clone(), id.clone());
        (*parent != id && !graph.edges.contains_key(&ends)).then_some(ends)
    };
    paths.iter().filter_map(ends).collect()
}

/// The sets of resources that would wait for each other if every wanted edge were made. A cycle
/// lies within one of them, so between two of them nothing has to be looked for: to do so for each
/// of many files behind a long chain would take the square of their number.
struct Tangles(BTreeMap<ResourceId, usize>);

impl Tangles {
    fn of(graph: &Graph, wanted: &[(ResourceId, ResourceId)]) -> Self {
        // Automatic edges alone lead down the tree of directories.
        if graph.edges.is_empty() || wanted.is_empty() {
            return Tangles(BTreeMap::new());
        }
        let mut all: DiGraph<&ResourceId, ()> = DiGraph::new();
        let nodes: BTreeMap<&ResourceId, NodeIndex> =
            graph.vertices.keys().map(|id| (id, all.add_node(id))).collect();
        for (from, to) in graph.edges.keys().chain(wanted) {
            if let (Some(from), Some(to)) = (nodes.get(from), nodes.get(to)) {
                all.add_edge(*from, *to, ());
            }
        }
        let tangled = kosaraju_scc(&all).into_iter().filter(|members| members.len() > 1);
        let numbered = tangled.enumerate();
        Tangles(
            numbered
                .flat_map(|(number, members)| members.into_iter().map(move |node| (node, number)))
                .map(|(node, number)| (all[node].clone(), number))
                .collect(),
        )
    }

    /// Whether both are in one of them.
    fn share(&self, one: &ResourceId, other: &ResourceId) -> bool {
        self.0.get(one).is_some_and(|number| self.0.get(other) == Some(number))
    }
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
