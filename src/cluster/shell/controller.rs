//! The one host that changes the membership: the agent whose etcd leads.
//!
//! Refuses to act without a claim of its own that is newer than every other, on observations older
//! than 2 s, and while a change is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Agent, Serving, fault, now_seconds};
use crate::cluster::change::{self, Verdict};
use crate::cluster::clocks::{Clocks, Settings};
use crate::cluster::decide::{self, Action, Decision};
use crate::cluster::keys::{self, ChangeKind, ChangeRecord, ControllerRecord, PerHost};
use crate::cluster::seen::{Kept, Seen};
use crate::cluster::space::Keeper;
use crate::cluster::writes::{self, Fence};
use crate::store::etcd::{Endpoints, EtcdStore};
use crate::store::{Store, StoreError};

mod observe;
pub(super) mod space;
mod tell;

/// How often to look when nothing is going on: members do not tell when they are gone.
const CALM: Duration = Duration::from_secs(1);
/// How often to look while a learner becomes ready. Once its port is open its answer is waited for,
/// so this counts only until then.
const FORMING: Duration = Duration::from_millis(15);
/// An observation older than this is not acted on.
const FRESH: Duration = Duration::from_secs(2);
/// Whose own etcd takes longer for a read does not claim to decide.
const BRISK: Duration = Duration::from_secs(1);
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

/// One look, and what it rests on.
struct Look<'a> {
    agent: &'a Agent,
    store: &'a EtcdStore,
    seen: &'a Seen,
    fence: Fence,
    at: Instant,
}

/// What a decider remembers from one look to the next.
struct Memory {
    born: Instant,
    clocks: Clocks,
    keeper: Keeper,
    /// The reasons that were told last.
    said: Vec<(String, String)>,
}

impl Memory {
    fn new(agent: &Agent) -> Memory {
        let settings =
            Settings { dead_after: agent.dead_after, ideal: agent.ideal, strict: agent.strict };
        Memory {
            born: Instant::now(),
            clocks: Clocks::new(settings),
            keeper: Keeper::default(),
            said: Vec::new(),
        }
    }

