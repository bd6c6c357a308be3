//! Paths for which the kernel has no watch left: looked at every now and then instead.
//!
//! Refuses to say that something happened when nothing did: only what looks different than before
//! is told. Refuses to follow links, and to walk without an end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::book::Scope;

/// How often a path is looked at: soon enough for a person, seldom enough for thousands of them.
pub const POLL: Duration = Duration::from_secs(5);

/// How many entries are looked at for one id; what changes behind them is not seen.
const ENTRIES_MAX: usize = 20_000;

/// How each path looked the last time.
#[derive(Debug, Default)]
pub(super) struct Polled {
    stamps: BTreeMap<u64, u64>,
}

impl Polled {
    /// Looks at this path from now on.
    pub(super) fn keep(&mut self, id: u64, path: &Path, scope: Scope) {
        self.stamps.entry(id).or_insert_with(|| stamp(path, scope));
    }

    /// Does not look for this id any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.stamps.remove(&id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Looks at all; gives those that look different.
    pub(super) fn look<'a>(
        &mut self,
        wanted: impl Fn(u64) -> Option<(&'a Path, Scope)>,
    ) -> BTreeSet<u64> {
        let mut changed = BTreeSet::new();
        self.stamps.retain(|id, before| {
            let Some((path, scope)) = wanted(*id) else { return false };
            let now = stamp(path, scope);
            if std::mem::replace(before, now) != now {
                changed.insert(*id);
            }
            true
        });
        changed
    }
}

/// What tells two looks at a path apart, as far as the scope goes.
fn stamp(path: &Path, scope: Scope) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = ENTRIES_MAX;
    let mut dirs = VecDeque::from([(path.to_owned(), 0_usize)]);
    one(path, &mut hasher);
    let depth_max = match scope {
        Scope::Entry => 0,
        Scope::Children => 1,
        Scope::Tree => usize::MAX,
    };
    while let Some((dir, depth)) = dirs.pop_front().filter(|(_, depth)| *depth < depth_max) {
        for path in entries(&dir) {
            if left == 0 {
                return hasher.finish();
            }
            left -= 1;
            path.hash(&mut hasher);
            if one(&path, &mut hasher).is_some_and(|about| about.is_dir()) {
                dirs.push_back((path, depth + 1));
            }
        }
    }
    hasher.finish()
}

/// In an order of their own, as the system tells them in any.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).take(ENTRIES_MAX).collect();
    paths.sort_unstable();
    paths
}

/// Takes in how one path looks; that it is missing is a look, too.
fn one(path: &Path, hasher: &mut impl Hasher) -> Option<Metadata> {
    let about = std::fs::symlink_metadata(path).ok();
    let seen = about.as_ref().map(|about| {
        let (mtime, ctime) = (about.mtime_nsec(), about.ctime_nsec());
        let times = (about.mtime(), mtime, about.ctime(), ctime);
        (about.dev(), about.ino(), times, about.size())
    });
    seen.hash(hasher);
    about
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_looks_different_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("t/a")).unwrap();
        let (file, tree) = (at("f"), at("t"));
        let wanted = |id| match id {
            1 => Some((file.as_path(), Scope::Entry)),
            2 => Some((tree.as_path(), Scope::Children)),
            _ => Some((tree.as_path(), Scope::Tree)),
        };
        let mut polled = Polled::default();
        for id in [1, 2, 3] {
            let (path, scope) = wanted(id).unwrap();
            polled.keep(id, path, scope);
        }
        let mut look = |ids: &[u64], what: &str| {
            assert_eq!(polled.look(wanted), ids.iter().copied().collect(), "{what}");
            assert_eq!(polled.look(wanted), BTreeSet::new(), "{what} is told once");
        };
        look(&[], "nothing");
        fs::write(&file, "1").unwrap();
        look(&[1], "a file that came");
        fs::write(&file, "22").unwrap();
        look(&[1], "its content");
        fs::remove_file(&file).unwrap();
        look(&[1], "that it went");
        fs::write(at("t/a/f"), "").unwrap();
        look(&[2, 3], "a file in a directory in the directory, which shows in that");
        fs::write(at("t/a/f"), "1").unwrap();
        look(&[3], "its content");
        std::os::unix::fs::symlink("/nowhere", &file).unwrap();
        look(&[1], "a link, wherever it leads");
    }

    #[test]
    fn who_is_not_wanted_any_more_is_not_looked_at() {
        let mut polled = Polled::default();
        polled.keep(1, Path::new("/"), Scope::Entry);
        assert_eq!(polled.look(|_| None), BTreeSet::new());
        assert!(polled.is_empty());
    }
}
