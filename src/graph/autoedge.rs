//! Automatic edges: from the nearest managed directory to what lies in it.
//!
//! Refuses to touch an edge that a person wrote, and to close a cycle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::PathBuf;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{Edge, EdgeOrigin, Graph, Origin};
use crate::ident::ResourceId;
use crate::kind::Hints;

/// Adds the automatic edges. Gives one sentence for each that was left out because it would have
/// closed a cycle. The same graph always gets the same edges.
pub fn add(graph: &mut Graph) -> Vec<String> {
    let managed = managed(graph);
    let wanted = wanted(graph, &managed);
    let named = || wanted.iter().map(|(from, to)| (managed[*from].id, managed[*to].id));
    let tangles = Tangles::of(graph, named());
    let mut before: BTreeMap<&ResourceId, Vec<&ResourceId>> = BTreeMap::new();
    for (from, to) in graph.edges.keys().filter(|(from, to)| tangles.share(from, to)) {
        before.entry(to).or_default().push(from);
    }
    let (mut left_out, mut made) = (Vec::new(), Vec::with_capacity(wanted.len()));
    for (ends, (parent, id)) in wanted.iter().zip(named()) {
        if tangles.share(parent, id) {
            let back = (id.clone(), parent.clone());
            if graph.edges.contains_key(&back) || runs_before(&before, id, parent) {
                let edge = format!("automatic edge {parent} -> {id}");
                left_out.push(format!("{edge}: it would close a cycle"));
                continue;
            }
            before.entry(id).or_default().push(parent);
        }
        made.push(*ends);
    }
    // In the order of the ids, as the places are, so that the map is made of all at once.
    made.sort_unstable();
    let edge = Edge { notify: false, origin: EdgeOrigin::Automatic, name: None };
    let ends = |(from, to): (usize, usize)| (managed[from].id.clone(), managed[to].id.clone());
    let mut made: BTreeMap<_, _> = made.into_iter().map(|it| (ends(it), edge.clone())).collect();
    graph.edges.append(&mut made);
    left_out
}

/// What takes part in automatic edges.
struct Managed<'a> {
    id: &'a ResourceId,
    path: PathBuf,
    directory: bool,
    origin: &'a Origin,
}

impl Managed<'_> {
    /// Whether this directory may have that wait for it. What another host gave holds up only what
    /// came from there too: else one that fails would stop what others and this host's file want.
    fn may_hold(&self, other: &Managed<'_>) -> bool {
        match (self.origin, other.origin) {
            (Origin::Local, _) => true,
            (Origin::Collected { .. }, Origin::Local) => false,
            (Origin::Collected { from, .. }, Origin::Collected { from: others, .. }) => {
                others.iter().any(|host| from.contains(host))
            }
        }
    }
}

/// All that does, in the order of the ids.
fn managed(graph: &Graph) -> Vec<Managed<'_>> {
    let taking_part = graph.vertices.iter().filter(|(_, vertex)| vertex.meta.autoedge);
    let managed = taking_part.filter_map(|(id, vertex)| {
        let Hints { path, directory } = vertex.resource.hints();
        path.map(|path| Managed { id, path, directory, origin: &vertex.origin })
    });
    managed.collect()
}

/// The ends of all edges that the paths ask for and nobody declared, as places in `managed`.
fn wanted(graph: &Graph, managed: &[Managed<'_>]) -> Vec<(usize, usize)> {
    // By their text: the paths are clean, and to compare them part by part takes far longer.
    let mut directories: HashMap<&OsStr, usize> = HashMap::new();
    for (at, one) in managed.iter().enumerate().filter(|(_, one)| one.directory) {
        directories.entry(one.path.as_os_str()).or_insert(at);
    }
    if directories.is_empty() {
        return Vec::new();
    }
    let ends = |(at, one): (usize, &Managed<'_>)| {
        let mut above = one.path.ancestors().skip(1);
        let holds = |at: &&usize| managed[**at].may_hold(one);
        let parent = *above.find_map(|above| directories.get(above.as_os_str()).filter(holds))?;
        let declared = !graph.edges.is_empty()
            && graph.edges.contains_key(&(managed[parent].id.clone(), one.id.clone()));
        (parent != at && !declared).then_some((parent, at))
    };
    managed.iter().enumerate().filter_map(ends).collect()
}

/// The sets of resources that would wait for each other if every wanted edge were made. A cycle
/// lies within one of them, so between two of them nothing has to be looked for: to do so for each
/// of many files behind a long chain would take the square of their number.
struct Tangles<'a>(BTreeMap<&'a ResourceId, usize>);

type Ends<'a> = (&'a ResourceId, &'a ResourceId);

impl<'a> Tangles<'a> {
    fn of(graph: &'a Graph, wanted: impl Iterator<Item = Ends<'a>>) -> Self {
        // Automatic edges alone lead down the tree of directories.
        if graph.edges.is_empty() {
            return Tangles(BTreeMap::new());
        }
        let mut all: DiGraph<&ResourceId, ()> = DiGraph::new();
        let nodes: BTreeMap<&ResourceId, NodeIndex> =
            graph.vertices.keys().map(|id| (id, all.add_node(id))).collect();
        for (from, to) in graph.edges.keys().map(|(from, to)| (from, to)).chain(wanted) {
            if let (Some(from), Some(to)) = (nodes.get(from), nodes.get(to)) {
                all.add_edge(*from, *to, ());
            }
        }
        let tangled = kosaraju_scc(&all).into_iter().filter(|members| members.len() > 1);
        let numbered = tangled.enumerate();
        Tangles(
            numbered
                .flat_map(|(number, members)| members.into_iter().map(move |node| (node, number)))
                .map(|(node, number)| (all[node], number))
                .collect(),
        )
    }

    /// Whether both are in one of them.
    fn share(&self, one: &ResourceId, other: &ResourceId) -> bool {
        self.0.get(one).is_some_and(|number| self.0.get(other) == Some(number))
    }
}

/// Whether `first` is somewhere before `last`. Walks backwards, since what is before a directory
/// is mostly its few ancestors, while thousands of files may come after.
fn runs_before(
    before: &BTreeMap<&ResourceId, Vec<&ResourceId>>,
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
