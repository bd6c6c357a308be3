//! The deciding host: looks, claims, decides and gives orders, sometimes slowly, and is judged by
//! what is true. Refuses to know more than a real one sees.

use std::time::Duration;

use quorate::cluster::change::{self, Verdict};
use quorate::cluster::clocks::{Clocks, Settings};
use quorate::cluster::decide::{Action, decide};
use quorate::cluster::keys::{self, ChangeKind, ChangeRecord, ControllerRecord, PerHost};
use quorate::cluster::seen::Seen;
use quorate::cluster::writes::{self, Closing, Fence};

use super::agent::{Agent, IDEAL};
use super::world::{Luck, TICK, World};

/// An observation older than this is not acted on, in milliseconds.
const FRESH: u64 = 2_000;
/// How long a silent voter is waited for, in milliseconds.
const DEAD_AFTER: u64 = 10_000;
/// How long after a fault, or after another size was wished, what is done may not fit what is true:
/// as old as an observation may be, and a tick.
const SETTLED: u64 = FRESH + TICK;

/// What a deciding agent remembers.
pub(crate) struct Decider {
    clocks: Clocks,
    look_at: u64,
    /// What it is about to do, and when its machine lets it.
    pending: Option<(Pending, u64)>,
}

struct Pending {
    seen: Seen,
    fence: Fence,
    at: u64,
    what: What,
}

enum What {
    Act(Action),
    Order(ChangeRecord, i64),
}

impl World {
    /// A tick of the decider of an agent, if its etcd leads.
    pub(crate) fn decide(&mut self, i: usize, agent: &mut Agent) {
        let member = self.hosts[i].child.as_ref().and_then(|c| c.member);
        let leads = member.is_some() && member == self.etcd.leader && self.led(i);
        // Who was slow does not know that somebody else leads by now.
        let busy = agent.decider.as_ref().is_some_and(|decider| decider.pending.is_some());
        if !leads && !busy {
            agent.decider = None;
            return;
        }
        let now = self.now;
        let settings =
            Settings { dead_after: Duration::from_millis(DEAD_AFTER), ideal: IDEAL, strict: false };
        let mut decider = agent.decider.take().unwrap_or_else(|| Decider {
            clocks: Clocks::new(settings),
            look_at: 0,
            pending: None,
        });
        match decider.pending.take() {
            Some((pending, due)) if due > now => decider.pending = Some((pending, due)),
            Some((pending, _)) => {
                self.act(i, &mut decider, agent, pending);
                decider.look_at = now;
            }
            None if decider.look_at <= now => {
                decider.look_at = now + 1_000;
                self.look(i, &mut decider, agent, member.unwrap_or_default());
            }
            None => {}
        }
        agent.decider = Some(decider);
    }

    fn look(&mut self, i: usize, decider: &mut Decider, agent: &Agent, member: u64) {
        let group = self.hosts[i].group;
        let (Some(own), Some(Luck::Good)) = (self.probe(group, member), self.ask(i)) else {
            return;
        };
        let lists = self.etcd.read(&Seen::prefixes());
        let Some(mut seen) = Seen::read(own, &lists, self.etcd.revision) else { return };
        seen.members.clone_from(&self.etcd.members);
        seen.probes = seen.members.iter().map(|m| self.probe(group, m.id)).collect();
        let Some(fence) = self.take_control(i, agent, &seen) else { return };
        let now = self.clock(agent);
        let void = |_: &_| false;
        let kept = seen.endpoints.as_ref().map(|(_, revision)| *revision);
        let list = seen.new_endpoints();
        let tidy = writes::sweep(seen.stale(void), fence)
            .into_iter()
            .chain(list.and_then(|list| writes::endpoints(&list, kept, fence)));
        for txn in tidy {
            let _unanswered = self.write(i, &txn);
        }
        let observation = decider.clocks.observe(&seen, now);
        let what = match seen.ticket.clone() {
            Some((ticket, revision)) => {
                let age = decider.clocks.age(revision, now);
                match change::judge(&seen, &ticket, &observation, age) {
                    Verdict::Order => What::Order(ticket, revision),
                    Verdict::Done(order) => {
                        let closing = change::closing(&seen, &ticket, order);
                        return self.close(i, decider, (&ticket, revision), &closing, fence);
                    }
                    Verdict::CallOff => {
                        let none = Closing::default();
                        return self.close(i, decider, (&ticket, revision), &none, fence);
                    }
                }
            }
            None => match decide(&observation).action {
                Some(action) => What::Act(action),
                None => {
                    // While a learner becomes ready it looks more often.
                    let forming = observation.learners.iter().any(|l| !l.ready);
                    decider.look_at = self.now + if forming { 100 } else { 1_000 };
                    return;
                }
            },
        };
        let pause = if self.dice.one_in(10) { self.dice.below(3_000) } else { 0 };
        let pending = Pending { seen, fence, at: self.now, what };
        if pause == 0 {
            self.act(i, decider, agent, pending);
            decider.look_at = self.now;
        } else {
            decider.pending = Some((pending, self.now + pause));
        }
    }

