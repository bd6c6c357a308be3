//! The bookkeeping of the hub: paths wanted, directories to watch, events to the ids that they
//! touch. Pure.
//!
//! Refuses to call the kernel: what has to be armed or disarmed is handed out as orders, and the
//! shell says what came of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Refusal, WatchError};
use super::ids::Ids;
use crate::kind::TEMPORARY;

/// The number that the kernel gave to a watch; it is not used again.
pub(super) type Wd = i32;

/// What the shell has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Watch this directory and report with [`Book::armed`].
    Arm {
        dir: PathBuf,
        /// Changes of the content of entries matter too, not only which entries there are.
        content: bool,
        /// The last part of the path may be a link: somebody asked for this very path. What was
        /// found in a tree is never followed, since others decide what lies there.
        follow: bool,
    },
    /// Stop this watch; it may be gone already.
    Disarm(Wd),
    /// Report the directories in this one, which is watched now, with [`Book::listed`].
    List {
        dir: PathBuf,
        /// As for [`Order::Arm`].
        follow: bool,
    },
}

/// How much of a path an id wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The path itself: that it comes and goes, its content, its attributes.
    Entry,
    /// What lies directly in it, too.
    Children,
    /// All that lies below it, at any depth; links are not followed.
    Tree,
}

/// What an event of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// An entry came or went.
    Entry,
    /// An entry came or went that is a directory.
    Directory,
    /// The content or the attributes of an entry changed, or those of the directory itself.
    Content,
    /// The watched directory itself was moved or removed, or its watch is gone.
    Gone,
    /// Events were lost.
    Overflow,
}

#[derive(Debug, Default)]
enum Watch {
    #[default]
    None,
    Armed {
        wd: Wd,
        content: bool,
    },
    Refused(Refusal),
}

/// A directory that somebody needs to be watched.
#[derive(Debug, Default)]
struct Dir {
    /// How many wanted paths lead to it, and how many directories in it lead to others: what lies
    /// deeper is counted there.
    asked: usize,
    /// In how many wanted trees it was found.
    found: usize,
    /// Who wants the entry of this name.
    names: HashMap<Box<OsStr>, Ids>,
    /// Who wants every entry.
    all: BTreeSet<u64>,
    watch: Watch,
}

impl Dir {
    fn content(&self) -> bool {
        !self.names.is_empty() || !self.all.is_empty()
    }

    /// Takes on another watch and keeps count of those that are refused; gives the one before.
    fn turn(&mut self, watch: Watch, refused: &mut usize) -> Watch {
        let is_refused = |watch: &Watch| usize::from(matches!(watch, Watch::Refused(_)));
        *refused += is_refused(&watch);
        *refused -= is_refused(&self.watch);
        std::mem::replace(&mut self.watch, watch)
    }

    /// Who wants the entry of this name, or every entry.
    fn touched_by(&self, name: &OsStr) -> impl Iterator<Item = u64> {
        let all = self.all.iter().filter(move |_| !is_ours(name));
        self.names.get(name).into_iter().flat_map(Ids::as_slice).chain(all).copied()
    }

