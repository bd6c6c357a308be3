//! One agent as a value: the pure parts of the real one, and a shell that only moves events and
//! commands between them. Refuses to know luck: the world tells it.

use std::collections::VecDeque;
use std::time::Duration;

use quorate::cluster::aftermath::Cause;
use quorate::cluster::decide::quorum;
use quorate::cluster::flags::Mode;
use quorate::cluster::identity::Phase;
use quorate::cluster::keys::{
    self, AwayRecord, ClusterRecord, HostRecord, LeaveRecord, NominateRecord, PerHost, SizeRecord,
    VERSION, VolunteerRecord,
};
use quorate::cluster::ladder::{self, Ladder, Standing};
use quorate::cluster::logline::Class;
use quorate::cluster::roles::{Command, Event, Health, Membership, Nomination, Why};
use quorate::cluster::start::{self, Contact, Data, Facts, Listed, Server, Start};
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
    pub(crate) child_ended: Option<Cause>,
    /// The claim that its offer was written with.
    held: Option<Claim>,
    order: Option<NominateRecord>,
    /// It does nothing more until a person starts it again.
    rests: bool,
    pub(crate) wish: Option<ladder::Mode>,
    ladder: Option<Ladder>,
    /// What decides and what keeps the claim has ended.
    ceased: bool,
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
            server: Server::Etcd,
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
            membership: Membership::new(true, false),
            role: Role::Starting,
            claim: None,
            refresh_at: 0,
            child_ended: None,
            held: None,
            order: None,
            rests: false,
            wish: None,
            ladder: None,
            ceased: false,
            decider: None,
        };
        let member = self.hosts[i].folder.member;
        self.tell(i, &mut agent, Event::Begin { start: first, phase: facts.phase, member });
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
        use Command::{Accept, Archive, Clear, Follow, Found, Spawn};
        let writes =
            matches!(command, Found | Follow | Spawn(_) | Accept { .. } | Clear(_) | Archive(_));
        if writes && self.disk_is_full() {
            let name = self.hosts[i].name.clone();
            self.note(format_args!("{name}: no space for {command:?}"));
            return Some(Event::Refused);
        }
        match command {
            Command::Say(role, why) => {
                agent.role = role;
                agent.rests |= matches!(why, Why::Mend { .. });
                return None;
            }
            // What needs the cluster is done once it answers.
            Command::Seek | Command::Offer { .. } | Command::GiveUp(_) => return None,
            Command::Tell(..) | Command::UseOwn => return None,
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
            }
            Command::Spawn(mode) => self.spawn(i, mode),
            Command::Accept { mode, .. } => {
                let host = &mut self.hosts[i];
                host.folder.member = host.child.as_ref().and_then(|c| c.member);
                // A founder writes the cluster's records first.
                if mode == Mode::New {
                    return None;
                }
                host.folder.phase = Phase::Member;
            }
            Command::Kill => {
                self.hosts[i].child = None;
                return Some(self.end(i, Cause::Signal));
            }
            Command::Clear(_) => self.hosts[i].folder.data = None,
            Command::Archive(_) => self.archive(i),
            // Hosts stay where they are.
            Command::Readdress | Command::Correct => {}
        }
        Some(Event::Done)
    }

    /// That the child has ended.
    fn end(&self, i: usize, cause: Cause) -> Event {
        let host = &self.hosts[i];
        let voters = self.etcd.voters();
        let others = voters.iter().filter(|id| Some(**id) != host.folder.member);
        let up = others.filter(|id| self.probe(host.group, **id).is_some()).count();
        Event::ChildEnded { cause, others: up >= quorum(voters.len()) }
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
            if goes_on && !agent.ceased {
                self.claim(i, agent);
                self.decide(i, agent);
            }
            return goes_on;
        }
        if agent.rests {
            // Whoever looks after it starts it again.
            return false;
        }
        if let Some(cause) = agent.child_ended.take() {
            let ended = self.end(i, cause);
            self.tell(i, agent, ended);
        }
        if agent.membership.until().is_some_and(|until| until <= self.clock(agent)) {
            self.tell(i, agent, Event::Time);
        }
        if agent.membership.looks().is_some() {
            let look = Event::Look { health: self.health(i), quorum: self.led(i) };
            self.tell(i, agent, look);
        }
        self.go_on(i, agent);
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

    /// Goes on with what is in hand and needs the cluster to answer.
    fn go_on(&mut self, i: usize, agent: &mut Agent) {
        let done = match agent.membership.in_hand() {
            Some(Command::Accept { .. }) if self.ask(i) == Some(Luck::Good) => {
                self.found(i);
                Some(Event::Done)
            }
            Some(Command::GiveUp(reason)) => self.give_up(i, reason).then_some(Event::Done),
            Some(Command::Seek) if self.led(i) => {
                let known = self.etcd.get(&keys::cluster());
                let record: Option<ClusterRecord> = known.and_then(|e| keys::read(&e.value));
                record.map(|record| {
                    let ours = self.hosts[i].folder.uuid.get_or_insert(record.uuid.clone());
                    if *ours == record.uuid { Event::Done } else { Event::Barred }
                })
            }
            Some(Command::Offer { since, not_before }) => {
                let since = agent.born / 1_000 + since.as_secs();
                let offered = self.offer(i, agent.claim, since, not_before);
                agent.held = agent.claim;
                offered.then_some(Event::Done)
            }
            _ => None,
        };
        if let Some(event) = done {
            self.tell(i, agent, event);
        }
    }

    fn give_up(&mut self, i: usize, reason: &str) -> bool {
        let Some(member) = self.hosts[i].folder.member else { return true };
        let wish = self.wish_of(i, member, reason);
        let name = self.hosts[i].name.clone();
        self.write(i, &writes::disk_lost(&name, &wish, None)).is_ok()
    }

    fn offer(&mut self, i: usize, claim: Option<Claim>, since: u64, not_before: u64) -> bool {
        let Some(claim) = claim else { return false };
        let host = &self.hosts[i];
        let name = host.name.clone();
        let offer = VolunteerRecord {
            v: VERSION,
            instance: host.folder.instance.clone(),
            peer: vec![host.peer()],
            client: vec![host.client()],
            since,
            not_before,
            etcd: "3.5.30".into(),
        };
        self.write(i, &writes::volunteer(&name, &offer, claim)).is_ok_and(|done| done.applied)
    }

    fn found(&mut self, i: usize) {
        let uuid = self.hosts[i].folder.uuid.clone().unwrap_or_default();
        let cluster = ClusterRecord {
            v: VERSION,
            uuid,
            token: "token".into(),
            created: 0,
            epoch: 0,
            timers: None,
        };
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
        if let Ok(Committed { applied: true, revision, .. }) = done {
            agent.claim = Some(Claim { lease, revision });
            agent.refresh_at = self.now + 3_000;
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

    /// Looks for an order, and whether the offer still stands.
    fn follow_orders(&mut self, i: usize, agent: &mut Agent) {
        if agent.membership.awaits_claim() && agent.claim != agent.held {
            self.tell(i, agent, Event::Claim);
        }
        if !agent.membership.awaits_order() || !self.led(i) {
            return;
        }
        let order = self.etcd.get(&PerHost::Nominate.of(&self.hosts[i].name));
        agent.order = order.and_then(|e| keys::read(&e.value));
        let order = agent.order.as_ref();
        let order = order.map(|o| Nomination { seq: o.seq, member: o.member });
        self.tell(i, agent, Event::Order(order));
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
        let child = self.hosts[i].child.as_ref();
        let member = child.is_some_and(|child| child.member.is_some());
        let standing = Standing { child: child.is_some(), member };
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
        if let Some(cause) = ended {
            let removed = cause == Cause::Told(Class::Removed);
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
            ladder::Command::Look => {
                let alone = member.is_some_and(|id| self.etcd.voters() == [id]);
                Some(ladder::Event::Seen { alone, quorum: self.led(i) })
            }
            ladder::Command::Prepare => {
                self.hosts[i].folder.phase = Phase::Leaving;
                outcome(true)
            }
            ladder::Command::Cease => {
                (agent.ceased, agent.decider) = (true, None);
                outcome(true)
            }
            ladder::Command::Ask => {
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
            ladder::Command::Tell(_) => None,
            ladder::Command::Exit => {
                self.note(format_args!("{name}: exits"));
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
