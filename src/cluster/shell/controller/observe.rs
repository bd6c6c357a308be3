//! What the deciding host sees, and since when: the clocks that the pure decision does not have.
//!
//! Refuses to take over clocks from another host: a new decider starts its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::decide::{Decision, Learner, Observation, Spare, Voter};
use crate::cluster::keys::{
    self, AwayRecord, ChangeRecord, ClusterRecord, ControllerRecord, HostRecord, LeaveRecord,
    NominateRecord, PerHost, SizeRecord, VolunteerRecord,
};
use crate::cluster::shell::Agent;
use crate::cluster::shell::rpc::{Member, Probe};
use crate::cluster::shell::sight;
use crate::store::etcd::EtcdStore;
use crate::store::{Entry, StoreError};

/// How many times longer a silent voter is waited for while its agent lives, whose own supervision
/// comes first.
const WITH_AGENT: u32 = 10;
/// Answers in a row that must be missed before a voter can count as dead.
const MISSES: u32 = 3;
/// How long a learner may take to become ready.
const READY: Duration = Duration::from_secs(30);
/// How long a learner must have been ready while not all is well.
const STABLE: Duration = Duration::from_secs(10);
/// How far behind the leader a member may be and still count as up or ready, in log entries.
const BEHIND: u64 = 5_000;

/// One look at the cluster, all keys at one revision.
pub(super) struct Seen {
    pub(super) own: Probe,
    pub(super) revision: i64,
    pub(super) cluster: ClusterRecord,
    pub(super) desired: u16,
    pub(super) controller: Option<(ControllerRecord, Entry)>,
    pub(super) ticket: Option<(ChangeRecord, i64)>,
    pub(super) hosts: Vec<(String, HostRecord)>,
    pub(super) volunteers: Vec<(String, VolunteerRecord)>,
    pub(super) leaves: Vec<(String, LeaveRecord)>,
    pub(super) nominations: Vec<(String, NominateRecord)>,
    pub(super) away: Vec<(String, AwayRecord)>,
    pub(super) members: Vec<Member>,
    /// Of each member, in the same order.
    pub(super) probes: Vec<Option<Probe>>,
}

impl Seen {
    /// The host of a member: from its nomination, else from its name.
    pub(super) fn host_of(&self, id: u64) -> String {
        if let Some((host, _)) = self.nominations.iter().find(|(_, o)| o.member == id) {
            return host.clone();
        }
        let member = self.members.iter().find(|m| m.id == id);
        member.map(|m| sight::host_of(&m.name).to_owned()).unwrap_or_default()
    }

    fn alive(&self, host: &str) -> bool {
        self.hosts.iter().any(|(h, _)| h == host)
    }

    /// It answers as the member that it should be, follows our leader, and is close to its log.
    fn fit(&self, probe: Option<&Probe>, id: u64) -> bool {
        probe.is_some_and(|p| {
            p.cluster == self.own.cluster
                && p.member == id
                && p.leader == self.own.leader
                && p.applied + BEHIND >= self.own.applied
        })
    }
}

/// Reads everything, the members after the keys: the read made sure that our own list is current.
pub(super) async fn look(
    agent: &Agent,
    store: &EtcdStore,
    own: Probe,
) -> Result<Option<Seen>, StoreError> {
    let prefixes = [
        keys::cluster(),
        keys::size(),
        keys::controller(),
        keys::change(),
        PerHost::Host.all(),
        PerHost::Volunteer.all(),
        PerHost::Leave.all(),
        PerHost::Nominate.all(),
        PerHost::Away.all(),
    ];
    let (lists, revision) = store.read_many(&prefixes).await?;
    let list = |n: usize| lists.get(n).map(Vec::as_slice).unwrap_or_default();
    // The founder has not written its records yet.
    let Some(cluster) = first::<ClusterRecord>(list(0)) else { return Ok(None) };
    let Some((id, members)) = agent.rpc.members(&agent.own_url).await else { return Ok(None) };
    if id != own.cluster {
        return Ok(None);
    }
    let mut seen = Seen {
        own,
        revision,
        cluster: cluster.0,
        desired: first::<SizeRecord>(list(1)).map_or(agent.ideal, |s| s.0.n),
        controller: first::<ControllerRecord>(list(2)).map(|(r, e)| (r, e.clone())),
        ticket: first::<ChangeRecord>(list(3)).map(|(r, e)| (r, e.revision)),
        hosts: per_host(PerHost::Host, list(4)),
        volunteers: per_host(PerHost::Volunteer, list(5)),
        leaves: per_host(PerHost::Leave, list(6)),
        nominations: per_host(PerHost::Nominate, list(7)),
        away: per_host(PerHost::Away, list(8)),
        members,
        probes: Vec::new(),
    };
    let urls: Vec<Option<String>> = seen.members.iter().map(|m| url_of(&seen, m)).collect();
    let asked = urls.iter().map(|url| async { agent.rpc.probe(url.as_deref()?).await });
    seen.probes = futures_util::future::join_all(asked).await;
    Ok(Some(seen))
}

/// Where a member answers clients; one that has not started yet has only told its volunteering.
fn url_of(seen: &Seen, member: &Member) -> Option<String> {
    if let Some(url) = member.client.first() {
        return Some(url.clone());
    }
    let host = seen.host_of(member.id);
    seen.hosts.iter().find(|(h, _)| *h == host)?.1.client.first().cloned()
}

fn first<T: serde::de::DeserializeOwned>(list: &[Entry]) -> Option<(T, &Entry)> {
    list.first().and_then(|entry| Some((keys::read(&entry.value)?, entry)))
}

