//! The `collect` rules of a file.
//!
//! Refuses the full form of a rule, by the name of its key, until it is built.

use super::node::{Entry, Node};
use super::program::{self, suggest_kind};
use super::{Sink, scalar};
use crate::diag::{Diagnostic, Span, suggest};
use crate::kind::{Kind, Power};
use crate::spec::CollectRule;

const KEYS: [&str; 2] = ["kind", "pattern"];

/// Keys of the full form of a rule.
const NOT_BUILT: [&str; 21] = [
    "after", "allow", "as", "before", "channel", "conflict", "drop", "expect", "final", "gather",
    "gone", "hosts", "into", "meta", "notify", "rule", "self", "set", "take", "unset", "wait",
];
const NOT_BUILT_TOO: [&str; 3] = ["if", "where", "within"];

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
}

fn one(kinds: &[&dyn Kind], rule: &str, item: &Node, sink: &mut Sink) -> Option<CollectRule> {
    let entries = program::map(item, &format!("{rule}: a rule"), "with a `kind`", sink)?;
    let (mut kind, mut pattern) = (None, None);
    let before = sink.mark();
    for Entry { key, value } in entries {
        match key.text.as_str() {
            "kind" | "pattern" if value.is_null() => {}
            "kind" => kind = scalar::text("kind", value, sink).map(|kind| (kind, value.span)),
            "pattern" => pattern = directory(rule, value, sink),
            name if NOT_BUILT.contains(&name) || NOT_BUILT_TOO.contains(&name) => {
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
        let found = Diagnostic::error(span, format!("{rule}: unknown kind `{name}`"));
        sink.add_with_hint(found, || suggest_kind(kinds, name));
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
