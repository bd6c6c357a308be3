//! `cargo xtask test`: runs every kind of test, shows them as they run, and counts each kind.
//!
//! Kinds that need a container engine are left out, with a note, when none answers; on CI that is a
//! failure. Up to three tests that fail by name run a second time, alone; the table names those
//! that passed only then.

mod kinds;
mod outcome;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::Context;

use self::kinds::{Kind, Runner};
use self::outcome::{Counts, Row};
use crate::image;
use crate::paths::{self, Exit};
use crate::ui::Ui;

/// What `test` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what takes minutes more
    #[arg(long)]
    long: bool,
    /// Only the kinds of tests whose name contains this (unit, toolkit, cli, etcd, containers,
    /// examples, book)
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs the tests and prints the table; exit code 1 when any failed.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let kinds = kinds::all(&kinds::test_files(&paths::root().join("tests")), args.long);
    let wanted = |kind: &&Kind| args.filter.as_ref().is_none_or(|text| kind.name.contains(text));
    let chosen: Vec<&Kind> = kinds.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        let message = format!("no kind of test has that name; there are {}", names.join(", "));
        return Err(Exit::error(Exit::FAILED, message));
    }
    let ci = std::env::var_os("CI").is_some();
    let etcd = if chosen.iter().any(|kind| kind.etcd) { etcd()? } else { None };
    let mut rows = Vec::new();
    for kind in chosen {
        println!("\n-- {}", kind.name);
        if kind.engine && !engine_answers() {
            rows.push(without_engine(kind, ci));
            continue;
        }
        rows.extend(run_kind(kind, etcd.as_deref())?);
    }
    print!("\n{}", outcome::table(&rows));
    Ok(if outcome::total(&rows).failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn without_engine(kind: &Kind, ci: bool) -> Row {
    let note = "no container engine answers; `cargo xtask doctor` says what to do";
    println!("{note}");
    let counts = Counts { passed: 0, failed: usize::from(ci) };
    Row { kind: kind.name.clone(), counts, took: std::time::Duration::ZERO, note: note.into() }
}

/// An etcd for the tests that need one; without it they fail on their own, and say what to do.
fn etcd() -> anyhow::Result<Option<PathBuf>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime
        .block_on(image::etcd(&Ui::new(false, true)))
        .inspect_err(|failure| println!("no etcd: {failure:#}"))
        .ok())
}

/// Something listens on the engine's socket. Whether it is good enough is for the tests to find.
fn engine_answers() -> bool {
    match std::env::var("DOCKER_HOST") {
        Ok(host) => match host.strip_prefix("unix://") {
            Some(path) => UnixStream::connect(path).is_ok(),
            None => true,
        },
        Err(_) => UnixStream::connect("/var/run/docker.sock").is_ok(),
    }
}

/// Runs one kind, passing on what it prints; gives its row, and one for the tests that are counted
/// apart.
fn run_kind(kind: &Kind, etcd: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let started = Instant::now();
    let names = if kind.properties { properties()? } else { BTreeSet::new() };
    let mut tally = Tally { names, ..Tally::default() };
    let mut status = watch(kind, &kind.runner, etcd, &mut tally)?;
    let again = tally.second_try();
    if let Some(runner) = kind.runner.again(&again).filter(|_| !again.is_empty()) {
        println!("\n-- {}, a second try: {}", kind.name, again.join(", "));
        let mut second = Tally::default();
        let ended = watch(kind, &runner, etcd, &mut second)?;
        if ended.success() && tally.mended(&second) {
            status = ended;
        }
    }
    let mut rows = tally.rows(kind, status.success());
    if let Some(row) = rows.first_mut() {
        row.took = started.elapsed();
        if !status.success() {
            row.note = status.to_string();
        } else if !again.is_empty() {
            row.note = format!("at a second try: {}", again.join(", "));
        }
    }
    Ok(rows)
}

/// Runs tests, passes on what they print and counts it.
fn watch(
    kind: &Kind,
    runner: &Runner,
    etcd: Option<&Path>,
    tally: &mut Tally,
) -> anyhow::Result<ExitStatus> {
    let mut command = command(runner)?;
    if let (true, Some(etcd)) = (kind.etcd, etcd) {
        command.env("QUORATE_ETCD", etcd);
    }
    command.envs(kind.more);
    let mut child =
        command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let stdout = child.stdout.take().context("the child's output is not a pipe")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what the tests print")?;
        println!("{line}");
        tally.line(&line);
    }
    child.wait().context("cannot wait for the tests")
}

/// The names of all properties of the agent's library.
fn properties() -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![paths::root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                names.extend(outcome::properties_of(&std::fs::read_to_string(&path)?));
            }
        }
    }
    Ok(names)
}

