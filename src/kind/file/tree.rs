//! What has to happen below a directory, given what lies there and what should. Pure.
//!
//! Paths are relative to that directory. Refuses to remove what is not wanted unless that is asked
//! for (`purge`), to put a file in the place of a directory or the reverse unless that is allowed
//! (`force`), and to touch what another resource manages or what lies on another file system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::plan::{Attributes, Ids, Rights, differences, kept};

/// The bits that a copy takes from its source: never set-user-id, set-group-id and sticky.
pub(super) const COPIED_BITS: u32 = 0o777;

/// How many steps are named one by one.
const NAMED_STEPS: usize = 4;

/// What a name should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Directory,
    File,
    Link(PathBuf),
}

/// One wanted entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) form: Form,
    /// Its permissions; nothing for a link.
    pub(super) mode: u32,
    /// How long the file is.
    pub(super) bytes: u64,
}

/// What is at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    Directory {
        /// Another file system begins here.
        mount: bool,
    },
    /// `same` tells whether it holds what is wanted.
    File {
        same: bool,
    },
    Link(PathBuf),
    Special,
}

/// One entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) thing: Thing,
    pub(super) attributes: Attributes,
}

/// What may be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// What is not wanted goes.
    pub(super) purge: bool,
    /// What is of another type is replaced.
    pub(super) force: bool,
    /// The owner of what is wanted.
    pub(super) ids: Ids,
    /// What other resources manage.
    pub(super) others: BTreeSet<PathBuf>,
}

impl Terms {
    /// Somebody else manages this, or something in it.
    pub(super) fn holds_others(&self, path: &Path) -> bool {
        self.others.range(path.to_path_buf()..).next().is_some_and(|one| one.starts_with(path))
    }
}

/// One step; the steps are made in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Removes what is no directory.
    Remove(PathBuf),
    /// Removes a directory with all that is in it.
    RemoveTree(PathBuf),
    MakeDirectory(PathBuf, Rights),
    Write {
        path: PathBuf,
        rights: Rights,
        new: bool,
    },
    Link {
        path: PathBuf,
        target: PathBuf,
        ids: Ids,
        new: bool,
    },
    SetOwner(PathBuf, Ids),
    SetMode(PathBuf, u32),
}

impl Step {
    /// What it changes.
    pub(super) fn path(&self) -> &Path {
        match self {
            Step::Remove(path)
            | Step::RemoveTree(path)
            | Step::MakeDirectory(path, _)
            | Step::Write { path, .. }
            | Step::Link { path, .. }
            | Step::SetOwner(path, _)
            | Step::SetMode(path, _) => path,
        }
    }
}

/// Why nothing sensible can be done; shown behind the path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("is a directory, and no directory in the source; add `force: true` to replace it")]
    IsDirectory(PathBuf),
    #[error("is not a directory, but one in the source; add `force: true` to replace it")]
    NotDirectory(PathBuf),
    #[error("is a device, socket or pipe; remove it, or add `force: true` to replace it")]
    IsSpecial(PathBuf),
    #[error("has to make room, but another resource manages something in it")]
    Managed(PathBuf),
    #[error("has to make room, but another file system is mounted on it; unmount it")]
    Mounted(PathBuf),
}

impl Problem {
    /// What it is about.
    pub(super) fn path(&self) -> &Path {
        match self {
            Problem::IsDirectory(path)
            | Problem::NotDirectory(path)
            | Problem::IsSpecial(path)
            | Problem::Managed(path)
            | Problem::Mounted(path) => path,
        }
    }
}

/// The steps from what is there to what is wanted; none when all is right. Everything new is made
/// before anything that is not wanted goes.
pub(super) fn plan(
    there: &BTreeMap<PathBuf, Found>,
    wants: &BTreeMap<PathBuf, Want>,
    terms: &Terms,
) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    let mut left: Option<&Path> = None;
    // Paths come sorted by their parts: a directory before what lies in it.
    for (path, want) in wants {
        if left.is_some_and(|above| path.starts_with(above)) {
            continue;
        }
        let found = there.get(path);
        if terms.others.contains(path) && (found.is_some() || want.form != Form::Directory) {
            let inside = matches!(found, Some(Found { thing: Thing::Directory { .. }, .. }));
            left = if inside { left } else { Some(path) };
            continue;
        }
        match found {
            Some(found) => one(path, found, want, terms, &mut steps)?,
            None => steps.push(make(path, want, terms.ids, true)),
        }
    }
    if terms.purge {
        purge(there, wants, terms, &mut steps);
    }
    Ok(steps)
}

