//! One resource: its name with the export mark, its meta parameters, and its fields by the kind's
//! table.
//!
//! Refuses a resource whose `meta` is not understood: `noop: true` dropped without a word would
//! run what it guards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::node::{Entry, Key, Node};
use super::{Sink, meta, program, receive, scalar, select, terms, unbuilt};
use crate::diag::{Diagnostic, Span, nearest, suggest};
use crate::ident::{NAME_BYTES_MAX, ResourceId};
use crate::kind::Kind;
use crate::spec::{Export, Fields, HostSelector, Meta, ReceiveSpec, ResourceSpec, Terms};

/// What is known about the resources of a file besides their specs.
#[derive(Default)]
pub(super) struct Shelf {
    /// Kinds that were reported already: edges to them need no second message.
    pub(super) unknown_kinds: BTreeSet<String>,
    /// Resources with mistakes among their fields, by position in the program: what the kind says
    /// about a field that they lack may only follow from those.
    pub(super) damaged: BTreeSet<usize>,
    /// The meta parameters of the last resource: mostly those of the next one, too.
    meta: Arc<Meta>,
    /// The kind of the last resource, likewise.
    kind: Option<Arc<str>>,
}

impl Shelf {
    /// One copy for as many as say the same one after the other.
    fn share(&mut self, meta: Meta) -> Arc<Meta> {
        if *self.meta != meta {
            self.meta = Arc::new(meta);
        }
        Arc::clone(&self.meta)
    }

    fn share_kind(&mut self, kind: &str) -> Arc<str> {
        let last = self.kind.take().filter(|last| **last == *kind);
        Arc::clone(self.kind.insert(last.unwrap_or_else(|| kind.into())))
    }
}

/// The mark in front of a name that means hidden and exported.
const MARK: &str = "@@";

/// Keys of any resource besides its kind's fields.
pub(super) const COMMON_KEYS: [&str; 6] = ["name", "meta", "recv", "hidden", "export", "hosts"];

/// Keys under which some mgmt versions took meta parameters by accident of their decoder.
const ACCIDENTAL_META: [&str; 4] = ["base", "edgeable", "groupable", "reversible"];

/// Reads one item of a kind's list and adds it to `specs` if it has a name.
pub(super) fn read(
    kinds: &[&dyn Kind],
    kind: &dyn Kind,
    item: &Node,
    specs: &mut Vec<ResourceSpec>,
    shelf: &mut Shelf,
    sink: &mut Sink,
) {
    let subject = format!("a resource of kind `{}`", kind.name());
    let Some(entries) = program::map(item, &subject, "with a `name`", sink) else { return };
    // All keys but the name are mostly fields.
    let room = entries.len().saturating_sub(1);
    let (fields, field_spans) = (Fields::with_room(room), Vec::with_capacity(room));
    let mut draft = Draft { fields, field_spans, ..Draft::default() };
    let before_fields = sink.mark();
    for Entry { key, value } in entries {
        draft.take(kinds, kind, key, value, sink);
    }
    let damaged = sink.mark() > before_fields;
    let Some((name, span)) = draft.name.take() else {
        if !draft.name_refused {
            let found = Diagnostic::error(item.span, format!("{subject} has no name"));
            sink.add(found.with_help("give it a `name`"));
        }
        return;
    };
    let (name, marked) = match name.strip_prefix(MARK) {
        Some(name) => (name.to_owned(), true),
        None => (name, false),
    };
    let export = draft.export(marked, span, sink);
    let id = ResourceId::new(shelf.share_kind(kind.name()), name);
    draft.check_receives(&id, export.as_ref(), sink);
    check_name(id.name(), export.is_some(), span, sink);
    if damaged {
        shelf.damaged.insert(specs.len());
    }
    let Draft { fields, field_spans, meta, receives, hosts, .. } = draft;
    let hosts = hosts.map(Arc::new);
    let meta = shelf.share(meta.unwrap_or_default());
    specs.push(ResourceSpec { id, fields, meta, receives, export, hosts, span, field_spans });
}

fn check_name(name: &str, exported: bool, span: Span, sink: &mut Sink) {
    let wrong = match (name, exported) {
        ("", true) => "XE01: the name of an export is empty".to_owned(),
        ("", false) => "the name is empty".to_owned(),
        (_, true) if name.len() > NAME_BYTES_MAX => {
            format!("XE01: the name of an export has at most {NAME_BYTES_MAX} bytes")
        }
        (_, true) if name.chars().any(char::is_control) => {
            "XE01: the name of an export holds a control character".to_owned()
        }
        _ => return,
    };
    sink.add(Diagnostic::error(span, wrong));
}