    fn ids(&self) -> impl Iterator<Item = u64> {
        self.names.values().flat_map(Ids::as_slice).chain(&self.all).copied()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Want {
    path: Arc<Path>,
    scope: Scope,
    /// The directories below the path that are known by now, of a tree.
    #[expect(clippy::box_collection, reason = "ten thousand have none")]
    found: Option<Box<BTreeSet<PathBuf>>>,
}

impl Want {
    /// The last of its directories.
    fn deepest(&self) -> Option<&Path> {
        if self.scope == Scope::Entry { self.path.parent() } else { Some(&self.path) }
    }

    /// The directories to watch, from the root down to the path.
    fn dirs(&self) -> Vec<&Path> {
        let skip = usize::from(self.scope == Scope::Entry);
        let mut dirs: Vec<&Path> = self.path.ancestors().skip(skip).collect();
        dirs.reverse();
        dirs
    }
}

/// All that the hub knows.
#[derive(Debug, Default)]
pub(super) struct Book {
    wants: HashMap<u64, Want>,
    /// Sorted, so that a directory stands before everything in it.
    dirs: BTreeMap<PathBuf, Dir>,
    /// The last parts of their paths, and how many of them each one ends: nearly no event is about
    /// such a name, and then there is nothing to look for.
    ends: HashMap<OsString, usize>,
    /// One watch stands for several paths when links lead to the same directory.
    paths: HashMap<Wd, BTreeSet<PathBuf>>,
    to_arm: BTreeSet<PathBuf>,
    to_disarm: Vec<Wd>,
    /// Directories of trees that were just armed: what lies in them is not known yet.
    to_list: BTreeSet<PathBuf>,
    /// Directories that found no watch left; tried again when one is given back.
    starved: BTreeSet<PathBuf>,
    /// How many directories cannot be watched: mostly none, and then nobody's are gone through.
    refused: usize,
}

impl Book {
    /// Wants `path`, absolute and clean, to be watched for `id` as far as `scope` says. Replaces
    /// what the id wanted before; returns whom that helped, as [`Book::remove`]. The orders that
    /// follow have to be carried out.
    pub(super) fn add(&mut self, id: u64, path: Arc<Path>, scope: Scope) -> BTreeSet<u64> {
        let helped = self.remove(id);
        let want = Want { path, scope, found: None };
        if let Some(deepest) = want.deepest() {
            self.ask_for(deepest);
        }
        if let (Some(parent), Some(name)) = (want.path.parent(), want.path.file_name()) {
            self.entry_wanted(parent, |dir| match dir.names.get_mut(name) {
                Some(ids) => ids.push(id),
                None => drop(dir.names.insert(name.into(), Ids::One(id))),
            });
        }
        if scope != Scope::Entry || want.path.parent().is_none() {
            self.entry_wanted(&want.path, |dir| {
                dir.all.insert(id);
            });
        }
        if scope == Scope::Tree
            && matches!(self.dirs.get(&*want.path), Some(Dir { watch: Watch::Armed { .. }, .. }))
        {
            self.to_list.insert(want.path.to_path_buf());
        }
        self.wants.insert(id, want);
        helped
    }

    /// One more path leads to this directory. Those above it are counted as far as nothing led to
    /// them before.
    fn ask_for(&mut self, path: &Path) {
        for path in path.ancestors() {
            let dir = match self.dirs.get_mut(path) {
                Some(known) => known,
                None => {
                    note_end(&mut self.ends, path);
                    self.dirs.entry(path.to_path_buf()).or_default()
                }
            };
            dir.asked += 1;
            if matches!(dir.watch, Watch::None) {
                self.to_arm.insert(path.to_path_buf());
            }
            if dir.asked > 1 {
                break;
            }
        }
        if !self.starved.is_empty() {
            let starved = path.ancestors().filter(|path| self.starved.contains(*path));
            self.to_arm.extend(starved.map(Path::to_path_buf));
        }
    }

    /// One path less leads to this directory. Whether that gave a watch back.
    fn unasked(&mut self, path: &Path) -> bool {
        let mut freed = false;
        for path in path.ancestors() {
            let Some(dir) = self.dirs.get_mut(path) else { break };
            dir.asked -= 1;
            if dir.asked > 0 {
                break;
            }
            freed |= self.forget_unused(path);
        }
        freed
    }

    /// A directory is no longer in the tree of this id. Whether that gave a watch back.
    fn unfound(&mut self, id: u64, path: &Path) -> bool {
        let Some(dir) = self.dirs.get_mut(path) else { return false };
        dir.found -= 1;
        dir.all.remove(&id);
        self.forget_unused(path)
    }

    /// Notes what is wanted in a directory, and arms it anew if it was armed for less.
    fn entry_wanted(&mut self, path: &Path, note: impl FnOnce(&mut Dir)) {
        let Some(dir) = self.dirs.get_mut(path) else { return };
        note(dir);
        if matches!(dir.watch, Watch::Armed { content: false, .. }) {
            self.to_arm.insert(path.to_path_buf());
        }
    }

    /// Forgets what the id wanted. Returns whom a freed watch may help: who had found none left.
    pub(super) fn remove(&mut self, id: u64) -> BTreeSet<u64> {
        let Some(want) = self.wants.remove(&id) else { return BTreeSet::new() };
        let mut freed = false;
        if let (Some(parent), Some(name)) = (want.path.parent(), want.path.file_name())
            && let Some(dir) = self.dirs.get_mut(parent)
            && let Some(ids) = dir.names.get_mut(name)
            && ids.remove(id)
        {
            dir.names.remove(name);
        }
        if let Some(dir) = self.dirs.get_mut(&*want.path) {
            dir.all.remove(&id);
        }
        if let Some(deepest) = want.deepest() {
            freed |= self.unasked(deepest);
        }
        for path in want.found.iter().flat_map(|found| found.iter()) {
            freed |= self.unfound(id, path);
        }
        if freed { self.retry_starved() } else { BTreeSet::new() }
    }

    /// Forgets a directory that nobody needs any more. Whether that gave a watch back.
    fn forget_unused(&mut self, path: &Path) -> bool {
        let Some(dir) = self.dirs.get(path) else { return false };
        if dir.asked > 0 || dir.found > 0 {
            return false;
        }
        let freed = matches!(dir.watch, Watch::Armed { .. });
        self.release(path);
        self.dirs.remove(path);
        if let Some(name) = path.file_name()
            && let Some(count) = self.ends.get_mut(name)
        {
            *count -= 1;
            if *count == 0 {
                self.ends.remove(name);
            }
        }
        self.to_arm.remove(path);
        self.to_list.remove(path);
        self.starved.remove(path);
        freed
    }

    /// A directory was found in a tree: it belongs to everyone whose tree it lies in.
    fn found(&mut self, parent: &Path, child: PathBuf) {
        let owners = self.dirs.get(parent).map(|dir| dir.all.clone()).unwrap_or_default();
        for id in owners {
            let Some(want) = self.wants.get_mut(&id) else { continue };
            if want.scope != Scope::Tree
                || !want.found.get_or_insert_default().insert(child.clone())
            {
                continue;
            }
            let dir = self.dirs.entry(child.clone()).or_insert_with(|| {
                note_end(&mut self.ends, &child);
                Dir::default()
            });
            dir.found += 1;
            dir.all.insert(id);
            match dir.watch {
                Watch::Armed { content: true, .. } => {
                    self.to_list.insert(child.clone());
                }
                _ => {
                    self.to_arm.insert(child.clone());
                }
            }
        }
    }

    /// What the shell found in a directory that it was asked to list.
    pub(super) fn listed(&mut self, dir: &Path, directories: Vec<OsString>) {
        for name in directories.into_iter().filter(|name| !is_ours(name)) {
            self.found(dir, dir.join(name));
        }
    }

    /// A directory is not there: trees forget it. The wanted paths themselves are waited for.
    fn lost(&mut self, path: &Path) {
        let owners = self.dirs.get(path).map(|dir| dir.all.clone()).unwrap_or_default();
        for id in owners {
            let Some(want) = self.wants.get_mut(&id) else { continue };
            if want.found.as_mut().is_some_and(|found| found.remove(path)) {
                self.unfound(id, path);
            }
        }
    }

    fn in_tree(&self, path: &Path) -> bool {
        let ids = self.dirs.get(path).into_iter().flat_map(|dir| &dir.all);
        let mut wants = ids.filter_map(|id| self.wants.get(id));
        wants.any(|want| want.scope == Scope::Tree)
    }

    /// Tries again what found no watch left. Returns whom that may help.
    pub(super) fn retry_starved(&mut self) -> BTreeSet<u64> {
        let starved = std::mem::take(&mut self.starved);
        let touched = starved.iter().flat_map(|dir| self.below(dir)).collect();
        self.to_arm.extend(starved);
        touched
    }

    /// The next order, until none is left. Disarming comes first, so that a number given back is
    /// never one that was just handed out.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        if let Some(wd) = self.to_disarm.pop() {
            return Some(Order::Disarm(wd));
        }
        while let Some(path) = self.to_arm.pop_first() {
            let parent = path.parent().and_then(|parent| self.dirs.get(parent));
            let hopeless =
                parent.is_some_and(|dir| matches!(dir.watch, Watch::Refused(Refusal::Missing)));
            let Some(dir) = self.dirs.get_mut(&path) else { continue };
            if hopeless {
                // Its ancestor was just looked for, and is watched for.
                dir.turn(Watch::Refused(Refusal::Missing), &mut self.refused);
                self.lost(&path);
                continue;
            }
            let content = dir.content();
            let follow = self.is_asked_for(&path);
            return Some(Order::Arm { dir: path, content, follow });
        }
        let dir = self.to_list.pop_first()?;
        let follow = self.is_asked_for(&dir);
        Some(Order::List { dir, follow })
    }

