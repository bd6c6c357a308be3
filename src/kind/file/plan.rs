//! What has to happen to one path, given what is there. Pure.
//!
//! Refuses to remove or replace what might hold data that nobody declared, unless that is allowed
//! (`force`, `recurse`): a directory where a file is wanted, a file where a directory is wanted, a
//! directory that is not empty.

use std::path::PathBuf;

use thiserror::Error;

use super::super::str_field;
use crate::spec::Fields;

/// The bits that `mode` is compared with: permissions, set-user-id, set-group-id, sticky; never the
/// type.
pub(super) const MODE_MASK: u32 = 0o7777;

/// Set-user-id and set-group-id, which the kernel takes off when the owner changes.
const SET_ID_BITS: u32 = 0o6000;

const READ_BITS: u32 = 0o444;

/// The field `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Made when missing.
    Exists,
    /// Removed when there.
    Absent,
    /// Only what fills it makes it when missing.
    Undefined,
}

/// What fills the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Whatever it holds.
    Any,
    /// A file with this content.
    Content(Declared),
    /// A file with the content of this one.
    Copy(PathBuf),
    /// A file with the contents of these, one after the other.
    Fragments(Vec<Fragment>),
    /// A link to this, as it is written.
    Link(PathBuf),
    /// A directory with what lies in the source, if there is one; with `purge`, and nothing else.
    Tree { source: Option<PathBuf>, purge: bool },
}

/// A content as it is declared: the fields themselves, so that there is no second copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared(Fields);

impl Declared {
    /// The field `content` of these, if they have one.
    pub(super) fn of(fields: &Fields) -> Option<Self> {
        str_field(fields, "content").map(|_| Declared(fields.clone()))
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        str_field(&self.0, "content").unwrap_or_default().as_bytes()
    }
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Clean and absolute.
    pub(super) path: PathBuf,
    /// It stands for the files in it, in the order of their names.
    pub(super) directory: bool,
}

/// What a file resource declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) directory: bool,
    pub(super) state: State,
    pub(super) body: Body,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
    pub(super) mode: Option<u32>,
    /// A directory may go with all that is in it.
    pub(super) recurse: bool,
    /// What is of another type may be replaced.
    pub(super) force: bool,
    /// Missing directories on the way are made.
    pub(super) parents: bool,
}

impl Wanted {
    /// Whether a missing one is made.
    pub(super) fn makes(&self) -> bool {
        let filled = match &self.body {
            Body::Any | Body::Tree { source: None, .. } => false,
            Body::Content(_) | Body::Copy(_) | Body::Fragments(_) | Body::Link(_) => true,
            Body::Tree { source: Some(_), .. } => true,
        };
        filled || self.state == State::Exists
    }

    fn form(&self) -> Form {
        match &self.body {
            _ if self.directory => Form::Directory,
            Body::Link(_) => Form::Link,
            Body::Any | Body::Tree { .. } => Form::AnyFile,
            Body::Content(_) | Body::Copy(_) | Body::Fragments(_) => Form::File,
        }
    }
}

/// What the path has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Directory,
    Link,
    /// A file with a known content.
    File,
    /// A file, whatever is in it.
    AnyFile,
}

/// A numeric owner and group; what is absent is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::kind) struct Ids {
    pub(in crate::kind) uid: Option<u32>,
    pub(in crate::kind) gid: Option<u32>,
}

/// Owner, group and mode of something that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kind) struct Attributes {
    pub(in crate::kind) uid: u32,
    pub(in crate::kind) gid: u32,
    pub(in crate::kind) mode: u32,
}

/// The wanted owner, group and mode as numbers; the mode of a copy is its source's unless one is
/// declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::kind) struct Rights {
    pub(in crate::kind) ids: Ids,
    pub(in crate::kind) mode: Option<u32>,
}

/// What is at the path, the last part not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    Missing,
    /// Missing together with the directory that it would lie in. Only told when that may be made.
    Orphan,
    /// `same` tells whether the content is the wanted one; true when none is wanted.
    File {
        attributes: Attributes,
        same: bool,
    },
    /// `empty` is only looked up when the directory has to go.
    Directory {
        attributes: Attributes,
        empty: bool,
    },
    /// `same` tells whether it points to where it should; false when no link is wanted.
    Link {
        attributes: Attributes,
        same: bool,
    },
    /// A device, a socket, a pipe.
    Special,
}

