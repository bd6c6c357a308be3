//! `quorate cluster …`: the cluster as seen and changed through the agent of this host.
//!
//! Refuses to decide: the agent judges and acts, this prints.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::agents::Which;
use crate::agent::socket;
use crate::agent::{EXIT_DONE, EXIT_FAILED, EXIT_REFUSED};
use crate::cluster::request::{Answer, Request};

mod auth;
mod change;
mod explain;
mod follow;
mod history;
mod recover;
mod rejoin;
mod roll;
mod snapshot;
mod status;
mod token;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 no agent answers, or something went wrong; 2 bad usage; 3 refused, with the \
reason; 4 not reached in time.";

const EXAMPLES: &str = "\
Examples:
  quorate cluster status                     every host and member, what is under way, and why not
  quorate cluster size 5                     how many voters are wanted
  quorate cluster leave h3                   a host leaves in good order
  quorate cluster remove h3                  a host that is dead for good
  quorate cluster move-leader h2             another voter leads
  quorate cluster away h2 2h                 h2 is not dead, only away
  quorate cluster roll                       every agent starts anew, one at a time
  quorate cluster snapshot save              everything that the cluster holds, into a file
  quorate cluster recover --lost-quorum      more than half of the voters are gone for good
  quorate cluster history                    what was changed, and why
  quorate cluster explain                    what the deciding host saw, and its reasons
  quorate cluster token                      a token for a host that is to join
  quorate cluster auth enable                each host writes only its own keys

The agent of this host is asked; choose with --hostname or --prefix when there are several.

Exit codes: 0 done; 1 no agent answers, or something went wrong; 2 bad usage; 3 refused, with the \
reason; 4 not reached in time.";

/// Arguments of `cluster`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show every host and member, what is under way, and why nothing is
    Status(status::Args),
    /// Show or change how many voters are wanted
    Size(change::Size),
    /// Have a host leave the cluster in good order
    Leave(change::Leave),
    /// Take a dead host's member out of the cluster
    Remove(change::Remove),
    /// Hand the leadership to another voter
    MoveLeader(change::MoveLeader),
    /// Say that a host will be away for a while, and is not dead
    Away(change::Away),
    /// Start all agents anew, one at a time, while writing goes on
    Roll(roll::Args),
    /// Save, list and restore snapshots of everything that the cluster holds
    Snapshot(snapshot::Args),
    /// Found the cluster anew after a quorum was lost for good
    Recover(recover::Args),
    /// Have this host forget its cluster, so that it joins another
    Rejoin(rejoin::Args),
    /// List the changes of members that came to an end
    History(history::Args),
    /// Show what the deciding host saw, what it does next, and why it does no more
    Explain(explain::Args),
    /// Have the store ask who writes, so that no host can export as another one
    Auth(auth::Args),
    /// Make a one-time token that lets a host join, and get its certificate
    Token(token::Args),
}

/// Carries out a verb.
pub(super) fn run(args: &Args) -> ExitCode {
    let done = match &args.verb {
        Verb::Status(args) => status::run(args),
        Verb::Size(args) => change::size(args),
        Verb::Leave(args) => change::leave(args),
        Verb::Remove(args) => change::remove(args),
        Verb::MoveLeader(args) => change::move_leader(args),
        Verb::Away(args) => change::away(args),
        Verb::Roll(args) => roll::run(args),
        Verb::Snapshot(args) => snapshot::run(args),
        Verb::Recover(args) => recover::run(args),
        Verb::Rejoin(args) => rejoin::run(args),
        Verb::History(args) => history::run(args),
        Verb::Explain(args) => explain::run(args),
        Verb::Auth(args) => auth::run(args),
        Verb::Token(args) => token::run(args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(end) => {
            super::print_error(&end.sentence);
            ExitCode::from(end.code)
        }
    }
}

/// An end that is not the wanted one.
struct End {
    code: u8,
    sentence: String,
}

impl End {
    fn failed(sentence: impl Into<String>) -> Self {
        End { code: EXIT_FAILED, sentence: sentence.into() }
    }

    fn refused(sentence: impl Into<String>) -> Self {
        End { code: EXIT_REFUSED, sentence: sentence.into() }
    }
}

/// What the membership of the chosen agent answers, and its state folder. What is no answer of a
/// cluster is an end.
fn ask(which: &Which, request: &Request) -> Result<(PathBuf, Answer), End> {
    let folder = which.folder().map_err(End::failed)?;
    let answer = ask_in(&folder, request)?;
    Ok((folder, answer))
}

fn ask_in(folder: &std::path::Path, request: &Request) -> Result<Answer, End> {
    let answer = socket::ask_cluster(folder, request).map_err(|why| {
        End::failed(format!("the agent in {} does not answer: {why}", folder.display()))
    })?;
    match answer {
        Answer::Refused(why) => Err(End::refused(why)),
        Answer::Failed(why) => Err(End::failed(why)),
        Answer::Alone => Err(End::refused(
            "this agent runs on its own; start it with --ideal-cluster-size or --seeds to have a \
             cluster",
        )),
        answer => Ok(answer),
    }
}

/// An answer to another question: the agent is of another version.
fn unexpected() -> End {
    End::failed("the agent answered another question; is it of another version?")
}

/// Prints a text; that nobody reads it is no failure.
fn print(text: &str) -> Result<u8, End> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(End::failed(format!("the output cannot be written: {why}")))
        }
        _ => Ok(EXIT_DONE),
    }
}

/// Prints a document on one line.
fn print_json(document: &impl Serialize) -> Result<u8, End> {
    let text = serde_json::to_string(document).map_err(|why| End::failed(why.to_string()))?;
    print(&(text + "\n"))
}
