//! Cycles among declared edges, with all their members named.
//!
//! Refuses to know whether the ends exist: an edge that waits for itself is wrong wherever its
//! ends come from.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diag::Diagnostic;
use crate::ident::ResourceId;
use crate::spec::EdgeSpec;

type Edges<'a> = DiGraph<&'a ResourceId, &'a EdgeSpec>;

/// One error for every resource that waits for itself and for every set of resources that wait for
/// each other.
pub fn declared_cycles(edges: &[EdgeSpec]) -> Vec<Diagnostic> {
    let mut graph = Edges::new();
    let mut nodes: HashMap<&ResourceId, NodeIndex> = HashMap::with_capacity(edges.len());
    let (mut found, mut forwards) = (Vec::new(), true);
    for edge in edges {
        if edge.from == edge.to {
            let message = format!("{} cannot run before itself", edge.from);
            let itself = Diagnostic::error(edge.to_span, message);
            found.push(itself.with_help("remove this edge, or name another resource in `to`"));
            continue;
        }
        let from = *nodes.entry(&edge.from).or_insert_with(|| graph.add_node(&edge.from));
        let to = *nodes.entry(&edge.to).or_insert_with(|| graph.add_node(&edge.to));
        graph.add_edge(from, to, edge);
        // The numbers are given in the order in which the ends are met.
        forwards &= from < to;
    }
    if forwards {
        return found;
    }
    // Not Tarjan's way, which petgraph walks by recursion: a long chain would overflow the stack.
    let tangled = kosaraju_scc(&graph).into_iter().filter(|members| members.len() > 1);
    found.extend(tangled.filter_map(|members| tangle(&graph, &members)));
    found
}

fn tangle(graph: &Edges<'_>, members: &[NodeIndex]) -> Option<Diagnostic> {
    let inside: BTreeSet<NodeIndex> = members.iter().copied().collect();
    let start = *inside.iter().min_by_key(|node| graph[**node])?;
    let ring = shortest_ring(graph, &inside, start)?;
    let mut steps: Vec<&EdgeSpec> = Vec::new();
    for (at, node) in ring.iter().enumerate() {
        let next = ring[(at + 1) % ring.len()];
        steps.push(graph[graph.find_edge(*node, next)?]);
    }
    let mut path: Vec<String> = ring.iter().map(|node| graph[*node].to_string()).collect();
    path.push(graph[start].to_string());
    let mut message = format!("these resources wait for each other: {}", path.join(" -> "));
    let in_ring: BTreeSet<NodeIndex> = ring.into_iter().collect();
    let mut others: Vec<String> =
        inside.difference(&in_ring).map(|node| graph[*node].to_string()).collect();
    if !others.is_empty() {
        others.sort();
        message.push_str(&format!("; tangled in it: {}", others.join(", ")));
    }
    steps.sort_by_key(|edge| edge.from_span);
    let (last, first) = steps.split_last()?;
    let mut found = Diagnostic::error(last.from_span, message)
        .with_help("remove one of these edges; no resource of a cycle could ever start");
    for edge in first.iter().take(SHOWN_EDGES) {
        found = found.with_related(edge.from_span, format!("{} -> {}", edge.from, edge.to));
    }
    Some(found)
}

/// How many edges of a ring are shown with their places.
const SHOWN_EDGES: usize = 20;

/// The members of a shortest way from `start` back to itself.
fn shortest_ring(
    graph: &Edges<'_>,
    inside: &BTreeSet<NodeIndex>,
    start: NodeIndex,
) -> Option<Vec<NodeIndex>> {
    let mut came_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(node) = waiting.pop_front() {
        let mut next: Vec<NodeIndex> =
            graph.neighbors(node).filter(|other| inside.contains(other)).collect();
        next.sort_by_key(|other| graph[*other]);
        for other in next {
            if other == start {
                let mut ring = vec![node];
                while let Some(previous) = came_from.get(&ring[ring.len() - 1]) {
                    ring.push(*previous);
                }
                ring.reverse();
                return Some(ring);
            }
            if let Entry::Vacant(unseen) = came_from.entry(other) {
                unseen.insert(node);
                waiting.push_back(other);
            }
        }
    }
    None
}
