//! Fields that are set by a rule or an export: values of the kind's types, whose texts are
//! templates.
//!
//! Refuses a template that does not compile, where it stands.

use std::collections::BTreeMap;

use super::node::{Data, Entry, Node};
use super::{Sink, program, scalar};
use crate::diag::{Diagnostic, suggest};
use crate::kind::{FieldType, Kind};
use crate::matching::{Scope, Template};
use crate::spec::Value;

/// A map of fields.
pub(super) fn read(
    lead: &str,
    kinds: &[&dyn Kind],
    value: &Node,
    scope: Scope,
    sink: &mut Sink,
) -> BTreeMap<String, Value> {
    let mut set = BTreeMap::new();
    let entries = program::map(value, lead, "of fields", sink).unwrap_or_default();
    for Entry { key, value } in entries {
        if let Some(made) = field(lead, kinds, &key.text, key.span, value, scope, sink) {
            set.insert(key.text.as_ref().to_owned(), made);
        }
    }
    set
}

/// One field. It has to be one of each of these kinds.
pub(super) fn field(
    lead: &str,
    kinds: &[&dyn Kind],
    name: &str,
    at: crate::diag::Span,
    value: &Node,
    scope: Scope,
    sink: &mut Sink,
) -> Option<Value> {
    let mut ty = None;
    for kind in kinds {
        match kind.fields().iter().find(|field| field.name == name) {
            Some(found) => ty = ty.or(Some(found.ty)),
            None => {
                let message = format!("{lead}: `{}` has no field `{name}`", kind.name());
                let found = Diagnostic::error(at, message);
                let known = kind.fields().iter().map(|field| field.name);
                sink.add_with_hint(found, || suggest(name, known, "known fields"));
                return None;
            }
        }
    }
    let made = match (&value.data, ty?) {
        (Data::Scalar { text, .. }, FieldType::Bool | FieldType::Int | FieldType::StrList)
            if text.contains("{{") =>
        {
            Value::Str(text.clone())
        }
        (_, ty) => scalar::value(ty, name, value, sink)?,
    };
    match check(&made, scope) {
        Ok(()) => Some(made),
        Err(why) => {
            sink.add(Diagnostic::error(value.span, format!("{lead}: {why}")));
            None
        }
    }
}

fn check(value: &Value, scope: Scope) -> Result<(), String> {
    match value {
        Value::Str(text) => Template::new(text, scope).map(drop),
        Value::List(items) => items.iter().try_for_each(|item| check(item, scope)),
        Value::Map(entries) => entries.values().try_for_each(|value| check(value, scope)),
        _ => Ok(()),
    }
}