    /// Somebody wants this path or something in it by name; else it was only found in trees.
    fn is_asked_for(&self, path: &Path) -> bool {
        self.dirs.get(path).is_some_and(|dir| dir.asked > 0)
    }

    /// What came of an order to arm.
    pub(super) fn armed(&mut self, path: &Path, content: bool, result: Result<Wd, Refusal>) {
        let Some(dir) = self.dirs.get_mut(path) else {
            self.to_disarm.extend(result);
            return;
        };
        if let Watch::Armed { wd, .. } = dir.watch
            && result.as_ref() != Ok(&wd)
        {
            self.release(path);
        }
        let Some(dir) = self.dirs.get_mut(path) else { return };
        match result {
            Ok(wd) => {
                dir.turn(Watch::Armed { wd, content }, &mut self.refused);
                self.paths.entry(wd).or_default().insert(path.to_path_buf());
                // First watched, then listed: what comes in between is seen by one or the other.
                if self.in_tree(path) {
                    self.to_list.insert(path.to_path_buf());
                }
            }
            Err(refusal) => {
                let missing = refusal == Refusal::Missing;
                if refusal == Refusal::Limit {
                    self.starved.insert(path.to_path_buf());
                }
                dir.turn(Watch::Refused(refusal), &mut self.refused);
                if missing {
                    self.lost(path);
                }
            }
        }
    }

