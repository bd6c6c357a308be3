//! `quorate state reset`: the state folder of an agent that does not run.

use std::process::ExitCode;

use clap::Subcommand;

use super::agents::Which;
use crate::agent::{EXIT_FAILED, EXIT_REFUSED};
use crate::cluster::shell::reset;

const EXAMPLES: &str = "\
Examples:
  quorate state reset --hostname h2          forget the cluster; the host stays who it is
  quorate state reset --new-identity --prefix /var/lib/quorate/h2
                                             for a copied state folder, as in a cloned machine

Everything that belonged to the cluster goes into STATE/archive; nothing is deleted. Snapshots stay.

Exit codes: 0 done; 1 it could not be done; 2 bad usage; 3 refused: the agent runs, or it is no \
state folder.";

/// Arguments of `state`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Forget the cluster, and put its data aside
    Reset(Reset),
}

/// Arguments of `state reset`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct Reset {
    /// Make a new identity as well: this folder is a copy of another host's
    #[arg(long)]
    new_identity: bool,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Carries it out.
pub(super) fn run(args: &Args) -> ExitCode {
    let Verb::Reset(args) = &args.verb;
    let done = match reset(&args.which, "reset", args.new_identity) {
        Ok(done) => done,
        Err((code, why)) => {
            super::print_error(why);
            return ExitCode::from(code);
        }
    };
    let archive = done.archive.display().to_string();
    let text = match args.json {
        true => {
            let (instance, cluster) = (&done.instance, &done.cluster);
            serde_json::json!({"v": 1, "archive": archive, "instance": instance,
                "cluster": cluster})
            .to_string()
        }
        false => format!("everything of the cluster is in {archive}"),
    };
    super::exit_after(std::io::Write::write_all(&mut std::io::stdout(), (text + "\n").as_bytes()))
}

/// Resets the chosen folder; an exit code and a sentence when that cannot be.
pub(super) fn reset(which: &Which, why: &str, new: bool) -> Result<reset::Reset, (u8, String)> {
    let folder = which.state_folder().map_err(|why| (EXIT_FAILED, why))?;
    let host = reset::owner(&folder).map_err(|why| (EXIT_REFUSED, why))?;
    reset::run(&folder, &host, why, new).map_err(|why| (why.exit_code(), why.to_string()))
}
