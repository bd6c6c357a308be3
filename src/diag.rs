//! Diagnostics: what is wrong with a text, where, why, and what to do next.
//!
//! Refuses to read files and to print: rendering gives a string.

mod render;

use std::collections::BTreeMap;

pub use render::render;

/// A place in a text: a byte range with its line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The text is refused.
    Error,
    /// The text is accepted, but probably not meant like this.
    Warning,
}

/// One finding in one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Refused or only remarked.
    pub severity: Severity,
    /// What is wrong, lower case, without a final stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that belong to it, with what they are (`first declared here`).
    pub related: Vec<(Span, String)>,
    /// The next step (`did you mean `content`?`).
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Diagnostic { severity: Severity::Error, message, span, related: Vec::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(span, message) }
    }

    /// The same, with the next step.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with another place that belongs to it.
    #[must_use]
    pub fn with_related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Whether the text is refused because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Sorts by position and takes out what was said twice (an aliased part of a file is read once for
/// each use).
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
    diagnostics.dedup();
}

/// The name among `candidates` that was probably meant by `typed`: the same but for case and
/// separators, or few letters away. Among equals the first wins; among very many or very long ones
/// not all are looked at.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = folded(typed);
    let length = plain.chars().count();
    let mut work = COMPARED_MAX;
    let allowed = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        // Reading a name costs something, too.
        match work.checked_sub(candidate.len()) {
            Some(rest) => work = rest,
            None => break,
        }
        let other = folded(candidate);
        // Lengths that differ by more cannot be near; this spares most of the comparisons.
        let other_length = other.chars().count();
        if other_length.abs_diff(length) > allowed {
            continue;
        }
        match work.checked_sub(length.saturating_mul(other_length)) {
            Some(rest) => work = rest,
            None => break,
        }
        let distance = strsim::osa_distance(&plain, &other);
        let near = distance <= allowed && distance < other.chars().count().max(1);
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The help line for a misspelt name: the nearest one, else the whole list when it is short.
pub fn suggest<'a>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> Option<String> {
    if let Some(name) = nearest(typed, candidates.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let known: BTreeMap<&str, ()> = candidates.into_iter().map(|name| (name, ())).collect();
    if known.is_empty() || known.len() > LISTED_MAX {
        return None;
    }
    let list: Vec<String> = known.keys().map(|name| format!("`{name}`")).collect();
    Some(format!("{what}: {}", list.join(", ")))
}

/// How many letters are read and pairs of them compared for one suggestion: some thousands of names
/// of usual length. Two names as long as a file would take days.
const COMPARED_MAX: usize = 4_000_000;

/// How many names a help line may list: about two lines of a terminal.
const LISTED_MAX: usize = 24;

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
