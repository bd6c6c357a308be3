//! One timed run of a command: wall, CPU of it and its children, peak memory, and how busy others
//! kept the machine meanwhile.
//!
//! Refuses to judge.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::bench::table::{Row, ms, number};

/// What a run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figure {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    /// Of the largest process, in KiB; 0 when `/usr/bin/time` is not there to say it.
    pub(super) peak_kib: u64,
    /// The share of the machine's processors that others used, in percent.
    pub(super) foreign: f64,
}

impl Row {
    /// A row of milliseconds.
    pub(super) fn of(scenario: &'static str, n: usize, ours: &Figure) -> Row {
        let cpu = ms(ours.cpu);
        let peak = match ours.peak_kib {
            0 => String::new(),
            kib => format!(", peak {} MiB", kib.div_ceil(1024)),
        };
        let also = format!("CPU {}{peak}, others {:.0} %", number(cpu), ours.foreign);
        Row { scenario, n, unit: "ms", ours: ms(ours.wall), also, ..Row::default() }
    }
}

/// Runs a command to its end, its output into `log`. It must succeed.
pub(super) fn timed(command: &[OsString], log: &Path) -> anyhow::Result<Figure> {
    let output = File::create(log).context("cannot write a log")?;
    let peak = log.with_extension("peak");
    // A child's peak reads no lower than its parent's at the fork: it needs a small parent.
    let wrapper = Path::new("/usr/bin/time");
    let mut words = Vec::new();
    if wrapper.is_file() {
        words.extend([wrapper.into(), "-f".into(), "%M".into(), "-o".into(), peak.clone().into()]);
    }
    words.extend_from_slice(command);
    let (program, arguments) = words.split_first().context("there is no command")?;
    let mut run = Command::new(program);
    run.args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", "/root");
    run.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let (used, busy, started) = (children_used()?, busy()?, Instant::now());
    let status = run.status().with_context(|| format!("cannot start {}", program.display()))?;
    let wall = started.elapsed();
    let cpu = children_used()?.saturating_sub(used);
    let others = (busy_since(busy)?).saturating_sub(cpu + own_used()?.min(wall / 20));
    if !status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let from = said.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        bail!("{} ended with {status}; it said:\n{}", program.display(), &said[from..]);
    }
    let peak_kib = fs::read_to_string(&peak).ok().and_then(|text| text.trim().parse().ok());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let foreign = 100.0 * others.as_secs_f64() / (wall.as_secs_f64() * processors as f64);
    Ok(Figure { wall, cpu, peak_kib: peak_kib.unwrap_or(0), foreign: foreign.min(100.0) })
}

/// The median of each part.
pub(super) fn median(figures: &[Figure]) -> Option<Figure> {
    let middle = |part: fn(&Figure) -> Duration| middle(figures.iter().map(part).collect());
    Some(Figure {
        wall: middle(|it| it.wall)?,
        cpu: middle(|it| it.cpu)?,
        peak_kib: figures.iter().map(|it| it.peak_kib).max()?,
        foreign: figures.iter().map(|it| it.foreign).sum::<f64>() / figures.len() as f64,
    })
}

/// The lower middle of a set of durations.
pub(super) fn middle(all: Vec<Duration>) -> Option<Duration> {
    rank(all, 50)
}

/// The duration that so many of a hundred do not exceed.
pub(super) fn rank(mut all: Vec<Duration>, percent: usize) -> Option<Duration> {
    all.sort_unstable();
    let rank = (all.len() * percent).div_ceil(100).max(1);
    all.get(rank - 1).copied()
}

fn children_used() -> anyhow::Result<Duration> {
    Ok(total(&getrusage(UsageWho::RUSAGE_CHILDREN)?))
}

fn own_used() -> anyhow::Result<Duration> {
    Ok(total(&getrusage(UsageWho::RUSAGE_SELF)?))
}

fn total(usage: &Usage) -> Duration {
    let of = |time: TimeVal| {
        let micros = u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
        Duration::from_micros(micros.unwrap_or(0))
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// Ticks that all processors together were busy, from the first line of `/proc/stat`.
fn busy() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    busy_ticks(&text).context("/proc/stat has no line of all processors")
}

/// User, nice, system, irq, softirq and steal; neither idle nor iowait.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].iter().map(|at| ticks.get(*at)).sum()
}

fn busy_since(before: u64) -> anyhow::Result<Duration> {
    // The kernel tells these in hundredths of a second on every architecture that we run on.
    Ok(Duration::from_millis(busy()?.saturating_sub(before) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_waiting_for_disks_do_not_count_as_busy() {
        let stat = "cpu  10 1 20 9999 888 3 4 5 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(43));
        assert_eq!(busy_ticks(""), None);
    }

    #[test]
    fn a_command_is_timed_and_one_that_fails_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let words = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
        let figure = timed(&words(&["/bin/sh", "-c", "exit 0"]), &log).unwrap();
        assert!(figure.wall > Duration::ZERO);
        let failed = timed(&words(&["/bin/sh", "-c", "echo no; exit 3"]), &log).unwrap_err();
        assert!(failed.to_string().contains("no\n"), "{failed}");
    }
}
