//! `quorate schema`: the JSON Schema of graph files, for editors.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  quorate schema --output ~/.config/quorate.schema.json
  # yaml-language-server: $schema=~/.config/quorate.schema.json     the first line of a graph file

Editors complete and check names and types with it. `quorate check` finds more: names that are \
there twice, edges to nothing, cycles, and what the kinds say about their fields.";

/// Arguments of `schema`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Write it to this file in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Prints or writes the schema.
pub(super) fn run(args: &Args) -> ExitCode {
    let text = format!("{:#}\n", crate::yaml::schema());
    let Some(path) = &args.output else {
        return super::exit_after(std::io::stdout().write_all(text.as_bytes()));
    };
    match std::fs::write(path, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            super::print_error(format!("{} cannot be written: {why}", path.display()));
            ExitCode::from(super::EXIT_FAILED)
        }
    }
}