/// A resource while its keys are read.
#[derive(Default)]
struct Draft {
    name: Option<(String, Span)>,
    /// There is a name, and it or its key was reported as wrong.
    name_refused: bool,
    meta: Option<Meta>,
    receives: BTreeMap<String, ReceiveSpec>,
    hidden: Option<(bool, Span)>,
    exported: Option<(bool, Span)>,
    terms: Option<Terms>,
    /// Where it says `when: ready`.
    ready: Option<Span>,
    hosts: Option<HostSelector>,
    fields: Fields,
    field_spans: Vec<(&'static str, Span)>,
}

impl Draft {
    fn take(
        &mut self,
        kinds: &[&dyn Kind],
        kind: &dyn Kind,
        key: &Key,
        value: &Node,
        sink: &mut Sink,
    ) {
        let name = &*key.text;
        if let Some(field) = kind.fields().iter().find(|field| field.name == name) {
            if let Some(read) = scalar::value(field.ty, name, value, sink) {
                self.fields.insert(field.name, read);
                self.field_spans.push((field.name, value.span));
            }
            return;
        }
        match name {
            _ if value.is_null() && COMMON_KEYS.contains(&name) => {}
            "name" => match scalar::text(name, value, sink) {
                Some(text) => self.name = Some((text, value.span)),
                None => self.name_refused = true,
            },
            "meta" => self.meta = Some(meta::read(value, sink)),
            "recv" => self.receives = receive::read(kinds, kind, value, sink),
            "hidden" => {
                self.hidden = scalar::boolean(name, value, sink).map(|set| (set, value.span));
            }
            "export" => {
                if let super::node::Data::Map(entries) = &value.data {
                    self.terms = Some(terms::read(kind, entries, sink));
                    self.ready = terms::says_ready(entries);
                    self.exported = Some((true, value.span));
                } else {
                    self.exported =
                        scalar::boolean("export", value, sink).map(|set| (set, value.span));
                }
            }
            "hosts" => self.hosts = select::hosts("`hosts`", value, sink),
            _ => self.name_refused |= unknown_key(kind, key, sink),
        }
    }

    /// What it receives has to come from another one, and to be wanted here.
    fn check_receives(&self, id: &ResourceId, export: Option<&Export>, sink: &mut Sink) {
        for one in self.receives.values() {
            if one.receive.from == *id {
                let found = Diagnostic::error(one.from_span, format!("{id} receives from itself"));
                sink.add(found.with_help("name another resource, which then runs first"));
            } else if export.is_some() {
                let message = format!("{id} is exported: what it receives here is not exported");
                let found = Diagnostic::error(one.span, message);
                sink.add(found.with_help("remove `recv`, or do not export the resource"));
            }
        }
    }

    /// How it is published, from the mark and the keys `export` and `hidden`, which must agree.
    fn export(&self, marked: bool, span: Span, sink: &mut Sink) -> Option<Export> {
        for (key, setting) in [("export", self.exported), ("hidden", self.hidden)] {
            if let (true, Some((false, at))) = (marked, setting) {
                let message = format!("`{key}: false` contradicts the mark `{MARK}` of the name");
                let found = Diagnostic::error(at, message).with_related(span, "marked here");
                sink.add(found.with_help("write the name without the mark, and `export: true`"));
            }
        }
        let exported = marked || self.exported.is_some_and(|(set, _)| set);
        let hidden = marked || self.hidden.is_some_and(|(set, _)| set);
        if let (false, Some((true, at))) = (exported, self.hidden) {
            let message = "a hidden resource that is not exported does nothing";
            let found = Diagnostic::error(at, message);
            sink.add(found.with_help("add `export: true`, or remove the resource"));
        }
        if let (true, Some(at)) = (hidden, self.ready) {
            let message = "a hidden resource has no place in the graph to be ready at";
            sink.add(Diagnostic::error(at, message).with_help("remove `when`, or `hidden`"));
        }
        exported.then(|| Export { hidden, terms: self.terms_of(hidden) })
    }

    /// The terms as they hold: what is hidden waits for nothing.
    fn terms_of(&self, hidden: bool) -> Arc<Terms> {
        match (&self.terms, hidden) {
            (None, true) => Terms::usual(),
            (None, false) => Terms::ready(),
            (Some(terms), _) => {
                let when_ready = terms.when_ready && !hidden;
                Arc::new(Terms { when_ready, ..terms.clone() })
            }
        }
    }
}

/// Reports a key that the resource cannot have; whether it was probably meant to be `name`.
fn unknown_key(kind: &dyn Kind, key: &Key, sink: &mut Sink) -> bool {
    let (name, kind_name) = (&*key.text, kind.name());
    if name == "pollint" || (name == "state" && kind_name == "exec") {
        let message = format!("`{name}` does nothing in `{kind_name}`, nor did it in mgmt");
        sink.add(Diagnostic::warning(key.span, message).with_help("remove it"));
        return false;
    }
    if unbuilt::field(kind_name, name) {
        let message = format!("`{name}` of `{kind_name}` is not built yet");
        sink.add(Diagnostic::error(key.span, message).with_help("remove it"));
        return false;
    }
    let message = format!("unknown key `{name}` in `{kind_name}`");
    let found = Diagnostic::error(key.span, message);
    let is_meta = meta::KEYS.contains(&name) || unbuilt::meta(name);
    if is_meta || ACCIDENTAL_META.contains(&name) {
        sink.add(found.with_help("meta parameters stand below `meta:`, as `meta: {noop: true}`"));
        return false;
    }
    let fields = kind.fields().iter().map(|field| field.name);
    let known: Vec<&str> = COMMON_KEYS.into_iter().chain(fields).collect();
    let meant_name = nearest(name, known.iter().copied()) == Some("name");
    sink.add_with_hint(found, || suggest(name, known.iter().copied(), "known keys"));
    meant_name
}
