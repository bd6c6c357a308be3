//! `cargo xtask bench collect`: how soon what a host exports is a file on others, what many exports
//! cost, and what one change among ten thousand does; beside a plain watch of the same etcd in the
//! same run.
//!
//! Three members and real agents as plain processes on loopback; a thousand hosts are keys only.
//! The exit code says whether everything came back and nobody read what it need not.

mod agents;
mod change;
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
use serde_json::json;

use self::members::Members;
use crate::image;
use crate::paths;
use crate::ui::Ui;

/// What `bench collect` takes.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// With `collect`: on how many hosts a value is waited for
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3, 10], value_name = "NUMBERS")]
    collectors: Vec<usize>,
    /// With `collect`: how many exports one host has
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    #[arg(value_name = "NUMBERS")]
    exports: Vec<usize>,
}

type Measure = fn(&mut Bench) -> anyhow::Result<()>;

const ROWS: [(&str, Measure); 3] =
    [("S11", latency::to_other_hosts), ("S12", many::of_one_host), ("G14", change::among_many)];

struct Bench {
    agent: PathBuf,
    etcd: PathBuf,
    folder: PathBuf,
    options: Options,
    rounds: u32,
    json: Option<File>,
}

/// Measures the rows that are wanted, and prints each as soon as it is done.
pub(super) fn run(
    agent: &Path,
    rows: &[String],
    options: &Options,
    json: Option<&Path>,
    rounds: u32,
) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = rows.iter().find(|row| ROWS.iter().all(|(one, _)| one != row)) {
        let known: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
        bail!("there is no row `{unknown}`; rows are {}", known.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = runtime.block_on(image::etcd(&Ui::new(false, true)))?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(paths::target())?;
    let open = |path: &Path| File::options().create(true).append(true).open(path);
    let mut bench = Bench {
        agent: std::fs::canonicalize(agent).context("there is no such agent")?,
        etcd,
        folder: folder.path().to_owned(),
        options: options.clone(),
        rounds,
        json: json.map(open).transpose().context("cannot write the JSON")?,
    };
    println!("{:36} {:>6}      p50      p99      max  ms", "", "count");
    for (name, measure) in ROWS {
        if (rows.is_empty() || rows.iter().any(|row| row == name))
            && let Err(why) = measure(&mut bench)
        {
            let kept = folder.keep();
            return Err(why.context(format!("{name}: what ran is kept in {}", kept.display())));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Figures of one row.
#[derive(Clone, Copy)]
struct Figures {
    count: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Figures {
    fn of(mut all: Vec<Duration>) -> anyhow::Result<Figures> {
        all.sort_unstable();
        let at = |percent: usize| {
            let rank = (all.len() * percent).div_ceil(100).max(1);
            all.get(rank - 1).copied().context("nothing was measured")
        };
        Ok(Figures { count: all.len(), p50: at(50)?, p99: at(99)?, max: at(100)? })
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Bench {
    /// Fresh members and a folder for what uses them.
    fn members(&self) -> anyhow::Result<(Members, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&self.folder)?.keep();
        Ok((Members::start(&self.etcd, &folder)?, folder))
    }

    /// Prints a row; gives its figures.
    fn row(&mut self, name: &str, all: Vec<Duration>, bar: &str) -> anyhow::Result<Figures> {
        let it = Figures::of(all)?;
        let (p50, p99, max) = (ms(it.p50), ms(it.p99), ms(it.max));
        println!("{name:36} {:6} {p50:8.2} {p99:8.2} {max:8.2}  {bar}", it.count);
        if let Some(file) = &mut self.json {
            let line = json!({"row": name, "count": it.count, "p50_ms": p50, "p99_ms": p99,
                "max_ms": max});
            writeln!(file, "{line}")?;
        }
        Ok(it)
    }
}
