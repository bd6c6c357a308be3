//! Loads what the repository holds of the book: chapters, examples, rules and records. It writes
//! records and chapters for `bless`, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pulldown_cmark::{Event, Parser, Tag};

use super::block::{Action, Chapter};
use super::problem::{self, Problem};
use super::record::{self, ChapterRecord, FileRecord};
use super::redact::Rules;
use super::{fence, provenance, source};
use crate::paths::{self, Exit};

/// The rules of a book that has none of its own.
const RULES: &str = include_str!("../../../book/redactions.toml");

/// A book and the project that it lies in.
#[derive(Debug)]
pub(crate) struct Library {
    /// The folder that holds the book's folder: what paths in chapters begin at.
    root: PathBuf,
    /// The name of the book's folder.
    folder: String,
    /// Where pages, stamps and logs go.
    work: PathBuf,
}

/// A chapter with the page that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Path below the book's `src`, or of the example's README from the root.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) chapter: Chapter,
}

impl Library {
    /// The book of this repository.
    pub(crate) fn own() -> Library {
        let (root, work) = (paths::root().to_owned(), paths::target().join("book"));
        Library { root, folder: "book".to_owned(), work }
    }

    /// The book in any folder that has `src/SUMMARY.md`.
    pub(crate) fn at(folder: &Path) -> anyhow::Result<Library> {
        let absent = |what: &str| {
            let text = format!(
                "{} {what}; a book is a folder with src/SUMMARY.md and the chapters it names",
                folder.display()
            );
            Exit::error(Exit::ABSENT, text)
        };
        let full = fs::canonicalize(folder).map_err(|_| absent("is not there"))?;
        if fs::canonicalize(paths::root().join("book")).is_ok_and(|own| own == full) {
            return Ok(Library::own());
        }
        let parts = full.parent().zip(full.file_name().and_then(|name| name.to_str()));
        let (root, name) = parts.ok_or_else(|| absent("is no folder in another one"))?;
        if !full.join("src/SUMMARY.md").is_file() {
            return Err(absent("has no src/SUMMARY.md"));
        }
        // Two books may have folders of one name.
        let digest = fence::digest(&[full.display().to_string()]);
        let work = paths::target().join("books").join(format!("{name}-{}", &digest[..8]));
        Ok(Library { root: root.to_owned(), folder: name.to_owned(), work })
    }

    /// Whether it is the book of this repository.
    pub(crate) fn is_own(&self) -> bool {
        self.root == paths::root() && self.folder == "book"
    }

    /// The folder that paths in chapters begin at.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The book's own folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    /// Where pages, stamps and logs go.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// The path from the root of something in the book's folder.
    pub(crate) fn inside(&self, path: &str) -> String {
        format!("{}/{path}", self.folder)
    }

    /// Where the record of a chapter lies.
    pub(crate) fn record_path(&self, chapter: &str) -> String {
        self.inside(&format!("verified/{chapter}.json"))
    }

    /// The commit that the project has checked out, if it is kept in git.
    pub(crate) fn commit(&self) -> Option<String> {
        provenance::head(self.root.ancestors().find(|folder| folder.join(".git").exists())?)
    }

