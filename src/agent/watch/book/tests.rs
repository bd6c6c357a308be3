//! The book against a small pretended file system: no kernel, every order carried out at once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// Directories with an inode each; the watches that the kernel would have.
#[derive(Default)]
struct World {
    book: Book,
    dirs: BTreeMap<PathBuf, u32>,
    inodes: u32,
    watches: HashMap<Wd, u32>,
    last_wd: Wd,
    denied: BTreeSet<PathBuf>,
    limit: Option<usize>,
    arms: usize,
    /// Directories that were armed without following a link.
    unfollowed: BTreeSet<PathBuf>,
}

impl World {
    fn new(dirs: &[&str]) -> Self {
        let mut world = World::default();
        for dir in dirs {
            world.mkdir(dir);
        }
        world.settle();
        world
    }

    fn settle(&mut self) {
        while let Some(order) = self.book.next_order() {
            match order {
                Order::Disarm(wd) => {
                    self.watches.remove(&wd);
                }
                Order::List { dir, .. } => {
                    let in_dir = self.dirs.keys().filter(|one| one.parent() == Some(&dir));
                    let names = in_dir.filter_map(|one| one.file_name()).map(OsStr::to_owned);
                    self.book.listed(&dir, names.collect());
                }
                Order::Arm { dir, content, follow } => {
                    self.arms += 1;
                    if !follow {
                        self.unfollowed.insert(dir.clone());
                    }
                    let result = self.arm(&dir);
                    self.book.armed(&dir, content, result);
                }
            }
        }
    }

    fn arm(&mut self, dir: &Path) -> Result<Wd, Refusal> {
        let inode = *self.dirs.get(dir).ok_or(Refusal::Missing)?;
        if self.denied.contains(dir) {
            return Err(Refusal::Denied);
        }
        if let Some((wd, _)) = self.watches.iter().find(|(_, watched)| **watched == inode) {
            return Ok(*wd);
        }
        if self.limit == Some(self.watches.len()) {
            return Err(Refusal::Limit);
        }
        self.last_wd += 1;
        self.watches.insert(self.last_wd, inode);
        Ok(self.last_wd)
    }

    fn add(&mut self, id: u64, path: &str) {
        self.book.add(id, Path::new(path).into(), Scope::Entry);
        self.settle();
    }

    /// An event in a directory, as the kernel would tell it: to nobody when it is not watched.
    fn happen(&mut self, dir: &Path, happened: Happened, name: &str) -> BTreeSet<u64> {
        let Some(inode) = self.dirs.get(dir).copied() else { return BTreeSet::new() };
        let Some((&wd, _)) = self.watches.iter().find(|(_, watched)| **watched == inode) else {
            return BTreeSet::new();
        };
        let touched = self.book.event(wd, happened, Some(OsStr::new(name)));
        self.settle();
        touched
    }

    fn entry(&mut self, path: &str) -> BTreeSet<u64> {
        self.entry_of(path, Happened::Entry)
    }

    fn entry_of(&mut self, path: &str, happened: Happened) -> BTreeSet<u64> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return BTreeSet::new();
        };
        self.happen(parent, happened, name.to_str().unwrap())
    }

    fn tree(&mut self, id: u64, path: &str) {
        self.book.add(id, Path::new(path).into(), Scope::Tree);
        self.settle();
    }

    fn mkdir(&mut self, path: &str) -> BTreeSet<u64> {
        self.inodes += 1;
        self.dirs.insert(path.into(), self.inodes);
        self.entry_of(path, Happened::Directory)
    }

    /// Takes a directory and all in it away, as a move to elsewhere does: their watches live on.
    fn take(&mut self, path: &str) -> BTreeSet<u64> {
        self.dirs.retain(|dir, _| !dir.starts_with(path));
        self.entry_of(path, Happened::Directory)
    }
}

