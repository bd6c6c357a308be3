//! The world of the simulated agents: their disks, their etcd processes, the network, elections,
//! time, and bad luck. All of it follows from one seed.

use std::fmt::Write as _;

use quorate::cluster::aftermath::Cause;
use quorate::cluster::flags::{self, Mode};
use quorate::cluster::identity::Phase;
use quorate::cluster::keys::{self, EndpointsRecord, PerHost, SizeRecord};
use quorate::cluster::ladder;
use quorate::cluster::logline::Class;
use quorate::cluster::seen::Probe;
use quorate::cluster::status::Role;

use super::agent::Agent;
use super::etcd::Etcd;

/// How much time passes at once, in milliseconds.
pub(crate) const TICK: u64 = 100;
/// Faults happen until then.
const TROUBLE: u64 = 300_000;
/// Then all has time to come to rest: pauses, quarantines and deadlines are over.
const END: u64 = 600_000;
/// The id of the cluster in every answer.
pub(crate) const CLUSTER: u64 = 7;
/// Entries that a member without data lacks: more than may be behind.
const LOG: u64 = 10_000;

/// A small random number generator (splitmix64): the same numbers for a seed everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What a host's state folder holds.
pub(crate) struct Folder {
    pub(crate) instance: String,
    pub(crate) phase: Phase,
    pub(crate) uuid: Option<String>,
    pub(crate) member: Option<u64>,
    /// etcd's data: of which member.
    pub(crate) data: Option<u64>,
    /// The peer URLs of the members when it joined.
    pub(crate) list: Vec<String>,
}

/// A process of etcd.
pub(crate) struct Child {
    /// Its member, once it has started.
    pub(crate) member: Option<u64>,
    mode: Mode,
    ready_at: u64,
    frozen_until: u64,
    /// It has the whole log.
    caught_up_at: u64,
}

/// A host: what outlives its agent.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) folder: Folder,
    pub(crate) agent: Option<Agent>,
    pub(crate) child: Option<Child>,
    /// Hosts of one group reach each other.
    pub(crate) group: u64,
    back_at: u64,
    /// When its etcd was last reached by the leader, for so long that a look could not miss it.
    pub(crate) reached_at: u64,
    reached_since: Option<u64>,
    /// Until then its etcd never becomes ready as a new member.
    lame_until: u64,
}

impl Host {
    pub(crate) fn peer(&self) -> String {
        format!("http://{}:2380", self.name)
    }

    pub(crate) fn client(&self) -> String {
        format!("http://{}:2379", self.name)
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    Good,
    /// It was done, and the answer got lost.
    Mute,
    /// It never arrived.
    Lost,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    pub(crate) etcd: Etcd,
    pub(crate) hosts: Vec<Host>,
    pub(crate) trace: String,
    /// How many changes of membership were made.
    pub(crate) changes: u64,
    election_at: Option<u64>,
    uuids: u64,
    /// The last fault: what was decided before it may not fit.
    pub(crate) disturbed: u64,
    pub(crate) wrong: Option<String>,
}

impl World {
    /// One life from its seed; also how it ended.
    pub(crate) fn live(seed: u64) -> (World, Result<(), String>) {
        let mut dice = Dice(seed);
        let hosts = (1..=2 + dice.below(5)).map(|n| host(&format!("h{n}"))).collect();
        let mut world = World {
            dice,
            now: 0,
            etcd: Etcd::default(),
            hosts,
            trace: String::new(),
            changes: 0,
            election_at: None,
            uuids: 0,
            disturbed: 0,
            wrong: None,
        };
        while world.now < END && world.wrong.is_none() {
            world.tick();
        }
        let ended = match world.wrong.take() {
            Some(wrong) => Err(wrong),
            None => world.at_rest(),
        };
        (world, ended)
    }

    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let _written =
            writeln!(self.trace, "{:>7}.{} {what}", self.now / 1000, self.now / 100 % 10);
    }

    /// Something must never happen and did.
    pub(crate) fn blame(&mut self, what: String) {
        self.wrong.get_or_insert_with(|| format!("{} s: {what}", self.now / 1000));
    }

