//! The loop: sources in, engine events through, commands out.
//!
//! Refuses to decide: it keeps the last good program, the running graph and the handles, and moves
//! data between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::desired::{self, Desired};
use super::durable::{self, Durable};
use super::exchange::{ExportsView, PublishView, Reins, StoreState};
use super::ladder::{Signal, Stage};
use super::later::Waiting;
use super::receivers::{Found, Receivers};
use super::reload::{Loaded, Reading, warn_each};
use super::runs::{Finished, Runs};
use super::settings::Settings;
use super::socket::{Request, Socket};
use super::source::Source;
use super::start::{Heard, Signals, since_1970};
use super::watch::{CommandNews, HubError, Touched};
use super::watches::{SOURCE, Told, Watches};
use super::{EXIT_FAILED, EXIT_TIME};
use crate::cluster::ClusterStatus;
use crate::cluster::shell::Order;
use crate::collect::Grants;
use crate::collect::Local;
use crate::collect::convergence::Said;
use crate::collect::publish::Published;
use crate::diag;
use crate::engine::{Command, Engine, Event, RunId, Timestamp, VertexId};
use crate::graph::Graph;
use crate::ident::{HostName, ResourceId};
use crate::kind::{Context, Managed, Outbox, Watch};
use crate::matching::Me;
use crate::metrics::Counters;
use crate::spec::{Collected, Fields};
use crate::store::follow::Follow;
use crate::store::{Change, Store};

/// How many touched paths are fed before the loop looks at its other sources again, and how many
/// watches are armed with one request: enough that neither counts for each.
const TOGETHER: usize = 256;

/// How often the loop goes on at once: a thread that has runs to do may be the one that polls it.
const ROUNDS: u32 = 64;

/// Everything that the loop keeps.
pub(super) struct Body {
    pub(super) settings: Settings,
    pub(super) state_dir: Arc<Path>,
    pub(super) instance: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) cluster: Option<watch::Receiver<ClusterStatus>>,
    pub(super) publish: watch::Sender<Option<Vec<Published>>>,
    pub(super) exports: watch::Receiver<ExportsView>,
    pub(super) reins: Reins,
    pub(super) published: watch::Receiver<PublishView>,
    pub(super) say: watch::Sender<Option<Said>>,
    pub(super) heard: watch::Receiver<BTreeMap<HostName, Said>>,
    /// The digest of the exports that the running graph was made with.
    pub(super) seen: String,

    pub(super) source: Arc<Source>,
    /// What its program manages.
    pub(super) local: Local,
    /// What the site says about hosts and exports.
    pub(super) granted: watch::Receiver<Arc<Grants>>,
    pub(super) grants: Arc<Grants>,
    /// This host, with its labels.
    pub(super) me: Me,
    pub(super) reading: Reading,
    pub(super) graph_error: Option<String>,
    pub(super) graph: Arc<Graph>,
    pub(super) managed: Managed,
    pub(super) generation: u64,
    pub(super) messages: Vec<String>,
    pub(super) collected: Vec<Collected>,
    /// What the next run has to remove if it is gone by then, as it is kept.
    pub(super) owed: Vec<Collected>,

    pub(super) engine: Engine,
    pub(super) watches: Watches,
    pub(super) runs: Runs,
    /// What is not on the disks yet, if that matters.
    pub(super) durable: Option<Durable>,
    pub(super) receivers: Receivers,
    pub(super) born: Instant,
    /// The same moment on people's clocks, since the beginning of 1970.
    pub(super) born_at: Duration,
    /// When the running graph was taken, likewise.
    pub(super) graph_since: Duration,
    pub(super) counters: Counters,
    /// Moves whenever what others see may have changed.
    pub(super) changes: watch::Sender<u64>,
    pub(super) wake_at: Option<Instant>,
    /// The engine has been quiet for long enough.
    pub(super) quiet: bool,
    /// That was said, and nothing has happened since.
    pub(super) converged: bool,
    /// There is nothing to wait for but what the engine knows of; it was told so.
    pub(super) complete: bool,
    /// How well the exports were known when the graph was built of them.
    pub(super) store_state: StoreState,
    /// How many resources of the program are exported.
    pub(super) to_export: usize,
    /// What will have to be done once something else has ended.
    pub(super) notes: Notes,

    /// The hub has ended.
    pub(super) deaf: bool,

    pub(super) stage: Stage,
    /// The exit code when no signal forces another one.
    pub(super) code: u8,
    /// The engine has nothing under way any more.
    pub(super) stopped: bool,
    /// The order to start anew when everything has ended.
    pub(super) again: Option<Order>,
}

