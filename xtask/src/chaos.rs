//! `cargo xtask chaos`: real nodes that are killed, frozen, cut off, leave, join and are told how
//! many are to vote, by schedules that follow from numbers, while clients write and read; then
//! everything is repaired, and what the clients were told is compared with what is there.
//!
//! Faults are the verbs of `cargo xtask cluster`, run as commands: there is no other way to break
//! a node. Each schedule has a cluster of its own. Every run adds a line to a history file. This is
//! row A18 of the acceptance list of clustering.

mod client;
mod history;
mod notes;
mod report;
mod schedule;
mod secure;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use self::client::Store;
use self::history::{Op, Verdict};
use self::schedule::{Action, Event};
use crate::lab::{self, Lab, STATE};
use crate::paths::{self, Exit};
use crate::ui::counted;

/// How long a cluster may take from the beginning of its repair until it is healthy.
const CONVERGED: Duration = Duration::from_secs(15);
/// After this long nobody waits any more.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// The pause between two looks: each costs a process in every node, which it would not have while
/// it recovers.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a verb may take.
const VERB: Duration = Duration::from_secs(60);
/// How long nodes that came back may take until one of them makes a token.
const TOKEN: Duration = Duration::from_secs(10);
/// How many vote.
const VOTERS: &str = "3";

/// What `chaos` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which schedules: `7`, or `1..200` with both ends
    #[arg(long, alias = "seed", default_value = "1..10", value_parser = seeds)]
    seeds: RangeInclusive<u64>,
    /// How long each lasts
    #[arg(long = "for", value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = humantime::parse_duration)]
    over: Duration,
    /// How many schedules run side by side, each with a cluster of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    jobs: u8,
    /// Nodes with certificates, as clusters usually have them
    #[arg(long)]
    tls: bool,
    /// How many nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=7))]
    nodes: u8,
    /// Only print the schedules
    #[arg(long)]
    plan: bool,
    /// Write what was done and what came of it as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The file that gets a line for each schedule [default: chaos/history.jsonl in the target
    /// folder]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} is beyond {last}")) } else { Ok(first..=last) }
}

/// What came of one schedule.
struct Outcome {
    ops: Vec<Op>,
    verdict: Verdict,
    /// How many elections the members tell of.
    elections: usize,
    /// From the beginning of the repair until the cluster was healthy.
    converged: Option<Duration>,
    /// From the last heal until every node had what every other exports since.
    spread: Option<Duration>,
}

impl Outcome {
    fn fine(&self) -> bool {
        let soon = |took: Option<Duration>| took.is_some_and(|took| took <= CONVERGED);
        self.verdict.fine() && soon(self.converged) && soon(self.spread)
    }
}

/// What came of all schedules so far.
#[derive(Default)]
struct Done {
    failed: Vec<String>,
    count: usize,
    rows: Vec<report::Row>,
}

/// Runs the schedules; exit code 1 when one of them lost something or did not recover in time.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = paths::target().join("chaos");
    fs::create_dir_all(&folder)?;
    let file = args.history.clone().unwrap_or_else(|| folder.join("history.jsonl"));
    if args.plan {
        for seed in args.seeds.clone() {
            let plan = schedule::plan(seed, args.nodes, args.over, args.tls);
            println!("seed {seed}: {}", told(&plan));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let done = Mutex::new(Done::default());
    let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = Mutex::new(args.seeds.clone());
    let work = || -> anyhow::Result<()> {
        loop {
            let next = seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(seed) = next else { return Ok(()) };
            let events = schedule::plan(seed, args.nodes, args.over, args.tls);
            let outcome = one(seed, &events, &args);
            // What came of a schedule that somebody ended says nothing.
            lab::wait_if_ending();
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(failure) => {
                    // The others say something all the same.
                    let mut done = lock();
                    println!("seed {seed:<4} could not be played: {failure:#}");
                    done.count += 1;
                    done.failed.push(seed.to_string());
                    continue;
                }
            };
            let mut done = lock();
            println!("{}", line(seed, &events, &outcome));
            let mut history = OpenOptions::new().append(true).create(true).open(&file)?;
            writeln!(history, "{}", record(seed, &args, &events, &outcome))?;
            done.count += 1;
            done.rows.push(report::Row::of(seed, &events, &outcome));
            if !outcome.fine() {
                done.failed.push(seed.to_string());
                println!("{}", blame(&folder, seed, &events, &outcome)?);
            }
        }
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        let ends = jobs.into_iter().map(|job| job.join());
        // All of them end before the first that failed is told of.
        let ends: Vec<_> = ends.collect();
        ends.into_iter().try_for_each(|end| match end {
            Ok(end) => end,
            Err(_) => bail!("a job panicked"),
        })
    })?;
    let Done { failed, count, mut rows } =
        done.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{} of {count} schedules recovered and lost nothing", count - failed.len());
    if let Some(file) = &args.report {
        rows.sort_by_key(|row| row.seed);
        fs::write(file, report::markdown(&rows, args.nodes, args.over, args.tls))?;
        println!("report  {}", file.display());
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let text = format!("not so with seed {}; again: --seeds N", failed.join(", "));
    Err(Exit::error(Exit::FAILED, text))
}

