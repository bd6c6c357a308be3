//! What can only be seen with the whole file in view: duplicate names, missing edge ends, cycles,
//! and what the kinds say.
//!
//! Refuses to look at one entry's form; that was done when it was read.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use super::Sink;
use super::entry::Shelf;
use crate::diag::{Diagnostic, Span, nearest};
use crate::graph;
use crate::ident::ResourceId;
use crate::kind::Kind;
use crate::spec::rule::Reference;
use crate::spec::{CollectRule, EdgeSpec, FullRule, Program, ResourceSpec, Terms};

/// Adds everything that is wrong with the parts of a program together, and what the kinds say.
pub(super) fn check(kinds: &[&dyn Kind], program: &Program, shelf: &Shelf, sink: &mut Sink) {
    fields(kinds, &program.resources, shelf, sink);
    between(program, sink);
}

/// Adds everything that is wrong between the parts of a program.
pub(super) fn between(program: &Program, sink: &mut Sink) {
    let applied = |spec: &&ResourceSpec| spec.export.as_ref().is_none_or(|export| !export.hidden);
    let all = program.resources.len();
    let here = unique(program.resources.iter().filter(applied), all, sink, |spec| {
        format!("{} is declared twice", spec.id)
    });
    let usual = Terms::default();
    let under_its_name = |terms: &Terms| terms.name == usual.name && terms.channel == usual.channel;
    let published = program
        .resources
        .iter()
        .filter(|spec| spec.export.as_ref().is_some_and(|one| under_its_name(&one.terms)));
    let published =
        unique(published, 0, sink, |spec| format!("XE04: {} is exported twice", spec.id));
    let names = Names { here, published, rules: &program.collect };
    for edge in &program.edges {
        names.check_end(&edge.from, edge.from_span, sink);
        names.check_end(&edge.to, edge.to_span, sink);
    }
    for rule in &program.collect {
        if let CollectRule::Full(rule) = rule {
            names.check_references(rule, sink);
        }
    }
    let receives = program
        .resources
        .iter()
        .filter(applied)
        .flat_map(|spec| spec.receives.values().filter(|one| one.receive.from != spec.id));
    for one in receives {
        names.check_end(&one.receive.from, one.from_span, sink);
    }
    let stated = graph::stated_edges(program);
    // A resource that receives from itself was reported where it was read.
    let edges: Vec<EdgeSpec> = stated
        .into_iter()
        .enumerate()
        .filter(|(at, edge)| *at < program.edges.len() || edge.from != edge.to)
        .map(|(_, edge)| edge)
        .collect();
    for cycle in graph::declared_cycles(&edges) {
        sink.add(cycle);
    }
}

/// Where each name stands; says so when one is there twice.
fn unique<'a>(
    specs: impl Iterator<Item = &'a ResourceSpec>,
    most: usize,
    sink: &mut Sink,
    message: impl Fn(&ResourceSpec) -> String,
) -> HashMap<&'a ResourceId, Place> {
    let mut seen: HashMap<&ResourceId, Place> = HashMap::with_capacity(most);
    for spec in specs {
        match seen.entry(&spec.id) {
            Entry::Vacant(place) => {
                place.insert(Place { span: spec.span, chosen: spec.hosts.is_some() });
            }
            // They may exist on different hosts.
            Entry::Occupied(first) if first.get().chosen || spec.hosts.is_some() => {}
            Entry::Occupied(first) => {
                let twice = Diagnostic::error(spec.span, message(spec));
                let twice = twice.with_related(first.get().span, "first here");
                sink.add(twice.with_help("remove one of the two, or give it another name"));
            }
        }
    }
    seen
}

/// Where a name stands first.
struct Place {
    span: Span,
    /// Only on some hosts.
    chosen: bool,
}

/// What the kinds say about the fields of what is applied here.
pub(super) fn fields(
    kinds: &[&dyn Kind],
    resources: &[ResourceSpec],
    shelf: &Shelf,
    sink: &mut Sink,
) {
    for (at, spec) in resources.iter().enumerate() {
        if spec.export.as_ref().is_some_and(|export| export.hidden) || spec.id.name().is_empty() {
            continue;
        }
        let damaged = shelf.damaged.contains(&at);
        for mistake in graph::field_mistakes(kinds, spec) {
            let present = mistake.field.is_some_and(|field| spec.fields.contains_key(field));
            if present || !damaged {
                sink.add(mistake.diagnostic);
            }
        }
    }
}

struct Names<'a> {
    here: HashMap<&'a ResourceId, Place>,
    published: HashMap<&'a ResourceId, Place>,
    rules: &'a [CollectRule],
}

impl Names<'_> {
    /// Says so when nothing can ever be behind this end of an edge.
    fn check_end(&self, id: &ResourceId, span: Span, sink: &mut Sink) {
        if self.here.contains_key(id) || self.may_be_collected(id.kind()) {
            return;
        }
        if let Some(declared) = self.published.get(id) {
            let message = format!("{id} is only exported, and not applied on this host");
            let found =
                Diagnostic::error(span, message).with_related(declared.span, "exported here");
            sink.add(found.with_help(format!("collect `{}`, or remove the edge", id.kind())));
            return;
        }
        let found = Diagnostic::error(span, format!("{id} is not declared"));
        sink.add_with_hint(found, || self.meant(id));
    }

    /// Says so when a rule wants an order with what can never be there.
    fn check_references(&self, rule: &FullRule, sink: &mut Sink) {
        for reference in rule.after.iter().chain(&rule.before).chain(&rule.notify) {
            let known = match reference {
                Reference::Resource(id) => {
                    self.here.contains_key(id) || self.may_be_collected(id.kind())
                }
                Reference::Rule(id) => self
                    .rules
                    .iter()
                    .any(|one| matches!(one, CollectRule::Full(other) if other.id == *id)),
            };
            if !known {
                let message = format!("XC09 {}: {reference} is not declared", rule.label());
                sink.add(Diagnostic::error(rule.span, message));
            }
        }
    }

    fn may_be_collected(&self, kind: &str) -> bool {
        self.rules.iter().any(|rule| rule.takes(kind))
    }

    /// The resource that was probably meant: nearly this name, or this name in another kind.
    fn meant(&self, id: &ResourceId) -> Option<String> {
        let known: BTreeSet<&ResourceId> = self.here.keys().copied().collect();
        let same_kind = known.iter().filter(|other| other.kind() == id.kind());
        let plain = id.name().strip_prefix("@@").unwrap_or(id.name());
        if let Some(name) = nearest(plain, same_kind.map(|other| other.name())) {
            return Some(format!("did you mean `{name}`?"));
        }
        let other_kind = known.iter().find(|other| other.name() == id.name())?;
        Some(format!("did you mean {other_kind}?"))
    }
}
