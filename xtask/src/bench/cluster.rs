//! `cargo xtask bench cluster`: how soon agents form a cluster, write again after the leader is
//! gone, stop, and come back; beside a script that does the least with the same etcd.
//!
//! Agents are plain processes on loopback, one folder each. The exit code says only whether every
//! round came to its end.

mod crowd;
mod gateway;
mod hosts;
mod process;
mod soak;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use self::gateway::{leads, serves, until, writes};
use self::hosts::{Host, Programs, form, script};
use super::spread::Spread;
use crate::image;
use crate::paths;
use crate::ui::Ui;

/// What `bench cluster` takes.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// With `cluster`: only these rows: A1 formation, A7 leader gone, A10 stopping, A12 cold
    /// restart; and, only when named: A25 many agents, A26 soak
    #[arg(long, value_delimiter = ',', value_name = "ROWS")]
    rows: Vec<String>,
    /// With `cluster` and A25: how many agents, the voters among them
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(4..=1_000))]
    agents: u16,
    /// With `cluster` and A26: how long
    #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
    #[arg(value_parser = humantime::parse_duration)]
    over: Duration,
    /// With `cluster` and A26: from one fault to the next
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = humantime::parse_duration)]
    every: Duration,
}

/// How many hosts the soak has: four of which three vote, and one that only takes part.
const SOAKED: usize = 5;

/// A try of a write: short, so that another host is tried soon.
const TRY: Duration = Duration::from_millis(200);
/// After this long something counts as failed.
const FAILED: Duration = Duration::from_secs(30);
/// Time between two writes of the writer that looks for gaps.
const WRITE_EVERY: Duration = Duration::from_millis(5);

struct Bench {
    programs: Programs,
    folder: PathBuf,
    rounds: u32,
}