/// What is to be remembered until something else has ended.
#[derive(Default)]
pub(super) struct Notes {
    /// What is exported and whose turn has not come, with its place among what is published.
    pub(super) awaited: HashMap<ResourceId, usize>,
    /// What nobody exports any more and is being removed.
    pub(super) leaving: BTreeSet<ResourceId>,
    /// Runs that were given up since they took longer than this.
    pub(super) late: HashMap<RunId, Duration>,
    /// The last error said of each resource: the log says it once.
    pub(super) said: HashMap<ResourceId, String>,
}

/// What the loop waits for, besides runs and time.
pub(super) struct Sources {
    pub(super) touched: mpsc::Receiver<Touched>,
    /// What happens to watched commands.
    pub(super) commands: CommandNews,
    pub(super) socket: Socket,
    pub(super) signals: Signals,
    pub(super) keys: mpsc::Receiver<Follow>,
    /// What people want of this agent.
    pub(super) orders: mpsc::Receiver<Order>,
}

enum News {
    Finished(Vec<Finished>),
    Loaded(Loaded),
    Touched(Vec<Touched>),
    HubEnded,
    Exports,
    Granted,
    Published,
    Heard,
    Cluster,
    Keys(Follow),
    Asked(Request),
    Ordered(Order),
    Signal(Heard),
    Synced(durable::Synced),
    Due,
    OutOfTime,
}