    fn tick(&mut self) {
        self.now += TICK;
        if self.now < TROUBLE {
            if self.now > 20_000 && self.dice.one_in(100) {
                self.misfortune();
            }
            if self.etcd.get(&keys::change()).is_some() && self.dice.one_in(10) {
                self.interrupt();
            }
        } else if self.now == TROUBLE {
            self.heal();
        }
        self.raft();
        self.etcd.expire(self.now);
        for i in 0..self.hosts.len() {
            if self.hosts[i].agent.is_none() && self.hosts[i].back_at <= self.now {
                self.start(i);
            }
            self.run_child(i);
            if let Some(mut agent) = self.hosts[i].agent.take() {
                let stays = self.live_agent(i, &mut agent);
                if stays {
                    self.hosts[i].agent = Some(agent);
                } else {
                    self.hosts[i].child = None;
                    self.hosts[i].back_at = self.now + 1_000 + self.dice.below(60_000);
                }
            }
        }
    }

    /// A new name for a cluster.
    pub(crate) fn uuid(&mut self) -> String {
        self.uuids += 1;
        format!("cluster-{}", self.uuids)
    }

    pub(crate) fn host_of(&self, member: u64) -> Option<usize> {
        self.hosts.iter().position(|h| h.child.as_ref().is_some_and(|c| c.member == Some(member)))
    }

    /// The host that has the data of a member.
    pub(crate) fn host_with(&self, member: u64) -> Option<usize> {
        self.hosts.iter().position(|h| h.folder.data == Some(member))
    }

    fn runs(&self, i: usize) -> bool {
        self.hosts[i].child.as_ref().is_some_and(|child| {
            child.member.is_some() && child.ready_at <= self.now && child.frozen_until <= self.now
        })
    }

    /// Since when a host has an agent and an etcd that answers; never, for one that has not.
    pub(crate) fn well_since(&self, i: usize) -> u64 {
        let (agent, child) = (self.hosts[i].agent.as_ref(), self.hosts[i].child.as_ref());
        match (agent, child) {
            (Some(agent), Some(child)) => agent.born.max(child.ready_at).max(child.frozen_until),
            _ => u64::MAX - END,
        }
    }

    /// The members that answer on hosts of this group.
    fn serving(&self, group: u64) -> impl Iterator<Item = u64> {
        let here = (0..self.hosts.len()).filter(move |i| self.hosts[*i].group == group);
        here.filter(|i| self.runs(*i))
            .filter_map(|i| self.hosts[i].child.as_ref()?.member)
            .filter(|id| self.etcd.member(*id).is_some())
    }

    /// How many voters answer on hosts of this group.
    fn votes(&self, group: u64) -> usize {
        self.serving(group).filter(|id| self.etcd.member(*id).is_some_and(|m| !m.learner)).count()
    }

    fn has_quorum(&self, group: u64) -> bool {
        let voters = self.etcd.voters().len();
        voters > 0 && self.votes(group) > voters / 2
    }

    /// The leader is reached from this host.
    pub(crate) fn led(&self, i: usize) -> bool {
        let leader = self.etcd.leader.and_then(|id| self.host_of(id));
        leader.is_some_and(|leader| self.hosts[leader].group == self.hosts[i].group)
    }

    fn raft(&mut self) {
        for i in 0..self.hosts.len() {
            if !self.led(i) || !self.runs(i) {
                self.hosts[i].reached_since = None;
                continue;
            }
            let since = *self.hosts[i].reached_since.get_or_insert(self.now);
            // Looks are a second apart, and a busy decider is away for three.
            if self.now - since > 4_500 {
                self.hosts[i].reached_at = self.now;
            }
        }
        if let Some(leader) = self.etcd.leader {
            let host = self.host_of(leader).filter(|host| self.runs(*host));
            if host.is_some_and(|host| self.has_quorum(self.hosts[host].group)) {
                return;
            }
            self.etcd.leader = None;
            self.note(format_args!("nobody leads"));
        }
        let groups: Vec<u64> = self.hosts.iter().map(|h| h.group).collect();
        let Some(group) = groups.into_iter().find(|group| self.has_quorum(*group)) else {
            self.election_at = None;
            return;
        };
        let wait = 800 + self.dice.below(1_200);
        let at = *self.election_at.get_or_insert(self.now + wait);
        if at > self.now {
            return;
        }
        self.election_at = None;
        let voter = |id: &u64| self.etcd.member(*id).is_some_and(|m| !m.learner);
        let able: Vec<u64> = self.serving(group).filter(voter).collect();
        let leader = able[self.dice.below(able.len() as u64) as usize];
        self.etcd.elect(leader, self.now);
        self.note(format_args!("{leader} leads"));
    }

