//! Reading typed fields when a resource is built, and the mistakes that several kinds share.
//!
//! Refuses to coerce: a value of another type than the field table's counts as absent, since
//! whoever made the fields checked them against the table.

use std::collections::BTreeMap;

use super::{FieldError, str_field};
use crate::spec::{Fields, Value};

/// A field's text; empty text counts as absent, as mgmt has it for all but contents and values.
pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    str_field(fields, name).filter(|text| !text.is_empty())
}

/// A field's truth; absent is false.
pub(super) fn flag(fields: &Fields, name: &str) -> bool {
    matches!(fields.get(name), Some(Value::Bool(true)))
}

/// A field's number.
pub(super) fn int(fields: &Fields, name: &str) -> Option<i64> {
    match fields.get(name) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

/// A field's list of texts.
pub(super) fn list(fields: &Fields, name: &str) -> Option<Vec<String>> {
    let Some(Value::List(items)) = fields.get(name) else {
        return None;
    };
    Some(items.iter().filter_map(as_text).collect())
}

/// A field's map of texts.
pub(super) fn map(fields: &Fields, name: &str) -> Option<BTreeMap<String, String>> {
    let Some(Value::Map(items)) = fields.get(name) else {
        return None;
    };
    Some(items.iter().filter_map(|(key, value)| Some((key.clone(), as_text(value)?))).collect())
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.clone()),
        _ => None,
    }
}

/// A mistake in one field, with the next step.
pub(super) fn mistake(field: &'static str, message: String, help: &str) -> FieldError {
    FieldError { field: Some(field), message, help: Some(help.to_owned()) }
}

/// Text that is handed to the kernel ends at its first NUL byte; refuse it before it means
/// something else.
pub(super) fn no_nul(fields: &Fields, names: &[&'static str], errors: &mut Vec<FieldError>) {
    for name in names {
        if str_field(fields, name).is_some_and(|text| text.contains('\0')) {
            errors.push(mistake(name, format!("`{name}` contains a NUL byte"), "remove it"));
        }
    }
}
