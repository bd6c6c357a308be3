//! What has to happen to a file, given what is there. Pure.
//!
//! Refuses to remove or replace what might hold data that nobody declared: a directory where a file
//! is wanted, a file where a directory is wanted, a directory that is not empty.

use thiserror::Error;

/// The bits that `mode` is compared with: permissions, set-user-id, set-group-id, sticky; never the
/// type.
pub(super) const MODE_MASK: u32 = 0o7777;

/// Set-user-id and set-group-id, which the kernel takes off when the owner changes.
const SET_ID_BITS: u32 = 0o6000;

/// The field `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Made when missing.
    Exists,
    /// Removed when there.
    Absent,
    /// Only `content` makes it when missing.
    Undefined,
}

/// What a file resource declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) directory: bool,
    pub(super) state: State,
    pub(super) content: Option<Vec<u8>>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
    pub(super) mode: Option<u32>,
}

/// A numeric owner and group; what is absent is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// Owner, group and mode of something that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

/// What is at the path, the last part not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    Missing,
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
    Link,
    /// A device, a socket, a pipe.
    Special,
}

/// One step; the steps are made in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A new directory. Without a mode, the process's default.
    MakeDirectory {
        ids: Ids,
        mode: Option<u32>,
    },
    /// A new empty file, nothing there before.
    MakeFile {
        ids: Ids,
        mode: Option<u32>,
    },
    /// A file with the wanted content takes the place of what is there. Owner and mode are those of
    /// the file before, unless others are wanted.
    Write {
        ids: Ids,
        mode: Option<u32>,
        new: bool,
    },
    SetOwner(Ids),
    SetMode {
        from: u32,
        to: u32,
    },
    RemoveFile,
    RemoveDirectory,
}

/// Why nothing sensible can be done. Each is shown behind the path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("does not exist, and nothing says to create it; add `state: exists`")]
    NothingCreates,
    #[error("is a directory; end the path with a slash if that is meant, or remove it")]
    IsDirectory,
    #[error("is not a directory; take the slash off the end of the path, or remove it")]
    NotDirectory,
    #[error("is a symbolic link; manage what it points to, or remove it")]
    IsLink,
    #[error("is a device, socket or pipe, not a regular file; remove it or choose another path")]
    IsSpecial,
    #[error("is a directory that is not empty; empty it first, `state: absent` does not")]
    NotEmpty,
}

/// The steps from what is there to what is wanted; none when all is right.
pub(super) fn plan(observed: &Observed, wanted: &Wanted, ids: Ids) -> Result<Vec<Action>, Problem> {
    if wanted.state == State::Absent {
        return plan_absent(observed, wanted);
    }
    match (*observed, wanted.directory) {
        (Observed::Missing, true) if wanted.state == State::Exists => {
            Ok(vec![Action::MakeDirectory { ids, mode: wanted.mode }])
        }
        (Observed::Missing, false) if wanted.content.is_some() => {
            Ok(vec![Action::Write { ids, mode: wanted.mode, new: true }])
        }
        (Observed::Missing, false) if wanted.state == State::Exists => {
            Ok(vec![Action::MakeFile { ids, mode: wanted.mode }])
        }
        (Observed::Missing, _) => Err(Problem::NothingCreates),
        (Observed::Directory { attributes, .. }, true) => {
            Ok(plan_attributes(attributes, wanted, ids))
        }
        (Observed::File { attributes, same: true }, false) => {
            Ok(plan_attributes(attributes, wanted, ids))
        }
        (Observed::File { attributes, same: false }, false) => {
            let ids = Ids {
                uid: ids.uid.or(Some(attributes.uid)),
                gid: ids.gid.or(Some(attributes.gid)),
            };
            let mode = wanted.mode.or(Some(attributes.mode));
            Ok(vec![Action::Write { ids, mode, new: false }])
        }
        // The link itself is replaced; whoever planted it gains nothing.
        (Observed::Link, false) if wanted.content.is_some() => {
            Ok(vec![Action::Write { ids, mode: wanted.mode, new: false }])
        }
        (Observed::Link, _) => Err(Problem::IsLink),
        (Observed::Directory { .. }, false) => Err(Problem::IsDirectory),
        (Observed::File { .. } | Observed::Special, true) => Err(Problem::NotDirectory),
        (Observed::Special, false) => Err(Problem::IsSpecial),
    }
}

