//! From settings to a running loop, and from its end to an exit code. Everything that can be
//! refused is refused here, before anything is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::{Body, Notes, Sources};
use super::durable::Durable;
use super::exchange::{self, Exchange};
use super::grants;
use super::ladder::{Signal, Stage};
use super::last_resort;
use super::metrics;
use super::operate::Desk;
use super::owed;
use super::receivers::Receivers;
use super::relay::Relay;
use super::reload::Reading;
use super::runs::Runs;
use super::settings::{ClusterSettings, Input, MetricsSettings, Settings, Surroundings};
use super::socket::Socket;
use super::source::{self, Source};
use super::watch::{CommandNews, Commands, Hub, Touched};
use super::watches::Watches;
use super::{EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, tell};
use crate::cluster::ClusterStatus;
use crate::cluster::shell::{self as cluster, StopMode, state};
use crate::collect::Grants;
use crate::engine::{Engine, Options};
use crate::ident::HostName;
use crate::store::follow::{self, Follow};
use crate::store::memory::MemoryStore;
use crate::store::{self, Store};

/// How an agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this code.
    Exit(u8),
    /// To be started anew, with the same arguments.
    Again {
        /// Who wanted it so, and what is to be done in between.
        order: cluster::Order,
        /// The state folder.
        folder: PathBuf,
        /// Whose it is.
        host: HostName,
    },
}

/// Runs an agent from start to end.
pub(super) async fn run(settings: Settings) -> End {
    // Watched before it is read: what is written while the agent starts must not go unnoticed.
    let watching = watch_sources(&settings).await;
    let source = match first_source(&settings) {
        Ok(mut source) => {
            if !settings.follow {
                source.forget_text();
            }
            source
        }
        Err(report) => {
            tell(report);
            return End::Exit(EXIT_FAILED);
        }
    };
    let started = match watching {
        Ok(watching) => Agent::start(settings, source, watching).await,
        Err(refusal) => Err(refusal),
    };
    match started {
        Ok(agent) => agent.run().await,
        Err(refusal) => {
            tell(format_args!("error: {}\n", refusal.sentence));
            End::Exit(refusal.code)
        }
    }
}

/// The graph that the agent starts with, or everything that is wrong with it.
fn first_source(settings: &Settings) -> Result<Source, String> {
    let rules = settings.rules.as_deref();
    let loaded = match &settings.input {
        Input::Yaml(path) => source::load(path, rules),
        Input::Empty => source::with_rules(Source::empty(), String::new(), rules),
    };
    match loaded {
        Ok((source, warnings)) => {
            tell(warnings);
            Ok(source)
        }
        Err(refused) => Err(refused.report),
    }
}

/// Why an agent did not start.
struct Refusal {
    code: u8,
    sentence: String,
}

impl From<crate::cluster::StartError> for Refusal {
    fn from(error: crate::cluster::StartError) -> Self {
        Refusal { code: error.exit_code(), sentence: error.to_string() }
    }
}

impl Refusal {
    fn failed(sentence: impl Into<String>) -> Self {
        Refusal { code: EXIT_FAILED, sentence: sentence.into() }
    }
}

/// What keeps the store alive: a membership, or only the lock of the state folder.
enum Membership {
    Alone { _folder: Arc<state::StateFolder> },
    Cluster(Box<cluster::Handle>),
}

impl Membership {
    /// What people want of this agent; nothing, ever, without a cluster.
    fn take_orders(&mut self) -> mpsc::Receiver<cluster::Order> {
        match self {
            Membership::Cluster(handle) => {
                std::mem::replace(&mut handle.orders, mpsc::channel(1).1)
            }
            Membership::Alone { .. } => mpsc::channel(1).1,
        }
    }

    /// What this host is in the cluster, if there is one.
    fn status(&self) -> Option<tokio::sync::watch::Receiver<ClusterStatus>> {
        match self {
            Membership::Cluster(handle) => Some(handle.status.clone()),
            Membership::Alone { .. } => None,
        }
    }

    /// Who answers for the cluster, if there is one.
    fn operator(&self) -> Option<cluster::Operator> {
        match self {
            Membership::Cluster(handle) => Some(handle.operator.clone()),
            Membership::Alone { .. } => None,
        }
    }
}

/// Listens for questions, and keeps the rights of hosts in the store as the site says.
fn listen(
    membership: &Membership,
    store: &Arc<dyn Store>,
    state_dir: &Path,
    changed: tokio::sync::watch::Receiver<u64>,
    granted: &tokio::sync::watch::Receiver<Arc<Grants>>,
) -> Result<Socket, Refusal> {
    let cluster = membership.operator();
    let desk = Desk { store: store.clone(), cluster: cluster.clone(), granted: granted.clone() };
    grants::keep_rights(desk.clone());
    Socket::listen(state_dir, changed, (cluster, desk))
        .map_err(|why| Refusal::failed(format!("no socket in {}: {why}", state_dir.display())))
}

