//! `cargo xtask bench`: measures the built agent, and beside it, in the same run, what this machine
//! can do at best.
//!
//! The exit code never depends on how fast the machine is: only on whether everything came back.

mod cluster;
mod collect;
mod engine;
mod heal;
mod spread;
mod table;
mod timing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::paths::{self, Exit};

/// What `bench` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure; `--list` shows what there is
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<String>,
    /// Show what can be measured
    #[arg(long)]
    list: bool,
    /// How often [default: 100, and 20 for `cluster`]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: Option<u32>,
    #[command(flatten)]
    cluster: cluster::Options,
    /// With `engine`
    #[command(flatten)]
    engine: engine::Options,
    #[command(flatten)]
    collect: collect::Options,
    /// An agent to measure instead of building one
    #[arg(long, value_name = "PATH", env = "QUORATE_AGENT", hide_env_values = true)]
    agent: Option<PathBuf>,
}

/// Something that can be measured.
struct Row {
    name: &'static str,
    about: &'static str,
    run: fn(agent: &Path, args: &Args) -> anyhow::Result<ExitCode>,
}

/// How often something is measured unless said otherwise.
const ROUNDS: u32 = 100;
/// The same for whole clusters, which take seconds each.
const CLUSTER_ROUNDS: u32 = 20;

const ROWS: [Row; 5] = [
    Row {
        name: "heal",
        about: "a managed file is deleted or edited, until it is right again",
        run: |agent, args| heal::run(agent, args.rounds.unwrap_or(ROUNDS)),
    },
    Row {
        name: "timing",
        about: "graphs of steps that sleep, from start to end, beyond their critical path",
        run: |agent, args| timing::run(agent, args.rounds.unwrap_or(ROUNDS)),
    },
    Row {
        name: "engine",
        about: "many files applied, kept and repaired, beside other tools and the machine's limit",
        run: |agent, args| engine::run(agent, &args.engine, args.rounds.unwrap_or(ROUNDS)),
    },
    Row {
        name: "cluster",
        about: "agents form a cluster, lose its leader, stop and restart, beside a script",
        run: |agent, args| {
            cluster::run(agent, &args.cluster, args.rounds.unwrap_or(CLUSTER_ROUNDS))
        },
    },
    Row {
        name: "collect",
        about: "what hosts export reaches others through three members, beside a plain watch",
        run: |agent, args| {
            let json = args.engine.json.as_deref();
            let rounds = args.rounds.unwrap_or(ROUNDS);
            collect::run(agent, &args.cluster.rows, &args.collect, json, rounds)
        },
    },
];

/// Measures, or lists what can be measured.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.engine.serve {
        return engine::serve(folder);
    }
    if let (Some(name), false) = (&args.name, args.list) {
        let row = ROWS.iter().find(|row| row.name == *name).ok_or_else(|| {
            let message = format!("nothing of the name `{name}` can be measured; see --list");
            Exit::error(Exit::ABSENT, message)
        })?;
        let agent = args.agent.clone().map_or_else(build, Ok)?;
        return (row.run)(&agent, &args);
    }
    for Row { name, about, .. } in ROWS {
        println!("{name:8} {about}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent's release build.
fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = paths::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "quorate"]);
    let status = cargo.current_dir(paths::root()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the agent does not build ({status})");
    }
    Ok(paths::target().join("release/quorate"))
}