/// One step; the steps are made in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The directories on the way that are missing.
    MakeParents,
    /// A new directory. Without a mode, the process's default.
    MakeDirectory(Rights),
    /// A new empty file, nothing there before.
    MakeFile(Rights),
    /// A file with the wanted content takes the place of what is there. Owner and mode are those of
    /// the file before, unless others are wanted.
    Write {
        rights: Rights,
        new: bool,
    },
    /// A link takes the place of what is there.
    MakeLink {
        ids: Ids,
        new: bool,
    },
    SetOwner(Ids),
    SetMode {
        from: u32,
        to: u32,
    },
    RemoveFile,
    RemoveDirectory,
    /// A directory and all that is in it.
    RemoveTree,
}

impl Action {
    /// It removes what is there.
    pub(super) fn removes(&self) -> bool {
        matches!(self, Action::RemoveFile | Action::RemoveDirectory | Action::RemoveTree)
    }
}

/// Why nothing sensible can be done. Each is shown behind the path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("does not exist, and nothing says to create it; add `state: exists`")]
    NothingCreates,
    #[error(
        "is a directory; end the path with a slash if that is meant, or add `force: true` to \
         replace it, and `recurse: true` if it is not empty"
    )]
    IsDirectory,
    #[error(
        "is not a directory; take the slash off the end of the path, or add `force: true` to \
         replace it"
    )]
    NotDirectory,
    #[error("is a symbolic link; manage what it points to, or remove it")]
    IsLink,
    #[error("is a symbolic link; manage what it points to, or add `force: true` to replace it")]
    LinkNotDirectory,
    #[error(
        "is a device, socket or pipe, not a regular file; remove it, or add `force: true` to \
         replace it"
    )]
    IsSpecial,
    #[error(
        "is a directory that is not empty; add `recurse: true` to `force` to replace it and all \
         that is in it"
    )]
    FullDirectory,
    #[error("is a directory that is not empty; add `recurse: true` to remove all that is in it")]
    NotEmpty,
    #[error("is a directory that is not empty; end the path with a slash and add `recurse: true`")]
    NotEmptyFile,
}

/// The steps from what is there to what is wanted; none when all is right.
pub(super) fn plan(
    observed: &Observed,
    wanted: &Wanted,
    rights: Rights,
) -> Result<Vec<Action>, Problem> {
    if wanted.state == State::Absent {
        return plan_absent(observed, wanted);
    }
    let form = wanted.form();
    let make = |before: Option<Action>| {
        let new = !matches!(observed, Observed::Link { .. } | Observed::File { .. });
        before.into_iter().chain([make(form, rights, new || form == Form::Directory)]).collect()
    };
    match (*observed, form) {
        (Observed::Missing | Observed::Orphan, _) if !wanted.makes() => {
            Err(Problem::NothingCreates)
        }
        (Observed::Missing, _) => Ok(make(None)),
        (Observed::Orphan, _) => Ok(make(Some(Action::MakeParents))),

        (Observed::Directory { attributes, .. }, Form::Directory)
        | (Observed::File { attributes, same: true }, Form::File | Form::AnyFile)
        | (Observed::File { attributes, .. }, Form::AnyFile) => Ok(plan_rights(attributes, rights)),
        (Observed::Link { attributes, same: true }, Form::Link) => {
            Ok(plan_rights(attributes, Rights { mode: None, ..rights }))
        }
        (Observed::File { attributes, same: false }, Form::File) => {
            Ok(vec![Action::Write { rights: kept(attributes, rights), new: false }])
        }
        // The link itself is replaced; whoever planted it gains nothing. Neither a link nor, where
        // a link is wanted, a file holds more than a file that is written anew.
        (Observed::Link { .. }, Form::File | Form::Link) | (Observed::File { .. }, Form::Link) => {
            Ok(make(None))
        }

        (Observed::Link { .. }, Form::AnyFile) => Err(Problem::IsLink),
        (Observed::Link { .. }, Form::Directory) if !replaces(wanted) => {
            Err(Problem::LinkNotDirectory)
        }
        (Observed::Directory { empty, .. }, _) if replaces(wanted) => match empty {
            true => Ok(make(Some(Action::RemoveDirectory))),
            false if wanted.recurse => Ok(make(Some(Action::RemoveTree))),
            false => Err(Problem::FullDirectory),
        },
        (Observed::Directory { .. }, _) => Err(Problem::IsDirectory),
        (Observed::Special, _) if replaces(wanted) => Ok(make(Some(Action::RemoveFile))),
        (Observed::Special, Form::Directory) => Err(Problem::NotDirectory),
        (Observed::Special, _) => Err(Problem::IsSpecial),
        (Observed::File { .. } | Observed::Link { .. }, Form::Directory) if replaces(wanted) => {
            Ok(make(Some(Action::RemoveFile)))
        }
        (Observed::File { .. } | Observed::Link { .. }, Form::Directory) => {
            Err(Problem::NotDirectory)
        }
    }
}

/// What is of another type may go, since something takes its place.
fn replaces(wanted: &Wanted) -> bool {
    wanted.force && wanted.makes()
}

