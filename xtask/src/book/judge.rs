//! Compares what came back with what the chapter expects and with what is on record. Pure: it runs
//! and reads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use similar::TextDiff;

use super::block::{Action, Block, Chapter, Console, Step};
use super::pattern::{Match, Op, Pattern, json};
use super::problem::At;
use super::record::{BlockRecord, ChapterRecord, FileRecord, StepRecord};

/// What a block gave back in this run, redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Command by command; fewer than the block has when one failed.
    pub(crate) steps: Vec<StepRecord>,
    /// Redaction rules that fired.
    pub(crate) rules: BTreeSet<String>,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Set when it could not be run to its end: a timeout, a lost node.
    pub(crate) trouble: Option<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// The line at fault.
    pub(crate) at: At,
    /// The block's name, or the file's.
    pub(crate) label: String,
    /// Words after the label: where it ran, its exit code, its time, or what is wrong.
    pub(crate) what: String,
    /// The difference, line by line.
    pub(crate) diff: Vec<String>,
    /// Words on what to do.
    pub(crate) next: String,
}

impl Drift {
    /// The report for people.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("drift  {}  {}  {}\n", self.at, self.label, self.what);
        for line in &self.diff {
            text.push_str(&format!("{}\n", line.trim_end()));
        }
        text.push_str(&format!("  {}\n", self.next));
        text
    }
}

/// What this run of a block says about the chapter's text. `None` when all is as expected.
pub(crate) fn run(chapter: &Chapter, block: &Block, seen: &Seen) -> Option<Drift> {
    let hits = Vec::from_iter(seen.rules.iter().map(String::as_str)).join(", ");
    let hits = if hits.is_empty() { "none" } else { &hits };
    let place = block.place_name();
    let elapsed = seen.elapsed.as_secs_f64();
    let accept = format!("rule hits: {hits}     accept with: {}", accept(block));
    let drift = |index: usize, what: String, diff: Vec<String>| Drift {
        at: chapter.source.at(index),
        label: format!("block {}", block.label()),
        what: format!("on {place}  ({what}, {elapsed:.2} s)"),
        diff,
        next: accept.clone(),
    };
    let Action::Console(console) = &block.action else {
        let trouble = seen.trouble.clone()?;
        return Some(drift(block.span.0, trouble, Vec::new()));
    };
    for (step, got) in console.steps.iter().zip(&seen.steps) {
        let wrong_exit = step.exit.filter(|exit| *exit != got.exit);
        let matches = unchecked(block, step) || fits(console, step, &got.lines);
        if wrong_exit.is_none() && matches {
            continue;
        }
        let what = match wrong_exit {
            Some(expected) => format!("exit {} instead of {expected}", got.exit),
            None => format!("exit {}", got.exit),
        };
        let (index, diff) = difference(chapter, console, step, &got.lines);
        let mut found = drift(index, what, diff);
        if wrong_exit.is_some() {
            found.next = "if that code is wanted, say so with exit= in the block".to_owned();
        }
        return Some(found);
    }
    let trouble = seen.trouble.clone()?;
    let at = console.steps.get(seen.steps.len()).map_or(block.span.0, |step| step.line);
    Some(drift(at, trouble, Vec::new()))
}

/// A hidden step without expected lines may print what it likes.
fn unchecked(block: &Block, step: &Step) -> bool {
    block.hide && step.expected.is_empty()
}

/// Whether lines are what a step expects.
pub(crate) fn fits(console: &Console, step: &Step, lines: &[String]) -> bool {
    Pattern::parse(&step.expected).is_ok_and(|pattern| pattern.matches(lines, console.how))
}

fn accept(block: &Block) -> String {
    match &block.id {
        Some(id) => format!("cargo xtask book bless --block {id}"),
        None => "an edit of the block".to_owned(),
    }
}

/// The line of the chapter where the difference begins, and the difference in words.
fn difference(
    chapter: &Chapter,
    console: &Console,
    step: &Step,
    actual: &[String],
) -> (usize, Vec<String>) {
    let command = step.command.lines().next().unwrap_or("(what it wrote)");
    let number = chapter.source.at(step.line).line;
    let mut diff = vec![format!("{number:>5} | $ {command}")];
    let (mut expected, mut actual) = (step.expected.clone(), actual.to_vec());
    match console.how {
        Match::Unordered => {
            expected.sort();
            actual.sort();
        }
        Match::Json => {
            expected = json(&expected).unwrap_or(expected);
            actual = json(&actual).unwrap_or(actual);
        }
        Match::Exact | Match::Subset => {}
    }
    let ops = Pattern::parse(&expected).map(|pattern| pattern.align(&actual)).unwrap_or_default();
    let mut first = None;
    let number = |at: usize| chapter.source.at(step.first + at).line;
    for op in ops {
        match op {
            Op::Keep(at, line) => diff.push(format!("{:>5}   {}", number(at), actual[line])),
            Op::Gap(at, ..) => diff.push(format!("{:>5}   ...", number(at))),
            Op::Replace(at, line) => {
                first.get_or_insert(at);
                diff.push(format!("{:>5} - {}", number(at), expected[at]));
                diff.push(format!("      + {}", actual[line]));
            }
            Op::Drop(at) => {
                first.get_or_insert(at);
                diff.push(format!("{:>5} - {}", number(at), expected[at]));
            }
            Op::Insert(_) if console.how == Match::Subset => {}
            Op::Insert(line) => diff.push(format!("      + {}", actual[line])),
        }
    }
    (first.map_or(step.line, |at| step.first + at), diff)
}

