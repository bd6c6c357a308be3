//! Random schedules of swaps, failures, pauses, events and ends, each step judged by the model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Event, RunId};
use super::model::{Model, ensure};
use super::world::{edge, id, sent, vertex};
use crate::graph::Graph;
use crate::kind::Outcome;
use crate::spec::{Fields, Limit, Meta, Receive, Retry, Semaphore};

/// All that there can be; an edge leads from an earlier one to a later one.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// Of these, which only look, and which tick.
const NOOP: usize = 2;
const TICKS: usize = 1;

/// How many versions of a vertex there are; each has its meta parameters.
const VERSIONS: usize = 5;

/// Steps of one schedule, beside those at its end.
const STEPS: usize = 100;

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Unchanged,
    Changed,
    WouldChange,
    Failed,
}

/// One step. Numbers pick among what there is, so that every step means something in every
/// situation.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// An unrelated graph.
    Graph(u64),
    /// A graph that is different in one point.
    Change(u64),
    SameGraph,
    Arm(usize),
    Break(usize),
    Touch(usize),
    Finish(usize, End),
    Pause,
    Resume,
    Pass(u64),
    /// Time passes, but nobody says so.
    Linger(u64),
    Stale(usize),
    Revive,
    Complete(bool),
    Stop,
    Hurry,
}

/// A small random number generator (splitmix64), so that a seed gives the same schedule
/// everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }
}

fn op(dice: &mut Dice) -> Op {
    let (kind, seed) = (dice.below(100), dice.roll());
    let pick = seed as usize & 0xFFFF;
    match kind {
        0..2 => Op::Graph(seed),
        2..12 => Op::Change(seed),
        12..14 => Op::SameGraph,
        14..32 => Op::Arm(pick),
        32..34 => Op::Break(pick),
        34..46 => Op::Touch(pick),
        46..54 => Op::Finish(pick, End::Unchanged),
        54..68 => Op::Finish(pick, End::Changed),
        68..70 => Op::Finish(pick, End::WouldChange),
        70..78 => Op::Finish(pick, End::Failed),
        78..82 => Op::Pause,
        82..89 => Op::Resume,
        89..94 => Op::Pass(seed % 1_500),
        94..96 => Op::Linger(seed % 1_500),
        96 => Op::Revive,
        97 => Op::Complete(seed % 3 > 0),
        _ => Op::Stale(pick),
    }
}

/// What a graph is made from: versions of vertices and edges between them.
#[derive(Clone, Default)]
struct Plan {
    versions: [Option<i64>; NAMES.len()],
    edges: BTreeMap<(usize, usize), Link>,
}

/// What an edge is for.
#[derive(Clone, Copy)]
enum Link {
    Order,
    Notify,
    Receive,
}

impl Link {
    fn of(dice: &mut Dice) -> Link {
        [Link::Order, Link::Order, Link::Notify, Link::Notify, Link::Receive][dice.below(5)]
    }
}

/// The meta parameters of one version of a vertex; half of all have none.
fn meta(at: usize, version: i64) -> Meta {
    let mut dice = Dice(at as u64 * 1_000 + version as u64);
    let mut meta = Meta { noop: at == NOOP, ..Meta::default() };
    if dice.below(2) == 0 {
        return meta;
    }
    let millis = |n: usize| Duration::from_millis(n as u64);
    meta.retry = [Retry::Times(0), Retry::Times(1), Retry::Times(3), Retry::Forever][dice.below(4)];
    meta.delay = [Duration::ZERO, millis(400), millis(2_500)][dice.below(3)];
    meta.retryreset = dice.below(3) > 0;
    meta.rewatch = dice.below(3) == 0;
    meta.timeout = (dice.below(3) == 0).then(|| millis(700));
    meta.poll = (dice.below(4) == 0).then(|| millis(1_300));
    let burst = 1 + dice.below(3) as u32;
    meta.limit = (dice.below(3) == 0).then(|| Limit { every: millis(900), burst });
    for lock in ["x", "y", "z:2"] {
        if dice.below(3) == 0 {
            meta.hold(Semaphore::parse(lock).unwrap());
        }
    }
    meta
}

