//! The checked-in store: what each block gave back when it was blessed, in
//! `book/verified/CHAPTER.json`.
//!
//! It holds no date, host, duration or digest of a program: those change with each run. Keys are
//! sorted because the fields below are; do not reorder them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fence::digest;

/// Changes when the form of the files does.
pub(crate) const SCHEMA: u32 = 1;

/// All that a chapter showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChapterRecord {
    /// In the order of the chapter.
    pub(crate) blocks: Vec<BlockRecord>,
    /// Its name.
    pub(crate) chapter: String,
    /// Every file that it shows or uploads, by path.
    pub(crate) files: BTreeMap<String, FileRecord>,
    /// [`SCHEMA`].
    pub(crate) schema: u32,
}

/// What a block showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockRecord {
    /// Digest of the fence that it belongs to.
    pub(crate) fence: String,
    /// The block's id.
    pub(crate) id: String,
    /// Where it ran.
    pub(crate) node: String,
    /// Digest of the steps, so that an edit by hand is noticed.
    pub(crate) output: String,
    /// The redaction rules that fired.
    pub(crate) rules: Vec<String>,
    /// Command by command.
    pub(crate) steps: Vec<StepRecord>,
}

/// What a command gave back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepRecord {
    /// Its output after redaction with the colours that it had, where it ran on a terminal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) coloured: Vec<String>,
    /// As written in the chapter.
    pub(crate) command: String,
    /// Its exit code.
    pub(crate) exit: i64,
    /// Its output after redaction.
    pub(crate) lines: Vec<String>,
}

/// A file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRecord {
    /// SHA-256 of its lines.
    pub(crate) digest: String,
    /// Its lines, for the diff when it changes.
    pub(crate) lines: Vec<String>,
}

impl FileRecord {
    /// The record of a file's text.
    pub(crate) fn of(text: &str) -> FileRecord {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        FileRecord { digest: digest(&lines), lines }
    }
}

impl BlockRecord {
    /// The digest that `output` must have.
    pub(crate) fn output_digest(steps: &[StepRecord]) -> String {
        let parts = steps.iter().flat_map(|step| {
            let head = format!("{}\u{0}{}", step.command, step.exit);
            let lines = step.lines.iter().chain(&step.coloured).cloned();
            std::iter::once(head).chain(lines)
        });
        digest(&parts.collect::<Vec<_>>())
    }
}

/// Reads a store file. An error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<ChapterRecord, String> {
    let record: ChapterRecord = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if record.schema == SCHEMA {
        Ok(record)
    } else {
        Err(format!("schema {} where this tool writes {SCHEMA}; bless the chapter", record.schema))
    }
}

/// The text of a store file.
pub(crate) fn print(record: &ChapterRecord) -> String {
    let mut text = serde_json::to_string_pretty(record).unwrap_or_default();
    text.push('\n');
    text
}
