//! What the naive scheduler finds wrong: each command, and what was left undone, compared with
//! what follows from scratch.

use std::collections::BTreeMap;

use super::super::{Attempt, Command, RunId, State, Timestamp, VertexId};
use super::model::{Due, Finding, HOLD, Life, Model, States, ensure};
use crate::ident::ResourceId;
use crate::kind::Outcome;
use crate::spec::{Fields, Receive, Semaphore};

impl Model {
    /// Judges one command that is not about time.
    pub(super) fn judge(&mut self, command: Command, due: &mut Due) -> Finding {
        match command {
            Command::Unwatch(vertex) => {
                ensure!(due.unwatch.remove(&vertex), "{vertex} was not to be unwatched");
            }
            Command::Watch(vertex) => {
                ensure!(due.watch.remove(&vertex.resource), "{vertex} was not to be watched");
                ensure!(self.ever.insert(vertex.clone()), "{vertex} was there before");
                let life = self.lives.get_mut(&vertex.resource).expect("it was foreseen");
                life.vertex = vertex;
            }
            Command::Run { vertex, run, refresh, received } => {
                self.judge_run(&vertex, run, refresh, &received)?;
            }
            Command::Cancel { vertex, run } => {
                let known = due.cancel.remove(&(vertex, run));
                ensure!(known, "{run:?} was not to be cancelled");
            }
            Command::Stopped => {
                ensure!(self.stopping, "stopped unasked");
                ensure!(self.flights.is_empty(), "stopped while {} run", self.flights.len());
                self.stops += 1;
            }
            Command::Converged(_) | Command::WakeAt(_) => {}
        }
        Ok(())
    }

    fn judge_run(
        &mut self,
        vertex: &VertexId,
        run: RunId,
        refresh: bool,
        received: &Fields,
    ) -> Finding {
        ensure!(!self.paused && !self.stopping, "{vertex} runs in a pause or after a stop");
        ensure!(run.0 > self.runs, "{run:?} was used before");
        self.runs = run.0;
        let states = self.states();
        let why = self.hindrance(&vertex.resource, &states);
        ensure!(why.is_none(), "{vertex} runs although {}", why.unwrap_or_default());
        let life = &self.lives[&vertex.resource];
        ensure!(life.vertex == *vertex, "{vertex} is gone");
        ensure!(refresh != life.refreshes.is_empty(), "{vertex} runs with refresh: {refresh}");
        let earlier = |other: &Life| other.waiting < life.waiting;
        let lock = self.locked(&vertex.resource, earlier);
        ensure!(lock.is_none(), "{vertex} runs although {lock:?} is taken");
        let value = |one: &Receive| self.lives.get(&one.from)?.sent.get(&one.key).cloned();
        let all = life.spec.receives.iter();
        let expected: Fields =
            all.filter_map(|(field, one)| Some((field.clone(), value(one)?))).collect();
        ensure!(*received == expected, "{vertex} receives {received:?}, not {expected:?}");
        self.begin(vertex, run);
        Ok(())
    }

    /// A lock of this vertex that has no room, when these others that wait for it count too.
    fn locked(&self, id: &ResourceId, before: impl Fn(&Life) -> bool) -> Option<&Semaphore> {
        let wants = |life: &Life, lock| life.meta().sema.contains(lock);
        self.lives[id].meta().sema.iter().find(|lock| {
            let held = self.flights.iter().filter(|flight| flight.locks.contains(lock)).count();
            let others = self.lives.iter().filter(|(other, life)| {
                *other != id && life.waiting.is_some() && wants(life, lock) && before(life)
            });
            held + others.count() >= lock.count() as usize
        })
    }

    /// Why a vertex may not start a run, whatever the mode and the locks; `None` when it has to.
    pub(super) fn hindrance(&self, id: &ResourceId, states: &States<'_>) -> Option<String> {
        let life = &self.lives[id];
        if life.watch != Some(Ok(())) {
            return Some("its watch is not armed".into());
        }
        if !life.is_dirty() {
            return Some("there is no reason".into());
        }
        if self.flights.iter().any(|flight| flight.vertex.resource == *id) {
            return Some("another run of it is under way".into());
        }
        let bad = self
            .predecessors(id)
            .find(|from| !matches!(states[from], State::Ok | State::WouldChange))?;
        Some(format!("{bad} is {}", states[bad]))
    }

    fn predecessors<'a>(&'a self, id: &'a ResourceId) -> impl Iterator<Item = &'a ResourceId> {
        let edges = self.graph.iter().flat_map(|graph| graph.edges.keys());
        edges.filter(move |(_, to)| to == id).map(|(from, _)| from)
    }

