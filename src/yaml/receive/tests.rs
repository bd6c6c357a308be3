//! Claims about `recv`, with kinds of their own that send.

use std::sync::Arc;

use crate::diag::Diagnostic;
use crate::graph::{Compiled, compile_with};
use crate::ident::ResourceId;
use crate::kind::{FieldDef, FieldError, FieldType, Kind, Power, Resource, find};
use crate::spec::{Fields, Receive};
use crate::yaml::parse_with;

const TABLE: &[FieldDef] = &[
    FieldDef { name: "text", ty: FieldType::Str, doc: "a text" },
    FieldDef { name: "number", ty: FieldType::Int, doc: "a number" },
];

/// Sends what it has fields for, under the same names; the mute one sends nothing.
struct Thing {
    name: &'static str,
    sends: &'static [FieldDef],
}

impl Kind for Thing {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fields(&self) -> &'static [FieldDef] {
        TABLE
    }

    fn sends(&self) -> &'static [FieldDef] {
        self.sends
    }

    fn power(&self) -> Power {
        Power::Inert
    }

    fn build(&self, id: &ResourceId, _: &Fields) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        find("noop").expect("it is a kind").build(id, &Fields::new())
    }
}

const KINDS: &[&dyn Kind] =
    &[&Thing { name: "mute", sends: &[] }, &Thing { name: "thing", sends: TABLE }];

/// A file in which `thing[b]` has this `recv`, besides `thing[a]` and `mute[m]`.
fn file(recv: &str) -> String {
    format!(
        "graph: g\nresources:\n  mute:\n  - name: m\n  thing:\n  - name: a\n  - name: b\n    \
         recv: {recv}\n"
    )
}

fn refused(text: &str) -> Vec<Diagnostic> {
    let (program, found) = parse_with(KINDS, text);
    assert!(program.is_none(), "{text}");
    found
}

fn compiled(text: &str) -> Compiled {
    let (program, found) = parse_with(KINDS, text);
    let program = program.unwrap_or_else(|| panic!("{found:?}"));
    compile_with(KINDS, &program, &[]).expect("there is no mistake in it")
}

#[test]
fn what_is_received_is_kept_and_the_sender_runs_first() {
    let graph = compiled(&file("{text: {kind: thing, name: a, key: text}}")).graph;
    let [a, b] = ["a", "b"].map(|name| ResourceId::new("thing", name));
    assert!(graph.edges.keys().eq([&(a.clone(), b.clone())]));
    let receive = Receive { from: a, key: "text".to_owned() };
    assert_eq!(graph.vertices[&b].receives["text"], receive);
}

#[test]
fn a_written_edge_of_the_same_ends_keeps_its_notify() {
    let text = file("{text: {kind: thing, name: a, key: text}}")
        + "edges:\n- from: {kind: thing, name: a}\n  to: {kind: thing, name: b}\n  notify: true\n";
    let graph = compiled(&text).graph;
    assert!(graph.edges.len() == 1 && graph.edges.values().all(|edge| edge.notify));
}

#[test]
fn each_mistake_is_named_where_it_stands() {
    let table = [
        ("{tex: {kind: thing, name: a, key: text}}", 12, "`thing` has no field `tex`"),
        ("{text: {kind: thin, name: a, key: text}}", 25, "unknown kind `thin`"),
        ("{text: {kind: thing, name: c, key: text}}", 38, "thing[c] is not declared"),
        ("{text: {kind: thing, name: a, key: txt}}", 46, "`thing` sends no `txt`"),
        ("{text: {kind: mute, name: m, key: text}}", 45, "`mute` sends nothing"),
        ("{text: {kind: thing, name: b, key: text}}", 38, "thing[b] receives from itself"),
        ("{text: {kind: thing, name: a, kee: text}}", 41, "unknown key `kee`"),
        ("{text: {kind: thing, name: a}}", 18, "`recv.text` has no `key`"),
        ("{text: a}", 18, "`recv.text` is a map"),
        ("[a]", 11, "`recv` is a map"),
        ("{text: {kind: [a], name: a, key: text}}", 25, "`kind` takes a text"),
    ];
    for (recv, column, message) in table {
        let found = refused(&file(recv));
        let [one] = &found[..] else { panic!("{recv}: {found:?}") };
        assert!(one.message.starts_with(message), "{}", one.message);
        assert_eq!((one.span.line, one.span.column), (8, column), "{recv}");
    }
}

#[test]
fn a_value_of_another_type_than_the_field_is_refused() {
    let found = refused(&file("{number: {kind: thing, name: a, key: text}}"));
    assert_eq!(
        found[0].message,
        "`number` of `thing` takes a whole number; `text` of `thing` is a text"
    );
}

#[test]
fn the_nearest_name_of_each_part_is_offered() {
    for (recv, help) in [
        ("{nubmer: {kind: thing, name: a, key: text}}", "did you mean `number`?"),
        ("{text: {kind: thing, name: a, key: nubmer}}", "did you mean `number`?"),
        ("{text: {kind: thign, name: a, key: text}}", "did you mean `thing`?"),
    ] {
        assert_eq!(refused(&file(recv))[0].help.as_deref(), Some(help), "{recv}");
    }
}

#[test]
fn who_receives_from_each_other_wait_for_each_other() {
    let recv = |from: &str| format!("recv: {{text: {{kind: thing, name: {from}, key: text}}}}");
    let text = format!(
        "graph: g\nresources:\n  thing:\n  - name: a\n    {}\n  - name: b\n    {}\n",
        recv("b"),
        recv("a")
    );
    let found = refused(&text);
    assert!(found[0].message.contains("thing[a] -> thing[b] -> thing[a]"), "{found:?}");
}

#[test]
fn where_a_resource_works_cannot_be_received() {
    for (kind, field) in [("file", "path"), ("file", "basename"), ("line", "file"), ("tar", "path")]
    {
        let text = format!(
            "graph: g\nresources:\n  exec:\n  - name: e\n  {kind}:\n  - name: /x/y\n    \
             recv: {{{field}: {{kind: exec, name: e, key: stdout}}}}\n"
        );
        let (program, found) = crate::yaml::parse(&text);
        assert!(program.is_none());
        let wanted = format!("`{field}` of `{kind}` cannot be received");
        assert!(found.iter().any(|one| one.message == wanted), "{found:?}");
    }
}

#[test]
fn an_exported_resource_receives_nothing() {
    let text = file("{text: {kind: thing, name: a, key: text}}");
    let hidden = text.replace("name: b", "name: '@@b'");
    let shared = text.replace("name: b", "name: b\n    export: true");
    for text in [hidden, shared] {
        let found = "thing[b] is exported: what it receives here is not exported";
        assert_eq!(refused(&text)[0].message, found);
    }
}

#[test]
fn receiving_nothing_is_allowed() {
    for recv in ["{}", "~", ""] {
        assert!(compiled(&file(recv)).graph.edges.is_empty());
    }
}
