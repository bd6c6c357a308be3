//! `book serve --live`: whoever writes a chapter sees what its blocks give back. The cluster of the
//! chapter that was edited last stays; an edit runs the first changed block and those after it.
//!
//! What came back as expected is recorded and shown. A difference is told on the terminal and
//! changes nothing: what is wanted is for the author to write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::block::{Action, Block, Chapter};
use super::build::{self, Build};
use super::campaign::{self, Played};
use super::header::Making;
use super::library::{Library, Page};
use super::record::FileRecord;
use super::runner::{self, Left, Run};
use super::serve::{self, News};
use super::stage::Real;

/// The chapter whose cluster stays.
struct Kept {
    chapter: Chapter,
    files: BTreeMap<String, FileRecord>,
    stage: Real,
    left: Vec<Left>,
}

/// Serves, and follows the author's edits until the process ends.
pub(crate) fn run(library: &Library, args: &Build, address: &str) -> anyhow::Result<ExitCode> {
    let code = build::run(library, args)?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let news = News::default();
    news.tell();
    let folder = args.folder(library)?;
    std::thread::scope(|scope| {
        let served = scope.spawn(|| serve::run(&folder, address, &news));
        let followed = follow(library, args, &news);
        if let Err(failure) = followed {
            eprintln!("error: {failure:#}");
            return Ok(ExitCode::FAILURE);
        }
        match served.join() {
            Ok(served) => served.map(|()| ExitCode::SUCCESS),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn follow(library: &Library, args: &Build, news: &News) -> anyhow::Result<()> {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let roots = [library.folder().join("src"), library.root().join("examples")];
    for folder in folders(&roots) {
        let what = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        changes.add_watch(&folder, what)?;
    }
    let mut known = library.pages()?;
    let mut kept: Option<Kept> = None;
    loop {
        // Waits; editors write several times, and what came meanwhile is read with it.
        changes.read_events()?;
        let pages = match library.pages() {
            Ok(pages) => pages,
            Err(failure) => {
                eprintln!("error: {failure:#}");
                continue;
            }
        };
        let edited: Vec<&Page> =
            pages.iter().filter(|page| differs(library, page, &known, kept.as_ref())).collect();
        for page in &edited {
            let start = Instant::now();
            if let Err(failure) = again(library, page, &mut kept) {
                eprintln!("error: {failure:#}");
            }
            eprintln!("{}  {:.1} s", page.chapter.name, start.elapsed().as_secs_f64());
        }
        if !edited.is_empty() {
            match build::run(library, args) {
                Ok(_) => news.tell(),
                Err(failure) => eprintln!("error: {failure:#}"),
            }
        }
        known = library.pages().unwrap_or(pages);
    }
}

/// Whether a page is not as it was known, or one of its files is not.
fn differs(library: &Library, page: &Page, known: &[Page], kept: Option<&Kept>) -> bool {
    let before = known.iter().find(|one| one.chapter.name == page.chapter.name);
    let text = before.is_none_or(|one| one.chapter.source.lines != page.chapter.source.lines);
    let files = kept.is_some_and(|kept| {
        kept.chapter.name == page.chapter.name && kept.files != library.files(&page.chapter)
    });
    text || files
}

/// Runs what was edited of a chapter, on the cluster that is there or a new one.
fn again(library: &Library, page: &Page, kept: &mut Option<Kept>) -> anyhow::Result<()> {
    let chapter = &page.chapter;
    if chapter.header.making == Making::Nothing {
        return Ok(());
    }
    let files = library.files(chapter);
    let same =
        |one: &Kept| one.chapter.name == chapter.name && one.chapter.header == chapter.header;
    let mut one = match kept.take().filter(same) {
        Some(one) => one,
        None => {
            eprintln!("making the cluster of {}", chapter.name);
            let stage =
                Real::up(chapter, library.root(), campaign::failed(library, &chapter.name))?;
            Kept { chapter: chapter.clone(), files: files.clone(), stage, left: Vec::new() }
        }
    };
    let first = first_changed(&one.chapter, &one.files, chapter, &files);
    one.left.truncate(first);
    let rules = library.rules()?;
    let progress = |block: &Block| eprintln!("  {:<28} {}", block.label(), block.place_name());
    let run = Run {
        rules: &rules,
        read: &|path| library.read(path),
        keep_going: false,
        first: None,
        last: None,
        progress: &progress,
    };
    let outcome = runner::resume(chapter, &one.stage, &run, &mut one.left);
    if !outcome.drifts.is_empty() {
        // The block that differed is run again next time, whatever is edited.
        one.left.pop();
    }
    (one.chapter, one.files) = (chapter.clone(), files);
    *kept = Some(one);
    for drift in &outcome.drifts {
        eprint!("{}", drift.report());
    }
    let drifts = outcome.drifts.clone();
    let mut played = Played { outcome, drifts, ..Played::idle(page) };
    let differed = |at: &usize| {
        let label = format!("block {}", chapter.blocks[*at].label());
        played.drifts.iter().any(|drift| drift.label == label)
    };
    let wrong: Vec<usize> = played.outcome.seen.keys().copied().filter(|at| differed(at)).collect();
    played.outcome.seen.retain(|at, _| !wrong.contains(at));
    let manner = campaign::Manner { yes: true, fresh: false };
    campaign::accept(library, &mut played, &|| library.pages(), manner).map(|_| ())
}

/// The position of the first block that is not as it was: its text, or the file that it shows.
fn first_changed(
    old: &Chapter,
    old_files: &BTreeMap<String, FileRecord>,
    new: &Chapter,
    new_files: &BTreeMap<String, FileRecord>,
) -> usize {
    let same = |(one, other): &(&Block, &Block)| {
        let file = match &other.action {
            Action::File(shown) => old_files.get(&shown.path) == new_files.get(&shown.path),
            _ => true,
        };
        one.digest == other.digest && file
    };
    old.blocks.iter().zip(&new.blocks).take_while(same).count()
}

/// These folders with all that are in them.
fn folders(of: &[PathBuf]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = of.iter().filter(|folder| is_folder(folder)).cloned().collect();
    let mut next = 0;
    while let Some(folder) = all.get(next).cloned() {
        let inner = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        all.extend(inner.map(|entry| entry.path()).filter(|path: &PathBuf| is_folder(path)));
        next += 1;
    }
    all
}

fn is_folder(path: &Path) -> bool {
    path.is_dir() && !path.is_symlink()
}

#[cfg(test)]
mod tests {
    use super::super::fence_tests::chapter;
    use super::*;

    #[test]
    fn an_edit_begins_at_the_first_block_or_file_that_changed() {
        let block = |id: &str, command: &str| {
            format!("```console {{node=h1 id={id}}}\n$ {command}\n```\n\nWords.\n\n")
        };
        let shown = "```yaml {file=x.yaml node=h1 to=/x}\n```\n\n";
        let text = |a: &str, c: &str| {
            chapter(&format!("{}{shown}{}", block("a", a), block("c", c))).expect("a chapter")
        };
        let files = |text: &str| BTreeMap::from([("x.yaml".to_owned(), FileRecord::of(text))]);
        let (old, now) = (text("one", "two"), files("a: 1"));
        for (new, then, wanted) in [
            (text("one", "two"), files("a: 1"), 3),
            (text("one", "three"), files("a: 1"), 2),
            (text("one", "three"), files("a: 2"), 1),
            (text("zero", "two"), files("a: 1"), 0),
        ] {
            assert_eq!(first_changed(&old, &now, &new, &then), wanted);
        }
    }
}
