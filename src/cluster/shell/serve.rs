//! One life of the etcd child: started, waited for, accepted, watched.
//!
//! Refuses to decide what follows its end, and to take an etcd at our URL for ours by its URL.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::child::{self, Exit, Running};
use super::rpc::Probe;
use super::{Agent, Serving, fault, now_seconds, readdress};
use crate::cluster::flags::{self, Child, Mode};
use crate::cluster::identity::{Phase, show_id};
use crate::cluster::keys::{self, ClusterRecord, NominateRecord, PerHost, SizeRecord};
use crate::cluster::status::Role;
use crate::cluster::writes;
use crate::store::Store;

/// How often a starting etcd is asked whether it serves; it has no way to tell.
const READY_POLL: Duration = Duration::from_millis(30);
/// How often a learner is asked whether it has been promoted, and a voter whether it has a leader.
const LEARNER_POLL: Duration = Duration::from_millis(200);
const VOTER_POLL: Duration = Duration::from_secs(1);
/// How long a new member may take until it has a leader; a hung peer would block it for ever.
const JOIN: Duration = Duration::from_secs(30);
/// How long a founder, which needs nobody, may take to lead. An etcd that was killed before it
/// wrote its first entries has a log without voters, and would wait for ever.
const FOUND: Duration = Duration::from_secs(15);
/// How long a member may be without a leader before that is said.
const LEADERLESS: Duration = Duration::from_secs(3);
/// The pause before something that another host must do first is looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// Why etcd ended or must end.
pub(super) enum End {
    /// It ended by itself.
    Exit(Exit),
    /// A new member did not become ready, or its nomination was taken back.
    Abandoned(String),
}

/// Starts etcd and watches over it until it ends.
pub(super) async fn run(agent: &Agent, mode: Mode) -> io::Result<End> {
    agent.say(Role::Starting, None);
    let running = spawn(agent, mode).await?;
    let phase = agent.folder.identity().phase;
    let joining = phase == Phase::Joining;
    let limit = match phase {
        Phase::Joining => JOIN,
        Phase::Bootstrapping => FOUND,
        _ => Duration::MAX,
    };
    let (probe, exit) = (ready(agent), running.ended());
    tokio::select! {
        exit = exit => return Ok(End::Exit(exit)),
        answer = timeout(limit, probe) => match answer {
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

async fn spawn(agent: &Agent, mode: Mode) -> io::Result<Running> {
    let identity = agent.folder.identity();
    let sockets = agent.folder.socket_dir();
    std::fs::create_dir_all(&sockets)?;
    // Left behind by a child that was killed; etcd would not listen on it again.
    drop(std::fs::remove_file(sockets.join("client:0")));
    let data_dir = agent.folder.etcd_dir();
    let arguments = flags::arguments(&Child {
        identity: &identity,
        mode,
        strict: agent.strict,
        quota: agent.quota,
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
    fault::point("spawned");
    Ok(running)
}

/// Ends a child that is of no use.
async fn end(running: &Running, why: &str) -> End {
    running.signal(Signal::SIGKILL);
    running.ended().await;
    End::Abandoned(why.to_owned())
}

/// Waits until our etcd answers and has a leader. A member that starts without a quorum serves
/// nobody before there is one, so its silence is judged by what the others say.
async fn ready(agent: &Agent) -> Probe {
    let mut waiting = Instant::now();
    loop {
        let probe = agent.rpc.probe(&agent.own_url).await;
        let answers = probe.is_some();
        if let Some(probe) = probe.filter(|probe| probe.leader != 0) {
            return probe;
        }
        if waiting.elapsed() > LEADERLESS {
            waiting = Instant::now();
            let member = agent.folder.identity().phase == Phase::Member;
            let quorum = agent.status.borrow().cluster.as_ref().is_some_and(|c| c.quorum);
            if answers || (member && !quorum) {
                let reason = "waiting for quorum: too few members answer";
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
async fn accept(agent: &Agent, mode: Mode, probe: &Probe) -> io::Result<()> {
    let before = agent.folder.identity();
    let unexpected = |known: Option<u64>, found: u64| known.is_some_and(|k| k != found);
    if unexpected(before.cluster_id, probe.cluster) || unexpected(before.member, probe.member) {
        return Ok(());
    }
    fault::point("ready");
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
    fault::point("member");
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
    let size = SizeRecord {
        v: keys::VERSION,
        n: agent.ideal,
        floor: agent.floor,
        allow_even: agent.allow_even,
        by: agent.host.clone(),
        at: now_seconds(),
    };
    let txn = writes::found(&cluster, &size);
    // Applied or not: afterwards the records are there.
    while let Err(error) = agent.store.txn(txn.clone()).await {
        tracing::warn!(%error, "the new cluster's records cannot be written yet");
    }
}

/// Says what our etcd is, for as long as it runs.
async fn observe(agent: &Agent) {
    let mut leaderless = None;
    let mut listed = false;
    loop {
        let probe = agent.rpc.probe(&agent.own_url).await;
        let led = probe.as_ref().is_some_and(|p| p.leader != 0);
        if led {
            leaderless = None;
        }
        let since = *leaderless.get_or_insert_with(Instant::now);
        let learner = probe.as_ref().is_some_and(|p| p.learner);
        if !led && since.elapsed() > LEADERLESS {
            let reason = "waiting for quorum: this host's etcd knows no leader";
            agent.say(Role::Waiting, Some(reason.into()));
        } else if led && learner {
            agent.say(Role::Learner, None);
        } else if led {
            if !agent.endpoints.urls().contains(&agent.own_url) {
                agent.endpoints.add(&agent.own_url);
            }
            agent.say(Role::Voter, None);
            listed = listed || readdress::through_own(agent).await;
        }
        tokio::time::sleep(if led && !learner { VOTER_POLL } else { LEARNER_POLL }).await;
    }
}
