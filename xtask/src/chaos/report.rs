//! What many schedules did and what came of it, as Markdown for a page. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::history::{Act, largest_gap};
use super::schedule::Event;
use super::{CONVERGED, Outcome};
use crate::ui::counted;

/// One schedule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Its number.
    pub(super) seed: u64,
    /// How often each kind of fault was made.
    faults: BTreeMap<String, usize>,
    writes: usize,
    reads: usize,
    lost: usize,
    twice: usize,
    stale: usize,
    split: usize,
    elections: usize,
    gap: Duration,
    converged: Option<Duration>,
    spread: Option<Duration>,
    fine: bool,
}

/// How long something took, in words.
pub(super) fn took(took: Option<Duration>) -> String {
    took.map_or("never".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()))
}

impl Row {
    /// From what came of it.
    pub(super) fn of(seed: u64, events: &[Event], outcome: &Outcome) -> Row {
        let mut faults = BTreeMap::new();
        for event in events {
            let text = event.action.to_string();
            let word = text.split(' ').next().unwrap_or_default().to_owned();
            *faults.entry(word).or_default() += 1;
        }
        let reads = outcome.ops.iter().filter(|op| matches!(op.act, Act::Read { .. })).count();
        Row {
            seed,
            faults,
            writes: outcome.ops.len() - reads,
            reads,
            lost: outcome.verdict.lost.len(),
            twice: outcome.verdict.twice.len(),
            stale: outcome.verdict.stale.len(),
            split: outcome.verdict.split.len(),
            elections: outcome.elections,
            gap: Duration::from_micros(largest_gap(&outcome.ops)),
            converged: outcome.converged,
            spread: outcome.spread,
            fine: outcome.fine(),
        }
    }
}

/// The page: what was run, the sums, what each invariant said, a line for each schedule.
pub(super) fn markdown(rows: &[Row], nodes: u8, over: Duration, tls: bool) -> String {
    let mut text = String::new();
    let sum = |pick: fn(&Row) -> usize| rows.iter().map(pick).sum::<usize>();
    let worst = |pick: fn(&Row) -> Option<Duration>| {
        rows.iter().filter_map(pick).max().unwrap_or_default().as_secs_f64()
    };
    let fine = rows.iter().filter(|row| row.fine).count();
    let certificates = if tls { "with" } else { "without" };
    // Writing to a string cannot fail.
    let _ok = writeln!(
        text,
        "{} of {} each on {nodes} nodes {certificates} certificates, each on a cluster of its own: \
         {}, {} answered writes and {} answered reads, {} with a leader of its own.\n",
        counted(rows.len(), "schedule"),
        humantime::format_duration(over),
        counted(rows.iter().flat_map(|row| row.faults.values()).sum(), "fault"),
        sum(|row| row.writes),
        sum(|row| row.reads),
        counted(sum(|row| row.elections), "term"),
    );
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, count) in rows.iter().flat_map(|row| &row.faults) {
        *kinds.entry(kind).or_default() += count;
    }
    let _ok = writeln!(text, "| fault | times |\n|---|---|");
    for (kind, count) in kinds {
        let _ok = writeln!(text, "| {kind} | {count} |");
    }
    let _ok = writeln!(text, "\n| what has to hold | broken |\n|---|---|");
    for (what, broken) in [
        ("a write that was confirmed is there in the end", sum(|row| row.lost)),
        ("a comparison succeeds once for one value", sum(|row| row.twice)),
        ("a read sees every write that was confirmed before it began", sum(|row| row.stale)),
        ("a term has one leader", sum(|row| row.split)),
        ("all nodes are healthy soon after the repair", late(rows, |row| row.converged)),
        ("every node has what every other exports soon after it", late(rows, |row| row.spread)),
    ] {
        let _ok = writeln!(text, "| {what} | {broken} |");
    }
    let _ok = writeln!(
        text,
        "\nLongest time without an answered write: {:.1} s. Longest repair: {:.1} s; longest until \
         the exports were everywhere: {:.1} s; {} s are allowed.\n",
        worst(|row| Some(row.gap)),
        worst(|row| row.converged),
        worst(|row| row.spread),
        CONVERGED.as_secs(),
    );
    text.push_str(&table(rows));
    let _ok = writeln!(
        text,
        "\n{fine} of {} schedules recovered and lost nothing. One of them again: \
         `cargo xtask chaos --seeds N --nodes {nodes} --for {}`.",
        rows.len(),
        humantime::format_duration(over),
    );
    text
}

/// A line for each schedule.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let _ok = writeln!(
        text,
        "| seed | faults | writes | reads | lost | twice | stale | terms | gap | repaired | \
         exports |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let _ok = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} s | {} | {} |",
            row.seed,
            row.faults.values().sum::<usize>(),
            row.writes,
            row.reads,
            row.lost,
            row.twice,
            row.stale,
            row.elections,
            row.gap.as_secs_f64(),
            took(row.converged),
            took(row.spread),
        );
    }
    text
}

/// How many were not in time.
fn late(rows: &[Row], pick: fn(&Row) -> Option<Duration>) -> usize {
    rows.iter().filter(|row| pick(row).is_none_or(|took| took > CONVERGED)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: u64, lost: usize, converged: Option<u64>) -> Row {
        Row {
            seed,
            faults: BTreeMap::from([("kill".to_owned(), 2), ("cut".to_owned(), 1)]),
            writes: 100,
            reads: 50,
            lost,
            twice: 0,
            stale: 0,
            split: 0,
            elections: 2,
            gap: Duration::from_millis(2500),
            converged: converged.map(Duration::from_secs),
            spread: converged.map(|took| Duration::from_secs(took + 1)),
            fine: lost == 0 && converged.is_some_and(|took| took < 15),
        }
    }

    #[test]
    fn the_page_has_the_sums_and_says_what_broke() {
        let rows = [row(1, 0, Some(3)), row(2, 1, Some(4)), row(3, 0, None)];
        let text = markdown(&rows, 5, Duration::from_secs(60), false);
        for part in [
            "3 schedules of 1m each on 5 nodes without certificates",
            "9 faults, 300 answered writes and 150 answered reads, 6 terms with a leader",
            "| a term has one leader | 0 |",
            "| every node has what every other exports soon after it | 1 |",
            "| kill | 6 |",
            "| a write that was confirmed is there in the end | 1 |",
            "| all nodes are healthy soon after the repair | 1 |",
            "without an answered write: 2.5 s. Longest repair: 4.0 s; longest until the \
             exports were everywhere: 5.0 s; 15 s are allowed.",
            "| 3 | 3 | 100 | 50 | 0 | 0 | 0 | 2 | 2.5 s | never | never |",
            "1 of 3 schedules recovered and lost nothing.",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
