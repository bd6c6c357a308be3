//! The start: everything that can refuse it, in one go, before any loop runs.
//!
//! Refuses to touch etcd's data: it reads, asks, claims the name, and hands over.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::loops::Loops;
use super::presence::ClaimError;
use super::rpc::{Member, Rpc};
use super::{
    Agent, Config, DEAD_AFTER, Handle, IDEAL_SIZE, Listen, Operator, Order, StopMode, child,
    controller, member, now_seconds, orders, ports, presence, roles, sight, snapshots, state, stop,
    tls,
};
use crate::cluster::address::{self, Addresses, Typed, Url};
use crate::cluster::identity::{Identity, Phase};
use crate::cluster::start::{self, Contact, Data, Facts, Listed, Start};
use crate::cluster::{ClusterStatus, Role, StartError};
use crate::store::etcd::{Endpoints, EtcdStore};

/// How long the claim to the name may keep the start waiting, when somebody answers.
const CLAIM: Duration = Duration::from_secs(2);
/// How long a member with data waits for an answer: who has no quorum accepts connections and does
/// not answer, until we are there.
const COLD: Duration = Duration::from_secs(1);
/// After this long an agent that loses one of its tasks starts anew: what went wrong is rare.
const SETTLED: Duration = Duration::from_secs(60);
/// Orders of people that may wait: each ends the agent, so a second one is refused.
const ORDERS: usize = 1;

/// Starts clustering. Returns as soon as the start is decided and every refusal is known; the
/// cluster may still form.
///
/// # Errors
/// One sentence each; see [`StartError`].
pub async fn start(config: Config) -> Result<Handle, StartError> {
    let addresses = addresses(&config)?;
    let mut listen = listen(&addresses, config.flags.tls.join_port).await?;
    let tls = tls::prepare(&config, &addresses, &listen.addresses())?;
    if !tls.by_authority() {
        listen.join.clear();
    }
    let folder = Arc::new(state::open(&config.state_dir, &config.host)?);
    let server = server(&config).await?;
    match &server {
        Server::Etcd(_) => {
            child::end_orphans(&folder.etcd_dir()).await;
            ports::are_free(&listen).await?;
        }
        _ => listen = Listen::default(),
    }
    let identity = folder.identity();
    let known = remembered(&folder, &addresses);
    let rpc = Rpc::new(Arc::clone(&tls.access));
    let data = folder.data();
    // Such a member starts whoever answers, and it may be what the others wait for.
    let cold = identity.phase == Phase::Member && data == Data::Ours;
    let patience = if cold { COLD } else { Duration::MAX };
    if let Ok(examined) = timeout(patience, tls.examine(&rpc, &addresses)).await {
        examined?;
    }
    tls.admit(&addresses.seeds).await?;
    let ask = |patience| contact(&rpc, &known, &addresses, &identity, patience);
    let mut contact = ask(patience).await?;
    if cold && contact.answer == Contact::Answers(Listed::No) {
        // Nothing is put aside before everybody had the time to answer.
        contact = ask(Duration::MAX).await?;
    }
    let facts = Facts {
        phase: identity.phase,
        data,
        knows_cluster: identity.cluster_uuid.is_some(),
        seeds: !addresses.seeds.is_empty(),
        contact: contact.answer,
        server: match &server {
            Server::Etcd(_) => start::Server::Etcd,
            Server::Never => start::Server::Never,
            Server::Nowhere => start::Server::Nowhere,
        },
    };
    let first = start::decide(facts);
    tracing::debug!(?facts, ?first, "start decided");
    refuse(first, facts.data, &folder, &contact)?;
    match first {
        Start::Found | Start::FoundAgain => tls.found()?,
        _ => tls.needs_token()?,
    }

    let ours = !config.flags.no_server;
    let endpoints = Endpoints::reached(known, identity.cluster_id, ours, Arc::clone(&tls.access));
    let (orderer, ordered) = mpsc::channel(ORDERS);
    let agent = agent(&config, addresses, listen, server, folder, (endpoints, rpc, tls, orderer))?;
    // Without a leader nothing can be claimed, and it may be us whom the others wait for.
    if contact.led {
        claim_early(&agent).await?;
    }
    agent.folder.keep()?;
    let path = agent.folder.path().to_owned();
    agent.tls.save().map_err(|source| StartError::Io { what: "cannot write to", path, source })?;
    Ok(run(agent, first, ordered))
}