fn command(runner: &Runner) -> anyhow::Result<Command> {
    let mut command = match runner {
        Runner::Cargo { build, tests } => {
            let mut command = paths::cargo();
            command.args(["test", "--locked"]).args(build).arg("--").args(tests);
            command
        }
        Runner::Xtask(words) => {
            let mut command = Command::new(paths::program()?);
            command.args(words);
            command
        }
    };
    // A pipe would make cargo drop its colours although a person is looking.
    if std::io::stdout().is_terminal() && std::env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command.current_dir(paths::root()).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Counts while the lines go by.
#[derive(Default)]
struct Tally {
    names: BTreeSet<String>,
    all: Counts,
    properties: Counts,
    summaries: usize,
    /// The tests that failed.
    failed: Vec<String>,
}

/// More failures than this are no accident.
const ACCIDENTS: usize = 3;

impl Tally {
    fn line(&mut self, line: &str) {
        if let Some(counts) = outcome::counts_of_line(line) {
            self.summaries += 1;
            self.all += counts;
        }
        let Some((name, passed)) = outcome::test_of_line(line) else { return };
        if self.names.contains(name.rsplit("::").next().unwrap_or(name)) {
            self.properties += Counts { passed: usize::from(passed), failed: usize::from(!passed) };
        }
        if !passed {
            self.failed.push(name.to_owned());
        }
    }

    /// The tests that may have failed by the accident of a busy machine: few, each told by name,
    /// and no property, whose next cases would be others.
    fn second_try(&self) -> Vec<String> {
        let told = self.all.failed == self.failed.len() && self.properties.failed == 0;
        if told && self.failed.len() <= ACCIDENTS { self.failed.clone() } else { Vec::new() }
    }

    /// Takes over what a second try gave; whether all that had failed passed now.
    fn mended(&mut self, second: &Tally) -> bool {
        let all = second.all == Counts { passed: self.failed.len(), failed: 0 };
        if all {
            self.all.passed += std::mem::take(&mut self.all.failed);
        }
        all
    }

    /// A program that counts nothing is one test; one that ends badly without naming a failed test
    /// is one failure.
    fn rows(self, kind: &Kind, success: bool) -> Vec<Row> {
        let mut counts = Counts {
            passed: self.all.passed.saturating_sub(self.properties.passed),
            failed: self.all.failed.saturating_sub(self.properties.failed),
        };
        if !success && self.all.failed == 0 {
            counts.failed += 1;
        } else if self.summaries == 0 {
            counts.passed += 1;
        }
        let row = |kind: &str, counts| Row {
            kind: kind.into(),
            counts,
            took: std::time::Duration::ZERO,
            note: String::new(),
        };
        let mut rows = vec![row(&kind.name, counts)];
        if kind.properties {
            rows.push(row("property", self.properties));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(text: &str, success: bool) -> Vec<(String, usize, usize)> {
        let kinds = kinds::all(&[], false);
        let names = BTreeSet::from(["c".to_owned()]);
        let mut tally = Tally { names, ..Tally::default() };
        text.lines().for_each(|line| tally.line(line));
        let rows = tally.rows(&kinds[0], success).into_iter();
        rows.map(|row| (row.kind, row.counts.passed, row.counts.failed)).collect()
    }

    #[test]
    fn properties_are_counted_in_a_row_of_their_own() {
        let text = "test a::b ... ok\ntest a::properties::c ... ok\ntest d ... FAILED
test result: FAILED. 2 passed; 1 failed; 0 ignored";
        let expected = vec![("unit".to_owned(), 1, 1), ("property".to_owned(), 1, 0)];
        assert_eq!(rows_of(text, false), expected);
    }

    #[test]
    fn a_program_that_ends_badly_without_a_failed_test_is_a_failure() {
        assert_eq!(rows_of("", false)[0], ("unit".to_owned(), 0, 1));
        let died = "test result: ok. 3 passed; 0 failed; 0 ignored";
        assert_eq!(rows_of(died, false)[0], ("unit".to_owned(), 3, 1));
    }

    fn tally(text: &str, names: &[&str]) -> Tally {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let mut tally = Tally { names, ..Tally::default() };
        text.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn few_tests_that_fail_by_name_are_tried_again_and_properties_never() {
        let one = "test a ... FAILED\ntest result: FAILED. 4 passed; 1 failed; 0 ignored";
        assert_eq!(tally(one, &[]).second_try(), ["a"]);
        assert!(tally(one, &["a"]).second_try().is_empty());
        let unnamed = "test result: FAILED. 4 passed; 1 failed; 0 ignored";
        assert!(tally(unnamed, &[]).second_try().is_empty());
        let many = "test a ... FAILED\ntest b ... FAILED\ntest c ... FAILED\ntest d ... FAILED
test result: FAILED. 0 passed; 4 failed; 0 ignored";
        assert!(tally(many, &[]).second_try().is_empty());
    }

    #[test]
    fn a_second_try_counts_only_when_every_test_of_it_passes() {
        let one = "test a ... FAILED\ntest result: FAILED. 4 passed; 1 failed; 0 ignored";
        for (second, passed, failed) in [
            ("test result: ok. 0 passed; 0 failed\ntest result: ok. 1 passed; 0 failed", 5, 0),
            ("test result: FAILED. 0 passed; 1 failed", 4, 1),
            ("test result: ok. 0 passed; 0 failed", 4, 1),
        ] {
            let mut first = tally(one, &[]);
            assert_eq!(first.mended(&tally(second, &[])), failed == 0, "{second}");
            assert_eq!(first.all, Counts { passed, failed }, "{second}");
        }
    }

    #[test]
    fn a_program_that_counts_nothing_is_one_test() {
        assert_eq!(rows_of("all is well", true)[0], ("unit".to_owned(), 1, 0));
    }
}
