//! The membership of this host: seek, volunteer, start etcd, watch over it, and begin again when it
//! ends.
//!
//! Refuses to start etcd without a stored list, a stored token and a phase on disk that names the
//! start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::child::{self, Exit, Running};
use super::rpc::Probe;
use super::{Agent, Serving, adopt, now_seconds, silence, tls};
use crate::cluster::StartError;
use crate::cluster::address::{CLIENT_PORT, Url};
use crate::cluster::flags::{self, Child, Mode};
use crate::cluster::identity::{Phase, show_id};
use crate::cluster::keys::{
    self, ClusterRecord, LeaveRecord, NominateRecord, PerHost, SizeRecord, VolunteerRecord,
};
use crate::cluster::logline::Class;
use crate::cluster::start::Start;
use crate::cluster::status::Role;
use crate::store::{Compare, Op, Store, StoreError, Txn};

/// How often a starting etcd is asked whether it serves; it has no way to tell.
const READY_POLL: Duration = Duration::from_millis(30);
/// How often a learner is asked whether it has been promoted, and a voter whether it has a leader.
const LEARNER_POLL: Duration = Duration::from_millis(200);
const VOTER_POLL: Duration = Duration::from_secs(1);
/// How long a new member may take until it has a leader; a hung peer would block it for ever.
const JOIN: Duration = Duration::from_secs(30);
/// The pause before etcd is started again after it ended, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// After this long in health the pauses begin anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// The pause before something that another host must do first is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// What comes next.
#[derive(Clone, Copy)]
enum Stage {
    Found,
    Seek,
    Volunteer,
    Run(Mode),
    /// Put the data aside, for this reason, and volunteer.
    Abandon(&'static str),
    DiskLost,
}

/// Why etcd ended or must end.
enum End {
    Exit(Exit),
    /// A new member did not become ready, or its nomination was taken back.
    Abandoned(String),
}

/// Keeps the membership, for as long as it is polled. What the state folder refuses is tried again:
/// a full disk may be cleared.
pub(super) async fn run(agent: &Arc<Agent>, first: Start, no_server: bool) {
    let mut member = Membership { failed: None, pause: BACKOFF.0 };
    let mut stage = match first {
        Start::Found => Stage::Found,
        Start::FoundAgain => Stage::Run(Mode::New),
        Start::Spawn => Stage::Run(Mode::Existing),
        Start::Archive => Stage::Abandon("removed"),
        Start::DiskLost | Start::FinishLeaving => Stage::DiskLost,
        // The refusals never come here.
        _ => Stage::Seek,
    };
    loop {
        match member.pass(agent, stage, no_server).await {
            Ok(next) => stage = next,
            Err(error) => {
                let path = agent.folder.path().display();
                agent.say(Role::Blocked, Some(format!("cannot write to {path}: {error}")));
                tokio::time::sleep(BACKOFF.1).await;
            }
        }
    }
}

/// What the membership remembers from one stage to the next.
struct Membership {
    /// The change that added the member which failed last; a nomination of it is not followed
    /// twice.
    failed: Option<i64>,
    /// The pause before etcd is started again.
    pause: Duration,
}

impl Membership {
    /// Goes through one stage; gives the next. After an error the same stage can be passed again.
    async fn pass(
        &mut self,
        agent: &Arc<Agent>,
        stage: Stage,
        no_server: bool,
    ) -> std::io::Result<Stage> {
        match stage {
            Stage::Found => found(agent),
            Stage::Seek => Ok(seek(agent, no_server).await),
            Stage::Abandon(reason) => abandon(agent, reason),
            Stage::DiskLost => give_up_member(agent).await,
            Stage::Volunteer => {
                let order = volunteer(agent, self.failed).await;
                self.failed = Some(order.seq);
                follow(agent, &order)
            }
            Stage::Run(mode) => self.serve(agent, mode).await,
        }
    }

