//! The `edges` of a file.
//!
//! Refuses to know which resources exist; `across` compares both.

use super::entry::Shelf;
use super::node::{Entry, Node};
use super::program::refuse_kind;
use super::{Sink, program, scalar};
use crate::diag::{Diagnostic, Span, nearest, suggest};
use crate::ident::ResourceId;
use crate::kind::Kind;
use crate::spec::EdgeSpec;

pub(super) const KEYS: [&str; 4] = ["name", "from", "to", "notify"];
pub(super) const END_KEYS: [&str; 2] = ["kind", "name"];

/// Reads the list and adds the edges that have both ends.
pub(super) fn read(
    kinds: &[&dyn Kind],
    shelf: &Shelf,
    value: &Node,
    edges: &mut Vec<EdgeSpec>,
    sink: &mut Sink,
) {
    let reader = Reader { kinds, shelf };
    for item in program::list(value, "`edges`", "of edges", sink) {
        edges.extend(reader.edge(item, sink));
    }
}

struct Reader<'a> {
    kinds: &'a [&'a dyn Kind],
    shelf: &'a Shelf,
}

impl Reader<'_> {
    fn edge(&self, item: &Node, sink: &mut Sink) -> Option<EdgeSpec> {
        let entries = program::map(item, "an edge", "with `from` and `to`", sink)?;
        let (mut name, mut notify) = (None, false);
        let (mut ends, mut given) = ([None, None], [false, false]);
        for Entry { key, value } in entries {
            match &*key.text {
                "name" | "notify" if value.is_null() => {}
                "name" => name = scalar::text("name", value, sink),
                "notify" => notify = scalar::boolean("notify", value, sink).unwrap_or(false),
                "from" => (given[0], ends[0]) = (true, self.end("from", value, sink)),
                "to" => (given[1], ends[1]) = (true, self.end("to", value, sink)),
                unknown => {
                    let message = format!("unknown key `{unknown}` in an edge");
                    let found = Diagnostic::error(key.span, message);
                    sink.add_with_hint(found, || suggest(unknown, KEYS, "known keys"));
                    // A misspelt end is there, so it is not missing as well.
                    match nearest(unknown, KEYS) {
                        Some("from") => given[0] = true,
                        Some("to") => given[1] = true,
                        _ => {}
                    }
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
    fn end(&self, which: &str, value: &Node, sink: &mut Sink) -> Option<(ResourceId, Span)> {
        let subject = format!("`{which}`");
        let entries = program::map(value, &subject, "with `kind` and `name`", sink)?;
        let (mut kind, mut name) = (None, None);
        let before = sink.mark();
        for Entry { key, value } in entries {
            match &*key.text {
                "kind" | "name" if value.is_null() => {}
                "kind" => {
                    kind = scalar::text("kind", value, sink).map(|kind| (kind, value.span));
                }
                "name" => name = scalar::text("name", value, sink).map(|name| (name, value.span)),
                unknown => {
                    let message = format!("unknown key `{unknown}` in {subject} of an edge");
                    let found = Diagnostic::error(key.span, message);
                    sink.add_with_hint(found, || suggest(unknown, END_KEYS, "known keys"));
                }
            }
        }
        if sink.mark() == before && (kind.is_none() || name.is_none()) {
            let lacks = if kind.is_none() { "kind" } else { "name" };
            let message = format!("{subject} of an edge has no `{lacks}`");
            sink.add(Diagnostic::error(value.span, message));
        }
        let (kind, span) = kind?;
        let kind = self.kind(kind, span, sink)?;
        let (name, span) = name?;
        Some((ResourceId::new(kind, name), span))
    }

    /// The kind if there is such a one.
    fn kind(&self, name: String, span: Span, sink: &mut Sink) -> Option<String> {
        if self.kinds.iter().any(|kind| kind.name() == name) {
            return Some(name);
        }
        // Under `resources` it was reported; an edge to what it would have made is no second
        // mistake.
        if !self.shelf.unknown_kinds.contains(&name) {
            refuse_kind(self.kinds, "", &name, span, sink);
        }
        None
    }
}