/// Publishes what this host exports, and follows what others do.
fn exchanging(
    settings: &Settings,
    store: &Arc<dyn Store>,
    state_dir: &Path,
    granted: &tokio::sync::watch::Receiver<Arc<Grants>>,
) -> Exchange {
    let (host, folder) = (settings.host.clone(), state_dir.to_owned());
    exchange::start(store.clone(), host, folder, settings.noop, granted.clone())
}

/// An agent that has started.
struct Agent {
    body: Body,
    sources: Sources,
    exchange: Exchange,
    membership: Membership,
    _metrics: Option<metrics::Listener>,
}

impl Agent {
    async fn start(
        settings: Settings,
        source: Source,
        watching: Watching,
    ) -> Result<Agent, Refusal> {
        let (host, folder) = (settings.host.clone(), state_dir(&settings)?);
        let metrics = metrics_port(settings.metrics).await?;
        let (mut membership, store, folder) = membership(&settings, folder).await?;
        let state_dir = folder.path().to_owned();
        let (changes, changed) = tokio::sync::watch::channel(0);
        let granted = grants::start(&store, membership.operator(), &state_dir);
        let socket = listen(&membership, &store, &state_dir, changed, &granted)?;
        let (orders, signals) = (membership.take_orders(), signals()?);
        let Watching { watches, touched, commands } = watching;
        let exchange = exchanging(&settings, &store, &state_dir, &granted);
        say_hello(&settings, &state_dir);
        let (local, owed) = owed::recall(&*store, &state_dir);
        let (metrics, keys) = (serve_metrics(metrics, &socket)?, follow_keys(store.clone()));
        let body = Body {
            cluster: membership.status(),
            publish: exchange.publish.clone(),
            exports: exchange.exports.clone(),
            reins: exchange.reins.clone(),
            published: exchange.published.clone(),
            say: exchange.say.clone(),
            heard: exchange.said.clone(),
            seen: String::new(),
            engine: engine(&settings),
            durable: Durable::new(&settings),
            settings,
            state_dir: Arc::from(state_dir),
            instance: folder.identity().instance,
            store,
            source: Arc::new(source),
            local,
            owed,
            granted,
            grants: Arc::default(),
            me: crate::matching::Me { key: exchange.key.clone(), ..crate::matching::Me::new(host) },
            reading: Reading::default(),
            graph_error: None,
            graph: Arc::default(),
            managed: crate::kind::Managed::default(),
            generation: 0,
            messages: Vec::new(),
            collected: Vec::new(),
            watches,
            runs: Runs::new(),
            receivers: Receivers::default(),
            born: Instant::now(),
            born_at: since_1970(),
            graph_since: std::time::Duration::ZERO,
            counters: crate::metrics::Counters::default(),
            changes,
            wake_at: None,
            quiet: false,
            converged: false,
            complete: true,
            store_state: Default::default(),
            to_export: 0,
            notes: Notes::default(),
            deaf: false,
            stage: Stage::Running,
            code: EXIT_DONE,
            stopped: false,
            again: None,
        };
        let sources = Sources { touched, commands, socket, signals, keys, orders };
        Ok(Agent { _metrics: metrics, body, sources, exchange, membership })
    }

    /// The loop, then the way out: what still runs, the exchange, the membership.
    async fn run(mut self) -> End {
        // Who ends a run takes the loop further; only the way out is this task's alone.
        let turns = Relay::new(|turn| async move {
            self.body.runs.turn_with(turn);
            self.body.run(&mut self.sources).await;
            self
        });
        self = turns.await;
        let mut stage = self.body.stage;
        if stage == Stage::Killed {
            self.body.runs.kill().await;
        }
        self.body.watches.stop(stage == Stage::Killed).await;
        // Who leaves the cluster does not come back within its lease.
        let leaves = stage == Stage::Stopping { leave: true };
        self.exchange.stop(self.body.settings.withdraw || leaves).await;
        if let Membership::Cluster(handle) = self.membership {
            let (modes, wanted) = tokio::sync::watch::channel(stop_mode(stage));
            let mut stop = std::pin::pin!(handle.stop(wanted));
            loop {
                tokio::select! {
                    () = &mut stop => break,
                    asked = self.sources.signals.next() => {
                        // On the way out there is nothing to look at again.
                        if let Heard::End(signal) = asked {
                            stage = stage.after(signal);
                            modes.send_replace(stop_mode(stage));
                        }
                    }
                }
            }
        }
        // The process ends, and its memory with it: nobody has to take that apart.
        std::mem::forget((self.body.engine, self.body.graph, self.body.source));
        match (stage, self.body.again) {
            // A signal that came meanwhile wins.
            (Stage::Stopping { leave: false }, Some(order)) => {
                let host = self.body.settings.host;
                End::Again { order, folder: self.body.state_dir.to_path_buf(), host }
            }
            _ => End::Exit(stage.exit_code(self.body.code)),
        }
    }
}

fn stop_mode(stage: Stage) -> StopMode {
    match stage {
        Stage::Running | Stage::Stopping { leave: false } => StopMode::Stay,
        Stage::Stopping { leave: true } => StopMode::Leave,
        Stage::Hurrying { .. } => StopMode::Hurry,
        Stage::Killed => StopMode::Now,
    }
}

