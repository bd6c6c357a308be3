//! As whom a process runs.
//!
//! Refuses to run as somebody else than was asked for: where the agent may not change the user or
//! the group, that is an error.

use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User};

/// What to set on a process. What is absent is right as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// `HOME` and who it is, which programs look at before they ask the system.
    pub(super) variables: Vec<(&'static str, String)>,
}

/// A user as found on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    /// Absent when only a number was given, which has no entry.
    entry: Option<(String, u32, PathBuf)>,
}

/// Looks up who is asked for, on the blocking pool: the answer may come from a directory server.
pub(super) async fn of(user: Option<String>, group: Option<String>) -> Result<Identity, String> {
    let look = move || {
        let account = user.as_deref().map(account).transpose()?;
        let gid = group.as_deref().map(group_id).transpose()?;
        decide(account, gid, Uid::effective().as_raw(), Gid::effective().as_raw())
    };
    tokio::task::spawn_blocking(look)
        .await
        .map_err(|error| format!("the search for its user ended early: {error}"))?
}

fn account(name: &str) -> Result<Account, String> {
    let failed = |error| format!("the user `{name}` cannot be looked up: {error}; try again");
    let number = name.parse().ok();
    let mut found = User::from_name(name).map_err(failed)?;
    if let (None, Some(uid)) = (&found, number) {
        found = User::from_uid(Uid::from_raw(uid)).map_err(failed)?;
    }
    match (found, number) {
        (Some(user), _) => Ok(Account {
            uid: user.uid.as_raw(),
            entry: Some((user.name, user.gid.as_raw(), user.dir)),
        }),
        (None, Some(uid)) => Ok(Account { uid, entry: None }),
        (None, None) => {
            Err(format!("the user `{name}` does not exist; create it, or name another `user`"))
        }
    }
}

fn group_id(name: &str) -> Result<u32, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => name.parse().map_err(|_| {
            format!("the group `{name}` does not exist; create it, or name another `group`")
        }),
        Err(error) => Err(format!("the group `{name}` cannot be looked up: {error}; try again")),
    }
}

/// What to set for an agent of this user and group.
fn decide(
    account: Option<Account>,
    gid: Option<u32>,
    our_uid: u32,
    our_gid: u32,
) -> Result<Identity, String> {
    let entry = account.as_ref().and_then(|one| one.entry.clone());
    let gid = match (gid, &account, &entry) {
        (Some(gid), ..) => gid,
        (None, _, Some((_, gid, _))) => *gid,
        (None, None, None) => our_gid,
        (None, Some(one), None) => {
            let uid = one.uid;
            return Err(format!("the user {uid} has no entry that names a group; add `group`"));
        }
    };
    let uid = account.as_ref().map_or(our_uid, |one| one.uid);
    let other_uid = (uid != our_uid).then_some(uid);
    let other_gid = (gid != our_gid).then_some(gid);
    if our_uid != 0 && other_uid.is_some() {
        return Err(format!("`user` needs root, and the agent is user {our_uid}; run it as root"));
    }
    if our_uid != 0 && other_gid.is_some() {
        return Err(format!("`group` needs root, and the agent is user {our_uid}; run it as root"));
    }
    let variables = entry.into_iter().flat_map(|(name, _, home)| {
        let home = home.display().to_string();
        [("HOME", home), ("USER", name.clone()), ("LOGNAME", name)]
    });
    Ok(Identity { uid: other_uid, gid: other_gid, variables: variables.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_runs_as_somebody_else() {
        let ann =
            Account { uid: 7, entry: Some(("ann".to_owned(), 70, PathBuf::from("/home/ann"))) };
        let number = Account { uid: 8, entry: None };
        let set = |identity: Identity| (identity.uid, identity.gid);
        let cases = [
            (Some(ann.clone()), None, 0, 0, Ok((Some(7), Some(70)))),
            (Some(ann.clone()), Some(5), 0, 0, Ok((Some(7), Some(5)))),
            (None, Some(5), 0, 0, Ok((None, Some(5)))),
            (Some(number.clone()), Some(5), 0, 0, Ok((Some(8), Some(5)))),
            (Some(ann.clone()), None, 7, 70, Ok((None, None))),
            (Some(ann.clone()), Some(5), 7, 70, Err("`group` needs root")),
            (Some(ann), None, 9, 70, Err("`user` needs root")),
            (Some(number), None, 0, 0, Err("the user 8 has no entry")),
        ];
        for (account, gid, our_uid, our_gid, expected) in cases {
            let shown = format!("{account:?} {gid:?} {our_uid}");
            match (decide(account, gid, our_uid, our_gid).map(set), expected) {
                (Ok(made), Ok(wanted)) => assert_eq!(made, wanted, "{shown}"),
                (Err(why), Err(begin)) => assert!(why.starts_with(begin), "{why}"),
                other => panic!("{other:?} {shown}"),
            }
        }
    }

    #[tokio::test]
    async fn who_does_not_exist_is_named() {
        let nobody = "no-such-user-here".to_owned();
        let error = of(Some(nobody.clone()), None).await.unwrap_err();
        assert!(error.contains("the user `no-such-user-here` does not exist"), "{error}");
        let error = of(None, Some(nobody)).await.unwrap_err();
        assert!(error.contains("the group `no-such-user-here` does not exist"), "{error}");
    }
}
