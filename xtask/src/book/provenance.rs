//! When, where and from which commit the book was verified last: `target/book/provenance.json`,
//! never checked in. It refuses to judge: `build` does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::block::{Action, Chapter};
use super::campaign::Played;
use super::fence::digest;
use super::library::Library;
use super::machine;
use super::stage::Stage;
use crate::lab;

/// The name of the file, in the folder of what the book makes and beside the pages.
pub(crate) const FILE: &str = "provenance.json";
/// Asking for a version takes no longer.
const ASK: Duration = Duration::from_secs(10);

/// The stamp of a full run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The commit that was checked out.
    pub(crate) commit: String,
    /// Whether files differed from it.
    pub(crate) dirty: bool,
    /// When it began, in UTC.
    pub(crate) started: String,
    /// When it ended, in UTC.
    pub(crate) ended: String,
    /// Digest of all records that it compared with.
    pub(crate) records: String,
    /// Versions of what ran: agent, etcd, busybox, kernel, engine.
    pub(crate) versions: BTreeMap<String, String>,
    /// SHA-256 of the programs in the nodes.
    #[serde(default)]
    pub(crate) digests: BTreeMap<String, String>,
    /// Key of the nodes' image.
    #[serde(default)]
    pub(crate) image: String,
    /// The faults that the machine could make, and with what.
    #[serde(default)]
    pub(crate) faults: Vec<String>,
    /// Seconds per chapter.
    #[serde(default)]
    pub(crate) chapters: BTreeMap<String, f64>,
    /// Seconds per block.
    pub(crate) elapsed: BTreeMap<String, f64>,
    /// Blocks that are shown and not run, with the reason.
    pub(crate) not_run: BTreeMap<String, String>,
}

/// What runs in the nodes: its name, its program, and what tells its version.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("agent", "\"$(command -v quorate)\"", "quorate --version"),
    ("etcd", "\"$(command -v etcd)\"", "etcd --version | head -n 1"),
    // What computes the digest is busybox.
    ("busybox", "/proc/self/exe", "busybox | head -n 1"),
];