fn one(
    path: &Path,
    found: &Found,
    want: &Want,
    terms: &Terms,
    steps: &mut Vec<Step>,
) -> Result<(), Problem> {
    let rights = Rights { ids: terms.ids, mode: Some(mode_of(found.attributes, want)) };
    match (&found.thing, &want.form) {
        (Thing::Directory { .. }, Form::Directory) | (Thing::File { same: true }, Form::File) => {
            settle(path, found.attributes, rights, steps);
        }
        (Thing::Link(there), Form::Link(target)) if there == target => {
            settle(path, found.attributes, Rights { mode: None, ..rights }, steps);
        }
        (Thing::File { same: false }, Form::File) => {
            let rights = kept(found.attributes, rights);
            steps.push(Step::Write { path: path.into(), rights, new: false });
        }
        // Neither a link nor, where a link is wanted, a file holds more than one written anew.
        (Thing::Link(_), Form::File | Form::Link(_)) | (Thing::File { .. }, Form::Link(_)) => {
            steps.push(make(path, want, terms.ids, false));
        }
        (Thing::Directory { .. }, _) if !terms.force => {
            return Err(Problem::IsDirectory(path.into()));
        }
        (Thing::Directory { mount: true }, _) => return Err(Problem::Mounted(path.into())),
        (Thing::Directory { .. }, _) if terms.holds_others(path) => {
            return Err(Problem::Managed(path.into()));
        }
        (Thing::Directory { .. }, _) => {
            steps.push(Step::RemoveTree(path.into()));
            steps.push(make(path, want, terms.ids, true));
        }
        (Thing::Special, _) if !terms.force => return Err(Problem::IsSpecial(path.into())),
        (_, _) if !terms.force => return Err(Problem::NotDirectory(path.into())),
        (_, _) => {
            steps.push(Step::Remove(path.into()));
            steps.push(make(path, want, terms.ids, true));
        }
    }
    Ok(())
}

/// The permissions of the source beside the special bits that are there: a directory may pass on
/// its group.
fn mode_of(there: Attributes, want: &Want) -> u32 {
    let special = match want.form {
        Form::Directory => there.mode & 0o7000,
        Form::File | Form::Link(_) => 0,
    };
    special | (want.mode & COPIED_BITS)
}

fn settle(path: &Path, there: Attributes, rights: Rights, steps: &mut Vec<Step>) {
    let (owner, mode) = differences(there, rights);
    steps.extend(owner.map(|ids| Step::SetOwner(path.into(), ids)));
    steps.extend(mode.map(|mode| Step::SetMode(path.into(), mode)));
}

fn make(path: &Path, want: &Want, ids: Ids, new: bool) -> Step {
    let path = path.to_path_buf();
    let rights = Rights { ids, mode: Some(want.mode & COPIED_BITS) };
    match &want.form {
        Form::Directory => Step::MakeDirectory(path, rights),
        Form::File => Step::Write { path, rights, new },
        Form::Link(target) => Step::Link { path, target: target.clone(), ids, new },
    }
}

fn purge(
    there: &BTreeMap<PathBuf, Found>,
    wants: &BTreeMap<PathBuf, Want>,
    terms: &Terms,
    steps: &mut Vec<Step>,
) {
    let mut removed: Option<&Path> = None;
    for (path, found) in there {
        let below_removed = removed.is_some_and(|above| path.starts_with(above));
        if below_removed || wants.contains_key(path) || terms.holds_others(path) {
            continue;
        }
        // A directory that made room for something else took this with it.
        if replaced(there, wants, path) {
            continue;
        }
        match found.thing {
            Thing::Directory { mount: true } => {}
            Thing::Directory { .. } => {
                removed = Some(path);
                steps.push(Step::RemoveTree(path.clone()));
            }
            _ => steps.push(Step::Remove(path.clone())),
        }
    }
}

/// Something on the way to this is wanted as no directory.
fn replaced(
    there: &BTreeMap<PathBuf, Found>,
    wants: &BTreeMap<PathBuf, Want>,
    path: &Path,
) -> bool {
    let directory = |want: &Want| want.form == Form::Directory;
    path.ancestors().skip(1).any(|above| {
        there.contains_key(above) && wants.get(above).is_some_and(|want| !directory(want))
    })
}

/// The steps in words: a few by name, many by number.
pub(super) fn describe(steps: &[Step]) -> String {
    if steps.len() > NAMED_STEPS {
        return count(steps);
    }
    let words = steps.iter().map(|step| {
        let path = step.path().display();
        match step {
            Step::Remove(_) | Step::RemoveTree(_) => format!("{path} removed"),
            Step::MakeDirectory(..) => format!("{path}/ created"),
            Step::Write { new: true, .. } | Step::Link { new: true, .. } => {
                format!("{path} created")
            }
            Step::Write { new: false, .. } => format!("{path} written"),
            Step::Link { new: false, .. } => format!("{path} linked"),
            Step::SetOwner(..) => format!("owner of {path} set"),
            Step::SetMode(_, mode) => format!("mode of {path} set to {mode:04o}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

fn count(steps: &[Step]) -> String {
    let of = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
    let counts = [
        (of(|step| matches!(step, Step::MakeDirectory(..))), "directories created"),
        (of(|step| matches!(step, Step::Write { .. })), "files written"),
        (of(|step| matches!(step, Step::Link { .. })), "links set"),
        (of(|step| matches!(step, Step::SetOwner(..))), "owners set"),
        (of(|step| matches!(step, Step::SetMode(..))), "modes set"),
        (of(|step| matches!(step, Step::Remove(_) | Step::RemoveTree(_))), "removed"),
    ];
    let words = counts.iter().filter(|(number, _)| *number > 0);
    words.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
