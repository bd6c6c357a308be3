//! The top level of a file: `graph`, `comment`, `resources`, `edges`, `collect`.
//!
//! Refuses keys that it does not know; the ones that mgmt once had and dropped are remarked on.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::entry::Shelf;
use super::node::{Data, Entry, Node};
use super::{Sink, across, collect, edge, entry, scalar, unbuilt};
use crate::diag::{Diagnostic, Span, suggest};
use crate::kind::Kind;
use crate::spec::Program;

pub(super) const KEYS: [&str; 5] = ["graph", "comment", "resources", "edges", "collect"];

/// All that can be understood of a document; the sink has what cannot.
pub(super) fn read(kinds: &[&dyn Kind], root: Rc<Node>, sink: &mut Sink) -> Program {
    let span = root.span;
    let Parts { program, shelf, named } = parts(kinds, root, sink);
    if named == Some(false) {
        let found = Diagnostic::error(span, "the file has no `graph`");
        sink.add(found.with_help("name the graph in the first line: `graph: NAME`"));
    }
    if named.is_some() {
        across::check(kinds, &program, &shelf, sink);
    }
    program
}

/// What each part of a file says by itself.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) program: Program,
    pub(super) shelf: Shelf,
    /// Whether it names the graph; `None` when it is no file at all.
    pub(super) named: Option<bool>,
}

/// Reads each part by itself. What was read is given up piece by piece: a document of many
/// resources is larger than what it says.
pub(super) fn parts(kinds: &[&dyn Kind], root: Rc<Node>, sink: &mut Sink) -> Parts {
    let (mut program, mut shelf) = (Program::default(), Shelf::default());
    let shape = "with `graph: NAME` and `resources:`";
    let Some(entries) = owned_map(root, "a graph file", shape, sink) else {
        return Parts::default();
    };
    let (mut named, mut edges) = (false, Vec::new());
    for Entry { key, value } in entries {
        match &*key.text {
            "graph" => {
                named = true;
                program.name = graph_name(&value, sink);
            }
            "comment" => {}
            "resources" => resources(kinds, value, &mut program, &mut shelf, sink),
            // Read below, once all kinds that were reported are known.
            "edges" => edges.push(value),
            "collect" => collect::read(kinds, &value, &mut program.collect, sink),
            "remote" => {
                let dead = "`remote` does nothing: no version runs graphs over ssh any more";
                sink.add(Diagnostic::warning(key.span, dead).with_help("remove it"));
            }
            unknown => {
                let found = Diagnostic::error(key.span, format!("unknown key `{unknown}`"));
                sink.add_with_hint(found, || suggest(unknown, KEYS, "known keys"));
            }
        }
    }
    for value in edges {
        edge::read(kinds, &shelf, &value, &mut program.edges, sink);
    }
    Parts { program, shelf, named: Some(named) }
}

fn graph_name(value: &Node, sink: &mut Sink) -> String {
    let name =
        if value.is_null() { Some(String::new()) } else { scalar::text("graph", value, sink) };
    if name.as_deref() == Some("") {
        let found = Diagnostic::error(value.span, "the graph has an empty name");
        sink.add(found.with_help("write `graph: NAME`"));
    }
    name.unwrap_or_default()
}

fn resources(
    kinds: &[&dyn Kind],
    value: Rc<Node>,
    program: &mut Program,
    shelf: &mut Shelf,
    sink: &mut Sink,
) {
    if value.is_null() {
        return;
    }
    let shape = "of kinds, each with a list of resources";
    for Entry { key, value } in owned_map(value, "`resources`", shape, sink).unwrap_or_default() {
        let kind = kinds.iter().find(|kind| kind.name() == &*key.text);
        if kind.is_none() {
            refuse_kind(kinds, "", &key.text, key.span, sink);
            shelf.unknown_kinds.insert(key.text.to_string());
        }
        let items = owned_list(value, &format!("`{}`", key.text), "of resources", sink);
        program.resources.reserve_exact(items.len());
        for item in items {
            if let Some(kind) = kind {
                entry::read(kinds, *kind, &item, &mut program.resources, shelf, sink);
            }
        }
    }
}

/// Reports a kind that is not there. `lead` begins the message.
pub(super) fn refuse_kind(
    kinds: &[&dyn Kind],
    lead: &str,
    typed: &str,
    span: Span,
    sink: &mut Sink,
) {
    let names: BTreeSet<&str> = kinds.iter().map(|kind| kind.name()).collect();
    if unbuilt::kind(typed) {
        let found = Diagnostic::error(span, format!("{lead}kind `{typed}` is not built yet"));
        sink.add(Diagnostic { help: suggest("", names, "known kinds"), ..found });
        return;
    }
    let found = Diagnostic::error(span, format!("{lead}unknown kind `{typed}`"));
    sink.add_with_hint(found, || suggest(typed, names, "known kinds"));
}

/// The entries of a map; says what the map should be when it is none.
pub(super) fn map<'a>(
    node: &'a Node,
    subject: &str,
    shape: &str,
    sink: &mut Sink,
) -> Option<&'a [Entry]> {
    if let Data::Map(entries) = &node.data {
        return Some(entries);
    }
    let message = format!("{subject} is a map {shape}, not {}", node.what());
    sink.add(Diagnostic::error(node.span, message));
    None
}

/// [`map`] with the entries themselves.
fn owned_map(node: Rc<Node>, subject: &str, shape: &str, sink: &mut Sink) -> Option<Vec<Entry>> {
    map(&node, subject, shape, sink)?;
    match Rc::unwrap_or_clone(node).data {
        Data::Map(entries) => Some(entries),
        _ => None,
    }
}

/// [`list`] with the items themselves.
fn owned_list(node: Rc<Node>, subject: &str, shape: &str, sink: &mut Sink) -> Vec<Rc<Node>> {
    list(&node, subject, shape, sink);
    match Rc::unwrap_or_clone(node).data {
        Data::List(items) => items,
        _ => Vec::new(),
    }
}

/// The items of a list, none for null; says what the list should be when it is none.
pub(super) fn list<'a>(
    node: &'a Node,
    subject: &str,
    shape: &str,
    sink: &mut Sink,
) -> &'a [Rc<Node>] {
    match &node.data {
        Data::List(items) => items.as_slice(),
        _ if node.is_null() => &[],
        data => {
            let message = format!("{subject} takes a list {shape}, not {}", node.what());
            let found = Diagnostic::error(node.span, message);
            sink.add(match data {
                Data::Map(_) => found.with_help("begin each item with `- `"),
                _ => found,
            });
            &[]
        }
    }
}