/// Measures the rows that are wanted, and prints each as soon as it is done.
pub(super) fn run(agent: &Path, options: &Options, rounds: u32) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = runtime.block_on(image::etcd(&Ui::new(false, true)))?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(paths::target())?;
    let agent = std::fs::canonicalize(agent).context("there is no such agent")?;
    let programs = Programs { agent, etcd };
    let bench = Bench { programs, folder: folder.path().to_owned(), rounds };
    println!("{:28} {:>6}      min   median      p95      max  ms", "", "rounds");
    let wants = |row: &str| options.rows.is_empty() || options.rows.iter().any(|one| one == row);
    for (row, measure) in [
        ("A1", Bench::formation as fn(&Bench) -> anyhow::Result<()>),
        ("A7", Bench::leader_gone),
        ("A10", Bench::stopping),
        ("A12", Bench::cold_restart),
    ] {
        if wants(row) {
            measure(&bench)?;
        }
    }
    let named = |row: &str| options.rows.iter().any(|one| one == row);
    if named("A25") {
        let folder = bench.fresh()?;
        let hosts = Host::set(usize::from(options.agents), &folder)?;
        crowd::run(&bench.programs, hosts, &folder)?;
    }
    if named("A26") {
        let hosts = Host::set(SOAKED, &bench.fresh()?)?;
        soak::run(&bench.programs, hosts, options.over, options.every)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(name: &str, figures: Vec<Duration>, bar: &str) {
    let count = figures.len();
    let spread = Spread::of(figures).map_or_else(|| "nothing".to_owned(), |it| it.to_string());
    println!("{name:28} {count:6} {spread}  {bar}");
}

impl Bench {
    fn fresh(&self) -> anyhow::Result<PathBuf> {
        Ok(tempfile::Builder::new().prefix("run-").tempdir_in(&self.folder)?.keep())
    }

    /// Does something so many times.
    fn times<T>(&self, mut once: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        (0..self.rounds).map(|_| once()).collect()
    }

    fn formed(&self, size: usize) -> anyhow::Result<Vec<Host>> {
        let mut hosts = Host::set(size, &self.fresh()?)?;
        form(&self.programs, &mut hosts)?;
        Ok(hosts)
    }

    fn formation(&self) -> anyhow::Result<()> {
        for (size, bar) in
            [(1, "all within 2 s"), (3, "p50 2.0 s, p95 3.0 s"), (5, "p95 3.5 s"), (7, "p95 4.5 s")]
        {
            let agents =
                self.times(|| form(&self.programs, &mut Host::set(size, &self.fresh()?)?))?;
            let least =
                self.times(|| script(&self.programs.etcd, &mut Host::set(size, &self.fresh()?)?))?;
            row(&format!("A1 form {size}, agents"), agents, bar);
            row(&format!("A1 form {size}, script"), least, "");
        }
        Ok(())
    }

    /// From the signal to the first write that another host takes.
    fn leader_gone(&self) -> anyhow::Result<()> {
        for (signal, name) in [(Signal::SIGKILL, "KILL"), (Signal::SIGSTOP, "STOP")] {
            let figures = self.times(|| {
                let hosts = self.formed(3)?;
                let leader = leader(&hosts)?;
                hosts[leader].signal_all(signal)?;
                let others: Vec<u16> =
                    (0..hosts.len()).filter(|n| *n != leader).map(|n| hosts[n].client).collect();
                let start = Instant::now();
                until("a write", start, FAILED, || others.iter().any(|port| writes(*port, TRY)))
            })?;
            row(&format!("A7 leader {name}, write"), figures, "p50 1.6 s, max 2.5 s");
        }
        Ok(())
    }

    /// From SIGINT to the end of a follower, the leader and the last one, and the largest time
    /// between two writes meanwhile.
    fn stopping(&self) -> anyhow::Result<()> {
        let (mut follower, mut led, mut last, mut gaps) = (vec![], vec![], vec![], vec![]);
        for _ in 0..self.rounds {
            let mut hosts = self.formed(3)?;
            let leader = leader(&hosts)?;
            let first = (0..hosts.len()).find(|n| *n != leader).context("no follower")?;
            let rest = (0..hosts.len()).find(|n| ![leader, first].contains(n)).context("none")?;
            let writer = hosts[rest].client;
            let (follow, gap) = with_writer(writer, || interrupt(&mut hosts[first]))?;
            follower.push(follow);
            gaps.push(gap);
            let (lead, gap) = with_writer(writer, || interrupt(&mut hosts[leader]))?;
            led.push(lead);
            gaps.push(gap);
            last.push(interrupt(&mut hosts[rest])?);
        }
        row("A10 INT follower, end", follower, "3 s");
        row("A10 INT leader, end", led, "3 s");
        row("A10 INT last, end", last, "3 s");
        row("A10 largest write gap", gaps, "0.3 s");
        Ok(())
    }

    /// From the start of all agents or etcds after all were killed to the first write.
    fn cold_restart(&self) -> anyhow::Result<()> {
        let agents = self.times(|| {
            let mut hosts = self.formed(3)?;
            let ports: Vec<u16> = hosts.iter().map(|host| host.client).collect();
            hosts.iter_mut().try_for_each(Host::kill)?;
            let start = Instant::now();
            for (number, host) in hosts.iter_mut().enumerate() {
                host.agent(&self.programs, 3, (number > 0).then_some(ports[0]))?;
            }
            until("a write", start, FAILED, || ports.iter().any(|port| writes(*port, TRY)))
        })?;
        let least = self.times(|| {
            let mut hosts = Host::set(3, &self.fresh()?)?;
            script(&self.programs.etcd, &mut hosts)?;
            let ports: Vec<u16> = hosts.iter().map(|host| host.client).collect();
            let list: Vec<String> = hosts.iter().map(Host::entry).collect();
            hosts.iter_mut().try_for_each(Host::kill)?;
            let start = Instant::now();
            for host in &mut hosts {
                host.etcd(&self.programs.etcd, &list.join(","), "existing")?;
            }
            until("a write", start, FAILED, || ports.iter().any(|port| writes(*port, TRY)))
        })?;
        row("A12 cold restart 3, agents", agents, "2 s");
        row("A12 cold restart 3, script", least, "");
        Ok(())
    }
}

fn leader(hosts: &[Host]) -> anyhow::Result<usize> {
    hosts.iter().position(|host| leads(host.client)).context("nobody leads")
}

/// Interrupts an agent, which leaves and ends well.
fn interrupt(host: &mut Host) -> anyhow::Result<Duration> {
    host.signal(Signal::SIGINT)?;
    let (status, took) = host.ended(FAILED)?;
    ensure!(status.success(), "an agent that was interrupted ended with {status}");
    Ok(took)
}

/// Does something while a client writes; gives the largest time between two writes, too.
fn with_writer<T>(
    port: u16,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Duration)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
            // One more after the end: the gap may be under way.
            let mut ending = false;
            while !ending {
                ending = stop.load(Ordering::SeqCst);
                while !writes(port, TRY) && last.elapsed() < FAILED {}
                gap = gap.max(last.elapsed());
                last = Instant::now();
                std::thread::sleep(WRITE_EVERY);
            }
            gap
        });
        let done = work();
        stop.store(true, Ordering::SeqCst);
        let gap = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        ensure!(serves(port, FAILED), "the writer's host does not serve any more");
        Ok((done?, gap))
    })
}