fn plan_absent(observed: &Observed, wanted: &Wanted) -> Result<Vec<Action>, Problem> {
    match (*observed, wanted.directory) {
        (Observed::Missing, _) => Ok(Vec::new()),
        (Observed::Directory { empty: true, .. }, _) => Ok(vec![Action::RemoveDirectory]),
        (Observed::Directory { empty: false, .. }, _) => Err(Problem::NotEmpty),
        (Observed::File { .. } | Observed::Link | Observed::Special, false) => {
            Ok(vec![Action::RemoveFile])
        }
        (Observed::File { .. } | Observed::Link | Observed::Special, true) => {
            Err(Problem::NotDirectory)
        }
    }
}

fn plan_attributes(there: Attributes, wanted: &Wanted, ids: Ids) -> Vec<Action> {
    let mut actions = Vec::new();
    let change = Ids {
        uid: ids.uid.filter(|uid| *uid != there.uid),
        gid: ids.gid.filter(|gid| *gid != there.gid),
    };
    let owner_changes = change != Ids::default();
    if owner_changes {
        actions.push(Action::SetOwner(change));
    }
    if let Some(to) = wanted.mode {
        let from = there.mode & MODE_MASK;
        if from != to || (owner_changes && to & SET_ID_BITS != 0) {
            actions.push(Action::SetMode { from, to });
        }
    }
    actions
}

/// The steps in words, for people: `content written, mode set to 0644 (was 0600)`.
pub(super) fn describe(actions: &[Action], wanted: &Wanted) -> String {
    let words: Vec<String> = actions.iter().map(|action| describe_one(action, wanted)).collect();
    words.join(", ")
}

