//! The `collect` rules of a file.
//!
//! Refuses the full form of a rule, by the name of its key, until it is built.

use std::collections::BTreeMap;

use super::node::{Entry, Node};
use super::program::{self, refuse_kind};
use super::{Sink, scalar, unbuilt};
use crate::diag::{Diagnostic, Span, suggest};
use crate::kind::{Kind, Power};
use crate::spec::CollectRule;

pub(super) const KEYS: [&str; 2] = ["kind", "pattern"];

/// Reads the list and adds the rules that are understood.
pub(super) fn read(
    kinds: &[&dyn Kind],
    value: &Node,
    rules: &mut Vec<CollectRule>,
    sink: &mut Sink,
) {
    for (at, item) in program::list(value, "`collect`", "of rules", sink).iter().enumerate() {
        rules.extend(one(kinds, &format!("XC10 collect[{at}]"), item, sink));
    }
    superseded(rules, sink);
}

/// Says which patterns have no effect: all legacy rules of a kind act as one, with the last pattern
/// of them.
fn superseded(rules: &[CollectRule], sink: &mut Sink) {
    let mut last: BTreeMap<&str, (&str, Span)> = BTreeMap::new();
    for rule in rules.iter().rev() {
        let CollectRule::Legacy { kind, pattern: Some(pattern), span } = rule else { continue };
        let (wins, at) = *last.entry(kind).or_insert((pattern, *span));
        if wins != pattern {
            let message = format!("XC11 legacy rules for {kind}: last pattern {wins} wins");
            let found = Diagnostic::warning(*span, message).with_related(at, "this rule");
            sink.add(found.with_help("mgmt's rules select by kind only; keep one per kind"));
        }
    }
}

fn one(kinds: &[&dyn Kind], rule: &str, item: &Node, sink: &mut Sink) -> Option<CollectRule> {
    let entries = program::map(item, &format!("{rule}: a rule"), "with a `kind`", sink)?;
    let (mut kind, mut pattern) = (None, None);
    let before = sink.mark();
    for Entry { key, value } in entries {
        match &*key.text {
            "kind" | "pattern" if value.is_null() => {}
            "kind" => kind = scalar::text("kind", value, sink).map(|kind| (kind, value.span)),
            "pattern" => pattern = directory(rule, value, sink),
            name if unbuilt::rule(name) => {
                let message = format!("{rule}: `{name}` is not built yet");
                sink.add(
                    Diagnostic::error(key.span, message).with_help("use `kind` and `pattern`"),
                );
            }
            unknown => {
                let found = Diagnostic::error(key.span, format!("{rule}: unknown key `{unknown}`"));
                sink.add_with_hint(found, || suggest(unknown, KEYS, "known keys"));
            }
        }
    }
    let Some((kind, kind_span)) = kind else {
        // Whatever else is wrong may be the misspelt key.
        if sink.mark() == before {
            sink.add(Diagnostic::error(item.span, format!("{rule}: it has no `kind`")));
        }
        return None;
    };
    check_kind(kinds, rule, &kind, kind_span, sink)?;
    if pattern.is_none() && kind == "file" && sink.mark() == before {
        let message =
            "a rule without `pattern` lets other hosts choose the paths of their files here";
        let found = Diagnostic::warning(kind_span, message);
        sink.add(found.with_help("add `pattern: /DIRECTORY/`"));
    }
    Some(CollectRule::Legacy { kind, pattern, span: kind_span })
}

fn check_kind(
    kinds: &[&dyn Kind],
    rule: &str,
    name: &str,
    span: Span,
    sink: &mut Sink,
) -> Option<()> {
    let Some(kind) = kinds.iter().find(|kind| kind.name() == name) else {
        refuse_kind(kinds, &format!("{rule}: "), name, span, sink);
        return None;
    };
    if kind.power() == Power::Powerful {
        let message = format!("this rule takes nothing: `{name}` from other hosts would run here");
        sink.add(Diagnostic::warning(span, message).with_help("remove the rule"));
    }
    Some(())
}

/// The directory that replaces the exporter's; an empty one leaves paths as they are, as in mgmt.
fn directory(rule: &str, value: &Node, sink: &mut Sink) -> Option<String> {
    let text = scalar::text("pattern", value, sink).filter(|text| !text.is_empty())?;
    if !text.starts_with('/') {
        let message = format!("{rule}: pattern must be an absolute path");
        sink.add(Diagnostic::error(value.span, message));
        return None;
    }
    if !text.ends_with('/') {
        let found = Diagnostic::error(value.span, format!("{rule}: pattern must end in \"/\""));
        sink.add(found.with_help(format!("write `{text}/`: it replaces the directory")));
        return None;
    }
    Some(text)
}
