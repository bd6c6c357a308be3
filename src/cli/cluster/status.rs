//! `quorate cluster status`.

use super::{End, ask, print, print_json, unexpected};
use crate::agent::EXIT_FAILED;
use crate::cli::agents::Which;
use crate::cluster::report::{Report, text};
use crate::cluster::request::{Answer, Request};

const EXAMPLES: &str = "\
Examples:
  quorate cluster status                     for people
  quorate cluster status --json | jq -r '.cluster.hosts[] | select(.why != []) | .host, .why[]'
                                             who waits, and for what

It answers in every role and without a quorum, from what the agent last knew.

The JSON form: {\"v\": 1, \"at\": SECONDS, \"host\", \"role\", \"reason\", \"cluster\": {...}}
  cluster  uuid, desired, voters, up, quorum, tolerance (null without a quorum), leader, decides,
           pending (the change under way), hosts, note, readable (the store answers)
  host     host, role, agent (version, started, pid, etcd), member (id, up, leader, since, health,
           client, peer), why
  health   version, term, index, applied, lag, db_bytes, db_used_bytes
Keys are only ever added.

Exit codes: 0 the cluster has a quorum; 1 it has none, or no agent answers; 2 bad usage; 3 the \
agent runs on its own.";

/// Arguments of `cluster status`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the report.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let (_, answer) = ask(&args.which, &Request::Status)?;
    let Answer::Status(report) = answer else { return Err(unexpected()) };
    let written = if args.json { print_json(&report)? } else { print(&text::render(&report))? };
    Ok(if well(&report) { written } else { EXIT_FAILED })
}

fn well(report: &Report) -> bool {
    report.cluster.as_ref().is_some_and(|cluster| cluster.quorum)
}