fn per_host<T: serde::de::DeserializeOwned>(kind: PerHost, list: &[Entry]) -> Vec<(String, T)> {
    list.iter().filter_map(|e| Some((kind.host(&e.key)?, keys::read(&e.value)?))).collect()
}

/// Since when things are as they are, by this host's monotonic clock.
#[derive(Default)]
pub(super) struct Memory {
    dead_after: Duration,
    misses: HashMap<u64, (u32, Instant)>,
    learner_since: HashMap<u64, Instant>,
    ready_since: HashMap<u64, Instant>,
    ticket: Option<(i64, Instant)>,
    said: Vec<(String, String)>,
}

impl Memory {
    /// Nothing seen yet; `dead_after` is how long a silent voter is waited for.
    pub(super) fn new(dead_after: Duration) -> Self {
        Memory {
            dead_after,
            misses: HashMap::new(),
            learner_since: HashMap::new(),
            ready_since: HashMap::new(),
            ticket: None,
            said: Vec::new(),
        }
    }

    /// How long this ticket has been open for us.
    pub(super) fn ticket_age(&mut self, seq: i64) -> Duration {
        match self.ticket {
            Some((known, since)) if known == seq => since.elapsed(),
            _ => {
                self.ticket = Some((seq, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Tells why hosts wait, whenever that changes.
    pub(super) fn report(&mut self, decision: &Decision) {
        if decision.action.is_none() && self.said != decision.held {
            self.said.clone_from(&decision.held);
            for (host, reason) in &decision.held {
                tracing::info!("{host}: {reason}");
            }
        }
    }

    /// The observation for the decision.
    pub(super) fn observe(&mut self, seen: &Seen) -> Observation {
        self.forget_the_gone(seen);
        let mut observation = Observation {
            desired: seen.desired,
            floor: 1,
            leader: seen.own.leader,
            ..Observation::default()
        };
        for (member, probe) in seen.members.iter().zip(&seen.probes) {
            if !member.learner {
                let voter = self.voter(seen, member, probe.as_ref());
                observation.voters.push(voter);
            }
        }
        let calm = observation.voters.iter().all(|v| v.up);
        for (member, probe) in seen.members.iter().zip(&seen.probes) {
            if member.learner {
                let learner = self.learner(seen, member, probe.as_ref(), calm);
                observation.learners.push(learner);
            }
        }
        let taken: Vec<String> = seen.members.iter().map(|m| seen.host_of(m.id)).collect();
        let peers: Vec<&String> = seen.members.iter().flat_map(|m| &m.peer).collect();
        for (host, offer) in &seen.volunteers {
            let current = seen.hosts.iter().any(|(h, r)| h == host && r.instance == offer.instance);
            let member = taken.contains(host) || offer.peer.iter().any(|url| peers.contains(&url));
            if current && !member {
                observation.spares.push(Spare { since: offer.since, host: host.clone() });
            }
        }
        observation
    }

    fn voter(&mut self, seen: &Seen, member: &Member, probe: Option<&Probe>) -> Voter {
        let host = seen.host_of(member.id);
        let fit = seen.fit(probe, member.id);
        let entry = self.misses.entry(member.id).or_insert((0, Instant::now()));
        if fit {
            *entry = (0, Instant::now());
        } else {
            entry.0 = entry.0.saturating_add(1);
        }
        let (misses, since) = *entry;
        let away = seen.away.iter().find(|(h, _)| *h == host).map(|(_, a)| a.seconds);
        let limit = match (seen.alive(&host), away) {
            (true, _) => self.dead_after * WITH_AGENT,
            (false, Some(seconds)) => self.dead_after + Duration::from_secs(seconds),
            (false, None) => self.dead_after,
        };
        // The host lives under another instance: the folder of this member is gone.
        let replaced = !fit
            && !member.name.is_empty()
            && seen.hosts.iter().any(|(name, record)| {
                let short = record.instance.get(..8);
                *name == host && short.is_some_and(|short| !member.name.ends_with(short))
            });
        Voter {
            id: member.id,
            leaving: replaced || seen.leaves.iter().any(|(_, l)| l.member == member.id),
            // One missed answer is enough to wait with a change, but not to call it dead.
            up: fit,
            dead: misses >= MISSES && since.elapsed() >= limit,
            index: probe.map_or(0, |p| p.index),
            host,
        }
    }

    fn learner(
        &mut self,
        seen: &Seen,
        member: &Member,
        probe: Option<&Probe>,
        calm: bool,
    ) -> Learner {
        let host = seen.host_of(member.id);
        let since = *self.learner_since.entry(member.id).or_insert_with(Instant::now);
        let ready = seen.fit(probe, member.id) && probe.is_some_and(|p| p.learner);
        if !ready {
            self.ready_since.remove(&member.id);
        }
        let stable = ready && {
            let ready_since = *self.ready_since.entry(member.id).or_insert_with(Instant::now);
            calm || ready_since.elapsed() >= STABLE
        };
        let leaving = seen.leaves.iter().any(|(_, l)| l.member == member.id);
        let gone = !seen.alive(&host) && !ready;
        let lost = leaving || gone || (!ready && since.elapsed() > READY);
        Learner { id: member.id, host, ready, stable, lost }
    }

    fn forget_the_gone(&mut self, seen: &Seen) {
        let listed = |id: &u64| seen.members.iter().any(|m| m.id == *id);
        self.misses.retain(|id, _| listed(id));
        self.learner_since.retain(|id, _| listed(id));
        self.ready_since.retain(|id, _| listed(id));
    }
}
