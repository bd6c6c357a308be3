//! What the vertices of the running graph watch: paths at the shared hub, keys of the store, ticks,
//! and commands.
//!
//! Refuses to interpret events: it only says which vertices they touch. That the hub
//! only looks at a path, since the kernel has no watch left, is said once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::watch::{Commands, HubHandle, POLL, Scope, Touched, Wanted, WatchError};
use crate::engine::VertexId;
use crate::kind::{Mover, Watch};

/// The hub's id of the graph file.
pub(super) const SOURCE: u64 = 0;

/// What a vertex watches: mostly one path, so that the rest costs nothing where it is empty.
struct Held {
    /// Which of its lives this is.
    epoch: u64,
    /// The first of the hub's.
    first: Option<NonZero<u64>>,
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    /// Those of the hub besides the first.
    hub: Vec<u64>,
    commands: Vec<u64>,
    /// Those of which it is not known yet whether they were started.
    starting: BTreeSet<u64>,
    keys: Vec<String>,
    /// How many ticks belong to this life.
    ticks: usize,
}

impl Held {
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// A path that is watched; no id of one is zero.
    fn hub(&mut self, id: u64) {
        match self.first {
            None => self.first = NonZero::new(id),
            Some(_) => self.more().hub.push(id),
        }
    }

    fn is_starting(&self) -> bool {
        self.more.as_ref().is_some_and(|more| !more.starting.is_empty())
    }
}

/// A moment at which a vertex is touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick {
    at: Instant,
    vertex: VertexId,
    interval: Duration,
    /// Whose tick it is: that of a vertex which was armed anew is dropped.
    epoch: u64,
}

/// What news of one watch means for its vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Whose watch it is.
    pub(super) vertex: VertexId,
    /// How the vertex is watched from now on, when that changed: why it is not, if so.
    pub(super) watching: Option<Option<String>>,
    /// Something happened to what it manages.
    pub(super) happened: bool,
}

/// All watches of the running graph.
pub(super) struct Watches {
    hub: HubHandle,
    commands: Commands,
    next: u64,
    /// Whose watch an id of the hub or of a command is.
    paths: HashMap<u64, VertexId>,
    keys: BTreeMap<String, BTreeSet<VertexId>>,
    ticks: BinaryHeap<Reverse<Tick>>,
    /// How many of the ticks belong to nobody any more.
    stale: usize,
    /// Why which watches of a vertex are not well.
    broken: HashMap<VertexId, BTreeMap<u64, String>>,
    /// Which of a vertex's paths are looked at instead of watched.
    polled: HashMap<VertexId, BTreeSet<u64>>,
    held: HashMap<VertexId, Held>,
    /// Why the graph file is not watched, and when it is looked at the next time.
    source: Option<(String, Instant)>,
}

impl Watches {
    pub(super) fn new(hub: HubHandle, commands: Commands) -> Self {
        Watches {
            hub,
            commands,
            next: SOURCE + 1,
            paths: HashMap::new(),
            keys: BTreeMap::new(),
            ticks: BinaryHeap::new(),
            stale: 0,
            broken: HashMap::new(),
            polled: HashMap::new(),
            held: HashMap::new(),
            source: None,
        }
    }

    /// Follows the graph file: looks at it every now and then when no watch is left for it.
    pub(super) async fn add_source(&mut self, path: Arc<Path>) -> Result<(), String> {
        match self.hub.add(SOURCE, path, Scope::Entry).await {
            Err(error) if !error.exhausted => Err(error.message),
            result => {
                self.source_told(result.err(), Instant::now());
                Ok(())
            }
        }
    }

    /// How the graph file is watched by now. Why it is not is said once.
    pub(super) fn source_told(&mut self, error: Option<WatchError>, now: Instant) {
        self.source = error.map(|WatchError { message, .. }| {
            if self.source.as_ref().is_none_or(|(before, _)| *before != message) {
                let seconds = POLL.as_secs();
                tracing::warn!(
                    "the graph file is looked at every {seconds} s instead of watched: {message}"
                );
            }
            (message, now + POLL)
        });
    }

    /// It is time to look at the graph file, since it is not watched.
    pub(super) fn source_due(&mut self, now: Instant) -> bool {
        let Some((_, at)) = self.source.as_mut().filter(|(_, at)| *at <= now) else {
            return false;
        };
        *at = now + POLL;
        true
    }

