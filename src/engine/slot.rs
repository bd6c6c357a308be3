//! What the engine remembers of one vertex, and the state that follows from it.
//!
//! Refuses to know other vertices: of its predecessors a slot knows only how many stand in its
//! way.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bucket::Bucket;
use super::locks::Ticket;
use super::retry::Retries;
use super::view::{Standing, State};
use super::{RunId, Timestamp, VertexId};
use crate::graph::Vertex;
use crate::ident::ResourceId;
use crate::kind::Outcome;
use crate::spec::{Fields, Meta, Retry};

/// Where the watch of a vertex is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Asked for, not yet answered.
    Arming,
    /// Every event from now on is reported.
    Armed,
    /// There is none, and this is why.
    Broken(String),
}

/// A run under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    /// The event count when it started: what came later, it may not have seen.
    pub(super) seen: u64,
    /// A tick led to it.
    pub(super) tick: bool,
    /// A predecessor changed or recovered since it started.
    pub(super) overtaken: bool,
    /// When it is given up.
    pub(super) deadline: Option<Timestamp>,
    /// It was told to give up.
    pub(super) cancelled: bool,
    /// It was not done at its deadline.
    pub(super) late: bool,
    /// The event that led to it was taken for the echo of the run before it.
    pub(super) echo: bool,
}

/// What a vertex is doing.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Idle,
    Running(Box<Run>),
}

/// An edge, seen from its first vertex.
#[derive(Clone, Copy, Debug)]
pub(super) struct Successor {
    /// The slot of the second vertex.
    pub(super) to: usize,
    /// A change of the first refreshes the second.
    pub(super) notify: bool,
}

/// One vertex of the running graph.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) id: VertexId,
    /// An event of the resource counts as a change of it.
    pub(super) ticks: bool,
    /// What the graph says about it, shared with the graph.
    pub(super) vertex: Arc<Vertex>,
    /// The last value that it sent under each key.
    pub(super) sent: Fields,
    pub(super) watch: Watch,
    pub(super) phase: Phase,
    /// Waits for the last run of an earlier generation of the same resource.
    pub(super) held: bool,
    /// Reasons to run so far. A count and not a flag, so that one that comes during a run is not
    /// lost.
    pub(super) events: u64,
    /// The count when the last finished run started.
    pub(super) seen: u64,
    /// Refreshes that no successful run has seen, by who changed, with the event count that each
    /// of them made.
    pub(super) refreshes: BTreeMap<ResourceId, u64>,
    /// A tick that has not been passed on.
    pub(super) tick: bool,
    /// The tokens for its events, when they are bounded.
    pub(super) bucket: Option<Box<Bucket>>,
    /// Something happened that no token was there for yet. Never set while there is a reason to
    /// run.
    pub(super) stirred: bool,
    /// The next event is taken for the echo of what the last run did, and needs no token.
    pub(super) echo: bool,
    /// It led to the run that comes next.
    pub(super) echoed: bool,
    /// The next time to look when nobody watches.
    pub(super) poll: Option<Timestamp>,
    pub(super) retries: Retries,
    /// Its time in the agenda.
    pub(super) alarm: Option<Timestamp>,
    /// Its place among those who wait for locks.
    pub(super) ticket: Option<Ticket>,
    /// All that it is to run for is that it looks every so often, and all was right the last time.
    pub(super) looks: bool,
    /// It is counted among those.
    pub(super) looking: bool,
    /// It is counted among those whose next attempt is waited for.
    pub(super) awaited: bool,
    /// Failed, blocked or new since its last good run: its next one gives failed successors
    /// another chance.
    pub(super) troubled: bool,
    pub(super) last: Option<Result<Outcome, String>>,
    pub(super) state: State,
    /// When it entered this state.
    pub(super) since: Timestamp,
    /// More than that of every predecessor.
    pub(super) rank: usize,
    pub(super) successors: Vec<Successor>,
    pub(super) predecessors: Vec<usize>,
    /// Predecessors that are pending or running.
    unsettled: usize,
    /// Predecessors that failed or are blocked.
    bad: usize,
}

