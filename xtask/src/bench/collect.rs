//! `cargo xtask bench collect`: how soon what a host exports is a file on others, what many exports
//! cost, and what one change among ten thousand does; beside a plain watch of the same etcd in the
//! same run.
//!
//! Three members and real agents as plain processes on loopback, or on nodes in containers; a
//! thousand hosts are keys only. The exit code says whether everything came back and nobody read
//! what it need not.

mod agents;
mod change;
mod containers;
mod format;
mod latency;
mod many;
mod members;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use self::members::Members;
use super::table::{self, Row, ms, number};
use crate::image;
use crate::paths;
use crate::ui::Ui;

/// What `bench collect` takes.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// With `collect`: on how many hosts a value is waited for; G14 has the most of them
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3, 10, 30, 100])]
    #[arg(value_name = "NUMBERS", value_parser = clap::value_parser!(u16).range(1..=200))]
    collectors: Vec<u16>,
    /// With `collect`: how many exports one host has
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    #[arg(value_name = "NUMBERS")]
    exports: Vec<usize>,
}

type Measure = fn(&mut Bench) -> anyhow::Result<()>;

/// By name; those that need a container engine only when they are named.
const ROWS: [(&str, bool, Measure); 4] = [
    ("S11", true, latency::to_other_hosts),
    ("S12", true, many::of_one_host),
    ("G14", true, change::among_many),
    ("containers", false, containers::from_one_to_another),
];

struct Bench {
    agent: PathBuf,
    etcd: PathBuf,
    folder: PathBuf,
    options: Options,
    rounds: u32,
    rows: Vec<Row>,
}

/// Measures the rows that are wanted and prints the table, also when one of them fails.
pub(super) fn run(
    agent: &Path,
    rows: &[String],
    options: &Options,
    json: Option<&Path>,
    rounds: u32,
) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = rows.iter().find(|row| ROWS.iter().all(|(one, ..)| one != row)) {
        let known: Vec<&str> = ROWS.iter().map(|(name, ..)| *name).collect();
        bail!("there is no row `{unknown}`; rows are {}", known.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = runtime.block_on(image::etcd(&Ui::new(false, true)))?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(paths::target())?;
    let mut bench = Bench {
        agent: std::fs::canonicalize(agent).context("there is no such agent")?,
        etcd,
        folder: folder.path().to_owned(),
        options: options.clone(),
        rounds,
        rows: Vec::new(),
    };
    let mut outcome = Ok(ExitCode::SUCCESS);
    for (name, always, measure) in ROWS {
        let wanted = if rows.is_empty() { always } else { rows.iter().any(|row| row == name) };
        if !wanted {
            continue;
        }
        if let Err(why) = measure(&mut bench) {
            let kept = folder.keep();
            outcome = Err(why.context(format!("{name}: what ran is kept in {}", kept.display())));
            break;
        }
    }
    table::lines(&bench.rows, &[]).iter().for_each(|line| println!("{line}"));
    if let Some(path) = json {
        let open = File::options().create(true).append(true).open(path);
        let mut file = open.context("cannot write the JSON")?;
        for row in &bench.rows {
            writeln!(file, "{}", row.json())?;
        }
    }
    outcome
}

/// How long each of some hosts took, in each of some rounds.
#[derive(Default)]
struct Told(Vec<Vec<Duration>>);

impl Told {
    fn each(&self) -> Vec<Duration> {
        self.0.concat()
    }

    /// The last host of each round.
    fn last(&self) -> Vec<Duration> {
        self.0.iter().filter_map(|round| round.iter().max().copied()).collect()
    }
}

/// The duration in milliseconds that so many of a hundred do not exceed.
fn rank(all: &[Duration], percent: usize) -> anyhow::Result<f64> {
    let mut all = all.to_vec();
    all.sort_unstable();
    let rank = (all.len() * percent).div_ceil(100).max(1);
    all.get(rank - 1).copied().map(ms).context("nothing was measured")
}

/// How these are spread.
fn spread(all: &[Duration]) -> anyhow::Result<String> {
    let ranks = [0, 10, 25, 50, 75, 90, 99, 100];
    let all_of: anyhow::Result<Vec<String>> =
        ranks.iter().map(|percent| rank(all, *percent).map(number)).collect();
    Ok(format!("of {}: min, p10, 25, 50, 75, 90, 99, max {}", all.len(), all_of?.join(" ")))
}

impl Bench {
    /// Fresh members and a folder for what uses them.
    fn members(&self) -> anyhow::Result<(Members, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&self.folder)?.keep();
        Ok((Members::start(&self.etcd, &folder)?, folder))
    }

    fn add(&mut self, row: Row) {
        eprintln!("measured {} {}: {} {}", row.scenario, row.n, number(row.ours), row.unit);
        self.rows.push(row);
    }

    /// Adds the rows of what hosts took: p50 and p99 of each of them, and p50 of the last one;
    /// beside those of as many plain watches.
    fn told(
        &mut self,
        names: [&'static str; 3],
        n: usize,
        (ours, limit): (&Told, &Told),
        also: String,
    ) -> anyhow::Result<()> {
        let each = [(50, also), (99, spread(&ours.each())?)];
        for ((percent, also), scenario) in each.into_iter().zip(names) {
            let limit = Some(rank(&limit.each(), percent)?);
            let ours = rank(&ours.each(), percent)?;
            self.add(Row { scenario, n, unit: "ms", ours, limit, also, ..Row::default() });
        }
        if n > 1 {
            let (scenario, also) = (names[2], spread(&ours.last())?);
            let (ours, limit) = (rank(&ours.last(), 50)?, Some(rank(&limit.last(), 50)?));
            self.add(Row { scenario, n, unit: "ms", ours, limit, also, ..Row::default() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_values_that_were_measured_and_the_last_host_is_that_of_each_round() {
        let ms = |all: &[u64]| all.iter().map(|n| Duration::from_millis(*n)).collect::<Vec<_>>();
        let told = Told(vec![ms(&[3, 1]), ms(&[2, 9])]);
        assert_eq!(told.last(), ms(&[3, 9]));
        assert_eq!(rank(&told.each(), 50).unwrap(), 2.0);
        assert_eq!(rank(&told.each(), 99).unwrap(), 9.0);
        assert!(rank(&[], 50).is_err());
    }
}