impl Body {
    /// Runs until everything has stopped.
    pub(super) async fn run(&mut self, sources: &mut Sources) {
        self.rebuild().await;
        let out_of_time = self.settings.max_runtime.and_then(|limit| self.born.checked_add(limit));
        let mut rounds = 0;
        while !self.stopped && self.stage != Stage::Killed {
            let next = [self.wake_at, self.watches.next_tick(), self.next_look()];
            let next = next.into_iter().flatten().min();
            let news = tokio::select! {
                finished = self.runs.next() => News::Finished(finished),
                loaded = self.reading.next() => News::Loaded(loaded),
                touched = sources.touched.recv(), if !self.deaf => match touched {
                    Some(touched) => News::Touched(and_more(touched, &mut sources.touched)),
                    None => News::HubEnded,
                },
                touched = sources.commands.recv() => News::Touched(vec![touched]),
                Ok(()) = self.exports.changed() => News::Exports,
                Ok(()) = self.granted.changed() => News::Granted,
                Ok(()) = self.published.changed() => News::Published,
                Ok(()) = self.heard.changed() => News::Heard,
                () = changed(&mut self.cluster) => News::Cluster,
                Some(follow) = sources.keys.recv() => News::Keys(follow),
                Some(request) = sources.socket.requests.recv() => News::Asked(request),
                Some(order) = sources.orders.recv() => News::Ordered(order),
                signal = sources.signals.next() => News::Signal(signal),
                synced = Durable::next(&mut self.durable) => News::Synced(synced),
                () = until(next) => News::Due,
                () = until(out_of_time), if self.stage == Stage::Running => News::OutOfTime,
            };
            let asked = matches!(news, News::Asked(_));
            self.handle(news).await;
            self.sync_at_rest();
            self.look_outside().await;
            if let Some(event) = self.converged_changed() {
                self.feed(event).await;
            }
            self.tell_convergence();
            if !asked {
                self.changes.send_modify(|n| *n = n.wrapping_add(1));
            }
            rounds = (rounds + 1) % ROUNDS;
            if rounds == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn handle(&mut self, news: News) {
        match news {
            News::Finished(all) => {
                for finished in all {
                    self.finished(finished).await;
                }
                self.start_more().await;
            }
            News::Touched(all) => {
                for touched in all {
                    self.touched(touched).await;
                }
            }
            News::Loaded(loaded) => self.loaded(loaded).await,
            News::HubEnded => self.hub_ended().await,
            News::Exports => self.exported().await,
            News::Granted => self.site_changed().await,
            // Whether this completes the exchange is looked at after each of them.
            News::Published | News::Heard | News::Cluster => {}
            News::Keys(follow) => self.keys_changed(&follow).await,
            News::Asked(request) => {
                if request.answer.is_closed() {
                    return;
                }
                if self.asked(request) {
                    self.exported().await;
                }
            }
            News::Ordered(Order::Leave) => self.ordered(Signal::Interrupt).await,
            News::Ordered(Order::Fail) => {
                if let Some(stop) = self.end(EXIT_FAILED) {
                    self.feed(stop).await;
                }
            }
            News::Ordered(order) => {
                self.again = Some(order);
                self.ordered(Signal::Terminate).await;
            }
            News::Signal(Heard::End(signal)) => self.signal(signal).await,
            News::Signal(Heard::Again) => {
                tracing::info!("asked to look again: the graph file, and all that failed");
                self.look_again().await;
            }
            News::Synced(synced) => self.synced(synced).await,
            News::Due => self.due().await,
            News::OutOfTime => {
                tracing::error!("not done within --max-runtime");
                // Giving up does not wait for what may never end.
                if self.end(EXIT_TIME).is_some() {
                    self.feed(Event::Hurry).await;
                }
            }
        }
    }

    async fn touched(&mut self, touched: Touched) {
        if touched.id == SOURCE {
            self.watches.source_told(touched.error, Instant::now());
            return self.reload();
        }
        let Some(told) = self.watches.told(touched) else { return };
        let Told { vertex, watching, happened } = told;
        if let Some(error) = watching {
            if let Some(why) = &error {
                tracing::warn!("{}: not watched: {why}", vertex.resource);
            }
            self.feed(Event::Watching { vertex: vertex.clone(), error }).await;
        }
        if happened {
            self.feed(Event::Touched(vertex)).await;
        }
    }

    /// Nothing is told of files any more: an agent that keeps nothing must not seem to.
    async fn hub_ended(&mut self) {
        self.deaf = true;
        tracing::error!("{}", HubError::Ended);
        if let Some(event) = self.end(EXIT_FAILED) {
            self.feed(event).await;
        }
    }

    /// Feeds the engine and runs its commands, until none is left.
    pub(super) async fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Timestamp(self.born.elapsed());
            let mut to_watch = Vec::new();
            for command in self.engine.step(now, event) {
                match command {
                    Command::Watch(vertex) => to_watch.push(vertex),
                    command => events.extend(self.execute(command).await),
                }
            }
            events.extend(self.arm_all(&to_watch).await);
        }
    }

    /// Arms the watches of these vertices, many in one go.
    async fn arm_all(&mut self, vertices: &[VertexId]) -> Vec<Event> {
        let mut events = Vec::with_capacity(vertices.len());
        for some in vertices.chunks(TOGETHER) {
            let wanted = some.iter().filter_map(|vertex| {
                let found = self.engine.vertex(vertex)?;
                let polled = found.meta.poll.is_some();
                let watches = if polled { Vec::new() } else { found.resource.watches() };
                Some((vertex.clone(), watches))
            });
            let wanted = wanted.collect();
            events.extend(self.arm(wanted).await);
        }
        events
    }

