//! What a check gives back. Holds no check.

use std::fmt;

use serde::Serialize;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// The file, from the repository's root.
    pub(super) path: String,
    /// The line, from 1; 0 when it is about the whole file.
    pub(super) line: usize,
    /// What is wrong and what to do, lower case.
    pub(super) message: String,
}

impl Finding {
    /// A finding at a line of a file.
    pub(super) fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}
