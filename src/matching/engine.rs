//! The engine of expressions and templates: a closed list of filters and tests, strict about what
//! is undefined.
//!
//! It charges its fuel for every instruction and for every 64 bytes that it makes. It does not
//! charge for comparing texts or lists, for cutting texts, and for what `~` and `join` make of
//! lists before they have made it: a source that does that to large ones can take more, and sources
//! are this host's own. Refuses functions, includes and macros.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::{Kwargs, StringInput, Value as Jinja, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use minijinja::{filters, tests};

use crate::spec::Value;

/// Bounds one evaluation to about a million instructions or 64 MiB of texts.
const FUEL: u64 = 1_000_000;

/// The most that a value may have, in bytes: what is put into a field, or written as JSON.
pub(super) const RESULT_BYTES_MAX: usize = 1 << 20;
/// What each item of a list or a map counts as, beside its texts: about what it takes.
const ITEM_BYTES: usize = 64;
/// How many bytes of a value that is taken apart one instruction pays for.
const TAKEN_BYTES: usize = 4;

/// Begins the message of a value that is no segment; what follows is the value.
pub(super) const SEGMENT: &str = "not one path segment: ";
/// Gives texts.
pub(super) static LOOSE: LazyLock<Environment<'static>> = LazyLock::new(|| environment(write_text));

/// Gives parts of paths.
pub(super) static PATHS: LazyLock<Environment<'static>> =
    LazyLock::new(|| environment(write_segment));

type Formatter = fn(&mut Output<'_>, &mut State<'_, '_>, &Jinja) -> Result<(), Error>;

fn environment(formatter: Formatter) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_formatter(formatter);
    if let Ok(syntax) =
        minijinja::syntax::SyntaxConfig::builder().keep_trailing_newline(true).build()
    {
        env.set_syntax(syntax);
    }
    env.add_filter("lower", filters::lower);
    env.add_filter("upper", filters::upper);
    env.add_filter("trim", filters::trim);
    env.add_filter("length", filters::length);
    env.add_filter("default", filters::default);
    env.add_filter("first", filters::first);
    env.add_filter("last", filters::last);
    env.add_filter("sort", filters::sort);
    env.add_filter("unique", filters::unique);
    env.add_filter("join", join);
    env.add_filter("map", filters::map);
    env.add_filter("selectattr", filters::selectattr);
    env.add_filter("rejectattr", filters::rejectattr);
    env.add_filter("replace", filters::replace);
    env.add_filter("tojson", tojson);
    env.add_filter("basename", |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned());
    env.add_filter("dirname", dirname);
    env.add_filter("slug", slug);
    env.add_filter("subpath", subpath);
    env.add_test("defined", tests::is_defined);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("in", tests::is_in);
    env
}

/// The separator is a text, so that `join` needs no argument by name.
fn join(
    state: &mut State<'_, '_>,
    value: &Jinja,
    separator: Option<StringInput<'_>>,
    kwargs: Kwargs,
) -> Result<Jinja, Error> {
    let attribute = kwargs.get::<Option<String>>("attribute")?;
    filters::join(state, value, separator, attribute.as_deref(), kwargs)
}

fn tojson(state: &State<'_, '_>, value: &Jinja) -> Result<String, Error> {
    let wrong = |why: String| Error::new(ErrorKind::InvalidOperation, why);
    pay(state, value)?;
    let value = converted(value).map_err(wrong)?;
    serde_json::to_string(&json(&value)).map_err(|why| wrong(why.to_string()))
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Str(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(map) => {
            serde_json::Value::Object(map.iter().map(|(k, v)| (k.clone(), json(v))).collect())
        }
    }
}

fn dirname(text: &str) -> String {
    match text.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
        None => ".".to_owned(),
    }
}

/// One plain part of a path, whatever it was: all but letters, digits, `.`, `_` and `-` is a dash.
fn slug(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    let slug: String = text.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    match slug.as_str() {
        "" | "." | ".." => "-".repeat(slug.len().max(1)),
        _ => slug,
    }
}