    fn take_control(&mut self, i: usize, agent: &Agent, seen: &Seen) -> Option<Fence> {
        let claim = agent.claim?;
        let wanted = ControllerRecord {
            v: keys::VERSION,
            host: self.hosts[i].name.clone(),
            instance: self.hosts[i].folder.instance.clone(),
            member: seen.own.member,
            term: seen.own.term,
        };
        if let Some((record, entry)) = &seen.controller
            && *record == wanted
            && entry.lease == Some(claim.lease)
        {
            return Some(Fence { revision: entry.revision });
        }
        let earlier = seen.controller.as_ref().map(|(_, entry)| entry.revision);
        let done = self.write(i, &writes::control(&wanted, earlier, claim.lease)).ok()?;
        done.applied.then_some(Fence { revision: done.revision })
    }

    fn act(&mut self, i: usize, decider: &mut Decider, agent: &Agent, pending: Pending) {
        let Pending { seen, fence, at, what } = pending;
        let fresh = self.now - at <= FRESH;
        match what {
            What::Act(Action::MoveLeader { to }) if fresh && self.can_lead(i, to) => {
                self.etcd.elect(to, self.now);
                self.note(format_args!("{to} leads now, handed over"));
            }
            What::Act(action) if fresh => {
                let name = self.hosts[i].name.clone();
                let seconds = self.now / 1000;
                let Some(ticket) = change::ticket(&action, &seen, &name, seconds) else { return };
                let busy = self.etcd.get(&keys::change()).is_some();
                let Ok(opened) = self.write(i, &writes::open(&ticket, fence)) else { return };
                if opened.applied && busy {
                    self.blame("I3: a second change is opened".into());
                }
                if opened.applied {
                    self.judge_claim(fence);
                    decider.clocks.age(opened.revision, self.clock(agent));
                    self.order(i, decider, &seen, (&ticket, opened.revision), fence);
                }
            }
            What::Order(ticket, revision) if fresh => {
                self.order(i, decider, &seen, (&ticket, revision), fence);
            }
            _ => {}
        }
    }

    fn can_lead(&self, i: usize, to: u64) -> bool {
        self.probe(self.hosts[i].group, to).is_some() && self.etcd.member(to).is_some()
    }

