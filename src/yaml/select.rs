//! Which hosts and which exports: selectors, matchers and conditions as they are written.
//!
//! Refuses a pattern that does not compile, where it stands.

use std::collections::BTreeMap;

use super::node::{Data, Entry, Node};
use super::{Sink, program, scalar};
use crate::diag::{Diagnostic, suggest};
use crate::matching::{Filter, Globs, Pattern};
use crate::spec::HostSelector;
use crate::spec::rule::{LabelTest, Matcher, Where};

pub(super) const MATCHER_KEYS: [&str; 6] = ["is", "glob", "regex", "in", "not", "exists"];
pub(super) const WHERE_KEYS: [&str; 9] =
    ["name", "host", "labels", "host_labels", "fields", "if", "any", "all", "not"];

/// `[GLOB, ...]` or `{labels: {KEY: MATCHER, ...}}`.
pub(super) fn hosts(lead: &str, value: &Node, sink: &mut Sink) -> Option<HostSelector> {
    match &value.data {
        Data::List(_) => {
            let names = texts(lead, value, sink)?;
            match Globs::new(&names) {
                Ok(_) => Some(HostSelector::Names(names)),
                Err(why) => refuse(lead, &why, value, sink),
            }
        }
        Data::Map(entries) => {
            let [Entry { key, value }] = entries.as_slice() else {
                return refuse(lead, "takes one key, `labels`", value, sink);
            };
            if &*key.text != "labels" {
                return refuse(lead, "takes one key, `labels`", value, sink);
            }
            let tests = labels(lead, value, sink)?;
            let tests: BTreeMap<String, LabelTest> = tests.into_iter().collect();
            Some(HostSelector::Labels(tests))
        }
        _ => refuse(lead, "takes a list of host names, or `{labels: ...}`", value, sink),
    }
}

/// A list of texts.
pub(super) fn texts(lead: &str, value: &Node, sink: &mut Sink) -> Option<Vec<String>> {
    let Data::List(items) = &value.data else {
        return refuse(lead, &format!("takes a list, not {}", value.what()), value, sink);
    };
    items.iter().map(|item| scalar::text(lead.trim_matches('`'), item, sink)).collect()
}

fn refuse<T>(lead: &str, why: &str, at: &Node, sink: &mut Sink) -> Option<T> {
    let lead = if why.starts_with("takes") { format!("{lead} ") } else { format!("{lead}: ") };
    sink.add(Diagnostic::error(at.span, format!("{lead}{why}")));
    None
}

fn labels(lead: &str, value: &Node, sink: &mut Sink) -> Option<Vec<(String, LabelTest)>> {
    let entries = program::map(value, &format!("{lead}: `labels`"), "of labels", sink)?;
    let one = |Entry { key, value }: &Entry| {
        let test = match &value.data {
            Data::Map(inner) if inner.len() == 1 && &*inner[0].key.text == "exists" => {
                LabelTest::Exists(scalar::boolean("exists", &inner[0].value, sink)?)
            }
            _ => LabelTest::Matches(compiled(lead, value, false, sink)?),
        };
        Some((key.text.as_ref().to_owned(), test))
    };
    entries.iter().map(one).collect()
}

/// A matcher that is known to compile.
fn compiled(lead: &str, value: &Node, path: bool, sink: &mut Sink) -> Option<Matcher> {
    let matcher = matcher(lead, value, sink)?;
    let compile = if path { Pattern::of_path } else { Pattern::new };
    match compile(&matcher) {
        Ok(_) => Some(matcher),
        Err(why) => refuse(lead, &why, value, sink),
    }
}

