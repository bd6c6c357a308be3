//! Writes what came back into the chapters: expected lines that still match stay as they are, the
//! others are replaced.
//!
//! It never accepts another exit code: whether a failure is wanted is for the author to write.
//! Pure; files are written by the caller.

use std::collections::BTreeMap;

use super::block::{Action, Block, Chapter, Console, Step};
use super::judge::{Seen, fits, recorded};
use super::pattern::{Match, Op, Pattern, json};
use super::problem::At;
use super::record::{BlockRecord, ChapterRecord, FileRecord, SCHEMA};
use super::{timeline, topology};

/// Lines of a file to replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// The first line replaced, or before which to insert.
    pub(crate) at: At,
    /// How many lines go.
    pub(crate) remove: usize,
    /// What comes instead.
    pub(crate) lines: Vec<String>,
}

/// The edits that make a chapter expect what was seen. `seen` is by block position.
pub(crate) fn edits(chapter: &Chapter, seen: &BTreeMap<usize, Seen>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (index, block) in chapter.blocks.iter().enumerate() {
        let (Action::Console(console), Some(seen)) = (&block.action, seen.get(&index)) else {
            continue;
        };
        for (step, got) in console.steps.iter().zip(&seen.steps) {
            // What came with another exit code is nothing to write down.
            if step.exit.is_some_and(|exit| exit != got.exit) {
                break;
            }
            let silent = block.hide && step.expected.is_empty();
            if silent || fits(console, step, &got.lines) {
                continue;
            }
            let at = chapter.source.at(step.first);
            let lines = merged(console, step, &got.lines);
            edits.push(Edit { at, remove: step.expected.len(), lines });
        }
    }
    edits
}

/// The expected lines with those replaced that no longer match.
pub(crate) fn merged(console: &Console, step: &Step, actual: &[String]) -> Vec<String> {
    match console.how {
        Match::Json => return json(actual).unwrap_or_else(|| actual.to_vec()),
        Match::Unordered => return actual.to_vec(),
        Match::Exact | Match::Subset => {}
    }
    let Ok(pattern) = Pattern::parse(&step.expected) else { return actual.to_vec() };
    let mut lines = Vec::new();
    for op in pattern.align(actual) {
        match op {
            Op::Keep(at, _) | Op::Gap(at, ..) => lines.push(step.expected[at].clone()),
            Op::Replace(_, line) => lines.push(actual[line].clone()),
            Op::Insert(_) if console.how == Match::Subset => {}
            Op::Insert(line) => lines.push(actual[line].clone()),
            Op::Drop(_) => {}
        }
    }
    lines
}

/// A file's text with its edits made. Edits must not overlap.
pub(crate) fn apply(text: &str, edits: &[&Edit]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut ordered = edits.to_vec();
    ordered.sort_by_key(|edit| std::cmp::Reverse(edit.at.line));
    for edit in ordered {
        let from = (edit.at.line - 1).min(lines.len());
        let to = (from + edit.remove).min(lines.len());
        lines.splice(from..to, edit.lines.iter().cloned());
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// The records of a chapter after a run. A block that was not run, or whose record still fits,
/// keeps its record.
pub(crate) fn record(
    chapter: &Chapter,
    seen: &BTreeMap<usize, Seen>,
    old: &ChapterRecord,
    files: &BTreeMap<String, FileRecord>,
) -> ChapterRecord {
    let mut blocks = Vec::new();
    for (index, block) in chapter.blocks.iter().enumerate() {
        let (Some(id), true) = (block.id.as_deref(), recorded(block)) else { continue };
        let before = old.blocks.iter().find(|record| record.id == id);
        let kept = before.filter(|record| still_good(block, record, seen.get(&index)));
        match (kept, seen.get(&index)) {
            (Some(record), _) => blocks.push(record.clone()),
            (None, Some(seen)) => blocks.push(BlockRecord {
                fence: block.digest.clone(),
                id: id.to_owned(),
                node: block.place_name(),
                output: BlockRecord::output_digest(&seen.steps),
                rules: seen.rules.iter().cloned().collect(),
                steps: seen.steps.clone(),
            }),
            // Not run in this round: whatever is on record stays, and `verify` says so if it is
            // wrong.
            (None, None) => blocks.extend(before.cloned()),
        }
    }
    let files = files.clone();
    ChapterRecord { blocks, chapter: chapter.name.clone(), files, schema: SCHEMA }
}

/// Whether a record is of this very fence and still fits it.
fn still_good(block: &Block, record: &BlockRecord, seen: Option<&Seen>) -> bool {
    if record.fence != block.digest || record.output != BlockRecord::output_digest(&record.steps) {
        return false;
    }
    let Action::Console(console) = &block.action else {
        let Some(now) = seen.and_then(|seen| seen.steps.first()) else { return true };
        let same = match &block.action {
            Action::Timeline { .. } => timeline::same,
            Action::Made { .. } => |then: &[String], now: &[String]| then == now,
            _ => topology::same,
        };
        return record.steps.first().is_some_and(|then| same(&then.lines, &now.lines));
    };
    let good = |(step, got): (&Step, &super::record::StepRecord)| {
        step.command == got.command
            && step.exit.is_none_or(|exit| exit == got.exit)
            && fits(console, step, &got.lines)
    };
    console.steps.len() == record.steps.len() && console.steps.iter().zip(&record.steps).all(good)
}
