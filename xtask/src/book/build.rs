//! `book build`, `book serve` and `book preprocess`. mdBook itself is compiled only with the
//! feature `book`; without it this program asks cargo for one that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::library::Library;
use super::{browser, links, provenance};
use crate::paths::{self, Exit};

/// What `book build` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Build {
    /// Refuse unless the last full verify was of this very commit, without local changes
    #[arg(long)]
    require_provenance: bool,
    /// Where the pages go [default: target/book/html, or a folder beside it for another book]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Open every page in Chromium: nothing on its console, no request, blocks as recorded
    #[arg(long)]
    browser: bool,
    /// Build them a second time as mdbook alone does, with the command that book.toml names, and
    /// compare every file
    #[arg(long)]
    plain: bool,
}

impl Build {
    /// Where the pages go.
    pub(crate) fn folder(&self, library: &Library) -> anyhow::Result<PathBuf> {
        let folder = self.out.clone().unwrap_or_else(|| library.work().join("html"));
        Ok(std::path::absolute(folder)?)
    }
}

/// Builds the pages and checks them.
pub(crate) fn run(library: &Library, args: &Build) -> anyhow::Result<ExitCode> {
    let stamp = provenance::current(library);
    if args.require_provenance {
        let changed = provenance::dirty(library, ".");
        if let Some(why) = provenance::lacking(stamp.as_ref(), changed) {
            return Err(Exit::error(Exit::FAILED, why));
        }
    }
    let out = args.folder(library)?;
    if !cfg!(feature = "book") {
        return again(library, args);
    }
    html(library, &out)?;
    let mut wrong = if args.plain { plain(library, &out)? } else { Vec::new() };
    if stamp.is_some() {
        fs::copy(library.work().join(provenance::FILE), out.join(provenance::FILE))?;
    }
    wrong.extend(check(&out)?);
    wrong.extend(shown(library, &out)?);
    if args.browser {
        wrong.extend(browser::check(library, &out)?);
    }
    if !wrong.is_empty() {
        return Err(Exit::error(Exit::FAILED, wrong.join("\n       ")));
    }
    println!("built   {}", out.join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// Runs the same verb in a program that has mdBook.
fn again(library: &Library, args: &Build) -> anyhow::Result<ExitCode> {
    let mut command = paths::cargo();
    command.current_dir(paths::root());
    command.args(["run", "--quiet", "--package", "xtask", "--features", "book", "--", "book"]);
    command.arg("--book").arg(library.folder()).arg("build");
    if args.require_provenance {
        command.arg("--require-provenance");
    }
    if args.browser {
        command.arg("--browser");
    }
    if args.plain {
        command.arg("--plain");
    }
    let status = command.arg("--out").arg(args.folder(library)?).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(Exit::FAILED)))
}

/// Recorded blocks whose text on the built pages is not what the store holds.
fn shown(library: &Library, out: &Path) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for page in library.pages()? {
        let name = page.path.replace(".md", ".html");
        let html = fs::read_to_string(out.join(&name))?;
        let records = library.record(&page.chapter.name)?.blocks;
        let found = browser::differing(&page, &records, &html);
        wrong.extend(found.into_iter().map(|one| format!("{name}: {one}")));
    }
    Ok(wrong)
}

/// Dead links and outside requests in built pages.
fn check(out: &Path) -> anyhow::Result<Vec<String>> {
    let files = files(out)?;
    let mut pages = BTreeMap::new();
    for name in &files {
        // The page for missing pages is made for the root of a site: its links are absolute on
        // purpose.
        let kinds = [".html", ".css"];
        if kinds.iter().any(|kind| name.ends_with(kind)) && name != "404.html" {
            pages.insert(name.clone(), fs::read_to_string(out.join(name))?);
        }
    }
    Ok(links::check(&pages, &files))
}

/// The paths of all files below a folder.
fn files(out: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(out)?.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(files)
}

/// Files that are not the same in two folders, or are in one of them only.
#[cfg(any(test, feature = "book"))]
fn unlike(one: &Path, other: &Path) -> anyhow::Result<Vec<String>> {
    let all: BTreeSet<String> = files(one)?.into_iter().chain(files(other)?).collect();
    let differs = |name: &&String| fs::read(one.join(name)).ok() != fs::read(other.join(name)).ok();
    Ok(all.iter().filter(differs).cloned().collect())
}

