//! What `quorate cluster status` shows: every host and member, what is under way, and for each host
//! that waits, why.
//!
//! Refuses to ask anybody: it puts together what the agent's shell has read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decide::quorum;
use super::keys::{
    self, AwayRecord, ChangeRecord, ClusterRecord, ControllerRecord, HostRecord, LeaveRecord,
    NominateRecord, PerHost, SizeRecord, VolunteerRecord,
};
use super::status::{ClusterStatus, ClusterView, MemberView, Role};
use super::told::Told;
use super::when;
use crate::store::Entry;

pub mod text;

/// The document, version 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`keys::VERSION`]
    pub v: u32,
    /// When it was made, in seconds since 1970.
    pub at: u64,
    /// The host whose agent was asked.
    pub host: String,
    /// What that host is.
    pub role: Role,
    /// Why it is not what it wants to be.
    pub reason: Option<String>,
    /// The identity of its state folder.
    pub instance: String,
    /// The version of its etcd program.
    pub etcd: Option<String>,
    /// `None` until a cluster was seen.
    pub cluster: Option<Cluster>,
}

/// The cluster in a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its identity.
    pub uuid: String,
    /// When it was founded, in seconds since 1970.
    pub created: Option<u64>,
    /// How often it was recovered from a lost quorum.
    pub epoch: Option<u64>,
    /// How many voters are wanted; `None` when the store has not said.
    pub desired: Option<u16>,
    /// How many there are.
    pub voters: usize,
    /// How many of them answer.
    pub up: usize,
    /// More than half of them follow one leader.
    pub quorum: bool,
    /// How many more voters may be lost before nothing can be written; `None` without a quorum.
    pub tolerance: Option<usize>,
    /// The host whose etcd leads.
    pub leader: Option<String>,
    /// The host that decides about members.
    pub decides: Option<String>,
    /// The change that is under way.
    pub pending: Option<ChangeRecord>,
    /// Every host and member: voters, learners, then the others.
    pub hosts: Vec<HostReport>,
    /// What a person should know.
    pub note: Option<String>,
    /// Whether the store could be read: without it only members are known.
    pub readable: bool,
}

/// One host of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Its name; empty for a member that no record names.
    pub host: String,
    /// What it is; `None` when nothing says.
    pub role: Option<Role>,
    /// Its agent; `None` when none has a claim to the name.
    pub agent: Option<AgentReport>,
    /// Its etcd; `None` when it is no member.
    pub member: Option<MemberReport>,
    /// Why it stays what it is.
    pub why: Vec<String>,
}

/// The agent of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Its version.
    pub version: String,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// Its process.
    pub pid: u32,
    /// The version of its etcd program; `None` when it never serves.
    pub etcd: Option<String>,
}

/// The member of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its id, 16 hex digits.
    pub id: String,
    /// It answers, and knows a leader.
    pub up: bool,
    /// It leads.
    pub leader: bool,
    /// Since when it answers or not, as the asked host saw it; seconds since 1970.
    pub since: u64,
    /// What it says of itself; `None` when it does not answer.
    pub health: Option<Health>,
    /// The URLs for clients.
    pub client: Vec<String>,
    /// The URLs for the other members.
    pub peer: Vec<String>,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The version of its etcd.
    pub version: String,
    /// The raft term that it is in.
    pub term: u64,
    /// The end of its log.
    pub index: u64,
    /// How much of the log it has applied.
    pub applied: u64,
    /// How many log entries it is behind the longest log.
    pub lag: u64,
    /// The size of its data.
    pub db_bytes: u64,
    /// Of them, those that hold something.
    pub db_used_bytes: u64,
}

