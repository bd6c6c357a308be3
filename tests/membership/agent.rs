//! One agent as a value: the pure parts of the real one, and a shell that only moves events and
//! commands between them. Refuses to know luck: the world tells it.

use std::collections::VecDeque;
use std::time::Duration;

use quorate::cluster::aftermath::Next;
use quorate::cluster::flags::Mode;
use quorate::cluster::identity::Phase;
use quorate::cluster::keys::{
    self, AwayRecord, ClusterRecord, HostRecord, LeaveRecord, NominateRecord, PerHost, SizeRecord,
    VERSION, VolunteerRecord,
};
use quorate::cluster::ladder::{self, Ladder, Standing};
use quorate::cluster::roles::{Command, Event, Health, Membership};
use quorate::cluster::start::{self, Contact, Data, Facts, Listed, Start};
use quorate::cluster::status::Role;
use quorate::cluster::writes::{self, Claim};
use quorate::store::{Committed, Txn};

use super::decider::Decider;
use super::world::{Luck, World};

/// How many voters the founder wants.
pub(crate) const IDEAL: u16 = 3;
/// How long a stopped host counts as away.
const AWAY: u64 = 30;

/// One life of an agent process.
pub(crate) struct Agent {
    pub(crate) born: u64,
    membership: Membership,
    pub(crate) role: Role,
    pub(crate) claim: Option<Claim>,
    refresh_at: u64,
    /// How its child has ended, until it is told.
    pub(crate) child_ended: Option<Next>,
    seeking: bool,
    offering: bool,
    order: Option<NominateRecord>,
    /// The founder's records, then its phase, are still to be written.
    founding: bool,
    giving_up: bool,
    pub(crate) wish: Option<ladder::Mode>,
    ladder: Option<Ladder>,
    pub(crate) decider: Option<Decider>,
}

impl World {
    /// The time as an agent counts it.
    pub(crate) fn clock(&self, agent: &Agent) -> Duration {
        Duration::from_millis(self.now - agent.born)
    }

    /// Starts an agent, as the table says.
    pub(crate) fn start(&mut self, i: usize) {
        let host = &self.hosts[i];
        let listed = host.folder.member.is_some_and(|id| self.etcd.member(id).is_some());
        let anybody = self.etcd.members.iter().any(|m| self.probe(host.group, m.id).is_some());
        let contact = match (anybody, listed) {
            (false, _) => Contact::Silent,
            (true, true) => Contact::Answers(Listed::Yes),
            (true, false) => Contact::Answers(Listed::No),
        };
        let facts = Facts {
            phase: host.folder.phase,
            data: if host.folder.data.is_some() { Data::Ours } else { Data::None },
            knows_cluster: host.folder.uuid.is_some(),
            seeds: i > 0,
            contact,
        };
        let first = start::decide(facts);
        if matches!(first, Start::RefuseData | Start::RefuseLost | Start::RefuseForeign) {
            // Whoever looks after it tries again.
            return;
        }
        let name = host.name.clone();
        self.note(format_args!("{name}: starts: {first:?}"));
        let mut agent = Agent {
            born: self.now,
            membership: Membership::new(false),
            role: Role::Starting,
            claim: None,
            refresh_at: 0,
            child_ended: None,
            seeking: false,
            offering: false,
            order: None,
            founding: false,
            giving_up: false,
            wish: None,
            ladder: None,
            decider: None,
        };
        let joining = facts.phase == Phase::Joining;
        self.tell(i, &mut agent, Event::Begin { start: first, joining });
        self.hosts[i].agent = Some(agent);
    }

