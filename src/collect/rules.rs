//! The collector: live exports and rules in, resources and reasons out.
//!
//! All legacy rules of one kind act as one, with the last pattern that is not empty. Each export is
//! judged alone (`judge`); only then are those that were taken compared with each other and with
//! the local graph (`settle`), so that a later version can judge only what changed.
//!
//! Refuses to fail: what one host publishes can hold that one resource, never another one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::collect::record::shown;
use crate::collect::{Code, Collection, Content, DEFAULT_CHANNEL, Export, Held};
use crate::ident::{HostName, ResourceId};
use crate::kind::file::{consent, result_path};
use crate::kind::{self, FieldDef, FieldType, Kind, Power};
use crate::spec::{CollectRule, Collected, Fields, Program, Value};

mod settle;

pub use settle::Local;

/// Finds a kind by its name.
type Kinds = fn(&str) -> Option<&'static dyn Kind>;

/// Applies `rules` to `exports` on the host `me`, whose own graph is `local`.
///
/// `previous` is what the last run gave: on a conflict between exporters, what was applied stays.
/// The order of `exports` makes no difference.
pub fn run(
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    me: &HostName,
    local: &Program,
    previous: &[Collected],
) -> Collection {
    run_beside(exports, rules, me, (local, &Local::default()), previous)
}

/// [`run`] beside a program of which it is known, or found now, what it manages: who collects again
/// keeps that as long as it keeps the program.
pub fn run_beside(
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    me: &HostName,
    (program, local): (&Program, &Local),
    previous: &[Collected],
) -> Collection {
    run_with(kind::find, exports, rules, &Place { me, program, local, previous })
}

/// Where the resources are collected.
struct Place<'a> {
    me: &'a HostName,
    program: &'a Program,
    local: &'a Local,
    previous: &'a [Collected],
}

fn run_with(
    kinds: Kinds,
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    place: &Place<'_>,
) -> Collection {
    let mut messages = Vec::new();
    let rules = one_per_kind(rules, &mut messages);
    let mut candidates = Vec::new();
    let mut held = Vec::new();
    for export in exports {
        match judge(kinds, &rules, export) {
            Verdict::Unmatched => {}
            Verdict::Taken(candidate) => candidates.push(candidate),
            Verdict::Held(reason) => held.push(reason),
        }
    }
    candidates.sort_by(|a, b| (&a.id, &a.from).cmp(&(&b.id, &b.from)));
    let resources = settle::settle(kinds, candidates, place, &mut held);
    held.sort();
    messages.extend(held.iter().map(|reason| reason.message.clone()));
    messages.sort();
    messages.dedup();
    Collection { resources, held, messages }
}

/// What all legacy rules of one kind come to.
struct Rule<'a> {
    /// Replaces the directory of a file.
    pattern: Option<&'a str>,
    /// It is not valid and takes nothing.
    refused: bool,
}

fn one_per_kind<'a>(
    rules: &'a [CollectRule],
    messages: &mut Vec<String>,
) -> BTreeMap<&'a str, Rule<'a>> {
    let mut merged: BTreeMap<&str, Rule<'_>> = BTreeMap::new();
    let mut overruled: BTreeMap<&str, bool> = BTreeMap::new();
    for (at, CollectRule::Legacy { kind, pattern, .. }) in rules.iter().enumerate() {
        let pattern = pattern.as_deref().filter(|pattern| !pattern.is_empty());
        let wrong = pattern.and_then(bad_pattern);
        if let Some(why) = wrong {
            messages.push(format!("{} collect[{at}]: {why}; rule takes nothing", Code::Xc10));
        }
        let Some(rule) = merged.get_mut(kind.as_str()) else {
            merged.insert(kind, Rule { pattern, refused: wrong.is_some() });
            continue;
        };
        rule.refused |= wrong.is_some();
        if rule.pattern != pattern {
            overruled.insert(kind, true);
        }
        rule.pattern = pattern.or(rule.pattern);
    }
    for kind in overruled.keys() {
        if let Some(Rule { pattern: Some(pattern), .. }) = merged.get(kind) {
            let code = Code::Xc11;
            messages.push(format!("{code} legacy rules for {kind}: last pattern {pattern} wins"));
        }
    }
    merged
}

/// The file's reader refuses such a pattern; this is for programs that were made otherwise.
fn bad_pattern(pattern: &str) -> Option<&'static str> {
    if !pattern.ends_with('/') {
        Some("pattern must end in \"/\"")
    } else if !pattern.starts_with('/') {
        Some("pattern must start with \"/\"")
    } else {
        None
    }
}

/// What a rule says about one export, whatever the others are.
enum Verdict {
    Unmatched,
    Taken(Candidate),
    Held(Held),
}

