//! The `edges` of a file.
//!
//! Refuses to know which resources exist; `across` compares both.

use super::node::{Entry, Node};
use super::{Sink, program, scalar};
use crate::diag::{Diagnostic, Span, suggest};
use crate::ident::ResourceId;
use crate::spec::EdgeSpec;

const KEYS: [&str; 4] = ["name", "from", "to", "notify"];
const END_KEYS: [&str; 2] = ["kind", "name"];

/// Reads the list and adds the edges that have both ends.
pub(super) fn read(value: &Node, edges: &mut Vec<EdgeSpec>, sink: &mut Sink) {
    for item in program::list(value, "`edges`", "of edges", sink) {
        edges.extend(one(item, sink));
    }
}

fn one(item: &Node, sink: &mut Sink) -> Option<EdgeSpec> {
    let entries = program::map(item, "an edge", "with `from` and `to`", sink)?;
    let (mut name, mut notify) = (None, false);
    let (mut ends, mut given) = ([None, None], [false, false]);
    for Entry { key, value } in entries {
        match key.text.as_str() {
            "name" | "notify" if value.is_null() => {}
            "name" => name = scalar::text("name", value, sink),
            "notify" => notify = scalar::boolean("notify", value, sink).unwrap_or(false),
            "from" => (given[0], ends[0]) = (true, end("from", value, sink)),
            "to" => (given[1], ends[1]) = (true, end("to", value, sink)),
            unknown => {
                let found =
                    Diagnostic::error(key.span, format!("unknown key `{unknown}` in an edge"));
                sink.add_with_hint(found, || suggest(unknown, KEYS, "known keys"));
            }
        }
    }
    for (key, given) in ["from", "to"].into_iter().zip(given) {
        if !given {
            let found = Diagnostic::error(item.span, format!("an edge without `{key}`"));
            sink.add(found.with_help(format!("add `{key}: {{kind: KIND, name: NAME}}`")));
        }
    }
    let [from, to] = ends;
    let ((from, from_span), (to, to_span)) = (from?, to?);
    Some(EdgeSpec { name, from, to, notify, from_span, to_span })
}

/// One end and where its name stands.
fn end(which: &str, value: &Node, sink: &mut Sink) -> Option<(ResourceId, Span)> {
    let subject = format!("`{which}`");
    let entries = program::map(value, &subject, "with `kind` and `name`", sink)?;
    let (mut kind, mut name) = (None, None);
    let before = sink.mark();
    for Entry { key, value } in entries {
        match key.text.as_str() {
            "kind" | "name" if value.is_null() => {}
            "kind" => kind = scalar::text("kind", value, sink),
            "name" => name = scalar::text("name", value, sink).map(|name| (name, value.span)),
            unknown => {
                let message = format!("unknown key `{unknown}` in {subject} of an edge");
                let found = Diagnostic::error(key.span, message);
                sink.add_with_hint(found, || suggest(unknown, END_KEYS, "known keys"));
            }
        }
    }
    if let (Some(kind), Some((name, span))) = (&kind, &name) {
        return Some((ResourceId::new(kind.as_str(), name.as_str()), *span));
    }
    if sink.mark() == before {
        let lacks = if kind.is_none() { "kind" } else { "name" };
        let message = format!("{subject} of an edge has no `{lacks}`");
        sink.add(Diagnostic::error(value.span, message));
    }
    None
}