impl Plan {
    fn random(seed: u64) -> Plan {
        let mut dice = Dice(seed);
        let mut plan = Plan::default();
        for version in &mut plan.versions {
            *version = (dice.below(4) > 0).then(|| dice.below(VERSIONS) as i64);
        }
        for to in 1..NAMES.len() {
            for from in 0..to {
                if dice.below(4) == 0 {
                    plan.edges.insert((from, to), Link::of(&mut dice));
                }
            }
        }
        plan
    }

    /// Comes, goes or changes: one vertex or one edge.
    fn change(&mut self, seed: u64) {
        let mut dice = Dice(seed);
        let to = dice.below(NAMES.len());
        let version = &mut self.versions[to];
        if dice.below(2) == 0 || to == 0 {
            *version = if dice.below(3) == 0 { None } else { Some(dice.below(VERSIONS) as i64) };
            return;
        }
        let pair = (dice.below(to), to);
        match dice.below(3) {
            0 => drop(self.edges.remove(&pair)),
            _ => drop(self.edges.insert(pair, Link::of(&mut dice))),
        }
    }

    fn graph(&self) -> Arc<Graph> {
        let mut graph = Graph::default();
        for (at, version) in self.versions.iter().enumerate() {
            if let Some(version) = version {
                let made = vertex(NAMES[at], *version, meta(at, *version), at == TICKS);
                graph.vertices.insert(id(NAMES[at]), Arc::new(made));
            }
        }
        for ((from, to), link) in &self.edges {
            if self.versions[*from].is_none() {
                continue;
            }
            let (from, to) = (id(NAMES[*from]), id(NAMES[*to]));
            let Some(receiver) = graph.vertices.get_mut(&to) else { continue };
            if matches!(link, Link::Receive) {
                let receive = Receive { from: from.clone(), key: "out".to_owned() };
                Arc::make_mut(receiver).receives.insert(from.name().to_owned(), receive);
            }
            graph.edges.insert((from, to), edge(matches!(link, Link::Notify)));
        }
        Arc::new(graph)
    }
}

/// A schedule under way.
struct Trial {
    model: Model,
    plan: Plan,
}

