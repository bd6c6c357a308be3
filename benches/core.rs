//! `cargo bench`: what the pure core costs at growing sizes: reading a file, compiling a graph,
//! comparing two, and the engine's steps.
//!
//! Refuses to touch the machine: whole programs are measured by `cargo xtask bench engine`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use divan::Bencher;
use quorate::engine::{Command, Engine, Event, Options, Timestamp};
use quorate::graph::{self, Graph};
use quorate::kind::Outcome;
use quorate::spec::{Fields, Program};
use quorate::yaml;

const SIZES: [usize; 4] = [100, 1000, 10_000, 100_000];

fn main() {
    divan::main();
}

/// Files of a hundred bytes, each after those that `before` names.
fn text(n: usize, before: impl Fn(usize) -> Vec<usize>) -> String {
    let mut text = "graph: bench\nresources:\n  file:\n".to_owned();
    let write = "a string takes everything";
    for at in 0..n {
        let line = format!("{at:08} {}", "x".repeat(90));
        write!(
            text,
            "  - name: f{at:06}\n    path: /srv/bench/f{at:06}\n    mode: '0644'\n    content: \
             \"{line}\\n\"\n"
        )
        .expect(write);
    }
    let edges: Vec<(usize, usize)> =
        (0..n).flat_map(|at| before(at).into_iter().map(move |from| (from, at))).collect();
    text.push_str(if edges.is_empty() { "" } else { "edges:\n" });
    for (index, (from, to)) in edges.into_iter().enumerate() {
        write!(
            text,
            "- name: e{index}\n  from: {{kind: file, name: f{from:06}}}\n  to: {{kind: file, name: \
             f{to:06}}}\n"
        )
        .expect(write);
    }
    text
}

fn none(_: usize) -> Vec<usize> {
    Vec::new()
}

/// Up to four earlier ones, by a fixed rule.
fn four(at: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (1..=4).map(|k| at.wrapping_mul(k * 7919) % at.max(1)).collect();
    all.retain(|from| *from < at);
    all.sort_unstable();
    all.dedup();
    all
}

fn program(n: usize, before: impl Fn(usize) -> Vec<usize>) -> Program {
    yaml::parse(&text(n, before)).0.expect("the text is right")
}

fn compiled(n: usize, before: impl Fn(usize) -> Vec<usize>) -> Arc<Graph> {
    Arc::new(graph::compile(&program(n, before), &[]).expect("the program is right").graph)
}

#[divan::bench(args = SIZES)]
fn read_a_file(bencher: Bencher<'_, '_>, n: usize) {
    let text = text(n, none);
    bencher.bench(|| yaml::parse(&text));
}

#[divan::bench(args = SIZES)]
fn compile(bencher: Bencher<'_, '_>, n: usize) {
    let program = program(n, none);
    bencher.bench(|| graph::compile(&program, &[]));
}

#[divan::bench(args = &SIZES[..3])]
fn compile_with_four_edges_each(bencher: Bencher<'_, '_>, n: usize) {
    let program = program(n, four);
    bencher.bench(|| graph::compile(&program, &[]));
}

/// The difference of two graphs: all that says the same is taken over.
#[divan::bench(args = SIZES)]
fn keep_of_an_equal_graph(bencher: Bencher<'_, '_>, n: usize) {
    let (old, new) = (compiled(n, none), compiled(n, none));
    bencher.with_inputs(|| Graph::clone(&new)).bench_local_values(|mut new| {
        new.keep(&old);
        new
    });
}

/// Where each of a graph with up to four edges each stands in the order.
#[divan::bench(args = SIZES)]
fn sort_with_four_edges_each(bencher: Bencher<'_, '_>, n: usize) {
    let edges = (0..n).flat_map(|at| four(at).into_iter().map(move |from| (from, at)));
    let edges: Vec<(usize, usize)> = edges.collect();
    bencher.bench(|| graph::ranks(n, edges.iter().copied()));
}

