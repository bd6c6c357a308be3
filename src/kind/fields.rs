//! Reading typed fields when a resource is built, and the mistakes that several kinds share.
//!
//! Refuses to coerce: a value of another type than the field table's counts as absent, since
//! whoever made the fields checked them against the table.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::file::clean;
use super::{FieldError, str_field};
use crate::spec::{Fields, Value};

/// The longest path that the kernel takes, in bytes, without the byte that ends it.
const PATH_BYTES_MAX: usize = 4095;

/// Why a path cannot be one, if it is too long: each directory on the way to it is watched.
pub(super) fn too_long(path: &str) -> Option<String> {
    let bytes = path.len();
    (bytes > PATH_BYTES_MAX)
        .then(|| format!("the path has {bytes} bytes; at most {PATH_BYTES_MAX} are possible"))
}

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

/// Reads the fields of one resource and gathers every mistake in them.
pub(super) struct Reader<'a> {
    fields: &'a Fields,
    errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(fields: &'a Fields) -> Self {
        Reader { fields, errors: Vec::new() }
    }

    /// Notes a mistake in a field.
    pub(super) fn refuse(&mut self, field: &'static str, message: String, help: &str) {
        self.errors.push(mistake(field, message, help));
    }

    /// The resource, unless there was a mistake.
    pub(super) fn done<T>(self, made: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() { Ok(made) } else { Err(self.errors) }
    }

    /// A text; empty counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        text(self.fields, name)
    }

    /// A text of one's own; empty counts as absent.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A text; an empty one is a text, too.
    pub(super) fn raw(&self, name: &str) -> Option<String> {
        str_field(self.fields, name).map(str::to_owned)
    }

    /// A truth value; absent is false.
    pub(super) fn flag(&self, name: &str) -> bool {
        flag(self.fields, name)
    }

    /// Whether the field is given at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A number within a range; `what` says what it counts.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
        what: &str,
    ) -> Option<i64> {
        let number = int(self.fields, name)?;
        if range.contains(&number) {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        let message = format!("`{name}` is {number}; it has to be {least} to {most}{what}");
        self.refuse(name, message, "write a whole number in this range");
        None
    }

    /// A list of texts.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        list(self.fields, name)
    }

    /// A map of texts; absent is empty.
    pub(super) fn map(&self, name: &str) -> BTreeMap<String, String> {
        let Some(Value::Map(items)) = self.fields.get(name) else { return BTreeMap::new() };
        let items = items.iter();
        items.filter_map(|(key, value)| Some((key.clone(), as_text(value)?))).collect()
    }

    /// Refuses texts with a NUL byte: the kernel would take the part before it.
    pub(super) fn no_nul(&mut self, names: &[&'static str]) {
        no_nul(self.fields, names, &mut self.errors);
    }

    /// An absolute path, shortened.
    pub(super) fn absolute(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = self.text(name)?;
        self.check_absolute(name, path);
        Some(PathBuf::from(clean(path)))
    }

    /// A list of absolute paths, shortened.
    pub(super) fn absolutes(&mut self, name: &'static str) -> Vec<PathBuf> {
        let paths = self.list(name).unwrap_or_default();
        for path in &paths {
            self.check_absolute(name, path);
        }
        paths.iter().map(|path| PathBuf::from(clean(path))).collect()
    }

    /// The path in this field, else the one that is the resource's name.
    pub(super) fn path_or_name(&mut self, field: &'static str, name: &str) -> PathBuf {
        if let Some(path) = self.absolute(field) {
            return path;
        }
        if let Some(message) = too_long(name) {
            self.refuse(field, message, "choose a shorter one");
        } else if !name.starts_with('/') || name.contains('\0') {
            let message = format!("the path `{name}` is not absolute");
            let help =
                format!("give a path that starts with a slash, with `{field}` or as the name");
            self.refuse(field, message, &help);
        }
        PathBuf::from(clean(name))
    }

    fn check_absolute(&mut self, name: &'static str, path: &str) {
        if let Some(message) = too_long(path) {
            return self.refuse(name, format!("`{name}`: {message}"), "choose a shorter one");
        }
        if path.contains('\0') {
            self.refuse(name, format!("`{name}` contains a NUL byte"), "remove it");
        }
        if !path.starts_with('/') {
            let message = format!("`{name}` is `{path}`, which is not absolute");
            self.refuse(name, message, "give a path that starts with a slash");
        }
    }

    /// One of some words, or what it is when absent.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
        absent: T,
    ) -> T {
        let Some(word) = self.text(name) else { return absent };
        if let Some((_, choice)) = choices.iter().find(|(known, _)| *known == word) {
            return *choice;
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let help = match words.as_slice() {
            [first @ .., last] if !first.is_empty() => {
                format!("write {} or {last}", first.join(", "))
            }
            words => format!("write {}", words.join(", ")),
        };
        self.refuse(name, format!("`{name}` is `{word}`"), &help);
        absent
    }

    /// Refuses fields that do nothing without another one.
    pub(super) fn need(&mut self, names: &[&'static str], other: &str) {
        if self.fields.get(other).is_some_and(|value| *value != Value::Str(String::new())) {
            return;
        }
        for name in names {
            let empty = Value::Str(String::new());
            if self.fields.get(name).is_some_and(|value| *value != empty) {
                let message = format!("`{name}` without `{other}` does nothing");
                self.refuse(name, message, &format!("add `{other}`, or remove it"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(given: &[(&str, &str)]) -> Fields {
        given
            .iter()
            .map(|(key, text)| ((*key).to_owned(), Value::Str((*text).to_owned())))
            .collect()
    }

    #[test]
    fn every_mistake_is_gathered_with_its_next_step() {
        let fields = fields(&[("state", "here"), ("path", "rel"), ("cwd", "x\0"), ("shell", "sh")]);
        let mut reader = Reader::new(&fields);
        reader.choice("state", &[("exists", 1), ("absent", 2), ("any", 3)], 1);
        reader.absolute("path");
        reader.no_nul(&["cwd"]);
        reader.need(&["shell", "not given"], "cmd");
        let errors = reader.done(()).unwrap_err();
        let said: Vec<_> = errors
            .into_iter()
            .map(|one| (one.field.unwrap(), one.message + "; " + &one.help.unwrap()))
            .collect();
        let expected = [
            ("state", "`state` is `here`; write `exists`, `absent` or `any`"),
            (
                "path",
                "`path` is `rel`, which is not absolute; give a path that starts with a slash",
            ),
            ("cwd", "`cwd` contains a NUL byte; remove it"),
            ("shell", "`shell` without `cmd` does nothing; add `cmd`, or remove it"),
        ];
        assert_eq!(said, expected.map(|(field, text)| (field, text.to_owned())));
    }
}