impl Trial {
    fn apply(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Graph(seed) => {
                self.plan = Plan::random(seed);
                self.send(Event::Graph(self.plan.graph()))
            }
            Op::Change(seed) => {
                self.plan.change(seed);
                self.send(Event::Graph(self.plan.graph()))
            }
            Op::SameGraph => self.same(),
            Op::Arm(pick) => self.arm(pick),
            Op::Break(pick) => self.watching(pick, Some("no watches left".into())),
            Op::Touch(pick) => match self.pick(pick) {
                Some(vertex) => self.send(Event::Touched(vertex)),
                None => Ok(()),
            },
            Op::Finish(pick, end) => self.finish(pick, end),
            Op::Pause => self.twice(Event::Pause),
            Op::Resume => self.twice(Event::Resume),
            Op::Pass(millis) => {
                self.linger(millis);
                self.send(Event::Due)
            }
            Op::Linger(millis) => {
                self.linger(millis);
                Ok(())
            }
            Op::Stale(pick) => self.stale(pick),
            Op::Revive => self.twice(Event::Revive),
            Op::Complete(complete) => self.twice(Event::Complete(complete)),
            Op::Stop => self.twice(Event::Stop),
            Op::Hurry => self.twice(Event::Hurry),
        }
    }

    fn send(&mut self, event: Event) -> Result<(), String> {
        self.model.send(event).map(drop)
    }

    /// The second time nothing may come of it.
    fn twice(&mut self, event: Event) -> Result<(), String> {
        self.send(event.clone())?;
        let count = self.model.send(event.clone())?;
        ensure!(count == 0, "{event:?} is not idempotent: {count} commands");
        Ok(())
    }

    fn same(&mut self) -> Result<(), String> {
        self.send(Event::Due)?;
        if self.model.graph.is_none() {
            return Ok(());
        }
        let count = self.model.send(Event::Graph(self.plan.graph()))?;
        ensure!(count == 0, "an equal graph gave {count} commands");
        Ok(())
    }

    fn linger(&mut self, millis: u64) {
        self.model.now = self.model.now.after(Duration::from_millis(millis));
    }

    fn pick(&self, pick: usize) -> Option<super::super::VertexId> {
        let vertices = self.model.vertices();
        vertices.get(pick % vertices.len().max(1)).map(|(vertex, _)| vertex.clone())
    }

    /// Arms one that is not armed; now and then one that is.
    fn arm(&mut self, pick: usize) -> Result<(), String> {
        let vertices = self.model.vertices();
        let unarmed: Vec<_> = vertices.iter().filter(|(_, armed)| !armed).collect();
        match unarmed.get(pick % unarmed.len().max(1)) {
            Some((vertex, _)) => self.send(Event::Watching { vertex: vertex.clone(), error: None }),
            None if pick.is_multiple_of(5) => self.watching(pick, None),
            None => Ok(()),
        }
    }

    fn watching(&mut self, pick: usize, error: Option<String>) -> Result<(), String> {
        match self.pick(pick) {
            Some(vertex) => self.send(Event::Watching { vertex, error }),
            None => Ok(()),
        }
    }

    fn finish(&mut self, pick: usize, end: End) -> Result<(), String> {
        let flights = &self.model.flights;
        let Some(flight) = flights.get(pick % flights.len().max(1)) else { return Ok(()) };
        let (vertex, run) = (flight.vertex.clone(), flight.run);
        let result = match end {
            End::Unchanged => Ok(Outcome::Unchanged),
            End::Changed => Ok(Outcome::Changed("made right".into())),
            End::WouldChange => Ok(Outcome::WouldChange("would be made right".into())),
            End::Failed => Err("out of order".into()),
        };
        let sent = match pick / 16 % 4 {
            0 => Fields::new(),
            number => sent(number as i64 % 2),
        };
        self.send(Event::Finished { vertex, run, result, sent })
    }

    /// What concerns another life, or a run that is not under way, changes nothing.
    fn stale(&mut self, pick: usize) -> Result<(), String> {
        self.send(Event::Due)?;
        let here = self.model.vertices();
        let gone = self.model.ever.iter().filter(|old| !here.iter().any(|(now, _)| now == *old));
        let gone: Vec<_> = gone.cloned().collect();
        let mut events: Vec<Event> = Vec::new();
        if let Some(vertex) = gone.get(pick % gone.len().max(1)).cloned() {
            events.push(Event::Touched(vertex.clone()));
            events.push(Event::Watching { vertex: vertex.clone(), error: None });
            let (result, sent) = (Err("old".into()), Fields::new());
            events.push(Event::Finished { vertex, run: RunId(0), result, sent });
        }
        if let Some(vertex) = self.pick(pick) {
            let result = Ok(Outcome::Changed("never asked for".into()));
            let (run, sent) = (RunId(u64::MAX), sent(7));
            events.push(Event::Finished { vertex, run, result, sent });
        }
        for event in events {
            let text = format!("{event:?}");
            let count = self.model.send(event)?;
            ensure!(count == 0, "{text} gave {count} commands");
        }
        Ok(())
    }

    /// Answers everything, each run in this way, and lets time pass until it is converged; or, when
    /// somebody looks again every so often, until all is quiet.
    fn settle(&mut self, end: End) -> Result<(), String> {
        self.send(Event::Complete(true))?;
        for _ in 0..10_000 {
            let unarmed = self.model.vertices().iter().any(|(_, armed)| !armed);
            let polls = self.model.lives.values().any(|life| life.poll.is_some());
            if !self.model.flights.is_empty() || unarmed {
                self.arm(1)?;
                self.finish(0, end)?;
            } else if self.model.converged || polls && self.model.is_quiet() {
                return Ok(());
            } else {
                let wake = self.model.wake.ok_or("it waits for nothing and is not converged")?;
                self.model.now = self.model.now.max(wake);
                self.send(Event::Due)?;
            }
        }
        Err("it never comes to rest".into())
    }

    /// The end of every schedule: at rest with failures, at rest without, and stopped once.
    fn finale(&mut self) -> Result<(), String> {
        if !self.model.stopping && self.model.graph.is_some() {
            self.send(Event::Resume)?;
            for end in [End::Failed, End::Unchanged] {
                self.settle(end)?;
                for (vertex, _) in self.model.vertices() {
                    self.send(Event::Touched(vertex))?;
                }
            }
            self.settle(End::Unchanged)?;
            self.model.judge_touches()?;
            ensure!(self.model.engine.summary().is_clean(), "all went well, and somebody failed");
        }
        self.send(Event::Stop)?;
        for _ in 0..self.model.flights.len() {
            self.finish(0, End::Failed)?;
        }
        ensure!(self.model.stops == 1, "stopped {} times", self.model.stops);
        Ok(())
    }
}

