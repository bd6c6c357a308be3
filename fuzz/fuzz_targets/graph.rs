//! A program that was accepted compiles, without a cycle, always to the same graph, and differs
//! from itself in nothing.
//!
//! Refuses texts with mistakes: those are the target `yaml`.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use quorate::graph::{Graph, compile};
use quorate::ident::ResourceId;
use quorate::yaml;

fuzz_target!(|text: &str| {
    let Some(program) = yaml::parse(text).0 else { return };
    let compiled = compile(&program, &[]).expect("what is accepted compiles");
    assert_eq!(Ok(&compiled), compile(&program, &[]).as_ref());
    let graph = &compiled.graph;
    let applied =
        program.resources.iter().filter(|one| !one.export.as_ref().is_some_and(|it| it.hidden));
    let applied: BTreeSet<&ResourceId> = applied.map(|one| &one.id).collect();
    assert_eq!(applied, graph.vertices.keys().collect());
    let mut again = compile(&program, &[]).expect("it compiled before").graph;
    again.keep(graph);
    let kept = |(id, one)| Arc::ptr_eq(one, &graph.vertices[id]);
    assert!(again.vertices.iter().all(kept));
    assert_eq!(ordered(graph), graph.vertices.len(), "a cycle: {:?}", graph.edges);
});

/// How many vertices can run, each after all before it.
fn ordered(graph: &Graph) -> usize {
    let mut before: BTreeMap<&ResourceId, usize> =
        graph.vertices.keys().map(|id| (id, 0)).collect();
    for (from, to) in graph.edges.keys() {
        assert!(graph.vertices.contains_key(from), "an edge from nowhere: {from}");
        *before.get_mut(to).expect("an edge leads to a vertex") += 1;
    }
    let mut ready: Vec<&ResourceId> =
        before.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut done = 0;
    while let Some(id) = ready.pop() {
        done += 1;
        for (_, to) in graph.edges.keys().filter(|(from, _)| from == id) {
            let left = before.get_mut(to).expect("an edge leads to a vertex");
            *left -= 1;
            if *left == 0 {
                ready.push(to);
            }
        }
    }
    done
}
