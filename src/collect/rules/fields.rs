//! What another host gave as fields, against the kind's table; and paths against their directory.
//!
//! Refuses to make a value fit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collect::Code;
use crate::collect::record::shown;
use crate::ident::ResourceId;
use crate::kind::file::clean;
use crate::kind::{FieldDef, FieldType, Kind};
use crate::spec::{Fields, Value};

/// Whether a path that should be below `within` can lead out of it. A `..` that comes after a name
/// may do so too, since the name can be a symbolic link.
pub(super) fn leaves(path: &str, within: &str) -> bool {
    match path.strip_prefix(within) {
        Some(rest) => rest.split('/').any(|part| part == ".."),
        None => true,
    }
}

/// The directory that whoever opens a path must not leave. The root directory keeps nobody in.
pub(super) fn fence(within: &str) -> Option<Arc<Path>> {
    let clean = clean(within);
    (clean != "/").then(|| Path::new(&clean).into())
}

/// The path that the resource manages, once the kind takes the fields.
pub(super) fn build(
    kind: &dyn Kind,
    id: &ResourceId,
    fields: &Fields,
) -> Result<Option<PathBuf>, (Code, String)> {
    match kind.build(id, fields) {
        Ok(resource) => Ok(resource.hints().path),
        Err(errors) => {
            let all: Vec<String> = errors.iter().map(|error| shown(&error.message)).collect();
            Err((Code::Xc07, format!("{}; held", all.join(", "))))
        }
    }
}

pub(super) fn check_fields(kind: &dyn Kind, fields: &Fields) -> Result<(), (Code, String)> {
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
