//! `quorate cluster rejoin`: this host belongs to no cluster any more, and joins the one that its
//! seeds name.

use super::{EXIT_CODES, End, print, print_json};
use crate::cli::agents::Which;
use crate::cli::state::reset;

const EXAMPLES: &str = "\
Examples:
  quorate cluster rejoin --hostname h2
  quorate run --hostname h2 --seeds http://h1:2379 yaml site.yaml

For a host whose cluster was founded anew, for instance from a snapshot, or that has a wrong seed \
in its past. Its agent must not run. Its data go into STATE/archive; nothing is deleted. Without \
--seeds its next start founds a cluster.";

/// Arguments of `cluster rejoin`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Forgets the cluster.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let done =
        reset(&args.which, "rejoin", false).map_err(|(code, sentence)| End { code, sentence })?;
    let archive = done.archive.display().to_string();
    if args.json {
        let cluster = done.cluster;
        return print_json(&serde_json::json!({"v": 1, "archive": archive, "cluster": cluster}));
    }
    let from = done.cluster.map_or("no cluster".to_owned(), |uuid| format!("cluster {uuid}"));
    print(&format!("forgot {from}; its data are in {archive}; now start the agent with --seeds\n"))
}