/// Compares a chapter and its files with the records: what a build must refuse. `files` are the
/// present texts.
pub(crate) fn records(
    chapter: &Chapter,
    record: &ChapterRecord,
    files: &BTreeMap<String, FileRecord>,
) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let mut left: BTreeMap<&str, &BlockRecord> =
        record.blocks.iter().map(|block| (block.id.as_str(), block)).collect();
    for block in &chapter.blocks {
        if let (Some(id), true) = (block.id.as_deref(), recorded(block)) {
            drifts.extend(block_record(chapter, block, left.remove(id)));
        }
        if let Action::File(shown) = &block.action {
            let (now, then) = (files.get(&shown.path), record.files.get(&shown.path));
            drifts.extend(file_record(block, &shown.path, now, then));
        }
    }
    for id in left.keys() {
        drifts.push(Drift {
            at: chapter.source.at(0),
            label: format!("block {id}"),
            what: "is on record, but no longer in the chapter".into(),
            diff: Vec::new(),
            next: format!("accept with: cargo xtask book bless --chapter {}", chapter.name),
        });
    }
    drifts
}

/// Whether a block has a record of what it gave back.
pub(crate) fn recorded(block: &Block) -> bool {
    let runs = !matches!(block.action, Action::File(_) | Action::NotRun(_) | Action::Provenance);
    runs && block.id.is_some()
}

fn block_record(chapter: &Chapter, block: &Block, record: Option<&BlockRecord>) -> Option<Drift> {
    let drift = |what: &str, diff: Vec<String>| {
        Some(Drift {
            at: block.at.clone(),
            label: format!("block {}", block.label()),
            what: what.to_owned(),
            diff,
            next: format!("record it with: {}", accept(block)),
        })
    };
    let Some(record) = record else { return drift("has no record", Vec::new()) };
    if record.output != BlockRecord::output_digest(&record.steps) {
        return drift("has a record that was edited by hand", Vec::new());
    }
    if record.fence != block.digest {
        return drift("was edited since it was recorded", record_diff(chapter, block, record));
    }
    None
}

/// Where the recorded lines no longer fit the text, if they do not.
fn record_diff(chapter: &Chapter, block: &Block, record: &BlockRecord) -> Vec<String> {
    let Action::Console(console) = &block.action else { return Vec::new() };
    let mut diff = Vec::new();
    for (step, got) in console.steps.iter().zip(&record.steps) {
        if step.command != got.command {
            diff.push(format!("{:>5} | $ {}", chapter.source.at(step.line).line, step.command));
            diff.push(format!("      recorded: $ {}", got.command));
        } else if !fits(console, step, &got.lines) {
            diff.extend(difference(chapter, console, step, &got.lines).1);
        }
    }
    diff
}

fn file_record(
    block: &Block,
    path: &str,
    now: Option<&FileRecord>,
    then: Option<&FileRecord>,
) -> Option<Drift> {
    let (what, line, diff) = match (now, then) {
        (Some(now), Some(then)) if now == then => return None,
        (Some(now), Some(then)) => {
            let line = now.lines.iter().zip(&then.lines).take_while(|(a, b)| a == b).count() + 1;
            ("differs from what was recorded", line, unified(&then.lines, &now.lines))
        }
        (Some(_), None) => ("has no record", 1, Vec::new()),
        (None, _) => ("is missing", 1, Vec::new()),
    };
    Some(Drift {
        at: At { file: path.into(), line },
        label: format!("file shown at {}", block.at),
        what: what.to_owned(),
        diff,
        next: "accept with: cargo xtask book bless".into(),
    })
}

/// A unified diff, without file names.
pub(crate) fn unified(old: &[String], new: &[String]) -> Vec<String> {
    let text = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let (old, new) = (text(old), text(new));
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    diff.unified_diff()
        .context_radius(2)
        .to_string()
        .lines()
        .map(|l| format!("      {l}"))
        .collect()
}
