//! `quorate graph [FILE]`: the graph of a file, or the one that the agent of this host runs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::agents::Which;
use super::check;
use crate::agent::socket::Topic;
use crate::picture::{self, Picture};
use crate::{graph, yaml};

const EXAMPLES: &str = "\
Examples:
  quorate graph site.yaml                              the order of the runs, as text
  quorate graph site.yaml --format svg > site.svg      a picture that needs no other program
  quorate graph site.yaml --format dot | dot -Tpng -o site.png
  quorate graph site.yaml --format mermaid             for a page of a forge or a wiki
  quorate graph --format json                          what the agent of this host runs

Declared edges are solid, automatic ones are dashed, and those that notify are marked. What is \
dotted is not applied here: exported only, or not collected yet.

The JSON form: {\"v\": 1, \"graph\": NAME, \"resources\": [...], \"edges\": [...]}
  resource  id (KIND[NAME]), kind, name, standing (local, collected, hidden: exported and not
            applied here, awaited: not collected yet), exported, from (the hosts that export it),
            state (null for a file; see `quorate status`)
  edge      from, to (ids; from runs first), automatic, notify, name (or null)
Keys are only ever added.

Exit codes: 0 done; 1 the file has mistakes, or no agent answers; 2 bad usage.";

/// Arguments of `graph`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The graph file; without one, the agent of this host is asked for the graph that it runs
    file: Option<PathBuf>,
    /// How it is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line for each resource, in the order of the runs
    Text,
    /// The language of Graphviz
    Dot,
    /// The language of Mermaid
    Mermaid,
    /// A picture
    Svg,
    /// One JSON document
    Json,
}

/// Prints the graph.
pub(super) fn run(args: &Args) -> ExitCode {
    let picture = match &args.file {
        Some(file) => of_file(file),
        None => running(&args.which).map_err(super::print_error),
    };
    let Ok(picture) = picture else { return ExitCode::from(super::EXIT_FAILED) };
    let text = match args.format {
        Format::Text => picture::text(&picture),
        Format::Dot => picture::dot(&picture),
        Format::Mermaid => picture::mermaid(&picture),
        Format::Svg => picture::svg(&picture),
        Format::Json => match serde_json::to_string(&picture) {
            Ok(text) => text + "\n",
            Err(why) => {
                super::print_error(why);
                return ExitCode::from(super::EXIT_FAILED);
            }
        },
    };
    super::exit_after(std::io::stdout().write_all(text.as_bytes()))
}

/// The picture of a file, once what there is to say about it was printed.
fn of_file(file: &Path) -> Result<Picture, ()> {
    let (text, findings) = check::load(file).map_err(super::print_error)?;
    let name = file.display().to_string();
    if check::print(&name, &text, &findings) > 0 {
        return Err(());
    }
    // Without an error there is a program, and it compiles.
    let program = yaml::parse(&text).0.ok_or(())?;
    let compiled = graph::compile(&program, &[]).map_err(|findings| {
        check::print(&name, &text, &findings);
    })?;
    Ok(picture::of(&program, &compiled.graph, |_| None))
}

fn running(which: &Which) -> Result<Picture, String> {
    let answer = which.answer(Topic::Graph)?;
    serde_json::from_str(&answer).map_err(|why| {
        format!("the agent's answer is not a graph ({why}); is it of another version?")
    })
}