    /// What the id wants.
    pub(super) fn wanted(&self, id: u64) -> Option<(&Path, Scope)> {
        self.wants.get(&id).map(|want| (&*want.path, want.scope))
    }

    /// Why the id is not fully watched, if so.
    pub(super) fn error(&self, id: u64) -> Option<WatchError> {
        let want = self.wants.get(&id).filter(|_| self.refused > 0)?;
        let mut deepest = None;
        for path in want.dirs() {
            match self.refused(path) {
                None => deepest = None,
                // A directory that may be passed but not read hides only changes of its own
                // entries.
                Some(Refusal::Denied) => deepest = Some(WatchError::of(path, &Refusal::Denied)),
                Some(Refusal::Missing) => {}
                Some(refusal) => return Some(WatchError::of(path, refusal)),
            }
        }
        let found = want.found.iter().flat_map(|found| found.iter());
        let mut below = found.filter_map(|path| Some((path, self.refused(path)?)));
        deepest.or_else(|| below.next().map(|(path, refusal)| WatchError::of(path, refusal)))
    }

    fn refused(&self, path: &Path) -> Option<&Refusal> {
        match self.dirs.get(path).map(|dir| &dir.watch) {
            Some(Watch::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// Whom an event touches. The orders that follow have to be carried out before they are told.
    pub(super) fn event(
        &mut self,
        wd: Wd,
        happened: Happened,
        name: Option<&OsStr>,
    ) -> BTreeSet<u64> {
        if happened == Happened::Overflow {
            self.rearm(Path::new("/"));
            return self.wants.keys().copied().collect();
        }
        if let Some(name) = name
            && let Some(touched) = self.entry_event_only(wd, happened, name)
        {
            return touched;
        }
        let mut touched = BTreeSet::new();
        // Events of a watch that was given back still come; nobody waits for them.
        for path in self.paths.get(&wd).cloned().unwrap_or_default() {
            match (happened, name) {
                (Happened::Gone, _) => {
                    touched.extend(self.below(&path));
                    self.rearm(&path);
                }
                (_, Some(name)) => touched.extend(self.entry_event(&path, happened, name)),
                (_, None) => {
                    touched.extend(self.dirs.get(&path).into_iter().flat_map(|dir| &dir.all));
                }
            }
        }
        touched
    }

    /// Whom an event touches that is about an entry and leads to nothing else: no directory that is
    /// watched is called like that, or was found by it. Most events are like that.
    fn entry_event_only(&self, wd: Wd, happened: Happened, name: &OsStr) -> Option<BTreeSet<u64>> {
        let simple = matches!(happened, Happened::Entry | Happened::Content);
        if !simple || self.ends.contains_key(name) {
            return None;
        }
        let paths = self.paths.get(&wd).into_iter().flatten();
        let dirs = paths.filter_map(|path| self.dirs.get(path));
        Some(dirs.flat_map(|dir| dir.touched_by(name)).collect())
    }

    fn entry_event(&mut self, path: &Path, happened: Happened, name: &OsStr) -> BTreeSet<u64> {
        let ours = is_ours(name);
        let dir = self.dirs.get(path).into_iter();
        let mut touched: BTreeSet<u64> = dir.flat_map(|dir| dir.touched_by(name)).collect();
        let child = path.join(name);
        if !ours && happened == Happened::Directory && self.in_tree(path) {
            self.found(path, child.clone());
        }
        if !self.dirs.contains_key(&child) {
            return touched;
        }
        touched.extend(self.below(&child));
        if matches!(happened, Happened::Entry | Happened::Directory) {
            self.rearm(&child);
        } else {
            self.retry_refused(&child);
        }
        touched
    }

    /// Everyone who wants something in this directory, at any depth.
    fn below(&self, path: &Path) -> BTreeSet<u64> {
        self.under(path).flat_map(|(_, dir)| dir.ids()).collect()
    }

    fn under<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a PathBuf, &'a Dir)> + 'a {
        self.dirs.range(path.to_path_buf()..).take_while(move |(dir, _)| dir.starts_with(path))
    }

    /// Gives up the watches of this directory and of all in it, and sets them anew: the names may
    /// stand for others.
    fn rearm(&mut self, path: &Path) {
        let paths: Vec<PathBuf> = self.under(path).map(|(dir, _)| dir.clone()).collect();
        for path in paths {
            self.release(&path);
            self.to_arm.insert(path);
        }
    }

    /// Tries again what could not be armed here: permissions may have changed.
    fn retry_refused(&mut self, path: &Path) {
        let refused = |dir: &Dir| matches!(dir.watch, Watch::Refused(_));
        let paths: Vec<PathBuf> = self
            .under(path)
            .filter(|(_, dir)| refused(dir))
            .map(|(path, _)| path.clone())
            .collect();
        self.to_arm.extend(paths);
    }

    /// Takes the watch off a directory; the kernel's goes when no other path needs it.
    fn release(&mut self, path: &Path) {
        let Some(dir) = self.dirs.get_mut(path) else { return };
        let before = dir.turn(Watch::None, &mut self.refused);
        let Watch::Armed { wd, .. } = before else { return };
        if let Some(paths) = self.paths.get_mut(&wd) {
            paths.remove(path);
            if paths.is_empty() {
                self.paths.remove(&wd);
                self.to_disarm.push(wd);
            }
        }
    }

    /// How many watches of the kernel are in use.
    #[cfg(test)]
    pub(super) fn watches(&self) -> usize {
        self.paths.len()
    }
}

/// Counts one more path that ends like this.
fn note_end(ends: &mut HashMap<OsString, usize>, path: &Path) {
    if let Some(name) = path.file_name() {
        *ends.entry(name.to_os_string()).or_default() += 1;
    }
}

/// What the agent itself makes in the directories that it manages is its own business: a run that
/// fails would wake itself with it, for ever. Who wants exactly this name is told all the same.
fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

#[cfg(test)]
mod tests;
