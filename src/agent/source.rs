//! The graph file: read and understood as a whole, or refused as a whole.
//!
//! Refuses to keep anything: the caller holds the last good program.

use std::io::IsTerminal;
use std::path::Path;

use crate::diag::{self, Diagnostic, Severity};
use crate::spec::Program;
use crate::yaml;

/// A graph file that was understood.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The text that was read, to see whether an event changed it.
    pub(super) text: String,
    /// What it says.
    pub(super) program: Program,
}

impl Source {
    /// No file: a graph without resources.
    pub(super) fn empty() -> Self {
        let program = Program { name: "empty".to_owned(), ..Program::default() };
        Source { text: String::new(), program }
    }
}

/// Why a graph file is not used.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// One line for status: the first mistake and how many more there are.
    pub(super) summary: String,
    /// All mistakes, rendered for people.
    pub(super) report: String,
}

/// Reads and checks the file. Warnings are returned rendered beside the program.
pub(super) fn load(path: &Path) -> Result<(Source, String), Refused> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|failure| Refused {
        summary: format!("{name} cannot be read: {failure}"),
        report: format!("error: {name} cannot be read: {failure}\n"),
    })?;
    let (program, findings) = yaml::parse(&text);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let report = diag::render(&name, &text, &findings, colour);
    match program {
        Some(mut program) if !has_error(&findings) => {
            // Where fields stand is for messages about them, and those were all found.
            program.resources.iter_mut().for_each(|one| one.field_spans.clear());
            program.resources.shrink_to_fit();
            Ok((Source { text, program }, report))
        }
        _ => Err(Refused { summary: summary(&name, &findings), report }),
    }
}

fn has_error(findings: &[Diagnostic]) -> bool {
    findings.iter().any(|one| one.severity == Severity::Error)
}

fn summary(name: &str, findings: &[Diagnostic]) -> String {
    let errors: Vec<_> = findings.iter().filter(|one| one.severity == Severity::Error).collect();
    let Some(first) = errors.first() else {
        return format!("{name} was not understood");
    };
    let at = format!("{name}:{}:{}: {}", first.span.line, first.span.column, first.message);
    match errors.len() {
        1 => at,
        n => format!("{at} (and {} more)", n - 1),
    }
}
