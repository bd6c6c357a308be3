//! Claims about compiling, with a kind of their own that says what it manages.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::diag::{Diagnostic, Span};
use crate::kind::{Context, FieldDef, FieldError, Hints, Kind, Outcome, Power, Watch};
use crate::spec::{Collected, EdgeSpec, Export, Program, ResourceSpec, Value};

/// Manages the path that is its name; a field `bad` cannot be built.
struct Thing;

#[derive(Debug)]
struct Built(Hints);

impl Kind for Thing {
    fn name(&self) -> &'static str {
        "thing"
    }

    fn fields(&self) -> &'static [FieldDef] {
        &[]
    }

    fn power(&self) -> Power {
        Power::Inert
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        if fields.contains_key("bad") {
            let one = |field| FieldError { field, message: "is bad".to_owned(), help: None };
            return Err(vec![one(Some("bad")), one(None)]);
        }
        let path = PathBuf::from(id.name().trim_end_matches('/'));
        let directory = id.name().ends_with('/');
        Ok(Arc::new(Built(Hints { path: path.is_absolute().then_some(path), directory })))
    }
}

#[async_trait]
impl Resource for Built {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    fn hints(&self) -> Hints {
        self.0.clone()
    }

    async fn run(&self, _: &Context) -> Result<Outcome, String> {
        Ok(Outcome::Unchanged)
    }
}

const KINDS: &[&dyn Kind] = &[&Thing];

fn id(name: &str) -> ResourceId {
    ResourceId::new("thing", name)
}

fn at(start: usize) -> Span {
    Span { start, end: start + 1, line: 1, column: start + 1 }
}

fn spec(name: &str) -> ResourceSpec {
    ResourceSpec {
        id: id(name),
        fields: Fields::new(),
        meta: Arc::default(),
        receives: BTreeMap::new(),
        export: None,
        hosts: None,
        span: at(0),
        field_spans: Vec::new(),
    }
}

fn edge(from: &str, to: &str) -> EdgeSpec {
    let (from, to) = (id(from), id(to));
    EdgeSpec { name: None, from, to, notify: false, from_span: at(1), to_span: at(2) }
}

fn program(names: &[&str], edges: &[(&str, &str)]) -> Program {
    Program {
        name: "test".to_owned(),
        resources: names.iter().map(|name| spec(name)).collect(),
        edges: edges.iter().map(|(from, to)| edge(from, to)).collect(),
        collect: Vec::new(),
    }
}

fn collected(name: &str) -> Collected {
    let from = vec![HostName::parse("h2").unwrap()];
    let (fields, meta) = (Fields::new(), Arc::default());
    Collected { id: id(name), fields, meta, from, rule: None, within: None, gone: false }
}

fn compiled(program: &Program, collected: &[Collected]) -> Compiled {
    compile_with(KINDS, program, collected).expect("there is no mistake in it")
}

fn shown(graph: &Graph) -> Vec<String> {
    graph.edges.keys().map(|(from, to)| format!("{} {}", from.name(), to.name())).collect()
}