/// One schedule on a cluster of its own, which is gone afterwards.
fn one(seed: u64, events: &[Event], args: &Args) -> anyhow::Result<Outcome> {
    let name = format!("chaos-{:04x}-{}", std::process::id() & 0xffff, seed % 1000);
    let lab = Lab::promised(&name, args.nodes)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(play(&name, seed, events, args));
    if let Ok(outcome) = &outcome
        && !outcome.fine()
    {
        keep_logs(&lab, seed)?;
    }
    lab.down()?;
    outcome
}

async fn play(cluster: &str, seed: u64, events: &[Event], args: &Args) -> anyhow::Result<Outcome> {
    let nodes = args.nodes.to_string();
    let insecure: &[&str] = if args.tls { &[] } else { &["--insecure"] };
    let up = [&["up", "--nodes", &nodes, "--voters", VOTERS], insecure].concat();
    must(cluster, &[&up[..], &["--wait", "60s"]].concat()).await?;
    let secure = if args.tls { Some(certificates(cluster).await?) } else { None };
    // Where the clients connect does not depend on how it is at the moment.
    let (_, text) = verb(cluster, &["status", "--json"]).await?;
    let status: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let endpoints = nodes.filter_map(|node| node["client"].as_str().map(str::to_owned)).collect();
    let store = Store::new(endpoints, secure);
    publish(cluster, &notes::text("before", seed)).await?;
    let work = store.work();
    let start = tokio::time::Instant::now();
    for Event { at, action } in events {
        tokio::time::sleep_until(start + *at).await;
        let within = if matches!(action, Action::Join(_)) { TOKEN } else { Duration::ZERO };
        let (exit, text) = insist(cluster, &words(action), within).await?;
        // Who has no quorum refuses to resize: that is no failure.
        if exit != 0 && !matches!(action, Action::Resize(..)) {
            bail!("{action}: exit {exit}: {text}");
        }
    }
    tokio::time::sleep_until(start + args.over).await;
    let repaired = Instant::now();
    if args.tls {
        // Nodes that are made anew need a token, and so a quorum.
        must(cluster, &["heal"]).await?;
    }
    let (exit, text) = insist(cluster, &[&up[..], &["--no-wait"]].concat(), TOKEN).await?;
    if exit != 0 {
        bail!("the repair: exit {exit}: {text}");
    }
    must(cluster, &["heal"]).await?;
    let healed = Instant::now();
    let text = notes::text("after", seed);
    publish(cluster, &text).await?;
    let (converged, spread) =
        tokio::try_join!(converged(cluster, repaired), spread(cluster, healed, &text, args.nodes))?;
    work.stop().await;
    let (kept, counter) = store.kept().await.context("nothing can be read at the end")?;
    let ops = store.ops();
    let elections = elections(cluster).await?;
    let split = history::split(&elections);
    let verdict = Verdict { split, ..history::judge(&ops, &kept, counter) };
    Ok(Outcome { ops, verdict, elections: elections.len(), converged, spread })
}

