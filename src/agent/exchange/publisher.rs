//! The publishing half: keeps this host's presence and its exports in the store as wanted.
//!
//! It looks at what the store holds, does the next thing, and waits for the store to show it; so it
//! also repairs what others did to its keys.
//!
//! Refuses to publish while another agent has this host's presence, and to write on a noop run.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::follower::OwnView;
use super::lifetimes::Lifetimes;
use super::sealer::Sealer;
use super::{PublishView, unix_now};
use crate::collect::convergence::Said;
use crate::collect::presence::{Me, Rival, Standing, standing};
use crate::collect::publish::{Own, Plan, Published, Session, plan};
use crate::collect::record::{Life, Presence, shown};
use crate::collect::{Grants, Slot, keys};
use crate::ident::{HostName, counted};
use crate::store::{Compare, LeaseId, Op, Store, StoreError, Txn};

/// How long a host's exports outlive it: long enough for a restart or an upgrade of the agent.
const TTL: Duration = Duration::from_secs(60);
/// Three chances within the lease.
const REFRESH: Duration = Duration::from_secs(20);
/// The pause after the store failed us. It does not tell when it can write again.
const RETRY: Duration = Duration::from_secs(1);
/// The least time from one statement about our convergence to the next.
const SAY: Duration = Duration::from_secs(1);
/// A call without an answer for so long is given up; the next look shows whether it was done.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Publisher {
    pub(super) store: Arc<dyn Store>,
    pub(super) host: HostName,
    pub(super) me: Me,
    pub(super) noop: bool,
    pub(super) wanted: watch::Receiver<Option<Vec<Published>>>,
    pub(super) own: watch::Receiver<OwnView>,
    pub(super) saying: watch::Receiver<Option<Said>>,
    pub(super) granted: watch::Receiver<Arc<Grants>>,
    pub(super) view: watch::Sender<PublishView>,
}

/// What this process knows beyond what the store shows.
#[derive(Default)]
struct Memory {
    /// The lease that was granted or continued last.
    lease: Option<LeaseId>,
    /// The session of this process, once it has one.
    session: Option<String>,
    /// When the lease has to be refreshed.
    refresh: Option<Instant>,
    /// Our writes show up in views of these revisions or later.
    exports_written: i64,
    presence_written: i64,
    slots_written: BTreeMap<Slot, i64>,
    /// The pieces of bodies that the store has of us; `None` when they have to be looked up.
    bodies: Option<BTreeMap<String, BTreeSet<usize>>>,
    lifetimes: Lifetimes,
    /// The store held what is wanted, and neither has changed since.
    clean: bool,
    /// What was said last about our convergence, under which lease and when.
    said: Option<(LeaseId, Said, Instant)>,
    /// Why the store did not take our key when it was to be shown last.
    not_shown: Option<String>,
}

/// When to look again, if nothing happens before.
type Next = Option<Instant>;

impl Publisher {
    /// Publishes until cancelled.
    pub(super) async fn run(
        mut self,
        mut sealer: Sealer,
        cancel: CancellationToken,
        withdraw: &AtomicBool,
    ) {
        let mut memory = Memory::default();
        self.keep(&mut memory, &mut sealer, &cancel).await;
        if self.noop || !withdraw.load(Ordering::Acquire) {
            return;
        }
        for lease in memory.lease.into_iter().chain(memory.lifetimes.leases()) {
            if let Err(error) = ask(self.store.revoke(lease)).await {
                tracing::warn!(%error, "what is exported stays until its lease ends");
            }
        }
    }

