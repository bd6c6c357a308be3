//! A second, naive scheduler that only judges: after every step it works out from scratch what
//! must and must not have been commanded, with no counters and no worklist, and says what is
//! wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Command, Engine, Event, Options, RunId, State, Timestamp, VertexId};
use crate::graph::{Graph, Vertex};
use crate::ident::ResourceId;
use crate::kind::Outcome;

/// How long all must be quiet.
pub(super) const HOLD: Duration = Duration::from_secs(1);

/// A claim that ends the judgement when it does not hold.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}
pub(super) use ensure;

type Finding = Result<(), String>;

/// The state of every vertex.
type States<'a> = BTreeMap<&'a ResourceId, State>;

/// A run under way, as seen from its vertex.
struct Running {
    run: RunId,
    started: u64,
    tick: bool,
    overtaken: bool,
}

/// One life of a resource. Numbers are readings of the model's clock, which ticks with every
/// event.
struct Life {
    vertex: VertexId,
    spec: Vertex,
    watch: Option<Result<(), String>>,
    running: Option<Running>,
    /// The newest reason to run, and the start of the last finished run.
    reason: u64,
    checked: u64,
    refreshes: BTreeMap<ResourceId, u64>,
    tick: bool,
    troubled: bool,
    last: Option<Result<Outcome, String>>,
    touched: u64,
    started: u64,
}

/// The engine under test with its judge.
pub(super) struct Model {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    clock: u64,
    pub(super) graph: Option<Arc<Graph>>,
    lives: BTreeMap<ResourceId, Life>,
    /// Runs that were started and not answered, in the order of their start.
    pub(super) flights: Vec<(VertexId, RunId)>,
    /// Every vertex there ever was.
    pub(super) ever: BTreeSet<VertexId>,
    runs: u64,
    paused: bool,
    pub(super) stopping: bool,
    hurried: bool,
    pub(super) stops: usize,
    converged: bool,
    quiet_since: Option<Timestamp>,
    wake: Option<Timestamp>,
}

/// What a step may command once each.
#[derive(Default)]
struct Due {
    unwatch: BTreeSet<VertexId>,
    watch: BTreeSet<ResourceId>,
    cancel: BTreeSet<(VertexId, RunId)>,
}

impl Model {
    pub(super) fn new() -> Self {
        Model {
            engine: Engine::new(Options { converged_after: Some(HOLD) }),
            now: Timestamp::default(),
            clock: 0,
            graph: None,
            lives: BTreeMap::new(),
            flights: Vec::new(),
            ever: BTreeSet::new(),
            runs: 0,
            paused: false,
            stopping: false,
            hurried: false,
            stops: 0,
            converged: false,
            quiet_since: None,
            wake: None,
        }
    }

    /// Sends an event, judges the answer, and says how many commands it had.
    pub(super) fn send(&mut self, event: Event) -> Result<usize, String> {
        self.clock += 1;
        let mut due = self.foresee(&event);
        let commands = self.engine.step(self.now, event);
        let count = commands.len();
        let mut said = Vec::new();
        for command in commands {
            match command {
                Command::Converged(converged) => said.push(converged),
                Command::WakeAt(at) => self.wake = Some(at),
                command => self.judge(command, &mut due)?,
            }
        }
        let Due { unwatch, watch, cancel } = &due;
        ensure!(unwatch.is_empty(), "still watched: {unwatch:?}");
        ensure!(watch.is_empty(), "not watched: {watch:?}");
        ensure!(cancel.is_empty(), "not cancelled: {cancel:?}");
        let states = self.states();
        self.judge_rest(&states)?;
        self.judge_states(&states)?;
        let bad = |(id, state): (&ResourceId, State)| {
            matches!(state, State::Failed | State::Blocked).then(|| id.clone())
        };
        let bad: Vec<ResourceId> = states.into_iter().filter_map(bad).collect();
        for id in &bad {
            self.lives.get_mut(id).expect("it has a state").troubled = true;
        }
        self.judge_time(&said)?;
        Ok(count)
    }

    /// Takes the event into the model, and says which commands must come of it.
    fn foresee(&mut self, event: &Event) -> Due {
        let mut due = Due::default();
        match event {
            Event::Graph(graph) if !self.stopping => self.swap(graph, &mut due),
            Event::Watching { vertex, error } => self.watching(vertex, error.clone()),
            Event::Touched(vertex) => self.touched(vertex),
            Event::Finished { vertex, run, result } => self.finished(vertex, *run, result),
            Event::Due => self.wake = None,
            Event::Pause => self.paused = true,
            Event::Resume => self.paused = false,
            Event::Stop => self.stopping = true,
            Event::Hurry => {
                if !std::mem::replace(&mut self.hurried, true) {
                    due.cancel = self.flights.iter().cloned().collect();
                }
                self.stopping = true;
            }
            Event::Graph(_) => {}
        }
        due
    }