/// What a host can do for the cluster.
enum Server {
    /// It can serve.
    Etcd(child::Program),
    /// It was told never to.
    Never,
    /// It has no etcd program.
    Nowhere,
}

/// Finds etcd. Without any the host is a client; one that was named and is not there, or is too
/// old, is a mistake.
async fn server(config: &Config) -> Result<Server, StartError> {
    if config.flags.no_server {
        return Ok(Server::Never);
    }
    Ok(match child::find(config.etcd_path.as_deref()).await? {
        Some(program) => Server::Etcd(program),
        None => Server::Nowhere,
    })
}

fn addresses(config: &Config) -> Result<Addresses, StartError> {
    let typed = Typed {
        client: &config.flags.client_urls,
        peer: &config.flags.server_urls,
        advertise_client: &config.flags.advertise_client_urls,
        advertise_peer: &config.flags.advertise_server_urls,
        seeds: &config.flags.seeds,
        insecure: config.flags.insecure_network,
        asks_for_tls: config.flags.tls.asks_for_tls(),
    };
    match config.flags.no_server {
        true => address::choose_client(typed),
        false => address::choose(typed),
    }
}

async fn listen(addresses: &Addresses, join: Option<u16>) -> Result<Listen, StartError> {
    let join = if addresses.tls { address::join_urls(addresses, join)? } else { Vec::new() };
    Ok(Listen {
        client: resolve(&addresses.listen_client, addresses.tls).await?,
        peer: resolve(&addresses.listen_peer, addresses.tls).await?,
        join: resolve(&join, addresses.tls).await?,
    })
}

/// etcd refuses names to listen on, so they become addresses here.
async fn resolve(urls: &[Url], tls: bool) -> Result<Vec<String>, StartError> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for url in urls {
        if let Some(address) = url.address() {
            found.push((address, url.port).into());
            continue;
        }
        let looked_up = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
        let mut answers: Vec<SocketAddr> = looked_up.map(Iterator::collect).unwrap_or_default();
        // Debian maps a host's own name to 127.0.1.1; where there is another address, that one is
        // meant.
        if answers.iter().any(|a| !a.ip().is_loopback()) {
            answers.retain(|a| !a.ip().is_loopback());
        }
        if answers.is_empty() {
            return Err(StartError::Unresolved { name: url.host.clone() });
        }
        found.extend(answers);
    }
    Ok(address::listen_urls(&found, tls))
}

/// Everybody who may know the cluster: who answered last time, then the seeds.
fn remembered(folder: &state::StateFolder, addresses: &Addresses) -> Vec<String> {
    let mut urls = folder.remembered_endpoints();
    urls.extend(addresses.seeds.iter().map(|s| s.text.clone()));
    urls.retain(|url| !addresses.client.contains(url));
    let mut seen = std::collections::HashSet::new();
    urls.retain(|url| seen.insert(url.clone()));
    urls
}

/// Who answered, and the stranger to name in a refusal.
struct Contacted {
    answer: Contact,
    stranger: Option<(String, u64)>,
    ours: Option<u64>,
    /// One of those that answered knows a leader.
    led: bool,
}

/// Asks everybody known once, all at the same time, and waits so long for each.
async fn contact(
    rpc: &Rpc,
    known: &[String],
    addresses: &Addresses,
    identity: &Identity,
    patience: Duration,
) -> Result<Contacted, StartError> {
    let asked = known.iter().map(|url| async move {
        let list = timeout(patience, rpc.members(url));
        let probe = timeout(patience, rpc.probe(url));
        let (list, probe) = tokio::join!(list, probe);
        (url, list.ok().flatten(), probe.ok().flatten())
    });
    let answers = futures_util::future::join_all(asked).await;
    let ours = identity.cluster_id;
    let mut contacted = Contacted { answer: Contact::Silent, stranger: None, ours, led: false };
    for (url, answer, probe) in answers {
        let Some((cluster, members)) = answer else { continue };
        if let Some(seed) = addresses.seeds.iter().find(|s| s.text == *url) {
            peer_port(seed, &members).await?;
        }
        if identity.cluster_id.is_some_and(|ours| ours != cluster) {
            contacted.stranger = Some((url.clone(), cluster));
            if contacted.answer == Contact::Silent {
                contacted.answer = Contact::Foreign;
            }
            continue;
        }
        let listed = identity.member.is_some_and(|own| members.iter().any(|m| m.id == own));
        let led = probe.is_some_and(|probe| probe.leader != 0);
        if identity.member.is_some() && !listed && !led {
            // Who is cut off tells the list that it last knew, which may be older than we are.
            continue;
        }
        // One list that has us is enough to try: etcd itself knows whether it was removed.
        let listed = listed || contacted.answer == Contact::Answers(Listed::Yes);
        contacted.answer = Contact::Answers(if listed { Listed::Yes } else { Listed::No });
        contacted.led |= led;
    }
    Ok(contacted)
}

