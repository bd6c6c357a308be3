//! `--durable`: what was written reaches the disks before the agent calls itself converged, with
//! one call for each file system and never one for each file.
//!
//! Refuses to wait in the loop: the calls are made on a thread of their own, and what is written
//! meanwhile is theirs no more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::syncfs;
use tokio::task::JoinHandle;

use super::EXIT_FAILED;
use super::body::Body;
use super::ladder::Stage;
use super::settings::Settings;
use crate::kind::{Hints, Outcome};

/// What came of bringing something to the disks; the error is a sentence.
pub(super) type Synced = Result<(), String>;

/// What may not be on the disks yet, and the work on it.
#[derive(Default)]
pub(super) struct Durable {
    unsynced: Unsynced,
    task: Option<JoinHandle<Synced>>,
}

/// The deciding part, a plain value.
#[derive(Debug, Default)]
struct Unsynced {
    /// Where something was written since it was last begun to bring all to the disks.
    folders: BTreeSet<PathBuf>,
    /// It was begun at least once.
    begun: bool,
    /// It is under way.
    busy: bool,
    /// Why what was written may be lost.
    failure: Option<String>,
}

impl Unsynced {
    /// A run ended. What it found right an earlier agent may have written and not brought to the
    /// disk, so that counts until it was done once. A run that failed may have written something.
    fn note(&mut self, result: &Result<Outcome, String>, hints: &Hints, state_dir: &Path) {
        if matches!(result, Ok(Outcome::Unchanged | Outcome::WouldChange(_))) && self.begun {
            return;
        }
        // Where a run without a path writes is known only of what it remembers.
        let path = hints.path.as_deref().unwrap_or(state_dir);
        let parent = path.parent().filter(|_| hints.path.is_some() && !hints.directory);
        let folder = parent.unwrap_or(path);
        if !self.folders.contains(folder) {
            self.folders.insert(folder.to_owned());
        }
    }

    /// Takes what has to be brought to the disks now, if that is the moment: nothing else is under
    /// way, so that one call serves all that was written.
    fn begin(&mut self, at_rest: bool) -> Option<BTreeSet<PathBuf>> {
        if !at_rest || self.busy || self.failure.is_some() || self.folders.is_empty() {
            return None;
        }
        (self.begun, self.busy) = (true, true);
        Some(std::mem::take(&mut self.folders))
    }

    /// That came to its end. Who asks the kernel again after a failure hears that all is well,
    /// although what was to be written is lost: so a failure lasts.
    fn ended(&mut self, synced: Synced) {
        self.busy = false;
        self.failure = synced.err();
    }

    /// Nothing is left to bring to the disks.
    fn is_done(&self) -> bool {
        self.folders.is_empty() && !self.busy && self.failure.is_none()
    }
}

impl Durable {
    /// Nothing when it was not asked for, or nothing is changed.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        (settings.durable && !settings.noop).then(Durable::default)
    }

    /// Takes note of a run that ended.
    pub(super) fn note(&mut self, result: &Result<Outcome, String>, hints: &Hints, state: &Path) {
        self.unsynced.note(result, hints, state);
    }

    /// Whether all that was written is on the disks.
    pub(super) fn is_done(&self) -> bool {
        self.unsynced.is_done()
    }

    /// Why it may never be.
    pub(super) fn failure(&self) -> Option<&String> {
        self.unsynced.failure.as_ref()
    }

    /// What came of the work under way; for ever when there is none.
    pub(super) async fn next(this: &mut Option<Self>) -> Synced {
        let Some(task) = this.as_mut().and_then(|durable| durable.task.as_mut()) else {
            return std::future::pending().await;
        };
        let done = task.await;
        if let Some(durable) = this {
            durable.task = None;
        }
        done.unwrap_or_else(|failure| Err(format!("the disks were not waited for: {failure}")))
    }
}

impl Body {
    /// Begins to bring what was written to the disks, when nothing else is left to do.
    pub(super) fn sync_at_rest(&mut self) {
        let at_rest = self.stage == Stage::Running && self.engine.is_quiescent();
        let Some(durable) = &mut self.durable else { return };
        if let Some(folders) = durable.unsynced.begin(at_rest) {
            durable.task = Some(tokio::task::spawn_blocking(move || sync(&folders)));
        }
    }

    /// It was brought there, or not: an agent that ends when all is done ends then, too.
    pub(super) async fn synced(&mut self, synced: Synced) {
        if let Err(why) = &synced {
            tracing::error!("not converged: {why}");
        }
        let failed = synced.is_err();
        if let Some(durable) = &mut self.durable {
            durable.unsynced.ended(synced);
        }
        if failed
            && self.settings.converged.is_some_and(|one| one.exit)
            && let Some(event) = self.end(EXIT_FAILED)
        {
            self.feed(event).await;
        }
    }
}

