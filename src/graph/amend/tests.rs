//! What the whole program compiles to is the truth: an amended graph is exactly that.

use std::collections::BTreeMap;

use super::*;
use crate::diag::Span;
use crate::graph::{Compiled, compile};
use crate::ident::{HostName, ResourceId};
use crate::spec::{EdgeSpec, Export, Fields, Meta, Program, Receive, ReceiveSpec, Value};

fn fields(pairs: &[(&'static str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| (*name, Value::Str((*value).to_owned()))).collect()
}

fn spec(kind: &str, name: &str, pairs: &[(&'static str, &str)]) -> ResourceSpec {
    ResourceSpec {
        id: ResourceId::new(kind, name),
        fields: fields(pairs),
        meta: Arc::default(),
        receives: BTreeMap::new(),
        export: None,
        hosts: None,
        span: Span::default(),
        field_spans: Vec::new(),
    }
}

/// A directory, a file in it, a command, a text that it sends, and a file that is only exported.
fn site() -> Program {
    let edge = EdgeSpec {
        name: None,
        from: ResourceId::new("exec", "run"),
        to: ResourceId::new("file", "/d/one"),
        notify: true,
        from_span: Span::default(),
        to_span: Span::default(),
    };
    let mut hidden = spec("file", "/d/hidden", &[("content", "x")]);
    hidden.export = Some(Export { hidden: true, ..Export::default() });
    Program {
        name: "site".to_owned(),
        resources: vec![
            spec("file", "/d/", &[("state", "exists")]),
            spec("file", "/d/one", &[("content", "x")]),
            spec("exec", "run", &[("cmd", "echo")]),
            receiving(spec("print", "said", &[("msg", "x")]), "stdout"),
            hidden,
        ],
        edges: vec![edge],
        collect: Vec::new(),
    }
}

fn receiving(mut spec: ResourceSpec, key: &str) -> ResourceSpec {
    let receive = Receive { from: ResourceId::new("exec", "run"), key: key.to_owned() };
    let one = ReceiveSpec { receive, span: Span::default(), from_span: Span::default() };
    spec.receives.insert("msg".to_owned(), one);
    spec
}

fn with_meta(mut spec: ResourceSpec, meta: Meta) -> ResourceSpec {
    spec.meta = Arc::new(meta);
    spec
}

fn compiled(program: &Program, collected: &[Collected]) -> Arc<Graph> {
    let Compiled { graph, messages, .. } = compile(program, collected).expect("it is right");
    assert!(messages.is_empty(), "{messages:?}");
    Arc::new(graph)
}

#[test]
fn an_amended_graph_is_the_one_that_the_whole_program_compiles_to() {
    let one = |content| spec("file", "/d/one", &[("content", content)]);
    let quiet = Meta { noop: true, ..Meta::default() };
    let apart = Meta { autoedge: false, ..Meta::default() };
    let table = [
        ("another value", one("y"), true),
        ("one more field", spec("file", "/d/one", &[("content", "x"), ("mode", "0600")]), true),
        ("a meta parameter", with_meta(one("x"), quiet), true),
        ("what it only exports", spec("file", "/d/hidden", &[("content", "y")]), true),
        ("another place", spec("file", "/d/one", &[("content", "x"), ("path", "/e/one")]), false),
        ("no automatic edges", with_meta(one("x"), apart), false),
        ("another value to receive", receiving(spec("print", "said", &[]), "stderr"), false),
        ("nothing to receive", spec("print", "said", &[("msg", "x")]), false),
        ("another name", spec("file", "/d/two", &[("content", "x")]), false),
    ];
    for (what, mut changed, alone) in table {
        let mut program = site();
        let before = compiled(&program, &[]);
        let at = program.resources.iter().position(|old| old.id == changed.id).unwrap_or(1);
        if program.resources[at].export.is_some() {
            changed.export = program.resources[at].export.clone();
        }
        program.resources[at] = changed.clone();
        let amended = amend(&before, &[changed]);
        assert_eq!(amended.is_some(), alone, "{what}");
        if let Some(amended) = amended {
            let whole = compiled(&program, &[]);
            assert_eq!(amended, whole, "{what}");
            let hints = |graph: &Graph| -> Vec<_> {
                graph.vertices.values().map(|one| one.resource.hints()).collect()
            };
            assert_eq!(hints(&amended), hints(&whole), "{what}");
        }
    }
}

#[test]
fn an_edit_that_says_the_same_leaves_the_graph_as_it_is() {
    let program = site();
    let before = compiled(&program, &[]);
    let amended = amend(&before, &program.resources).expect("they are all in it");
    assert!(Arc::ptr_eq(&amended, &before));
}

#[test]
fn what_was_not_changed_keeps_its_built_resource() {
    let before = compiled(&site(), &[]);
    let changed = spec("file", "/d/one", &[("content", "y")]);
    let amended = amend(&before, &[changed]).expect("it concerns nobody else");
    for (id, vertex) in &amended.vertices {
        assert_eq!(Arc::ptr_eq(vertex, &before.vertices[id]), id.name() != "/d/one", "{id}");
    }
}

fn collected(name: &str, content: &str, from: &[&str]) -> Collected {
    let from = from.iter().map(|host| HostName::parse(host).expect("a host name")).collect();
    let fields = fields(&[("content", content)]);
    let (id, meta) = (ResourceId::new("file", name), Arc::default());
    Collected { id, fields, meta, from, rule: None, within: None, gone: false }
}

#[test]
fn a_collected_value_is_amended_and_whatever_else_changes_is_compiled() {
    let before = [collected("/d/a", "x", &["h2"]), collected("/d/b", "x", &["h2"])];
    let [a, b] = before.clone();
    let elsewhere = {
        let mut moved = a.clone();
        moved.fields.insert("path", Value::Str("/e/a".to_owned()));
        moved
    };
    let table = [
        ("nothing", vec![a.clone(), b.clone()], true),
        ("a value", vec![collected("/d/a", "y", &["h2"]), b.clone()], true),
        ("who exports it", vec![collected("/d/a", "x", &["h2", "h3"]), b.clone()], false),
        ("its place", vec![elsewhere, b.clone()], false),
        ("one more", vec![a.clone(), b, collected("/d/c", "x", &["h2"])], false),
        ("a local one", vec![a, collected("/d/one", "y", &["h2"])], false),
    ];
    let graph = compiled(&site(), &before);
    for (what, after, alone) in table {
        let amended = amend_collected(&graph, &after);
        assert_eq!(amended.is_some(), alone, "{what}");
        if let Some(amended) = amended {
            assert_eq!(amended, compiled(&site(), &after), "{what}");
        }
    }
}
