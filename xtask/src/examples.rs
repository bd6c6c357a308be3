//! `cargo xtask examples`: each folder of `examples/` on its own cluster, with the book's runner.

use std::process::ExitCode;

use clap::Subcommand;

use crate::book::campaign::{self, Options};
use crate::book::library::{Library, Page};
use crate::paths::Exit;

/// What `examples` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the steps of the README of each example and compare what comes back
    Run {
        /// Which; all when none is named
        names: Vec<String>,
        /// Only say which there are
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        options: Options,
    },
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Verb::Run { names, list, options } = args.verb;
    let library = Library::own();
    let known = library.examples()?;
    if list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let text = format!("no example {name}; there are {}", known.join(", "));
        return Err(Exit::error(Exit::ABSENT, text));
    }
    let wanted = known.iter().filter(|name| names.is_empty() || names.contains(name));
    let pages = wanted.map(|name| library.example(name)).collect::<anyhow::Result<Vec<Page>>>()?;
    let chosen = campaign::chosen(&pages, &options)?;
    campaign::verify(&library, &chosen, &options, false)
}