/// The state folder to use. A temporary one is made here and left for the system to clean, as its
/// data may be wanted.
fn state_dir(settings: &Settings) -> Result<PathBuf, Refusal> {
    if settings.tmp_prefix {
        let made = tempfile::Builder::new()
            .prefix(&format!("quorate-{}-", settings.host))
            .tempdir()
            .map_err(|why| Refusal::failed(format!("no temporary state folder: {why}")))?;
        return Ok(made.keep());
    }
    let named = settings.prefix.clone();
    Ok(named.unwrap_or_else(|| Surroundings::read().state_dir(&settings.host)))
}

async fn membership(
    settings: &Settings,
    folder: PathBuf,
) -> Result<(Membership, Arc<dyn Store>, Arc<state::StateFolder>), Refusal> {
    let Some(wanted) = settings.cluster.clone() else {
        let folder = Arc::new(state::open(&folder, &settings.host)?);
        folder.keep_alone()?;
        let alone = Membership::Alone { _folder: folder.clone() };
        return Ok((alone, Arc::new(MemoryStore::alone()), folder));
    };
    let handle = cluster::start(config(settings, wanted, folder)).await?;
    let (store, folder) = (handle.store.clone(), handle.state.clone());
    Ok((Membership::Cluster(Box::new(handle)), store, folder))
}

fn config(settings: &Settings, flags: ClusterSettings, state_dir: PathBuf) -> cluster::Config {
    let host = settings.host.clone();
    cluster::Config { host, state_dir, flags, etcd_path: None, child_program: None }
}

/// The metrics name every kind of resource and every role: not for whoever happens to be near.
fn refuse_open_metrics(wanted: Option<MetricsSettings>) -> Result<(), Refusal> {
    match wanted {
        Some(one) if !one.insecure_network && !one.address.ip().is_loopback() => {
            let url = format!("http://{}/metrics", one.address);
            Err(crate::cluster::StartError::InsecureNetwork { url }.into())
        }
        _ => Ok(()),
    }
}

/// Taken before anything is changed; who asks early is answered once there is something to say.
async fn metrics_port(wanted: Option<MetricsSettings>) -> Result<Option<TcpListener>, Refusal> {
    refuse_open_metrics(wanted)?;
    let Some(MetricsSettings { address, .. }) = wanted else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|why| Refusal {
        code: EXIT_REFUSED,
        sentence: format!(
            "metrics cannot be served on {address}: {why}; choose another address with \
             --prometheus-listen"
        ),
    })
}

fn serve_metrics(
    port: Option<TcpListener>,
    socket: &Socket,
) -> Result<Option<metrics::Listener>, Refusal> {
    let listener = port.map(|port| metrics::listen(port, socket.sender.clone()));
    listener.transpose().map_err(|why| Refusal::failed(format!("no metrics: {why}")))
}

/// What is watched, and where it is told.
struct Watching {
    watches: Watches,
    touched: mpsc::Receiver<Touched>,
    commands: CommandNews,
}

/// The one inotify instance, with a watch on the graph file if it is followed.
async fn watch_sources(settings: &Settings) -> Result<Watching, Refusal> {
    let (hub, touched) = Hub::start().map_err(|why| Refusal::failed(why.to_string()))?;
    let (watched, commands) = Commands::new();
    let mut watches = Watches::new(hub, watched);
    if let (Input::Yaml(path), true) = (&settings.input, settings.follow) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        watches.add_source(path.into()).await.map_err(Refusal::failed)?;
        if let Some(rules) = &settings.rules {
            let rules = std::path::absolute(rules).unwrap_or_else(|_| rules.clone());
            watches.add_source(rules.into()).await.map_err(Refusal::failed)?;
        }
    }
    Ok(Watching { watches, touched, commands })
}

fn signals() -> Result<Signals, Refusal> {
    let signals = Signals::new().and_then(|signals| last_resort::start().map(|()| signals));
    signals.map_err(|why| Refusal::failed(format!("signals cannot be received: {why}")))
}

fn engine(settings: &Settings) -> Engine {
    Engine::new(Options { converged_after: settings.converged.map(|one| one.after) })
}

/// The time that people's clocks show.
pub(super) fn since_1970() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

fn say_hello(settings: &Settings, state_dir: &Path) {
    let graph = match &settings.input {
        Input::Yaml(path) => path.display().to_string(),
        Input::Empty => "an empty graph".to_owned(),
    };
    tracing::info!("{} runs {graph}, state in {}", settings.host, state_dir.display());
}

/// One watch for all keys that resources manage.
fn follow_keys(store: Arc<dyn Store>) -> mpsc::Receiver<Follow> {
    follow::follow(store, &format!("{}kv/", store::PREFIX))
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// INT or TERM: to end.
    End(Signal),
    /// HUP: to look again at the file and at what failed.
    Again,
}

/// INT, TERM and HUP as they come.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next signal asks for.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.recv() => Heard::End(Signal::Interrupt),
            _ = self.terminate.recv() => Heard::End(Signal::Terminate),
            _ = self.hangup.recv() => Heard::Again,
        }
    }
}
