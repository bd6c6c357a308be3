//! Looking at a path and changing it, on the thread that asks.
//!
//! Refuses to follow a symbolic link at the end of the path, or on the way when somebody else may
//! have put it there, and to go on when it was cancelled.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Group, User};
use tokio_util::sync::CancellationToken;

use super::super::fence::At;
use super::super::way::{Way, missing};
use super::super::{Context, Managed, Mover, Outcome, Ways};
use super::material::Material;
use super::mirror::{Mirror, managed_below};
use super::place::{Filling, Place, Sort, Unsteady};
use super::plan::{Action, Body, Ids, Observed, Rights, State, Wanted, describe, in_turn, plan};
use super::root::Root;

/// How often a path is looked at anew when others change it under our hands.
const TRIES: usize = 3;

/// The permissions of the directories on the way that are made.
const PARENT_MODE: u32 = 0o755;

/// What a run may do and use.
pub(super) struct Job<'a> {
    pub(super) apply: bool,
    pub(super) managed: &'a Managed,
    pub(super) mover: &'a Mover,
    pub(super) ways: &'a Ways,
    /// The directory that no way may leave.
    pub(super) within: Option<&'a Path>,
    pub(super) cancel: &'a CancellationToken,
}

impl<'a> Job<'a> {
    /// The path, with the directory that the way to it must not leave.
    fn at(&self, path: &'a Path) -> At<'a> {
        At { path, within: self.within }
    }

    /// Refuses when the run was given up.
    pub(super) fn go_on(&self) -> Result<(), Trouble> {
        if self.cancel.is_cancelled() {
            return Err(Trouble::Failed("cancelled before it was done".to_owned()));
        }
        Ok(())
    }
}

/// Why a run did not come to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Something that others may make does not exist yet; nothing was changed.
    Lacking(String),
    /// A step failed since somebody else changed the path after it was looked at.
    Raced(String),
    Failed(String),
}

/// Looks, and makes right if the context allows it.
pub(super) fn run(path: &Path, wanted: &Wanted, cx: &Context) -> Result<Outcome, String> {
    if cx.cancel.is_cancelled() {
        return Err("cancelled before it started".to_owned());
    }
    let (managed, mover, cancel) = (&cx.managed, &cx.mover, &cx.cancel);
    // A tree takes long: nothing of it is kept for others, nor taken from them.
    let none = Ways::default();
    let ways = if matches!(wanted.body, Body::Tree { .. }) { &none } else { &cx.ways };
    let job = Job { apply: cx.apply, managed, mover, ways, within: cx.within.as_deref(), cancel };
    converge(path, wanted, &job)
}

fn converge<'a>(path: &'a Path, wanted: &Wanted, job: &Job<'a>) -> Result<Outcome, String> {
    let mut raced = String::new();
    for _ in 0..TRIES {
        match attempt(path, wanted, job) {
            Ok(outcome) => return Ok(outcome),
            Err(Trouble::Raced(error)) => raced = error,
            // What is missing may be the work of another resource that is not allowed to change
            // anything either.
            Err(Trouble::Lacking(what)) if !job.apply => return Ok(Outcome::WouldChange(what)),
            Err(Trouble::Lacking(what)) => {
                return Err(format!("{}: {what}", shown(path, wanted.directory)));
            }
            Err(Trouble::Failed(error)) => return Err(error),
        }
    }
    Err(raced)
}

fn attempt<'a>(path: &'a Path, wanted: &Wanted, job: &Job<'a>) -> Result<Outcome, Trouble> {
    let name = shown(path, wanted.directory);
    let mut material = Material::gather(&wanted.body, job)?;
    let ids = resolve(wanted).map_err(Trouble::Lacking)?;
    let cannot_look = |error: io::Error| {
        let text = format!("{name}: cannot look at it: {}", os_reason(&error));
        if Unsteady::is(&error) { Trouble::Raced(text) } else { Trouble::Failed(text) }
    };
    let mut way = find_way(job.at(path), job.ways).map_err(cannot_look)?;
    let kept = way.as_ref().is_some_and(Way::is_kept);
    let observed = observe(way.as_ref(), path, wanted, &mut material, job).map_err(cannot_look)?;
    let rights = Rights { ids, mode: wanted.mode.or_else(|| material.mode(&observed)) };
    let actions = match plan(&observed, wanted, rights) {
        Ok(actions) => actions,
        Err(problem) if matches!(observed, Observed::Missing | Observed::Orphan) => {
            return Err(Trouble::Lacking(problem.to_string()));
        }
        Err(problem) => return Err(Trouble::Failed(format!("{name}: {problem}"))),
    };
    refuse_managed(path, &name, wanted, &actions, job)?;
    for (room, action) in in_turn(&actions).filter(|_| job.apply) {
        let done = perform(&mut way, path, &mut material, wanted, (room, action), job);
        let Err(error) = done else { continue };
        let unsteady = Unsteady::is(&error);
        let busy = error.raw_os_error() == Some(Errno::EBUSY as i32);
        let blamed = room.filter(|_| busy).unwrap_or(action);
        let error = explain(path, &name, blamed, &error);
        job.ways.forget();
        // Not kept: the next attempt opens it itself, and what fails there is no race.
        let way = find_way(job.at(path), &Ways::default()).map_err(cannot_look)?;
        let now = observe(way.as_ref(), path, wanted, &mut material, job).map_err(cannot_look)?;
        return Err(if now == observed && !unsteady && !kept {
            Trouble::Failed(error)
        } else {
            Trouble::Raced(error)
        });
    }
    let mut words = describe(&actions, wanted);
    if let Body::Tree { purge, .. } = wanted.body {
        let source = if let Material::Tree(source) = material { Some(source) } else { None };
        let stays = matches!(observed, Observed::Directory { .. });
        let place = way.as_ref().filter(|_| job.apply || stays).map(Place::of);
        let mirror = Mirror { path, place, source, purge, force: wanted.force, ids };
        let below = mirror.run(job)?;
        let separator = if words.is_empty() || below.is_empty() { "" } else { ", " };
        words = words + separator + &below;
    }
    Ok(match (words.is_empty(), job.apply) {
        (true, _) => Outcome::Unchanged,
        (false, true) => Outcome::Changed(words),
        (false, false) => Outcome::WouldChange(words),
    })
}

