//! `cargo xtask`: clusters in containers, examples, the verified book, tidy and tests.
//!
//! Drives the built agent and the container engine's API; never links the agent's library, so that
//! examples and book test what users get. `ARCHITECTURE.md` maps the modules.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// As `std::println!`, which panics when nobody reads any more (`| head`): what is being made or
/// removed must not stop for that.
macro_rules! println {
    () => { crate::ui::say(&mut std::io::stdout(), format_args!("")) };
    ($($text:tt)*) => { crate::ui::say(&mut std::io::stdout(), format_args!($($text)*)) };
}

/// As `std::eprintln!`, for the same reason.
macro_rules! eprintln {
    () => { crate::ui::say(&mut std::io::stderr(), format_args!("")) };
    ($($text:tt)*) => { crate::ui::say(&mut std::io::stderr(), format_args!($($text)*)) };
}

mod bench;
mod book;
mod chaos;
mod cluster;
mod doctor;
mod engine;
mod examples;
mod image;
mod interrupt;
mod lab;
mod paths;
mod test;
mod tidy;
mod ui;

/// Development tool of quorate.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Clusters of real nodes in containers
    Cluster(cluster::Args),
    /// The image that nodes run
    Image(image::Args),
    /// What this machine has and lacks for clusters, examples and the book
    Doctor(doctor::Args),
    /// Run the examples end to end
    Examples(examples::Args),
    /// Verify, record and build the book
    Book(book::Args),
    /// Check what a compiler cannot
    Tidy(tidy::Args),
    /// Run the tests
    Test(test::Args),
    /// Break real nodes by schedules while clients write, and compare what they were told
    Chaos(chaos::Args),
    /// Measure
    Bench(bench::Args),
    /// Look after the process of a node without a container
    #[command(hide = true)]
    RunNode {
        /// The node's folder
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Cluster(args) => cluster::run(args),
        Verb::Image(args) => image::run(args),
        Verb::Doctor(args) => doctor::run(args),
        Verb::Examples(args) => examples::run(args),
        Verb::Book(args) => book::run(args, &Cli::command()),
        Verb::Tidy(args) => tidy::run(args),
        Verb::Test(args) => test::run(args),
        Verb::Chaos(args) => chaos::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::RunNode { folder } => engine::local::supervise(folder),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("error: {failure:#}");
        failure.downcast_ref::<paths::Exit>().map_or(ExitCode::FAILURE, |exit| exit.code())
    })
}
