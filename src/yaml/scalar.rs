//! Scalars by the type that a field accepts, from the raw text of the file.
//!
//! Refuses to round, to truncate, and to read a quoted number.

use std::collections::BTreeMap;

use super::Sink;
use super::node::{Data, Node};
use crate::diag::Diagnostic;
use crate::kind::FieldType;
use crate::spec::Value;

/// The value of the field `name`; `None` when it is null (the field takes its default) or wrong
/// (the sink says why).
pub(super) fn value(ty: FieldType, name: &str, node: &Node, sink: &mut Sink) -> Option<Value> {
    if node.is_null() {
        return None;
    }
    match ty {
        FieldType::Str => text(name, node, sink).map(Value::Str),
        FieldType::Bool => boolean(name, node, sink).map(Value::Bool),
        FieldType::Int => integer(name, node, sink).map(Value::Int),
        FieldType::StrList => list(name, node, sink),
        FieldType::StrMap => map(name, node, sink),
    }
}

/// The raw text of a scalar.
pub(super) fn text(name: &str, node: &Node, sink: &mut Sink) -> Option<String> {
    match &node.data {
        Data::Scalar { text, .. } => Some(text.clone()),
        _ => refuse(name, "a text", node, None, sink),
    }
}

/// A truth value in one of YAML 1.1's spellings.
pub(super) fn boolean(name: &str, node: &Node, sink: &mut Sink) -> Option<bool> {
    let found = match &node.data {
        Data::Scalar { text, .. } => truth(text),
        _ => None,
    };
    match (&node.data, found) {
        (Data::Scalar { plain: true, .. }, Some(found)) => Some(found),
        (_, Some(_)) => refuse(name, "true or false", node, Some("remove the quotes"), sink),
        (_, None) => refuse(name, "true or false", node, None, sink),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Some(false)
        }
        _ => None,
    }
}

/// A whole number, unquoted.
pub(super) fn integer(name: &str, node: &Node, sink: &mut Sink) -> Option<i64> {
    let wanted = "a whole number";
    match &node.data {
        Data::Scalar { text, plain } => match (whole(text), plain) {
            (Ok(number), true) => Some(number),
            (Ok(_), false) => refuse(name, wanted, node, Some("remove the quotes"), sink),
            (Err(help), _) => refuse(name, wanted, node, help, sink),
        },
        _ => refuse(name, wanted, node, None, sink),
    }
}

/// A whole number as YAML 1.1 writes it; the error may say what to write instead.
pub(super) fn whole(text: &str) -> Result<i64, Option<&'static str>> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(None);
    }
    let digits = digits.replace('_', "");
    let (radix, rest) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    if rest.starts_with(['+', '-']) {
        return Err(None);
    }
    match i128::from_str_radix(rest, radix) {
        Ok(number) => {
            let number = if negative { -number } else { number };
            i64::try_from(number).map_err(|_| Some("it does not fit in 64 bits"))
        }
        Err(_) if radix == 8 && rest.bytes().all(|digit| digit.is_ascii_digit()) => {
            Err(Some("a leading zero makes it octal; remove the zero"))
        }
        Err(_) if rest.parse::<f64>().is_ok() => Err(Some("write it without a fraction")),
        Err(_) => Err(None),
    }
}

/// A rate: a number above zero with or without a fraction, or `.inf`.
pub(super) fn rate(name: &str, node: &Node, sink: &mut Sink) -> Option<f64> {
    let wanted = "a number above 0, or .inf";
    match &node.data {
        Data::Scalar { text, plain } => match (real(text), plain) {
            (Some(number), true) if number > 0.0 => Some(number),
            (Some(number), false) if number > 0.0 => {
                refuse(name, wanted, node, Some("remove the quotes"), sink)
            }
            _ => refuse(name, wanted, node, None, sink),
        },
        _ => refuse(name, wanted, node, None, sink),
    }
}

/// A number as YAML 1.1 writes it, with or without a fraction.
fn real(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Some(f64::INFINITY);
    }
    if let Ok(number) = whole(text) {
        return Some(number as f64);
    }
    let written = |byte: u8| byte.is_ascii_digit() || b"+-._eE".contains(&byte);
    if !text.bytes().all(written) || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A leading zero that makes no octal number is not a fraction either.
    if !text.contains(['.', 'e', 'E']) {
        return None;
    }
    text.replace('_', "").parse().ok().filter(|number: &f64| number.is_finite())
}

fn list(name: &str, node: &Node, sink: &mut Sink) -> Option<Value> {
    let Data::List(items) = &node.data else {
        let help = matches!(node.data, Data::Scalar { .. }).then_some("write it as `[VALUE]`");
        return refuse(name, "a list of texts", node, help, sink);
    };
    let before = sink.mark();
    let mut values = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        values.extend(element(&format!("{name}[{at}]"), item, sink));
    }
    (sink.mark() == before).then_some(Value::List(values))
}

fn map(name: &str, node: &Node, sink: &mut Sink) -> Option<Value> {
    let Data::Map(entries) = &node.data else {
        return refuse(name, "a map of texts", node, None, sink);
    };
    let before = sink.mark();
    let mut values = BTreeMap::new();
    for entry in entries {
        let key = &entry.key.text;
        if let Some(value) = element(&format!("{name}.{key}"), &entry.value, sink) {
            values.insert(key.to_string(), value);
        }
    }
    (sink.mark() == before).then_some(Value::Map(values))
}

/// A text inside a list or map. Null has no default to stand for there.
fn element(name: &str, node: &Node, sink: &mut Sink) -> Option<Value> {
    if node.is_null() {
        return refuse(name, "a text", node, Some("an empty text is written ''"), sink);
    }
    text(name, node, sink).map(Value::Str)
}

/// Says that `name` takes something else. Gives `None`, for callers that return it.
pub(super) fn refuse<T>(
    name: &str,
    wanted: &str,
    node: &Node,
    help: Option<&str>,
    sink: &mut Sink,
) -> Option<T> {
    let is = match &node.data {
        Data::Scalar { text, plain: true } if !text.is_empty() => format!("`{}`", brief(text)),
        _ => node.what().to_owned(),
    };
    let found = Diagnostic::error(node.span, format!("`{name}` takes {wanted}, not {is}"));
    sink.add(Diagnostic { help: help.map(str::to_owned), ..found });
    None
}

/// A text short enough for a message.
pub(super) fn brief(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_owned(),
    }
}
