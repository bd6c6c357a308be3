//! The one host that changes the membership: the agent whose etcd leads.
//!
//! Refuses to act without a claim of its own that is newer than every other, on observations older
//! than 2 s, and while a change is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::rpc::Member;
use super::{Agent, Serving, now_seconds};
use crate::cluster::decide::{self, Action};
use crate::cluster::flags;
use crate::cluster::keys::{
    self, ChangeKind, ChangeRecord, ControllerRecord, HistoryRecord, NominateRecord, PerHost,
};
use crate::store::etcd::{Endpoints, EtcdStore};
use crate::store::{Compare, Op, Store, StoreError, Txn};

mod observe;
mod tell;

use observe::{Memory, Seen};

/// How often to look when nothing is going on: members do not tell when they are gone.
const CALM: Duration = Duration::from_secs(1);
/// How often to look while a learner becomes ready.
const FORMING: Duration = Duration::from_millis(50);
/// An observation older than this is not acted on.
const FRESH: Duration = Duration::from_secs(2);
/// How long an open change may take before it is called off.
const TICKET: Duration = Duration::from_secs(15);
/// etcd answers that a re-added address was removed when it comes within the same second.
const SAME_SECOND: Duration = Duration::from_millis(1_100);
/// Finished changes that are kept.
const HISTORY: usize = 200;

/// What a look led to.
enum Looked {
    /// Somebody else leads.
    Follower,
    /// Nothing to do.
    Calm,
    /// A learner is on its way.
    Forming,
    /// Something was done; look again.
    Acted,
}

/// A claim to decide; every write about members compares it.
struct Fence {
    revision: i64,
}

impl Fence {
    fn holds(&self) -> Compare {
        Compare::Revision(keys::controller(), self.revision)
    }
}

/// Decides whenever our etcd leads, for as long as it is polled.
pub(super) async fn run(agent: Arc<Agent>) {
    let mut serving = agent.serving.subscribe();
    loop {
        let Ok(now) = serving.wait_for(Option::is_some).await.map(|s| s.clone()) else { return };
        let Some(now) = now else { continue };
        tokio::select! {
            () = lead(&agent, &now) => {}
            // Our etcd ended, or is another one now.
            _ = serving.changed() => {}
        }
    }
}

async fn lead(agent: &Arc<Agent>, serving: &Serving) {
    // Only our own etcd: whoever decides must be the one that leads.
    let own = Endpoints::new(vec![agent.own_url.clone()], Some(serving.cluster), true);
    let store = EtcdStore::new(own);
    let wake = Arc::new(Notify::new());
    let mut watchers = JoinSet::new();
    for prefix in
        [PerHost::Host.all(), PerHost::Volunteer.all(), PerHost::Leave.all(), keys::size()]
    {
        watchers.spawn(rouse(Arc::clone(&agent.store), prefix, Arc::clone(&wake)));
    }
    let mut memory = Memory::new(agent.dead_after);
    loop {
        let looked = look(agent, serving, &store, &mut memory).await;
        let pause = match looked {
            Ok(Looked::Acted) => Duration::ZERO,
            Ok(Looked::Forming) => FORMING,
            Ok(Looked::Calm) => CALM,
            Ok(Looked::Follower) => {
                memory = Memory::new(agent.dead_after);
                CALM / 2
            }
            Err(error) => {
                tracing::debug!(%error, "the membership could not be looked at");
                CALM / 2
            }
        };
        drop(timeout(pause, wake.notified()).await);
    }
}

/// Wakes the decision whenever something below `prefix` changes.
async fn rouse(store: Arc<EtcdStore>, prefix: String, wake: Arc<Notify>) {
    loop {
        if let Ok(snapshot) = store.range(&prefix).await
            && let Ok(mut changes) = store.watch(&prefix, snapshot.revision + 1).await
        {
            wake.notify_one();
            while let Some(Ok(_)) = changes.recv().await {
                wake.notify_one();
            }
        }
        tokio::time::sleep(CALM).await;
    }
}

async fn look(
    agent: &Agent,
    serving: &Serving,
    store: &EtcdStore,
    memory: &mut Memory,
) -> Result<Looked, StoreError> {
    let Some(own) = agent.rpc.probe(&agent.own_url).await else { return Ok(Looked::Follower) };
    let ours = own.cluster == serving.cluster && own.member == serving.member;
    if !ours || own.leader != own.member {
        return Ok(Looked::Follower);
    }
    let started = Instant::now();
    let Some(seen) = observe::look(agent, store, own).await? else { return Ok(Looked::Calm) };
    let Some(fence) = claim(agent, store, &seen).await? else { return Ok(Looked::Follower) };
    tidy(store, &seen, &fence).await?;
    if let Some((ticket, revision)) = &seen.ticket {
        return reconcile(agent, store, &seen, &fence, ticket, *revision, memory).await;
    }
    let observation = memory.observe(&seen);
    let decision = decide::decide(&observation);
    memory.report(&decision);
    if decision.action.is_none() {
        tell::tell(agent, store, (&seen, &fence), &observation, &decision).await?;
    }
    let Some(action) = decision.action else {
        let forming = observation.learners.iter().any(|l| !l.ready);
        return Ok(if forming { Looked::Forming } else { Looked::Calm });
    };
    if started.elapsed() > FRESH {
        return Ok(Looked::Acted);
    }
    act(agent, store, &seen, &fence, action).await
}

