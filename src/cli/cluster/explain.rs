//! `quorate cluster explain [FILE]`.

use std::path::{Path, PathBuf};

use super::{EXIT_CODES, End, ask, print, print_json, unexpected};
use crate::cli::agents::Which;
use crate::cluster::request::{Answer, Request};
use crate::cluster::told::{self, Told};

const EXAMPLES: &str = "\
Examples:
  quorate cluster explain                    what the deciding host saw and decided last
  quorate cluster explain --json > seen.json keep it
  quorate cluster explain seen.json          decide it again, as this version does

A kept document can be changed by hand to see what would be decided.";

/// Arguments of `cluster explain`.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Args {
    /// A document that `explain --json` printed; without one, the cluster is asked
    file: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints the explanation.
pub(super) fn run(args: &Args) -> Result<u8, End> {
    let told = match &args.file {
        Some(file) => read(file)?,
        None => match ask(&args.which, &Request::Explain)?.1 {
            Answer::Explain(told) => *told,
            _ => return Err(unexpected()),
        },
    };
    if args.json { print_json(&told) } else { print(&told::render(&told)) }
}

/// A kept document, decided anew.
fn read(file: &Path) -> Result<Told, End> {
    let text = crate::agent::source::read(file).map_err(End::failed)?;
    let told: Told = serde_json::from_str(&text).map_err(|why| {
        let name = file.display();
        End::failed(format!("{name} is not what `explain --json` prints: {why}"))
    })?;
    Ok(told.again())
}
