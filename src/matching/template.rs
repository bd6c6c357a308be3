//! Expressions and templates, compiled from this host's own files.
//!
//! Refuses sources that are too long or nested too deep for the stack, names that nobody knows, and
//! results that are too long.

use std::collections::BTreeSet;

use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use thiserror::Error as ThisError;

use super::Vars;
use super::engine::{LOOSE, PATHS, RESULT_BYTES_MAX, SEGMENT, named, short, spec_value};
use crate::spec::Value;

/// The longest expression or block `{{ … }}`, in bytes: what is longer can be too deep.
const BLOCK_BYTES_MAX: usize = 1024;
/// The longest template, in bytes.
const SOURCE_BYTES_MAX: usize = 64 << 10;
/// How many statements `{% … %}` a template may have: each can stand in another one.
const STATEMENTS_MAX: usize = 128;

/// What a source may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One export and this host.
    Export,
    /// This host.
    Host,
    /// All exports that are gathered, and this host.
    Gather,
}

impl Scope {
    fn names(self) -> &'static [&'static str] {
        match self {
            Scope::Export => {
                &["name", "kind", "host", "channel", "labels", "host_labels", "fields", "me"]
            }
            Scope::Host => &["me"],
            Scope::Gather => &["exports", "me"],
        }
    }
}

/// Why a template gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum TemplateError {
    /// A value in a path is not one plain part of it.
    #[error("\"{0}\" is not one path segment")]
    Segment(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// An expression of a rule's `if`.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
}

impl Expression {
    /// Checks it: its form, its length, and what it names.
    pub fn new(source: &str, scope: Scope) -> Result<Self, String> {
        if source.len() > BLOCK_BYTES_MAX {
            return Err(format!("an expression has at most {BLOCK_BYTES_MAX} bytes"));
        }
        let compiled = LOOSE.compile_expression(source).map_err(|error| syntax(&error))?;
        check_names(compiled.undeclared_variables(false), scope)?;
        Ok(Expression { source: source.to_owned() })
    }

    /// What it gives, which has to be true or false; or else why it says nothing.
    pub fn truth(&self, vars: &Vars) -> Result<bool, String> {
        let value = evaluate(&self.source, vars).map_err(|error| error.to_string())?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            _ => Err(format!("if gave {}, wanted true or false", named(&value))),
        }
    }
}

/// A text with `{{ … }}` in it.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing in it is replaced.
    Literal,
    /// Exactly one `{{ … }}` and nothing around it: gives a value of any type.
    Single,
    Mixed,
}

impl Template {
    /// Checks it: its form, its length, and what it names.
    pub fn new(source: &str, scope: Scope) -> Result<Self, String> {
        let form = form(source)?;
        if form != Form::Literal {
            let compiled = LOOSE.template_from_str(source).map_err(|error| syntax(&error))?;
            check_names(compiled.undeclared_variables(false), scope)?;
        }
        Ok(Template { source: source.to_owned(), form })
    }

    /// Whether nothing in it is replaced.
    pub fn is_literal(&self) -> bool {
        self.form == Form::Literal
    }

    /// The value: typed when the source is exactly one `{{ … }}`, or else a text.
    pub fn value(&self, vars: &Vars) -> Result<Value, TemplateError> {
        if self.form != Form::Single {
            return self.text(vars).map(Value::Str);
        }
        let inner = self.source.trim_start_matches("{{").trim_end_matches("}}");
        let value = evaluate(inner.trim_matches('-'), vars)?;
        if value.is_undefined() {
            return Err(TemplateError::Other(undefined(inner.trim_matches('-'), vars)));
        }
        spec_value(&value).map_err(TemplateError::Other)
    }

    /// The text.
    pub fn text(&self, vars: &Vars) -> Result<String, TemplateError> {
        self.render(&LOOSE, vars)
    }

    /// The text of a path: whatever is put in is one plain part of it, or went through `subpath`.
    pub fn path(&self, vars: &Vars) -> Result<String, TemplateError> {
        self.render(&PATHS, vars)
    }

    fn render(&self, env: &Environment<'_>, vars: &Vars) -> Result<String, TemplateError> {
        if self.form == Form::Literal {
            return Ok(self.source.clone());
        }
        let other = |text: String| TemplateError::Other(text);
        let template =
            env.template_from_str(&self.source).map_err(|error| other(syntax(&error)))?;
        let text = template.render(&vars.0).map_err(|error| {
            let names = || template.undeclared_variables(true).into_iter().collect();
            failure(&error, names, vars)
        })?;
        match text.len() {
            0..=RESULT_BYTES_MAX => Ok(text),
            bytes => Err(other(format!(
                "the template gives {bytes} bytes, at most {RESULT_BYTES_MAX} are taken"
            ))),
        }
    }
}