fn ids(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

#[test]
fn ten_thousand_files_in_ten_directories_cost_ten_watches_and_their_ancestors() {
    let mut world = World::new(&["/", "/srv"]);
    for dir in 0..10 {
        world.mkdir(&format!("/srv/{dir}"));
    }
    for id in 0..10_000 {
        world.add(id, &format!("/srv/{}/f{id}", id % 10));
    }
    assert_eq!(world.book.watches(), 12);
    assert!(world.arms <= 12 + 10, "armed {} times: directories are armed once each", world.arms);
    for id in 0..10_000 {
        world.book.remove(id);
    }
    world.settle();
    assert_eq!((world.book.watches(), world.watches.len()), (0, 0), "nothing is left behind");
}

#[test]
fn an_event_touches_only_who_wants_its_name() {
    let mut world = World::new(&["/", "/d"]);
    world.add(1, "/d/a");
    world.add(2, "/d/b");
    world.add(3, "/d/a");
    world.book.add(4, Path::new("/d").into(), Scope::Children);
    world.settle();
    assert_eq!(world.happen(Path::new("/d"), Happened::Content, "a"), ids(&[1, 3, 4]));
    assert_eq!(world.entry("/d/b"), ids(&[2, 4]));
    assert_eq!(world.entry("/d/other"), ids(&[4]));
    assert_eq!(world.happen(Path::new("/"), Happened::Content, "d"), ids(&[1, 2, 3, 4]));
    assert_eq!(world.happen(Path::new("/"), Happened::Content, "tmp"), ids(&[]));
}

#[test]
fn a_missing_path_is_found_as_its_parts_appear() {
    let mut world = World::new(&["/"]);
    world.add(1, "/a/b/c/f");
    assert_eq!(world.book.watches(), 1);
    assert_eq!(world.book.error(1), None);
    assert_eq!(world.mkdir("/a"), ids(&[1]));
    // `mkdir -p` may be faster than the watch on the first part.
    world.inodes += 1;
    world.dirs.insert("/a/b".into(), world.inodes);
    world.dirs.insert("/a/b/c".into(), world.inodes + 1);
    world.inodes += 1;
    assert_eq!(world.entry("/a/b"), ids(&[1]));
    assert_eq!(world.book.watches(), 4);
    assert_eq!(world.entry("/a/b/c/f"), ids(&[1]));
}

#[test]
fn a_directory_that_was_moved_away_is_not_listened_to_any_more() {
    let mut world = World::new(&["/", "/a", "/a/b"]);
    world.add(1, "/a/b/f");
    let old = world.dirs[Path::new("/a/b")];
    assert_eq!(world.take("/a"), ids(&[1]));
    assert_eq!(world.watches.len(), 1, "only the root is watched");
    assert!(world.watches.values().all(|inode| *inode != old));
    world.mkdir("/a");
    world.mkdir("/a/b");
    assert_eq!(world.entry("/a/b/f"), ids(&[1]));
}

#[test]
fn two_paths_to_one_directory_share_its_watch() {
    let mut world = World::new(&["/", "/real"]);
    let inode = world.dirs[Path::new("/real")];
    world.dirs.insert("/link".into(), inode);
    world.add(1, "/real/f");
    world.add(2, "/link/f");
    assert_eq!(world.book.watches(), 2);
    assert_eq!(world.entry("/real/f"), ids(&[1, 2]));
    world.book.remove(1);
    world.settle();
    assert_eq!(world.entry("/link/f"), ids(&[2]), "the other path keeps it");
}

#[test]
fn a_lost_queue_touches_everyone_and_arms_all_anew() {
    let mut world = World::new(&["/", "/a"]);
    world.add(1, "/a/f");
    world.add(2, "/b/f");
    world.inodes += 1;
    world.dirs.insert("/b".into(), world.inodes);
    assert_eq!(world.book.event(-1, Happened::Overflow, None), ids(&[1, 2]));
    world.settle();
    assert_eq!(world.entry("/b/f"), ids(&[2]), "what appeared unseen is watched");
}

#[test]
fn who_finds_no_watch_left_is_told_and_gets_the_next_free_one() {
    let mut world = World::new(&["/", "/a", "/b"]);
    world.limit = Some(2);
    world.add(1, "/a/f");
    world.add(2, "/b/f");
    assert_eq!(world.book.error(1), None);
    assert!(world.book.error(2).unwrap().message.contains("max_user_watches"));
    assert_eq!(world.book.remove(1), ids(&[2]));
    world.settle();
    assert_eq!(world.book.error(2), None);
}

#[test]
fn a_directory_that_may_be_passed_but_not_read_is_an_error_only_at_the_end() {
    let mut world = World::new(&["/", "/home", "/home/me"]);
    world.denied.insert("/home".into());
    world.add(1, "/home/me/f");
    world.add(2, "/home/f");
    world.add(3, "/home/you/f");
    assert_eq!(world.book.error(1), None);
    for id in [2, 3] {
        assert!(world.book.error(id).unwrap().message.contains("/home: permission denied"));
    }
    world.denied.clear();
    assert_eq!(world.happen(Path::new("/"), Happened::Content, "home"), ids(&[1, 2, 3]));
    assert_eq!(world.book.error(2), None);
}

#[test]
fn a_tree_is_watched_at_every_depth_and_new_directories_with_all_that_came_with_them() {
    let mut world = World::new(&["/", "/t", "/t/a", "/t/a/b", "/other"]);
    world.tree(1, "/t");
    assert_eq!(world.book.watches(), 4, "the root, the tree and two below it");
    assert_eq!(world.entry("/t/a/b/f"), ids(&[1]));
    assert_eq!(world.entry("/other/f"), ids(&[]));
    // A directory that is moved in brings others with it, of which no event tells.
    for dir in ["/t/new", "/t/new/x", "/t/new/x/y"] {
        world.inodes += 1;
        world.dirs.insert(dir.into(), world.inodes);
    }
    assert_eq!(world.entry_of("/t/new", Happened::Directory), ids(&[1]));
    assert_eq!(world.book.watches(), 7);
    assert_eq!(world.entry("/t/new/x/y/f"), ids(&[1]));
    assert_eq!(world.take("/t/new"), ids(&[1]));
    assert_eq!(world.book.watches(), 4, "what went is not watched any more");
    assert_eq!(world.take("/t"), ids(&[1]));
    assert_eq!(world.book.watches(), 1);
    world.mkdir("/t");
    world.mkdir("/t/z");
    assert_eq!(world.entry("/t/z/f"), ids(&[1]), "the tree came back");
    world.book.remove(1);
    world.settle();
    assert_eq!((world.book.watches(), world.watches.len()), (0, 0), "nothing is left behind");
    assert!(world.book.dirs.is_empty());
}

#[test]
fn two_trees_in_each_other_and_a_file_in_them_share_watches() {
    let mut world = World::new(&["/", "/t", "/t/a", "/t/a/b"]);
    world.tree(1, "/t");
    world.tree(2, "/t/a");
    world.add(3, "/t/a/b/f");
    assert_eq!(world.book.watches(), 4);
    assert_eq!(world.entry("/t/a/b/f"), ids(&[1, 2, 3]));
    assert_eq!(world.entry("/t/a/b/g"), ids(&[1, 2]));
    assert_eq!(world.mkdir("/t/a/b/c"), ids(&[1, 2]));
    world.book.remove(1);
    world.settle();
    assert_eq!(world.entry("/t/a/b/c/f"), ids(&[2]));
    world.book.remove(2);
    world.settle();
    assert_eq!(world.book.watches(), 4, "the file's own way");
    assert_eq!(world.entry("/t/a/b/f"), ids(&[3]));
}

#[test]
fn a_tree_too_large_for_the_watches_that_are_left_says_so() {
    let mut world = World::new(&["/", "/t", "/t/a", "/t/b"]);
    world.limit = Some(3);
    world.tree(1, "/t");
    assert!(world.book.error(1).unwrap().exhausted);
    world.limit = None;
    world.book.event(-1, Happened::Overflow, None);
    world.settle();
    assert_eq!(world.book.error(1), None);
}

#[test]
fn only_what_was_asked_for_by_name_may_be_a_link() {
    let mut world = World::new(&["/", "/t", "/t/a", "/t/a/b", "/t/c"]);
    world.add(2, "/t/c/f");
    world.tree(1, "/t");
    let found = ["/t/a", "/t/a/b"].map(PathBuf::from);
    assert_eq!(world.unfollowed, BTreeSet::from(found));
}

#[test]
fn what_the_agent_makes_for_a_while_in_a_tree_touches_nobody() {
    let mut world = World::new(&["/", "/t", "/d", "/t/.quorate-0123"]);
    world.tree(1, "/t");
    world.book.add(2, Path::new("/d").into(), Scope::Children);
    world.settle();
    world.add(3, "/d/.quorate-asked");
    assert_eq!(world.book.watches(), 3, "what was left over is not watched either");
    for happened in [Happened::Entry, Happened::Content] {
        assert_eq!(world.entry_of("/t/.quorate-4567", happened), ids(&[]));
        assert_eq!(world.entry_of("/d/.quorate-4567", happened), ids(&[]));
    }
    assert_eq!(world.mkdir("/t/.quorate-89ab"), ids(&[]));
    assert_eq!(world.book.watches(), 3);
    assert_eq!(world.entry("/d/.quorate-asked"), ids(&[3]), "who wants it by name");
    assert_eq!(world.entry("/t/f"), ids(&[1]), "what it is renamed to");
}

proptest! {
    /// Directories come and go at random; whenever an entry of a wanted path changes, its id is
    /// touched, and the watches are exactly those of the wanted directories that exist.
    #[test]
    fn no_change_of_a_wanted_path_goes_unnoticed(
        steps in prop::collection::vec((0..3u8, 0..14usize), 1..60),
    ) {
        let names = [
            "/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b", "/a/a/a", "/a/a/b", "/a/b/a", "/a/b/b",
            "/b/a/a", "/b/a/b", "/b/b/a", "/b/b/b",
        ];
        let mut world = World::new(&["/"]);
        for (step, index) in steps {
            let name = names[index];
            let id = index as u64;
            let there = world.dirs.contains_key(Path::new(name));
            match step {
                0 if world.book.wants.contains_key(&id) => {
                    world.book.remove(id);
                    world.settle();
                }
                0 => world.add(id, name),
                1 if there => {
                    let touched = world.take(name);
                    for (id, want) in &world.book.wants {
                        prop_assert_eq!(touched.contains(id), want.path.starts_with(name));
                    }
                }
                1 => {}
                _ if !there && world.dirs.contains_key(Path::new(name).parent().unwrap()) => {
                    let touched = world.mkdir(name);
                    for (id, want) in &world.book.wants {
                        prop_assert_eq!(touched.contains(id), want.path.starts_with(name));
                    }
                }
                _ => {}
            }
            let needed: BTreeSet<&Path> = world.book.wants.values().flat_map(Want::dirs).collect();
            let existing = needed.iter().filter(|dir| world.dirs.contains_key(**dir)).count();
            prop_assert_eq!(world.watches.len(), existing);
            prop_assert_eq!(world.book.watches(), existing);
        }
    }

    /// The same for trees: the watches are exactly those of the root and of all directories in
    /// the wanted trees, and every entry in them touches their ids.
    #[test]
    fn no_change_in_a_tree_goes_unnoticed(
        steps in prop::collection::vec((0..4u8, 0..14usize), 1..60),
    ) {
        let names = [
            "/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b", "/a/a/a", "/a/a/b", "/a/b/a", "/a/b/b",
            "/b/a/a", "/b/a/b", "/b/b/a", "/b/b/b",
        ];
        let mut world = World::new(&["/"]);
        for (step, index) in steps {
            let name = names[index];
            let id = index as u64;
            let there = world.dirs.contains_key(Path::new(name));
            let concerned = |want: &Want| {
                want.path.starts_with(name) || Path::new(name).starts_with(&want.path)
            };
            let touched = match step {
                0 if world.book.wants.contains_key(&id) => {
                    world.book.remove(id);
                    world.settle();
                    continue;
                }
                0 => {
                    world.tree(id, name);
                    continue;
                }
                1 if there => world.take(name),
                2 | 3 if !there && world.dirs.contains_key(Path::new(name).parent().unwrap()) => {
                    // Sometimes with something in it at once.
                    if step == 3 {
                        world.inodes += 1;
                        world.dirs.insert(format!("{name}/deep").into(), world.inodes);
                    }
                    world.mkdir(name)
                }
                _ => continue,
            };
            for (id, want) in &world.book.wants {
                prop_assert_eq!(touched.contains(id), concerned(want), "{} {:?}", name, want);
            }
            let wants = &world.book.wants;
            let needed = |dir: &Path| wants.values().any(|want| {
                want.path.starts_with(dir) || dir.starts_with(&want.path)
            });
            let existing = world.dirs.keys().filter(|dir| needed(dir)).count();
            prop_assert_eq!(world.book.watches(), existing);
            prop_assert_eq!(world.watches.len(), existing);
        }
    }
}