    async fn arm(&mut self, wanted: Vec<(VertexId, Vec<Watch>)>) -> Vec<Event> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.watches.add_all(wanted, Instant::now()).await;
        let answers = answers.into_iter().map(|(vertex, result)| {
            let error = result.err();
            if let Some(why) = &error {
                tracing::warn!("{}: not watched: {why}", vertex.resource);
            }
            Event::Watching { vertex, error }
        });
        answers.collect()
    }

    async fn execute(&mut self, command: Command) -> Option<Event> {
        match command {
            // They are armed together.
            Command::Watch(_) => {}
            Command::Unwatch(vertex) => {
                self.watches.remove(&vertex).await;
                self.receivers.forget(&vertex);
                if !self.graph.vertices.contains_key(&vertex.resource) {
                    self.notes.said.remove(&vertex.resource);
                    self.runs.forget(&vertex.resource);
                }
            }
            Command::Run { vertex, run, refresh, received } => {
                self.turn_came(&vertex.resource);
                return self.start_in_turn(Waiting { vertex, run, refresh, received }).await;
            }
            Command::Cancel { vertex, run } => {
                // In a hurry everything is given up, whatever its time.
                let limit = self.engine.vertex(&vertex).and_then(|one| one.meta.timeout);
                let late = limit.filter(|_| matches!(self.stage, Stage::Running));
                self.notes.late.extend(late.map(|limit| (run, limit)));
                return self.cancel(run);
            }
            // Beyond what the clock can say is never.
            Command::WakeAt(at) => self.wake_at = self.born.checked_add(at.0),
            Command::Converged(quiet) => self.quiet = quiet,
            Command::Stopped => self.stopped = true,
        }
        None
    }

    /// Starts a run of a vertex, with what it receives; gives what that leads to at once.
    pub(super) async fn start(&mut self, waiting: Waiting) -> Option<Event> {
        let Waiting { vertex, run, refresh, received } = waiting;
        let found = self.engine.vertex(&vertex)?;
        let (apply, polled) = (!found.meta.noop, found.meta.poll.is_some());
        let (timeout, within) = (found.meta.timeout, found.origin.within());
        let Found { result, rearm } = self.receivers.resource(&vertex, found, received);
        let resource = match result {
            Ok(resource) => resource,
            Err(why) => {
                let result = Err(why);
                self.say(&vertex.resource, &result);
                return Some(Event::Finished { vertex, run, result, sent: Fields::new() });
            }
        };
        let mut armed = None;
        if rearm && !polled {
            let lost = self.watches.error_of(&vertex).is_some();
            self.watches.remove(&vertex).await;
            let event = self.arm(vec![(vertex.clone(), resource.watches())]).await.pop();
            // The run sees what happened before it; so only news of the watch is told.
            let news = lost || self.watches.error_of(&vertex).is_some();
            armed = event.filter(|_| news);
        }
        let context = Context {
            store: self.store.clone(),
            host: self.settings.host.clone(),
            state_dir: self.state_dir.clone(),
            apply,
            refresh,
            outbox: Outbox::default(),
            managed: self.managed.clone(),
            mover: self.watches.mover(&vertex),
            ways: crate::kind::Ways::default(),
            within,
            cancel: tokio_util::sync::CancellationToken::new(),
        };
        self.runs.start(vertex, run, resource, context, timeout);
        armed
    }

    async fn due(&mut self) {
        let now = Instant::now();
        if self.watches.source_due(now) {
            self.reload();
        }
        if self.next_look().is_some_and(|at| at <= now) {
            self.exported().await;
        }
        for vertex in self.watches.due(now) {
            self.feed(Event::Touched(vertex)).await;
        }
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            self.feed(Event::Due).await;
        }
    }

    async fn keys_changed(&mut self, follow: &Follow) {
        let touched: Vec<VertexId> = match follow {
            Follow::Reset(_) => self.watches.of_any_key().into_iter().collect(),
            Follow::Changes(batch) => batch
                .changes
                .iter()
                .flat_map(|change| match change {
                    Change::Put(entry) => self.watches.of_key(&entry.key),
                    Change::Delete { key } => self.watches.of_key(key),
                })
                .collect(),
            Follow::Lost(_) => Vec::new(),
        };
        for vertex in touched {
            self.feed(Event::Touched(vertex)).await;
        }
    }

    /// Compiles the program with what others export, and swaps the graph.
    pub(super) async fn rebuild(&mut self) {
        // What this program wants to hear of decides whether all of it is known.
        self.hear();
        let view = self.known_exports();
        self.tell_time(&view);
        self.runs.hand_over();
        let everywhere = self.settings.everywhere();
        match desired::compile(self.here(&everywhere), &view.exports, &self.collected) {
            Ok(desired) => {
                for note in &desired.notes {
                    tracing::debug!("{note}");
                }
                let Desired { graph, messages, collected, .. } = desired;
                self.note_collected(&view, messages, collected).await;
                self.look_outside().await;
                self.forget_awaited();
                self.swap(graph).await;
                // What is ready is known of the graph that runs now.
                self.publish_own();
            }
            Err(findings) => {
                let report = diag::render("graph", &self.source.text, &findings, false);
                warn_each(&report);
                self.graph_error = findings.first().map(|one| one.message.clone());
            }
        }
    }

    /// Makes a graph the running one. What says the same as before goes on with the resource that
    /// it has, which may remember its runs.
    async fn swap(&mut self, mut graph: Graph) {
        graph.keep(&self.graph);
        if self.generation > 0 && graph == *self.graph {
            return;
        }
        self.run_graph(Arc::new(graph)).await;
        self.neighbours_changed().await;
    }

    /// Has the engine run another graph.
    pub(super) async fn run_graph(&mut self, graph: Arc<Graph>) {
        // The old one is given up once what is different in the new one has begun.
        let _old = std::mem::replace(&mut self.graph, graph.clone());
        let managing = graph.clone();
        self.managed = Managed::new(move || managing.managed_paths());
        self.generation += 1;
        self.graph_since = since_1970();
        self.feed(Event::Graph(graph)).await;
    }

    /// Has those looked at to whom it matters what else is in the graph.
    async fn neighbours_changed(&mut self) {
        let minds = |id: &ResourceId| {
            self.graph.vertices.get(id).is_some_and(|one| one.resource.minds_neighbours())
        };
        let vertices = self.engine.vertices().map(|one| one.id);
        let minding: Vec<VertexId> = vertices.filter(|id| minds(&id.resource)).cloned().collect();
        for vertex in minding {
            self.feed(Event::Touched(vertex)).await;
        }
    }

    /// A person wants the end; who is ending already is not hurried by that.
    async fn ordered(&mut self, end: Signal) {
        if self.stage == Stage::Running {
            self.signal(end).await;
        }
    }

    async fn signal(&mut self, signal: Signal) {
        let leave = self.settings.leaves(signal);
        self.stage = match self.stage.after(signal) {
            Stage::Stopping { .. } => Stage::Stopping { leave },
            further => further,
        };
        match self.stage {
            Stage::Running => {}
            Stage::Stopping { leave } => {
                let membership = if leave { "leaving the cluster" } else { "staying a member" };
                match self.cluster {
                    Some(_) => tracing::info!("stopping, {membership}"),
                    None => tracing::info!("stopping"),
                }
                self.feed(Event::Stop).await;
            }
            Stage::Hurrying { .. } => self.feed(Event::Hurry).await,
            Stage::Killed => {}
        }
    }

    /// Ends in good order with this exit code; gives what the engine has to be told.
    pub(super) fn end(&mut self, code: u8) -> Option<Event> {
        if self.stage != Stage::Running {
            return None;
        }
        self.code = code;
        self.stage = Stage::Stopping { leave: false };
        Some(Event::Stop)
    }
}

/// What came with the first: it is fed before anything else is waited for.
fn and_more<T>(first: T, queue: &mut mpsc::Receiver<T>) -> Vec<T> {
    let mut all = vec![first];
    all.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(TOGETHER));
    all
}

/// Waits for that moment, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until the cluster looks different; for ever without one.
async fn changed(cluster: &mut Option<watch::Receiver<ClusterStatus>>) {
    if let Some(cluster) = cluster
        && cluster.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
