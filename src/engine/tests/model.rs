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
use crate::spec::{Fields, Limit, Meta, Retry, Semaphore};

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

pub(super) type Finding = Result<(), String>;

/// The state of every vertex.
pub(super) type States<'a> = BTreeMap<&'a ResourceId, State>;

/// A run under way, as seen from its vertex.
struct Running {
    run: RunId,
    started: u64,
    tick: bool,
    overtaken: bool,
    echo: bool,
}

/// A run under way, as seen from outside: it outlives its vertex.
pub(super) struct Flight {
    pub(super) vertex: VertexId,
    pub(super) run: RunId,
    pub(super) locks: Vec<Semaphore>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) cancelled: bool,
    late: bool,
}

/// Tokens, counted in the nanoseconds that each takes to come; below zero what is owed.
struct Tokens {
    limit: Limit,
    level: i128,
    at: Timestamp,
}

impl Tokens {
    fn new(limit: Limit, at: Timestamp) -> Self {
        let level = (limit.every * limit.burst).as_nanos() as i128;
        Tokens { limit, level, at }
    }

    /// Takes one, or says when there is one.
    fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let one = self.limit.every.as_nanos() as i128;
        self.owe(now);
        if self.level >= 0 {
            return Ok(());
        }
        let lacks = Duration::from_nanos(-self.level as u64);
        self.level += one;
        Err(now.after(lacks))
    }

    fn owe(&mut self, now: Timestamp) {
        let come = self.level + (now.0 - self.at.0).as_nanos() as i128;
        let full = (self.limit.every * self.limit.burst).as_nanos() as i128;
        self.level = come.min(full) - self.limit.every.as_nanos() as i128;
        self.at = now;
    }
}

/// One life of a resource. Numbers are readings of the model's clock, which ticks with every
/// event.
pub(super) struct Life {
    pub(super) vertex: VertexId,
    pub(super) spec: Vertex,
    pub(super) watch: Option<Result<(), String>>,
    running: Option<Running>,
    /// The newest reason to run, and the start of the last finished run.
    pub(super) reason: u64,
    pub(super) checked: u64,
    pub(super) refreshes: BTreeMap<ResourceId, u64>,
    tick: bool,
    troubled: bool,
    pub(super) last: Option<Result<Outcome, String>>,
    pub(super) touched: u64,
    pub(super) started: u64,
    tokens: Option<Tokens>,
    /// Something happened, and when there is a token for it.
    pub(super) stirred: Option<Option<Timestamp>>,
    echo: bool,
    echoed: bool,
    pub(super) poll: Option<Timestamp>,
    /// All that it is to run for is that it looks every so often, and all was right.
    looks: bool,
    used: u32,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) sent: Fields,
    /// Since when it could run but for locks.
    pub(super) waiting: Option<u64>,
}

impl Life {
    pub(super) fn meta(&self) -> &Meta {
        &self.spec.meta
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.reason > self.checked
    }

    /// How many attempts are left, the next one included.
    pub(super) fn left(&self) -> Option<u32> {
        match self.meta().retry {
            Retry::Times(times) => Some(u32::from(times) + 1 - self.used),
            Retry::Forever => None,
        }
    }

    fn prompt(&mut self, clock: u64) {
        self.reason = clock;
        self.stirred = None;
        self.looks = false;
        self.retry_at = None;
        if matches!(self.last, Some(Err(_))) {
            self.used = 0;
        }
    }

    /// An event is a reason; it is news unless nobody watches.
    fn hear(&mut self, clock: u64) {
        let used = self.used;
        self.prompt(clock);
        if self.meta().poll.is_some() {
            self.used = used;
        }
    }

    /// An event, from the watch or from the clock.
    fn stir(&mut self, clock: u64, now: Timestamp) {
        self.touched = clock;
        self.looks = false;
        self.tick |= ticks(&self.spec);
        if self.tokens.is_none() {
            return self.hear(clock);
        }
        match &self.running {
            Some(running) if self.reason <= running.started => self.stirred = Some(None),
            Some(_) => {}
            None if self.is_dirty() => {}
            None => {
                self.stirred = Some(None);
                self.admit(clock, now);
            }
        }
    }