    /// What a member answers to somebody of this group.
    pub(crate) fn probe(&self, group: u64, member: u64) -> Option<Probe> {
        let host = self.host_of(member)?;
        if self.hosts[host].group != group || !self.runs(host) {
            return None;
        }
        let child = self.hosts[host].child.as_ref()?;
        let listed = self.etcd.member(member);
        let led = self.led(host) && listed.is_some();
        let index = LOG + self.etcd.revision as u64;
        Some(Probe {
            cluster: CLUSTER,
            member,
            leader: if led { self.etcd.leader.unwrap_or_default() } else { 0 },
            term: self.etcd.term,
            index,
            applied: if child.caught_up_at <= self.now { index } else { 0 },
            learner: listed.is_some_and(|m| m.learner),
            ..Probe::default()
        })
    }

    pub(crate) fn caught_up(&self, member: u64) -> bool {
        let child = self.host_of(member).and_then(|i| self.hosts[i].child.as_ref());
        child.is_some_and(|child| child.caught_up_at <= self.now)
    }

    /// What becomes of a request from a host to the cluster; `None` when nobody answers.
    pub(crate) fn ask(&mut self, i: usize) -> Option<Luck> {
        if !self.led(i) {
            return None;
        }
        Some(match self.dice.below(40) {
            0 => Luck::Lost,
            1 => Luck::Mute,
            _ => Luck::Good,
        })
    }

    /// A disk takes nothing at this moment.
    pub(crate) fn disk_is_full(&mut self) -> bool {
        self.now < TROUBLE && self.dice.one_in(50)
    }

    /// Starts etcd on a host.
    pub(crate) fn spawn(&mut self, i: usize, mode: Mode) {
        let ready_at = self.now + 100 + self.dice.below(300);
        let slow = if self.dice.one_in(20) { 20_000 } else { 500 };
        let caught_up_at = ready_at + self.dice.below(slow);
        let child = Child { member: None, mode, ready_at, frozen_until: 0, caught_up_at };
        self.hosts[i].child = Some(child);
    }

    /// Lets a process of etcd start, or end because it was removed.
    fn run_child(&mut self, i: usize) {
        let Some(child) = &self.hosts[i].child else { return };
        if child.ready_at > self.now || child.frozen_until > self.now {
            return;
        }
        let ended = match child.member {
            // It learns of it from the others.
            Some(id) => self.removed(i, id).then_some(Cause::Told(Class::Removed)),
            None => self.boot(i, child.mode),
        };
        if let Some(ended) = ended {
            self.hosts[i].child = None;
            if let Some(agent) = &mut self.hosts[i].agent {
                agent.child_ended = Some(ended);
            }
        }
    }

    fn removed(&self, i: usize, id: u64) -> bool {
        self.etcd.removed.contains(&id) && self.led(i)
    }

    fn boot(&mut self, i: usize, mode: Mode) -> Option<Cause> {
        let host = &self.hosts[i];
        let name = flags::name_of(&host.name, &host.folder.instance);
        let (peer, client) = (host.peer(), host.client());
        let lame = host.lame_until > self.now;
        let member = match (host.folder.data, mode) {
            (Some(id), _) => id,
            (None, Mode::New) => {
                let uuid = host.folder.uuid.clone().unwrap_or_default();
                if self.etcd.uuid.as_ref().is_some_and(|known| *known != uuid) {
                    self.blame(format!("{} founds a second cluster", self.hosts[i].name));
                    return None;
                }
                self.etcd.found(&uuid, &name, (&peer, &client))
            }
            (None, Mode::Existing) => {
                let id = self.hosts[i].folder.member?;
                if !self.led(i) || lame {
                    return None;
                }
                let peers = self.etcd.members.iter().flat_map(|m| m.peer.clone());
                let mut peers: Vec<String> = peers.collect();
                let mut list = self.hosts[i].folder.list.clone();
                peers.sort();
                list.sort();
                if self.etcd.member(id).is_none() || peers != list {
                    return Some(Cause::Told(Class::StaleList));
                }
                self.etcd.publish(id, &name, &client);
                id
            }
        };
        let knows = self.hosts[i].folder.data.replace(member).is_some();
        let now = self.now;
        if let Some(child) = &mut self.hosts[i].child {
            child.member = Some(member);
            // Who has data has nearly all of the log.
            child.caught_up_at = if knows { now } else { child.caught_up_at.max(now) };
        }
        None
    }

