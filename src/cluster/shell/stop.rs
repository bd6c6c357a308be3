//! Stop and leave (3.7): each step has a limit, and a second wish cuts the waiting short.
//!
//! Refuses to return while a child of ours runs.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::rpc::{Member, Probe};
use super::{Agent, Serving, StopMode};
use crate::cluster::aftermath::Cause;
use crate::cluster::decide::quorum;
use crate::cluster::identity::Phase;
use crate::cluster::keys::{self, AwayRecord, LeaveRecord};
use crate::cluster::logline::Class;
use crate::cluster::status::Role;
use crate::cluster::writes;
use crate::store::Store;

/// How long a note to the others may take.
const NOTE: Duration = Duration::from_secs(1);
/// How long handing over the leadership may take; 0.1 s is usual.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long the others may take to remove us.
const REMOVAL: Duration = Duration::from_secs(10);
/// How long the child may take to end after TERM, and after TERM when in a hurry.
const TERM: Duration = Duration::from_secs(5);
const TERM_HURRY: Duration = Duration::from_secs(1);
/// How long a stopped host counts as away and not as dead.
const AWAY: Duration = Duration::from_secs(600);

/// Carries out the wish, and stronger ones that come meanwhile.
pub(super) async fn run(
    agent: &Agent,
    mut wish: watch::Receiver<Option<StopMode>>,
    deciding: JoinSet<()>,
) {
    let mode = wish.borrow().unwrap_or(StopMode::Now);
    if mode < StopMode::Hurry {
        tokio::select! {
            _ = wish.wait_for(|w| *w >= Some(StopMode::Hurry)) => {}
            () = politely(agent, mode, deciding) => {}
        }
    }
    end_child(agent, &mut wish).await;
}

async fn politely(agent: &Agent, mode: StopMode, mut deciding: JoinSet<()>) {
    let serving = agent.serving.borrow().clone();
    let left = match (&serving, mode) {
        (Some(serving), StopMode::Leave) => leave(agent, serving).await,
        _ => false,
    };
    deciding.shutdown().await;
    if let (Some(serving), false) = (&serving, left) {
        note_absence(agent).await;
        hand_over(agent, serving).await;
    }
    let claim = *agent.claim.borrow();
    if let Some(claim) = claim {
        // Without an answer the lease ends by itself.
        drop(timeout(NOTE, agent.store.revoke(claim.lease)).await);
    }
}

/// Leaves the cluster; false when it stays a member, since it is the only one or too few answer.
async fn leave(agent: &Agent, serving: &Serving) -> bool {
    let Some((_, members)) = agent.rpc.members(&agent.own_url).await else { return false };
    let voters: Vec<_> = members.iter().filter(|m| !m.learner).collect();
    let voting = voters.iter().any(|m| m.id == serving.member);
    let seen = agent.status.borrow().cluster.as_ref().is_some_and(|c| c.quorum);
    // What was seen last may be from before the others came.
    let enough = seen || answering(agent, serving, &voters).await >= quorum(voters.len());
    if (voting && voters.len() == 1) || !enough {
        tracing::info!("stays a member: it is the only voter, or too few answer to take it out");
        return false;
    }
    agent.say(Role::Leaving, None);
    // The way back: the founder has no seeds but these.
    let others = members.iter().filter(|m| m.id != serving.member);
    let urls: Vec<String> = others.flat_map(|m| m.client.iter().cloned()).collect();
    if let Err(error) = agent.folder.remember_endpoints(&urls) {
        tracing::warn!(%error, "where the others are cannot be remembered");
    }
    if let Err(error) = agent.folder.update(|i| i.phase = Phase::Leaving) {
        tracing::error!(%error, "the wish to leave cannot be stored; staying a member");
        return false;
    }
    let record = LeaveRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        member: serving.member,
        reason: "leave".into(),
        deadline: None,
    };
    let claim = agent.claim.borrow().map(|claim| claim.revision);
    let asked = agent.store.txn(writes::leave(&agent.host, &record, claim)).await;
    let asked = asked.is_ok_and(|done| done.applied);
    let removed = asked && timeout(REMOVAL, gone(agent)).await == Ok(true);
    if !removed && !remove_self(agent, serving).await {
        tracing::warn!("the others did not take this member out; the next start finishes it");
        return false;
    }
    // etcd ends by itself once it knows; what it knows no longer matters.
    agent.set_child_down(TERM_HURRY).await;
    let archived = agent.folder.archive("left");
    let forgotten = agent.folder.update(|i| i.forget_membership());
    if let Some(error) = archived.err().or(forgotten.err()) {
        tracing::error!(%error, "the data of the member that left could not be put aside");
    }
    tracing::info!("left the cluster");
    true
}

