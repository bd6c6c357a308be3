//! The steps of a membership that touch the folder and the store: found, seek, volunteer, follow an
//! order, give up.
//!
//! Refuses to choose the next one, and to have etcd started without a stored list, a stored token
//! and a phase on disk that names the start.

use std::io;
use std::time::Duration;

use super::roles::Tell;
use super::{Agent, adopt, fault, silence, tls};
use crate::cluster::StartError;
use crate::cluster::address::{CLIENT_PORT, Url};
use crate::cluster::identity::Phase;
use crate::cluster::keys::{
    self, ClusterRecord, LeaveRecord, NominateRecord, PerHost, VolunteerRecord,
};
use crate::cluster::timers::Timers;
use crate::cluster::writes::{self, Claim};
use crate::store::Store;

/// The pause before something that another host must do first is looked at again.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// Founds a cluster: the token is random, so that a wiped folder founds a different cluster at the
/// same address.
pub(super) fn found(agent: &Agent) -> io::Result<()> {
    agent.folder.archive("found")?;
    agent.folder.update(|i| {
        i.phase = Phase::Bootstrapping;
        i.cluster_uuid = Some(uuid::Uuid::new_v4().to_string());
        i.token = Some(uuid::Uuid::new_v4().to_string());
        i.timers = Some(Timers::of(None, agent.timers));
        i.initial_cluster = Vec::new();
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
    })?;
    Ok(())
}

/// Waits until the cluster answers and is ours.
pub(super) async fn seek(agent: &Agent, tell: &Tell) {
    tls::obtained(agent, tell).await;
    if !*agent.settled.borrow() || agent.endpoints.expected().is_none() {
        let seeds: Vec<String> = known(agent).into_iter().map(|seed| seed.text).collect();
        tell.silent(format!("waiting for an answer from {}", seeds.join(", ")));
    }
    loop {
        let mut asked = std::pin::pin!(settle(agent));
        let answer = tokio::select! {
            answer = &mut asked => answer,
            // Long before the store gives up, a plain connection tells what is the matter.
            why = unreachable(agent) => {
                tell.silent(why);
                asked.await
            }
        };
        match answer {
            Ok(()) => return,
            Err(error @ StartError::ForeignCluster { .. }) => tell.barred(error.to_string()),
            Err(error) => {
                let why = silence::reasons(&known(agent)).await;
                tell.silent(why.unwrap_or_else(|| error.to_string()));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
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
    let (lists, revision) =
        agent.store.read_many(&[keys::cluster()]).await.map_err(|e| unknown(e.to_string()))?;
    let entry = lists.first().and_then(|l| l.first());
    let record: Option<ClusterRecord> = match entry {
        Some(entry) => keys::read(&entry.value),
        None if agent.etcd.is_some() => adopt::written(agent, revision).await,
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
    if let Some(why) = Timers::disregarded(record.timers, agent.timers)
        && agent.etcd.is_some()
        && identity.timers != record.timers
    {
        tracing::warn!("{why}");
    }
    let stored = agent.folder.update(|i| {
        i.cluster_uuid = Some(record.uuid);
        i.token = Some(record.token);
        i.timers = record.timers;
        i.cluster_id = i.cluster_id.or(cluster);
    });
    stored.map_err(|e| unknown(e.to_string()))?;
    agent.settled.send_replace(true);
    Ok(())
}

/// Writes the offer to serve; gives the claim that it rests on, whose end is the offer's too.
pub(super) async fn volunteer(agent: &Agent, since: u64, not_before: u64) -> Claim {
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
            since,
            not_before,
            etcd: agent.etcd.as_ref().map(|e| e.version.to_string()).unwrap_or_default(),
        };
        match agent.store.txn(writes::volunteer(&agent.host, &offer, held)).await {
            Ok(done) if done.applied => {
                fault::point("volunteered");
                return held;
            }
            // A claim that is no longer ours is made anew by its own task.
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// The order for this host and the revision that it was read at; after one that was seen, only once
/// something may have changed.
pub(super) async fn nominated(agent: &Agent, seen: Option<i64>) -> (Option<NominateRecord>, i64) {
    let key = PerHost::Nominate.of(&agent.host);
    if let Some(revision) = seen
        && let Ok(mut changes) = agent.store.watch(&key, revision + 1).await
    {
        // Whatever comes, a change or an error: look again.
        drop(changes.recv().await);
    }
    loop {
        if let Ok(snapshot) = agent.store.range(&key).await {
            let entry = snapshot.entries.iter().find(|e| e.key == key);
            return (entry.and_then(|e| keys::read(&e.value)), snapshot.revision);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Prepares the folder for a nomination.
pub(super) fn follow(agent: &Agent, order: Option<&NominateRecord>) -> io::Result<()> {
    let order = order.ok_or_else(|| io::Error::other("there is no order to follow"))?;
    fault::point("nominated");
    agent.folder.archive("stale")?;
    fault::point("archived");
    agent.folder.update(|i| {
        i.phase = Phase::Joining;
        i.member = Some(order.member);
        i.token = Some(order.token.clone());
        i.cluster_uuid = Some(order.uuid.clone());
        i.initial_cluster.clone_from(&order.initial_cluster);
        i.peer.clone_from(&agent.addresses.peer);
        i.client.clone_from(&agent.addresses.client);
    })?;
    fault::point("joining");
    Ok(())
}

/// Puts the data aside and forgets the membership.
pub(super) fn abandon(agent: &Agent, reason: &str) -> io::Result<()> {
    agent.folder.archive(reason)?;
    agent.folder.update(|i| i.forget_membership())?;
    Ok(())
}

/// Asks for the removal of our member, if there is one. Its data stay until the wish is stored: a
/// person may still be able to mend them.
pub(super) async fn give_up_member(agent: &Agent, reason: &str, tell: &Tell) {
    let identity = agent.folder.identity();
    let Some(member) = identity.member else { return };
    let leave = LeaveRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        member,
        reason: reason.into(),
        deadline: None,
    };
    let txn = writes::disk_lost(&agent.host, &leave, None);
    while let Err(error) = agent.store.txn(txn.clone()).await {
        tell.silent(format!(
            "the etcd data of this member are of no use, and the others cannot take it out: {error}"
        ));
        tokio::time::sleep(AGAIN).await;
    }
}