    fn kill(&mut self, i: usize) {
        self.hosts[i].agent = None;
        self.hosts[i].child = None;
    }

    fn misfortune(&mut self) {
        self.disturbed = self.now;
        let i = self.dice.below(self.hosts.len() as u64) as usize;
        let while_away = 1_000 + self.dice.below(60_000);
        let name = self.hosts[i].name.clone();
        match self.dice.below(12) {
            0 | 1 => {
                self.note(format_args!("{name}: killed for {while_away} ms"));
                self.kill(i);
                self.hosts[i].back_at = self.now + while_away;
            }
            2 => {
                self.note(format_args!("{name}: its etcd is killed"));
                self.hosts[i].child = None;
                if let Some(agent) = &mut self.hosts[i].agent {
                    agent.child_ended = Some(Cause::Signal);
                }
            }
            3 => {
                self.note(format_args!("{name}: its etcd is frozen for {while_away} ms"));
                if let Some(child) = &mut self.hosts[i].child {
                    child.frozen_until = self.now + while_away;
                }
            }
            4 => {
                self.note(format_args!("{name}: new members of it are lame"));
                self.hosts[i].lame_until = self.now + while_away;
            }
            5 | 6 => {
                let mode =
                    if self.dice.one_in(2) { ladder::Mode::Stay } else { ladder::Mode::Leave };
                self.note(format_args!("{name}: told to go, {mode:?}"));
                self.wish(i, mode);
            }
            7 => {
                self.note(format_args!("{name}: told to hurry"));
                self.wish(i, ladder::Mode::Hurry);
            }
            8 => self.lose_disk(i),
            9 => self.resize(),
            _ => {
                for host in 0..self.hosts.len() {
                    self.hosts[host].group = self.dice.below(2);
                }
                let groups: Vec<u64> = self.hosts.iter().map(|h| h.group).collect();
                self.note(format_args!("the network breaks: {groups:?}"));
                return;
            }
        }
        // Networks do not stay broken for the whole life.
        self.hosts.iter_mut().for_each(|h| h.group = 0);
    }

    /// Whoever leads is killed while a change is open.
    fn interrupt(&mut self) {
        let Some(i) = self.etcd.leader.and_then(|leader| self.host_of(leader)) else { return };
        self.disturbed = self.now;
        let name = self.hosts[i].name.clone();
        self.note(format_args!("{name}: killed while it changes something"));
        self.kill(i);
        self.hosts[i].back_at = self.now + 1_000 + self.dice.below(30_000);
    }

    fn wish(&mut self, i: usize, mode: ladder::Mode) {
        if let Some(agent) = &mut self.hosts[i].agent {
            agent.wish = agent.wish.max(Some(mode));
        }
    }

    /// The data of a member are gone, when the others can bear it. While a healthy voter is being
    /// taken out they cannot: the observation that its removal rests on may be two seconds old.
    fn lose_disk(&mut self, i: usize) {
        let voters = self.etcd.voters();
        let whole = |id: &u64| self.hosts.iter().any(|h| h.folder.data == Some(*id));
        let healthy = voters.iter().all(|id| whole(id) && self.host_of(*id).is_some());
        let all_up = self.votes(0) == voters.len() && voters.len() >= 3;
        let leaving = !self.etcd.range(&PerHost::Leave.all()).is_empty();
        let shrinks = leaving || voters.len() > self.desired();
        if !healthy || !all_up || shrinks || self.etcd.get(&keys::change()).is_some() {
            return;
        }
        let name = self.hosts[i].name.clone();
        self.note(format_args!("{name}: loses its data"));
        self.kill(i);
        self.hosts[i].folder.data = None;
        self.hosts[i].back_at = self.now + 3_000;
    }