fn describe_one(action: &Action, wanted: &Wanted) -> String {
    match action {
        Action::MakeDirectory { .. } => "directory created".to_owned(),
        Action::MakeFile { .. } | Action::Write { new: true, .. } => "created".to_owned(),
        Action::Write { new: false, .. } => "content written".to_owned(),
        Action::SetMode { from, to } => format!("mode set to {to:04o} (was {from:04o})"),
        Action::RemoveFile | Action::RemoveDirectory => "removed".to_owned(),
        Action::SetOwner(ids) => {
            let owner = ids.uid.and(wanted.owner.as_ref()).map(|o| format!("owner set to {o}"));
            let group = ids.gid.and(wanted.group.as_ref()).map(|g| format!("group set to {g}"));
            owner.into_iter().chain(group).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Observed::{Directory, File, Link, Missing, Special};
    use State::{Absent, Exists, Undefined};

    const THERE: Attributes = Attributes { uid: 1, gid: 2, mode: 0o100_644 };
    const FILE: Observed = File { attributes: THERE, same: true };
    const OTHER: Observed = File { attributes: THERE, same: false };
    const EMPTY: Observed = Directory { attributes: THERE, empty: true };
    const FULL: Observed = Directory { attributes: THERE, empty: false };
    const NO_IDS: Ids = Ids { uid: None, gid: None };

    fn wanted(directory: bool, state: State, content: Option<&str>, mode: Option<u32>) -> Wanted {
        let content = content.map(|text| text.as_bytes().to_vec());
        Wanted { directory, state, content, owner: None, group: None, mode }
    }

    #[test]
    fn what_is_missing_is_made_only_when_something_says_so() {
        let new = Action::Write { ids: NO_IDS, mode: Some(0o600), new: true };
        let cases = [
            (wanted(false, Exists, None, None), Ok(Action::MakeFile { ids: NO_IDS, mode: None })),
            (wanted(false, Exists, Some("x"), Some(0o600)), Ok(new)),
            (wanted(false, Undefined, Some("x"), Some(0o600)), Ok(new)),
            (
                wanted(true, Exists, None, Some(0o755)),
                Ok(Action::MakeDirectory { ids: NO_IDS, mode: Some(0o755) }),
            ),
            (wanted(false, Undefined, None, Some(0o600)), Err(Problem::NothingCreates)),
            (wanted(true, Undefined, None, None), Err(Problem::NothingCreates)),
        ];
        for (wanted, expected) in cases {
            assert_eq!(
                plan(&Missing, &wanted, NO_IDS),
                expected.map(|action| vec![action]),
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn nothing_that_may_hold_data_is_replaced_or_removed() {
        let file = wanted(false, Exists, Some("x"), None);
        let bare = wanted(false, Exists, None, None);
        let directory = wanted(true, Exists, None, None);
        let gone = wanted(false, Absent, None, None);
        let gone_directory = wanted(true, Absent, None, None);
        let cases = [
            (EMPTY, &file, Problem::IsDirectory),
            (FULL, &bare, Problem::IsDirectory),
            (FILE, &directory, Problem::NotDirectory),
            (Link, &directory, Problem::IsLink),
            (Link, &bare, Problem::IsLink),
            (Special, &file, Problem::IsSpecial),
            (FULL, &gone, Problem::NotEmpty),
            (FULL, &gone_directory, Problem::NotEmpty),
            (FILE, &gone_directory, Problem::NotDirectory),
        ];
        for (observed, wanted, problem) in cases {
            assert_eq!(plan(&observed, wanted, NO_IDS), Err(problem), "{observed:?} {wanted:?}");
        }
    }

    #[test]
    fn absent_removes_files_links_and_empty_directories() {
        let gone = wanted(false, Absent, None, None);
        let cases = [
            (Missing, vec![]),
            (FILE, vec![Action::RemoveFile]),
            (Link, vec![Action::RemoveFile]),
            (Special, vec![Action::RemoveFile]),
            (EMPTY, vec![Action::RemoveDirectory]),
        ];
        for (observed, actions) in cases {
            assert_eq!(plan(&observed, &gone, NO_IDS), Ok(actions), "{observed:?}");
        }
    }

    #[test]
    fn new_content_keeps_the_owner_and_the_mode_that_nobody_declared() {
        let keep = wanted(false, Exists, Some("x"), None);
        let ids = Ids { uid: Some(1), gid: Some(7) };
        assert_eq!(
            plan(&OTHER, &keep, Ids { uid: None, gid: Some(7) }),
            Ok(vec![Action::Write { ids, mode: Some(0o100_644), new: false }])
        );
    }

    #[test]
    fn a_link_in_the_place_of_a_file_with_content_is_replaced() {
        let file = wanted(false, Exists, Some("x"), None);
        let write = Action::Write { ids: NO_IDS, mode: None, new: false };
        assert_eq!(plan(&Link, &file, NO_IDS), Ok(vec![write]));
    }

    #[test]
    fn modes_are_compared_without_the_type_bits() {
        for observed in [FILE, EMPTY] {
            let directory = matches!(observed, Directory { .. });
            let same = wanted(directory, Exists, None, Some(0o644));
            assert_eq!(plan(&observed, &same, NO_IDS), Ok(vec![]));
            let set_id = wanted(directory, Exists, None, Some(0o4755));
            let change = Action::SetMode { from: 0o644, to: 0o4755 };
            assert_eq!(plan(&observed, &set_id, NO_IDS), Ok(vec![change]));
        }
    }

    #[test]
    fn a_new_owner_does_not_lose_the_set_id_bits() {
        let attributes = Attributes { mode: 0o104_755, ..THERE };
        let file = wanted(false, Exists, None, Some(0o4755));
        let ids = Ids { uid: Some(9), gid: Some(2) };
        assert_eq!(
            plan(&File { attributes, same: true }, &file, ids),
            Ok(vec![
                Action::SetOwner(Ids { uid: Some(9), gid: None }),
                Action::SetMode { from: 0o4755, to: 0o4755 },
            ])
        );
    }

    #[test]
    fn steps_are_described_in_words() {
        let mut file = wanted(false, Exists, None, Some(0o4755));
        file.owner = Some("daemon".to_owned());
        let actions = plan(&FILE, &file, Ids { uid: Some(9), gid: None }).unwrap();
        assert_eq!(describe(&actions, &file), "owner set to daemon, mode set to 4755 (was 0644)");
    }
}
