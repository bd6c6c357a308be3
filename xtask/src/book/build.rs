//! `book build`, `book serve` and `book preprocess`. mdBook itself is compiled only with the
//! feature `book`; without it this program asks cargo for one that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::library::Library;
use super::links;
use crate::paths::{self, Exit};

/// What `book build` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Build {
    /// Refuse unless the last full verify was of this very commit, without local changes
    #[arg(long)]
    require_provenance: bool,
    /// Where the pages go [default: target/book/html]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Open every page in Chromium: nothing on its console, no request, blocks as recorded
    #[arg(long)]
    browser: bool,
}

impl Build {
    /// Where the pages go.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = self.out.clone().unwrap_or_else(|| paths::target().join("book/html"));
        Ok(std::path::absolute(folder)?)
    }
}

/// Builds the pages and checks them.
pub(crate) fn run(library: &Library, args: &Build) -> anyhow::Result<ExitCode> {
    let stamp = super::provenance::current(library);
    if args.require_provenance && stamp.as_ref().is_none_or(|stamp| stamp.dirty) {
        let text = "the last full verify was not of this commit; run cargo xtask book verify";
        return Err(Exit::error(Exit::FAILED, text));
    }
    let out = args.folder()?;
    if !cfg!(feature = "book") {
        return again(args);
    }
    html(library, &out)?;
    let provenance = paths::target().join("book/provenance.json");
    if stamp.is_some() {
        fs::copy(provenance, out.join("provenance.json"))?;
    }
    let mut wrong = check(&out)?;
    if args.browser {
        wrong.extend(super::browser::check(library, &out)?);
    }
    if !wrong.is_empty() {
        return Err(Exit::error(Exit::FAILED, wrong.join("\n       ")));
    }
    println!("built   {}", out.join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Runs the same verb in a program that has mdBook.
fn again(args: &Build) -> anyhow::Result<ExitCode> {
    let mut command = paths::cargo();
    command.current_dir(paths::root());
    command.args(["run", "--quiet", "--package", "xtask", "--features", "book", "--", "book"]);
    command.arg("build");
    if args.require_provenance {
        command.arg("--require-provenance");
    }
    if args.browser {
        command.arg("--browser");
    }
    let status = command.arg("--out").arg(args.folder()?).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(Exit::FAILED)))
}

/// Dead links and outside requests in built pages.
fn check(out: &Path) -> anyhow::Result<Vec<String>> {
    let (mut pages, mut files) = (BTreeMap::new(), BTreeSet::new());
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(out)?.to_string_lossy().replace('\\', "/");
            // The page for missing pages is made for the root of a site: its links are absolute on
            // purpose.
            let kinds = [".html", ".css"];
            if kinds.iter().any(|kind| name.ends_with(kind)) && name != "404.html" {
                pages.insert(name.clone(), fs::read_to_string(&path)?);
            }
            files.insert(name);
        }
    }
    Ok(links::check(&pages, &files))
}

#[cfg(not(feature = "book"))]
fn html(_library: &Library, _out: &Path) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without mdBook")
}

#[cfg(feature = "book")]
fn html(library: &Library, out: &Path) -> anyhow::Result<()> {
    use mdbook_driver::MDBook;
    let texts = super::pages::render_all(library)?;
    let mut book = MDBook::load(paths::root().join("book"))?;
    book.config.build.build_dir = out.to_owned();
    book.with_preprocessor(with_mdbook::Recorded { texts });
    book.build()
}

/// Speaks mdBook's protocol, so that a plain mdbook program builds the same pages.
pub(crate) fn preprocess(library: &Library, supports: Option<&str>) -> anyhow::Result<ExitCode> {
    if let Some(renderer) = supports {
        return Ok(if renderer == "html" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    protocol(library)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "book"))]
fn protocol(_library: &Library) -> anyhow::Result<()> {
    anyhow::bail!("needs mdBook: cargo run --package xtask --features book -- book preprocess")
}

#[cfg(feature = "book")]
fn protocol(library: &Library) -> anyhow::Result<()> {
    use mdbook_preprocessor::Preprocessor as _;
    let (context, book) = mdbook_preprocessor::parse_input(std::io::stdin())?;
    let texts = super::pages::render_all(library)?;
    let book = with_mdbook::Recorded { texts }.run(&context, book)?;
    serde_json::to_writer(std::io::stdout(), &book)?;
    Ok(())
}

#[cfg(feature = "book")]
mod with_mdbook {
    //! The preprocessor: puts the rendered pages in place.

    use std::collections::BTreeMap;

    use mdbook_preprocessor::book::{Book, BookItem};
    use mdbook_preprocessor::errors::Result;
    use mdbook_preprocessor::{Preprocessor, PreprocessorContext};

    /// Pages by path.
    pub(super) struct Recorded {
        pub(super) texts: BTreeMap<String, String>,
    }

    impl Preprocessor for Recorded {
        // The name in book.toml: registered in this process, it replaces the command that is named
        // there.
        fn name(&self) -> &str {
            "quorate"
        }

        fn run(&self, _context: &PreprocessorContext, mut book: Book) -> Result<Book> {
            book.for_each_mut(|item| {
                let BookItem::Chapter(chapter) = item else { return };
                let path = chapter.source_path.as_ref().map(|path| path.to_string_lossy());
                if let Some(text) = path.and_then(|path| self.texts.get(path.as_ref())) {
                    chapter.content.clone_from(text);
                }
            });
            Ok(book)
        }
    }
}