/// The part of a path template that is the same for all, up to its last slash; nothing when that
/// is only the root.
pub fn literal_prefix(source: &str) -> Option<&str> {
    let end = source.find("{{").or_else(|| source.find("{%")).unwrap_or(source.len());
    let slash = source.get(..end)?.rfind('/')?;
    source.get(..=slash).filter(|prefix| prefix.starts_with('/') && *prefix != "/")
}

/// What a source is, once its blocks are seen to be short and few enough.
fn form(source: &str) -> Result<Form, String> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("a template has at most {SOURCE_BYTES_MAX} bytes"));
    }
    let (mut rest, mut blocks, mut statements) = (source, 0_usize, 0_usize);
    let mut alone = false;
    while let Some(at) = rest.find('{') {
        let (kind, from) = match rest.as_bytes().get(at + 1) {
            Some(b'{') => ("}}", at),
            Some(b'%') => ("%}", at),
            Some(b'#') => ("#}", at),
            _ => {
                rest = &rest[at + 1..];
                continue;
            }
        };
        let inside = &rest[from + 2..];
        let end = if kind == "#}" { inside.find(kind) } else { block_end(inside, kind) };
        let Some(end) = end else {
            return Err(format!("the template has a block without its `{kind}`"));
        };
        if kind != "#}" && end > BLOCK_BYTES_MAX {
            return Err(format!("a block of a template has at most {BLOCK_BYTES_MAX} bytes"));
        }
        statements += usize::from(kind == "%}");
        alone = blocks == 0 && kind == "}}" && rest.len() == source.len() && at == 0;
        blocks += 1;
        rest = &inside[end + 2..];
        alone &= rest.is_empty();
    }
    if statements > STATEMENTS_MAX {
        return Err(format!("a template has at most {STATEMENTS_MAX} statements"));
    }
    Ok(match (blocks, alone) {
        (0, _) => Form::Literal,
        (1, true) => Form::Single,
        _ => Form::Mixed,
    })
}

/// Where a block ends: quotes and brackets in it are passed.
fn block_end(inside: &str, closing: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let (mut at, mut quote, mut depth) = (0, None, 0_usize);
    while at < bytes.len() {
        match (bytes[at], quote) {
            (b'\\', Some(_)) => at += 1,
            (byte, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => {}
            (byte @ (b'\'' | b'"'), None) => quote = Some(byte),
            _ if depth == 0 && inside.as_bytes()[at..].starts_with(closing.as_bytes()) => {
                return Some(at);
            }
            (b'{' | b'[' | b'(', None) => depth += 1,
            (b'}' | b']' | b')', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn check_names(names: impl IntoIterator<Item = String>, scope: Scope) -> Result<(), String> {
    let known = scope.names();
    let unknown: BTreeSet<String> =
        names.into_iter().filter(|name| !known.contains(&name.as_str())).collect();
    match unknown.first() {
        Some(name) => Err(format!("unknown variable {name}")),
        None => Ok(()),
    }
}

fn evaluate(source: &str, vars: &Vars) -> Result<Jinja, TemplateError> {
    let compiled =
        LOOSE.compile_expression(source).map_err(|error| TemplateError::Other(syntax(&error)))?;
    compiled.eval(&vars.0).map_err(|error| {
        failure(&error, || compiled.undeclared_variables(true).into_iter().collect(), vars)
    })
}

fn undefined(source: &str, vars: &Vars) -> String {
    let names = LOOSE.compile_expression(source).map(|one| one.undeclared_variables(true));
    let names = names.unwrap_or_default().into_iter().collect();
    missing(&names, vars).unwrap_or_else(|| "it is undefined".to_owned())
}

/// The engine does not say which name is undefined, so the first one is looked for.
fn missing(names: &BTreeSet<String>, vars: &Vars) -> Option<String> {
    let lost = |path: &&String| {
        let mut value = vars.0.clone();
        for part in path.split('.') {
            match value.get_attr(part) {
                Ok(inner) => value = inner,
                Err(_) => return true,
            }
        }
        value.is_undefined()
    };
    names.iter().find(lost).map(|path| format!("{path} is undefined"))
}

fn failure(error: &Error, names: impl FnOnce() -> BTreeSet<String>, vars: &Vars) -> TemplateError {
    let detail = error.detail().unwrap_or_default();
    if let Some(text) = detail.strip_prefix(SEGMENT) {
        return TemplateError::Segment(text.to_owned());
    }
    TemplateError::Other(match error.kind() {
        ErrorKind::UndefinedError => {
            missing(&names(), vars).unwrap_or_else(|| "a value in it is undefined".to_owned())
        }
        ErrorKind::OutOfFuel => "it takes too much work or memory".to_owned(),
        _ if detail.is_empty() => error.kind().to_string(),
        _ => short(detail),
    })
}

fn syntax(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), short);
    match error.kind() {
        ErrorKind::SyntaxError => format!("not a valid template: {detail}"),
        _ => detail,
    }
}
