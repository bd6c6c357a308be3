//! `cargo xtask bench engine`: the same work done by the agent, by its peers, and by the least
//! program that can do it, in one run; beside the goals.
//!
//! Each round works in a new folder and nothing is deleted before the end: ext4 passes one by one
//! over inodes that were freed a short while ago, which makes the next round up to ten times
//! slower. The exit code says only whether all the work was done right.

mod arrive;
mod figure;
mod limit;
mod live;
mod once;
mod tool;
mod work;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};

use self::tool::Tool;
use super::table::{self, Row};
use crate::image;
use crate::paths;
use crate::ui::Ui;

/// What `bench engine` takes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Small sizes, one round
    #[arg(long)]
    quick: bool,
    /// Only these scenarios: S1 apply, S2 nothing to do, S3 chain, S4 fan, S5 random order, S6
    /// start, S7 repair, S8 reaction, S9 idle
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// How many resources [default: 100,1000,10000]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    sizes: Vec<usize>,
    /// Also run the slow peers at every size
    #[arg(long)]
    all_peers: bool,
    /// Without any peer
    #[arg(long, conflicts_with = "all_peers")]
    no_peers: bool,
    /// Append one line of JSON for each row to this file
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Be the least program that repairs files, in this folder
    #[arg(long, hide = true, value_name = "FOLDER")]
    pub(super) serve: Option<PathBuf>,
}

/// All scenarios.
const SCENARIOS: [&str; 9] = ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9"];
/// How many values from elsewhere are waited for.
const ARRIVALS: u32 = 40;
/// How long an agent at rest is looked at.
const IDLE: Duration = Duration::from_secs(60);
/// The same in a hurry.
const IDLE_QUICK: Duration = Duration::from_secs(5);

/// What a run of the benchmark goes by.
struct Plan {
    ours: Tool,
    peers: Vec<Tool>,
    options: Options,
    sizes: Vec<usize>,
    /// Of repairs and reactions.
    rounds: u32,
    /// New folders are made in it.
    folder: PathBuf,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Plan {
    fn wants(&self, scenario: &str) -> bool {
        self.options.only.is_empty() || self.options.only.iter().any(|one| one == scenario)
    }

    /// A folder that nobody has used.
    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let made = tempfile::Builder::new().prefix(name).tempdir_in(&self.folder);
        Ok(made.context("cannot make a folder")?.keep())
    }

    /// How often something of this size is done; the median counts.
    fn times(&self, n: usize) -> usize {
        match n {
            _ if self.options.quick => 1,
            0..=1000 => 3,
            1001..=10_000 => 2,
            _ => 1,
        }
    }

    /// The peers that are asked for this much.
    fn peers(&self, n: usize) -> Vec<Tool> {
        let all = self.options.all_peers;
        self.peers.iter().filter(|tool| all || n <= tool.most).cloned().collect()
    }

    fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            eprintln!("measured {} {}", row.scenario, row.n);
            self.rows.push(row);
        }
    }
}

/// Measures all that is wanted and prints the table.
pub(super) fn run(agent: &Path, options: &Options, rounds: u32) -> anyhow::Result<ExitCode> {
    for name in &options.only {
        ensure!(SCENARIOS.contains(&name.as_str()), "no scenario `{name}`: S1 to S9 are known");
    }
    ensure!(!options.sizes.contains(&0), "nothing can be measured with 0 resources");
    let (peers, missing) = if options.no_peers { Default::default() } else { tool::peers() };
    missing.iter().for_each(|line| eprintln!("{line}"));
    // Not where all programs keep what is temporary: they would wake agents that watch it.
    fs::create_dir_all(paths::target())?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(paths::target())?;
    let mut plan = Plan {
        ours: Tool::quorate(&fs::canonicalize(agent).context("there is no such agent")?),
        peers,
        sizes: match (options.sizes.is_empty(), options.quick) {
            (false, _) => options.sizes.clone(),
            (true, true) => vec![100, 1000],
            (true, false) => vec![100, 1000, 10_000],
        },
        rounds: if options.quick { rounds.min(40) } else { rounds },
        options: options.clone(),
        folder: folder.path().to_owned(),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    once::measure(&mut plan)?;
    measure_live(&mut plan)?;
    let tools: Vec<&str> = plan.peers.iter().map(|tool| tool.name).collect();
    table::lines(&plan.rows, &tools).iter().for_each(|line| println!("{line}"));
    plan.notes.iter().for_each(|line| println!("{line}"));
    if let Some(file) = &options.json {
        let mut file = OpenOptions::new().append(true).create(true).open(file)?;
        for row in &plan.rows {
            writeln!(file, "{}", row.json())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The etcd of agents in a cluster.
fn etcd() -> anyhow::Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let etcd = runtime.block_on(image::etcd(&Ui::new(false, true)))?;
    fs::canonicalize(etcd).context("there is no such etcd")
}

fn measure_live(plan: &mut Plan) -> anyhow::Result<()> {
    let agent = plan.ours.program.clone();
    for n in plan.sizes.clone() {
        if plan.wants("S7") {
            let rows = live::repair(&agent, &plan.fresh("s7-")?, n, plan.rounds)?;
            plan.add(rows);
        }
        if plan.wants("S8") {
            let rows = live::react(&agent, &plan.fresh("s8-")?, n, plan.rounds)?;
            plan.add(rows);
            let rounds = plan.rounds.min(ARRIVALS);
            let rows = arrive::sent(&agent, &plan.fresh("s8-recv-")?, n, rounds)?;
            plan.add(rows);
            let etcd = etcd()?;
            let rows = arrive::exported(&agent, &etcd, &plan.fresh("s8-export-")?, n, rounds)?;
            plan.add(rows);
        }
        if plan.wants("S9") {
            let over = if plan.options.quick { IDLE_QUICK } else { IDLE };
            let rows = live::idle(&agent, &plan.fresh("s9-")?, n, over)?;
            plan.add(rows);
        }
    }
    Ok(())
}

/// The least program that repairs files; runs until it is killed.
pub(super) fn serve(folder: &Path) -> anyhow::Result<ExitCode> {
    live::serve(folder)?;
    Ok(ExitCode::SUCCESS)
}