impl Slot {
    /// A vertex that has just come: not watched yet, with one reason to run.
    pub(super) fn new(id: VertexId, vertex: &Arc<Vertex>, now: Timestamp) -> Self {
        Slot {
            id,
            ticks: vertex.resource.event_is_change(),
            vertex: Arc::clone(vertex),
            sent: Fields::new(),
            watch: Watch::Arming,
            phase: Phase::Idle,
            held: false,
            events: 1,
            seen: 0,
            refreshes: BTreeMap::new(),
            tick: false,
            bucket: vertex.meta.limit.map(|limit| Box::new(Bucket::new(limit))),
            stirred: false,
            echo: false,
            echoed: false,
            poll: vertex.meta.poll.map(|every| now.after(every)),
            retries: Retries::default(),
            alarm: None,
            ticket: None,
            looks: false,
            looking: false,
            awaited: false,
            troubled: true,
            last: None,
            state: State::Pending,
            since: now,
            rank: 0,
            successors: Vec::new(),
            predecessors: Vec::new(),
            unsettled: 0,
            bad: 0,
        }
    }

    /// How it is treated.
    pub(super) fn meta(&self) -> &Meta {
        &self.vertex.meta
    }

    /// Takes over what is as true of it as of `old`, the form that it had before: somebody changed
    /// and this resource has not acted on it.
    pub(super) fn inherit(&mut self, old: &Slot) {
        self.refreshes = old.refreshes.keys().map(|from| (from.clone(), 1)).collect();
        self.tick = old.owes_tick();
    }

    /// It was run, or is being run.
    pub(super) fn had_its_turn(&self) -> bool {
        self.seen > 0 || matches!(self.phase, Phase::Running(_))
    }

    /// There is a reason to run that no finished run has seen.
    pub(super) fn is_dirty(&self) -> bool {
        self.events != self.seen
    }

    /// It will run when nothing stands in its way, if only that it has to wait for a token.
    fn wants(&self) -> bool {
        self.is_dirty() || self.stirred
    }

    /// Gives it a new reason to run. What happened before is covered by that run, and a failed
    /// vertex begins to count its attempts anew.
    pub(super) fn prompt(&mut self) {
        self.events += 1;
        (self.stirred, self.looks) = (false, false);
        self.retries.at = None;
        if matches!(self.last, Some(Err(_))) {
            self.retries.used = 0;
        }
    }

    /// Gives it a reason to run by an event. To look every so often says nothing new, so with a
    /// poll the attempts go on being counted.
    fn prompt_by_event(&mut self) {
        let used = self.retries.used;
        self.prompt();
        if self.poll.is_some() {
            self.retries.used = used;
        }
    }

    /// Its time has come to look, as it does every so often.
    pub(super) fn look(&mut self, now: Timestamp) {
        let rests = matches!(self.state, State::Ok | State::WouldChange) && !self.wants();
        self.stir(now);
        self.looks = rests;
    }

    /// It runs, or will, and only looks: that is no work that anybody waits for.
    pub(super) fn only_looks(&self) -> bool {
        self.looks && matches!(self.derive(), State::Pending | State::Running)
    }

    /// Something happened to what it manages: a reason to run, once there is a token for it.
    pub(super) fn stir(&mut self, now: Timestamp) {
        self.tick |= self.ticks;
        self.looks = false;
        match &self.phase {
            _ if self.bucket.is_none() => self.prompt_by_event(),
            // Whether a run has an echo is known at its end.
            Phase::Running(run) => self.stirred |= self.events == run.seen,
            Phase::Idle if self.is_dirty() => {}
            Phase::Idle => {
                self.stirred = true;
                self.admit(now);
            }
        }
    }

    /// Lets what happened lead to a run, if there is a token for it.
    pub(super) fn admit(&mut self, now: Timestamp) {
        let (echo, looks) = (std::mem::take(&mut self.echo), self.looks);
        if self.stirred && (echo || self.bucket.as_mut().is_none_or(|bucket| bucket.take(now))) {
            self.prompt_by_event();
            (self.echoed, self.looks) = (echo, looks);
        }
    }

