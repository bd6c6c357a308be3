//! A mistake in the book's own files: where, what, and the name that was probably meant. It decides
//! nothing.

use std::fmt;
use std::sync::Arc;

/// A line of a file in the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    /// Path from the repository's root, with slashes.
    pub(crate) file: Arc<str>,
    /// Line, counted from 1.
    pub(crate) line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it is.
    pub(crate) at: At,
    /// What is wrong, lower case.
    pub(crate) message: String,
    /// What was probably meant.
    pub(crate) hint: Option<String>,
}

impl Problem {
    /// A mistake without a guess.
    pub(crate) fn new(at: At, message: impl Into<String>) -> Problem {
        Problem { at, message: message.into(), hint: None }
    }

    /// A word that is none of `known`.
    pub(crate) fn unknown(at: At, what: &str, word: &str, known: &[&str]) -> Problem {
        let hint = nearest(word, known).map(|name| format!("did you mean `{name}`?"));
        Problem { at, message: format!("unknown {what} `{word}`"), hint }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// The name most like `word`, if one is like it at all.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(word.len()) / 3)
        .min()
        .map(|(_, name)| name)
}

/// All mistakes as one error, so that a run reports every one.
pub(crate) fn refuse(problems: &[Problem]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Err(crate::paths::Exit::error(crate::paths::Exit::FAILED, lines.join("\n       ")))
}