/// Waits until our etcd has ended, as it does when it learns of its removal; whether it was that.
/// Any other end says nothing, and the data may still be needed.
async fn gone(agent: &Agent) -> bool {
    match agent.child() {
        Some(child) => child.ended().await.cause() == Cause::Told(Class::Removed),
        None => std::future::pending().await,
    }
}

/// Takes this member out through another one, when the voters that remain have a quorum of their
/// own. etcd's own check is off, so nobody else would refuse.
async fn remove_self(agent: &Agent, serving: &Serving) -> bool {
    let Some((_, members)) = agent.rpc.members(&agent.own_url).await else { return false };
    let others: Vec<_> = members.iter().filter(|m| !m.learner && m.id != serving.member).collect();
    if answering(agent, serving, &others).await < quorum(others.len()) {
        return false;
    }
    for url in agent.endpoints.urls().iter().filter(|u| **u != agent.own_url) {
        let same = agent.rpc.probe(url).await.is_some_and(|p| p.cluster == serving.cluster);
        if same && agent.rpc.remove(url, serving.member).await.is_ok() {
            return true;
        }
    }
    false
}

/// How many of these answer for our cluster and know its leader.
async fn answering(agent: &Agent, serving: &Serving, members: &[&Member]) -> usize {
    let urls = members.iter().filter_map(|m| m.client.first());
    let probes = futures_util::future::join_all(urls.map(|url| agent.rpc.probe(url))).await;
    let ours = |p: &&Probe| p.cluster == serving.cluster && p.leader != 0;
    probes.iter().flatten().filter(ours).count()
}

/// Tells the others that this absence is planned.
async fn note_absence(agent: &Agent) {
    let record = AwayRecord {
        v: keys::VERSION,
        seconds: AWAY.as_secs(),
        why: "the agent was stopped".into(),
    };
    let txn = writes::away(&agent.host, &record, *agent.claim.borrow());
    if !matches!(timeout(NOTE, agent.store.txn(txn)).await, Ok(Ok(_))) {
        tracing::debug!("the planned absence could not be announced");
    }
}

/// Gives the leadership to another voter that answers, if we have it.
async fn hand_over(agent: &Agent, serving: &Serving) {
    let moved = timeout(HAND_OVER, async {
        let own = agent.rpc.probe(&agent.own_url).await?;
        if own.leader != serving.member {
            return None;
        }
        let (_, members) = agent.rpc.members(&agent.own_url).await?;
        for member in members.iter().filter(|m| !m.learner && m.id != serving.member) {
            let up = match member.client.first() {
                Some(url) => agent.rpc.probe(url).await.is_some_and(|p| p.leader == own.leader),
                None => false,
            };
            if up && agent.rpc.move_leader(&agent.own_url, member.id).await.is_ok() {
                return Some(());
            }
        }
        None
    });
    if moved.await.is_err() {
        tracing::debug!("the leadership was not handed over in time");
    }
}

/// TERM, a while, KILL; at once when that is wished.
async fn end_child(agent: &Agent, wish: &mut watch::Receiver<Option<StopMode>>) {
    let Some(child) = agent.child() else { return };
    let mode = *wish.borrow();
    if mode < Some(StopMode::Now) {
        child.signal(Signal::SIGTERM);
        let limit = if mode < Some(StopMode::Hurry) { TERM } else { TERM_HURRY };
        tokio::select! {
            _ = timeout(limit, child.ended()) => {}
            _ = wish.wait_for(|w| *w == Some(StopMode::Now)) => {}
        }
    }
    child.signal(Signal::SIGKILL);
    child.ended().await;
    agent.set_child(None);
}

impl Agent {
    /// Waits a while for the child's own end, then makes an end.
    async fn set_child_down(&self, patience: Duration) {
        let Some(child) = self.child() else { return };
        if timeout(patience, child.ended()).await.is_err() {
            child.signal(Signal::SIGKILL);
            child.ended().await;
        }
        self.set_child(None);
    }
}
