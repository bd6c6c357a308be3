//! The fields of a resource whose values others send: `recv: {FIELD: {kind, name, key}}`.
//!
//! Refuses a value that the field could never take: both tables of fields say what is what.

use std::collections::BTreeMap;

use super::node::{Entry, Key, Node};
use super::program::refuse_kind;
use super::{Sink, program, scalar};
use crate::diag::{Diagnostic, Span, suggest};
use crate::ident::ResourceId;
use crate::kind::{FieldDef, FieldType, Kind};
use crate::spec::{Receive, ReceiveSpec};

const KEYS: [&str; 3] = ["key", "kind", "name"];

/// What stands below `recv` of a resource of this kind.
pub(super) fn read(
    kinds: &[&dyn Kind],
    kind: &dyn Kind,
    value: &Node,
    sink: &mut Sink,
) -> BTreeMap<String, ReceiveSpec> {
    let mut found = BTreeMap::new();
    let shape = "of fields, each with `kind`, `name` and `key` of what is sent";
    for Entry { key, value } in program::map(value, "`recv`", shape, sink).unwrap_or_default() {
        let field = kind.fields().iter().find(|field| field.name == &*key.text);
        if field.is_none() {
            unknown_field(kind, key, sink);
        }
        let sender = sender(kinds, &key.text, value, sink);
        if let (Some(field), Some(sender)) = (field, sender)
            && stays(kind, field, key, sink)
            && fits(kind, field, &sender, sink)
        {
            let Sender { kind, name, key: (sent, _) } = sender;
            let from = ResourceId::new(kind.name(), name.0);
            let receive = Receive { from, key: sent.name.to_owned() };
            let one = ReceiveSpec { receive, span: key.span, from_span: name.1 };
            found.insert(key.text.to_string(), one);
        }
    }
    found
}

/// One value that a resource sends, with the places of its names.
struct Sender<'a> {
    kind: &'a dyn Kind,
    name: (String, Span),
    key: (&'static FieldDef, Span),
}

fn unknown_field(kind: &dyn Kind, key: &Key, sink: &mut Sink) {
    let message = format!("`{}` has no field `{}` to receive into", kind.name(), key.text);
    let names = kind.fields().iter().map(|field| field.name);
    let found = Diagnostic::error(key.span, message);
    sink.add_with_hint(found, || suggest(&key.text, names, "known fields"));
}

/// Reads `{kind, name, key}`.
fn sender<'a>(
    kinds: &[&'a dyn Kind],
    field: &str,
    value: &Node,
    sink: &mut Sink,
) -> Option<Sender<'a>> {
    let subject = format!("`recv.{field}`");
    let entries = program::map(value, &subject, "with `kind`, `name` and `key`", sink)?;
    let (mut texts, before) = ([None, None, None], sink.mark());
    for Entry { key, value } in entries {
        let Some(at) = KEYS.iter().position(|known| *known == &*key.text) else {
            let message = format!("unknown key `{}` in {subject}", key.text);
            let found = Diagnostic::error(key.span, message);
            sink.add_with_hint(found, || suggest(&key.text, KEYS, "known keys"));
            continue;
        };
        if !value.is_null() {
            texts[at] = scalar::text(KEYS[at], value, sink).map(|text| (text, value.span));
        }
    }
    if sink.mark() == before
        && let Some(at) = texts.iter().position(Option::is_none)
    {
        let found = Diagnostic::error(value.span, format!("{subject} has no `{}`", KEYS[at]));
        sink.add(found.with_help("write it as `{kind: KIND, name: NAME, key: KEY}`"));
    }
    let [key, kind, name] = texts;
    let (kind, span) = kind?;
    let Some(kind) = kinds.iter().find(|one| one.name() == kind) else {
        refuse_kind(kinds, "", &kind, span, sink);
        return None;
    };
    let (key, span) = key?;
    let Some(sent) = kind.sends().iter().find(|sent| sent.name == key) else {
        unknown_key(*kind, &key, span, sink);
        return None;
    };
    Some(Sender { kind: *kind, name: name?, key: (sent, span) })
}

fn unknown_key(kind: &dyn Kind, key: &str, span: Span, sink: &mut Sink) {
    if kind.sends().is_empty() {
        let found = Diagnostic::error(span, format!("`{}` sends nothing", kind.name()));
        sink.add(found.with_help("remove this entry of `recv`"));
        return;
    }
    let found = Diagnostic::error(span, format!("`{}` sends no `{key}`", kind.name()));
    let names = kind.sends().iter().map(|sent| sent.name);
    sink.add_with_hint(found, || suggest(key, names, "known keys"));
}

/// The field does not say where the resource works; the sink says so when it does.
fn stays(kind: &dyn Kind, field: &FieldDef, key: &Key, sink: &mut Sink) -> bool {
    if !kind.places().contains(&field.name) {
        return true;
    }
    let message = format!("`{}` of `{}` cannot be received", field.name, kind.name());
    let help = "write the path: the order of resources follows from it before anything runs";
    sink.add(Diagnostic::error(key.span, message).with_help(help));
    false
}

/// The field takes what is sent; the sink says so when it does not.
fn fits(kind: &dyn Kind, field: &FieldDef, sender: &Sender<'_>, sink: &mut Sink) -> bool {
    let (sent, span) = &sender.key;
    if field.ty == sent.ty {
        return true;
    }
    let message = format!(
        "`{}` of `{}` takes {}; `{}` of `{}` is {}",
        field.name,
        kind.name(),
        words(field.ty),
        sent.name,
        sender.kind.name(),
        words(sent.ty)
    );
    sink.add(Diagnostic::error(*span, message).with_help("name a field and a key of one type"));
    false
}

fn words(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Str => "a text",
        FieldType::Bool => "true or false",
        FieldType::Int => "a whole number",
        FieldType::StrList => "a list of texts",
        FieldType::StrMap => "a map of texts",
    }
}

#[cfg(test)]
mod tests;
