//! `quorate cluster recover`: through the agent when it runs, else on its state folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{EXIT_CODES, End, ask_in, print, print_json};
use crate::agent::EXIT_TIME;
use crate::agent::socket::{self, Topic};
use crate::cli::agents::Which;
use crate::cluster::recover::{Failure, Outcome, Recovery};
use crate::cluster::request::Request;
use crate::cluster::shell::{recovery, reset};

const EXAMPLES: &str = "\
Examples:
  quorate cluster recover --lost-quorum      more than half of the voters are gone for good
  quorate cluster recover --lost-quorum --from h1
                                             from this host, h1, although another one is ahead
  quorate cluster recover --addresses-changed
                                             every host has other addresses than before
  quorate cluster recover --snapshot FILE    from a file; the new cluster has another identity

Run it on one host only. It is refused while a quorum is possible. The data are copied to \
STATE/archive first. Other hosts join again by themselves, after a snapshot with `quorate cluster \
rejoin`. An agent that runs ends, and starts anew when it is done.";

/// How often it is looked whether an agent that ended is back: it has no way to tell.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `cluster recover`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// The host to recover from, this one, although another survivor is ahead
    #[arg(long, value_name = "HOST", requires = "lost_quorum")]
    from: Option<String>,
    /// The addresses for peers that this host has from now on; an agent that runs knows its own
    #[arg(long, value_name = "URL", value_delimiter = ',', requires = "addresses_changed")]
    server_urls: Vec<String>,
    #[command(flatten)]
    patience: Patience,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// Found the cluster anew from this host's data
    #[arg(long)]
    lost_quorum: bool,
    /// The same, when all addresses changed at once
    #[arg(long)]
    addresses_changed: bool,
    /// Found another cluster with the data of a snapshot
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
}

/// Where, how long, and how it is told.
#[derive(clap::Args)]
pub(super) struct Patience {
    /// How long to wait for an agent to be back, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Carries it out.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let recovery = match &args.wanted.snapshot {
        Some(file) => Recovery::Snapshot { file: absolute(file)? },
        None => Recovery::LostQuorum {
            from: args.from.clone(),
            peer: args.server_urls.clone(),
            addresses_changed: args.wanted.addresses_changed,
        },
    };
    carry_out(recovery, &args.patience)
}

pub(super) fn absolute(file: &Path) -> Result<PathBuf, End> {
    file.canonicalize().map_err(|why| End::failed(format!("{}: {why}", file.display())))
}

/// Carries out a recovery, with or without an agent.
pub(super) fn carry_out(recovery: Recovery, patience: &Patience) -> Result<u8, End> {
    let folder = patience.which.state_folder().map_err(End::failed)?;
    let said = match socket::ask(&folder, Topic::Status) {
        Ok(_) => through_the_agent(&folder, recovery, patience)?,
        Err(_) => alone(&folder, &recovery)?,
    };
    match patience.json {
        true => print_json(&serde_json::json!({"v": 1, "done": said})),
        false => print(&format!("{said}\n")),
    }
}

fn alone(folder: &Path, recovery: &Recovery) -> Result<String, End> {
    let host = reset::owner(folder).map_err(End::refused)?;
    match recovery::offline(folder, &host, recovery) {
        Ok(said) => Ok(format!("{said}; now start the agent of {host}")),
        Err(Failure::Refused(why)) => Err(End::refused(why)),
        Err(Failure::Failed(why)) => Err(End::failed(why)),
    }
}

fn through_the_agent(
    folder: &Path,
    recovery: Recovery,
    patience: &Patience,
) -> Result<String, End> {
    let request = uuid::Uuid::new_v4().to_string();
    ask_in(folder, &Request::Recover { request: request.clone(), recovery })?;
    let deadline = Instant::now() + Duration::from_secs(patience.timeout);
    let outcome: Outcome = loop {
        if let Some(outcome) = recovery::outcome(folder, &request) {
            break outcome;
        }
        wait(deadline, patience.timeout)?;
    };
    // The agent is wanted back whatever came of it, and its cluster when it was founded anew.
    while !socket::ask(folder, Topic::Status).is_ok_and(|told| !outcome.done || serves(&told)) {
        wait(deadline, patience.timeout)?;
    }
    match outcome.done {
        true => Ok(outcome.said),
        false => Err(End::refused(outcome.said)),
    }
}

/// Whether a status tells of a cluster that can be written to.
fn serves(status: &str) -> bool {
    let status: serde_json::Value = serde_json::from_str(status).unwrap_or_default();
    status["cluster"]["quorum"] == true
}

fn wait(deadline: Instant, seconds: u64) -> Result<(), End> {
    if Instant::now() >= deadline {
        let sentence = format!("the agent is not back within {seconds} s; see its log");
        return Err(End { code: EXIT_TIME, sentence });
    }
    std::thread::sleep(LOOK);
    Ok(())
}
