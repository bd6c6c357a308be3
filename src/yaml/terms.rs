//! What stands below `export`: how a resource is published.
//!
//! Refuses what would not be published as it says.

use super::node::{Data, Entry, Node};
use super::{Sink, program, scalar, seal, select, setting};
use crate::diag::{Diagnostic, Span, suggest};
use crate::kind::Kind;
use crate::matching::{Scope, Template};
use crate::spec::Terms;
use crate::spec::rule::Lifetime;

pub(super) const KEYS: [&str; 9] =
    ["to", "channel", "as", "labels", "set", "only", "seal", "lifetime", "when"];

/// How many labels an export may have.
const LABELS_MAX: usize = 32;
/// The longest key of a label, in bytes.
const LABEL_KEY_MAX: usize = 63;
/// The longest label, in bytes.
const LABEL_MAX: usize = 128;
/// The longest channel, in bytes.
const CHANNEL_MAX: usize = 32;

/// The terms that a map gives. Published when ready, unless it says otherwise.
pub(super) fn read(kind: &dyn Kind, entries: &[Entry], sink: &mut Sink) -> Terms {
    let mut terms = (*Terms::ready()).clone();
    for Entry { key, value } in entries {
        let name = key.text.as_ref();
        match name {
            _ if value.is_null() && KEYS.contains(&name) => {}
            "to" => {
                if let Some(to) = select::hosts("`to`", value, sink) {
                    terms.to = to;
                }
            }
            "channel" => {
                if let Some(channel) = scalar::text(name, value, sink) {
                    match bad_channel(&channel) {
                        Some(why) => {
                            sink.add(Diagnostic::error(value.span, format!("XE01: {why}")))
                        }
                        None => terms.channel = channel,
                    }
                }
            }
            "as" => {
                terms.name = scalar::text(name, value, sink);
                let found = terms.name.as_deref().map(|text| Template::new(text, Scope::Host));
                if let Some(Err(why)) = found {
                    sink.add(Diagnostic::error(value.span, format!("XE01: {why}")));
                }
            }
            "labels" => labels(value, &mut terms, sink),
            "set" => {
                terms.set = setting::read("`export.set`", &[kind], value, Scope::Host, sink);
            }
            "only" => {
                let only = select::texts("`only`", value, sink).unwrap_or_default();
                for field in &only {
                    if kind.fields().iter().all(|one| one.name != field) {
                        let message = format!("`{}` has no field `{field}`", kind.name());
                        let found = Diagnostic::error(value.span, message);
                        let known = kind.fields().iter().map(|one| one.name);
                        sink.add_with_hint(found, || suggest(field, known, "known fields"));
                    }
                }
                terms.only = Some(only);
            }
            "seal" => terms.seal = seal::read(kind, value, sink),
            "lifetime" | "when" => time(name, value, &mut terms, sink),
            _ => {
                let message = format!("unknown key `{name}` in `export`");
                let found = Diagnostic::error(key.span, message);
                sink.add_with_hint(found, || suggest(name, KEYS, "known keys"));
            }
        }
    }
    if !terms.seal.is_empty() {
        seal::check(&terms, entries, sink);
    }
    terms
}

/// Where these say that it is published when it is ready.
pub(super) fn says_ready(entries: &[Entry]) -> Option<Span> {
    let is = |value: &Node| matches!(&value.data, Data::Scalar { text, .. } if text == "ready");
    let found = entries.iter().find(|one| &*one.key.text == "when" && is(&one.value));
    found.map(|one| one.value.span)
}

/// How long it lives, and from when on.
fn time(name: &str, value: &Node, terms: &mut Terms, sink: &mut Sink) {
    let Some(text) = scalar::text(name, value, sink) else { return };
    let (words, help) = match (name, Lifetime::parse(&text), text.as_str()) {
        ("lifetime", Some(lifetime), _) => return terms.lifetime = lifetime,
        ("lifetime", None, _) => {
            ("`session`, `permanent` or a duration", "a duration is for instance `10m`, 10s to 30d")
        }
        (_, _, "ready" | "declared") => return terms.when_ready = text == "ready",
        _ => ("`ready` or `declared`", "`ready` waits for what comes before the resource here"),
    };
    let message = format!("`{name}` is {words}, not `{text}`");
    sink.add(Diagnostic::error(value.span, message).with_help(help));
}

/// Why a text is no channel.
pub(super) fn bad_channel(text: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !text.is_empty() && text.len() <= CHANNEL_MAX && text.chars().all(known);
    (!good).then(|| format!("a channel has 1 to {CHANNEL_MAX} letters `a` to `z`, digits and `-`"))
}

fn labels(value: &Node, terms: &mut Terms, sink: &mut Sink) {
    let entries = program::map(value, "`labels`", "of texts", sink).unwrap_or_default();
    if entries.len() > LABELS_MAX {
        let message = format!("XE01: an export has at most {LABELS_MAX} labels");
        sink.add(Diagnostic::error(value.span, message));
    }
    for Entry { key, value } in entries {
        let known = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '/' | '-')
        };
        let good = (1..=LABEL_KEY_MAX).contains(&key.text.len()) && key.text.chars().all(known);
        if !good {
            let message = format!(
                "XE01: the key of a label has 1 to {LABEL_KEY_MAX} letters `a` to `z`, digits, \
                 `.`, `_`, `/` and `-`"
            );
            sink.add(Diagnostic::error(key.span, message));
        }
        let Some(text) = scalar::text(&key.text, value, sink) else { continue };
        if text.len() > LABEL_MAX {
            let message = format!("XE01: a label has at most {LABEL_MAX} bytes");
            sink.add(Diagnostic::error(value.span, message));
        }
        terms.labels.insert(key.text.as_ref().to_owned(), text);
    }
}