    /// Tells why hosts wait, whenever that changes.
    fn report(&mut self, decision: &Decision) {
        if decision.action.is_none() && self.said != decision.held {
            self.said.clone_from(&decision.held);
            for (host, reason) in &decision.held {
                tracing::info!("{host}: {reason}");
            }
        }
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
    let (url, access) = (vec![agent.own_url.clone()], Arc::clone(&agent.tls.access));
    let own = Endpoints::reached(url, Some(serving.cluster), true, access);
    let store = EtcdStore::new(Arc::clone(&own));
    let mut acting = agent.tls.holds_key();
    let wake = Arc::new(Notify::new());
    let mut watchers = JoinSet::new();
    for prefix in
        [PerHost::Host.all(), PerHost::Volunteer.all(), PerHost::Leave.all(), keys::size()]
    {
        watchers.spawn(rouse(Arc::clone(&agent.store), prefix, Arc::clone(&wake)));
    }
    let mut memory = Memory::new(agent);
    let mut claim = agent.claim.subscribe();
    loop {
        claim.mark_unchanged();
        if agent.tls.holds_key() != acting {
            // A channel shows what it was opened with.
            own.renew();
            acting = !acting;
        }
        let looked = look(agent, serving, &store, &mut memory).await;
        let pause = match looked {
            Ok(Looked::Acted) => Duration::ZERO,
            Ok(Looked::Forming) => FORMING,
            Ok(Looked::Calm) => CALM,
            Ok(Looked::Follower) => {
                memory = Memory::new(agent);
                CALM / 2
            }
            Err(error) => {
                tracing::debug!(%error, "the membership could not be looked at");
                CALM / 2
            }
        };
        // The store tells of our own claim before the task that makes it does.
        let news = async {
            tokio::select! {
                () = wake.notified() => {}
                Ok(()) = claim.changed() => {}
            }
        };
        drop(timeout(pause, news).await);
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
    let at = Instant::now();
    let Some(seen) = observe::look(agent, store, own).await? else { return Ok(Looked::Calm) };
    let now = memory.born.elapsed();
    let observation = memory.clocks.observe(&seen, now);
    // Before anything is written: a full store takes nothing.
    if space::keep(agent, &seen, &observation, &mut memory.keeper, now).await {
        return Ok(Looked::Acted);
    }
    let Some(fence) = claim(agent, store, &seen, at).await? else { return Ok(Looked::Follower) };
    let look = Look { agent, store, seen: &seen, fence, at };
    sweep(&look, &mut memory.clocks, now).await?;
    if let Some((ticket, revision)) = &seen.ticket {
        let age = memory.clocks.age(*revision, now);
        let verdict = change::judge(&seen, ticket, &observation, age);
        return go_on(&look, ticket, *revision, verdict).await;
    }
    let decision = decide::decide(&observation);
    memory.report(&decision);
    if decision.action.is_none() {
        tell::tell(&look, &observation, &decision).await?;
    }
    if let Some(action) = decision.action {
        return act(&look, action).await;
    }
    // Nobody waits for these.
    keep_books(&look).await?;
    match observation.learners.iter().any(|l| !l.ready) {
        true => Ok(Looked::Forming),
        false => Ok(Looked::Calm),
    }
}

/// Claims the decision; `None` when the claim to our own name is missing or somebody was quicker,
/// or our etcd is too slow to be trusted with it.
async fn claim(
    agent: &Agent,
    store: &EtcdStore,
    seen: &Seen,
    began: Instant,
) -> Result<Option<Fence>, StoreError> {
    let Some(host) = *agent.claim.borrow() else { return Ok(None) };
    let wanted = ControllerRecord {
        v: keys::VERSION,
        host: agent.host.clone(),
        instance: agent.instance.clone(),
        member: seen.own.member,
        term: seen.own.term,
    };
    if let Some((record, entry)) = &seen.controller
        && *record == wanted
        && entry.lease == Some(host.lease)
    {
        return Ok(Some(Fence { revision: entry.revision }));
    }
    if began.elapsed() > BRISK {
        return Ok(None);
    }
    let earlier = seen.controller.as_ref().map(|(_, entry)| entry.revision);
    let done = store.txn(writes::control(&wanted, earlier, host.lease)).await?;
    if done.applied {
        tracing::info!(term = wanted.term, "this host decides about members");
        fault::point("claims");
    }
    if !done.applied && done.repeated {
        // An earlier try may have been made, and its answer lost.
        let now = store.range(&keys::controller()).await?;
        let ours = now.entries.iter().find(|one| {
            one.key == keys::controller()
                && one.value == keys::write(&wanted)
                && one.lease == Some(host.lease)
        });
        return Ok(ours.map(|entry| Fence { revision: entry.revision }));
    }
    Ok(done.applied.then_some(Fence { revision: done.revision }))
}

/// Removes wishes that have served their time.
async fn sweep(look: &Look<'_>, clocks: &mut Clocks, now: Duration) -> Result<(), StoreError> {
    let void = |wish: &Kept<keys::LeaveRecord>| {
        let limit = wish.record.deadline.map(Duration::from_secs);
        limit.is_some_and(|limit| clocks.age(wish.revision, now) > limit)
    };
    if let Some(txn) = writes::sweep(look.seen.stale(void), look.fence) {
        look.store.txn(txn).await?;
    }
    Ok(())
}

/// Keeps the list of the voters' addresses.
async fn keep_books(look: &Look<'_>) -> Result<(), StoreError> {
    let kept = look.seen.endpoints.as_ref().map(|(_, revision)| *revision);
    let new = look.seen.new_endpoints();
    if let Some(txn) = new.and_then(|list| writes::endpoints(&list, kept, look.fence)) {
        look.store.txn(txn).await?;
    }
    Ok(())
}

/// Opens a ticket for the action and carries it out.
async fn act(look: &Look<'_>, action: Action) -> Result<Looked, StoreError> {
    let agent = look.agent;
    if look.at.elapsed() > FRESH {
        return Ok(Looked::Acted);
    }
    if let Action::MoveLeader { to } = action {
        let moved = agent.rpc.move_leader(&agent.own_url, to).await;
        tracing::info!(to = look.seen.host_of(to), ?moved, "handing over the leadership");
        return Ok(Looked::Follower);
    }
    let Some(ticket) = change::ticket(&action, look.seen, &agent.host, now_seconds()) else {
        return Ok(Looked::Calm);
    };
    let opened = look.store.txn(writes::open(&ticket, look.fence)).await?;
    if !opened.applied {
        return Ok(Looked::Acted);
    }
    fault::change(ticket.kind, "opened");
    order(look, &ticket, opened.revision).await
}

/// Does what an open ticket needs.
async fn go_on(
    look: &Look<'_>,
    ticket: &ChangeRecord,
    revision: i64,
    verdict: Verdict,
) -> Result<Looked, StoreError> {
    match verdict {
        Verdict::Done(order) => {
            let closing = change::closing(look.seen, ticket, order);
            close(look, ticket, revision, change::DONE, &closing).await
        }
        Verdict::CallOff => {
            close(look, ticket, revision, change::CALLED_OFF, &writes::Closing::default()).await
        }
        Verdict::Order => order(look, ticket, revision).await,
    }
}

/// Gives the order of an open ticket. Its outcome is judged by the next look, unless it is certain.
async fn order(
    look: &Look<'_>,
    ticket: &ChangeRecord,
    revision: i64,
) -> Result<Looked, StoreError> {
    if look.at.elapsed() > FRESH {
        return Ok(Looked::Acted);
    }
    let (rpc, url, id) = (&look.agent.rpc, &look.agent.own_url, ticket.member);
    tracing::info!("{} {}: {}", ticket.kind.doing(), ticket.host, ticket.why);
    let outcome = match ticket.kind {
        ChangeKind::Add => rpc
            .add_learner(url, &ticket.peer)
            .await
            .map(|(id, members)| Some(change::order(look.seen, ticket, id, &members))),
        ChangeKind::Promote => rpc.promote(url, id).await.map(|()| None),
        ChangeKind::Remove => rpc.remove(url, id).await.map(|()| None),
    };
    match outcome {
        Ok(order) => {
            fault::change(ticket.kind, "made");
            let closing = change::closing(look.seen, ticket, order);
            close(look, ticket, revision, change::DONE, &closing).await
        }
        Err(why) => {
            tracing::debug!(why, "the change may or may not have been made");
            let pause = if why.contains("not found") { SAME_SECOND } else { FORMING };
            tokio::time::sleep(pause).await;
            Ok(Looked::Acted)
        }
    }
}

/// Closes a ticket, all that follows from its end in one transaction; drops old history.
async fn close(
    look: &Look<'_>,
    ticket: &ChangeRecord,
    revision: i64,
    outcome: &str,
    closing: &writes::Closing,
) -> Result<Looked, StoreError> {
    let ended = change::ended(ticket, outcome, now_seconds());
    look.store.txn(writes::close(&ended, revision, closing, look.fence)).await?;
    fault::change(ticket.kind, "closed");
    let finished = look.store.range(&keys::histories()).await?;
    let surplus = finished.entries.len().saturating_sub(HISTORY);
    let oldest = finished.entries.into_iter().take(surplus).map(|e| e.key);
    if let Some(txn) = writes::sweep(oldest, look.fence) {
        look.store.txn(txn).await?;
    }
    Ok(Looked::Acted)
}