/// Has every node export a note with this text.
async fn publish(cluster: &str, text: &str) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), notes::graph(text))?;
    let from = file.path().display().to_string();
    must(cluster, &["cp", &from, &format!("all:{}", notes::GRAPH)]).await.map(drop)
}

/// Waits until every node has the note of every node; how long it took since `start`, if it did.
async fn spread(
    cluster: &str,
    start: Instant,
    text: &str,
    nodes: u8,
) -> anyhow::Result<Option<Duration>> {
    while start.elapsed() < GIVEN_UP {
        let (_, printed) = verb(cluster, &["exec", "--all", "--", notes::READ]).await?;
        if notes::everywhere(&printed, text, nodes) {
            return Ok(Some(start.elapsed()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(None)
}

/// The elections that the members' logs tell of.
async fn elections(cluster: &str) -> anyhow::Result<BTreeMap<u64, BTreeSet<String>>> {
    let command = format!("grep -h 'elected leader' {STATE}/etcd.log* || true");
    Ok(history::elections(&must(cluster, &["exec", "--all", "--", &command]).await?))
}

/// The certificates of the first node, for the clients.
async fn certificates(cluster: &str) -> anyhow::Result<TlsConnector> {
    let folder = tempfile::tempdir()?;
    for name in secure::FILES {
        let to = folder.path().join(name).display().to_string();
        must(cluster, &["cp", &format!("h1:{STATE}/tls/{name}"), &to]).await?;
    }
    secure::connector(folder.path())
}

/// The verb of `cluster` that does it.
fn words(action: &Action) -> Vec<String> {
    let host = |n: &u8| format!("h{n}");
    let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match action {
        Action::Kill(n) => all(&["kill", &host(n)]),
        Action::KillAll(nodes) => all(&["kill", &schedule::hosts(nodes)]),
        Action::Stop(n) => all(&["stop", &host(n)]),
        Action::Start(n) => all(&["start", &host(n)]),
        Action::Pause(n) => all(&["pause", &host(n)]),
        Action::Unpause(n) => all(&["unpause", &host(n)]),
        Action::Leave(n) => all(&["node", "rm", &host(n), "--no-wait"]),
        Action::Join(n) => all(&["node", "add", &host(n), "--no-wait"]),
        Action::Cut(nodes) => all(&["partition", &schedule::hosts(nodes)]),
        Action::Heal => all(&["heal"]),
        Action::Resize(n, size) => {
            let size = size.to_string();
            all(&["exec", &host(n), "--", "quorate", "cluster", "size", &size, "--no-wait"])
        }
    }
}

/// Waits until the cluster is healthy; how long it took since its repair began, if it did.
async fn converged(cluster: &str, start: Instant) -> anyhow::Result<Option<Duration>> {
    // Each look asks every agent; there is nothing to be woken by.
    while start.elapsed() < GIVEN_UP {
        if verb(cluster, &["status"]).await?.0 == 0 {
            return Ok(Some(start.elapsed()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(None)
}

async fn must(cluster: &str, words: &[&str]) -> anyhow::Result<String> {
    let (exit, text) = verb(cluster, words).await?;
    if exit == 0 { Ok(text) } else { bail!("{}: exit {exit}: {text}", words.join(" ")) }
}

/// The same again and again for so long, until it works: nodes that just came back make no token.
async fn insist(
    cluster: &str,
    words: &[impl AsRef<str>],
    within: Duration,
) -> anyhow::Result<(i32, String)> {
    let start = Instant::now();
    loop {
        let (exit, text) = verb(cluster, words).await?;
        if exit == 0 || start.elapsed() >= within {
            return Ok((exit, text));
        }
    }
}

/// Runs a verb of `cluster`; its exit code, and what it printed.
async fn verb(cluster: &str, words: &[impl AsRef<str>]) -> anyhow::Result<(i32, String)> {
    let mut command = tokio::process::Command::new(paths::program()?);
    command.arg("cluster").args(words.iter().map(AsRef::as_ref)).env("QUORATE_CLUSTER", cluster);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERB, command.output()).await;
    let output = output.with_context(|| format!("no end within {} s", VERB.as_secs()))??;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code().unwrap_or(-1), format!("{out}{err}")))
}

fn told(events: &[Event]) -> String {
    let event = |event: &Event| format!("{:.1} s {}", event.at.as_secs_f64(), event.action);
    events.iter().map(event).collect::<Vec<_>>().join(", ")
}

fn line(seed: u64, events: &[Event], outcome: &Outcome) -> String {
    let verdict = &outcome.verdict;
    let writes = outcome.ops.iter().filter(|op| !matches!(op.act, history::Act::Read { .. }));
    let writes = writes.count();
    format!(
        "seed {seed:<4} {:>9}  {writes:5} writes  {:5} reads  lost {}  twice {}  stale {}  \
         leaders {}  largest gap {:4.1} s  converged {}  exports {}",
        counted(events.len(), "fault"),
        outcome.ops.len() - writes,
        verdict.lost.len(),
        verdict.twice.len(),
        verdict.stale.len(),
        outcome.elections,
        Duration::from_micros(history::largest_gap(&outcome.ops)).as_secs_f64(),
        report::took(outcome.converged),
        report::took(outcome.spread),
    )
}

fn record(seed: u64, args: &Args, events: &[Event], outcome: &Outcome) -> Value {
    let verdict = &outcome.verdict;
    json!({
        "schema": 1,
        "seed": seed,
        "nodes": args.nodes,
        "tls": args.tls,
        "seconds": args.over.as_secs(),
        "schedule": told(events),
        "answers": outcome.ops.len(),
        "lost": verdict.lost.len(),
        "twice": verdict.twice.len(),
        "stale": verdict.stale.len(),
        "clusters": verdict.clusters + 1,
        "elections": outcome.elections,
        "split_terms": verdict.split.len(),
        "gap_ms": history::largest_gap(&outcome.ops) / 1000,
        "converged_ms": outcome.converged.map(|took| took.as_millis() as u64),
        "exports_ms": outcome.spread.map(|took| took.as_millis() as u64),
        "fine": outcome.fine(),
    })
}

/// Keeps the whole history of a schedule that went wrong; says where, and what was wrong first.
fn blame(folder: &Path, seed: u64, events: &[Event], outcome: &Outcome) -> anyhow::Result<String> {
    let path = folder.join(format!("seed-{seed}.json"));
    let ops: Vec<Value> = outcome.ops.iter().map(Op::json).collect();
    fs::write(&path, json!({"schedule": told(events), "ops": ops}).to_string())?;
    let verdict = &outcome.verdict;
    let first = |list: &[String]| list.first().cloned();
    let reason = first(&verdict.lost).map(|lost| format!("write {lost} was lost"));
    let reason = reason.or_else(|| first(&verdict.stale));
    let reason = reason.or_else(|| {
        verdict.twice.first().map(|to| format!("the counter was swapped to {to} twice"))
    });
    let reason =
        reason.or_else(|| verdict.split.first().map(|term| format!("term {term} had two leaders")));
    let healthy = outcome.converged.is_some_and(|took| took <= CONVERGED);
    let late = || {
        let what = if healthy { "exports not everywhere" } else { "not healthy" };
        format!("{what} within {} s", CONVERGED.as_secs())
    };
    let reason = reason.unwrap_or_else(late);
    Ok(format!("  {reason}; schedule: {}\n  all of it: {}", told(events), path.display()))
}

/// What the nodes wrote, beside the history.
fn keep_logs(lab: &Lab, seed: u64) -> anyhow::Result<()> {
    let folder = paths::target().join("chaos").join(format!("seed-{seed}"));
    fs::create_dir_all(&folder)?;
    for node in lab.nodes() {
        let lines = lab.logs(&node).unwrap_or_default();
        fs::write(folder.join(format!("{node}.log")), lines.join("\n"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_number_or_a_range_with_both_its_ends() {
        for (text, wanted) in [
            ("7", Some(7..=7)),
            ("1..200", Some(1..=200)),
            ("3..3", Some(3..=3)),
            ("3..2", None),
            ("", None),
            ("a..b", None),
        ] {
            assert_eq!(seeds(text).ok(), wanted, "{text}");
        }
    }
}
