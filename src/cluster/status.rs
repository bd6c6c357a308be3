//! What is told about the cluster: the `role`, `reason` and `cluster` parts of `quorate status
//! --json`.
//!
//! Refuses to decide anything; it only names what others found.

use serde::{Deserialize, Serialize};

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
    /// How many voters are wanted.
    pub desired: u16,
    /// More than half of the voters answer and follow one leader.
    pub quorum: bool,
    /// Why something wanted is not being done, if anything is.
    pub note: Option<String>,
    /// Every member, voters first, then by host.
    pub members: Vec<MemberView>,
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