    async fn serve(&mut self, agent: &Agent, mode: Mode) -> std::io::Result<Stage> {
        let started = Instant::now();
        let end = serve(agent, mode).await;
        if let (Err(_), Some(running)) = (&end, agent.child()) {
            running.signal(Signal::SIGKILL);
            running.ended().await;
        }
        agent.serving.send_replace(None);
        agent.set_child(None);
        if started.elapsed() > HEALTHY {
            self.pause = BACKOFF.0;
        }
        let next = after(agent, &end?)?;
        if matches!(next, Stage::Run(_)) {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(BACKOFF.1);
        }
        Ok(next)
    }
}

/// Founds a cluster: the token is random, so that a wiped folder founds a different cluster at the
/// same address.
fn found(agent: &Agent) -> std::io::Result<Stage> {
    agent.folder.archive("found")?;
    agent.folder.update(|i| {
        i.phase = Phase::Bootstrapping;
        i.cluster_uuid = Some(uuid::Uuid::new_v4().to_string());
        i.token = Some(uuid::Uuid::new_v4().to_string());
        i.initial_cluster = Vec::new();
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
    })?;
    Ok(Stage::Run(Mode::New))
}

/// Waits until the cluster answers and is ours.
async fn seek(agent: &Agent, no_server: bool) -> Stage {
    let role = if no_server { Role::Client } else { Role::Volunteer };
    tls::obtained(agent, role).await;
    if !*agent.settled.borrow() || agent.endpoints.expected().is_none() {
        let seeds: Vec<String> = known(agent).into_iter().map(|seed| seed.text).collect();
        agent.say(role, Some(format!("waiting for an answer from {}", seeds.join(", "))));
    }
    loop {
        let mut asked = std::pin::pin!(settle(agent));
        let answer = tokio::select! {
            answer = &mut asked => answer,
            // Long before the store gives up, a plain connection tells what is the matter.
            why = unreachable(agent) => {
                agent.say(role, Some(why));
                asked.await
            }
        };
        match answer {
            Ok(()) => break,
            Err(error @ StartError::ForeignCluster { .. }) => {
                agent.say(Role::Blocked, Some(error.to_string()));
            }
            Err(error) => {
                let why = silence::reasons(&known(agent)).await;
                agent.say(role, Some(why.unwrap_or_else(|| error.to_string())));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    if no_server {
        agent.say(Role::Client, None);
        std::future::pending::<()>().await;
    }
    Stage::Volunteer
}

/// Why nobody can be reached; waits for ever while somebody can.
async fn unreachable(agent: &Agent) -> String {
    tokio::time::sleep(AGAIN).await;
    match silence::reasons(&known(agent)).await {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

/// Everybody who may answer: the seeds, or, without any, who answered last time.
fn known(agent: &Agent) -> Vec<Url> {
    if !agent.addresses.seeds.is_empty() {
        return agent.addresses.seeds.clone();
    }
    let urls = agent.endpoints.urls();
    urls.iter().filter_map(|url| Url::parse("--seeds", url, CLIENT_PORT).ok()).collect()
}

/// Learns which cluster answers and checks that it is the folder's; remembers it when the folder
/// had none.
pub(super) async fn settle(agent: &Agent) -> Result<(), StartError> {
    let unknown = |why: String| StartError::Io {
        what: "cannot join through the seeds for",
        path: agent.folder.path().into(),
        source: std::io::Error::other(why),
    };
    let (lists, _) =
        agent.store.read_many(&[keys::cluster()]).await.map_err(|e| unknown(e.to_string()))?;
    let entry = lists.first().and_then(|l| l.first());
    let record: Option<ClusterRecord> = match entry {
        Some(entry) => keys::read(&entry.value),
        None => adopt::record(agent).await,
    };
    let record = record.ok_or_else(|| {
        unknown("the cluster there is not one of quorate, or not set up yet".into())
    })?;
    let cluster = agent.endpoints.expected();
    let identity = agent.folder.identity();
    if let Some(ours) = identity.cluster_uuid.filter(|ours| *ours != record.uuid) {
        let seed = agent.endpoints.urls().first().cloned().unwrap_or_default();
        return Err(StartError::ForeignCluster { seed, theirs: record.uuid, ours });
    }
    let stored = agent.folder.update(|i| {
        i.cluster_uuid = Some(record.uuid);
        i.token = Some(record.token);
        i.cluster_id = i.cluster_id.or(cluster);
    });
    stored.map_err(|e| unknown(e.to_string()))?;
    agent.settled.send_replace(true);
    Ok(())
}

/// Offers to serve until a nomination comes that is not the one which `failed`.
async fn volunteer(agent: &Agent, failed: Option<i64>) -> NominateRecord {
    let mut claim = agent.claim.subscribe();
    loop {
        let Ok(held) = claim.wait_for(Option::is_some).await.map(|c| *c) else {
            std::future::pending::<()>().await;
            continue;
        };
        let Some(held) = held else { continue };
        let offer = VolunteerRecord {
            v: keys::VERSION,
            instance: agent.instance.clone(),
            peer: agent.addresses.peer.clone(),
            client: agent.addresses.client.clone(),
            since: agent.started,
            etcd: agent.etcd.as_ref().map(|e| e.version.to_string()).unwrap_or_default(),
        };
        let key = PerHost::Volunteer.of(&agent.host);
        let put = Op::Put { key, value: keys::write(&offer), lease: Some(held.lease) };
        let mine = Compare::Revision(PerHost::Host.of(&agent.host), held.revision);
        match agent.store.txn(Txn { when: vec![mine], then: vec![put] }).await {
            Ok(done) if done.applied => agent.say(Role::Volunteer, None),
            // A claim that is no longer ours is made anew by its own task.
            _ => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        claim.mark_unchanged();
        tokio::select! {
            order = nominated(agent, failed) => return order,
            // The lease was lost and with it the offer.
            _ = claim.changed() => {}
        }
    }
}

async fn nominated(agent: &Agent, failed: Option<i64>) -> NominateRecord {
    let key = PerHost::Nominate.of(&agent.host);
    loop {
        let revision = match agent.store.range(&key).await {
            Ok(snapshot) => {
                let entry = snapshot.entries.iter().find(|e| e.key == key);
                let order: Option<NominateRecord> = entry.and_then(|e| keys::read(&e.value));
                if let Some(order) = order.filter(|o| Some(o.seq) != failed) {
                    return order;
                }
                snapshot.revision
            }
            Err(_) => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        if let Ok(mut changes) = agent.store.watch(&key, revision + 1).await {
            // Whatever comes, a change or an error: look again.
            drop(changes.recv().await);
        }
    }
}

/// Prepares the folder for a nomination.
fn follow(agent: &Agent, order: &NominateRecord) -> std::io::Result<Stage> {
    agent.folder.archive("stale")?;
    agent.folder.update(|i| {
        i.phase = Phase::Joining;
        i.member = Some(order.member);
        i.token = Some(order.token.clone());
        i.cluster_uuid = Some(order.uuid.clone());
        i.initial_cluster.clone_from(&order.initial_cluster);
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
    })?;
    Ok(Stage::Run(Mode::Existing))
}

/// Starts etcd and watches over it until it ends.
async fn serve(agent: &Agent, mode: Mode) -> std::io::Result<End> {
    agent.say(Role::Starting, None);
    let running = spawn(agent, mode).await?;
    let joining = agent.folder.identity().phase == Phase::Joining;
    let (probe, exit) = (ready(agent), running.ended());
    tokio::select! {
        exit = exit => return Ok(End::Exit(exit)),
        answer = timeout(if joining { JOIN } else { Duration::MAX }, probe) => match answer {
            Ok(probe) => accept(agent, mode, &probe).await?,
            Err(_) => return Ok(end(&running, "its etcd found no leader in time").await),
        },
        () = taken_back(agent), if joining => {
            return Ok(end(&running, "the nomination was taken back").await);
        }
    }
    if let Some(why) = mismatch(agent) {
        return Ok(end(&running, &why).await);
    }
    tokio::select! {
        exit = running.ended() => Ok(End::Exit(exit)),
        () = observe(agent) => Ok(End::Abandoned("the status is no longer read".into())),
    }
}

async fn spawn(agent: &Agent, mode: Mode) -> std::io::Result<Running> {
    let identity = agent.folder.identity();
    let sockets = agent.folder.socket_dir();
    std::fs::create_dir_all(&sockets)?;
    // Left behind by a child that was killed; etcd would not listen on it again.
    drop(std::fs::remove_file(sockets.join("client:0")));
    let data_dir = agent.folder.etcd_dir();
    let arguments = flags::arguments(&Child {
        identity: &identity,
        mode,
        data_dir: &data_dir.to_string_lossy(),
        listen_client: &agent.listen.client,
        listen_peer: &agent.listen.peer,
        client: &agent.addresses.client,
        peer: &agent.addresses.peer,
        tls: agent.tls.certificates.as_ref(),
    });
    let program = agent.etcd.as_ref().map(|e| e.path.clone()).unwrap_or_else(|| "etcd".into());
    let running = child::spawn(
        &agent.spawner,
        child::Start {
            via: &agent.child_program,
            program: &program,
            arguments,
            directory: &sockets,
            log: agent.folder.path().join("etcd.log"),
        },
    )
    .await?;
    agent.set_child(Some(running.clone()));
    Ok(running)
}

/// Ends a child that is of no use.
async fn end(running: &Running, why: &str) -> End {
    running.signal(Signal::SIGKILL);
    running.ended().await;
    End::Abandoned(why.to_owned())
}

/// Waits until our etcd answers and has a leader.
async fn ready(agent: &Agent) -> Probe {
    let mut waiting = Instant::now();
    loop {
        if let Some(probe) = agent.rpc.probe(&agent.own_url).await {
            if probe.leader != 0 {
                return probe;
            }
            if waiting.elapsed() > Duration::from_secs(3) {
                waiting = Instant::now();
                let reason = "waiting for a leader: too few members answer";
                agent.say(Role::Waiting, Some(reason.into()));
            }
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// Waits until a new member's nomination is gone.
async fn taken_back(agent: &Agent) {
    let key = PerHost::Nominate.of(&agent.host);
    let own = agent.folder.identity().member;
    loop {
        let Ok(snapshot) = agent.store.range(&key).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let entry = snapshot.entries.iter().find(|e| e.key == key);
        let order: Option<NominateRecord> = entry.and_then(|e| keys::read(&e.value));
        if order.map(|o| o.member) != own {
            return;
        }
        if let Ok(mut changes) = agent.store.watch(&key, snapshot.revision + 1).await {
            drop(changes.recv().await);
        }
    }
}

/// Our etcd serves: stores what it is, and founds the cluster's records when it is the first.
async fn accept(agent: &Agent, mode: Mode, probe: &Probe) -> std::io::Result<()> {
    let before = agent.folder.identity();
    let unexpected = |known: Option<u64>, found: u64| known.is_some_and(|k| k != found);
    if unexpected(before.cluster_id, probe.cluster) || unexpected(before.member, probe.member) {
        return Ok(());
    }
    agent.endpoints.bind(probe.cluster);
    if !probe.learner {
        agent.endpoints.add(&agent.own_url);
    }
    agent.folder.update(|i| {
        i.cluster_id = Some(probe.cluster);
        i.member = Some(probe.member);
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
        if mode == Mode::Existing {
            i.phase = Phase::Member;
        }
    })?;
    if mode == Mode::New {
        record_cluster(agent).await;
        agent.folder.update(|i| i.phase = Phase::Member)?;
    }
    agent.settled.send_replace(true);
    let serving = Serving { cluster: probe.cluster, member: probe.member };
    agent.serving.send_replace(Some(serving));
    let (clients, peers) = (agent.addresses.client.join(", "), agent.addresses.peer.join(", "));
    tracing::info!("etcd serves clients at {clients} and peers at {peers}");
    Ok(())
}

/// Why the etcd that answers at our URL is not our child.
fn mismatch(agent: &Agent) -> Option<String> {
    let identity = agent.folder.identity();
    agent.serving.borrow().is_none().then(|| {
        let show = |id: Option<u64>| id.map(show_id).unwrap_or_else(|| "none".into());
        let (cluster, member) = (show(identity.cluster_id), show(identity.member));
        format!(
            "{} is answered by another etcd than member {member} of cluster {cluster}",
            agent.own_url
        )
    })
}

/// Writes the records that joining rests on. Only the founder can be here, and nobody can have
/// written them.
async fn record_cluster(agent: &Agent) {
    let identity = agent.folder.identity();
    let cluster = ClusterRecord {
        v: keys::VERSION,
        uuid: identity.cluster_uuid.unwrap_or_default(),
        token: identity.token.unwrap_or_default(),
        created: now_seconds(),
        epoch: 0,
    };
    let size =
        SizeRecord { v: keys::VERSION, n: agent.ideal, by: agent.host.clone(), at: now_seconds() };
    let put = |key, value| Op::Put { key, value, lease: None };
    let txn = Txn {
        when: vec![Compare::Missing(keys::cluster())],
        then: vec![
            put(keys::cluster(), keys::write(&cluster)),
            put(keys::size(), keys::write(&size)),
        ],
    };
    // Applied or not: afterwards the records are there.
    while let Err(error) = agent.store.txn(txn.clone()).await {
        tracing::warn!(%error, "the new cluster's records cannot be written yet");
    }
}

/// Says what our etcd is, for as long as it runs.
async fn observe(agent: &Agent) {
    let mut leaderless = None;
    loop {
        let probe = agent.rpc.probe(&agent.own_url).await;
        let led = probe.as_ref().is_some_and(|p| p.leader != 0);
        if led {
            leaderless = None;
        }
        let since = *leaderless.get_or_insert_with(Instant::now);
        let learner = probe.as_ref().is_some_and(|p| p.learner);
        if !led && since.elapsed() > Duration::from_secs(3) {
            let reason = "waiting for quorum: this host's etcd knows no leader";
            agent.say(Role::Waiting, Some(reason.into()));
        } else if led && learner {
            agent.say(Role::Learner, None);
        } else if led {
            if !agent.endpoints.urls().contains(&agent.own_url) {
                agent.endpoints.add(&agent.own_url);
            }
            agent.say(Role::Voter, None);
        }
        tokio::time::sleep(if led && !learner { VOTER_POLL } else { LEARNER_POLL }).await;
    }
}

/// What follows the end of etcd.
fn after(agent: &Agent, end: &End) -> std::io::Result<Stage> {
    let phase = agent.folder.identity().phase;
    let exit = match end {
        // Only who is no member yet may start over: a stranger on our port is no reason to put
        // the data of a member aside.
        End::Abandoned(why) if phase != Phase::Joining => {
            agent.say(Role::Blocked, Some(why.clone()));
            return Ok(again(phase));
        }
        End::Abandoned(why) => {
            tracing::warn!("{why}; volunteering again");
            return abandon(agent, "failed");
        }
        End::Exit(exit) => exit,
    };
    let sentence = exit.sentence();
    match exit.class() {
        Some(Class::Removed) => {
            let text = "this member was removed from the cluster; data moved to archive/";
            agent.say(Role::Removed, Some(text.into()));
            abandon(agent, "removed")
        }
        Some(Class::StaleList) => abandon(agent, "stale"),
        Some(Class::Amnesia | Class::Disk) => {
            tracing::error!("{sentence}; giving up this member and volunteering as a new one");
            Ok(Stage::DiskLost)
        }
        Some(Class::Port | Class::Version | Class::Usage | Class::Locked | Class::Space) => {
            agent.say(Role::Blocked, Some(sentence));
            Ok(again(phase))
        }
        _ => {
            agent.say(Role::Starting, Some(sentence));
            Ok(again(phase))
        }
    }
}

fn again(phase: Phase) -> Stage {
    Stage::Run(if phase == Phase::Bootstrapping { Mode::New } else { Mode::Existing })
}

/// Puts the data aside and starts over as a volunteer of the same cluster.
fn abandon(agent: &Agent, reason: &str) -> std::io::Result<Stage> {
    agent.folder.archive(reason)?;
    agent.folder.update(|i| i.forget_membership())?;
    Ok(Stage::Seek)
}

/// The member cannot come back: asks for its removal, then volunteers as a new one.
async fn give_up_member(agent: &Agent) -> std::io::Result<Stage> {
    let identity = agent.folder.identity();
    agent.folder.archive("disk-lost")?;
    let Some(member) = identity.member else { return abandon(agent, "disk-lost") };
    let leave = LeaveRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        member,
        reason: "disk-lost".into(),
    };
    let key = PerHost::Leave.of(&agent.host);
    let put = Op::Put { key, value: keys::write(&leave), lease: None };
    // The order that made the lost member must not be followed again.
    let order = Op::Delete { key: PerHost::Nominate.of(&agent.host) };
    let txn = Txn { when: Vec::new(), then: vec![put, order] };
    loop {
        let written: Result<_, StoreError> = agent.store.txn(txn.clone()).await;
        match written {
            Ok(_) => break,
            Err(error) => {
                let reason =
                    format!("the etcd data are lost and the others do not answer: {error}");
                agent.say(Role::Blocked, Some(reason));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    abandon(agent, "disk-lost")
}
