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

mod event;
mod quiet;
mod slot;
mod swap;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::event::{Command, Event, Options, RunId, Timestamp, VertexId};
pub use self::view::{Blockage, Failure, State, Summary, VertexView};

use self::quiet::Quiet;
use self::slot::{Phase, Run, Slot, Watch};
use self::view::Tally;
use crate::graph::Graph;
use crate::ident::ResourceId;
use crate::kind::Outcome;

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
    /// Slots that can start a run, kept while the mode forbids it.
    ready: BTreeSet<usize>,
    /// Slots to look at again before the step ends, by rank: none is looked at twice in one step.
    stale: BTreeSet<(usize, usize)>,
    /// Runs of vertices that left the graph while they were under way, by identity: a vertex of
    /// the same identity waits for them, so there is never more than one.
    draining: BTreeMap<ResourceId, (VertexId, RunId)>,
    /// Vertices in each state.
    tally: Tally,
    mode: Mode,
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
            ready: BTreeSet::new(),
            stale: BTreeSet::new(),
            draining: BTreeMap::new(),
            tally: Tally::default(),
            mode: Mode::Going,
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
            Event::Touched(vertex) => self.touched(&vertex),
            Event::Finished { vertex, run, result } => self.finished(&vertex, run, result),
            Event::Due => self.quiet.woken(),
            Event::Pause if self.mode == Mode::Going => self.mode = Mode::Paused,
            Event::Resume if self.mode == Mode::Paused => self.mode = Mode::Going,
            Event::Pause | Event::Resume => {}
            Event::Stop => self.stop(),
            Event::Hurry => self.hurry(),
        }
        self.settle(now);
        if matches!(self.mode, Mode::Going | Mode::Paused) {
            let quiet = self.graph.is_some() && self.is_quiescent();
            self.quiet.update(now, quiet, &mut self.commands);
        }
        if self.mode == Mode::Going {
            self.start_ready(now);
        }
        if matches!(self.mode, Mode::Stopping { .. }) && !self.is_anything_running() {
            self.mode = Mode::Stopped;
            self.commands.push(Command::Stopped);
        }
        std::mem::take(&mut self.commands)
    }

    /// The slot of exactly this life of a resource.
    fn find(&self, vertex: &VertexId) -> Option<usize> {
        let at = self.slots.binary_search_by(|slot| slot.id.resource.cmp(&vertex.resource)).ok()?;
        (self.slots[at].id.generation == vertex.generation).then_some(at)
    }

    /// Has a slot looked at before the step ends.
    fn mark(&mut self, at: usize) {
        self.stale.insert((self.slots[at].rank, at));
    }

    fn watching(&mut self, vertex: &VertexId, error: Option<String>) {
        let Some(at) = self.find(vertex) else { return };
        let slot = &mut self.slots[at];
        // A watch that was lost or replaced may have missed what happened in between.
        slot.events += u64::from(error.is_none());
        slot.watch = error.map_or(Watch::Armed, Watch::Broken);
        self.mark(at);
    }

    fn touched(&mut self, vertex: &VertexId) {
        let Some(at) = self.find(vertex) else { return };
        let slot = &mut self.slots[at];
        slot.events += 1;
        slot.tick |= slot.ticks;
        self.mark(at);
    }

    fn finished(&mut self, vertex: &VertexId, run: RunId, result: Result<Outcome, String>) {
        if self.drained(vertex, run) {
            return;
        }
        let Some(at) = self.find(vertex) else { return };
        let slot = &mut self.slots[at];
        let ended = match &slot.phase {
            Phase::Running(current) if current.id == run => *current,
            _ => return,
        };
        slot.phase = Phase::Idle;
        slot.seen = ended.seen;
        match &result {
            Ok(outcome) => {
                slot.refreshes.retain(|_, event| *event > ended.seen);
                let changed = slot.counts_as_change(ended, outcome);
                let recovered = std::mem::take(&mut slot.troubled);
                self.tell_successors(at, changed, recovered);
            }
            Err(_) => {
                slot.troubled = true;
                slot.tick |= ended.tick;
                // What it needed was made right while it looked, perhaps too late for it to see.
                slot.events += u64::from(ended.overtaken);
            }
        }
        self.slots[at].last = Some(result);
        self.mark(at);
    }

    /// Ends the wait for a run of a vertex that left the graph. Its result concerns nobody.
    fn drained(&mut self, vertex: &VertexId, run: RunId) -> bool {
        match self.draining.get(&vertex.resource) {
            Some((old, id)) if old == vertex && *id == run => {}
            _ => return false,
        }
        self.draining.remove(&vertex.resource);
        let successor = self.slots.binary_search_by(|slot| slot.id.resource.cmp(&vertex.resource));
        if let Ok(at) = successor {
            self.slots[at].held = false;
            self.mark(at);
        }
        true
    }

    /// Passes a good result on: a refresh along notifying edges, and another chance to those that
    /// failed.
    fn tell_successors(&mut self, at: usize, changed: bool, recovered: bool) {
        if !changed && !recovered {
            return;
        }
        for k in 0..self.slots[at].successors.len() {
            let edge = self.slots[at].successors[k];
            let from = (changed && edge.notify).then(|| self.slots[at].id.resource.clone());
            let slot = &mut self.slots[edge.to];
            if let Some(from) = from {
                slot.events += 1;
                slot.refreshes.insert(from, slot.events);
            } else if let Phase::Running(run) = &mut slot.phase {
                run.overtaken = true;
            } else if matches!(slot.last, Some(Err(_))) {
                slot.events += 1;
            }
            self.mark(edge.to);
        }
    }

    fn stop(&mut self) {
        if matches!(self.mode, Mode::Going | Mode::Paused) {
            self.mode = Mode::Stopping { hurried: false };
        }
    }

    fn hurry(&mut self) {
        self.stop();
        if self.mode != (Mode::Stopping { hurried: false }) {
            return;
        }
        self.mode = Mode::Stopping { hurried: true };
        let gone = self.draining.values().cloned();
        let here = self.slots.iter().filter_map(|slot| match &slot.phase {
            Phase::Running(run) => Some((slot.id.clone(), run.id)),
            Phase::Idle => None,
        });
        let cancel = gone.chain(here).map(|(vertex, run)| Command::Cancel { vertex, run });
        self.commands.extend(cancel);
    }

    /// Brings every slot that something happened to, and all that depend on it, to the state that
    /// follows.
    fn settle(&mut self, now: Timestamp) {
        while let Some((_, at)) = self.stale.pop_first() {
            let slot = &mut self.slots[at];
            let (old, new) = (slot.state, slot.derive());
            if slot.is_ready() {
                self.ready.insert(at);
            } else {
                self.ready.remove(&at);
            }
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

    fn start_ready(&mut self, now: Timestamp) {
        // Starting moves a vertex from pending to running, which to its successors is the same:
        // no slot becomes ready or stops being ready by it.
        while let Some(at) = self.ready.pop_first() {
            self.runs += 1;
            let slot = &mut self.slots[at];
            let id = RunId(self.runs);
            let tick = std::mem::take(&mut slot.tick);
            slot.phase = Phase::Running(Run { id, seen: slot.events, tick, overtaken: false });
            self.tally.shift(slot.state, State::Running);
            slot.enter(State::Running, now);
            self.commands.push(Command::Run {
                vertex: slot.id.clone(),
                run: id,
                refresh: !slot.refreshes.is_empty(),
            });
        }
    }

    fn is_anything_running(&self) -> bool {
        self.tally.of(State::Running) > 0 || !self.draining.is_empty()
    }

    /// Nothing is pending and nothing runs; what is blocked waits for others, not for us.
    pub fn is_quiescent(&self) -> bool {
        self.tally.of(State::Pending) == 0 && !self.is_anything_running()
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