/// One call for each file system that one of these folders lies on.
fn sync(folders: &BTreeSet<PathBuf>) -> Synced {
    let mut synced = BTreeSet::new();
    for folder in folders {
        let result = nearest(folder).and_then(|handle| {
            let new = synced.insert(fstat(&handle)?.st_dev);
            if new { syncfs(&handle) } else { Ok(()) }
        });
        result.map_err(|error| {
            format!(
                "what was written in {} may not survive a power cut: {}; mend that, then start \
                 the agent again",
                folder.display(),
                error.desc().to_lowercase()
            )
        })?;
    }
    Ok(())
}

/// Opens a folder, or the nearest one above it that is there: removals have to last as well.
fn nearest(folder: &Path) -> nix::Result<std::os::fd::OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut opened = folder.ancestors().map(|at| open(at, flags, Mode::empty()));
    let there = |one: &nix::Result<_>| !matches!(one, Err(Errno::ENOENT | Errno::ENOTDIR));
    opened.find(there).unwrap_or(Err(Errno::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Hints {
        Hints { path: Some(path.into()), directory: false }
    }

    fn changed() -> Result<Outcome, String> {
        Ok(Outcome::Changed("content written".to_owned()))
    }

    /// Notes a run and gives the folders that are to be synced after it.
    fn after(
        unsynced: &mut Unsynced,
        result: &Result<Outcome, String>,
        hints: &Hints,
    ) -> Vec<String> {
        unsynced.note(result, hints, Path::new("/state"));
        let folders = unsynced.begin(true).into_iter().flatten();
        folders.map(|folder| folder.display().to_string()).collect()
    }

    #[test]
    fn what_may_have_written_is_brought_to_the_disk_where_it_lies() {
        let folder = Hints { directory: true, ..file("/srv/d") };
        let nowhere = Hints::default();
        let failed = Err("no room".to_owned());
        let would = Ok(Outcome::WouldChange("content written".to_owned()));
        for (result, hints, begun, folders) in [
            (changed(), &file("/srv/f"), true, vec!["/srv"]),
            (changed(), &file("/f"), true, vec!["/"]),
            (changed(), &file("/"), true, vec!["/"]),
            (changed(), &folder, true, vec!["/srv/d"]),
            (changed(), &nowhere, true, vec!["/state"]),
            (failed, &file("/srv/f"), true, vec!["/srv"]),
            (would, &file("/srv/f"), true, vec![]),
            (Ok(Outcome::Unchanged), &file("/srv/f"), true, vec![]),
            (Ok(Outcome::Unchanged), &file("/srv/f"), false, vec!["/srv"]),
        ] {
            let mut unsynced = Unsynced { begun, ..Unsynced::default() };
            assert_eq!(after(&mut unsynced, &result, hints), folders, "{result:?} {hints:?}");
        }
    }

    #[test]
    fn all_that_was_written_is_synced_once_at_rest_and_what_comes_meanwhile_after_it() {
        let mut unsynced = Unsynced::default();
        assert!(unsynced.is_done(), "nothing was written yet");
        for name in ["/srv/a", "/srv/b", "/etc/c"] {
            unsynced.note(&changed(), &file(name), Path::new("/state"));
        }
        assert!(!unsynced.is_done());
        assert_eq!(unsynced.begin(false), None, "more may be written");
        assert_eq!(unsynced.begin(true).map(|all| all.len()), Some(2));
        assert!(!unsynced.is_done() && unsynced.begin(true).is_none(), "it is under way");
        assert_eq!(after(&mut unsynced, &changed(), &file("/srv/a")), [""; 0], "one at a time");
        unsynced.ended(Ok(()));
        assert!(!unsynced.is_done(), "what was written meanwhile is not on the disk");
        assert_eq!(unsynced.begin(true).map(|all| all.len()), Some(1));
        unsynced.ended(Ok(()));
        assert!(unsynced.is_done());
    }

    #[test]
    fn a_failure_lasts_whatever_is_written_later() {
        let mut unsynced = Unsynced::default();
        assert_eq!(after(&mut unsynced, &changed(), &file("/srv/f")), ["/srv"]);
        unsynced.ended(Err("lost".to_owned()));
        assert!(after(&mut unsynced, &changed(), &file("/srv/f")).is_empty());
        assert!(!unsynced.is_done());
    }

    #[test]
    fn a_folder_that_is_gone_is_synced_from_above_and_one_that_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| BTreeSet::from([dir.path().join(name)]);
        assert_eq!(sync(&at("gone/deep")), Ok(()));
        std::os::unix::fs::symlink("ring", dir.path().join("ring")).unwrap();
        let why = sync(&at("ring")).unwrap_err();
        assert!(why.contains("/ring may not survive a power cut: "), "{why}");
        assert!(why.ends_with("; mend that, then start the agent again"), "{why}");
    }
}