    fn resize(&mut self) {
        let n = 1 + self.dice.below(5) as u16;
        let Some(entry) = self.etcd.get(&keys::size()) else { return };
        let Some(size) = keys::read::<SizeRecord>(&entry.value) else { return };
        let txn = quorate::cluster::writes::resize(&SizeRecord { n, ..size }, Some(entry.revision));
        if self.etcd.leader.is_some() {
            self.note(format_args!("{n} voters are wanted"));
            self.etcd.txn(&txn);
        }
    }

    fn heal(&mut self) {
        self.note(format_args!("no more faults"));
        self.disturbed = self.now;
        for host in &mut self.hosts {
            host.group = 0;
            host.lame_until = 0;
            host.back_at = host.back_at.min(self.now);
            if let Some(child) = &mut host.child {
                child.frozen_until = 0;
            }
        }
    }

    /// How many voters are wanted.
    pub(crate) fn desired(&self) -> usize {
        let entry = self.etcd.get(&keys::size());
        let size = entry.and_then(|e| keys::read::<SizeRecord>(&e.value));
        size.map_or(usize::from(super::agent::IDEAL), |s| usize::from(s.n))
    }

    /// What has to be true once nothing has happened for long enough.
    fn at_rest(&self) -> Result<(), String> {
        let voters = self.etcd.voters();
        let learners = self.etcd.members.len() - voters.len();
        let most = self.desired().min(self.hosts.len());
        let target = if most % 2 == 1 { most } else { most - 1 };
        let check = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        check(self.etcd.leader.is_some(), "nobody leads".into())?;
        check(self.votes(0) == voters.len(), format!("not all of {voters:?} answer"))?;
        let right = (target..=self.desired()).contains(&voters.len());
        check(right, format!("{} voters, {target} to {} wanted", voters.len(), self.desired()))?;
        check(learners <= 1, format!("{learners} learners"))?;
        let open = self.etcd.get(&keys::change());
        check(open.is_none(), "a change is open".into())?;
        let list = self.etcd.get(&keys::endpoints());
        let list: Option<EndpointsRecord> = list.and_then(|e| keys::read(&e.value));
        let mut listed: Vec<u64> =
            list.map(|l| l.list.iter().map(|e| e.member).collect()).unwrap_or_default();
        let mut all = voters.clone();
        listed.sort_unstable();
        all.sort_unstable();
        check(listed == all, format!("the list of endpoints is {listed:?} of {all:?}"))?;
        let left = self.etcd.range(&PerHost::Leave.all()).len();
        check(left == 0, format!("{left} wishes to leave are left"))?;
        for host in &self.hosts {
            let agent = host.agent.as_ref().ok_or(format!("{} has no agent", host.name))?;
            let member = host.child.as_ref().and_then(|c| c.member);
            let entry = member.and_then(|id| self.etcd.member(id));
            let role = match entry {
                Some(member) if member.learner => Role::Learner,
                Some(_) => Role::Voter,
                None => Role::Volunteer,
            };
            let text = format!("{} is {role:?} and says {:?}", host.name, agent.role);
            check(agent.role == role, text)?;
            let claimed = self.etcd.get(&PerHost::Host.of(&host.name)).is_some();
            check(claimed, format!("{} has lost its name", host.name))?;
        }
        Ok(())
    }
}

fn host(name: &str) -> Host {
    let folder = Folder {
        instance: format!("{:08x}-0", name.bytes().fold(7_u32, |n, b| n * 31 + u32::from(b))),
        phase: Phase::None,
        uuid: None,
        member: None,
        data: None,
        list: Vec::new(),
    };
    Host {
        name: name.to_owned(),
        folder,
        agent: None,
        child: None,
        group: 0,
        back_at: 0,
        reached_at: 0,
        reached_since: None,
        lame_until: 0,
    }
}
