//! `cargo xtask book`: verify, record and build the book.
//!
//! A chapter is Markdown whose fences say where their commands run; `runner` runs them on a fresh
//! cluster, `judge` compares what came back, `bless` writes it down, and `render` makes pages of
//! what is written down. Building never runs a command, and running never builds.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use block::Action;
use campaign::Options;
use library::Library;

mod again;
mod attributes;
mod bless;
mod block;
mod browser;
mod build;
mod cache;
pub(crate) mod campaign;
mod colour;
mod crew;
mod fence;
#[cfg(test)]
mod fence_tests;
mod floors;
mod header;
mod judge;
mod junit;
pub(crate) mod library;
mod links;
mod live;
mod machine;
mod made;
#[cfg(test)]
mod mutation_tests;
#[cfg_attr(not(feature = "book"), expect(dead_code, reason = "pages are made with mdBook only"))]
mod pages;
mod pattern;
#[cfg(test)]
mod pattern_tests;
mod problem;
mod prose;
mod provenance;
mod record;
mod redact;
mod render;
mod runner;
#[cfg(test)]
mod runner_tests;
mod serve;
mod source;
mod stage;
mod timeline;
mod topology;

/// What `book` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The book in this folder: src/SUMMARY.md and what it names; by default quorate's own
    #[arg(long, global = true, value_name = "DIR")]
    book: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the chapters on fresh clusters and compare with what they say
    Verify(Options),
    /// Run the chapters and accept what came back
    Bless {
        #[command(flatten)]
        options: Options,
        /// Accept without asking
        #[arg(long)]
        yes: bool,
        /// Record anew what still fits, too: lines that only a wildcard covers may have aged
        #[arg(long)]
        fresh: bool,
    },
    /// Build the pages from the records
    Build(build::Build),
    /// Build the pages and serve them to a browser on this machine
    Serve {
        #[command(flatten)]
        build: build::Build,
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
        addr: String,
        /// Run what is edited on a cluster that stays, record it, and show it
        #[arg(long)]
        live: bool,
    },
    /// List all blocks
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Speak mdBook's preprocessor protocol on standard input and output
    Preprocess {
        /// `supports RENDERER`, as mdBook asks first
        #[arg(num_args = 0..=2, value_names = ["supports", "RENDERER"])]
        words: Vec<String>,
    },
}

/// Runs it.
pub(crate) fn run(args: Args, program: &clap::Command) -> anyhow::Result<ExitCode> {
    let library = match &args.book {
        Some(folder) => Library::at(folder)?,
        None => Library::own(),
    };
    match args.verb {
        Verb::Verify(options) => {
            let pages = library.pages()?;
            let full = options.chapter.is_empty();
            let chosen = campaign::chosen(&pages, &options)?;
            prose(&chosen, program)?;
            campaign::verify(&library, &chosen, &options, full)
        }
        Verb::Bless { options, yes, fresh } => {
            let chosen = campaign::chosen(&library.pages()?, &options)?;
            let manner = campaign::Manner { yes, fresh };
            campaign::bless(&library, &chosen, &|| library.pages(), &options, manner)
        }
        Verb::Build(args) => build::run(&library, &args),
        Verb::Serve { build, addr, live: true } => live::run(&library, &build, &addr),
        Verb::Serve { build, addr, live: false } => {
            let code = build::run(&library, &build)?;
            if code == ExitCode::SUCCESS {
                serve::run(&build.folder(&library)?, &addr, &serve::News::default())?;
            }
            Ok(code)
        }
        Verb::List { json } => list(&library, json),
        Verb::Preprocess { words } => build::preprocess(words.get(1).map(String::as_str)),
    }
}

/// Refuses pages whose running text names verbs or flags that are not there.
fn prose(pages: &[library::Page], program: &clap::Command) -> anyhow::Result<()> {
    let agent = prose::Verbs::of_completions(&stage::completions()?);
    if agent.is_empty() {
        anyhow::bail!("the agent's completions are not in a form that is understood here");
    }
    let programs = prose::Programs::new(prose::Verbs::of_command(program), agent);
    let wrong: Vec<problem::Problem> =
        pages.iter().flat_map(|page| prose::check(&page.chapter, &programs)).collect();
    problem::refuse(&wrong)
}

/// One line per block: chapter, name, where, what, how long it took last, and what it needs.
fn list(library: &Library, json: bool) -> anyhow::Result<ExitCode> {
    // How long it will take is what it took last.
    let stamp = provenance::last(library);
    for page in library.pages()? {
        let needs = page.chapter.header.needs.iter().map(|need| need.name());
        let needs: Vec<&str> = needs.collect();
        for block in &page.chapter.blocks {
            let what = match &block.action {
                Action::NotRun(_) => "not run",
                _ if block.hide => "hidden",
                Action::Console(console) if console.eventually.is_some() => "eventually",
                Action::Console(_) => "console",
                Action::File(_) => "file",
                Action::Topology { .. } | Action::Timeline { .. } => "picture",
                Action::Made { .. } => "made",
                Action::Provenance => "provenance",
            };
            let (chapter, label, place) = (&page.chapter.name, block.label(), block.place_name());
            let took = stamp.as_ref().and_then(|stamp| stamp.elapsed.get(&label));
            if json {
                let line = serde_json::json!({"chapter": chapter, "block": label, "node": place,
                    "what": what, "file": &*block.at.file, "line": block.at.line, "needs": needs,
                    "seconds": took});
                println!("{line}");
            } else {
                let took = took.map_or_else(|| "-".to_owned(), |took| format!("{took:.1} s"));
                let needs = needs.join(",");
                let line = format!("{label:<32} {place:<10} {what:<11} {took:>7}  {}", block.at);
                println!("{chapter:<20} {line} {needs}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