    /// A run of it begins, which covers all reasons so far.
    pub(super) fn begin(&mut self, id: RunId, now: Timestamp) {
        self.ticket = None;
        self.phase = Phase::Running(Box::new(Run {
            id,
            seen: self.events,
            tick: std::mem::take(&mut self.tick),
            overtaken: false,
            deadline: self.meta().timeout.map(|timeout| now.after(timeout)),
            cancelled: false,
            late: false,
            echo: std::mem::take(&mut self.echoed),
        }));
    }

    /// The next time at which it has to be looked at.
    pub(super) fn next_alarm(&self) -> Option<Timestamp> {
        let run = match &self.phase {
            Phase::Running(run) => run.deadline.filter(|_| !run.cancelled),
            Phase::Idle if self.stirred => self.bucket.as_ref().map(|bucket| bucket.next()),
            Phase::Idle => None,
        };
        [run, self.poll, self.retries.at].into_iter().flatten().min()
    }

    /// Another attempt will come by itself, and the last of them is in sight.
    pub(super) fn is_awaited(&self) -> bool {
        self.retries.at.is_some() && self.meta().retry != Retry::Forever
    }

    /// The state that follows from everything else.
    pub(super) fn derive(&self) -> State {
        match (&self.phase, &self.watch) {
            (Phase::Running(_), _) => State::Running,
            (Phase::Idle, Watch::Broken(_)) => State::Failed,
            (Phase::Idle, _) if self.wants() && self.bad > 0 => State::Blocked,
            (Phase::Idle, _) if self.wants() => State::Pending,
            (Phase::Idle, _) => match &self.last {
                Some(Ok(Outcome::WouldChange(_))) => State::WouldChange,
                Some(Ok(_)) => State::Ok,
                Some(Err(_)) => State::Failed,
                None => State::Pending,
            },
        }
    }

    /// May run now, as far as it and its predecessors are concerned.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.watch == Watch::Armed
            && self.is_dirty()
            && !self.held
            && self.unsettled == 0
            && self.bad == 0
    }

    /// Takes on a state that was derived.
    pub(super) fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.troubled |= state.standing() == Standing::Bad;
    }

    /// A tick has not been passed on: by no run yet, or by one that is under way.
    pub(super) fn owes_tick(&self) -> bool {
        self.tick || matches!(&self.phase, Phase::Running(run) if run.tick)
    }

    /// Whether a good run notifies: something was changed, or a tick was passed on.
    pub(super) fn counts_as_change(&self, run: &Run, outcome: &Outcome) -> bool {
        match outcome {
            _ if self.meta().noop => false,
            Outcome::Changed(_) => true,
            Outcome::Unchanged => run.tick,
            Outcome::WouldChange(_) => false,
        }
    }

    /// Why it failed: its watch before its last run, since without the watch it will not run
    /// again.
    pub(super) fn error(&self) -> Option<&str> {
        match (&self.watch, &self.last) {
            (Watch::Broken(error), _) | (_, Some(Err(error))) => Some(error),
            _ => None,
        }
    }

    /// Forgets all edges.
    pub(super) fn unlink(&mut self) {
        self.successors.clear();
        self.predecessors.clear();
        self.rank = 0;
        self.unsettled = 0;
        self.bad = 0;
    }

    /// Gets a predecessor that stands like this.
    pub(super) fn link_predecessor(&mut self, from: usize, standing: Standing) {
        self.predecessors.push(from);
        match standing {
            Standing::Well => {}
            Standing::Unsettled => self.unsettled += 1,
            Standing::Bad => self.bad += 1,
        }
    }

    /// A predecessor stands differently now.
    pub(super) fn predecessor_moved(&mut self, old: Standing, new: Standing) {
        match old {
            Standing::Well => {}
            Standing::Unsettled => self.unsettled -= 1,
            Standing::Bad => self.bad -= 1,
        }
        match new {
            Standing::Well => {}
            Standing::Unsettled => self.unsettled += 1,
            Standing::Bad => self.bad += 1,
        }
    }
}