    fn admit(&mut self, clock: u64, now: Timestamp) {
        let looks = self.looks;
        let Some(tokens) = &mut self.tokens else { return };
        let echo = std::mem::take(&mut self.echo);
        match if echo { Ok(()) } else { tokens.take(now) } {
            Ok(()) => {
                self.hear(clock);
                (self.echoed, self.looks) = (echo, looks);
            }
            Err(next) => self.stirred = Some(Some(next)),
        }
    }

    /// The time before the next attempt, as the documents say it.
    fn wait(&self) -> Duration {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let meta = self.meta();
        if meta.retry != Retry::Forever && meta.delay > Duration::ZERO {
            return meta.delay;
        }
        let first = meta.delay.max(second);
        let mut wait = first;
        for _ in 1..self.used {
            wait = (wait * 2).min(first.max(minute));
        }
        wait
    }

    /// Its last run failed: another attempt comes, unless there is a reason for one anyway.
    fn failed(&mut self, now: Timestamp) {
        if self.is_dirty() {
            self.used = if self.meta().poll.is_some() { self.used } else { 0 };
        } else if self.meta().retry != Retry::Times(self.used as u16) {
            self.used += 1;
            self.retry_at = Some(now.after(self.wait()));
        }
    }

    /// It runs, or is to run, only to look.
    pub(super) fn only_looks(&self) -> bool {
        self.looks
    }

    /// The next attempt is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.retry_at.is_some() && self.meta().retry != Retry::Forever
    }
}

/// The engine under test with its judge.
pub(super) struct Model {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    pub(super) clock: u64,
    pub(super) graph: Option<Arc<Graph>>,
    pub(super) lives: BTreeMap<ResourceId, Life>,
    /// Runs that were started and not answered, in the order of their start.
    pub(super) flights: Vec<Flight>,
    /// Every vertex there ever was.
    pub(super) ever: BTreeSet<VertexId>,
    pub(super) runs: u64,
    pub(super) paused: bool,
    pub(super) complete: bool,
    pub(super) stopping: bool,
    hurried: bool,
    pub(super) stops: usize,
    pub(super) converged: bool,
    /// One that only looked has done something.
    pub(super) disturbed: bool,
    pub(super) quiet_since: Option<Timestamp>,
    pub(super) wake: Option<Timestamp>,
}