/// The first word that is a version, without its `v`.
fn version_in(lines: &[String]) -> Option<String> {
    let mut words = lines.first()?.split_whitespace().map(|word| word.trim_start_matches('v'));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

impl Stamp {
    /// Asks a node for the versions of what runs in it, once.
    pub(crate) fn versions(&mut self, stage: &dyn Stage) {
        let Some(node) = stage.nodes().into_iter().next() else { return };
        for (name, program, version) in PROGRAMS {
            if self.versions.contains_key(name) {
                continue;
            }
            let script = format!("{version}; sha256sum {program}");
            let Ok(output) = stage.exec(&node, &script, ASK) else { continue };
            let found = version_in(&output.lines).map(|word| (name.to_owned(), word));
            self.versions.extend(found);
            let sum = output.lines.last().and_then(|line| line.split_whitespace().next());
            let sum = sum.filter(|sum| sum.len() == 64 && output.exit == 0);
            self.digests.extend(sum.map(|sum| (name.to_owned(), sum.to_owned())));
        }
    }

    /// How long what a chapter shows took to run, with what it waited for.
    pub(crate) fn seconds(&self, chapter: &Chapter) -> f64 {
        let ids = chapter.blocks.iter().filter_map(|block| block.id.as_ref());
        ids.filter_map(|id| self.elapsed.get(id)).sum()
    }

    /// The day, for the head of a page.
    pub(crate) fn day(&self) -> &str {
        self.ended.get(..10).unwrap_or(&self.ended)
    }

    /// The commit in short.
    pub(crate) fn short(&self) -> &str {
        self.commit.get(..12).unwrap_or(&self.commit)
    }
}

/// The stamp of a run that begins now.
pub(crate) fn begin(library: &Library) -> Stamp {
    let mut stamp = Stamp {
        commit: library.commit().unwrap_or_default(),
        dirty: dirty(library, "."),
        started: now(),
        records: records(library),
        ..Stamp::default()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let kernel = kernel.map(|text| ("kernel".to_owned(), text.trim().to_owned()));
    stamp.versions.extend(kernel);
    stamp
}

/// Completes the stamp and writes it.
pub(crate) fn finish(library: &Library, mut stamp: Stamp, all: &[Played]) -> anyhow::Result<()> {
    stamp.ended = now();
    let machine = machine::ask()?;
    stamp.versions.extend(machine.engine().map(|text| ("engine".to_owned(), text.to_owned())));
    stamp.faults = machine.faults();
    stamp.image = lab::image_key()?;
    for played in all {
        for (index, seen) in &played.outcome.seen {
            let label = played.page.chapter.blocks[*index].label();
            let seconds = (seen.elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
            stamp.elapsed.insert(label, seconds);
        }
        let seconds = (stamp.seconds(&played.page.chapter) * 1000.0).round() / 1000.0;
        if !played.outcome.seen.is_empty() {
            stamp.chapters.insert(played.page.chapter.name.clone(), seconds);
        }
        for block in &played.page.chapter.blocks {
            if let Action::NotRun(reason) = &block.action {
                stamp.not_run.insert(block.at.to_string(), reason.clone());
            }
        }
    }
    let folder = library.work();
    fs::create_dir_all(folder)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&stamp)?);
    fs::write(folder.join(FILE), text).context("cannot write the provenance")
}

/// The stamp of the last full run, of whatever commit.
pub(crate) fn last(library: &Library) -> Option<Stamp> {
    let text = fs::read_to_string(library.work().join(FILE)).ok()?;
    serde_json::from_str(&text).ok()
}

/// The stamp of the last full run, if it was of exactly these records and this commit.
pub(crate) fn current(library: &Library) -> Option<Stamp> {
    let stamp = last(library)?;
    let here = library.commit()?;
    (stamp.commit == here && stamp.records == records(library)).then_some(stamp)
}

/// Why pages built now would not be of the last full run; `changed` is what git sees of files that
/// are not as they were committed.
pub(crate) fn lacking(stamp: Option<&Stamp>, changed: bool) -> Option<String> {
    let again = "run cargo xtask book verify --no-cache";
    match stamp {
        None => Some(format!("the last full verify was not of this commit; {again}")),
        Some(stamp) if stamp.dirty => {
            Some(format!("the last full verify was of files that were not committed; {again}"))
        }
        Some(_) if changed => {
            Some("files differ from the commit that was verified; commit them, or undo it".into())
        }
        Some(_) => None,
    }
}

/// The commit that is checked out, read from git's files: building the book starts no process.
pub(crate) fn head(root: &Path) -> Option<String> {
    let mut folder = root.join(".git");
    if let Ok(link) = fs::read_to_string(&folder) {
        folder = root.join(link.strip_prefix("gitdir:")?.trim());
    }
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().to_owned()) };
    let common = fs::read_to_string(folder.join("commondir")).ok();
    let shared = common.map_or_else(|| folder.clone(), |path| folder.join(path.trim()));
    let loose =
        [&folder, &shared].into_iter().find_map(|at| fs::read_to_string(at.join(name)).ok());
    if let Some(commit) = loose {
        return Some(commit.trim().to_owned());
    }
    let packed = fs::read_to_string(shared.join("packed-refs")).ok()?;
    let found = packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' '));
    found.map(str::to_owned)
}

/// Whether git sees changes below a path.
pub(crate) fn dirty(library: &Library, path: &str) -> bool {
    git(library, &["status", "--porcelain", "--", path]).is_none_or(|text| !text.is_empty())
}

/// One digest over all records.
fn records(library: &Library) -> String {
    let names = library.recorded();
    let texts = names.iter().filter_map(|name| library.read(&library.record_path(name)).ok());
    digest(&texts.collect::<Vec<_>>())
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn git(library: &Library, words: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(library.root()).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_word_that_begins_with_a_number() {
        for (line, wanted) in [
            ("quorate 0.1.0", Some("0.1.0")),
            ("etcd Version: 3.4.23", Some("3.4.23")),
            ("BusyBox v1.35.0 (Debian 1:1.35.0-4+b7) multi-call binary.", Some("1.35.0")),
            ("not found", None),
        ] {
            assert_eq!(version_in(&[line.to_owned()]).as_deref(), wanted);
        }
    }

    #[test]
    fn pages_are_of_a_run_when_it_was_of_this_commit_and_nothing_changed_before_or_since() {
        let clean = Stamp { commit: "abc".into(), ..Stamp::default() };
        let dirty = Stamp { dirty: true, ..clean.clone() };
        assert_eq!(lacking(Some(&clean), false), None);
        for (stamp, changed, wanted) in [
            (None, false, "not of this commit"),
            (Some(&dirty), false, "files that were not committed"),
            (Some(&clean), true, "differ from the commit"),
        ] {
            let why = lacking(stamp, changed).expect("refused");
            assert!(why.contains(wanted), "{why}");
        }
    }
}