    /// Sends an event to the membership and does what it commands.
    fn tell(&mut self, i: usize, agent: &mut Agent, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in agent.membership.step(self.clock(agent), event) {
                events.extend(self.obey(i, agent, command));
            }
        }
    }

    fn obey(&mut self, i: usize, agent: &mut Agent, command: Command) -> Option<Event> {
        match command {
            Command::Say(role) => agent.role = role,
            Command::Seek => (agent.seeking, agent.offering) = (true, false),
            Command::Offer => agent.offering = true,
            Command::Found => {
                let uuid = self.uuid();
                let folder = &mut self.hosts[i].folder;
                (folder.data, folder.member, folder.uuid) = (None, None, Some(uuid));
                folder.phase = Phase::Bootstrapping;
            }
            Command::Follow => {
                let order = agent.order.take()?;
                let folder = &mut self.hosts[i].folder;
                let url = |one: &String| one.split_once('=').map(|(_, url)| url.to_owned());
                folder.list = order.initial_cluster.iter().filter_map(url).collect();
                (folder.data, folder.member) = (None, Some(order.member));
                (folder.uuid, folder.phase) = (Some(order.uuid), Phase::Joining);
                agent.offering = false;
            }
            Command::Spawn(mode) => self.spawn(i, mode),
            Command::Accept(mode) => {
                let host = &mut self.hosts[i];
                host.folder.member = host.child.as_ref().and_then(|c| c.member);
                match mode {
                    Mode::New => agent.founding = true,
                    Mode::Existing => host.folder.phase = Phase::Member,
                }
            }
            Command::Kill(_) => {
                self.hosts[i].child = None;
                return Some(Event::ChildEnded(Next::Again));
            }
            Command::Archive(_) => self.archive(i),
            Command::GiveUp => agent.giving_up = true,
        }
        None
    }

    fn archive(&mut self, i: usize) {
        let folder = &mut self.hosts[i].folder;
        (folder.data, folder.member, folder.phase) = (None, None, Phase::None);
        folder.list.clear();
    }

    /// A tick of an agent; false when it has ended.
    pub(crate) fn live_agent(&mut self, i: usize, agent: &mut Agent) -> bool {
        if let Some(mode) = agent.wish.take() {
            self.set_out(i, agent, mode);
        }
        if agent.ladder.is_some() {
            let goes_on = self.climb(i, agent);
            if goes_on {
                self.decide(i, agent);
            }
            return goes_on;
        }
        if let Some(ended) = agent.child_ended.take() {
            self.tell(i, agent, Event::ChildEnded(ended));
        }
        if agent.membership.until().is_some_and(|until| until <= self.clock(agent)) {
            self.tell(i, agent, Event::Time);
        }
        if agent.membership.watches_etcd() {
            let health = self.health(i);
            self.tell(i, agent, Event::Health(health));
        }
        self.seek(i, agent);
        self.claim(i, agent);
        self.follow_orders(i, agent);
        self.decide(i, agent);
        true
    }

    fn health(&self, i: usize) -> Option<Health> {
        let host = &self.hosts[i];
        let probe = self.probe(host.group, host.child.as_ref()?.member?)?;
        Some(Health { ours: true, led: probe.leader != 0, learner: probe.learner })
    }

    /// Everything that waits for the cluster to answer.
    fn seek(&mut self, i: usize, agent: &mut Agent) {
        if agent.founding && self.ask(i) == Some(Luck::Good) {
            self.found(i);
            agent.founding = false;
        }
        if agent.giving_up && self.led(i) {
            let host = &self.hosts[i];
            let member = host.folder.member.unwrap_or_default();
            let wish = self.wish_of(i, member, "disk-lost");
            let name = self.hosts[i].name.clone();
            if self.write(i, &writes::disk_lost(&name, &wish, None)).is_ok() {
                agent.giving_up = false;
                self.tell(i, agent, Event::Wished);
            }
        }
        if !agent.seeking || !self.led(i) {
            return;
        }
        let known = self.etcd.get(&keys::cluster());
        let record: Option<ClusterRecord> = known.and_then(|e| keys::read(&e.value));
        if let Some(record) = record {
            let ours = self.hosts[i].folder.uuid.get_or_insert(record.uuid.clone());
            let event = if *ours == record.uuid { Event::Settled } else { Event::Foreign };
            agent.seeking = false;
            self.tell(i, agent, event);
        }
    }

    fn found(&mut self, i: usize) {
        let uuid = self.hosts[i].folder.uuid.clone().unwrap_or_default();
        let cluster =
            ClusterRecord { v: VERSION, uuid, token: "token".into(), created: 0, epoch: 0 };
        let size = SizeRecord {
            v: VERSION,
            n: IDEAL,
            floor: 1,
            allow_even: false,
            by: String::new(),
            at: 0,
        };
        self.etcd.txn(&writes::found(&cluster, &size));
        self.hosts[i].folder.phase = Phase::Member;
    }

    fn claim(&mut self, i: usize, agent: &mut Agent) {
        if self.now < agent.refresh_at || self.etcd.get(&keys::cluster()).is_none() {
            return;
        }
        let Some(luck) = self.ask(i) else { return };
        if let Some(claim) = agent.claim {
            agent.refresh_at = self.now + 3_000;
            if luck != Luck::Lost && !self.etcd.refresh(claim.lease, self.now) {
                agent.claim = None;
                agent.refresh_at = 0;
            }
            return;
        }
        let name = self.hosts[i].name.clone();
        let record = self.host_record(i);
        let earlier = self.etcd.get(&PerHost::Host.of(&name)).map(|e| e.revision);
        let lease = self.etcd.grant(self.now);
        let done = self.write(i, &writes::claim(&name, &record, earlier, lease));
        if let Ok(Committed { applied: true, revision }) = done {
            agent.claim = Some(Claim { lease, revision });
            agent.refresh_at = self.now + 3_000;
            self.tell(i, agent, Event::Claim);
        }
    }

    fn host_record(&self, i: usize) -> HostRecord {
        let host = &self.hosts[i];
        HostRecord {
            v: VERSION,
            instance: host.folder.instance.clone(),
            machine: String::new(),
            place: String::new(),
            boot: String::new(),
            pid: 1,
            started: 0,
            client: vec![host.client()],
            peer: vec![host.peer()],
            zone: None,
            version: String::new(),
            etcd: None,
        }
    }

    /// Offers to serve, and looks for an order.
    fn follow_orders(&mut self, i: usize, agent: &mut Agent) {
        let joins = agent.offering || self.hosts[i].folder.phase == Phase::Joining;
        if !joins || !self.led(i) {
            return;
        }
        let name = self.hosts[i].name.clone();
        let order = self.etcd.get(&PerHost::Nominate.of(&name));
        let order: Option<NominateRecord> = order.and_then(|e| keys::read(&e.value));
        let own = self.hosts[i].folder.member;
        if order.as_ref().map(|o| o.member) != own {
            self.tell(i, agent, Event::NoOrder);
        }
        let Some(claim) = agent.claim.filter(|_| agent.offering) else { return };
        if let Some(order) = order {
            let seq = order.seq;
            agent.order = Some(order);
            self.tell(i, agent, Event::Order(seq));
        }
        if agent.offering && self.etcd.get(&PerHost::Volunteer.of(&name)).is_none() {
            let host = &self.hosts[i];
            let offer = VolunteerRecord {
                v: VERSION,
                instance: host.folder.instance.clone(),
                peer: vec![host.peer()],
                client: vec![host.client()],
                since: agent.born / 1000,
                not_before: 0,
                etcd: "3.5.30".into(),
            };
            let _unanswered = self.write(i, &writes::volunteer(&name, &offer, claim));
        }
    }

    /// Writes; an error may mean that it was done.
    pub(crate) fn write(&mut self, i: usize, txn: &Txn) -> Result<Committed, ()> {
        match self.ask(i).ok_or(())? {
            Luck::Lost => Err(()),
            Luck::Mute => {
                self.etcd.txn(txn);
                Err(())
            }
            Luck::Good => Ok(self.etcd.txn(txn)),
        }
    }

    fn wish_of(&self, i: usize, member: u64, reason: &str) -> LeaveRecord {
        LeaveRecord {
            v: VERSION,
            instance: self.hosts[i].folder.instance.clone(),
            member,
            reason: reason.into(),
            deadline: None,
        }
    }

    fn set_out(&mut self, i: usize, agent: &mut Agent, mode: ladder::Mode) {
        let now = self.clock(agent);
        if let Some(mut ladder) = agent.ladder.take() {
            let commands = ladder.step(now, ladder::Event::Wish(mode));
            agent.ladder = Some(ladder);
            self.go(i, agent, commands);
            return;
        }
        let host = &self.hosts[i];
        let member = host.child.as_ref().and_then(|c| c.member);
        let voters = self.etcd.voters();
        let standing = Standing {
            child: host.child.is_some(),
            member: member.is_some(),
            alone: member.is_some_and(|id| voters == [id]),
            quorum: self.led(i),
        };
        let (ladder, commands) = Ladder::begin(mode, standing, now);
        agent.ladder = Some(ladder);
        self.go(i, agent, commands);
    }

    /// Goes on on the way out; false at its end.
    fn climb(&mut self, i: usize, agent: &mut Agent) -> bool {
        let now = self.clock(agent);
        let ended = agent.child_ended.take();
        let Some(mut ladder) = agent.ladder.take() else { return true };
        let mut commands = Vec::new();
        if let Some(next) = ended {
            let removed = next == Next::Rejoin("removed");
            commands.extend(ladder.step(now, ladder::Event::ChildEnded { removed }));
        }
        if ladder.until().is_some_and(|until| until <= now) {
            commands.extend(ladder.step(now, ladder::Event::Time));
        }
        agent.ladder = Some(ladder);
        self.go(i, agent, commands);
        agent.ladder.as_ref().is_some_and(|ladder| ladder.until().is_some())
    }

    fn go(&mut self, i: usize, agent: &mut Agent, commands: Vec<ladder::Command>) {
        let mut commands = VecDeque::from(commands);
        while let Some(command) = commands.pop_front() {
            let now = self.clock(agent);
            let event = self.leave_step(i, agent, command);
            if let (Some(event), Some(ladder)) = (event, &mut agent.ladder) {
                commands.extend(ladder.step(now, event));
            }
        }
    }

    fn leave_step(
        &mut self,
        i: usize,
        agent: &mut Agent,
        command: ladder::Command,
    ) -> Option<ladder::Event> {
        let name = self.hosts[i].name.clone();
        let member = self.hosts[i].child.as_ref().and_then(|c| c.member);
        let claim = agent.claim;
        let outcome = |well: bool| {
            Some(match well {
                true => ladder::Event::Done,
                false => ladder::Event::Failed,
            })
        };
        match command {
            ladder::Command::Ask => {
                self.hosts[i].folder.phase = Phase::Leaving;
                let wish = self.wish_of(i, member?, "leave");
                let txn = writes::leave(&name, &wish, claim.map(|c| c.revision));
                outcome(self.write(i, &txn).is_ok_and(|done| done.applied))
            }
            ladder::Command::Note => {
                let note = AwayRecord { v: VERSION, seconds: AWAY, why: String::new() };
                outcome(self.write(i, &writes::away(&name, &note, claim)).is_ok())
            }
            ladder::Command::HandOver => {
                let leads = member.is_some() && self.etcd.leader == member;
                let group = self.hosts[i].group;
                let voters = self.etcd.voters();
                let able = |id: &&u64| Some(**id) != member && self.probe(group, **id).is_some();
                let to = voters.iter().find(able).copied().filter(|_| leads);
                if let Some(to) = to {
                    self.etcd.elect(to, self.now);
                }
                outcome(to.is_some())
            }
            ladder::Command::RemoveSelf => outcome(self.remove_self(i, member?)),
            ladder::Command::Archive => {
                self.archive(i);
                outcome(true)
            }
            ladder::Command::Revoke => {
                if let (Some(claim), true) = (claim, self.led(i)) {
                    self.etcd.revoke(claim.lease);
                }
                outcome(true)
            }
            ladder::Command::Term | ladder::Command::Kill => {
                self.hosts[i].child = None;
                Some(ladder::Event::ChildEnded { removed: false })
            }
            ladder::Command::Exit(code) => {
                self.note(format_args!("{name}: exits with {code}"));
                None
            }
        }
    }

    fn remove_self(&mut self, i: usize, member: u64) -> bool {
        let group = self.hosts[i].group;
        let others: Vec<u64> = self.etcd.voters().into_iter().filter(|id| *id != member).collect();
        let answer = |id: &&u64| self.probe(group, **id).is_some_and(|p| p.leader != 0);
        let up = others.iter().filter(answer).count();
        if up <= others.len() / 2 || !self.led(i) {
            return false;
        }
        self.note(format_args!("member {member} removes itself"));
        self.etcd.remove(member).is_ok()
    }
}
