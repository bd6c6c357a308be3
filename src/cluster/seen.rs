//! One look at the cluster as a value: all records at one revision, the members, and what each
//! member said about itself.
//!
//! Refuses to know since when anything is so; that is [`super::clocks`].

use serde::de::DeserializeOwned;

use super::flags::{self, Version};
use super::keys::{
    self, AwayRecord, ChangeRecord, ClusterRecord, ControllerRecord, Endpoint, EndpointsRecord,
    HostRecord, LeaveRecord, NominateRecord, PerHost, QuarantineRecord, SizeRecord,
    VolunteerRecord,
};
use crate::store::Entry;

/// How far behind the leader a member may be and still count as up or ready, in log entries.
const BEHIND: u64 = 5_000;

/// What a member says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The cluster's id.
    pub cluster: u64,
    /// The member's id.
    pub member: u64,
    /// The id of the leader; 0 without one.
    pub leader: u64,
    /// The raft term.
    pub term: u64,
    /// The end of its raft log.
    pub index: u64,
    /// How much of the log its data contain.
    pub applied: u64,
    /// It has no vote.
    pub learner: bool,
    /// The version of its program.
    pub version: Option<Version>,
    /// The bytes of its data on the disk.
    pub db_bytes: u64,
    /// The bytes of them that are in use.
    pub db_used_bytes: u64,
    /// It knows of a member that is full: nothing is written.
    pub full: bool,
}

/// A member as the list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Empty until it has started once.
    pub name: String,
    /// Its addresses for members.
    pub peer: Vec<String>,
    /// Its addresses for clients; empty until it has started once.
    pub client: Vec<String>,
    /// It has no vote.
    pub learner: bool,
}

/// A record of one host, with the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// The host.
    pub host: String,
    /// What it says.
    pub record: T,
    /// When it was written, as the store counts.
    pub revision: i64,
}

/// One look at the cluster, all keys at one revision.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the etcd of the looking host says.
    pub own: Probe,
    /// The revision of all records.
    pub revision: i64,
    /// The cluster's own record.
    pub cluster: ClusterRecord,
    /// How many voters are wanted; `None` before that was written.
    pub size: Option<SizeRecord>,
    /// Who decides, with the entry's revision and lease.
    pub controller: Option<(ControllerRecord, Entry)>,
    /// The open change, and its revision.
    pub ticket: Option<(ChangeRecord, i64)>,
    /// Where the voters serve, and the revision of that list.
    pub endpoints: Option<(EndpointsRecord, i64)>,
    /// Agents that are there.
    pub hosts: Vec<Kept<HostRecord>>,
    /// Offers to serve.
    pub volunteers: Vec<Kept<VolunteerRecord>>,
    /// Wishes to go.
    pub leaves: Vec<Kept<LeaveRecord>>,
    /// Orders to become a member.
    pub nominations: Vec<Kept<NominateRecord>>,
    /// Planned absences.
    pub away: Vec<Kept<AwayRecord>>,
    /// Hosts that failed to join.
    pub quarantined: Vec<Kept<QuarantineRecord>>,
    /// The members.
    pub members: Vec<Member>,
    /// Of each member, in the same order.
    pub probes: Vec<Option<Probe>>,
}

impl Seen {
    /// The prefixes to read, all at one revision.
    pub fn prefixes() -> [String; 11] {
        [
            keys::cluster(),
            keys::size(),
            keys::controller(),
            keys::change(),
            keys::endpoints(),
            PerHost::Host.all(),
            PerHost::Volunteer.all(),
            PerHost::Leave.all(),
            PerHost::Nominate.all(),
            PerHost::Away.all(),
            PerHost::Quarantine.all(),
        ]
    }

    /// Reads the lists of [`Seen::prefixes`]; `None` before the founder has written its records.
    /// Nobody has been asked yet.
    pub fn read(own: Probe, lists: &[Vec<Entry>], revision: i64) -> Option<Seen> {
        let list = |n: usize| lists.get(n).map(Vec::as_slice).unwrap_or_default();
        Some(Seen {
            own,
            revision,
            cluster: first(list(0))?.0,
            size: first(list(1)).map(|(record, _)| record),
            controller: first(list(2)).map(|(record, entry)| (record, entry.clone())),
            ticket: first(list(3)).map(|(record, entry)| (record, entry.revision)),
            endpoints: first(list(4)).map(|(record, entry)| (record, entry.revision)),
            hosts: per_host(PerHost::Host, list(5)),
            volunteers: per_host(PerHost::Volunteer, list(6)),
            leaves: per_host(PerHost::Leave, list(7)),
            nominations: per_host(PerHost::Nominate, list(8)),
            away: per_host(PerHost::Away, list(9)),
            quarantined: per_host(PerHost::Quarantine, list(10)),
            members: Vec::new(),
            probes: Vec::new(),
        })
    }

    /// The host of a member: from its order, from its name, or from who has its address.
    pub fn host_of(&self, id: u64) -> String {
        if let Some(order) = self.nominations.iter().find(|o| o.record.member == id) {
            return order.host.clone();
        }
        let Some(member) = self.members.iter().find(|m| m.id == id) else { return String::new() };
        if !member.name.is_empty() {
            return flags::host_of(&member.name).to_owned();
        }
        let has = |h: &&Kept<HostRecord>| h.record.peer.iter().any(|u| member.peer.contains(u));
        self.hosts.iter().find(has).map(|h| h.host.clone()).unwrap_or_default()
    }

