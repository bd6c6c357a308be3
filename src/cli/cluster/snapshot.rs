//! `quorate cluster snapshot save|list|restore`.

use std::path::PathBuf;

use clap::Subcommand;

use super::recover::{self, Patience};
use super::{EXIT_CODES, End, ask, print, print_json, unexpected};
use crate::cli::agents::Which;
use crate::cluster::recover::Recovery;
use crate::cluster::report::text::bytes;
use crate::cluster::request::{Answer, Request};
use crate::cluster::shell::snapshots;
use crate::cluster::snapshot::Snapshot;
use crate::cluster::when;

const EXAMPLES: &str = "\
Examples:
  quorate cluster snapshot save              everything that the cluster holds, into a file
  quorate cluster snapshot list              those that this host has; each is read and checked
  quorate cluster snapshot restore FILE      found a new cluster with what is in it

Snapshots lie in STATE/snapshots. The newest five are kept. One is saved every six hours by each \
voter that does not lead, and one before the size shrinks and before a member is removed.";

/// Arguments of `cluster snapshot`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Save one now
    Save(Common),
    /// List those that this host has
    List(Common),
    /// Found a new cluster with what is in one; the same as `recover --snapshot`
    Restore(Restore),
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Restore {
    /// The snapshot
    file: PathBuf,
    #[command(flatten)]
    patience: Patience,
}

/// Carries it out.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    match &args.verb {
        Verb::Save(args) => save(args),
        Verb::List(args) => list(args),
        Verb::Restore(args) => {
            let file = recover::absolute(&args.file)?;
            recover::carry_out(Recovery::Snapshot { file }, &args.patience)
        }
    }
}

fn save(args: &Common) -> Result<u8, End> {
    let Answer::Saved(saved) = ask(&args.which, &Request::SnapshotSave)?.1 else {
        return Err(unexpected());
    };
    match args.json {
        true => print_json(&saved),
        false => print(&format!("{} ({})\n", saved.file, bytes(saved.bytes))),
    }
}

fn list(args: &Common) -> Result<u8, End> {
    let folder = args.which.state_folder().map_err(End::failed)?;
    let found = snapshots::list(&folder)
        .map_err(|why| End::failed(format!("{}: {why}", folder.display())))?;
    if args.json {
        return print_json(&serde_json::json!({"v": 1, "snapshots": found}));
    }
    if found.is_empty() {
        return print("no snapshot was saved here yet\n");
    }
    print(&found.iter().map(line).collect::<String>())
}

fn line(one: &Snapshot) -> String {
    let state = if one.whole { "whole" } else { "DAMAGED" };
    let (at, size) = (when::date(one.at), bytes(one.bytes));
    format!("{at}  {size:>8}  {state}  {}  {}\n", one.why, one.file)
}
