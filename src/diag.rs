//! Diagnostics: what is wrong with a text, where, why, and what to do next.
//!
//! Refuses to read files and to print: rendering gives a string.

/// A place in a text: a byte range with its line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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