/// Claims the decision; `None` when the claim to our own name is missing or somebody was quicker.
async fn claim(agent: &Agent, store: &EtcdStore, seen: &Seen) -> Result<Option<Fence>, StoreError> {
    let Some(host) = *agent.claim.borrow() else { return Ok(None) };
    let wanted = ControllerRecord {
        v: keys::VERSION,
        host: agent.host.clone(),
        instance: agent.instance.clone(),
        member: seen.own.member,
        term: seen.own.term,
    };
    let condition = match &seen.controller {
        Some((record, entry)) if *record == wanted && entry.lease == Some(host.lease) => {
            return Ok(Some(Fence { revision: entry.revision }));
        }
        Some((_, entry)) => Compare::Revision(keys::controller(), entry.revision),
        None => Compare::Missing(keys::controller()),
    };
    let put =
        Op::Put { key: keys::controller(), value: keys::write(&wanted), lease: Some(host.lease) };
    let done = store.txn(Txn { when: vec![condition], then: vec![put] }).await?;
    if done.applied {
        tracing::info!(term = wanted.term, "this host decides about members");
    }
    Ok(done.applied.then_some(Fence { revision: done.revision }))
}

/// Removes orders and wishes whose member is gone.
async fn tidy(store: &EtcdStore, seen: &Seen, fence: &Fence) -> Result<(), StoreError> {
    let listed = |id: u64| seen.members.iter().any(|m| m.id == id);
    let orders = seen.nominations.iter().filter(|(_, o)| !listed(o.member));
    let wishes = seen.leaves.iter().filter(|(_, l)| !listed(l.member));
    let mut then: Vec<Op> = orders
        .map(|(host, _)| Op::Delete { key: PerHost::Nominate.of(host) })
        .chain(wishes.map(|(host, _)| Op::Delete { key: PerHost::Leave.of(host) }))
        .collect();
    if then.is_empty() {
        return Ok(());
    }
    then.truncate(64);
    store.txn(Txn { when: vec![fence.holds()], then }).await.map(drop)
}

/// Opens a ticket for the action, carries it out, and closes the ticket.
async fn act(
    agent: &Agent,
    store: &EtcdStore,
    seen: &Seen,
    fence: &Fence,
    action: Action,
) -> Result<Looked, StoreError> {
    let (kind, host, member, why) = match action {
        Action::MoveLeader { to } => {
            let moved = agent.rpc.move_leader(&agent.own_url, to).await;
            tracing::info!(to = seen.host_of(to), ?moved, "handing over the leadership");
            return Ok(Looked::Follower);
        }
        Action::AddLearner { host } => (ChangeKind::Add, host, 0, "more voters are wanted"),
        Action::Promote { id } => (ChangeKind::Promote, seen.host_of(id), id, "it is ready"),
        Action::Remove { id, why } => (ChangeKind::Remove, seen.host_of(id), id, why),
    };
    let offer = seen.volunteers.iter().find(|(h, _)| *h == host).map(|(_, v)| v.peer.clone());
    let ticket = ChangeRecord {
        v: keys::VERSION,
        seq: seen.revision,
        kind,
        host,
        member,
        peer: offer.unwrap_or_default(),
        by: agent.host.clone(),
        started: now_seconds(),
        why: why.into(),
        deadline: keys::change_deadline(),
    };
    let put = Op::Put { key: keys::change(), value: keys::write(&ticket), lease: None };
    let when = vec![fence.holds(), Compare::Missing(keys::change())];
    let opened = store.txn(Txn { when, then: vec![put] }).await?;
    if !opened.applied {
        return Ok(Looked::Acted);
    }
    carry_out(agent, store, seen, fence, &ticket, opened.revision).await
}

