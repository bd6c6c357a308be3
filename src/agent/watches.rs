//! What the vertices of the running graph watch: paths at the shared hub, keys of the store, ticks,
//! and commands.
//!
//! Refuses to interpret events: it only says which vertices they touch.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::PathBuf;

use tokio::time::{Duration, Instant};

use super::watch::{Commands, HubHandle};
use crate::engine::VertexId;
use crate::kind::Watch;

/// The hub's id of the graph file.
pub(super) const SOURCE: u64 = 0;

#[derive(Default)]
struct Held {
    hub: Vec<u64>,
    commands: Vec<u64>,
    keys: Vec<String>,
}

/// All watches of the running graph.
pub(super) struct Watches {
    hub: HubHandle,
    commands: Commands,
    next: u64,
    /// Whose watch an id of the hub or of a command is.
    paths: HashMap<u64, VertexId>,
    keys: BTreeMap<String, BTreeSet<VertexId>>,
    ticks: BinaryHeap<Reverse<(Instant, VertexId, Duration)>>,
    held: HashMap<VertexId, Held>,
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
            held: HashMap::new(),
        }
    }

    /// Follows the graph file.
    pub(super) async fn add_source(&self, path: PathBuf) -> Result<(), String> {
        self.hub.add(SOURCE, path, false).await
    }

    /// Arms everything that a vertex watches. The error of one watch does not keep the others from
    /// being armed.
    pub(super) async fn add(
        &mut self,
        vertex: &VertexId,
        watches: Vec<Watch>,
        now: Instant,
    ) -> Result<(), String> {
        let mut held = Held::default();
        let mut result = Ok(());
        for watch in watches {
            match watch {
                Watch::Path { path, children } => {
                    let id = self.next;
                    self.next += 1;
                    // After an error the hub watches what it can and tells when it can do all.
                    self.paths.insert(id, vertex.clone());
                    held.hub.push(id);
                    if let Err(why) = self.hub.add(id, path, children).await {
                        result = Err(why);
                    }
                }
                Watch::Key(key) => {
                    self.keys.entry(key.clone()).or_default().insert(vertex.clone());
                    held.keys.push(key);
                }
                Watch::Command(line) => {
                    let id = self.next;
                    self.next += 1;
                    // After an error it is tried again and again, and told when it runs.
                    self.paths.insert(id, vertex.clone());
                    held.commands.push(id);
                    if let Err(why) = self.commands.add(id, line).await {
                        result = Err(why);
                    }
                }
                Watch::Every(interval) => {
                    self.ticks.push(Reverse((now + interval, vertex.clone(), interval)));
                }
            }
        }
        self.held.insert(vertex.clone(), held);
        result
    }

    /// Gives up everything that a vertex watches.
    pub(super) async fn remove(&mut self, vertex: &VertexId) {
        let Some(held) = self.held.remove(vertex) else { return };
        for id in held.hub {
            self.hub.remove(id).await;
            self.paths.remove(&id);
        }
        for id in held.commands {
            self.commands.remove(id);
            self.paths.remove(&id);
        }
        for key in held.keys {
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

    /// Whose watch this id of the hub or of a command is.
    pub(super) fn of_path(&self, id: u64) -> Option<VertexId> {
        self.paths.get(&id).cloned()
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
        self.ticks.peek().map(|Reverse((at, ..))| *at)
    }

    /// The vertices whose tick is due; each gets its next one. Ticks that were missed are not made
    /// up for.
    pub(super) fn due(&mut self, now: Instant) -> Vec<VertexId> {
        let mut due = Vec::new();
        while let Some(Reverse((at, ..))) = self.ticks.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((at, vertex, interval))) = self.ticks.pop() else { break };
            if self.held.contains_key(&vertex) {
                let next = if at + interval > now { at + interval } else { now + interval };
                self.ticks.push(Reverse((next, vertex.clone(), interval)));
                due.push(vertex);
            }
        }
        due
    }
}