    fn swap(&mut self, graph: &Arc<Graph>, due: &mut Due) {
        let mut old = std::mem::take(&mut self.lives);
        for (id, spec) in &graph.vertices {
            let former = old.remove(id);
            let life = match former {
                Some(life) if life.spec == *spec => life,
                former => {
                    due.watch.insert(id.clone());
                    let refreshes = former.map_or_else(BTreeMap::new, |life| {
                        due.unwatch.insert(life.vertex);
                        life.refreshes
                    });
                    self.born(id, spec, refreshes)
                }
            };
            self.lives.insert(id.clone(), life);
        }
        due.unwatch.extend(old.into_values().map(|life| life.vertex));
        for (id, life) in &mut self.lives {
            life.refreshes.retain(|from, _| {
                let edge = graph.edges.get(&(from.clone(), id.clone()));
                let ticks = graph.vertices.get(from).is_some_and(ticks);
                edge.is_some_and(|edge| edge.notify || ticks)
            });
        }
        self.graph = Some(graph.clone());
    }

    /// A vertex that is expected to be watched; the answer tells its generation.
    fn born(&self, id: &ResourceId, spec: &Vertex, refreshes: BTreeMap<ResourceId, u64>) -> Life {
        Life {
            vertex: VertexId { resource: id.clone(), generation: 0 },
            spec: spec.clone(),
            watch: None,
            running: None,
            reason: self.clock,
            checked: 0,
            refreshes,
            tick: false,
            troubled: true,
            last: None,
            touched: 0,
            started: 0,
        }
    }

    fn life(&mut self, vertex: &VertexId) -> Option<&mut Life> {
        self.lives.get_mut(&vertex.resource).filter(|life| life.vertex == *vertex)
    }

    fn watching(&mut self, vertex: &VertexId, error: Option<String>) {
        let clock = self.clock;
        let Some(life) = self.life(vertex) else { return };
        if error.is_none() && life.watch.is_some() {
            life.reason = clock;
        }
        life.watch = Some(error.map_or(Ok(()), Err));
    }

    fn touched(&mut self, vertex: &VertexId) {
        let clock = self.clock;
        let Some(life) = self.life(vertex) else { return };
        life.reason = clock;
        life.touched = clock;
        life.tick |= ticks(&life.spec);
    }

    fn finished(&mut self, vertex: &VertexId, run: RunId, result: &Result<Outcome, String>) {
        self.flights.retain(|(of, id)| (of, *id) != (vertex, run));
        let clock = self.clock;
        let Some(life) = self.life(vertex) else { return };
        let Some(ended) = life.running.take_if(|running| running.run == run) else { return };
        life.checked = ended.started;
        life.last = Some(result.clone());
        let Ok(outcome) = result else {
            life.troubled = true;
            life.tick |= ended.tick;
            if ended.overtaken {
                life.reason = clock;
            }
            return;
        };
        life.refreshes.retain(|_, since| *since > ended.started);
        let recovered = std::mem::take(&mut life.troubled);
        let changed = match outcome {
            Outcome::Changed(_) => true,
            Outcome::Unchanged => ended.tick,
            Outcome::WouldChange(_) => false,
        };
        let changed = changed && !life.spec.meta.noop;
        let always = ticks(&life.spec);
        self.spread(&vertex.resource, changed, recovered, always);
    }

    fn spread(&mut self, from: &ResourceId, changed: bool, recovered: bool, always: bool) {
        let Some(graph) = self.graph.clone() else { return };
        let edges = graph.edges.iter().filter(|((first, _), _)| first == from);
        for ((_, to), edge) in edges {
            let Some(life) = self.lives.get_mut(to) else { continue };
            if changed && (edge.notify || always) {
                life.reason = self.clock;
                life.refreshes.insert(from.clone(), self.clock);
            } else if changed || recovered {
                match &mut life.running {
                    Some(running) => running.overtaken = true,
                    None if matches!(life.last, Some(Err(_))) => life.reason = self.clock,
                    None => {}
                }
            }
        }
    }