    /// The states of all, worked out in the order of names, which in these graphs is an order of
    /// the edges.
    pub(super) fn states(&self) -> States<'_> {
        let mut states = BTreeMap::new();
        for (id, life) in &self.lives {
            let bad = |from| matches!(states.get(from), Some(State::Failed | State::Blocked));
            let wants = life.is_dirty() || life.stirred.is_some();
            let state = match (life.is_running(), &life.watch, &life.last) {
                (true, ..) => State::Running,
                (false, Some(Err(_)), _) => State::Failed,
                _ if wants && self.predecessors(id).any(bad) => State::Blocked,
                _ if wants => State::Pending,
                (_, _, Some(Err(_))) => State::Failed,
                (_, _, Some(Ok(Outcome::WouldChange(_)))) => State::WouldChange,
                _ => State::Ok,
            };
            states.insert(id, state);
        }
        states
    }

    /// Nothing that had to start was left out.
    pub(super) fn judge_rest(&self, states: &States<'_>) -> Finding {
        let waiting = |id: &&ResourceId| self.hindrance(id, states).is_none();
        let open = !self.paused && !self.stopping;
        let waiting: Vec<&ResourceId> = self.lives.keys().filter(waiting).collect();
        for id in waiting.iter().filter(|_| open) {
            let since = self.lives[*id].waiting;
            let lock = self.locked(id, |other| other.waiting <= since);
            ensure!(lock.is_some(), "{id} should run and does not");
        }
        let free = self.flights.iter().all(|flight| flight.locks.is_empty());
        ensure!(!open || !free || waiting.is_empty(), "{waiting:?} wait for locks nobody holds");
        let over = self.stopping && self.flights.is_empty();
        ensure!(self.stops == usize::from(over), "stopped {} times", self.stops);
        Ok(())
    }

    pub(super) fn judge_states(&self, states: &States<'_>) -> Finding {
        let views: Vec<_> = self.engine.vertices().collect();
        ensure!(views.len() == states.len(), "{} vertices, not {}", views.len(), states.len());
        for (view, (id, state)) in views.iter().zip(states) {
            let life = &self.lives[*id];
            ensure!(*view.id == life.vertex, "{} is not {}", view.id, life.vertex);
            ensure!(view.state == *state, "{id} is {state}, not {}", view.state);
            ensure!(view.error.is_some() == (*state == State::Failed), "{id}: {:?}", view.error);
            let by: Vec<_> = view.blocked_by.iter().map(|by| states[*by]).collect();
            ensure!(by.is_empty() != (*state == State::Blocked), "{id} is {state} by {by:?}");
            let bad = by.iter().all(|by| matches!(by, State::Failed | State::Blocked));
            ensure!(bad, "{id} is blocked by {by:?}");
            let retry = life.retry_at.map(|at| Attempt { at, left: life.left() });
            ensure!(view.retry == retry, "{id} is tried again {:?}, not {retry:?}", view.retry);
        }
        let summary = self.engine.summary();
        let count = |state| states.values().filter(|of| **of == state).count();
        ensure!(summary.running == self.flights.len(), "{} run", summary.running);
        ensure!(summary.pending == count(State::Pending), "{} pending", summary.pending);
        ensure!(summary.ok == count(State::Ok), "{} ok", summary.ok);
        let listed = (summary.would_change, summary.failed.len(), summary.blocked.len());
        let counted = (State::WouldChange, State::Failed, State::Blocked);
        let counted = (count(counted.0), count(counted.1), count(counted.2));
        ensure!(listed == counted, "{listed:?} are not {counted:?}");
        Ok(())
    }

    /// Nothing is pending or runs, and nobody has a last attempt ahead.
    pub(super) fn is_quiet(&self) -> bool {
        let busy = |(id, state): (&ResourceId, State)| {
            matches!(state, State::Pending | State::Running) && !self.lives[id].only_looks()
        };
        let awaited = self.lives.values().any(Life::is_awaited);
        let here = |flight: &super::model::Flight| {
            self.lives.get(&flight.vertex.resource).is_some_and(|life| life.vertex == flight.vertex)
        };
        let over = self.flights.iter().all(here) && !awaited;
        let due = self.graph.is_some() && self.complete;
        due && over && !self.states().into_iter().any(busy)
    }

    pub(super) fn judge_time(&mut self, said: &[bool]) -> Finding {
        let before = self.converged;
        let mut due = None;
        if !self.stopping {
            let disturbed = std::mem::take(&mut self.disturbed);
            let since = self.quiet_since.filter(|_| !disturbed);
            let since = self.is_quiet().then(|| since.unwrap_or(self.now));
            self.quiet_since = since;
            due = since.map(|since| since.after(HOLD));
            let still = before && !disturbed;
            self.converged = due.is_some_and(|due| still || self.now >= due);
            due = due.filter(|_| !self.converged);
        }
        let next = self.next_time().into_iter().chain(due).min();
        let asked = self.stops > 0 || next.is_none() || self.wake == next;
        ensure!(asked, "{next:?} is due, but {:?} was asked for", self.wake);
        let expected: &[bool] = if self.converged == before { &[] } else { &[self.converged] };
        ensure!(said == expected, "converged: {said:?} said, {expected:?} expected");
        ensure!(self.engine.is_converged() == self.converged, "converged: {before}");
        Ok(())
    }

    /// The next time that anybody waits for.
    fn next_time(&self) -> Option<Timestamp> {
        let flights = self.flights.iter().filter(|flight| !flight.cancelled);
        let lives = self.lives.values().flat_map(|life| {
            let token = life.stirred.flatten().filter(|_| !life.is_running());
            [token, life.poll, life.retry_at]
        });
        flights.map(|flight| flight.deadline).chain(lives).flatten().min()
    }

    /// The vertices of the graph, with whether their watch is armed.
    pub(super) fn vertices(&self) -> Vec<(VertexId, bool)> {
        let lives = self.lives.values();
        lives.map(|life| (life.vertex.clone(), life.watch == Some(Ok(())))).collect()
    }

    /// Every touch was followed by the start of a run.
    pub(super) fn judge_touches(&self) -> Finding {
        for life in self.lives.values() {
            ensure!(life.touched <= life.started, "an event of {} was lost", life.vertex);
        }
        Ok(())
    }
}
