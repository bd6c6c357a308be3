//! One agent as a value: the pure parts of the real one, and a shell that only moves data between
//! them. Refuses to know time, other hosts and luck: the world tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate::collect::presence::{Me, Standing, standing};
use quorate::collect::publish::{Plan, plan, wanted};
use quorate::collect::record::Presence;
use quorate::collect::roster::Roster;
use quorate::collect::{self, Policy, keys};
use quorate::engine::{Command, Engine, Event, Options, RunId, Timestamp, VertexId};
use quorate::graph::{self, Graph, Vertex};
use quorate::ident::{HostName, ResourceId};
use quorate::kind::Outcome;
use quorate::matching;
use quorate::spec::{Collected, Fields, Program};
use quorate::store::{Batch, Compare, LeaseId, Op, Snapshot, Txn};
use quorate::yaml;

/// What the world has to do for an agent.
pub(crate) enum Deed {
    Arm(VertexId),
    Run(VertexId, RunId),
    Cancel(RunId),
    Wake(u64),
}

/// One life of an agent process.
pub(crate) struct Agent {
    host: HostName,
    me: Me,
    born: u64,
    pub(crate) engine: Engine,
    pub(crate) graph: Arc<Graph>,
    program: Program,
    collected: Vec<Collected>,
    roster: Roster,
    /// All was read at least once since the connection was made.
    pub(crate) complete: bool,
    seen: i64,
    written: i64,
    lease: Option<LeaseId>,
    session: Option<String>,
    pub(crate) armed: BTreeSet<VertexId>,
    pub(crate) flights: BTreeMap<RunId, VertexId>,
    /// Vertices that ended well at least once in this life.
    well: BTreeSet<VertexId>,
    /// When it was converged last.
    pub(crate) converged: Option<u64>,
}

/// What an agent wants the store to do.
pub(crate) struct Wish {
    pub(crate) txns: Vec<Txn>,
    /// A lease that has to be there; its presence goes with the last transaction.
    pub(crate) claim: Option<Claim>,
}

/// The presence that an agent wants.
pub(crate) struct Claim {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
}

impl Agent {
    pub(crate) fn new(host: &HostName, run: u64, text: &str, born: u64) -> Agent {
        let converged_after = Some(Duration::from_secs(1));
        Agent {
            host: host.clone(),
            me: Me { instance: format!("{host}'s folder"), run: run.to_string() },
            born,
            engine: Engine::new(Options { converged_after }),
            graph: Arc::default(),
            program: understood(text),
            collected: Vec::new(),
            roster: Roster::default(),
            complete: false,
            seen: 0,
            written: 0,
            lease: None,
            session: None,
            armed: BTreeSet::new(),
            flights: BTreeMap::new(),
            well: BTreeSet::new(),
            converged: None,
        }
    }

    /// Sends an event to the engine and judges what it commands.
    pub(crate) fn feed(&mut self, now: u64, event: Event) -> Result<Vec<Deed>, String> {
        let mut deeds = Vec::new();
        let since = Timestamp(Duration::from_millis(now - self.born));
        for command in self.engine.step(since, event) {
            match command {
                Command::Watch(vertex) => deeds.push(Deed::Arm(vertex)),
                Command::Unwatch(vertex) => drop(self.armed.remove(&vertex)),
                Command::Run { vertex, run, .. } => {
                    self.judge(&vertex)?;
                    if self.flights.insert(run, vertex.clone()).is_some() {
                        return Err(format!("{run:?} was used before"));
                    }
                    deeds.push(Deed::Run(vertex, run));
                }
                Command::Cancel { run, .. } => deeds.push(Deed::Cancel(run)),
                Command::WakeAt(at) => {
                    let millis = at.0.as_nanos().div_ceil(1_000_000) as u64;
                    deeds.push(Deed::Wake(self.born + millis));
                }
                Command::Converged(true) => self.converged = Some(now),
                Command::Converged(false) | Command::Stopped => {}
            }
        }
        if self.engine.is_converged() {
            self.converged = Some(now);
        }
        Ok(deeds)
    }

