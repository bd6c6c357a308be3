//! Whether a cluster that lost its quorum may be founded anew from what one host has, and from
//! which host.
//!
//! Refuses whenever a quorum could still come together: then nothing is lost, and starting agents
//! is all that is needed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::decide::quorum;
use crate::ident::counted;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// Found the cluster anew from this host's data.
    LostQuorum {
        /// The host that a person named to recover from.
        from: Option<String>,
        /// The peer URLs that its member is to have from now on; empty keeps them.
        peer: Vec<String>,
        /// All addresses changed at once; an agent that runs knows its own.
        addresses_changed: bool,
    },
    /// Found another cluster with the data of a snapshot.
    Snapshot {
        /// Its file, absolute.
        file: PathBuf,
    },
}

/// Why there was no recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not to be done.
    Refused(String),
    /// It could not be done.
    Failed(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure::Failed(why)
    }
}

/// How far a survivor's log goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Its host.
    pub host: String,
    /// Its raft term.
    pub term: u64,
    /// The end of what it knows to be agreed on.
    pub index: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many voters the cluster has.
    pub voters: usize,
    /// This host.
    pub own: Survivor,
    /// The other voters that answer.
    pub others: Vec<Survivor>,
    /// The host that a person named to recover from.
    pub named: Option<String>,
}

/// Whether this host may found the cluster anew.
///
/// # Errors
/// One sentence.
pub fn judge(found: &Found) -> Result<(), String> {
    let own = &found.own;
    if let Some(named) = found.named.as_ref().filter(|named| **named != own.host) {
        return Err(format!(
            "--from {named} is to be said on {named}, with its data; this is {}",
            own.host
        ));
    }
    let reached = 1 + found.others.len();
    let needed = quorum(found.voters);
    if reached >= needed {
        let hosts = found.others.iter().map(|one| one.host.as_str());
        let hosts: Vec<&str> = std::iter::once(own.host.as_str()).chain(hosts).collect();
        return Err(format!(
            "a quorum is possible: {reached} of {} can be reached ({}), and {needed} are needed; \
             start their agents, and they find together with nothing lost",
            counted(found.voters, "voter"),
            hosts.join(", ")
        ));
    }
    let ahead = found.others.iter().filter(|one| (one.term, one.index) > (own.term, own.index));
    match ahead.max_by_key(|one| (one.term, one.index)) {
        Some(best) if found.named.is_none() => Err(format!(
            "{} is ahead of this host ({}, against {}); recover there, or here with --from {}, \
             which gives up what only {} has",
            best.host,
            place(best),
            place(own),
            own.host,
            best.host
        )),
        _ => Ok(()),
    }
}

fn place(one: &Survivor) -> String {
    format!("at term {} and index {}", one.term, one.index)
}

/// What a recovery came to, for people.
pub fn sentence(own: &Survivor, voters: usize, copy: &str) -> String {
    format!(
        "recovered from {}, one of {}, {}; what was acknowledged in the last instant before the \
         loss may be missing; the data as they were are in {copy}",
        own.host,
        counted(voters, "voter"),
        place(own)
    )
}

/// The written outcome of a recovery that an agent carried out on its way to a new start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which request it answers.
    pub request: String,
    /// It worked.
    pub done: bool,
    /// What came of it, or why not.
    pub said: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(host: &str, term: u64, index: u64) -> Survivor {
        Survivor { host: host.into(), term, index }
    }

    fn found(voters: usize, others: &[(u64, u64)]) -> Found {
        let other = |(n, (term, index)): (usize, &(u64, u64))| {
            survivor(&format!("h{}", n + 2), *term, *index)
        };
        Found {
            voters,
            own: survivor("h1", 4, 100),
            others: others.iter().enumerate().map(other).collect(),
            named: None,
        }
    }

    #[test]
    fn it_is_refused_whenever_a_quorum_is_possible() {
        for voters in 1..=7 {
            for others in 0..voters {
                let answers = vec![(4, 50); others];
                let refused = judge(&found(voters, &answers)).is_err();
                assert_eq!(refused, others + 1 >= quorum(voters), "{others} more of {voters}");
            }
        }
        let said = judge(&found(3, &[(4, 50)])).unwrap_err();
        assert!(said.starts_with("a quorum is possible: 2 of 3 voters can be reached (h1, h2)"));
    }

    #[test]
    fn who_is_behind_recovers_only_when_named() {
        let mut behind = found(5, &[(4, 101)]);
        let said = judge(&behind).unwrap_err();
        assert!(
            said.starts_with("h2 is ahead of this host (at term 4 and index 101, against at"),
            "{said}"
        );
        behind.named = Some("h1".into());
        assert_eq!(judge(&behind), Ok(()));
        behind.named = Some("h2".into());
        assert!(judge(&behind).is_err_and(|why| why.contains("is to be said on h2")));
    }

    #[test]
    fn a_later_term_counts_for_more_than_a_longer_log() {
        assert!(judge(&found(5, &[(5, 1)])).is_err_and(|why| why.starts_with("h2 is ahead")));
        assert_eq!(judge(&found(5, &[(3, 900)])), Ok(()));
        assert_eq!(judge(&found(5, &[(4, 100)])), Ok(()));
        assert_eq!(judge(&found(3, &[])), Ok(()));
    }
}