/// A graph of directories at these paths, without its edges.
fn directories(n: usize, path: impl Fn(usize) -> String) -> Graph {
    let mut text = "graph: bench\nresources:\n  file:\n".to_owned();
    for at in 0..n {
        writeln!(text, "  - name: /srv/{}/\n    state: exists", path(at))
            .expect("a string takes everything");
    }
    let program = yaml::parse(&text).0.expect("the text is right");
    let mut graph = graph::compile(&program, &[]).expect("the program is right").graph;
    graph.edges.clear();
    graph
}

fn automatic_edges(bencher: Bencher<'_, '_>, graph: &Graph) {
    bencher.with_inputs(|| graph.clone()).bench_local_values(|mut graph| {
        graph::add_automatic_edges(&mut graph);
        assert_eq!(graph.edges.len(), graph.vertices.len() - 1);
        graph
    });
}

/// Nested directories: ten in each, as deep as that takes.
#[divan::bench(args = SIZES)]
fn automatic_edges_of_a_tree(bencher: Bencher<'_, '_>, n: usize) {
    let digits = |at: usize| at.to_string().chars().map(String::from).collect::<Vec<_>>();
    let path =
        |at| if at == 0 { "top".to_owned() } else { format!("top/{}", digits(at).join("/")) };
    automatic_edges(bencher, &directories(n, path));
}

/// All others directly in the first one.
#[divan::bench(args = SIZES)]
fn automatic_edges_of_one_directory(bencher: Bencher<'_, '_>, n: usize) {
    let path = |at| if at == 0 { "top".to_owned() } else { format!("top/{at}") };
    automatic_edges(bencher, &directories(n, path));
}

/// Answers every command as if nothing took any time; the number of runs.
fn drain(engine: &mut Engine, event: Event) -> usize {
    let (mut events, mut runs) = (VecDeque::from([event]), 0);
    while let Some(event) = events.pop_front() {
        for command in engine.step(Timestamp::default(), event) {
            match command {
                Command::Watch(vertex) => {
                    events.push_back(Event::Watching { vertex, error: None });
                }
                Command::Run { vertex, run, .. } => {
                    runs += 1;
                    let result = Ok(Outcome::Unchanged);
                    let sent = Fields::new();
                    events.push_back(Event::Finished { vertex, run, result, sent });
                }
                _ => {}
            }
        }
    }
    runs
}

fn first_pass(bencher: Bencher<'_, '_>, graph: &Arc<Graph>) {
    bencher.bench(|| {
        let mut engine = Engine::new(Options::default());
        let runs = drain(&mut engine, Event::Graph(graph.clone()));
        assert_eq!(runs, graph.vertices.len());
        engine
    });
}

#[divan::bench(args = SIZES)]
fn engine_first_pass_wide(bencher: Bencher<'_, '_>, n: usize) {
    first_pass(bencher, &compiled(n, none));
}

#[divan::bench(args = SIZES)]
fn engine_first_pass_chain(bencher: Bencher<'_, '_>, n: usize) {
    first_pass(bencher, &compiled(n, |at| at.checked_sub(1).into_iter().collect()));
}

#[divan::bench(args = &SIZES[..3])]
fn engine_first_pass_four_edges_each(bencher: Bencher<'_, '_>, n: usize) {
    first_pass(bencher, &compiled(n, four));
}

#[divan::bench(args = SIZES)]
fn engine_swap_of_equal_graphs(bencher: Bencher<'_, '_>, n: usize) {
    let (old, new) = (compiled(n, none), compiled(n, none));
    let mut engine = Engine::new(Options::default());
    drain(&mut engine, Event::Graph(old.clone()));
    bencher.bench_local(|| {
        drain(&mut engine, Event::Graph(new.clone()))
            + drain(&mut engine, Event::Graph(old.clone()))
    });
}

#[divan::bench(args = SIZES)]
fn engine_one_event(bencher: Bencher<'_, '_>, n: usize) {
    let mut engine = Engine::new(Options::default());
    drain(&mut engine, Event::Graph(compiled(n, none)));
    let vertex = engine.vertices().nth(n / 2).expect("there are some").id.clone();
    bencher.bench_local(|| drain(&mut engine, Event::Touched(vertex.clone())));
}