    /// A run may start: alone, after all of its predecessors, within its locks.
    fn judge(&self, vertex: &VertexId) -> Result<(), String> {
        let busy = |id: &ResourceId| self.flights.values().any(|one| one.resource == *id);
        let id = &vertex.resource;
        if busy(id) {
            return Err(format!("{vertex} runs twice at once"));
        }
        let done = |id: &ResourceId| self.well.iter().any(|one| one.resource == *id);
        for (from, _) in self.graph.edges.keys().filter(|(_, to)| to == id) {
            if busy(from) || !done(from) {
                return Err(format!("{vertex} runs before {from} is done"));
            }
        }
        for lock in &self.graph.vertices[id].meta.sema {
            let holds = |one: &&VertexId| {
                let vertex = self.graph.vertices.get(&one.resource);
                vertex.is_some_and(|vertex| vertex.meta.sema.contains(lock))
            };
            if self.flights.values().filter(holds).count() >= lock.count() as usize {
                return Err(format!("{vertex} runs beyond {lock:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn vertex(&self, vertex: &VertexId) -> Option<&Vertex> {
        self.graph.vertices.get(&vertex.resource).map(|found| &**found)
    }

    /// A run has ended; the answer to it.
    pub(crate) fn ended(&mut self, run: RunId, result: Result<Outcome, String>) -> Option<Event> {
        let vertex = self.flights.remove(&run)?;
        if result.is_ok() {
            self.well.insert(vertex.clone());
        }
        Some(Event::Finished { vertex, run, result, sent: Fields::new() })
    }

    /// Another text in the file.
    pub(crate) fn edit(&mut self, text: &str) {
        self.program = understood(text);
    }

    /// The event that the current program and exports make.
    pub(crate) fn rebuild(&mut self) -> Event {
        let exports = self.roster.exports();
        let rules = &self.program.collect;
        let taken =
            collect::run(&exports, rules, &self.host, &self.program, &self.collected).resources;
        let compiled = graph::compile(&self.program, &taken).expect("the program is good");
        self.collected = taken;
        self.graph = Arc::new(compiled.graph);
        Event::Graph(self.graph.clone())
    }

    /// Everything anew; true when the exports differ.
    pub(crate) fn reset(&mut self, exports: Snapshot, presence: Snapshot) -> bool {
        self.seen = exports.revision.min(presence.revision);
        let differs = self.roster.replace(&keys::exports_prefix(), exports);
        let first = !std::mem::replace(&mut self.complete, true);
        self.roster.replace(&keys::presence_prefix(), presence) || differs || first
    }

    /// What changed; true when the exports differ.
    pub(crate) fn change(&mut self, batch: Batch) -> bool {
        self.seen = self.seen.max(batch.revision);
        self.roster.apply(batch.changes)
    }

    /// The connection is lost; what was known stays.
    pub(crate) fn lost(&mut self) {
        self.complete = false;
    }

    /// The lease to keep alive.
    pub(crate) fn lease(&mut self) -> &mut Option<LeaseId> {
        &mut self.lease
    }

    /// What has to be written now; nothing before earlier writes are seen.
    pub(crate) fn publish(&mut self) -> Option<Wish> {
        if !self.complete || self.seen < self.written {
            return None;
        }
        let own = self.roster.own(&self.host);
        let (key, wanted) = (
            keys::presence(&self.host),
            wanted(&self.program, &matching::Me::new(self.host.clone()), &Policy::Absent),
        );
        let fresh = format!("{} {}", self.host, self.me.run);
        match standing(&self.me, self.roster.present(&self.host), &own, self.written) {
            Standing::Taken { .. } => None,
            Standing::Ours { lease, session, revision } => {
                self.lease = Some(lease);
                self.session = Some(session.clone());
                let plan = plan(&self.host, &own, &wanted, &self.me.session(&session));
                Some(Wish { txns: guarded(plan, Compare::Revision(key, revision)), claim: None })
            }
            Standing::Free { replaces } => {
                let session = self.session.get_or_insert(fresh).clone();
                let mut plan = plan(&self.host, &own, &wanted, &self.me.session(&session));
                if plan.txns.is_empty() {
                    plan.txns.push(Txn::default());
                }
                self.written = self.seen;
                let guard = match replaces {
                    Some(revision) => Compare::Revision(key.clone(), revision),
                    None => Compare::Missing(key.clone()),
                };
                let value = Presence::new(&self.me.instance, &session).encode();
                Some(Wish { txns: guarded(plan, guard), claim: Some(Claim { key, value }) })
            }
        }
    }

    /// A write is known to be made at this revision.
    pub(crate) fn wrote(&mut self, revision: i64) {
        self.written = revision;
    }
}

fn guarded(plan: Plan, guard: Compare) -> Vec<Txn> {
    let mut txns = plan.txns;
    txns.iter_mut().for_each(|txn| txn.when.push(guard.clone()));
    txns
}

/// Binds a claim to a lease.
pub(crate) fn claimed(claim: Claim, lease: LeaseId) -> Op {
    Op::Put { key: claim.key, value: claim.value, lease: Some(lease) }
}

fn understood(text: &str) -> Program {
    let (program, found) = yaml::parse(text);
    program.unwrap_or_else(|| panic!("{found:?}\n{text}"))
}