#[cfg(not(feature = "book"))]
fn html(_library: &Library, _out: &Path) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without mdBook")
}

#[cfg(feature = "book")]
fn html(library: &Library, out: &Path) -> anyhow::Result<()> {
    use mdbook_driver::MDBook;
    let texts = super::pages::render_all(library)?;
    let mut book = MDBook::load(library.folder())?;
    book.config.build.build_dir = out.to_owned();
    book.with_preprocessor(with_mdbook::Recorded { texts });
    book.build()
}

#[cfg(not(feature = "book"))]
fn plain(_library: &Library, _out: &Path) -> anyhow::Result<Vec<String>> {
    anyhow::bail!("this program was built without mdBook")
}

/// What differs when mdBook builds the pages on its own, and has the command of book.toml put the
/// recorded outputs in.
#[cfg(feature = "book")]
fn plain(library: &Library, out: &Path) -> anyhow::Result<Vec<String>> {
    use mdbook_driver::MDBook;
    let folder = tempfile::tempdir()?;
    let mut book = MDBook::load(library.folder())?;
    book.config.build.build_dir = folder.path().to_owned();
    book.build()?;
    let (ours, unlike) = (files(out)?.len(), unlike(folder.path(), out)?);
    println!("plain   {ours} files, {} of them not as mdbook alone has them", unlike.len());
    let told = |name: String| format!("{name}: mdbook alone has another one");
    Ok(unlike.into_iter().map(told).collect())
}

/// Speaks mdBook's protocol, so that a plain mdbook program builds the same pages.
pub(crate) fn preprocess(supports: Option<&str>) -> anyhow::Result<ExitCode> {
    if let Some(renderer) = supports {
        return Ok(if renderer == "html" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    protocol()?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "book"))]
fn protocol() -> anyhow::Result<()> {
    anyhow::bail!("needs mdBook: cargo run --package xtask --features book -- book preprocess")
}

#[cfg(feature = "book")]
fn protocol() -> anyhow::Result<()> {
    use mdbook_preprocessor::Preprocessor as _;
    let (context, book) = mdbook_preprocessor::parse_input(std::io::stdin())?;
    // The book is where mdBook found it, whatever it is called and wherever this runs.
    let library = Library::at(&context.root)?;
    let texts = super::pages::render_all(&library)?;
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::paths;

    /// What each package of the lock file names as its dependencies.
    fn lock() -> BTreeMap<String, Vec<String>> {
        let text = std::fs::read_to_string(paths::root().join("Cargo.lock")).expect("a lock file");
        let lock: toml::Table = text.parse().expect("TOML");
        let packages = lock["package"].as_array().expect("packages");
        let entry = |package: &toml::Value| {
            let list = package.get("dependencies").and_then(toml::Value::as_array);
            let names = list.into_iter().flatten().filter_map(toml::Value::as_str);
            let first = |name: &str| name.split(' ').next().unwrap_or(name).to_owned();
            (package["name"].as_str().expect("a name").to_owned(), names.map(first).collect())
        };
        packages.iter().map(entry).collect()
    }

    #[test]
    fn files_that_differ_or_are_in_one_folder_only_are_named() {
        let [one, other] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
        for (folder, name, text) in [
            (&one, "same", "1"),
            (&other, "same", "1"),
            (&one, "a/differs", "1"),
            (&other, "a/differs", "2"),
            (&one, "a/here", "1"),
            (&other, "there", "1"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let seen = super::unlike(one.path(), other.path()).expect("two folders");
        assert_eq!(seen, ["a/differs", "a/here", "there"]);
    }

    #[test]
    fn the_agent_compiles_neither_the_engine_s_client_nor_mdbook() {
        let lock = lock();
        let (mut reached, mut next) = (BTreeSet::new(), vec!["quorate".to_owned()]);
        while let Some(name) = next.pop() {
            if reached.insert(name.clone()) {
                next.extend(lock.get(&name).into_iter().flatten().cloned());
            }
        }
        assert!(reached.len() > 50 && reached.contains("etcd-client"), "{reached:?}");
        let heavy = |name: &&String| name.starts_with("bollard") || name.starts_with("mdbook");
        assert_eq!(reached.iter().find(heavy), None);
        assert!(lock.keys().any(|name| heavy(&name)), "the toolkit has them");
    }
}
