//! The scheduler as a pure machine: [`Engine::step`] takes the time and one event and answers
//! what has to be done.
//!
//! It decides when a resource is watched, run and given up, and when all is quiet. It refuses to
//! know what a resource does, to read a clock, to wait, and to touch anything: a shell around it
//! carries out its commands and answers each of them with an event. An event about something that
//! is no longer there is dropped, so no order of events can make it fail.
//!
//! The work of a step is proportional to what changed. Each vertex keeps count of its
//! predecessors that are not done and of those that failed; a change of one adjusts the counts of
//! its successors and looks at those again.

mod agenda;
mod amend;
mod bucket;
mod due;
mod end;
mod event;
mod locks;
mod quiet;
mod retry;
mod slot;
mod swap;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::end::no_result_within;
pub use self::event::{Command, Event, Options, RunId, Timestamp, VertexId};
pub use self::view::{Attempt, Blockage, Failure, State, Summary, VertexView};

use self::agenda::Agenda;
use self::end::{End, Gone};
use self::locks::Locks;
use self::quiet::Quiet;
use self::slot::{Slot, Watch};
use self::view::Tally;
use crate::graph::{Graph, Vertex};
use crate::ident::ResourceId;

/// Whether runs may start, and what was asked about the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Runs start as they become ready.
    Going,
    /// Nothing starts until resumed.
    Paused,
    /// Nothing starts any more; `hurried` once what runs was cancelled.
    Stopping { hurried: bool },
    /// The end was reported.
    Stopped,
}

/// The machine. See the module for what it refuses to do.
#[derive(Debug)]
pub struct Engine {
    /// The graph that is wanted; `None` before the first.
    graph: Option<Arc<Graph>>,
    /// One for each vertex of the graph, in the order of their ids.
    slots: Vec<Slot>,
    /// Where the last one was found that somebody asked for: the next one is mostly the one after.
    near: usize,
    /// Slots that can start a run, kept while the mode forbids it.
    ready: BTreeSet<usize>,
    /// Slots to look at again before the step ends, by rank: none is looked at twice in one step.
    stale: BTreeSet<(usize, usize)>,
    /// Runs of vertices that left the graph while they were under way, by identity: a vertex of
    /// the same identity waits for them, so there is never more than one.
    draining: BTreeMap<ResourceId, Gone>,
    locks: Locks,
    agenda: Agenda,
    /// Vertices in each state.
    tally: Tally,
    /// Failed vertices whose next attempt is waited for.
    awaited: usize,
    /// Vertices that run, or will, only to look.
    looking: usize,
    /// One that only looked has changed something, or failed.
    disturbed: bool,
    mode: Mode,
    /// Nothing more is to come from outside of the graph.
    complete: bool,
    quiet: Quiet,
    /// The number of the newest graph.
    generation: u64,
    /// The number of the newest run.
    runs: u64,
    /// What the current step has decided so far.
    commands: Vec<Command>,
}

impl Engine {
    /// An engine without a graph: it has nothing to do, and is not converged.
    pub fn new(options: Options) -> Self {
        Engine {
            graph: None,
            slots: Vec::new(),
            near: 0,
            ready: BTreeSet::new(),
            stale: BTreeSet::new(),
            draining: BTreeMap::new(),
            locks: Locks::default(),
            agenda: Agenda::default(),
            tally: Tally::default(),
            awaited: 0,
            looking: 0,
            disturbed: false,
            mode: Mode::Going,
            complete: true,
            quiet: Quiet::new(options.converged_after),
            generation: 0,
            runs: 0,
            commands: Vec::new(),
        }
    }

