//! What is told about the cluster: the `role`, `reason` and `cluster` parts of `quorate status
//! --json`.
//!
//! Refuses to decide anything; it only names what others found.

use serde::{Deserialize, Serialize};

use super::decide::quorum;
use super::when;
use crate::ident::counted;

/// What this host is in the cluster at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// No cluster: the store is in this process.
    Standalone,
    /// Uses the cluster without ever serving it (`--no-server`).
    Client,
    /// Ready to serve, not asked to.
    Volunteer,
    /// Its etcd starts.
    Starting,
    /// Its etcd follows without a vote.
    Learner,
    /// Its etcd votes.
    Voter,
    /// Its etcd votes, but no leader is known.
    Waiting,
    /// On its way out of the cluster.
    Leaving,
    /// Taken out of the cluster by the others.
    Removed,
    /// Something that only a person can clear stands in the way; `reason` says what.
    Blocked,
}

impl Role {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Standalone => "standalone",
            Role::Client => "client",
            Role::Volunteer => "volunteer",
            Role::Starting => "starting",
            Role::Learner => "learner",
            Role::Voter => "voter",
            Role::Waiting => "waiting",
            Role::Leaving => "leaving",
            Role::Removed => "removed",
            Role::Blocked => "blocked",
        }
    }
}

/// One etcd member as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// The host that it runs on; empty when no record names it.
    pub host: String,
    /// The member id, 16 lower-case hex digits.
    pub id: String,
    /// `voter` or `learner`.
    pub role: Role,
    /// It answers, with the right cluster and member id and a leader.
    pub up: bool,
    /// It answers as the member that it should be, whether it knows a leader or not.
    #[serde(default)]
    pub answers: bool,
    /// Since when it is up, or not, as this host saw it; seconds since 1970, for people.
    #[serde(default)]
    pub since: u64,
    /// It leads.
    pub leader: bool,
    /// The URLs for clients that it advertises.
    pub client: Vec<String>,
    /// The URLs for the other members.
    pub peer: Vec<String>,
}

/// The cluster as this host sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The cluster's own identity, made once at bootstrap.
    pub uuid: String,
    /// The host whose etcd leads.
    pub leader: Option<String>,
    /// How many voters are wanted; `None` as long as the store has not said.
    pub desired: Option<u16>,
    /// More than half of the voters answer and follow one leader.
    pub quorum: bool,
    /// Why something wanted is not being done, if anything is.
    pub note: Option<String>,
    /// Every member, voters first, then by host.
    pub members: Vec<MemberView>,
}

impl ClusterView {
    /// All members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &MemberView> {
        self.members.iter().filter(|one| one.role == Role::Voter)
    }

    /// Takes over since when members are as they are from an earlier look; what is new is so since
    /// `now`.
    pub fn remember(&mut self, earlier: &ClusterView, now: u64) {
        for member in &mut self.members {
            let known = earlier.members.iter().find(|one| one.id == member.id);
            let same = known.filter(|one| one.answers == member.answers);
            member.since = same.map_or(now, |one| one.since);
        }
    }

    /// What a person has to know about the voters: who is missing, since when, how many more are
    /// needed, and what to do if they do not come back. `None` while all is well.
    pub fn missing(&self) -> Option<String> {
        let voters = self.voters().count();
        let present = self.voters().filter(|one| one.answers).count();
        let gone: Vec<String> = self
            .voters()
            .filter(|one| !one.answers)
            .map(|one| format!("{} since {}", one.host, when::clock(one.since)))
            .collect();
        let needed = quorum(voters);
        let missing = gone.join(", ");
        let state = format!("{present} of {} up", counted(voters, "voter"));
        if voters == 0 || (gone.is_empty() && self.quorum) {
            return None;
        }
        if self.quorum {
            return Some(format!("{state} (missing {missing})"));
        }
        if present >= needed {
            return Some(format!("waiting for a leader: {state}, and none of them leads yet"));
        }
        Some(format!(
            "waiting for quorum: {state}, {} more needed (missing {missing}); configuration keeps \
             running on the last known state; if they are gone for good: quorate cluster recover \
             --lost-quorum",
            needed - present
        ))
    }
}

/// What this host can say about its clustering. Serialises to keys of the status object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// What this host is.
    pub role: Role,
    /// Why it is not what it wants to be, in one sentence.
    pub reason: Option<String>,
    /// The identity of this agent's state folder.
    pub instance: String,
    /// The version of the etcd program, when this host runs or could run one.
    pub etcd: Option<String>,
    /// `None` until a cluster was seen.
    pub cluster: Option<ClusterView>,
}

impl ClusterStatus {
    /// The status before anything is known.
    pub fn new(role: Role, instance: &str) -> Self {
        ClusterStatus { role, reason: None, instance: instance.into(), etcd: None, cluster: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(answers: &[bool], quorum: bool) -> ClusterView {
        let member = |(n, answers): (usize, &bool)| MemberView {
            host: format!("h{}", n + 1),
            id: n.to_string(),
            role: Role::Voter,
            up: *answers && quorum,
            answers: *answers,
            since: 37_860 + n as u64 * 60,
            leader: false,
            client: Vec::new(),
            peer: Vec::new(),
        };
        let members = answers.iter().enumerate().map(member).collect();
        ClusterView { quorum, members, ..ClusterView::default() }
    }

    #[test]
    fn who_is_missing_is_told_with_the_way_out() {
        assert_eq!(view(&[true, true, true], true).missing(), None);
        let one = view(&[true, true, false], true).missing();
        assert_eq!(one.as_deref(), Some("2 of 3 voters up (missing h3 since 10:33 UTC)"));
        let lost = view(&[true, false, false], false).missing();
        assert_eq!(
            lost.as_deref(),
            Some(
                "waiting for quorum: 1 of 3 voters up, 1 more needed (missing h2 since 10:32 UTC, \
                 h3 since 10:33 UTC); configuration keeps running on the last known state; if they \
                 are gone for good: quorate cluster recover --lost-quorum"
            )
        );
        let election = view(&[true, true, false], false).missing();
        assert_eq!(
            election.as_deref(),
            Some("waiting for a leader: 2 of 3 voters up, and none of them leads yet")
        );
    }

    #[test]
    fn since_when_a_member_is_gone_is_kept_until_it_answers() {
        let mut next = view(&[true, false], true);
        let mut earlier = next.clone();
        earlier.members[1].since = 7;
        next.remember(&earlier, 99);
        assert_eq!((next.members[0].since, next.members[1].since), (37_860, 7));
        next.members[1].answers = true;
        next.remember(&earlier, 99);
        assert_eq!(next.members[1].since, 99);
    }
}
