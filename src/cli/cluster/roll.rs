//! `quorate cluster roll`: every agent starts anew, one at a time, while writing goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{EXIT_CODES, End, ask_in, print, print_json};
use crate::agent::{EXIT_TIME, tell};
use crate::cli::agents::Which;
use crate::cluster::report::Report;
use crate::cluster::request::{Answer, Request};
use crate::cluster::roll::{self, Next};

const EXAMPLES: &str = "\
Examples:
  quorate cluster roll                       after the program was replaced on every host
  quorate cluster roll --dry-run             in which order

What is not well goes first, the leader last. Between two of them all members are up and have \
caught up for --pause seconds, and one could be lost. An agent starts anew in its own process, \
with its own arguments.";

/// How often the cluster is looked at: neither lag nor calm tell when they come.
const LOOK: Duration = Duration::from_millis(250);

/// Arguments of `cluster roll`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    /// For how long all must be well before the next one, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5",
        value_parser = clap::value_parser!(u64).range(0..=3600))]
    pause: u64,
    /// How long to wait for one agent, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "120",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Also when nothing can be written in between
    #[arg(long)]
    allow_gap: bool,
    /// Only print the order
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Starts all agents anew.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let folder = args.which.folder().map_err(End::failed)?;
    let first = look(&folder)?;
    roll::may_begin(&first, args.allow_gap).map_err(End::refused)?;
    let before = roll::before(&first);
    if args.dry_run {
        return told(args, &roll::order_of(&first), "would start anew");
    }
    let done = go(args, &folder, &before)?;
    told(args, &done, "started anew")
}

fn go(args: &Args, folder: &Path, before: &BTreeMap<String, u64>) -> Result<Vec<String>, End> {
    let mut done: Vec<String> = Vec::new();
    let mut well_since: Option<Instant> = None;
    let mut since = Instant::now();
    let mut said = String::new();
    loop {
        // The agent that is asked is restarted as well; it will be back.
        let next = match look(folder) {
            Err(_) => Next::Wait("the agent of this host is not back yet".into()),
            Ok(report) => {
                match roll::well(&report, args.allow_gap) {
                    Ok(()) => drop(well_since.get_or_insert_with(Instant::now)),
                    Err(_) => well_since = None,
                }
                let calm = well_since.is_some_and(|at| at.elapsed().as_secs() >= args.pause);
                roll::next(&report, before, calm, args.allow_gap)
            }
        };
        let why = match next {
            Next::Done => return Ok(done),
            Next::Restart(host) if done.last() != Some(&host) => {
                if !args.json {
                    tell(format_args!("{host} starts anew\n"));
                }
                ask_in(folder, &Request::Restart { host: host.clone() })?;
                done.push(host);
                (since, well_since) = (Instant::now(), None);
                continue;
            }
            // It was told so and has not ended yet.
            Next::Restart(host) => format!("{host} has not ended yet"),
            Next::Wait(why) => why,
        };
        if since.elapsed().as_secs() >= args.timeout {
            let seconds = args.timeout;
            let sentence = format!("it does not go on since {seconds} s: {why}; done so far: ");
            return Err(End { code: EXIT_TIME, sentence: sentence + &done.join(", ") });
        }
        if !args.json && why != said {
            tell(format_args!("{why}\n"));
            said = why;
        }
        std::thread::sleep(LOOK);
    }
}

fn look(folder: &Path) -> Result<Report, End> {
    match ask_in(folder, &Request::Status)? {
        Answer::Status(report) => Ok(*report),
        _ => Err(super::unexpected()),
    }
}

fn told(args: &Args, hosts: &[String], what: &str) -> Result<u8, End> {
    match args.json {
        true => print_json(&serde_json::json!({"v": 1, "hosts": hosts})),
        false => print(&format!("{what}: {}\n", hosts.join(", "))),
    }
}