fn make(form: Form, rights: Rights, new: bool) -> Action {
    match form {
        Form::Directory => Action::MakeDirectory(rights),
        Form::Link => Action::MakeLink { ids: rights.ids, new },
        Form::File => Action::Write { rights, new },
        Form::AnyFile => Action::MakeFile(rights),
    }
}

/// The owner and mode of a file that gets new content: what is not declared stays.
pub(super) fn kept(there: Attributes, rights: Rights) -> Rights {
    let Rights { ids, mode } = rights;
    let ids = Ids { uid: ids.uid.or(Some(there.uid)), gid: ids.gid.or(Some(there.gid)) };
    Rights { ids, mode: mode.or(Some(there.mode)) }
}

/// The mode of a file that is there and gets content which not everybody may read; nothing when it
/// lets nobody read what they may not. `all` is what every part of the content allows.
pub(super) fn narrowed(there: Attributes, all: u32) -> Option<u32> {
    let now = there.mode & MODE_MASK;
    let to = now & !(READ_BITS & !all);
    (to != now).then_some(to)
}

fn plan_absent(observed: &Observed, wanted: &Wanted) -> Result<Vec<Action>, Problem> {
    match (*observed, wanted.directory) {
        (Observed::Missing | Observed::Orphan, _) => Ok(Vec::new()),
        (Observed::Directory { empty: true, .. }, _) => Ok(vec![Action::RemoveDirectory]),
        (Observed::Directory { .. }, _) if wanted.recurse => Ok(vec![Action::RemoveTree]),
        (Observed::Directory { .. }, true) => Err(Problem::NotEmpty),
        (Observed::Directory { .. }, false) => Err(Problem::NotEmptyFile),
        (_, directory) if !directory || wanted.force => Ok(vec![Action::RemoveFile]),
        (_, _) => Err(Problem::NotDirectory),
    }
}

fn plan_rights(there: Attributes, rights: Rights) -> Vec<Action> {
    let (ids, mode) = differences(there, rights);
    let mode = mode.map(|to| Action::SetMode { from: there.mode & MODE_MASK, to });
    ids.map(Action::SetOwner).into_iter().chain(mode).collect()
}

/// What has to be set: the owner, then the mode.
pub(super) fn differences(there: Attributes, rights: Rights) -> (Option<Ids>, Option<u32>) {
    let Rights { ids, mode } = rights;
    let change = Ids {
        uid: ids.uid.filter(|uid| *uid != there.uid),
        gid: ids.gid.filter(|gid| *gid != there.gid),
    };
    let owner = (change != Ids::default()).then_some(change);
    let mode = mode
        .filter(|to| there.mode & MODE_MASK != *to || (owner.is_some() && to & SET_ID_BITS != 0));
    (owner, mode)
}

/// Each step with the one before it that makes room for it: that is made when what takes the room
/// is written and whole, and not before.
pub(super) fn in_turn(actions: &[Action]) -> impl Iterator<Item = (Option<&Action>, &Action)> {
    let room = |at: usize| at.checked_sub(1).and_then(|before| actions.get(before));
    let last = actions.len().saturating_sub(1);
    actions
        .iter()
        .enumerate()
        .filter(move |(at, action)| *at == last || !action.removes())
        .map(move |(at, action)| (room(at).filter(|before| before.removes()), action))
}

/// The steps in words, for people: `content written, mode set to 0644 (was 0600)`.
pub(super) fn describe(actions: &[Action], wanted: &Wanted) -> String {
    let words: Vec<String> = actions.iter().map(|action| describe_one(action, wanted)).collect();
    words.join(", ")
}

fn describe_one(action: &Action, wanted: &Wanted) -> String {
    match action {
        Action::MakeParents => "parents created".to_owned(),
        Action::MakeDirectory(_) => "directory created".to_owned(),
        Action::MakeFile(_) | Action::Write { new: true, .. } => "created".to_owned(),
        Action::Write { new: false, .. } => "content written".to_owned(),
        Action::MakeLink { new: true, .. } => "link created".to_owned(),
        Action::MakeLink { new: false, .. } => "link set".to_owned(),
        Action::SetMode { from, to } => format!("mode set to {to:04o} (was {from:04o})"),
        Action::RemoveFile | Action::RemoveDirectory => "removed".to_owned(),
        Action::RemoveTree => "removed with all that was in it".to_owned(),
        Action::SetOwner(ids) => {
            let owner = ids.uid.and(wanted.owner.as_ref()).map(|o| format!("owner set to {o}"));
            let group = ids.gid.and(wanted.group.as_ref()).map(|g| format!("group set to {g}"));
            owner.into_iter().chain(group).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests;
