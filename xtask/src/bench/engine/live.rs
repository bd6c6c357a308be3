//! Agents that keep running: how soon they repair (S7), react beside a busy resource (S8), and what
//! they cost while nothing happens (S9).
//!
//! Refuses to wait for a time where something can be waited for, except between two looks at an
//! agent that should be doing nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::super::heal::{Running, Watcher};
use super::figure;
use super::limit;
use super::work::{self, Shape};
use crate::bench::table::{Row, ms};
use crate::paths;

/// After this long a file counts as lost.
const LOST: Duration = Duration::from_secs(5);
/// How long an agent may take to apply everything and come to rest.
const REST: Duration = Duration::from_secs(120);
/// How long an agent must not have woken to count as being at rest.
const STILL: Duration = Duration::from_millis(500);
/// Between two damages: what the one before stirred up is over.
const GAP: Duration = Duration::from_millis(3);
/// A resource that runs while others are changed.
pub(super) const BUSY: &str =
    "  exec:\n  - name: busy\n    shell: /bin/sh\n    cmd: exec sleep 600\n";

/// An agent at rest with all its files right.
struct Kept {
    running: Running,
    target: PathBuf,
    site: PathBuf,
    n: usize,
}

impl Kept {
    fn start(agent: &Path, folder: &Path, n: usize, more: &str) -> anyhow::Result<Kept> {
        let (target, site) = (folder.join("target"), folder.join("site.yaml"));
        fs::create_dir_all(&target).context("cannot make a folder")?;
        fs::write(&site, work::quorate(Shape::Flat, n, &target, more))?;
        let running = Running::start(agent, folder, &site, &folder.join("log"))?;
        let kept = Kept { running, target, site, n };
        let until = Instant::now() + REST;
        let (mut before, mut since) = (None, Instant::now());
        while limit::verify(&kept.target, n).is_err() || since.elapsed() < STILL {
            if Instant::now() > until {
                bail!("the agent did not come to rest within {REST:?}");
            }
            thread::sleep(STILL / 10);
            let now = Some(Process::look(kept.running.id())?.switches);
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(kept)
    }
}

/// What the kernel says about a process.
#[derive(Clone, Debug, Default)]
struct Process {
    /// How often each of its threads went to sleep by itself.
    switches: BTreeMap<OsString, u64>,
    rss_kib: u64,
    /// In hundredths of a second.
    ticks: u64,
    instances: usize,
}

impl Process {
    fn look(id: u32) -> anyhow::Result<Process> {
        let folder = PathBuf::from(format!("/proc/{id}"));
        let mut found = Process::default();
        for thread in fs::read_dir(folder.join("task")).context("the agent is gone")? {
            let thread = thread?;
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let switches = field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            found.switches.insert(thread.file_name(), switches);
            found.rss_kib = field(&status, "VmRSS:").unwrap_or(found.rss_kib);
        }
        let stat = fs::read_to_string(folder.join("stat"))?;
        let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        found.ticks = times.filter_map(|it| it.parse::<u64>().ok()).sum();
        for handle in fs::read_dir(folder.join("fd"))? {
            let to = fs::read_link(handle?.path()).unwrap_or_default();
            found.instances += usize::from(to == Path::new("anon_inode:inotify"));
        }
        Ok(found)
    }
}

/// How often any thread woke up between two looks. One that ended meanwhile woke up to do so.
fn wakes(before: &BTreeMap<OsString, u64>, after: &BTreeMap<OsString, u64>) -> u64 {
    let since = |(thread, now): (&OsString, &u64)| {
        now.saturating_sub(before.get(thread).copied().unwrap_or(0))
    };
    let ended = before.keys().filter(|thread| !after.contains_key(*thread)).count();
    after.iter().map(since).sum::<u64>() + ended as u64
}

/// The number behind a name in a file of lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Damages one file after another and gives how long each took to be right again; those that never
/// were are an error.
fn damage(target: &Path, n: usize, rounds: u32) -> anyhow::Result<Vec<Duration>> {
    let watch = Watcher::new(target)?;
    let mut times = Vec::new();
    for round in 0..rounds as usize {
        // Strides of a prime: neighbours are not damaged one after the other.
        let (at, how) = ((round * 7919) % n, limit::DAMAGES[round % limit::DAMAGES.len()]);
        let (name, content) = (work::name(at), work::content(at));
        thread::sleep(GAP);
        watch.drain()?;
        let started = Instant::now();
        limit::damage(how, target, &name)?;
        if !until_right(&watch, &target.join(&name), content.as_bytes(), started + LOST)? {
            bail!("{name} was not right again within {LOST:?} after {how}");
        }
        times.push(started.elapsed());
    }
    Ok(times)
}

pub(super) fn until_right(
    watch: &Watcher,
    file: &Path,
    content: &[u8],
    until: Instant,
) -> anyhow::Result<bool> {
    while !limit::is_right(file, content) {
        if Instant::now() > until {
            return Ok(false);
        }
        watch.next(until)?;
    }
    Ok(true)
}

/// S7: repair, beside the least that two processes need.
pub(super) fn repair(
    agent: &Path,
    folder: &Path,
    n: usize,
    rounds: u32,
) -> anyhow::Result<Vec<Row>> {
    let floor = floor(&folder.join("floor"), n, rounds)?;
    let mut kept = Kept::start(agent, folder, n, "")?;
    let ours = damage(&kept.target, n, rounds)?;
    kept.running.stop()?;
    Ok(spread(["S7 p50", "S7 p99"], n, &ours, Some(&floor)))
}

pub(super) fn spread(
    names: [&'static str; 2],
    n: usize,
    ours: &[Duration],
    floor: Option<&[Duration]>,
) -> Vec<Row> {
    let at = |all: &[Duration], percent| figure::rank(all.to_vec(), percent).map_or(0.0, ms);
    [50, 99]
        .into_iter()
        .zip(names)
        .map(|(percent, scenario)| Row {
            scenario,
            n,
            unit: "ms",
            ours: at(ours, percent),
            limit: floor.map(|floor| at(floor, percent)),
            also: format!("{} rounds, none lost", ours.len()),
            ..Row::default()
        })
        .collect()
}

/// S8: a graph file that is edited, and a file that is damaged, while another resource is busy.
pub(super) fn react(
    agent: &Path,
    folder: &Path,
    n: usize,
    rounds: u32,
) -> anyhow::Result<Vec<Row>> {
    let mut kept = Kept::start(agent, folder, n, BUSY)?;
    let repairs = damage(&kept.target, n, rounds)?;
    let mut edits = Vec::new();
    let watch = Watcher::new(&kept.target)?;
    let mut text = fs::read_to_string(&kept.site)?;
    for round in 0..rounds.min(20) {
        let at = (round as usize * 7919 + 1) % n;
        let edited = work::content(at).replace('x', "y");
        // One value at a time: the edits before it stay.
        text = text.replace(work::line(at).as_str(), edited.trim_end());
        let beside = kept.site.with_extension("new");
        fs::write(&beside, &text)?;
        thread::sleep(STILL / 5);
        watch.drain()?;
        let started = Instant::now();
        fs::rename(&beside, &kept.site)?;
        let file = kept.target.join(work::name(at));
        if !until_right(&watch, &file, edited.as_bytes(), started + LOST)? {
            bail!("an edit of the graph file had no effect within {LOST:?}");
        }
        edits.push(started.elapsed());
    }
    kept.running.hurry()?;
    let mut rows = spread(["S8 repair p50", "S8 repair p99"], kept.n, &repairs, None);
    rows.extend(spread(["S8 edit p50", "S8 edit p99"], n, &edits, None));
    Ok(rows)
}

/// The memory of an agent at rest that keeps so many files, and the size of its graph file, in KiB.
fn resting(agent: &Path, folder: &Path, n: usize) -> anyhow::Result<[f64; 2]> {
    fs::create_dir_all(folder).context("cannot make a folder")?;
    let mut kept = Kept::start(agent, folder, n, "")?;
    let rss = Process::look(kept.running.id())?.rss_kib as f64;
    kept.running.stop()?;
    Ok([rss, fs::metadata(&kept.site)?.len() as f64 / 1024.0])
}

/// S9: what an agent at rest does for this long.
pub(super) fn idle(
    agent: &Path,
    folder: &Path,
    n: usize,
    over: Duration,
) -> anyhow::Result<Vec<Row>> {
    // What each further one costs: the first ones also bring in the code that all of them run.
    let fewer = n / 10;
    let [less, less_text] = resting(agent, &folder.join("fewer"), fewer)?;
    let mut kept = Kept::start(agent, folder, n, "")?;
    let before = Process::look(kept.running.id())?;
    thread::sleep(over);
    let after = Process::look(kept.running.id())?;
    kept.running.stop()?;
    // The agent keeps the text of its file, to see what an edit changes.
    let text = fs::metadata(&kept.site)?.len() as f64 / 1024.0;
    let more = after.rss_kib as f64 - less - (text - less_text);
    let row = |scenario, unit, ours, also: String| Row {
        scenario,
        n,
        unit,
        ours,
        also,
        ..Row::default()
    };
    let wakes = wakes(&before.switches, &after.switches) as f64;
    let used = (after.ticks - before.ticks) * 10;
    let (mib, each) = (after.rss_kib as f64 / 1024.0, more / (n - fewer) as f64);
    Ok(vec![
        row("S9 wake-ups", "count", wakes, format!("in {over:?}, CPU {used} ms")),
        row("S9 memory", "MiB", mib, "the whole process".to_owned()),
        row("S9 each", "KiB", each, format!("each further one from {fewer} on, besides its YAML")),
        row("S9 instances", "count", after.instances as f64, "of inotify".to_owned()),
    ])
}

/// The floor: another process that wakes, looks, writes beside and renames.
fn floor(folder: &Path, n: usize, rounds: u32) -> anyhow::Result<Vec<Duration>> {
    fs::create_dir_all(folder).context("cannot make a folder")?;
    limit::write(folder, n)?;
    let watch = Watcher::new(folder)?;
    let mut command = Command::new(paths::program()?);
    command.args(["bench", "engine", "--serve"]).arg(folder).stdin(Stdio::null());
    let _server = Server(command.spawn().context("cannot start the repairer")?);
    if !until_right(&watch, &folder.join(READY), b"", Instant::now() + LOST)? {
        bail!("the repairer did not start within {LOST:?}");
    }
    damage(folder, n, rounds)
}

/// Tells that the repairer watches.
const READY: &str = "ready";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

/// The repairer's process: runs until it is killed.
pub(super) fn serve(folder: &Path) -> anyhow::Result<()> {
    let watch = Watcher::new(folder)?;
    limit::put(folder, READY, b"")?;
    let day = Duration::from_secs(86_400);
    loop {
        for name in watch.next(Instant::now() + day)? {
            let Some(at) = name.strip_prefix('f').and_then(|at| at.parse().ok()) else { continue };
            let content = work::content(at);
            if !limit::is_right(&folder.join(&name), content.as_bytes()) {
                limit::put(folder, &name, content.as_bytes())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_with_its_memory_and_its_instances() {
        let folder = tempfile::tempdir().unwrap();
        let before = Process::look(std::process::id()).unwrap();
        let _watch = Watcher::new(folder.path()).unwrap();
        let after = Process::look(std::process::id()).unwrap();
        assert!(after.rss_kib > 100 && after.instances > 0, "{before:?} {after:?}");
    }

    #[test]
    fn numbers_are_found_behind_their_names() {
        assert_eq!(field("A:\t1\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field("A:\t1\n", "VmRSS:"), None);
    }

    #[test]
    fn every_thread_counts_for_itself_and_one_that_ended_once() {
        let look = |threads: &[(&str, u64)]| {
            threads.iter().map(|(thread, count)| (OsString::from(thread), *count)).collect()
        };
        let (before, after) = (look(&[("1", 10), ("2", 90)]), look(&[("1", 12), ("3", 4)]));
        assert_eq!(wakes(&before, &after), 2 + 4 + 1);
        assert_eq!(wakes(&after, &after), 0);
    }
}
