//! `quorate cluster history`.

use super::{EXIT_CODES, End, ask, print, print_json, unexpected};
use crate::cli::agents::Which;
use crate::cluster::keys::HistoryRecord;
use crate::cluster::request::{Answer, Request};
use crate::cluster::when;

const EXAMPLES: &str = "\
Examples:
  quorate cluster history                    the last changes of members, the newest last
  quorate cluster history --limit 200        all that are kept";

/// Arguments of `cluster history`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    /// How many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the changes.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let Answer::History(all) = ask(&args.which, &Request::History)?.1 else {
        return Err(unexpected());
    };
    let kept = &all[all.len().saturating_sub(args.limit)..];
    if args.json {
        return print_json(&serde_json::json!({"v": 1, "changes": kept}));
    }
    if kept.is_empty() {
        return print("no change of members has ended yet\n");
    }
    print(&kept.iter().map(line).collect::<String>())
}

fn line(one: &HistoryRecord) -> String {
    let change = &one.change;
    let took = when::ago(change.started, one.ended);
    let line = format!(
        "{}  {} {}: {} (by {}; {}, {took})",
        when::date(change.started),
        change.kind.doing(),
        change.host,
        change.why,
        change.by,
        one.outcome
    );
    // What other hosts wrote must not drive this terminal, nor forge a line.
    line.replace(char::is_control, "\u{fffd}") + "\n"
}
