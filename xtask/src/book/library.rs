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
use super::{fence, source};
use crate::paths::Exit;

/// The repository as the book sees it.
pub(crate) struct Library {
    root: PathBuf,
}

/// A chapter with the page that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Path below `book/src`, or of the example's README from the root.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) chapter: Chapter,
}

impl Library {
    /// The book of the repository at `root`.
    pub(crate) fn new(root: &Path) -> Library {
        Library { root: root.to_owned() }
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
        let summary =
            self.read("book/src/SUMMARY.md").context("cannot read book/src/SUMMARY.md")?;
        let mut pages = Vec::new();
        let mut problems = Vec::new();
        for path in linked(&summary) {
            match self.load(&format!("book/src/{path}")) {
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

    /// The redaction rules.
    pub(crate) fn rules(&self) -> anyhow::Result<Rules> {
        let path = "book/redactions.toml";
        let text = self.read(path).with_context(|| format!("cannot read {path}"))?;
        Rules::parse(&text).map_err(|why| Exit::error(Exit::FAILED, format!("{path}: {why}")))
    }

    /// The record of a chapter; an empty one if there is none.
    pub(crate) fn record(&self, chapter: &str) -> anyhow::Result<ChapterRecord> {
        let path = record_path(chapter);
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

    /// Records of chapters that are no longer in the book.
    pub(crate) fn orphans(&self, pages: &[Page]) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join("book/verified")) else { return Vec::new() };
        let mut orphans: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|file| file.strip_suffix(".json").map(str::to_owned))
            .filter(|name| pages.iter().all(|page| page.chapter.name != *name))
            .collect();
        orphans.sort();
        orphans
    }
}

/// Where the record of a chapter lies.
pub(crate) fn record_path(chapter: &str) -> String {
    format!("book/verified/{chapter}.json")
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
}
