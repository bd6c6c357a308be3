//! `quorate check FILE`: every mistake in a graph file at once.

use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::agent::tell;
use crate::diag::{self, Diagnostic, Severity};
use crate::ident::counted;

/// Arguments of `check`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The graph file
    file: PathBuf,
    /// A file of further collect rules, as `quorate run --collect` takes it
    #[arg(long, value_name = "FILE")]
    collect: Option<PathBuf>,
    /// Print the findings as one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the findings; exit 1 when there is an error among them.
pub(super) fn run(args: &Args) -> ExitCode {
    let name = args.file.display().to_string();
    let (text, findings) = match load(&args.file) {
        Ok(loaded) => loaded,
        Err(failure) => {
            super::print_error(failure);
            return ExitCode::from(super::EXIT_FAILED);
        }
    };
    let side = match args.collect.as_deref().map(load_rules).transpose() {
        Ok(side) => side,
        Err(failure) => {
            super::print_error(failure);
            return ExitCode::from(super::EXIT_FAILED);
        }
    };
    let mut out = String::new();
    let errors = if args.json {
        let more = side.iter().flat_map(|(_, _, findings)| findings);
        let errors = count(&findings) + side.as_ref().map_or(0, |(.., found)| count(found));
        let all: Vec<_> = findings.iter().chain(more).map(finding).collect();
        let document = json!({"v": 1, "file": name, "errors": errors, "findings": all});
        out = format!("{document}\n");
        errors
    } else {
        let mut errors = print(&name, &text, &findings);
        if errors == 0 {
            out.push_str(&format!("{name}: ok\n"));
        }
        if let Some((name, text, findings)) = &side {
            let wrong = print(name, text, findings);
            if wrong == 0 {
                out.push_str(&format!("{name}: ok\n"));
            }
            errors += wrong;
        }
        errors
    };
    let written = super::exit_after(std::io::stdout().write_all(out.as_bytes()));
    if errors == 0 { written } else { ExitCode::from(super::EXIT_FAILED) }
}

/// A graph file's text and what there is to say about it.
pub(super) fn load(file: &Path) -> Result<(String, Vec<Diagnostic>), String> {
    let text = crate::agent::source::read(file)?;
    let findings = crate::yaml::check(&text);
    Ok((text, findings))
}

/// A file of rules: its name, its text, and what there is to say about it.
fn load_rules(file: &Path) -> Result<(String, String, Vec<Diagnostic>), String> {
    let text = crate::agent::source::read(file)?;
    let findings = crate::yaml::rules(&text).1;
    Ok((file.display().to_string(), text, findings))
}

/// Prints the findings for people; gives how many are errors.
pub(super) fn print(name: &str, text: &str, findings: &[Diagnostic]) -> usize {
    let errors = count(findings);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tell(diag::render(name, text, findings, colour));
    if errors > 0 {
        tell(format_args!("{name}: {}\n", counted(errors, "error")));
    }
    errors
}

fn count(findings: &[Diagnostic]) -> usize {
    findings.iter().filter(|one| one.severity == Severity::Error).count()
}

fn finding(one: &Diagnostic) -> serde_json::Value {
    let severity = match one.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "severity": severity,
        "message": one.message, "line": one.span.line, "column": one.span.column, "help": one.help,
    })
}