    /// Where a member answers clients; one that has not started yet has only told what it would.
    pub fn url_of(&self, member: &Member) -> Option<String> {
        if let Some(url) = member.client.first() {
            return Some(url.clone());
        }
        self.agent(&self.host_of(member.id))?.client.first().cloned()
    }

    /// The agent that is there on a host.
    pub fn agent(&self, host: &str) -> Option<&HostRecord> {
        find(&self.hosts, host).map(|kept| &kept.record)
    }

    /// It answers as the member that it should be, follows our leader in our term, and is close to
    /// its log.
    pub fn fit(&self, probe: Option<&Probe>, id: u64) -> bool {
        probe.is_some_and(|p| {
            p.cluster == self.own.cluster
                && p.member == id
                && p.leader == self.own.leader
                && p.term == self.own.term
                && p.applied + BEHIND >= self.own.applied
        })
    }

    /// The list of where the voters serve, when it is another than the one that is kept. Never an
    /// empty one: that would cut everybody off.
    pub fn new_endpoints(&self) -> Option<EndpointsRecord> {
        let serves = |m: &&Member| !m.learner && !m.client.is_empty();
        let endpoint = |m: &Member| Endpoint {
            host: self.host_of(m.id),
            member: m.id,
            urls: m.client.clone(),
        };
        let mut list: Vec<Endpoint> = self.members.iter().filter(serves).map(endpoint).collect();
        list.sort();
        let epoch = self.cluster.epoch;
        let kept = self.endpoints.as_ref().map(|(record, _)| record);
        let same = kept.is_some_and(|kept| kept.list == list && kept.epoch == epoch);
        let seq = kept.map_or(0, |kept| kept.seq) + 1;
        let new = EndpointsRecord { v: keys::VERSION, epoch, seq, list };
        (!same && !new.list.is_empty()).then_some(new)
    }

    /// Keys that have served their time: of members that are gone, and wishes that `void`
    /// says are too old.
    pub fn stale(&self, mut void: impl FnMut(&Kept<LeaveRecord>) -> bool) -> Vec<String> {
        let listed = |id: u64| self.members.iter().any(|m| m.id == id);
        let hosts: Vec<String> = self.members.iter().map(|m| self.host_of(m.id)).collect();
        let orders = self.nominations.iter().filter(|o| !listed(o.record.member));
        let wishes = self.leaves.iter().filter(|l| !listed(l.record.member) || void(l));
        let absent = self.away.iter().filter(|a| !hosts.contains(&a.host));
        orders
            .map(|order| PerHost::Nominate.of(&order.host))
            .chain(wishes.map(|wish| PerHost::Leave.of(&wish.host)))
            .chain(absent.map(|note| PerHost::Away.of(&note.host)))
            .collect()
    }

    /// Somebody wished that this member goes.
    pub fn leaves(&self, member: u64) -> bool {
        self.leaves.iter().any(|wish| wish.record.member == member)
    }
}

/// The record of a host.
pub fn find<'a, T>(all: &'a [Kept<T>], host: &str) -> Option<&'a Kept<T>> {
    all.iter().find(|kept| kept.host == host)
}

fn first<T: DeserializeOwned>(list: &[Entry]) -> Option<(T, &Entry)> {
    list.first().and_then(|entry| Some((keys::read(&entry.value)?, entry)))
}

fn per_host<T: DeserializeOwned>(kind: PerHost, list: &[Entry]) -> Vec<Kept<T>> {
    let kept = |e: &Entry| {
        let (host, record) = (kind.host(&e.key)?, keys::read(&e.value)?);
        Some(Kept { host, record, revision: e.revision })
    };
    list.iter().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::clocks::tests::{learner, look, voter};

    #[test]
    fn the_list_of_endpoints_has_the_voters_and_is_never_empty() {
        let mut seen = look();
        seen.members.extend([learner(2, "h2"), Member { client: Vec::new(), ..voter(3, "h3") }]);
        let first = seen.new_endpoints().expect("a first list");
        let hosts = |list: &EndpointsRecord| -> Vec<String> {
            list.list.iter().map(|e| e.host.clone()).collect()
        };
        assert_eq!((first.seq, hosts(&first)), (1, vec!["h1".to_owned()]));
        seen.endpoints = Some((first, 4));
        assert_eq!(seen.new_endpoints(), None, "the same again");
        seen.members[1].learner = false;
        let second = seen.new_endpoints().expect("h2 votes");
        assert_eq!((second.seq, hosts(&second).len()), (2, 2));
        seen.cluster.epoch = 1;
        assert_eq!(seen.new_endpoints().map(|list| list.epoch), Some(1));
        seen.members.clear();
        assert_eq!(seen.new_endpoints(), None);
    }

    #[test]
    fn the_host_of_a_member_is_known_before_it_has_started() {
        let mut seen = look();
        seen.members.push(Member { name: String::new(), ..learner(2, "h2") });
        assert_eq!(seen.host_of(2), "");
        let mut agent = seen.hosts[0].clone();
        agent.host = "h2".into();
        agent.record.peer = seen.members[1].peer.clone();
        seen.hosts.push(agent);
        assert_eq!(seen.host_of(2), "h2");
        assert_eq!(seen.host_of(1), "h1");
        assert_eq!(seen.host_of(9), "");
    }
}
