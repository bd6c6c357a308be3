//! `cargo xtask bench cluster`: how soon agents form a cluster, write again after the leader is
//! gone, stop, come back, grow and shrink; beside a script that does the least with the same etcd.
//!
//! Agents are plain processes on loopback, one folder each. The exit code says only whether every
//! round came to its end.

mod certs;
mod changing;
mod crowd;
mod dice;
mod forming;
mod gateway;
mod hosts;
mod losing;
mod process;
mod soak;
mod writer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use self::certs::Certificates;
use self::gateway::leads;
use self::hosts::{Host, Programs, form, script};
use super::spread::Spread;
use crate::image;
use crate::paths;
use crate::ui::Ui;

/// What `bench cluster` takes.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// With `cluster`: only these rows: A1 formation, A7 leader gone, A8 other sizes, A10 stopping,
    /// A11 rolling, A12 cold restart, G16 formation, growth and leader gone with short timers;
    /// and, only when named: A1-random formation in any order, A25 many agents, A26 soak. With
    /// `collect`: S11 a value to other hosts, S12 many exports, G14 one change among ten thousand,
    /// and, only when named: containers, S11 from node to node of a cluster in containers
    #[arg(long, value_delimiter = ',', value_name = "ROWS")]
    pub(super) rows: Vec<String>,
    /// With `cluster`: without certificates, on both sides
    #[arg(long)]
    plain: bool,
    /// With `cluster`: the first seed of what is random; each round has the next
    #[arg(long, default_value = "1", value_name = "N")]
    seed: u64,
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

/// After this long something counts as failed.
const FAILED: Duration = Duration::from_secs(30);
/// The sizes that are formed.
const SIZES: [usize; 4] = [1, 3, 5, 7];
/// Timers for hosts that are close to each other: heartbeat and election time in milliseconds.
const SHORT: (u32, u32) = (20, 200);

type Measure = fn(&Bench) -> anyhow::Result<()>;

/// The rows; those that are measured without being named come first.
const ROWS: [(&str, bool, Measure); 10] = [
    ("A1", true, forming::at_once),
    ("A7", true, losing::leader_gone),
    ("A8", true, changing::sizes),
    ("A10", true, changing::stopping),
    ("A11", true, changing::rolling),
    ("A12", true, losing::cold_restart),
    ("G16", true, losing::short_timers),
    ("A1-random", false, forming::in_any_order),
    ("A25", false, crowd::many),
    ("A26", false, soak::under_faults),
];

struct Bench {
    programs: Programs,
    folder: PathBuf,
    rounds: u32,
    options: Options,
}

/// Measures the rows that are wanted, and prints each as soon as it is done.
pub(super) fn run(agent: &Path, options: &Options, rounds: u32) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = options.rows.iter().find(|row| ROWS.iter().all(|(one, ..)| one != row)) {
        let known: Vec<&str> = ROWS.iter().map(|(name, ..)| *name).collect();
        bail!("there is no row `{unknown}`; rows are {}", known.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = runtime.block_on(image::etcd(&Ui::new(false, true)))?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(paths::target())?;
    let agent = std::fs::canonicalize(agent).context("there is no such agent")?;
    let certificates = match options.plain {
        true => None,
        false => Some(Certificates::make(folder.path())?),
    };
    let programs = Programs { agent, etcd, certificates, timers: None };
    let mut bench =
        Bench { programs, folder: folder.path().to_owned(), rounds, options: options.clone() };
    println!("{:28} {:>6}      min   median      p95      max  ms", "", "rounds");
    for (name, usual, measure) in ROWS {
        let named = options.rows.iter().any(|one| one == name);
        if named || (usual && options.rows.is_empty()) {
            bench.programs.timers = (name == "G16").then_some(SHORT);
            if name == "A25" {
                // Its agents belong to several users, none of whom may read keys.
                bench.programs.certificates = None;
            }
            if let Err(why) = measure(&bench) {
                let kept = folder.keep();
                return Err(why.context(format!("{name}: what ran is kept in {}", kept.display())));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a row; gives its median.
fn row(name: &str, figures: Vec<Duration>, bar: &str) -> Option<Duration> {
    let count = figures.len();
    let spread = Spread::of(figures);
    let text = spread.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
    println!("{name:28} {count:6} {text}  {bar}");
    spread.map(|it| it.median)
}

/// Prints what agents took, what the script took, and how the medians compare.
fn pair(name: &str, agents: Vec<Duration>, least: Vec<Duration>, bar: &str) {
    let ours = row(&format!("{name}, agents"), agents, bar);
    let least = row(&format!("{name}, script"), least, "");
    if let (Some(ours), Some(least)) = (ours, least) {
        println!("{:28} {:.2} times the script", "", ours.as_secs_f64() / least.as_secs_f64());
    }
}

impl Bench {
    fn fresh(&self) -> anyhow::Result<PathBuf> {
        Ok(tempfile::Builder::new().prefix("run-").tempdir_in(&self.folder)?.keep())
    }

    /// Does something so many times.
    fn times<T>(&self, mut once: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        (0..self.rounds).map(|_| once()).collect()
    }

    /// Does something once for agents and once for the script, so many times: what else the machine
    /// does meets both.
    fn both<T>(
        &self,
        mut agents: impl FnMut() -> anyhow::Result<T>,
        mut least: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Vec<T>, Vec<T>)> {
        let pairs = self.times(|| Ok((agents()?, least()?)))?;
        Ok(pairs.into_iter().unzip())
    }

    /// Hosts that form a cluster of this size, all of which vote.
    fn formed(&self, size: usize) -> anyhow::Result<Vec<Host>> {
        let mut hosts = Host::set(size, &self.fresh()?)?;
        form(&self.programs, &mut hosts, size)?;
        Ok(hosts)
    }

    /// The same without agents.
    fn scripted(&self, size: usize) -> anyhow::Result<Vec<Host>> {
        let mut hosts = Host::set(size, &self.fresh()?)?;
        script(&self.programs, &mut hosts)?;
        Ok(hosts)
    }
}

fn leader(hosts: &[Host]) -> anyhow::Result<usize> {
    hosts.iter().position(|host| leads(host.socket())).context("nobody leads")
}

fn sockets<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Vec<PathBuf> {
    hosts.into_iter().map(|host| host.socket().to_owned()).collect()
}