/// What makes room must not take with it what another resource would make again.
fn refuse_managed(
    path: &Path,
    name: &str,
    wanted: &Wanted,
    actions: &[Action],
    job: &Job<'_>,
) -> Result<(), Trouble> {
    if wanted.state == State::Absent || !actions.contains(&Action::RemoveTree) {
        return Ok(());
    }
    match managed_below(path, job.managed).first() {
        None => Ok(()),
        Some(other) => Err(Trouble::Failed(format!(
            "{name}: has to make room, but another resource manages {} in it; take one of them \
             out of the graph",
            other.display()
        ))),
    }
}

/// The path as the user writes it: directories end in a slash.
fn shown(path: &Path, directory: bool) -> String {
    let text = path.display().to_string();
    if directory && !text.ends_with('/') { text + "/" } else { text }
}

/// The way to the path; nothing when a directory on it is missing.
fn find_way<'a>(at: At<'a>, ways: &Ways) -> io::Result<Option<Way<'a>>> {
    match Way::along(at, ways) {
        Err(error) if missing(&error) => Ok(None),
        way => way.map(Some),
    }
}

fn observe(
    way: Option<&Way<'_>>,
    path: &Path,
    wanted: &Wanted,
    material: &mut Material<'_>,
    job: &Job<'_>,
) -> io::Result<Observed> {
    let place = way.map(Place::of);
    let seen = place.map_or(Ok(None), |place| place.look())?;
    let (Some(place), Some(seen)) = (place, seen) else {
        let orphan = wanted.parents && path.parent().is_some_and(|parent| !parent.exists());
        return Ok(if orphan { Observed::Orphan } else { Observed::Missing });
    };
    let attributes = seen.attributes;
    match seen.sort {
        Sort::Directory => {
            let goes = wanted.force && !wanted.directory;
            let looked = wanted.state == State::Absent || goes;
            let empty = looked && place.is_empty()?;
            Ok(Observed::Directory { attributes, empty })
        }
        Sort::Link => {
            let same = match &wanted.body {
                Body::Link(target) => *place.target()? == **target,
                _ => false,
            };
            Ok(Observed::Link { attributes, same })
        }
        Sort::Special => Ok(Observed::Special),
        Sort::File => match material.is_in(&place, seen, job) {
            Ok(same) => Ok(Observed::File { attributes, same }),
            // It went, or a link took its place, since we looked.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Observed::Missing),
            Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
                Ok(Observed::Link { attributes, same: false })
            }
            Err(error) => Err(error),
        },
    }
}

/// The numbers of the wanted owner and group. The error names who does not exist.
fn resolve(wanted: &Wanted) -> Result<Ids, String> {
    let uid = wanted.owner.as_deref().map(user_id).transpose()?;
    let gid = wanted.group.as_deref().map(group_id).transpose()?;
    Ok(Ids { uid, gid })
}

fn user_id(owner: &str) -> Result<u32, String> {
    // Nobody is called by a number, and looking somebody up takes long.
    if let Ok(uid) = owner.parse() {
        return number("owner", uid);
    }
    match User::from_name(owner) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => {
            Err(format!("the user `{owner}` does not exist; create it, or name another `owner`"))
        }
        Err(error) => Err(format!("cannot look up the user `{owner}`: {error}; try again")),
    }
}

/// The highest number stands for "as it is", and so would never come to be.
fn number(field: &str, id: u32) -> Result<u32, String> {
    match id {
        u32::MAX => Err(format!("nothing can have the number {id}; name another `{field}`")),
        id => Ok(id),
    }
}