/// The keys that a report is made of.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// `cluster`
    pub cluster: Option<ClusterRecord>,
    /// `size`
    pub size: Option<SizeRecord>,
    /// `controller`
    pub controller: Option<ControllerRecord>,
    /// `change`
    pub change: Option<ChangeRecord>,
    /// `decision`
    pub told: Option<Told>,
    /// `host/H`
    pub hosts: BTreeMap<String, HostRecord>,
    /// `volunteer/H`
    pub volunteers: BTreeMap<String, VolunteerRecord>,
    /// `nominate/H`
    pub nominations: BTreeMap<String, NominateRecord>,
    /// `leave/H`
    pub leaves: BTreeMap<String, LeaveRecord>,
    /// `away/H`
    pub away: BTreeMap<String, AwayRecord>,
}

impl Records {
    /// What the host that decides now wrote; nothing of an earlier one.
    pub fn current(&self) -> Option<&Told> {
        let now = self.controller.as_ref()?;
        self.told.as_ref().filter(|told| now.host == told.by && now.term == told.term)
    }

    /// The prefixes to read, all at one revision.
    pub fn prefixes() -> [String; 10] {
        [
            keys::cluster(),
            keys::size(),
            keys::controller(),
            keys::change(),
            keys::decision(),
            PerHost::Host.all(),
            PerHost::Volunteer.all(),
            PerHost::Nominate.all(),
            PerHost::Leave.all(),
            PerHost::Away.all(),
        ]
    }

    /// The records behind what was found below [`Records::prefixes`], in their order.
    pub fn read(lists: &[Vec<Entry>]) -> Records {
        let list = |n: usize| lists.get(n).map(Vec::as_slice).unwrap_or_default();
        Records {
            cluster: one(list(0)),
            size: one(list(1)),
            controller: one(list(2)),
            change: one(list(3)),
            told: one(list(4)),
            hosts: each(PerHost::Host, list(5)),
            volunteers: each(PerHost::Volunteer, list(6)),
            nominations: each(PerHost::Nominate, list(7)),
            leaves: each(PerHost::Leave, list(8)),
            away: each(PerHost::Away, list(9)),
        }
    }
}

fn one<T: serde::de::DeserializeOwned>(list: &[Entry]) -> Option<T> {
    keys::read(&list.first()?.value)
}

fn each<T: serde::de::DeserializeOwned>(kind: PerHost, list: &[Entry]) -> BTreeMap<String, T> {
    list.iter().filter_map(|e| Some((kind.host(&e.key)?, keys::read(&e.value)?))).collect()
}

/// What the asked agent knows.
pub struct Facts<'a> {
    /// Seconds since 1970.
    pub now: u64,
    /// Its host.
    pub host: &'a str,
    /// Its own status.
    pub status: &'a ClusterStatus,
    /// What members said of themselves, by id.
    pub health: &'a BTreeMap<String, Health>,
    /// What is in the store, if it could be read.
    pub records: Option<&'a Records>,
}

/// Puts the facts together.
pub fn assemble(facts: &Facts<'_>) -> Report {
    let status = facts.status;
    Report {
        v: keys::VERSION,
        at: facts.now,
        host: facts.host.into(),
        role: status.role,
        reason: status.reason.clone(),
        instance: status.instance.clone(),
        etcd: status.etcd.clone(),
        cluster: status.cluster.as_ref().map(|view| cluster(facts, view)),
    }
}

fn cluster(facts: &Facts<'_>, view: &ClusterView) -> Cluster {
    let records = facts.records.cloned().unwrap_or_default();
    let voters = view.voters().count();
    let up = view.voters().filter(|one| one.answers).count();
    let readable = facts.records.is_some();
    let unread = "the store does not answer: only members are known".to_owned();
    Cluster {
        uuid: view.uuid.clone(),
        created: records.cluster.as_ref().map(|one| one.created),
        epoch: records.cluster.as_ref().map(|one| one.epoch),
        desired: records.size.as_ref().map(|one| one.n).or(view.desired),
        voters,
        up,
        quorum: view.quorum,
        tolerance: view.quorum.then(|| up.saturating_sub(quorum(voters))),
        leader: view.leader.clone(),
        decides: records.controller.as_ref().map(|one| one.host.clone()),
        pending: records.change.clone(),
        hosts: hosts(facts, view, &records),
        note: view.note.clone().or_else(|| (!readable).then_some(unread)),
        readable,
    }
}

