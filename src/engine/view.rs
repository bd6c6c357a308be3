//! What is shown of the engine: states of vertices, and the summary that decides about exit
//! codes.
//!
//! Refuses to change anything.

use std::fmt;

use super::slot::Phase;
use super::{Engine, Timestamp, VertexId};
use crate::ident::ResourceId;
use crate::kind::Outcome;

/// The state of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Has to run and waits: for its watch, for predecessors, or for a pause to end.
    Pending,
    /// A run is under way.
    Running,
    /// Was right, or was made right.
    Ok,
    /// Is not right and was left so, since it must not change anything.
    WouldChange,
    /// Its last run failed, or it cannot be watched.
    Failed,
    /// Has to run, but a direct predecessor failed or is itself blocked.
    Blocked,
}

/// All states, in the order in which people read them.
const STATES: [State; 6] =
    [State::Pending, State::Running, State::Ok, State::WouldChange, State::Failed, State::Blocked];

/// How a vertex stands towards its successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// They may run.
    Well,
    /// They wait.
    Unsettled,
    /// They are blocked.
    Bad,
}

impl State {
    /// The word for it in status output.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Ok => "ok",
            State::WouldChange => "would-change",
            State::Failed => "failed",
            State::Blocked => "blocked",
        }
    }

    pub(super) fn standing(self) -> Standing {
        match self {
            State::Pending | State::Running => Standing::Unsettled,
            State::Ok | State::WouldChange => Standing::Well,
            State::Failed | State::Blocked => Standing::Bad,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many vertices are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally([usize; STATES.len()]);

impl Tally {
    pub(super) fn of(self, state: State) -> usize {
        self.0[state as usize]
    }

    pub(super) fn enter(&mut self, state: State) {
        self.0[state as usize] += 1;
    }

    pub(super) fn shift(&mut self, old: State, new: State) {
        self.0[old as usize] -= 1;
        self.0[new as usize] += 1;
    }
}

/// One vertex as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexView<'a> {
    /// Which life of which resource.
    pub id: &'a VertexId,
    /// Its state.
    pub state: State,
    /// Why it failed; `None` in every other state.
    pub error: Option<&'a str>,
    /// What its last run did, if that was good.
    pub outcome: Option<&'a Outcome>,
    /// When it entered its state.
    pub since: Timestamp,
    /// Direct predecessors that failed or are blocked, in the order of ids; empty unless it is
    /// blocked.
    pub blocked_by: Vec<&'a ResourceId>,
    /// When it is tried again by itself; `None` when it is not.
    pub retry: Option<Attempt>,
}

/// The next attempt of a vertex that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it comes.
    pub at: Timestamp,
    /// How many there are at most, this one included; `None` when there is no end of them.
    pub left: Option<u32>,
}

/// A vertex that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub id: ResourceId,
    /// Why.
    pub error: String,
}

/// A vertex that cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockage {
    /// Which.
    pub id: ResourceId,
    /// Its direct predecessors that failed or are blocked; never empty.
    pub by: Vec<ResourceId>,
}

/// The whole graph in a few numbers, with those named that somebody has to look after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Vertices that have to run and can or will.
    pub pending: usize,
    /// Runs under way, those of vertices that left the graph included.
    pub running: usize,
    /// Vertices that are right.
    pub ok: usize,
    /// Vertices that were only looked at and are not right.
    pub would_change: usize,
    /// Vertices that failed, in the order of ids.
    pub failed: Vec<Failure>,
    /// Vertices that wait for failed ones, in the order of ids.
    pub blocked: Vec<Blockage>,
}

impl Summary {
    /// Nobody failed and nobody is blocked.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.blocked.is_empty()
    }
}

impl Engine {
    /// All vertices of the graph in the order of their ids.
    pub fn vertices(&self) -> impl Iterator<Item = VertexView<'_>> {
        (0..self.slots.len()).map(|at| self.view(at))
    }

    fn view(&self, at: usize) -> VertexView<'_> {
        let slot = &self.slots[at];
        let blocked = slot.state == State::Blocked;
        let bad = slot.predecessors.iter().map(|from| &self.slots[*from]);
        let bad = bad.filter(|from| blocked && from.state.standing() == Standing::Bad);
        VertexView {
            id: &slot.id,
            state: slot.state,
            error: slot.error().filter(|_| slot.state == State::Failed),
            outcome: slot.last.as_ref().and_then(|last| last.as_ref().ok()),
            since: slot.since,
            blocked_by: bad.map(|from| &from.id.resource).collect(),
            retry: slot.retries.at.map(|at| {
                let left = slot.retries.left(&slot.vertex.meta).map(|left| left.saturating_add(1));
                Attempt { at, left }
            }),
        }
    }

    /// How many vertices are in this state.
    pub fn count(&self, state: State) -> usize {
        self.tally.of(state)
    }

    /// Counts, and who failed or is blocked.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            pending: self.tally.of(State::Pending),
            running: self.tally.of(State::Running) + self.draining.len(),
            ok: self.tally.of(State::Ok),
            would_change: self.tally.of(State::WouldChange),
            ..Summary::default()
        };
        for view in self.vertices() {
            let id = view.id.resource.clone();
            match view.state {
                State::Failed => {
                    let error = view.error.unwrap_or_default().to_owned();
                    summary.failed.push(Failure { id, error });
                }
                State::Blocked => {
                    let by = view.blocked_by.into_iter().cloned().collect();
                    summary.blocked.push(Blockage { id, by });
                }
                _ => {}
            }
        }
        summary
    }

    /// The vertices with a run under way, those that left the graph included: whom a shutdown
    /// waits for.
    pub fn running(&self) -> impl Iterator<Item = &VertexId> {
        let gone = self.draining.values().map(|gone| &gone.vertex);
        let here = self.slots.iter().filter(|slot| matches!(slot.phase, Phase::Running(_)));
        gone.chain(here.map(|slot| &slot.id))
    }
}
