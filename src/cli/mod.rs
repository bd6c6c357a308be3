//! The command line: arguments as typed, their meaning, exit codes and what is printed.
//!
//! Refuses to decide anything about resources or clusters: it turns arguments into settings, calls
//! the part that does the work, and turns the result into text and an exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::agent::tell;

mod agents;
mod check;
mod cluster;
mod collect;
mod complete;
mod exports;
mod graph;
mod host;
mod legacy;
mod listen;
mod listing;
mod run;
mod schema;
mod site;
mod state;
mod status;
mod tls;
mod watch;

/// The graph or the configuration is refused, or something went wrong while running.
pub const EXIT_FAILED: u8 = 1;
/// The command line is wrong.
pub const EXIT_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  quorate run yaml site.yaml                 apply a graph on this host and keep it applied
  quorate run --noop yaml site.yaml          say what would change, change nothing
  quorate check site.yaml                    list every mistake in a file
  quorate run --hostname h1 --ideal-cluster-size 3 yaml site.yaml
                                             found a cluster
  quorate run --hostname h2 --seeds http://127.0.0.1:2379 --client-urls http://127.0.0.1:2381 \\
      --server-urls http://127.0.0.1:2382 yaml site.yaml
                                             join it from a second terminal
  quorate run --client-urls https://h1:2379 --server-urls https://h1:2380 yaml site.yaml
                                             found a cluster with TLS
  quorate cluster token                      a token, for one host that is to join it
  quorate run --seeds https://h1:2379 --token TOKEN --client-urls https://h2:2379 \\
      --server-urls https://h2:2380 yaml site.yaml
                                             join it from another host
  quorate status                             what the agent of this host is doing
  quorate status --watch                     the same, again after each change
  quorate cluster status                     who is in the cluster, and why nothing happens
  quorate collect explain                    what becomes of each export here, and why
  quorate exports list                       what all hosts export
  quorate host label web1 role=web           what a host is for, so that rules can go by it
  quorate graph site.yaml --format svg       a picture of a graph
  quorate schema --output quorate.json       the JSON Schema of graph files, for editors

Exit codes:
  0    done
  1    graph or configuration refused, or a runtime error
  2    bad usage
  3    refused at start: folder in use, host name taken, port in use
  4    not reached in time
  5    converged with failed or blocked resources
  130, 137, 143  forced to stop";

/// Applies a graph of resources, keeps it applied, and exchanges resources with other hosts.
#[derive(Parser)]
#[command(name = "quorate", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply a graph and keep it applied
    Run(Box<run::Args>),
    /// List every mistake in a graph file, without running it
    Check(check::Args),
    /// Show what the agent of this host is doing
    Status(Box<status::Args>),
    /// Show and change the cluster of this host
    Cluster(Box<cluster::Args>),
    /// Put the state of an agent that does not run aside
    State(state::Args),
    /// Say what becomes of the exports of all hosts here
    Collect(collect::Args),
    /// Show what all hosts export, and say who may
    Exports(exports::Args),
    /// Say what hosts are for, and that one is gone for good
    Host(host::Args),
    /// Draw the graph of a file, or the one that the agent of this host runs
    Graph(graph::Args),
    /// Print the JSON Schema of graph files
    Schema(schema::Args),
    /// Print a completion script for a shell
    ///
    /// For bash: `quorate completions bash > /etc/bash_completion.d/quorate`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the words that a completion script offers
    #[command(hide = true)]
    Complete(complete::Args),
}

/// Runs the program with these arguments (the first is its name).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = listen::with_default(args.into_iter().collect());
    if let Some(answer) = legacy::answer(&args) {
        tell(format_args!("{answer}\n"));
        return ExitCode::from(EXIT_USAGE);
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(refusal) => refusal.exit(),
    };
    match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::State(args) => state::run(&args),
        Command::Collect(args) => collect::run(&args),
        Command::Exports(args) => exports::run(&args),
        Command::Host(args) => host::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Complete(args) => complete::run(args),
        Command::Completions { shell } => {
            let script = complete::script(shell, &mut Cli::command());
            exit_after(std::io::stdout().write_all(script.as_bytes()))
        }
    }
}

/// The exit code after the output was written: that nobody reads it any more is no failure.
fn exit_after(written: std::io::Result<()>) -> ExitCode {
    match written {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => {
            print_error(format!("the output cannot be written: {why}"));
            ExitCode::from(EXIT_FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints an error the way every command does.
fn print_error(message: impl std::fmt::Display) {
    tell(format_args!("error: {message}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_of_cluster_and_site_shows_examples_and_takes_json() {
        fn look(command: &clap::Command, seen: &mut usize) {
            let verbs: Vec<&clap::Command> = command.get_subcommands().collect();
            verbs.iter().for_each(|verb| look(verb, seen));
            if verbs.is_empty() {
                let name = command.get_name();
                let json = command.get_arguments().any(|one| one.get_id() == "json");
                assert!(json, "{name} has no --json");
                *seen += 1;
            }
            // The verbs of `snapshot` are shown together.
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let shown = help.contains("Examples:") && help.contains("Exit codes:");
            let together = ["save", "list", "restore"].contains(&command.get_name());
            assert!(shown || together, "{}: {help}", command.get_name());
        }
        let tree = Cli::command();
        let mut seen = 0;
        for name in ["cluster", "host", "exports"] {
            look(tree.find_subcommand(name).unwrap(), &mut seen);
        }
        let state = tree.find_subcommand("state").unwrap();
        look(state.find_subcommand("reset").unwrap(), &mut seen);
        assert!(seen >= 25, "{seen}");
    }

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }
}