    async fn keep(&mut self, memory: &mut Memory, sealer: &mut Sealer, cancel: &CancellationToken) {
        loop {
            let own_differs = self.own.has_changed().unwrap_or(false);
            let differs = own_differs
                || self.wanted.has_changed().unwrap_or(false)
                || self.granted.has_changed().unwrap_or(false)
                || sealer.differs();
            memory.clean &= !differs;
            let mut own = self.own.borrow_and_update().clone();
            let since = self.granted.borrow_and_update().proved;
            if let Some(since) = since {
                own.own.doubt_before(since);
            }
            let wanted = self.wanted.borrow_and_update().clone();
            let wanted = wanted.and_then(|wanted| sealer.seal(wanted, since));
            let saying = self.saying.borrow_and_update().clone();
            let step = async {
                match self.step(memory, sealer, &own, wanted.as_deref(), saying).await {
                    Ok(next) => next,
                    Err(error) => {
                        self.failed(&error);
                        (memory.bodies, memory.clean) = (None, false);
                        Some(Instant::now() + RETRY)
                    }
                }
            };
            let next = tokio::select! {
                () = cancel.cancelled() => return,
                next = step => next,
            };
            let until = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.own.changed() => match changed {
                    Ok(()) => memory.clean = false,
                    Err(_) => return,
                },
                changed = self.wanted.changed() => match changed {
                    Ok(()) => memory.clean = false,
                    Err(_) => return,
                },
                changed = self.saying.changed() => if changed.is_err() { return },
                Ok(()) = self.granted.changed() => memory.clean = false,
                () = sealer.changed() => memory.clean &= !sealer.seals(),
                () = until => {}
            }
        }
    }

    /// Does the next thing that has to be done.
    async fn step(
        &self,
        memory: &mut Memory,
        sealer: &mut Sealer,
        own: &OwnView,
        wanted: Option<&[Published]>,
        saying: Option<Said>,
    ) -> Result<Next, StoreError> {
        let next = self.keep_alive(memory).await?;
        if !own.current || memory.is_ahead_of(own) {
            return Ok(next);
        }
        if self.granted.borrow().is_decommissioned(&self.host) {
            let host = &self.host;
            let text = format!("XE03 exports of {host}: the host is decommissioned");
            self.say((0, 0), vec![format!("{text}; nothing is published")]);
            return Ok(next);
        }
        // Where something is wanted it has to be known what is there.
        let known = |export: &Published| own.slots.contains_key(&export.slot());
        if wanted.is_some_and(|wanted| !wanted.iter().all(known)) {
            return Ok(next);
        }
        match standing(&self.me, own.present.as_ref(), &own.own, memory.exports_written) {
            Standing::Taken { by } => {
                (memory.lease, memory.refresh) = (None, None);
                self.say((0, 0), vec![taken(&self.host, &by)]);
                Ok(None)
            }
            Standing::Ours { lease, session, revision } => {
                if memory.lease != Some(lease) {
                    (memory.lease, memory.refresh) = (Some(lease), Some(Instant::now()));
                    self.keep_alive(memory).await?;
                }
                memory.session = Some(session.clone());
                let guard = Compare::Revision(keys::presence(&self.host), revision);
                let lives = match wanted {
                    Some(wanted) => self.publish(memory, own, wanted, &guard, &session).await,
                    None => Ok(None),
                };
                // Neither may keep the other from being done.
                let shown = self.show_key(memory, sealer, &guard).await;
                let lives = lives?;
                let again = match saying {
                    Some(said) => self.say_converged(memory, lease, revision, said).await?,
                    None => None,
                };
                Ok(memory.refresh.into_iter().chain(again).chain(lives).chain(shown).min())
            }
            Standing::Free { replaces } => self.claim(memory, own, wanted, replaces).await,
        }
    }

    /// Brings the store to what is wanted there, while this host is present.
    async fn publish(
        &self,
        memory: &mut Memory,
        own: &OwnView,
        wanted: &[Published],
        guard: &Compare,
        session: &str,
    ) -> Result<Next, StoreError> {
        let lives = self.live(memory, own, wanted, guard).await?;
        if !memory.clean {
            let plan = self.plan(memory, own, wanted, session).await?;
            self.commit(memory, own, plan, guard.clone(), None).await?;
            memory.clean = true;
        }
        Ok(lives)
    }

    /// Lets others know by which key they may seal for this host. A store that does not take it is
    /// told of once and asked again.
    async fn show_key(&self, memory: &mut Memory, sealer: &mut Sealer, guard: &Compare) -> Next {
        if self.noop {
            return None;
        }
        let since = self.granted.borrow().proved;
        let (put, again) = sealer.show(since);
        let Some(put) = put else { return again };
        let txn = Txn { when: vec![guard.clone()], then: vec![put] };
        let why = ask(self.store.txn(txn)).await.err().map(|error| error.to_string());
        if let Some(why) = why.as_ref().filter(|why| memory.not_shown.as_ref() != Some(*why)) {
            let host = &self.host;
            tracing::warn!("others cannot seal for {host}: its key is not shown: {why}; retried");
        }
        memory.not_shown = why;
        again
    }

    /// Says how far this host is, as long as its presence is that of `revision`. A host that comes
    /// and goes between rest and work says so at most once in a while.
    async fn say_converged(
        &self,
        memory: &mut Memory,
        lease: LeaseId,
        revision: i64,
        said: Said,
    ) -> Result<Next, StoreError> {
        let before = memory.said.as_ref().filter(|(under, ..)| *under == lease);
        match before {
            _ if self.noop => return Ok(None),
            Some((_, before, _)) if *before == said => return Ok(None),
            // That there is work again is said at once, everything else may wait.
            Some((_, before, at))
                if Instant::now() < *at + SAY && (said.converged || !before.converged) =>
            {
                return Ok(Some(*at + SAY));
            }
            _ => {}
        }
        let (key, value) = (keys::convergence(&self.host), said.encode());
        let txn = Txn {
            when: vec![Compare::Revision(keys::presence(&self.host), revision)],
            then: vec![Op::Put { key, value, lease: Some(lease) }],
        };
        if ask(self.store.txn(txn)).await?.applied {
            memory.said = Some((lease, said, Instant::now()));
        }
        Ok(None)
    }

    /// Refreshes the lease when its time has come; a lease that ended is forgotten.
    async fn keep_alive(&self, memory: &mut Memory) -> Result<Next, StoreError> {
        let Some((lease, at)) = memory.lease.zip(memory.refresh) else { return Ok(None) };
        if Instant::now() < at {
            return Ok(Some(at));
        }
        match ask(self.store.refresh(lease)).await {
            Ok(()) => memory.refresh = self.next_refresh(),
            Err(StoreError::LeaseGone) => (memory.lease, memory.refresh) = (None, None),
            Err(error) => return Err(error),
        }
        Ok(memory.refresh)
    }

    /// Makes this host present, together with its exports, so that nobody sees an earlier run's.
    async fn claim(
        &self,
        memory: &mut Memory,
        own: &OwnView,
        wanted: Option<&[Published]>,
        replaces: Option<i64>,
    ) -> Result<Next, StoreError> {
        // Before the first graph is known there is nothing to be present with.
        let Some(wanted) = wanted else { return Ok(None) };
        let session = match &memory.session {
            Some(session) => session.clone(),
            None => Uuid::new_v4().to_string(),
        };
        let plan = self.plan(memory, own, wanted, &session).await?;
        let key = keys::presence(&self.host);
        let guard = match replaces {
            Some(revision) => Compare::Revision(key.clone(), revision),
            None => Compare::Missing(key.clone()),
        };
        if self.noop {
            return self.commit(memory, own, plan, guard, None).await.map(|()| None);
        }
        let lease = self.lease(memory).await?;
        let value = Presence::new(&self.me.instance, &session).encode();
        let put = Op::Put { key, value, lease: Some(lease) };
        memory.session = Some(session);
        // Whoever wrote until now is gone.
        memory.exports_written = own.exports_revision;
        match self.commit(memory, own, plan, guard, Some(put)).await {
            // It ended between the two calls; the next look takes a new one.
            Err(StoreError::LeaseGone) => {
                (memory.lease, memory.refresh) = (None, None);
                Ok(Some(Instant::now() + RETRY))
            }
            result => result.map(|()| memory.refresh),
        }
    }

    /// What has to be written, with the bodies that are there.
    async fn plan(
        &self,
        memory: &mut Memory,
        own: &OwnView,
        wanted: &[Published],
        session: &str,
    ) -> Result<Plan, StoreError> {
        let bodies = match &memory.bodies {
            Some(bodies) => bodies.clone(),
            None => {
                let there = ask(self.store.keys(&keys::bodies_prefix(&self.host))).await?;
                let mut bodies: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
                for entry in there.entries {
                    if let Some((digest, number)) = keys::chunk_of(&self.host, &entry.key) {
                        bodies.entry(digest).or_default().insert(number);
                    }
                }
                memory.bodies.insert(bodies).clone()
            }
        };
        let own = Own { bodies, ..own.own.clone() };
        let session = Session { at: Some(unix_now()), ..self.me.session(session) };
        Ok(plan(&self.host, &own, wanted, &session))
    }

    /// Keeps alive what lives longer than this host is present.
    async fn live(
        &self,
        memory: &mut Memory,
        own: &OwnView,
        wanted: &[Published],
        guard: &Compare,
    ) -> Result<Next, StoreError> {
        let durations: BTreeSet<u64> = wanted
            .iter()
            .filter_map(|export| match export.life {
                Life::For(seconds) => Some(seconds),
                Life::Session | Life::Permanent => None,
            })
            .collect();
        if self.noop || (durations.is_empty() && own.lifetimes.is_empty()) {
            return Ok(None);
        }
        let (there, lifetimes) = (&own.lifetimes, &mut memory.lifetimes);
        lifetimes.keep(&self.store, &self.host, there, &durations, guard).await
    }

    /// A lease that is alive: the one at hand or a new one.
    async fn lease(&self, memory: &mut Memory) -> Result<LeaseId, StoreError> {
        memory.refresh = memory.lease.map(|_| Instant::now());
        self.keep_alive(memory).await?;
        if let Some(lease) = memory.lease {
            return Ok(lease);
        }
        let lease = ask(self.store.grant(TTL)).await?;
        (memory.lease, memory.refresh) = (Some(lease), self.next_refresh());
        Ok(lease)
    }

    fn next_refresh(&self) -> Option<Instant> {
        self.store.leases_run_out().then(|| Instant::now() + REFRESH)
    }

    /// Commits a plan under `guard`; `presence` goes with its last transaction.
    async fn commit(
        &self,
        memory: &mut Memory,
        own: &OwnView,
        plan: Plan,
        guard: Compare,
        presence: Option<Op>,
    ) -> Result<(), StoreError> {
        let Plan { bodies, mut txns, garbage, exports, stays, put, deleted, mut messages } = plan;
        let there = own.own.records.len();
        if self.noop {
            messages.extend(would("publish", put));
            messages.extend(would("withdraw", deleted));
            self.say((there, 0), messages);
            return Ok(());
        }
        let claims = presence.is_some();
        if txns.is_empty() && claims {
            txns.push(Txn::default());
        }
        if let Some(last) = txns.last_mut() {
            last.then.extend(presence);
        }
        // With a claim the presence differs once it is made.
        let garbage = if claims { Vec::new() } else { garbage };
        for mut txn in bodies.into_iter().chain(txns).chain(garbage) {
            txn.when.push(guard.clone());
            let ops = txn.then.clone();
            let committed = ask(self.store.txn(txn)).await?;
            if !committed.applied {
                // Somebody wrote in between; what they wrote will be shown to us.
                return Err(StoreError::Unavailable("our keys changed meanwhile".to_owned()));
            }
            memory.note(&self.host, &ops, committed.revision);
        }
        if put + deleted > 0 {
            tracing::info!("{exports} exported: {put} written, {deleted} withdrawn");
        }
        self.say((exports, stays), messages);
        Ok(())
    }

    /// So many are in the store, and so many of them stay as they are.
    fn say(&self, (exports, stays): (usize, usize), messages: Vec<String>) {
        self.show(PublishView { exports, stays, messages, retrying: false });
    }

    fn show(&self, view: PublishView) {
        self.view.send_if_modified(|old| {
            let differs = *old != view;
            if differs {
                for message in view.messages.iter().filter(|new| !old.messages.contains(new)) {
                    tracing::warn!("{message}");
                }
                *old = view;
            }
            differs
        });
    }

    fn failed(&self, error: &StoreError) {
        tracing::debug!(%error, "publishing has to wait");
        if let StoreError::Refused(why) = error {
            let before = self.view.borrow().clone();
            let messages = vec![format!("XE03 exports of {}: {why}; retried", self.host)];
            self.show(PublishView { messages, retrying: true, ..before });
        }
    }
}