/// Carries out a schedule and says at which step what was wrong.
fn attempt(ops: &[Op]) -> Result<(), String> {
    let mut trial = Trial { model: Model::new(), plan: Plan::default() };
    for (step, op) in ops.iter().enumerate() {
        trial.apply(*op).map_err(|error| format!("step {step}, {op:?}: {error}"))?;
    }
    trial.finale().map_err(|error| format!("at the end: {error}"))
}

/// The schedule of a seed. One in four is stopped on the way, and of these one in two hurried.
fn schedule(seed: u64) -> Vec<Op> {
    let mut dice = Dice(seed);
    let mut ops = vec![Op::Graph(dice.roll())];
    ops.extend((0..STEPS).map(|_| op(&mut dice)));
    if dice.below(4) == 0 {
        ops.insert(dice.below(STEPS) + 1, Op::Stop);
        if dice.below(2) == 0 {
            ops.insert(dice.below(STEPS) + 1, Op::Hurry);
        }
    }
    ops
}

/// Names the seed when a step panics instead of answering.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// The schedules that are tried. The environment may ask for more, or for one that failed.
fn schedules() -> std::ops::Range<u64> {
    let asked = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
    };
    match asked("QUORATE_SCHEDULE") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("QUORATE_SCHEDULES").unwrap_or(400),
    }
}

/// What only the model knows: vertices wait for locks, deadlines, tokens, attempts and values, in
/// every mix.
#[test]
fn random_schedules_of_everything_violate_nothing() {
    for seed in schedules() {
        let _named = Named(seed);
        if let Err(error) = attempt(&schedule(seed)) {
            panic!("{error}");
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let rare = prop_oneof![20 => Just(None), 1 => Just(Some(Op::Stop)), 1 => Just(Some(Op::Hurry))];
    (any::<u64>(), rare).prop_map(|(seed, rare)| rare.unwrap_or_else(|| op(&mut Dice(seed))))
}

proptest! {
    // A finding is kept as a table test or as a seed, not as a file beside the sources.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 100,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_schedule_at_all_violates_anything(
        first in any::<u64>(),
        rest in proptest::collection::vec(any_op(), 0..60),
    ) {
        let ops: Vec<Op> = std::iter::once(Op::Graph(first)).chain(rest).collect();
        let found = attempt(&ops);
        prop_assert!(found.is_ok(), "{}", found.unwrap_err());
    }
}