/// A peer port answers clients too, so only the list tells it apart. The seed may be a name while
/// the members advertise addresses.
async fn peer_port(seed: &Url, members: &[Member]) -> Result<(), StartError> {
    let looked_up = tokio::net::lookup_host((seed.host.as_str(), seed.port)).await;
    let addresses: Vec<SocketAddr> = looked_up.map(Iterator::collect).unwrap_or_default();
    let means_seed = |url: &String| {
        let at = Url::parse("--seeds", url, seed.port).ok();
        let address = at.and_then(|at| at.address().map(|address| (address, at.port).into()));
        *url == seed.text || address.is_some_and(|one| addresses.contains(&one))
    };
    if members.iter().any(|m| m.client.iter().any(means_seed)) {
        return Ok(());
    }
    match members.iter().find(|m| m.peer.iter().any(means_seed)) {
        Some(member) => Err(StartError::PeerPort {
            seed: seed.text.clone(),
            host: crate::cluster::flags::host_of(&member.name).into(),
            client: member.client.first().cloned().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}

fn refuse(
    first: Start,
    data: Data,
    folder: &state::StateFolder,
    contact: &Contacted,
) -> Result<(), StartError> {
    let path = folder.path().to_owned();
    match first {
        Start::RefuseData => Err(StartError::ForeignData { folder: path }),
        Start::RefuseLost => {
            let foreign = data == Data::Foreign;
            let found = if foreign { "are those of another member" } else { "are gone" };
            Err(StartError::DataGone { folder: path, found })
        }
        Start::RefuseForeign => {
            let (seed, theirs) = contact.stranger.clone().unwrap_or_default();
            let show = crate::cluster::identity::show_id;
            let ours = contact.ours.map(show).unwrap_or_default();
            Err(StartError::ForeignCluster { seed, theirs: show(theirs), ours })
        }
        Start::RefuseNoSeeds => Err(StartError::NoSeeds),
        Start::RefuseNoEtcd => Err(child::none_found()),
        _ => Ok(()),
    }
}

/// What an agent acts with.
type Means = (Arc<Endpoints>, Rpc, tls::Credentials, mpsc::Sender<Order>);

fn agent(
    config: &Config,
    addresses: Addresses,
    listen: Listen,
    server: Server,
    folder: Arc<state::StateFolder>,
    (endpoints, rpc, tls, orders): Means,
) -> Result<Arc<Agent>, StartError> {
    let system = |what, source| StartError::Io { what, path: folder.path().into(), source };
    let child_program = match &config.child_program {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|e| system("cannot find own program for", e))?,
    };
    let spawner = child::Spawner::start().map_err(|e| system("cannot start a thread for", e))?;
    let (etcd, no_etcd) = match server {
        Server::Etcd(program) => (Some(program), None),
        Server::Never => (None, None),
        Server::Nowhere => (None, Some(child::none_found().to_string())),
    };
    let identity = folder.identity();
    let mut status = ClusterStatus::new(Role::Starting, &identity.instance);
    status.etcd = etcd.as_ref().map(|e| e.version.to_string());
    let own_url = listen
        .client
        .first()
        .map(|url| url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:"))
        .unwrap_or_default();
    // It is reached where it listens, and shows what it advertises.
    if let Some(url) = addresses.client.first().and_then(|url| Url::parse("", url, 1).ok()) {
        tls.access.set_alias(&own_url, &url.host);
    }
    Ok(Arc::new(Agent {
        host: config.host.to_string(),
        instance: identity.instance,
        machine: state::machine(),
        started: now_seconds(),
        addresses,
        listen,
        own_url,
        etcd,
        no_etcd,
        no_rejoin: config.flags.no_rejoin,
        child_program,
        ideal: config.flags.ideal_size.unwrap_or(IDEAL_SIZE),
        floor: config.flags.min_size.unwrap_or(1),
        allow_even: config.flags.allow_even,
        zone: config.flags.zone.clone(),
        strict: config.flags.etcd_strict,
        quota: config.flags.quota_bytes.unwrap_or(super::QUOTA),
        timers: config.flags.timers,
        dead_after: config.flags.dead_after.unwrap_or(DEAD_AFTER),
        store: Arc::new(EtcdStore::new(Arc::clone(&endpoints))),
        endpoints,
        rpc,
        tls,
        spawner,
        child: Mutex::new(None),
        status: watch::Sender::new(status),
        told: Mutex::new(None),
        orders,
        settled: watch::Sender::new(identity.cluster_uuid.is_some()),
        claim: watch::Sender::new(None),
        serving: watch::Sender::new(None),
        unlisted: Notify::new(),
        folder,
    }))
}

/// Claims the name while the caller waits, so that a name in use is refused at once. A store that
/// is too slow for this is claimed later, by the presence loop.
async fn claim_early(agent: &Arc<Agent>) -> Result<(), StartError> {
    let claimed = timeout(CLAIM, async {
        match member::settle(agent).await {
            Ok(()) => presence::claim(agent).await.map(Some),
            Err(error @ StartError::ForeignCluster { .. }) => Err(ClaimError::Taken(error)),
            // The founder may not have written its records yet.
            Err(_) => Ok(None),
        }
    });
    match claimed.await {
        Ok(Ok(claim)) => {
            agent.claim.send_replace(claim);
            Ok(())
        }
        Ok(Err(ClaimError::Taken(error))) => Err(error),
        Ok(Err(ClaimError::Store(_))) | Err(_) => Ok(()),
    }
}

fn run(agent: Arc<Agent>, first: Start, orders: mpsc::Receiver<Order>) -> Handle {
    let (stop, stopped) = watch::channel(None);
    let handle_parts = (
        Arc::clone(&agent.store) as Arc<dyn crate::store::Store>,
        agent.status.subscribe(),
        Arc::clone(&agent.folder),
        Operator::new(&agent),
    );
    let task = tokio::spawn(supervise(agent, first, stopped));
    let (store, status, state, operator) = handle_parts;
    Handle { store, status, state, operator, orders, stop, task }
}

/// Runs the loops until a stop is asked for, then the stop. Where one ends by itself, the agent is
/// to stop, and to start anew unless it has only just begun: what ended would end again.
async fn supervise(agent: Arc<Agent>, first: Start, mut wish: watch::Receiver<Option<StopMode>>) {
    let began = Instant::now();
    let (mut loops, mut deciding, mut keeping) = begin(&agent, first);
    let lost = tokio::select! {
        _ = wish.wait_for(Option::is_some) => None,
        lost = loops.lost() => Some(lost),
        lost = deciding.lost() => Some(lost),
        lost = keeping.lost() => Some(lost),
    };
    if let Some(lost) = lost {
        tracing::error!("{lost}: this is a mistake in this program, please report it");
        let order = if began.elapsed() > SETTLED { Order::Restart } else { Order::Fail };
        if agent.orders.try_send(order).is_err() {
            tracing::info!("the agent is ending already");
        }
        // Nobody asks for a stop any more when the handle is gone, and this task with it.
        drop(wish.wait_for(Option::is_some).await);
    }
    keeping.end().await;
    stop::run(&agent, wish, deciding).await;
    loops.end().await;
}

/// Starts everything that ends with the membership: what only looks, what decides, which ends
/// before the claim is given back or it would claim the name anew, and what keeps our member.
fn begin(agent: &Arc<Agent>, first: Start) -> (Loops, Loops, Loops) {
    let (mut loops, mut deciding, mut keeping) =
        (Loops::default(), Loops::default(), Loops::default());
    loops.start("the look at the cluster", sight::run(Arc::clone(agent)));
    loops.start("the wait for orders", orders::run(Arc::clone(agent)));
    loops.start("the saving of snapshots", snapshots::run(Arc::clone(agent)));
    let endpoints = Arc::clone(&agent.endpoints);
    loops.start("the review of endpoints", async move { endpoints.review().await });
    if agent.tls.has_duties() {
        loops.start("the care for certificates", tls::duty::run(Arc::clone(agent)));
    }
    deciding.start("the decision about members", controller::run(Arc::clone(agent)));
    deciding.start("the claim to the host name", presence::run(Arc::clone(agent)));
    let keeper = Arc::clone(agent);
    keeping.start("the care for this member", async move { roles::run(&keeper, first).await });
    (loops, deciding, keeping)
}