    /// Reads a text file by its path from the root.
    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.root.join(path))
    }

    /// Writes a text file by its path from the root, unless it holds that text already.
    pub(crate) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        if self.read(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let full = self.root.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&full, text).with_context(|| format!("cannot write {path}"))
    }

    /// All pages of the book in the order of `SUMMARY.md`; every mistake in any of them is an
    /// error.
    pub(crate) fn pages(&self) -> anyhow::Result<Vec<Page>> {
        let path = self.inside("src/SUMMARY.md");
        let summary = self.read(&path).with_context(|| format!("cannot read {path}"))?;
        let mut pages = Vec::new();
        let mut problems = Vec::new();
        for path in linked(&summary) {
            match self.load(&self.inside(&format!("src/{path}"))) {
                Ok(chapter) => pages.push(Page { path, chapter }),
                Err(more) => problems.extend(more),
            }
        }
        let chapters: Vec<Chapter> = pages.iter().map(|page| page.chapter.clone()).collect();
        problems.extend(fence::duplicate_ids(&chapters));
        problem::refuse(&problems)?;
        Ok(pages)
    }

    /// The names of all examples: folders with a README.
    pub(crate) fn examples(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join("examples")).context("cannot read examples")? {
            let entry = entry?;
            if entry.path().join("README.md").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// One example as a page.
    pub(crate) fn example(&self, name: &str) -> anyhow::Result<Page> {
        let path = format!("examples/{name}/README.md");
        match self.load(&path) {
            Ok(chapter) => Ok(Page { path, chapter }),
            Err(problems) => {
                problem::refuse(&problems)?;
                Err(Exit::error(Exit::FAILED, format!("cannot read {path}")))
            }
        }
    }

    fn load(&self, path: &str) -> Result<Chapter, Vec<Problem>> {
        let source = source::load(path, &|path| self.read(path)).map_err(|one| vec![one])?;
        let name = name_of(path, &source.at(0).file);
        fence::chapter(&name, source)
    }

    /// The redaction rules: the book's own, or those of our book where it has none.
    pub(crate) fn rules(&self) -> anyhow::Result<Rules> {
        let path = self.inside("redactions.toml");
        let text = self.rules_text()?;
        Rules::parse(&text).map_err(|why| Exit::error(Exit::FAILED, format!("{path}: {why}")))
    }

    /// The text of the rules.
    pub(crate) fn rules_text(&self) -> anyhow::Result<String> {
        let path = self.inside("redactions.toml");
        match self.read(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RULES.to_owned()),
            Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
        }
    }

    /// Whether the rules are the book's own, so that each of them must be of use.
    pub(crate) fn has_rules(&self) -> bool {
        self.root.join(self.inside("redactions.toml")).is_file()
    }

    /// The record of a chapter; an empty one if there is none.
    pub(crate) fn record(&self, chapter: &str) -> anyhow::Result<ChapterRecord> {
        let path = self.record_path(chapter);
        match self.read(&path) {
            Ok(text) => record::parse(&text)
                .map_err(|why| Exit::error(Exit::FAILED, format!("{path}: {why}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ChapterRecord::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
        }
    }

    /// The present texts of all files that a chapter shows or uploads; missing ones are left out.
    pub(crate) fn files(&self, chapter: &Chapter) -> BTreeMap<String, FileRecord> {
        let shown = chapter.blocks.iter().filter_map(|block| match &block.action {
            Action::File(shown) => Some(shown.path.clone()),
            _ => None,
        });
        shown
            .filter_map(|path| Some((path.clone(), FileRecord::of(&self.read(&path).ok()?))))
            .collect()
    }

    /// The names of all records, in order.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(self.inside("verified")));
        let name = |entry: io::Result<fs::DirEntry>| {
            let file = entry.ok()?.file_name().into_string().ok()?;
            file.strip_suffix(".json").map(str::to_owned)
        };
        let mut names: Vec<String> = entries.into_iter().flatten().filter_map(name).collect();
        names.sort();
        names
    }

    /// Records of chapters that are no longer in the book.
    pub(crate) fn orphans(&self, pages: &[Page]) -> Vec<String> {
        let mut names = self.recorded();
        names.retain(|name| pages.iter().all(|page| page.chapter.name != *name));
        names
    }
}

/// A page that begins with an example's README has the example's name, so that both share one
/// record.
fn name_of(path: &str, first: &str) -> String {
    let example = first.strip_prefix("examples/").and_then(|rest| rest.strip_suffix("/README.md"));
    let file = path.rsplit('/').next().unwrap_or(path);
    example.unwrap_or_else(|| file.strip_suffix(".md").unwrap_or(file)).to_owned()
}

/// The pages that a summary links to, in order.
fn linked(summary: &str) -> Vec<String> {
    let mut pages = Vec::new();
    for event in Parser::new(summary) {
        if let Event::Start(Tag::Link { dest_url, .. }) = event {
            let path = dest_url.strip_prefix("./").unwrap_or(&dest_url).to_owned();
            if path.ends_with(".md") && !pages.contains(&path) {
                pages.push(path);
            }
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_begins_with_an_example_has_its_name() {
        assert_eq!(name_of("book/src/examples/a.md", "examples/etcd1/README.md"), "etcd1");
        assert_eq!(name_of("book/src/by-hand.md", "book/src/by-hand.md"), "by-hand");
    }

    #[test]
    fn the_summary_names_the_pages_in_order() {
        let summary = "# Summary\n\n[Front](front.md)\n\n- [One](./one.md)\n  - [Two](a/two.md)\n- \
        [Draft]()\n";
        assert_eq!(linked(summary), ["front.md", "one.md", "a/two.md"]);
    }

    #[test]
    fn any_folder_with_a_summary_is_a_book_and_others_are_told_what_lacks() {
        let project = tempfile::tempdir().expect("a folder");
        let folder = project.path().join("docs");
        let none = Library::at(&folder).expect_err("refused").to_string();
        assert!(none.contains("docs is not there; a book is a folder with"), "{none}");
        fs::create_dir_all(folder.join("src")).expect("made");
        let empty = Library::at(&folder).expect_err("refused").to_string();
        assert!(empty.contains("docs has no src/SUMMARY.md; "), "{empty}");
        fs::write(folder.join("src/SUMMARY.md"), "- [A](a.md)\n").expect("written");
        fs::write(folder.join("src/a.md"), "# A\n\n{{#include ../../b.md}}\n").expect("written");
        fs::write(project.path().join("b.md"), "words\n").expect("written");
        let library = Library::at(&folder).expect("a book");
        let pages = library.pages().expect("read");
        assert_eq!((pages.len(), pages[0].path.as_str()), (1, "a.md"));
        assert_eq!(&*pages[0].chapter.source.at(0).file, "docs/src/a.md");
        assert_eq!(&*pages[0].chapter.source.at(2).file, "b.md");
        assert_eq!(library.record_path("a"), "docs/verified/a.json");
        assert!(!library.is_own() && !library.has_rules() && library.rules().is_ok());
        assert!(Library::at(&paths::root().join("book")).is_ok_and(|own| own.is_own()));
        assert_ne!(library.work(), Library::own().work());
    }
}
