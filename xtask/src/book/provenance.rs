//! When, where and from which commit the book was verified last: `target/book/provenance.json`,
//! never checked in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::campaign::Played;
use super::fence::digest;
use super::library::Library;
use super::stage::Stage;
use crate::paths;

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
    /// Versions of what ran: agent, etcd, kernel.
    pub(crate) versions: BTreeMap<String, String>,
    /// Seconds per block.
    pub(crate) elapsed: BTreeMap<String, f64>,
    /// Blocks that are shown and not run, with the reason.
    pub(crate) not_run: BTreeMap<String, String>,
}

impl Stamp {
    /// Asks a node for the versions of what runs in it, once.
    pub(crate) fn versions(&mut self, stage: &dyn Stage) {
        let Some(node) = stage.nodes().into_iter().next() else { return };
        let asks = [("agent", "quorate --version"), ("etcd", "etcd --version")];
        for (name, command) in asks {
            if self.versions.contains_key(name) {
                continue;
            }
            let output = stage.exec(&node, command, ASK).ok();
            let line = output.and_then(|output| output.lines.into_iter().next());
            let word = line.and_then(|line| line.split_whitespace().last().map(str::to_owned));
            self.versions.extend(word.map(|word| (name.to_owned(), word)));
        }
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
        commit: head(paths::root()).unwrap_or_default(),
        dirty: dirty("."),
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
pub(crate) fn finish(mut stamp: Stamp, all: &[Played]) -> anyhow::Result<()> {
    stamp.ended = now();
    for played in all {
        for (index, seen) in &played.outcome.seen {
            let label = played.page.chapter.blocks[*index].label();
            let seconds = (seen.elapsed.as_secs_f64() * 1000.0).round() / 1000.0;
            stamp.elapsed.insert(label, seconds);
        }
        for block in &played.page.chapter.blocks {
            if let super::block::Action::NotRun(reason) = &block.action {
                stamp.not_run.insert(block.at.to_string(), reason.clone());
            }
        }
    }
    let folder = paths::target().join("book");
    fs::create_dir_all(&folder)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&stamp)?);
    fs::write(folder.join("provenance.json"), text).context("cannot write the provenance")
}

/// The stamp of the last full run, if it was of exactly these records and this commit.
pub(crate) fn current(library: &Library) -> Option<Stamp> {
    let text = fs::read_to_string(paths::target().join("book/provenance.json")).ok()?;
    let stamp: Stamp = serde_json::from_str(&text).ok()?;
    let here = head(paths::root())?;
    (stamp.commit == here && stamp.records == records(library)).then_some(stamp)
}

/// The commit that is checked out, read from git's files: building the book starts no process.
fn head(root: &Path) -> Option<String> {
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
pub(crate) fn dirty(path: &str) -> bool {
    git(&["status", "--porcelain", "--", path]).is_none_or(|text| !text.is_empty())
}

/// One digest over all records.
fn records(library: &Library) -> String {
    let mut names: Vec<_> = fs::read_dir(paths::root().join("book/verified"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let texts = names.iter().filter_map(|name| library.read(&format!("book/verified/{name}")).ok());
    digest(&texts.collect::<Vec<_>>())
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(paths::root()).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