fn hosts(facts: &Facts<'_>, view: &ClusterView, records: &Records) -> Vec<HostReport> {
    let longest = facts.health.values().map(|one| one.index).max().unwrap_or_default();
    let mut hosts: Vec<HostReport> = Vec::new();
    for member in &view.members {
        let name = named(member, records);
        let mut host = blank(&name, records);
        host.role = Some(member.role);
        let mut health = facts.health.get(&member.id).cloned();
        if let Some(health) = &mut health {
            health.lag = longest.saturating_sub(health.applied);
        }
        host.member = Some(MemberReport {
            id: member.id.clone(),
            up: member.up,
            leader: member.leader,
            since: member.since,
            health,
            client: member.client.clone(),
            peer: member.peer.clone(),
        });
        hosts.push(host);
    }
    for name in records.hosts.keys().chain(records.volunteers.keys()) {
        if hosts.iter().all(|one| one.host != *name) {
            hosts.push(blank(name, records));
        }
    }
    if hosts.iter().all(|one| one.host != facts.host) {
        hosts.push(blank(facts.host, records));
    }
    for host in &mut hosts {
        if host.host == facts.host && host.member.is_none() {
            host.role = Some(facts.status.role);
        }
        host.why = reasons(host, facts, records);
    }
    hosts.sort_by_key(|one| (one.role.map_or(9, rank), one.host.clone()));
    hosts
}

/// The host of a member: by the order that made it one, else by its name.
fn named(member: &MemberView, records: &Records) -> String {
    let ordered = records
        .nominations
        .iter()
        .find(|(_, order)| super::identity::show_id(order.member) == member.id);
    ordered.map_or_else(|| member.host.clone(), |(host, _)| host.clone())
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Voter => 0,
        Role::Learner => 1,
        Role::Starting => 2,
        Role::Volunteer => 3,
        _ => 4,
    }
}

/// A host as the records know it, without its member.
fn blank(name: &str, records: &Records) -> HostReport {
    let agent = records.hosts.get(name).map(|record| AgentReport {
        version: record.version.clone(),
        started: record.started,
        pid: record.pid,
        etcd: record.etcd.clone(),
    });
    let client = records.hosts.get(name).is_some_and(|record| record.etcd.is_none());
    let role = if records.nominations.contains_key(name) {
        Some(Role::Starting)
    } else if client {
        Some(Role::Client)
    } else {
        records.volunteers.contains_key(name).then_some(Role::Volunteer)
    };
    HostReport { host: name.into(), role, agent, ..HostReport::default() }
}

/// Why a host stays what it is, the decider's reasons first.
fn reasons(host: &HostReport, facts: &Facts<'_>, records: &Records) -> Vec<String> {
    let mut why: Vec<String> = Vec::new();
    let held = records.current().into_iter().flat_map(|told| &told.held);
    why.extend(held.filter(|one| one.host == host.host).map(|one| one.reason.clone()));
    if let Some(leave) = records.leaves.get(&host.host)
        && host
            .member
            .as_ref()
            .is_some_and(|m| super::identity::parse_id(&m.id) == Some(leave.member))
    {
        why.push(format!("is to go ({})", leave.reason));
    }
    if let Some(away) = records.away.get(&host.host) {
        let span = when::span(away.seconds);
        why.push(format!("is away as planned, for {span} ({})", away.why));
    }
    let up = host.member.as_ref().is_some_and(|member| member.up);
    if facts.records.is_some() && up && host.agent.is_none() {
        why.push("its etcd answers, but its agent is missing".to_owned());
    }
    if host.role == Some(Role::Client) {
        why.push("never serves (--no-server, or no etcd program)".to_owned());
    }
    if host.host == facts.host {
        why.extend(facts.status.reason.clone());
    }
    why
}

#[cfg(test)]
mod tests;