fn matcher(lead: &str, value: &Node, sink: &mut Sink) -> Option<Matcher> {
    match &value.data {
        Data::Scalar { .. } if value.is_null() => {
            refuse(lead, "nothing to match with", value, sink)
        }
        Data::Scalar { text, .. } => Some(Matcher::Glob(text.clone())),
        Data::List(items) => {
            let items = items.iter().map(|item| matcher(lead, item, sink));
            items.collect::<Option<_>>().map(Matcher::Any)
        }
        Data::Map(entries) => {
            let [Entry { key, value: inner }] = entries.as_slice() else {
                return refuse(lead, "a matcher is a map with one key", value, sink);
            };
            let text = |sink: &mut Sink| scalar::text(&key.text, inner, sink);
            match key.text.as_ref() {
                "is" => text(sink).map(Matcher::Is),
                "glob" => text(sink).map(Matcher::Glob),
                "regex" => text(sink).map(Matcher::Regex),
                "in" => {
                    let all = texts("`in`", inner, sink)?;
                    Some(Matcher::Any(all.into_iter().map(Matcher::Is).collect()))
                }
                "not" => matcher(lead, inner, sink).map(|one| Matcher::Not(Box::new(one))),
                other => {
                    let message = format!("{lead}: unknown key `{other}`");
                    let found = Diagnostic::error(key.span, message);
                    sink.add_with_hint(found, || suggest(other, MATCHER_KEYS, "known keys"));
                    None
                }
            }
        }
    }
}

/// What stands below `where`.
pub(super) fn condition(lead: &str, value: &Node, sink: &mut Sink) -> Option<Where> {
    let entries = program::map(value, &format!("{lead}: `where`"), "of conditions", sink)?;
    let mut all = Vec::new();
    let before = sink.mark();
    for Entry { key, value } in entries {
        let many = |sink: &mut Sink| {
            let items = program::list(value, &format!("{lead}: `{}`", key.text), "of maps", sink);
            items.iter().map(|item| condition(lead, item, sink)).collect::<Option<Vec<_>>>()
        };
        match key.text.as_ref() {
            "name" => all.extend(compiled(lead, value, false, sink).map(Where::Name)),
            "host" => all.extend(compiled(lead, value, false, sink).map(Where::Host)),
            "labels" => all.extend(
                labels(lead, value, sink)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, test)| Where::Label(key, test)),
            ),
            "host_labels" => all.extend(
                labels(lead, value, sink)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, test)| Where::HostLabel(key, test)),
            ),
            "fields" => {
                let fields = program::map(value, &format!("{lead}: `fields`"), "of fields", sink);
                for Entry { key, value } in fields.unwrap_or_default() {
                    let matcher = compiled(lead, value, &*key.text == "path", sink);
                    all.extend(matcher.map(|one| Where::Field(key.text.as_ref().to_owned(), one)));
                }
            }
            "if" => {
                if let Some(text) = scalar::text("if", value, sink) {
                    let condition = Where::If(text);
                    match Filter::new(&condition) {
                        Ok(_) => all.push(condition),
                        Err(why) => drop(refuse::<()>(lead, &why, value, sink)),
                    }
                }
            }
            "any" => all.extend(many(sink).map(Where::Any)),
            "all" => all.extend(many(sink).map(Where::All)),
            "not" => {
                let inner = condition(lead, value, sink);
                all.extend(inner.map(|one| Where::Not(Box::new(one))));
            }
            other => {
                let message = format!("{lead}: unknown condition `{other}`");
                let found = Diagnostic::error(key.span, message);
                sink.add_with_hint(found, || suggest(other, WHERE_KEYS, "known conditions"));
            }
        }
    }
    (sink.mark() == before).then_some(Where::All(all))
}

/// Whether a condition leaves only some hosts, whatever the rest of an export says.
pub(super) fn chooses_hosts(condition: &Where) -> bool {
    match condition {
        Where::All(list) => list.iter().any(chooses_hosts),
        Where::Any(list) => !list.is_empty() && list.iter().all(chooses_hosts),
        Where::Host(matcher) | Where::HostLabel(_, LabelTest::Matches(matcher)) => chooses(matcher),
        _ => false,
    }
}

/// Whether a matcher names something, and is not just anything or all but something.
fn chooses(matcher: &Matcher) -> bool {
    match matcher {
        Matcher::Is(_) => true,
        Matcher::Glob(text) => text.chars().any(char::is_alphanumeric),
        // A regular expression that takes what no host is called takes anything.
        Matcher::Regex(_) => ["\u{1}", "a", "zz-9.q"]
            .iter()
            .all(|anything| Pattern::new(matcher).is_ok_and(|pattern| !pattern.matches(anything))),
        Matcher::Any(all) => !all.is_empty() && all.iter().all(chooses),
        Matcher::Not(_) => false,
    }
}