#[test]
fn every_mistake_of_every_resource_is_listed_where_it_stands() {
    let mut wrong = program(&["a", "b"], &[("a", "a")]);
    wrong.resources[1].fields.insert("bad".to_owned(), Value::Bool(true));
    wrong.resources[1].field_spans.push(("bad", at(9)));
    let mistakes = compile_with(KINDS, &wrong, &[]).expect_err("there are mistakes in it");
    let shown: Vec<(usize, &str)> =
        mistakes.iter().map(|one| (one.span.start, one.message.as_str())).collect();
    let expected = [
        (0, "thing[b]: is bad"),
        (2, "thing[a] cannot run before itself"),
        (9, "thing[b]: is bad"),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_hidden_resource_is_not_in_the_graph() {
    let mut program = program(&["a", "b"], &[("a", "b")]);
    program.resources[0].export = Some(Export { hidden: true, ..Export::default() });
    program.resources[1].export = Some(Export::default());
    let graph = compiled(&program, &[]).graph;
    assert_eq!(graph.vertices.keys().collect::<Vec<_>>(), [&id("b")]);
    assert_eq!(shown(&graph), [""; 0], "an edge needs both ends");
}

#[test]
fn an_edge_appears_when_its_end_is_collected() {
    let program = program(&["a"], &[("a", "b")]);
    assert_eq!(shown(&compiled(&program, &[]).graph), [""; 0]);
    let graph = compiled(&program, &[collected("b")]).graph;
    assert_eq!(shown(&graph), ["a b"]);
    let from = vec![HostName::parse("h2").unwrap()];
    assert_eq!(graph.vertices[&id("b")].origin, Origin::Collected { from, within: None });
}

#[test]
fn a_collected_resource_never_refuses_the_graph() {
    let mut bad = collected("bad one");
    bad.fields.insert("bad".to_owned(), Value::Bool(true));
    let alien = Collected { id: ResourceId::new("alien", "x"), ..collected("x") };
    let all = [bad, alien, collected("a"), collected("fine"), collected("fine")];
    let compiled = compiled(&program(&["a"], &[]), &all);
    assert_eq!(compiled.graph.vertices.keys().collect::<Vec<_>>(), [&id("a"), &id("fine")]);
    assert_eq!(compiled.graph.vertices[&id("a")].origin, Origin::Local);
    let expected = [
        "XC07 thing[bad one] from h2: is bad; is bad; left out",
        "XC12 alien[x] from h2: unknown kind; left out",
        "XC02 thing[a]: local resource wins over h2",
        "XC07 thing[fine] from h2: it was already collected; left out",
    ];
    assert_eq!(compiled.messages, expected);
}

#[test]
fn edges_with_the_same_ends_are_one_that_notifies_if_any_does() {
    let mut program = program(&["a", "b"], &[("a", "b"), ("a", "b"), ("a", "b")]);
    program.edges[1].notify = true;
    program.edges[2].name = Some("label".to_owned());
    let graph = compiled(&program, &[]).graph;
    let (name, origin) = (Some("label".to_owned()), EdgeOrigin::Declared);
    assert_eq!(graph.edges[&(id("a"), id("b"))], Edge { notify: true, origin, name });
}

#[test]
fn the_nearest_managed_directory_comes_first() {
    let names = ["/a/", "/a/b/", "/a/b/c/d", "/a/x", "/ab", "relative"];
    let graph = compiled(&program(&names, &[]), &[]).graph;
    assert_eq!(shown(&graph), ["/a/ /a/b/", "/a/ /a/x", "/a/b/ /a/b/c/d"]);
    assert!(graph.edges.values().all(|edge| edge.origin == EdgeOrigin::Automatic && !edge.notify));
}

#[test]
fn a_collected_file_waits_for_the_local_directory() {
    let graph = compiled(&program(&["/a/"], &[]), &[collected("/a/f")]).graph;
    assert_eq!(shown(&graph), ["/a/ /a/f"]);
}

#[test]
fn a_collected_directory_holds_up_only_what_came_from_the_same_host() {
    let mut other = collected("/s/a/of-h3");
    other.from = vec![HostName::parse("h3").unwrap()];
    let both = [collected("/s/a/"), collected("/s/a/of-h2"), other];
    let graph = compiled(&program(&["/s/", "/s/a/local"], &[]), &both).graph;
    let wanted = ["/s/ /s/a/", "/s/ /s/a/local", "/s/ /s/a/of-h3", "/s/a/ /s/a/of-h2"];
    assert_eq!(shown(&graph), wanted);
}

#[test]
fn a_plain_file_is_nobodys_directory() {
    assert_eq!(shown(&compiled(&program(&["/a", "/a/b"], &[]), &[]).graph), [""; 0]);
}

#[test]
fn a_written_edge_is_never_replaced_by_an_automatic_one() {
    let mut program = program(&["/a/", "/a/b"], &[("/a/", "/a/b")]);
    program.edges[0].notify = true;
    let graph = compiled(&program, &[]).graph;
    let edge = &graph.edges[&(id("/a/"), id("/a/b"))];
    assert_eq!((edge.notify, edge.origin), (true, EdgeOrigin::Declared));
}

#[test]
fn an_automatic_edge_gives_way_to_a_way_round() {
    let program = program(&["/a/", "/a/b", "m"], &[("/a/b", "m"), ("m", "/a/")]);
    let compiled = compiled(&program, &[]);
    assert_eq!(shown(&compiled.graph), ["/a/b m", "m /a/"]);
    assert_eq!(
        compiled.notes,
        ["automatic edge thing[/a/] -> thing[/a/b]: it would close a cycle"]
    );
}

#[test]
fn many_files_behind_a_long_chain_do_not_take_the_square_of_their_number() {
    let count = 10_000;
    let steps: Vec<String> = (0..count).map(|number| format!("step{number}")).collect();
    let files: Vec<String> = (0..count).map(|number| format!("/d/{number}")).collect();
    let names = steps.iter().chain(&files).map(String::as_str).chain(["/d/"]);
    let chain = steps.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
    let edges: Vec<(&str, &str)> = chain.chain([(steps[count - 1].as_str(), "/d/")]).collect();
    let started = std::time::Instant::now();
    let graph = compiled(&program(&names.collect::<Vec<_>>(), &edges), &[]).graph;
    assert_eq!(graph.edges.len(), 2 * count);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn who_opts_out_of_automatic_edges_has_none_in_either_direction() {
    let mut program = program(&["/a/", "/a/b/", "/a/b/c", "/a/d"], &[]);
    Arc::make_mut(&mut program.resources[1].meta).autoedge = false;
    assert_eq!(shown(&compiled(&program, &[]).graph), ["/a/ /a/b/c", "/a/ /a/d"]);
}

#[test]
fn a_vertex_is_equal_by_what_it_says_not_by_what_was_built() {
    let old = compiled(&program(&["a", "b"], &[]), &[]).graph;
    let mut changed = program(&["a", "b"], &[]);
    Arc::make_mut(&mut changed.resources[1].meta).noop = true;
    let new = compiled(&changed, &[]).graph;
    let equal = |name: &str| old.vertices[&id(name)] == new.vertices[&id(name)];
    assert!(equal("a") && !equal("b"));
}

#[test]
fn what_says_the_same_keeps_the_resource_that_remembers_its_runs() {
    let old = compiled(&program(&["a", "b"], &[]), &[]).graph;
    let mut changed = program(&["a", "b", "c"], &[]);
    Arc::make_mut(&mut changed.resources[1].meta).noop = true;
    let mut new = compiled(&changed, &[]).graph;
    let before = new.clone();
    new.keep(&old);
    let same = |one: &Graph, name: &str| {
        Arc::ptr_eq(&new.vertices[&id(name)].resource, &one.vertices[&id(name)].resource)
    };
    assert!(same(&old, "a") && same(&before, "b") && same(&before, "c"));
    assert_eq!(new, before);
}

/// Edges among few names, so that cycles are common.
fn edges() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0usize..9, 0usize..9), 0..16)
}

