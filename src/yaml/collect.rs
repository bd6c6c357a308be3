//! The `collect` rules of a file: mgmt's form, and where the full form begins.
//!
//! Refuses a rule that is neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Entry, Node};
use super::program::{self, refuse_kind};
use super::{Sink, rule, scalar};
use crate::diag::{Diagnostic, Span, suggest};
use crate::kind::{Kind, Power};
use crate::spec::CollectRule;
use crate::spec::rule::{Own, Where};

pub(super) const KEYS: [&str; 2] = ["kind", "pattern"];

/// Reads the list and adds the rules that are understood.
pub(super) fn read(
    kinds: &[&dyn Kind],
    value: &Node,
    rules: &mut Vec<CollectRule>,
    sink: &mut Sink,
) {
    for (at, item) in program::list(value, "`collect`", "of rules", sink).iter().enumerate() {
        let found = if rule::is_full(item) {
            rule::read(kinds, at, item, sink).map(|rule| CollectRule::Full(Arc::new(rule)))
        } else {
            one(kinds, &format!("XC10 collect[{at}]"), item, sink)
        };
        rules.extend(found);
    }
    superseded(rules, sink);
    shadowed(rules, sink);
}

/// Reads a file of rules alone, to stand behind those of a graph file.
pub(super) fn side(kinds: &[&dyn Kind], root: &Node, sink: &mut Sink) -> Vec<CollectRule> {
    let mut rules = Vec::new();
    let entries =
        program::map(root, "a file of rules", "with `collect:`", sink).unwrap_or_default();
    let mut found = false;
    for Entry { key, value } in entries {
        match key.text.as_ref() {
            "collect" => {
                found = true;
                read(kinds, value, &mut rules, sink);
            }
            "comment" => {}
            other => {
                let wrong = Diagnostic::error(key.span, format!("unknown key `{other}`"));
                let known = ["collect", "comment"];
                sink.add_with_hint(wrong, || suggest(other, known, "known keys"));
            }
        }
    }
    if !found {
        let wrong = Diagnostic::error(root.span, "the file has no `collect`");
        sink.add(wrong.with_help("begin with `collect:` and a list of rules"));
    }
    rules
}

/// Says which full rules never get an export, since one before them takes all that they could.
fn shadowed(rules: &[CollectRule], sink: &mut Sink) {
    for (at, rule) in rules.iter().enumerate() {
        let CollectRule::Full(rule) = rule else { continue };
        let earlier = &rules[..at];
        let same = |one: &&CollectRule| matches!(one, CollectRule::Full(one) if one.id == rule.id);
        if earlier.iter().any(|one| same(&one)) {
            let message = format!("XC10 {}: another rule has this name", rule.label());
            sink.add(Diagnostic::error(rule.span, message).with_help("give it another `rule`"));
        }
        let takes_all = |kind: &String, channel: &String| {
            earlier.iter().find_map(|one| match one {
                CollectRule::Legacy { kind: taken, .. } => (taken == kind && channel == "default")
                    .then(|| format!("the legacy rule for {kind}")),
                CollectRule::Full(one) => {
                    let all = one.last
                        && one.hosts.is_none()
                        && one.own == Own::Include
                        && one.filter == Where::All(Vec::new())
                        && one.kinds.contains(kind)
                        && one.channels.contains(channel);
                    all.then(|| one.label())
                }
            })
        };
        let pairs = rule.kinds.iter().flat_map(|kind| rule.channels.iter().map(move |c| (kind, c)));
        let takers: Option<Vec<String>> =
            pairs.map(|(kind, channel)| takes_all(kind, channel)).collect();
        if let Some(taker) = takers.as_ref().and_then(|all| all.first()) {
            let message = format!("XC11 {}: {taker} takes all of its exports", rule.label());
            let found = Diagnostic::warning(rule.span, message);
            sink.add(found.with_help("put it before that rule, or give that rule a `where`"));
        }
    }
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