impl Memory {
    /// Our writes are not all in what the store shows.
    fn is_ahead_of(&self, own: &OwnView) -> bool {
        let lags = |(slot, written): (&Slot, &i64)| {
            own.slots.get(slot).is_some_and(|revision| revision < written)
        };
        own.exports_revision < self.exports_written
            || own.presence_revision < self.presence_written
            || (!own.whole && self.slots_written.iter().any(lags))
    }

    /// These were written at `revision`.
    fn note(&mut self, host: &HostName, ops: &[Op], revision: i64) {
        for op in ops {
            let (key, is_put) = match op {
                Op::Put { key, .. } => (key, true),
                Op::Delete { key } => (key, false),
            };
            match keys::parse(key) {
                Some(keys::Key::Record(address)) => {
                    self.slots_written.insert(address.slot(), revision);
                }
                Some(keys::Key::Publisher(_)) => self.exports_written = revision,
                Some(keys::Key::Presence(_)) => self.presence_written = revision,
                _ => self.note_body(keys::chunk_of(host, key), is_put),
            }
        }
    }

    fn note_body(&mut self, piece: Option<(String, usize)>, is_put: bool) {
        let (Some((digest, number)), Some(bodies)) = (piece, &mut self.bodies) else { return };
        if is_put {
            bodies.entry(digest).or_default().insert(number);
        } else if let Some(numbers) = bodies.get_mut(&digest) {
            numbers.remove(&number);
            if numbers.is_empty() {
                bodies.remove(&digest);
            }
        }
    }
}

pub(super) async fn ask<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(StoreError::Unavailable(format!("no answer within {seconds} s")))
        }
    }
}

fn taken(host: &HostName, by: &Rival) -> String {
    let by = match by {
        Rival::Instance(instance) => format!("instance {}", shown(instance)),
        Rival::Copy => "another agent with a copy of this state folder".to_owned(),
        Rival::Unknown => "an agent of an unknown version".to_owned(),
    };
    format!("XE05 host name {host} in use by {by} (live); nothing is published")
}

fn would(verb: &str, count: usize) -> Option<String> {
    (count > 0).then(|| format!("would {verb} {}", counted(count, "export")))
}