/// An export that a rule takes, unless another one stands against it.
#[derive(Clone)]
struct Candidate {
    id: ResourceId,
    from: HostName,
    fields: Fields,
    /// The path that it manages; no two resources may have the same.
    target: Option<PathBuf>,
}

fn judge(kinds: Kinds, rules: &BTreeMap<&str, Rule<'_>>, export: &Export) -> Verdict {
    let address = &export.address;
    if rules.is_empty() || address.channel != DEFAULT_CHANNEL {
        return Verdict::Unmatched;
    }
    let held = |code, text: &str| Verdict::Held(held(address.id(), &address.from, code, text));
    let Some(kind) = kinds(&address.kind) else {
        return held(Code::Xc12, "unknown kind; ignored");
    };
    let Some(rule) = rules.get(address.kind.as_str()).filter(|rule| !rule.refused) else {
        return Verdict::Unmatched;
    };
    if kind.power() == Power::Powerful {
        return held(Code::Xc06, "powerful kind in a legacy rule; refused");
    }
    let fields = match &export.content {
        Content::Fields(fields) => fields,
        Content::Unknown(what) => {
            return held(Code::Xc12, &format!("{} is unknown here; ignored", shown(what)));
        }
        Content::Broken(why) => return held(Code::Xc07, &format!("{why}; held")),
    };
    match take(kind, rule, address.id(), fields) {
        Ok((fields, target)) => Verdict::Taken(Candidate {
            id: address.id(),
            from: address.from.clone(),
            fields,
            target,
        }),
        Err((code, text)) => held(code, &text),
    }
}

/// The line of an export that is not taken.
fn held(id: ResourceId, from: &HostName, code: Code, text: &str) -> Held {
    let message = format!("{code} {} from {from}: {text}", subject(&id));
    Held { id, from: vec![from.clone()], code, message }
}

/// The identity in a message; its name is another host's text.
fn subject(id: &ResourceId) -> String {
    format!("{}[{}]", shown(id.kind()), shown(id.name()))
}

/// The fields and the target after the rule, or why there are none.
fn take(
    kind: &dyn Kind,
    rule: &Rule<'_>,
    id: ResourceId,
    fields: &Fields,
) -> Result<(Fields, Option<PathBuf>), (Code, String)> {
    check_fields(kind, fields)?;
    if let ("file", Some((_, what))) = (kind.name(), consent(fields)) {
        return Err((Code::Xc06, format!("{what}; refused in a legacy rule")));
    }
    let mut fields = fields.clone();
    if let (Some(pattern), "file") = (rule.pattern, kind.name()) {
        fields.insert("dirname".to_owned(), Value::Str(pattern.to_owned()));
        let path = result_path(id.name(), &fields);
        if leaves(&path, pattern) {
            return Err((Code::Xc04, format!("{} leaves {pattern}; refused", shown(&path))));
        }
    }
    match kind.build(&id, &fields) {
        Ok(resource) => Ok((fields, resource.hints().path)),
        Err(errors) => {
            let all: Vec<String> = errors.iter().map(|error| shown(&error.message)).collect();
            Err((Code::Xc07, format!("{}; held", all.join(", "))))
        }
    }
}

/// Whether a path made of `pattern` and something else can lead out of `pattern`. A `..` that comes
/// after a name may do so too, since the name can be a symbolic link.
fn leaves(path: &str, pattern: &str) -> bool {
    match path.strip_prefix(pattern) {
        Some(rest) => rest.split('/').any(|part| part == ".."),
        None => true,
    }
}

fn check_fields(kind: &dyn Kind, fields: &Fields) -> Result<(), (Code, String)> {
    for (name, value) in fields {
        let Some(known) = kind.fields().iter().find(|known| known.name == name) else {
            return Err((Code::Xc07, format!("unknown field {}; held", shown(name))));
        };
        if !fits(known, value) {
            let (wanted, got) = (wanted(known.ty), got(value));
            return Err((Code::Xc07, format!("field {name} wants {wanted}, got {got}; held")));
        }
    }
    Ok(())
}

fn fits(known: &FieldDef, value: &Value) -> bool {
    let scalar = |value: &Value| !matches!(value, Value::List(_) | Value::Map(_));
    match (known.ty, value) {
        (FieldType::Str, Value::Str(_))
        | (FieldType::Bool, Value::Bool(_))
        | (FieldType::Int, Value::Int(_)) => true,
        (FieldType::StrList, Value::List(items)) => items.iter().all(scalar),
        (FieldType::StrMap, Value::Map(entries)) => entries.values().all(scalar),
        _ => false,
    }
}

fn wanted(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Str => "text",
        FieldType::Bool => "true or false",
        FieldType::Int => "a whole number",
        FieldType::StrList => "a list of scalars",
        FieldType::StrMap => "a map of scalars",
    }
}

fn got(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "true or false",
        Value::Int(_) => "a whole number",
        Value::Str(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