    /// Arms everything that these vertices watch, in one request to the hub. The error of one watch
    /// does not keep the others from being armed. Each vertex has its own answer, or, when it
    /// watches a command, has it later, with [`Watches::told`].
    pub(super) async fn add_all(
        &mut self,
        vertices: Vec<(VertexId, Vec<Watch>)>,
        now: Instant,
    ) -> Vec<(VertexId, Result<(), String>)> {
        let (mut wanted, mut answers) = (Vec::new(), Vec::with_capacity(vertices.len()));
        for (vertex, watches) in vertices {
            self.next += 1;
            let mut held = Held { epoch: self.next, first: None, more: None };
            for watch in watches {
                if let Watch::Command(line) = watch {
                    let id = self.id_of(&vertex);
                    held.more().commands.push(id);
                    held.more().starting.insert(id);
                    // Who it runs as may be looked up for long: it is told when it was started.
                    self.commands.add(id, line);
                } else if let Some((path, scope)) = self.note(&vertex, watch, &mut held, now) {
                    let id = self.id_of(&vertex);
                    held.hub(id);
                    // After an error the hub watches what it can and tells when it can do all.
                    wanted.push((answers.len(), Wanted { id, path, scope }));
                }
            }
            self.held.insert(vertex.clone(), held);
            answers.push(vertex);
        }
        let (whose, wanted): (Vec<_>, Vec<_>) =
            wanted.into_iter().map(|(at, one)| ((at, one.id), one)).unzip();
        if !wanted.is_empty() {
            for ((at, id), error) in whose.into_iter().zip(self.hub.add_all(wanted).await) {
                self.judge(id, &answers[at], error);
            }
        }
        let result = |vertex: &VertexId| self.error_of(vertex).map_or(Ok(()), Err);
        let known =
            |vertex: &VertexId| self.held.get(vertex).is_none_or(|held| !held.is_starting());
        let answers = answers.into_iter().filter(known);
        answers.map(|vertex| (vertex.clone(), result(&vertex))).collect()
    }

    /// Why the vertex is not watched in full: one broken watch is enough.
    pub(super) fn error_of(&self, vertex: &VertexId) -> Option<String> {
        self.broken.get(vertex)?.values().next().cloned()
    }

    /// What a run of the vertex announces its moves with, for the path that it watches first: the
    /// one that it manages.
    pub(super) fn mover(&self, vertex: &VertexId) -> Mover {
        let first = self.held.get(vertex).and_then(|held| held.first);
        first.map_or_else(Mover::default, |id| self.hub.mover(id.get()))
    }

    /// A new id for one of the watches of a vertex.
    fn id_of(&mut self, vertex: &VertexId) -> u64 {
        let id = self.next;
        self.next += 1;
        self.paths.insert(id, vertex.clone());
        id
    }

    /// Keeps what is neither the hub's nor a command; gives what is the hub's.
    fn note(
        &mut self,
        vertex: &VertexId,
        watch: Watch,
        held: &mut Held,
        now: Instant,
    ) -> Option<(Arc<Path>, Scope)> {
        match watch {
            Watch::Path { path, children: false } => return Some((path, Scope::Entry)),
            Watch::Path { path, children: true } => return Some((path, Scope::Children)),
            Watch::Tree(path) => return Some((path, Scope::Tree)),
            Watch::Key(key) => {
                self.keys.entry(key.clone()).or_default().insert(vertex.clone());
                held.more().keys.push(key);
            }
            Watch::Every(interval) => {
                let (at, vertex) = (now + interval, vertex.clone());
                let epoch = held.epoch;
                held.more().ticks += 1;
                self.ticks.push(Reverse(Tick { at, vertex, interval, epoch }));
            }
            Watch::Command(_) => {}
        }
        None
    }

    /// Gives up everything that a vertex watches.
    pub(super) async fn remove(&mut self, vertex: &VertexId) {
        let Some(Held { first, more, .. }) = self.held.remove(vertex) else { return };
        let More { hub, commands, keys, ticks, .. } = *more.unwrap_or_default();
        self.broken.remove(vertex);
        self.stale += ticks;
        if self.stale * 2 > self.ticks.len() {
            let lives = |tick: &Tick| {
                self.held.get(&tick.vertex).is_some_and(|held| held.epoch == tick.epoch)
            };
            self.ticks.retain(|Reverse(tick)| lives(tick));
            self.stale = 0;
        }
        for id in first.map(NonZero::get).into_iter().chain(hub) {
            self.hub.remove(id).await;
            self.paths.remove(&id);
            self.unpoll(id, vertex);
        }
        for id in commands {
            self.commands.remove(id);
            self.paths.remove(&id);
        }
        for key in keys {
            if let Some(vertices) = self.keys.get_mut(&key) {
                vertices.remove(vertex);
                if vertices.is_empty() {
                    self.keys.remove(&key);
                }
            }
        }
    }