/// What a step may command once each.
#[derive(Default)]
pub(super) struct Due {
    pub(super) unwatch: BTreeSet<VertexId>,
    pub(super) watch: BTreeSet<ResourceId>,
    pub(super) cancel: BTreeSet<(VertexId, RunId)>,
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
            complete: true,
            stopping: false,
            hurried: false,
            stops: 0,
            converged: false,
            disturbed: false,
            quiet_since: None,
            wake: None,
        }
    }

    /// Sends an event, judges the answer, and says how many commands it had.
    pub(super) fn send(&mut self, event: Event) -> Result<usize, String> {
        self.clock += 1;
        let mut due = self.foresee(&event);
        self.queue_up();
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
            Event::Touched(vertex) => {
                let (clock, now) = (self.clock, self.now);
                if let Some(life) = self.life(vertex) {
                    life.stir(clock, now);
                }
            }
            Event::Finished { vertex, run, result, sent } => {
                self.finished(vertex, *run, result.clone(), sent);
            }
            Event::Due => self.come_due(&mut due),
            Event::Revive => {
                let clock = self.clock;
                for id in self.failed() {
                    self.lives.get_mut(&id).expect("it has a state").prompt(clock);
                }
            }
            Event::Complete(complete) => self.complete = *complete,
            Event::Pause => self.paused = true,
            Event::Resume => self.paused = false,
            Event::Stop => self.stopping = true,
            Event::Hurry => {
                if !std::mem::replace(&mut self.hurried, true) {
                    for flight in self.flights.iter_mut().filter(|flight| !flight.cancelled) {
                        flight.cancelled = true;
                        due.cancel.insert((flight.vertex.clone(), flight.run));
                    }
                }
                self.stopping = true;
            }
            Event::Graph(_) => {}
        }
        due
    }

    fn failed(&self) -> Vec<ResourceId> {
        let states = self.states();
        let failed = states.into_iter().filter(|(_, state)| *state == State::Failed);
        failed.map(|(id, _)| id.clone()).collect()
    }

    /// Everything whose time has come.
    fn come_due(&mut self, due: &mut Due) {
        self.wake = None;
        let (clock, now) = (self.clock, self.now);
        let well = |state: &State| matches!(state, State::Ok | State::WouldChange);
        let states = self.states().into_iter().filter(|(_, state)| well(state));
        let well: BTreeSet<ResourceId> = states.map(|(id, _)| id.clone()).collect();
        for flight in &mut self.flights {
            if !flight.cancelled && flight.deadline.is_some_and(|at| at <= now) {
                (flight.cancelled, flight.late) = (true, true);
                due.cancel.insert((flight.vertex.clone(), flight.run));
            }
        }
        for (id, life) in &mut self.lives {
            if !life.is_running() && life.stirred.is_some() {
                life.admit(clock, now);
            }
            if life.retry_at.is_some_and(|at| at <= now) {
                let used = life.used;
                life.prompt(clock);
                life.used = used;
            }
            if let (Some(at), Some(every)) = (life.poll, life.spec.meta.poll)
                && at <= now
            {
                life.poll = Some(if at.after(every) <= now { now } else { at }.after(every));
                let rests = well.contains(id) && !life.is_dirty() && life.stirred.is_none();
                life.stir(clock, now);
                life.looks = rests;
            }
        }
    }

    fn swap(&mut self, graph: &Arc<Graph>, due: &mut Due) {
        let different = self.graph.as_ref().is_some_and(|old| old != graph);
        let anew: Vec<ResourceId> = if different { self.failed() } else { Vec::new() };
        let mut old = std::mem::take(&mut self.lives);
        for (id, spec) in &graph.vertices {
            let former = old.remove(id);
            let anew = spec.meta.rewatch && anew.contains(id);
            let life = match former {
                Some(life) if life.spec == **spec && !anew => life,
                former => {
                    due.watch.insert(id.clone());
                    let mut born = self.born(id, spec);
                    if let Some(life) = former {
                        born.tick = life.tick || life.running.is_some_and(|run| run.tick);
                        born.refreshes = life.refreshes;
                        due.unwatch.insert(life.vertex);
                    }
                    born
                }
            };
            self.lives.insert(id.clone(), life);
        }
        due.unwatch.extend(old.into_values().map(|life| life.vertex));
        for (id, life) in &mut self.lives {
            life.refreshes.retain(|from, _| {
                let edge = graph.edges.get(&(from.clone(), id.clone()));
                let ticks = graph.vertices.get(from).is_some_and(|one| ticks(one));
                edge.is_some_and(|edge| edge.notify || ticks)
            });
        }
        self.graph = Some(graph.clone());
    }

    /// A vertex that is expected to be watched; the answer tells its generation.
    fn born(&self, id: &ResourceId, spec: &Vertex) -> Life {
        Life {
            vertex: VertexId { resource: id.clone(), generation: 0 },
            spec: spec.clone(),
            watch: None,
            running: None,
            reason: self.clock,
            checked: 0,
            refreshes: BTreeMap::new(),
            tick: false,
            troubled: true,
            last: None,
            touched: 0,
            started: 0,
            tokens: spec.meta.limit.map(|limit| Tokens::new(limit, self.now)),
            stirred: None,
            echo: false,
            echoed: false,
            looks: false,
            poll: spec.meta.poll.map(|every| self.now.after(every)),
            used: 0,
            retry_at: None,
            sent: Fields::new(),
            waiting: None,
        }
    }

    fn life(&mut self, vertex: &VertexId) -> Option<&mut Life> {
        self.lives.get_mut(&vertex.resource).filter(|life| life.vertex == *vertex)
    }

    fn watching(&mut self, vertex: &VertexId, error: Option<String>) {
        let clock = self.clock;
        let Some(life) = self.life(vertex) else { return };
        if error.is_none() {
            life.prompt(clock);
        }
        life.watch = Some(error.map_or(Ok(()), Err));
    }

    fn finished(
        &mut self,
        vertex: &VertexId,
        run: RunId,
        result: Result<Outcome, String>,
        sent: &Fields,
    ) {
        let flown = |flight: &Flight| flight.vertex == *vertex && flight.run == run;
        let flight = self.flights.iter().position(flown).map(|at| self.flights.remove(at));
        let (flown, late) = (flight.is_some(), flight.is_some_and(|flight| flight.late));
        let (clock, now) = (self.clock, self.now);
        if self.life(vertex).is_none() {
            // It left. What it changed is owed by whoever came in its place.
            let heir = self.lives.get_mut(&vertex.resource).filter(|_| flown);
            if let (Some(heir), Ok(Outcome::Changed(_))) = (heir, &result) {
                heir.tick = true;
            }
        }
        let Some(life) = self.life(vertex) else { return };
        let Some(ended) = life.running.take_if(|running| running.run == run) else { return };
        life.checked = ended.started;
        let as_before = matches!(result, Ok(Outcome::Unchanged | Outcome::WouldChange(_)));
        let disturbs = std::mem::take(&mut life.looks) && (late || !as_before);
        self.disturbed |= disturbs;
        let Some(life) = self.life(vertex) else { return };
        let in_vain = matches!(result, Ok(Outcome::Unchanged));
        if let (true, Some(tokens)) = (ended.echo && !in_vain, &mut life.tokens) {
            tokens.owe(now);
        }
        let changed = match &result {
            Ok(Outcome::Changed(_)) => true,
            Ok(Outcome::Unchanged) => ended.tick,
            Ok(Outcome::WouldChange(_)) | Err(_) => false,
        };
        let changed = changed && !life.meta().noop;
        if late || result.is_err() {
            life.last = Some(if late { Err("no result within its time".into()) } else { result });
            life.troubled = true;
            life.tick |= ended.tick || changed;
            life.echo = false;
            if ended.overtaken {
                life.prompt(clock);
            }
            if life.stirred.is_some() {
                life.admit(clock, now);
            }
            return life.failed(now);
        }
        life.refreshes.retain(|_, since| *since > ended.started);
        let recovered = std::mem::take(&mut life.troubled);
        let made = matches!(result, Ok(Outcome::Changed(_)));
        life.echo = made && life.meta().poll.is_none() && !ended.echo;
        life.last = Some(result);
        if life.meta().retryreset {
            life.used = 0;
        }
        if life.stirred.is_some() {
            life.admit(clock, now);
        }
        let mut news = sent.clone();
        news.retain(|key, value| life.sent.get(key) != Some(value));
        life.sent.extend(news.clone());
        let always = ticks(&life.spec);
        self.deliver(&vertex.resource, &news);
        self.spread(&vertex.resource, changed, recovered, always);
    }

    fn deliver(&mut self, from: &ResourceId, news: &Fields) {
        let clock = self.clock;
        for life in self.lives.values_mut() {
            let mut receives = life.spec.receives.values();
            if receives.any(|one| one.from == *from && news.contains_key(&one.key)) {
                life.prompt(clock);
            }
        }
    }

    fn spread(&mut self, from: &ResourceId, changed: bool, recovered: bool, always: bool) {
        let Some(graph) = self.graph.clone() else { return };
        let edges = graph.edges.iter().filter(|((first, _), _)| first == from);
        for ((_, to), edge) in edges {
            let Some(life) = self.lives.get_mut(to) else { continue };
            if changed && (edge.notify || always) {
                life.prompt(self.clock);
                life.refreshes.insert(from.clone(), self.clock);
            } else if changed || recovered {
                match &mut life.running {
                    Some(running) => running.overtaken = true,
                    None if matches!(life.last, Some(Err(_))) => life.prompt(self.clock),
                    None => {}
                }
            }
        }
    }

    /// Notes who could run but for locks, and since when.
    fn queue_up(&mut self) {
        let states = self.states();
        let ready: BTreeSet<ResourceId> =
            self.lives.keys().filter(|id| self.hindrance(id, &states).is_none()).cloned().collect();
        for (id, life) in &mut self.lives {
            life.waiting = ready.contains(id).then(|| life.waiting.unwrap_or(self.clock));
        }
    }

    /// A run begins.
    pub(super) fn begin(&mut self, vertex: &VertexId, run: RunId) {
        let (clock, now) = (self.clock, self.now);
        let Some(life) = self.life(vertex) else { return };
        let (tick, echo) = (std::mem::take(&mut life.tick), std::mem::take(&mut life.echoed));
        life.running = Some(Running { run, started: clock, tick, overtaken: false, echo });
        life.started = clock;
        life.waiting = None;
        let deadline = life.meta().timeout.map(|timeout| now.after(timeout));
        let (locks, vertex) = (life.meta().sema.clone(), vertex.clone());
        let flight = Flight { vertex, run, locks, deadline, cancelled: false, late: false };
        self.flights.push(flight);
    }
}

pub(super) fn ticks(spec: &Vertex) -> bool {
    spec.resource.event_is_change()
}
