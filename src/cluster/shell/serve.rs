//! What is done with the etcd child: started, asked how it is, accepted.
//!
//! Refuses to decide what follows, and to take an etcd at our URL for ours by its URL.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::rpc::Probe;
use super::{Agent, Serving, child, fault, now_seconds};
use crate::cluster::flags::{self, Child, Mode};
use crate::cluster::identity::{Phase, show_id};
use crate::cluster::keys::{self, ClusterRecord, SizeRecord};
use crate::cluster::roles::{Health, Pace};
use crate::cluster::timers::Timers;
use crate::cluster::writes;
use crate::store::Store;

/// How often a starting etcd is asked whether it serves; it has no way to tell.
const READY_POLL: Duration = Duration::from_millis(30);
/// How often a learner is asked whether it has been promoted, and a voter whether it has a leader.
const LEARNER_POLL: Duration = Duration::from_millis(200);
const VOTER_POLL: Duration = Duration::from_secs(1);

/// Starts etcd.
pub(super) async fn spawn(agent: &Agent, mode: Mode) -> io::Result<()> {
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
        timers: Timers::of(identity.timers, agent.timers),
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
    agent.set_child(Some(running));
    fault::point("spawned");
    Ok(())
}

/// Asks our etcd how it is, at once or after the pause of this pace.
pub(super) fn look(agent: &Agent, after: Option<Pace>) -> BoxFuture<'_, Option<Probe>> {
    let pause = after.map(|pace| match pace {
        Pace::Starting => READY_POLL,
        Pace::Waiting => LEARNER_POLL,
        Pace::Voting => VOTER_POLL,
    });
    Box::pin(async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        agent.rpc.probe(&agent.own_url).await
    })
}

/// What an answer at our URL says, compared with what the folder knows.
pub(super) fn health(agent: &Agent, probe: &Probe) -> Health {
    let known = agent.folder.identity();
    let fits = |known: Option<u64>, found: u64| known.is_none_or(|k| k == found);
    Health {
        ours: fits(known.cluster_id, probe.cluster) && fits(known.member, probe.member),
        led: probe.leader != 0,
        learner: probe.learner,
    }
}

/// That the etcd that answers at our URL is not our child.
pub(super) fn stranger(agent: &Agent) -> String {
    let identity = agent.folder.identity();
    let show = |id: Option<u64>| id.map(show_id).unwrap_or_else(|| "none".into());
    let (cluster, member) = (show(identity.cluster_id), show(identity.member));
    format!(
        "{} is answered by another etcd than member {member} of cluster {cluster}",
        agent.own_url
    )
}

/// Has the store ask our own etcd too.
pub(super) fn use_own(agent: &Agent) {
    if !agent.endpoints.urls().contains(&agent.own_url) {
        agent.endpoints.add(&agent.own_url);
    }
}

/// Our etcd serves: stores what it is, and founds the cluster's records when it is the first.
pub(super) async fn accept(
    agent: &Agent,
    mode: Mode,
    votes: bool,
    probe: &Probe,
) -> io::Result<()> {
    fault::point("ready");
    agent.endpoints.bind(probe.cluster);
    if votes {
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
        timers: Some(Timers::of(identity.timers, agent.timers)),
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
        tokio::time::sleep(super::member::AGAIN).await;
    }
}