/// Marks a relative path, so that its slashes may stand in a path.
fn subpath(text: &str) -> Result<Jinja, Error> {
    match is_subpath(text) {
        true => Ok(Jinja::from_safe_string(text.to_owned())),
        false => Err(refused(text)),
    }
}

fn is_subpath(text: &str) -> bool {
    !text.is_empty() && text.split('/').all(is_segment)
}

fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\0'])
}

fn refused(text: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{SEGMENT}{}", short(text)))
}

fn write_text(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Jinja) -> Result<(), Error> {
    let failed = |_| Error::from(ErrorKind::WriteFailure);
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Ok(()),
        ValueKind::Bool => {
            out.write_str(if value.is_true() { "true" } else { "false" }).map_err(failed)
        }
        ValueKind::String => out.write_str(value.as_str().unwrap_or_default()).map_err(failed),
        _ => {
            pay(state, value)?;
            write!(out, "{value}").map_err(failed)
        }
    }
}

fn write_segment(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Jinja,
) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        ValueKind::Number => value.to_string(),
        _ => return Err(refused(named(value))),
    };
    let good = if value.is_safe() { is_subpath(&text) } else { is_segment(&text) };
    if good { write_text(out, state, &Jinja::from(text)) } else { Err(refused(&text)) }
}

/// Another host's text in a message: short, in one line.
pub(super) fn short(text: &str) -> String {
    text.chars().take(160).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What a value is, for messages.
pub(super) fn named(value: &Jinja) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "something undefined",
        ValueKind::None => "nothing",
        ValueKind::Bool => "true or false",
        ValueKind::Number => "a number",
        ValueKind::String => "a string",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a map",
        _ => "something else",
    }
}

/// Pays for taking a value apart, unless it has too much in it: few words can make a list that
/// holds one text a thousand times.
fn pay(state: &State<'_, '_>, value: &Jinja) -> Result<(), Error> {
    let mut left = RESULT_BYTES_MAX;
    weigh(value, &mut left).map_err(|why| Error::new(ErrorKind::InvalidOperation, why))?;
    state.consume_fuel(((RESULT_BYTES_MAX - left) / TAKEN_BYTES) as u64)
}

/// Takes what a value has in it, with all that is in that, off what is left.
fn weigh(value: &Jinja, left: &mut usize) -> Result<(), String> {
    let spend = |left: &mut usize, bytes: usize| {
        let too_much = || format!("it gives more than {RESULT_BYTES_MAX} bytes");
        *left = left.checked_sub(bytes).ok_or_else(too_much)?;
        Ok::<(), String>(())
    };
    match value.kind() {
        ValueKind::String => spend(left, value.as_str().unwrap_or_default().len()),
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter().map_err(|error| detail(&error))? {
                spend(left, ITEM_BYTES)?;
                weigh(&item, left)?;
            }
            Ok(())
        }
        ValueKind::Map => {
            for key in value.try_iter().map_err(|error| detail(&error))? {
                spend(left, ITEM_BYTES)?;
                weigh(&key, left)?;
                weigh(&value.get_item(&key).map_err(|error| detail(&error))?, left)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn detail(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), short)
}

/// A value of the engine as a field's.
pub(super) fn spec_value(value: &Jinja) -> Result<Value, String> {
    weigh(value, &mut RESULT_BYTES_MAX.clone())?;
    converted(value)
}

fn converted(value: &Jinja) -> Result<Value, String> {
    let inner = |error: Error| detail(&error);
    Ok(match value.kind() {
        ValueKind::Bool => Value::Bool(value.is_true()),
        ValueKind::Number => {
            Value::Int(value.as_i64().ok_or("it gives a number that is not whole")?)
        }
        ValueKind::String => Value::Str(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => Value::List(
            value
                .try_iter()
                .map_err(inner)?
                .map(|item| converted(&item))
                .collect::<Result<_, _>>()?,
        ),
        ValueKind::Map => {
            let mut map = BTreeMap::new();
            for key in value.try_iter().map_err(inner)? {
                let item = value.get_item(&key).map_err(inner)?;
                map.insert(key.to_string(), converted(&item)?);
            }
            Value::Map(map)
        }
        _ => return Err(format!("it gives {}", named(value))),
    })
}