fn group_id(group: &str) -> Result<u32, String> {
    if let Ok(gid) = group.parse() {
        return number("group", gid);
    }
    match Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => {
            Err(format!("the group `{group}` does not exist; create it, or name another `group`"))
        }
        Err(error) => Err(format!("cannot look up the group `{group}`: {error}; try again")),
    }
}

fn perform<'a>(
    way: &mut Option<Way<'a>>,
    path: &'a Path,
    material: &mut Material<'_>,
    wanted: &Wanted,
    (room, action): (Option<&Action>, &Action),
    job: &Job<'a>,
) -> io::Result<()> {
    if *action == Action::MakeParents {
        *way = Some(Way::within(make_parents(job.at(path))?, path));
        return Ok(());
    }
    let way = way.as_ref().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
    let place = Place::of(way);
    if matches!(action, Action::MakeFile(_) | Action::Write { .. }) {
        job.ways.take_turn();
    }
    let make_room = || room.map_or(Ok(()), |room| remove(way, path, room, job));
    match *action {
        Action::MakeParents => Ok(()),
        Action::MakeDirectory(rights) => {
            make_room()?;
            place.make_directory(rights.ids, rights.mode)
        }
        Action::MakeFile(rights) if room.is_some() => {
            place.replace(Filling::Bytes(&[]), rights, true, make_room, job.mover)
        }
        Action::MakeFile(rights) => place.make_file(rights.ids, rights.mode),
        Action::Write { rights, new } => {
            place.replace(material.filling(job)?, rights, new, make_room, job.mover)
        }
        Action::MakeLink { ids, .. } => match &wanted.body {
            Body::Link(target) => place.link(target, ids, make_room),
            _ => Err(ErrorKind::InvalidInput.into()),
        },
        Action::SetOwner(ids) => place.chown(ids),
        Action::SetMode { to, .. } => place.set_mode(to),
        Action::RemoveFile | Action::RemoveDirectory | Action::RemoveTree => {
            remove(way, path, action, job)
        }
    }
}

/// Removes what is there, in the way that the step says; nothing when there is no step.
fn remove(way: &Way<'_>, path: &Path, action: &Action, job: &Job<'_>) -> io::Result<()> {
    let place = Place::of(way);
    match action {
        Action::RemoveFile => place.remove_file(),
        Action::RemoveDirectory => place.remove_directory(),
        Action::RemoveTree if path.parent().is_none() => Err(Errno::EBUSY.into()),
        Action::RemoveTree => {
            Root::of(way.dir().try_clone_to_owned()?)?.remove_tree(way.name(), job.cancel)
        }
        _ => Ok(()),
    }
}

/// Makes what is missing on the way to the path, and opens the directory that it lies in.
fn make_parents(at: At<'_>) -> io::Result<OwnedFd> {
    let mut absent = Vec::new();
    let mut found = Err(ErrorKind::NotFound.into());
    for ancestor in at.path.ancestors().skip(1) {
        found = at.directory(ancestor);
        match &found {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                absent.extend(ancestor.file_name())
            }
            _ => break,
        }
    }
    let mut here = found?;
    for name in absent.iter().rev() {
        let place = Place::within(here.as_fd(), Path::new(name));
        match place.make_directory(Ids::default(), Some(PARENT_MODE)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result?,
        }
        here = place.enter()?;
    }
    Ok(here)
}

/// The error in words, with the next step. A missing parent is looked up and named.
fn explain(path: &Path, name: &str, action: &Action, error: &io::Error) -> String {
    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        && let Some(reason) = blocked_parent(path)
    {
        return format!("{name}: {reason}");
    }
    let failed = match action {
        Action::MakeParents => "cannot create the directories on the way",
        Action::MakeDirectory(_) | Action::MakeFile(_) => "cannot create it",
        Action::Write { .. } | Action::MakeLink { .. } => "cannot write it",
        Action::SetOwner(_) => "cannot set its owner",
        Action::SetMode { .. } => "cannot set its mode",
        Action::RemoveTree if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            return format!("{name}: holds another file system, which stays; unmount it");
        }
        Action::RemoveFile | Action::RemoveDirectory | Action::RemoveTree => "cannot remove it",
    };
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "; run the agent as a user who may",
        ErrorKind::ReadOnlyFilesystem => "; mount the file system writable",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room",
        _ => "",
    };
    format!("{name}: {failed}: {}{hint}", os_reason(error))
}

/// The system's reason without the number that the library adds.
pub(super) fn os_reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// The first directory on the way to `path` that is missing or is something else, and what to do
/// about it.
fn blocked_parent(path: &Path) -> Option<String> {
    let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    ancestors.reverse();
    for directory in ancestors {
        let name = shown(directory, true);
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Some(format!(
                    "{} is not a directory; remove it or choose another path",
                    directory.display()
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Some(format!(
                    "directory {name} does not exist; declare it as a file resource \
                     (name: {name}) or create it"
                ));
            }
            Err(_) => return None,
        }
    }
    None
}