const NAMES: [&str; 9] = ["/a/", "/a/b/", "/a/b/c", "/a/b/d/", "/a/b/d/e", "/a/f", "x", "y", "z"];

/// Whether one can come back to a name by following edges: a plain search, for comparison.
fn has_cycle(edges: &[(usize, usize)]) -> bool {
    let mut after = [[false; 9]; 9];
    for (from, to) in edges {
        after[*from][*to] = true;
    }
    for middle in 0..9 {
        for from in 0..9 {
            for to in 0..9 {
                after[from][to] |= after[from][middle] && after[middle][to];
            }
        }
    }
    (0..9).any(|name| after[name][name])
}

/// Whether `to` comes after `from`.
fn path(edges: &[(usize, usize)], from: usize, to: usize) -> bool {
    let mut reached = [false; 9];
    reached[from] = true;
    for _ in 0..9 {
        for (a, b) in edges {
            reached[*b] |= reached[*a];
        }
    }
    reached[to]
}

proptest! {
    #[test]
    fn a_program_is_refused_exactly_if_its_edges_close_a_cycle(edges in edges()) {
        let named: Vec<(&str, &str)> = edges.iter().map(|(a, b)| (NAMES[*a], NAMES[*b])).collect();
        let result = compile_with(KINDS, &program(&NAMES, &named), &[]);
        prop_assert_eq!(result.is_err(), has_cycle(&edges));
        if let Ok(compiled) = result {
            let place = |id: &ResourceId| NAMES.iter().position(|name| *name == id.name()).unwrap();
            let all: Vec<(usize, usize)> =
                compiled.graph.edges.keys().map(|(a, b)| (place(a), place(b))).collect();
            prop_assert!(!has_cycle(&all), "automatic edges closed one");
            for note in &compiled.notes {
                let mut ends = note.split(['[', ']']).skip(1).step_by(2);
                let mut end = || ends.next().and_then(|end| NAMES.iter().position(|it| *it == end));
                let (from, to) = (end().unwrap(), end().unwrap());
                prop_assert!(path(&all, to, from), "{} for nothing", note);
            }
            for (at, name) in NAMES.iter().enumerate().take(6).skip(1) {
                let into = all.iter().filter(|(_, to)| *to == at).count();
                prop_assert!(into > 0 || !compiled.notes.is_empty(), "{} has no edge", name);
            }
        }
    }

    #[test]
    fn every_member_of_every_cycle_is_named(edges in edges()) {
        let named: Vec<(&str, &str)> = edges.iter().map(|(a, b)| (NAMES[*a], NAMES[*b])).collect();
        let found: Vec<Diagnostic> = declared_cycles(&program(&NAMES, &named).edges);
        for (at, name) in NAMES.iter().enumerate() {
            let member = (0..9).any(|other| {
                other != at && path(&edges, at, other) && path(&edges, other, at)
            });
            let label = format!("thing[{name}]");
            let rings = found.iter().filter(|one| one.message.starts_with("these"));
            let mut words = rings.flat_map(|one| one.message.split([' ', ';', ',']));
            let named = words.any(|word| word == label);
            prop_assert_eq!(named, member, "{} in {:?}", label, found);
        }
    }
}