    /// Ends the commands that are watched: in good order, or at once.
    pub(super) async fn stop(&mut self, at_once: bool) {
        self.commands.stop(at_once).await;
    }

    /// Whose watch was touched, and how the vertex is watched since then if that is another state
    /// than before: one watch that is well says nothing about the others.
    pub(super) fn told(&mut self, touched: Touched) -> Option<Told> {
        let vertex = self.paths.get(&touched.id)?.clone();
        let before = self.error_of(&vertex);
        self.judge(touched.id, &vertex, touched.error);
        let after = self.error_of(&vertex);
        let more = self.held.get_mut(&vertex).and_then(|held| held.more.as_mut());
        let starting = more.map(|more| &mut more.starting);
        let answered = starting.is_some_and(|ids| ids.remove(&touched.id) && ids.is_empty());
        let known = self.held.get(&vertex).is_some_and(|held| !held.is_starting());
        let watching = (answered || before != after && known).then_some(after);
        Some(Told { vertex, watching, happened: touched.happened })
    }

    /// What the state of one watch means: no watches left is no error, as the hub looks at
    /// the path every now and then.
    fn judge(&mut self, id: u64, vertex: &VertexId, error: Option<WatchError>) {
        let well = error.as_ref().is_none_or(|error| error.exhausted);
        if well && let Some(broken) = self.broken.get_mut(vertex) {
            broken.remove(&id);
            if broken.is_empty() {
                self.broken.remove(vertex);
            }
        }
        match error {
            Some(WatchError { message, exhausted: true }) => {
                let paths = self.polled.entry(vertex.clone()).or_default();
                if paths.is_empty() {
                    let (resource, seconds) = (&vertex.resource, POLL.as_secs());
                    tracing::warn!(
                        "{resource}: looked at every {seconds} s instead of watched: {message}"
                    );
                }
                paths.insert(id);
            }
            error => {
                self.unpoll(id, vertex);
                if let Some(WatchError { message, .. }) = error {
                    self.broken.entry(vertex.clone()).or_default().insert(id, message);
                }
            }
        }
    }

    fn unpoll(&mut self, id: u64, vertex: &VertexId) {
        let Some(paths) = self.polled.get_mut(vertex) else { return };
        paths.remove(&id);
        if paths.is_empty() {
            self.polled.remove(vertex);
        }
    }

    /// Who watches this key, or everything below a part of it that ends in a slash.
    pub(super) fn of_key(&self, key: &str) -> BTreeSet<VertexId> {
        let parts = key.match_indices('/').map(|(slash, _)| &key[..=slash]);
        let watched = parts.chain([key]).filter_map(|part| self.keys.get(part));
        watched.flatten().cloned().collect()
    }

    /// Everyone who watches any key.
    pub(super) fn of_any_key(&self) -> BTreeSet<VertexId> {
        self.keys.values().flatten().cloned().collect()
    }

    /// When the next tick is due.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let tick = self.ticks.peek().map(|Reverse(tick)| tick.at);
        let source = self.source.as_ref().map(|(_, at)| *at);
        [tick, source].into_iter().flatten().min()
    }

    /// The vertices whose tick is due; each gets its next one. Ticks that were missed are not made
    /// up for.
    pub(super) fn due(&mut self, now: Instant) -> Vec<VertexId> {
        let mut due = Vec::new();
        while let Some(Reverse(tick)) = self.ticks.peek() {
            if tick.at > now {
                break;
            }
            let Some(Reverse(tick)) = self.ticks.pop() else { break };
            let epoch = self.held.get(&tick.vertex).map(|held| held.epoch);
            if epoch != Some(tick.epoch) {
                self.stale = self.stale.saturating_sub(1);
            } else {
                let next = tick.at + tick.interval;
                let at = if next > now { next } else { now + tick.interval };
                due.push(tick.vertex.clone());
                self.ticks.push(Reverse(Tick { at, ..tick }));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests;