    fn order(
        &mut self,
        i: usize,
        decider: &mut Decider,
        seen: &Seen,
        (ticket, revision): (&ChangeRecord, i64),
        fence: Fence,
    ) {
        // Orders about members get lost more often: what becomes of them is the point.
        let luck = match (self.ask(i), self.dice.below(10)) {
            (Some(Luck::Lost) | None, _) | (_, 0) => return,
            (_, 1) => Luck::Mute,
            (Some(luck), _) => luck,
        };
        if ticket.kind == ChangeKind::Remove {
            self.judge_removal(ticket);
        }
        let made = match ticket.kind {
            ChangeKind::Add => {
                let peer = ticket.peer.first().cloned().unwrap_or_default();
                self.etcd
                    .add_learner(&peer)
                    .map(|id| Some(change::order(seen, ticket, id, &self.etcd.members)))
            }
            ChangeKind::Promote => {
                let ready = self.caught_up(ticket.member);
                self.etcd.promote(ticket.member, ready).map(|()| None)
            }
            ChangeKind::Remove => self.etcd.remove(ticket.member).map(|()| None),
        };
        let voters = self.etcd.voters();
        let (kind, host) = (ticket.kind, &ticket.host);
        self.note(format_args!("{kind:?} {host} ({}): {:?}", ticket.why, made.is_ok()));
        let Ok(order) = made else { return };
        self.changes += 1;
        self.note(format_args!("voters {voters:?}"));
        if luck == Luck::Good {
            let closing = change::closing(seen, ticket, order);
            self.close(i, decider, (ticket, revision), &closing, fence);
        }
    }

    fn close(
        &mut self,
        i: usize,
        decider: &mut Decider,
        (ticket, revision): (&ChangeRecord, i64),
        closing: &Closing,
        fence: Fence,
    ) {
        let ended = change::ended(ticket, change::DONE, self.now / 1000);
        let done = self.write(i, &writes::close(&ended, revision, closing, fence));
        if done.is_ok_and(|done| done.applied) {
            self.judge_claim(fence);
        }
        decider.look_at = self.now;
    }

    /// Who opens or closes a change has the newest claim to decide.
    fn judge_claim(&mut self, fence: Fence) {
        let newest = self.etcd.get(&keys::controller()).map(|e| e.revision);
        if newest.is_none_or(|newest| newest != fence.revision) {
            self.blame("a decider whose claim is gone has changed something".into());
        }
    }

    /// I1 and I5 by what is true, unless a fault was too recent to be known.
    fn judge_removal(&mut self, ticket: &ChangeRecord) {
        let id = ticket.member;
        let voters = self.etcd.voters();
        if !voters.contains(&id) || self.now - self.disturbed < SETTLED {
            return;
        }
        let group = self.etcd.leader.and_then(|l| self.host_of(l)).map(|i| self.hosts[i].group);
        let up = |id: &&u64| self.probe(group.unwrap_or_default(), **id).is_some();
        let left = voters.iter().filter(|one| **one != id).filter(up).count();
        let well = |i: usize| self.well_since(i) + SETTLED <= self.now;
        let healthy = up(&&id) && self.host_of(id).is_some_and(well);
        let wishes = self.etcd.range(&PerHost::Leave.all());
        let asked = wishes.iter().any(|e| {
            keys::read::<keys::LeaveRecord>(&e.value).is_some_and(|wish| wish.member == id)
        });
        if voters.len() < 2 || left <= (voters.len() - 1) / 2 {
            self.blame(format!("I1: {id} of {voters:?} is removed, {left} answer"));
        }
        let early = self.host_with(id).is_some_and(|i| self.is_brief(i));
        if (healthy || early) && !asked && voters.len() <= self.desired() {
            self.blame(format!("I5: {id} of {voters:?} is removed: {}", ticket.why));
        }
        if self.etcd.leader == Some(id) {
            self.blame(format!("I7: the leader {id} is removed"));
        }
    }

    /// A host whose etcd has been silent for less than its time: `DEAD_AFTER`, ten times that while
    /// its agent lives through it.
    fn is_brief(&self, i: usize) -> bool {
        let host = &self.hosts[i];
        let silent = self.now - host.reached_at;
        let claimed = self.etcd.get(&PerHost::Host.of(&host.name)).is_some();
        let lives = host.agent.as_ref().is_some_and(|agent| agent.born < host.reached_at);
        let patience = if claimed && lives { 10 * DEAD_AFTER } else { DEAD_AFTER };
        silent + SETTLED < patience
    }
}