    /// Judges one command that is not about time.
    fn judge(&mut self, command: Command, due: &mut Due) -> Finding {
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
            Command::Run { vertex, run, refresh } => self.judge_run(vertex, run, refresh)?,
            Command::Cancel { vertex, run } => {
                let known = due.cancel.remove(&(vertex, run));
                ensure!(known, "{run:?} was not to be cancelled");
            }
            Command::Stopped => {
                ensure!(self.stopping, "stopped unasked");
                ensure!(self.flights.is_empty(), "stopped while {:?} run", self.flights);
                self.stops += 1;
            }
            Command::Converged(_) | Command::WakeAt(_) => {}
        }
        Ok(())
    }

    fn judge_run(&mut self, vertex: VertexId, run: RunId, refresh: bool) -> Finding {
        ensure!(!self.paused && !self.stopping, "{vertex} runs in a pause or after a stop");
        ensure!(run.0 > self.runs, "{run:?} was used before");
        self.runs = run.0;
        let states = self.states();
        let why = self.hindrance(&vertex.resource, &states);
        ensure!(why.is_none(), "{vertex} runs although {}", why.unwrap_or_default());
        let clock = self.clock;
        let Some(life) = self.life(&vertex) else { return Err(format!("{vertex} is gone")) };
        ensure!(refresh != life.refreshes.is_empty(), "{vertex} runs with refresh: {refresh}");
        let tick = std::mem::take(&mut life.tick);
        life.running = Some(Running { run, started: clock, tick, overtaken: false });
        life.started = clock;
        self.flights.push((vertex, run));
        Ok(())
    }

    /// Why a vertex may not start a run, whatever the mode; `None` when it has to.
    fn hindrance(&self, id: &ResourceId, states: &States<'_>) -> Option<String> {
        let life = &self.lives[id];
        if life.watch != Some(Ok(())) {
            return Some("its watch is not armed".into());
        }
        if life.reason <= life.checked {
            return Some("there is no reason".into());
        }
        if self.flights.iter().any(|(vertex, _)| vertex.resource == *id) {
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
    fn states(&self) -> States<'_> {
        let mut states = BTreeMap::new();
        for (id, life) in &self.lives {
            let bad = |from| matches!(states.get(from), Some(State::Failed | State::Blocked));
            let state = match (&life.running, &life.watch, &life.last) {
                (Some(_), ..) => State::Running,
                (None, Some(Err(_)), _) => State::Failed,
                _ if life.reason > life.checked && self.predecessors(id).any(bad) => State::Blocked,
                _ if life.reason > life.checked => State::Pending,
                (_, _, Some(Err(_))) => State::Failed,
                (_, _, Some(Ok(Outcome::WouldChange(_)))) => State::WouldChange,
                _ => State::Ok,
            };
            states.insert(id, state);
        }
        states
    }

    /// Nothing that had to start was left out.
    fn judge_rest(&self, states: &States<'_>) -> Finding {
        for id in self.lives.keys().filter(|_| !self.paused && !self.stopping) {
            let why = self.hindrance(id, states);
            ensure!(why.is_some(), "{id} should run and does not");
        }
        let over = self.stopping && self.flights.is_empty();
        ensure!(self.stops == usize::from(over), "stopped {} times", self.stops);
        Ok(())
    }

    fn judge_states(&self, states: &States<'_>) -> Finding {
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

    /// Nothing is pending or runs.
    pub(super) fn is_quiet(&self) -> bool {
        let busy = |state: &State| matches!(state, State::Pending | State::Running);
        self.graph.is_some() && self.flights.is_empty() && !self.states().values().any(busy)
    }

    fn judge_time(&mut self, said: &[bool]) -> Finding {
        let before = self.converged;
        if !self.stopping {
            let since = self.is_quiet().then(|| self.quiet_since.unwrap_or(self.now));
            self.quiet_since = since;
            let due = since.map(|since| since.after(HOLD));
            self.converged = due.is_some_and(|due| before || self.now >= due);
            let waits = due.is_none() || self.converged || self.wake == due;
            ensure!(waits, "{due:?} is due, but {:?} was asked for", self.wake);
        }
        let expected: &[bool] = if self.converged == before { &[] } else { &[self.converged] };
        ensure!(said == expected, "converged: {said:?} said, {expected:?} expected");
        ensure!(self.engine.is_converged() == self.converged, "converged: {before}");
        Ok(())
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

fn ticks(spec: &Vertex) -> bool {
    spec.resource.event_is_change()
}