/// Carries out an open ticket. Its outcome is judged by the next look, unless it is certain.
async fn carry_out(
    agent: &Agent,
    store: &EtcdStore,
    seen: &Seen,
    fence: &Fence,
    ticket: &ChangeRecord,
    revision: i64,
) -> Result<Looked, StoreError> {
    let (url, id) = (&agent.own_url, ticket.member);
    tracing::info!("{} {}: {}", ticket.kind.doing(), ticket.host, ticket.why);
    let outcome = match ticket.kind {
        ChangeKind::Add => match agent.rpc.add_learner(url, &ticket.peer).await {
            Ok((id, members)) => {
                let order = order(seen, ticket, id, &members);
                return close(store, fence, ticket, revision, "done", Some(order)).await;
            }
            Err(why) => Err(why),
        },
        ChangeKind::Promote => agent.rpc.promote(url, id).await,
        ChangeKind::Remove => agent.rpc.remove(url, id).await,
    };
    match outcome {
        Ok(()) => close(store, fence, ticket, revision, "done", None).await,
        Err(why) => {
            tracing::debug!(why, "the change may or may not have been made");
            let pause = if why.contains("not found") { SAME_SECOND } else { FORMING };
            tokio::time::sleep(pause).await;
            Ok(Looked::Acted)
        }
    }
}

/// What became of a ticket that was found open: done, to be tried again, or called off.
async fn reconcile(
    agent: &Agent,
    store: &EtcdStore,
    seen: &Seen,
    fence: &Fence,
    ticket: &ChangeRecord,
    revision: i64,
    memory: &mut Memory,
) -> Result<Looked, StoreError> {
    let by_id = seen.members.iter().find(|m| m.id == ticket.member);
    let by_url = seen.members.iter().find(|m| m.peer == ticket.peer);
    let (done, order) = match ticket.kind {
        ChangeKind::Add => {
            let order = by_url.map(|m| order(seen, ticket, m.id, &seen.members));
            (order.is_some(), order)
        }
        ChangeKind::Promote => (by_id.is_some_and(|m| !m.learner), None),
        ChangeKind::Remove => (by_id.is_none(), None),
    };
    if done {
        return close(store, fence, ticket, revision, "done", order).await;
    }
    let gone = ticket.kind == ChangeKind::Promote && by_id.is_none();
    if gone || memory.ticket_age(ticket.seq) > TICKET || !still_safe(seen, ticket, memory) {
        return close(store, fence, ticket, revision, "called off", None).await;
    }
    carry_out(agent, store, seen, fence, ticket, revision).await
}

/// Whether the change may be made in the cluster as it is now; its decision may be old.
fn still_safe(seen: &Seen, ticket: &ChangeRecord, memory: &mut Memory) -> bool {
    let observation = memory.observe(seen);
    match ticket.kind {
        ChangeKind::Add => observation.has_quorum() && observation.learners.is_empty(),
        ChangeKind::Promote => observation.has_quorum() && observation.can_promote(),
        ChangeKind::Remove => {
            let voter = observation.voters.iter().find(|v| v.id == ticket.member);
            voter.is_none_or(|v| v.id != observation.leader && observation.can_remove(v))
        }
    }
}

/// The order to an added host, with everybody's list.
fn order(seen: &Seen, ticket: &ChangeRecord, id: u64, members: &[Member]) -> NominateRecord {
    let instance = seen
        .volunteers
        .iter()
        .find(|(host, _)| *host == ticket.host)
        .map(|(_, offer)| offer.instance.clone())
        .unwrap_or_default();
    let short = instance.get(..8).unwrap_or(&instance);
    let own = format!("{}-{short}", ticket.host);
    let list = members.iter().map(|m| (m.id, m.peer.as_slice()));
    NominateRecord {
        v: keys::VERSION,
        seq: ticket.seq,
        member: id,
        uuid: seen.cluster.uuid.clone(),
        token: seen.cluster.token.clone(),
        initial_cluster: flags::initial_cluster(list, (id, &own)),
    }
}

/// Closes a ticket: its end, its entry in the history and its order to the host are one
/// transaction.
async fn close(
    store: &EtcdStore,
    fence: &Fence,
    ticket: &ChangeRecord,
    revision: i64,
    outcome: &str,
    order: Option<NominateRecord>,
) -> Result<Looked, StoreError> {
    let entry =
        HistoryRecord { change: ticket.clone(), outcome: outcome.into(), ended: now_seconds() };
    let put = |key, value| Op::Put { key, value, lease: None };
    let mut then = vec![
        Op::Delete { key: keys::change() },
        put(keys::history(ticket.seq), keys::write(&entry)),
    ];
    if let Some(order) = order {
        then.push(put(PerHost::Nominate.of(&ticket.host), keys::write(&order)));
    }
    let when = vec![fence.holds(), Compare::Revision(keys::change(), revision)];
    store.txn(Txn { when, then }).await?;
    let finished = store.range(&keys::histories()).await?;
    let surplus = finished.entries.len().saturating_sub(HISTORY);
    let oldest = finished.entries.into_iter().take(surplus.min(64));
    let then: Vec<Op> = oldest.map(|e| Op::Delete { key: e.key }).collect();
    if !then.is_empty() {
        store.txn(Txn { when: vec![fence.holds()], then }).await?;
    }
    Ok(Looked::Acted)
}
