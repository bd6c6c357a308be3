//! The plan of one path, as tables.

use super::*;
use crate::spec::Value;
use Observed::{Directory, File, Missing, Orphan, Special};
use State::{Absent, Exists, Undefined};

const THERE: Attributes = Attributes { uid: 1, gid: 2, mode: 0o100_644 };
const FILE: Observed = File { attributes: THERE, same: true };
const OTHER: Observed = File { attributes: THERE, same: false };
const EMPTY: Observed = Directory { attributes: THERE, empty: true };
const FULL: Observed = Directory { attributes: THERE, empty: false };
const LINK: Observed = Observed::Link { attributes: THERE, same: false };
const NO_IDS: Ids = Ids { uid: None, gid: None };

/// The plan with the declared mode.
fn plan(observed: &Observed, wanted: &Wanted, ids: Ids) -> Result<Vec<Action>, Problem> {
    super::plan(observed, wanted, Rights { ids, mode: wanted.mode })
}

fn wanted(directory: bool, state: State, content: Option<&str>, mode: Option<u32>) -> Wanted {
    let fields = content.map(|text| ("content", Value::Str(text.to_owned())));
    let declared = Declared::of(&fields.into_iter().collect());
    let body = declared.map_or(Body::Any, Body::Content);
    let (owner, group) = (None, None);
    let (recurse, force, parents) = (false, false, false);
    Wanted { directory, state, body, owner, group, mode, recurse, force, parents }
}

#[test]
fn what_is_missing_is_made_only_when_something_says_so() {
    let new = Action::Write { rights: Rights { ids: NO_IDS, mode: Some(0o600) }, new: true };
    let cases = [
        (
            wanted(false, Exists, None, None),
            Ok(Action::MakeFile(Rights { ids: NO_IDS, mode: None })),
        ),
        (wanted(false, Exists, Some("x"), Some(0o600)), Ok(new)),
        (wanted(false, Undefined, Some("x"), Some(0o600)), Ok(new)),
        (
            wanted(true, Exists, None, Some(0o755)),
            Ok(Action::MakeDirectory(Rights { ids: NO_IDS, mode: Some(0o755) })),
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
        (LINK, &directory, Problem::LinkNotDirectory),
        (LINK, &bare, Problem::IsLink),
        (Special, &file, Problem::IsSpecial),
        (FULL, &gone, Problem::NotEmptyFile),
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
        (LINK, vec![Action::RemoveFile]),
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
        Ok(vec![Action::Write { rights: Rights { ids, mode: Some(0o100_644) }, new: false }])
    );
}

#[test]
fn a_link_in_the_place_of_a_file_with_content_is_replaced() {
    let file = wanted(false, Exists, Some("x"), None);
    let write = Action::Write { rights: Rights { ids: NO_IDS, mode: None }, new: false };
    assert_eq!(plan(&LINK, &file, NO_IDS), Ok(vec![write]));
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

#[test]
fn force_replaces_what_is_of_another_type_and_only_by_something_that_is_made() {
    let forced = |wanted: Wanted| Wanted { force: true, ..wanted };
    let rights = Rights::default();
    let file = forced(wanted(false, Exists, Some("x"), None));
    let all = Wanted { recurse: true, ..file.clone() };
    let bare = forced(wanted(false, Exists, None, None));
    let directory = forced(wanted(true, Exists, None, None));
    let write = Action::Write { rights, new: true };
    let cases = [
        (FULL, &all, vec![Action::RemoveTree, write]),
        (EMPTY, &bare, vec![Action::RemoveDirectory, Action::MakeFile(rights)]),
        (Special, &file, vec![Action::RemoveFile, write]),
        (FILE, &directory, vec![Action::RemoveFile, Action::MakeDirectory(rights)]),
        (LINK, &directory, vec![Action::RemoveFile, Action::MakeDirectory(rights)]),
    ];
    for (observed, wanted, actions) in cases {
        assert_eq!(plan(&observed, wanted, NO_IDS), Ok(actions), "{observed:?} {wanted:?}");
    }
    let nothing = forced(wanted(false, Undefined, None, None));
    assert_eq!(plan(&FULL, &nothing, NO_IDS), Err(Problem::IsDirectory));
    assert_eq!(plan(&FULL, &file, NO_IDS), Err(Problem::FullDirectory), "`recurse` is asked for");
    assert_eq!(plan(&LINK, &bare, NO_IDS), Err(Problem::IsLink), "no type is given by `exists`");
}

#[test]
fn absent_removes_what_is_in_a_directory_only_with_recurse() {
    let gone = wanted(true, Absent, None, None);
    let all = vec![Action::RemoveTree];
    let recurse = Wanted { recurse: true, ..gone.clone() };
    assert_eq!(plan(&FULL, &recurse, NO_IDS), Ok(all));
    let force = Wanted { force: true, ..gone };
    assert_eq!(plan(&FULL, &force, NO_IDS), Err(Problem::NotEmpty));
    assert_eq!(plan(&FILE, &force, NO_IDS), Ok(vec![Action::RemoveFile]));
}

#[test]
fn a_link_is_made_compared_and_set_anew() {
    let link = Wanted { body: Body::Link("/t".into()), ..wanted(false, Undefined, None, None) };
    let make = |new| Ok(vec![Action::MakeLink { ids: NO_IDS, new }]);
    let same = Observed::Link { attributes: THERE, same: true };
    assert_eq!(plan(&Missing, &link, NO_IDS), make(true));
    assert_eq!(plan(&LINK, &link, NO_IDS), make(false));
    assert_eq!(plan(&FILE, &link, NO_IDS), make(false));
    assert_eq!(plan(&same, &link, NO_IDS), Ok(vec![]));
    assert_eq!(plan(&EMPTY, &link, NO_IDS), Err(Problem::IsDirectory));
    let given = Ids { uid: Some(9), gid: None };
    assert_eq!(plan(&same, &link, given), Ok(vec![Action::SetOwner(given)]));
}

#[test]
fn missing_parents_are_made_first_and_only_for_what_is_made() {
    let file = wanted(false, Exists, None, None);
    let make = Action::MakeFile(Rights::default());
    assert_eq!(plan(&Orphan, &file, NO_IDS), Ok(vec![Action::MakeParents, make]));
    assert_eq!(plan(&Orphan, &wanted(true, Absent, None, None), NO_IDS), Ok(vec![]));
    let nothing = wanted(false, Undefined, None, None);
    assert_eq!(plan(&Orphan, &nothing, NO_IDS), Err(Problem::NothingCreates));
}

#[test]
fn what_makes_room_waits_for_what_takes_it() {
    let write = Action::Write { rights: Rights::default(), new: true };
    let steps = [Action::RemoveTree, write];
    let turns = |actions: &[Action]| {
        in_turn(actions).map(|(room, action)| (room.copied(), *action)).collect::<Vec<_>>()
    };
    assert_eq!(turns(&steps), [(Some(Action::RemoveTree), write)]);
    assert_eq!(turns(&[Action::RemoveTree]), [(None, Action::RemoveTree)]);
    let steps = [Action::MakeParents, write];
    assert_eq!(turns(&steps), [(None, Action::MakeParents), (None, write)]);
    assert_eq!(turns(&[]), []);
}