    /// Takes in one event and says what has to be done, in this order.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        match event {
            Event::Graph(graph) => self.swap(now, graph),
            Event::Watching { vertex, error } => self.watching(&vertex, error),
            Event::Touched(vertex) => self.touched(now, &vertex),
            Event::Finished { vertex, run, result, sent } => {
                self.finished(now, End { vertex, run, result, sent });
            }
            Event::Due => self.due(now),
            Event::Revive => self.revive(),
            Event::Pause if self.mode == Mode::Going => self.mode = Mode::Paused,
            Event::Resume if self.mode == Mode::Paused => self.mode = Mode::Going,
            Event::Pause | Event::Resume => {}
            Event::Complete(complete) => self.complete = complete,
            Event::Stop => self.stop(),
            Event::Hurry => self.hurry(),
        }
        self.settle(now);
        let open = matches!(self.mode, Mode::Going | Mode::Paused);
        if open {
            if std::mem::take(&mut self.disturbed) {
                self.quiet.disturb(now, &mut self.commands);
            }
            let quiet = self.graph.is_some() && self.complete && self.is_quiescent();
            self.quiet.update(now, quiet, &mut self.commands);
        }
        if self.mode == Mode::Going {
            self.start_ready(now);
        }
        if matches!(self.mode, Mode::Stopping { .. }) && !self.is_anything_running() {
            self.mode = Mode::Stopped;
            self.commands.push(Command::Stopped);
        }
        if self.mode != Mode::Stopped {
            let quiet = if open { self.quiet.due() } else { None };
            self.commands.extend(self.agenda.ask(quiet).map(Command::WakeAt));
        }
        std::mem::take(&mut self.commands)
    }

    /// The slot of exactly this life of a resource.
    fn find(&mut self, vertex: &VertexId) -> Option<usize> {
        let at = self.position_near(&vertex.resource)?;
        (self.slots[at].id.generation == vertex.generation).then_some(at)
    }

    /// [`Engine::position`], looked for first where the last one was.
    fn position_near(&mut self, id: &ResourceId) -> Option<usize> {
        let is = |at: &usize| self.slots.get(*at).is_some_and(|slot| slot.id.resource == *id);
        let near = [self.near + 1, self.near].into_iter().find(is);
        let at = near.or_else(|| self.position(id))?;
        self.near = at;
        Some(at)
    }

    /// Whether a resource of the running graph was run at least once: what comes before it is done.
    pub fn had_its_turn(&self, id: &ResourceId) -> bool {
        self.position(id).is_some_and(|at| self.slots[at].had_its_turn())
    }

    /// What the graph says about this life of a resource.
    pub fn vertex(&mut self, id: &VertexId) -> Option<&Arc<Vertex>> {
        let at = self.find(id)?;
        Some(&self.slots[at].vertex)
    }

    /// The slot of a resource.
    fn position(&self, id: &ResourceId) -> Option<usize> {
        self.slots.binary_search_by(|slot| slot.id.resource.cmp(id)).ok()
    }

    /// Has a slot looked at before the step ends.
    fn mark(&mut self, at: usize) {
        self.stale.insert((self.slots[at].rank, at));
    }

    fn watching(&mut self, vertex: &VertexId, error: Option<String>) {
        let Some(at) = self.find(vertex) else { return };
        let slot = &mut self.slots[at];
        // A watch that was lost or replaced may have missed what happened in between.
        if error.is_none() {
            slot.prompt();
        }
        slot.watch = error.map_or(Watch::Armed, Watch::Broken);
        self.mark(at);
    }

    fn touched(&mut self, now: Timestamp, vertex: &VertexId) {
        let Some(at) = self.find(vertex) else { return };
        self.slots[at].stir(now);
        self.mark(at);
    }

    /// Brings every slot that something happened to, and all that depend on it, to the state that
    /// follows.
    fn settle(&mut self, now: Timestamp) {
        while let Some((_, at)) = self.stale.pop_first() {
            self.enlist(at);
            let slot = &mut self.slots[at];
            let (old, new) = (slot.state, slot.derive());
            if old == new {
                continue;
            }
            slot.enter(new, now);
            self.tally.shift(old, new);
            if old.standing() == new.standing() {
                continue;
            }
            for k in 0..self.slots[at].successors.len() {
                let to = self.slots[at].successors[k].to;
                self.slots[to].predecessor_moved(old.standing(), new.standing());
                self.mark(to);
            }
        }
    }

    /// Has a slot in the lists where it belongs, and only there: of those that can start, of those
    /// that wait for locks, and of those that wait for a time.
    fn enlist(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if !slot.is_ready() {
            self.ready.remove(&at);
            if let Some(ticket) = slot.ticket.take() {
                self.locks.leave(ticket, at, &slot.vertex.meta.sema);
            }
        } else if slot.vertex.meta.sema.is_empty() {
            self.ready.insert(at);
        } else {
            let ticket = *slot.ticket.get_or_insert_with(|| self.locks.ticket());
            self.locks.join(ticket, at, &slot.vertex.meta.sema);
        }
        let awaited = slot.is_awaited();
        self.awaited += usize::from(awaited);
        self.awaited -= usize::from(std::mem::replace(&mut slot.awaited, awaited));
        let looking = slot.only_looks();
        self.looking += usize::from(looking);
        self.looking -= usize::from(std::mem::replace(&mut slot.looking, looking));
        let next = slot.next_alarm();
        self.agenda.shift(at, &mut slot.alarm, next);
    }

    fn start_ready(&mut self, now: Timestamp) {
        // Starting moves a vertex from pending to running, which to its successors is the same:
        // no slot becomes ready or stops being ready by it.
        while let Some(at) = self.ready.pop_first() {
            self.start(now, at);
        }
        // Nor does a start let others overtake: it leaves a queue and takes a place in it.
        while let Some(candidates) = self.locks.candidates() {
            for (ticket, at) in candidates {
                if self.locks.take(ticket, at, &self.slots[at].vertex.meta.sema) {
                    self.start(now, at);
                }
            }
        }
    }

    fn start(&mut self, now: Timestamp, at: usize) {
        self.runs += 1;
        let (run, received) = (RunId(self.runs), self.received(at));
        let slot = &mut self.slots[at];
        slot.begin(run, now);
        self.tally.shift(slot.state, State::Running);
        slot.enter(State::Running, now);
        let next = slot.next_alarm();
        self.agenda.shift(at, &mut slot.alarm, next);
        let (vertex, refresh) = (slot.id.clone(), !slot.refreshes.is_empty());
        self.commands.push(Command::Run { vertex, run, refresh, received });
    }

    fn is_anything_running(&self) -> bool {
        self.tally.of(State::Running) > 0 || !self.draining.is_empty()
    }

    /// Nothing is pending, nothing runs, and nobody has a last attempt ahead. What is blocked waits
    /// for others, not for us; what is repeated for ever has failed until it has not. Nor is it
    /// work to look every so often at what was right the last time.
    pub fn is_quiescent(&self) -> bool {
        let busy = self.tally.of(State::Pending) + self.tally.of(State::Running);
        busy == self.looking && self.draining.is_empty() && self.awaited == 0
    }

    /// The last that [`Command::Converged`] said.
    pub fn is_converged(&self) -> bool {
        self.quiet.is_converged()
    }

    /// The graph that is wanted; `None` before the first.
    pub fn graph(&self) -> Option<&Arc<Graph>> {
        self.graph.as_ref()
    }
}
