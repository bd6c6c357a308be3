//! Asking an agent about its site, and the ends of such a question.
//!
//! Refuses to decide: the agent judges and acts, the commands print.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::agents::Which;
use crate::agent::{EXIT_FAILED, EXIT_REFUSED, socket};
use crate::collect::request::{Answer, Request};

/// The exit codes of all these commands.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 no agent answers, or something went wrong; 2 bad usage; 3 refused, with the \
reason.";

/// An end that is not the wanted one.
pub(super) struct End {
    code: u8,
    sentence: String,
}

impl End {
    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        End { code: EXIT_FAILED, sentence: sentence.into() }
    }

    /// It was printed already.
    pub(super) fn silent() -> Self {
        End::failed("")
    }

    /// An answer to another question: the agent is of another version.
    pub(super) fn unexpected() -> Self {
        End::failed("the agent answered another question; is it of another version?")
    }
}

/// What the chosen agent answers; a refusal is an end.
pub(super) fn ask(which: &Which, request: &Request) -> Result<Answer, End> {
    let folder = which.folder().map_err(End::failed)?;
    let answer = socket::ask_site(&folder, request).map_err(|why| {
        End::failed(format!("the agent in {} does not answer: {why}", folder.display()))
    })?;
    match answer {
        Answer::Refused(sentence) => Err(End { code: EXIT_REFUSED, sentence }),
        Answer::Failed(why) => Err(End::failed(why)),
        answer => Ok(answer),
    }
}

/// Has something done, and prints what the agent says about it.
pub(super) fn act(which: &Which, request: &Request, json: bool) -> Result<String, End> {
    match ask(which, request)? {
        Answer::Said(sentence) if json => document(&serde_json::json!({"v": 1, "said": sentence})),
        Answer::Said(sentence) => Ok(sentence + "\n"),
        _ => Err(End::unexpected()),
    }
}

/// A document on one line.
pub(super) fn document(document: &impl Serialize) -> Result<String, End> {
    let text = serde_json::to_string(document).map_err(|why| End::failed(why.to_string()))?;
    Ok(text + "\n")
}

/// Prints what came of a command; gives its exit code.
pub(super) fn finish(done: Result<String, End>) -> ExitCode {
    match done {
        Ok(text) => super::exit_after(std::io::stdout().write_all(text.as_bytes())),
        Err(End { code, sentence }) => {
            if !sentence.is_empty() {
                super::print_error(sentence);
            }
            ExitCode::from(code)
        }
    }
}

/// Rows as a table, each column as wide as it has to be; the last one is not filled up.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
