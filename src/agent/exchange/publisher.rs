//! The publishing half: keeps this host's presence and its exports in the store as wanted.
//!
//! It looks at what the store holds, does the next thing, and waits for the store to show it; so it
//! also repairs what others did to its keys.
//!
//! Refuses to publish while another agent has this host's presence, and to write on a noop run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::PublishView;
use super::follower::OwnView;
use crate::collect::convergence::Said;
use crate::collect::presence::{Me, Rival, Standing, standing};
use crate::collect::publish::{Plan, Published, plan};
use crate::collect::record::{Presence, shown};
use crate::collect::{Grants, keys};
use crate::ident::HostName;
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
    /// What was said last about our convergence, under which lease and when.
    said: Option<(LeaseId, Said, Instant)>,
}

/// When to look again, if nothing happens before.
type Next = Option<Instant>;

impl Publisher {
    /// Publishes until cancelled.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut memory = Memory::default();
        loop {
            let mut own = self.own.borrow_and_update().clone();
            if let Some(since) = self.granted.borrow_and_update().proved {
                own.own.doubt_before(since);
            }
            let wanted = self.wanted.borrow_and_update().clone();
            let saying = self.saying.borrow_and_update().clone();
            let step = async {
                match self.step(&mut memory, &own, wanted.as_deref(), saying).await {
                    Ok(next) => next,
                    Err(error) => {
                        self.failed(&error);
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
                changed = self.own.changed() => if changed.is_err() { return },
                changed = self.wanted.changed() => if changed.is_err() { return },
                changed = self.saying.changed() => if changed.is_err() { return },
                Ok(()) = self.granted.changed() => {}
                () = until => {}
            }
        }
    }

    /// Does the next thing that has to be done.
    async fn step(
        &self,
        memory: &mut Memory,
        own: &OwnView,
        wanted: Option<&[Published]>,
        saying: Option<Said>,
    ) -> Result<Next, StoreError> {
        let next = self.keep_alive(memory).await?;
        let behind = own.exports_revision < memory.exports_written
            || own.presence_revision < memory.presence_written;
        if !own.current || behind {
            return Ok(next);
        }
        match standing(&self.me, own.present.as_ref(), &own.own, memory.exports_written) {
            Standing::Taken { by } => {
                (memory.lease, memory.refresh) = (None, None);
                self.say(0, vec![taken(&self.host, &by)]);
                Ok(None)
            }
            Standing::Ours { lease, session, revision } => {
                if memory.lease != Some(lease) {
                    (memory.lease, memory.refresh) = (Some(lease), Some(Instant::now()));
                    self.keep_alive(memory).await?;
                }
                memory.session = Some(session.clone());
                if let Some(wanted) = wanted {
                    let plan = plan(&self.host, &own.own, wanted, &self.me.session(&session));
                    let guard = Compare::Revision(keys::presence(&self.host), revision);
                    self.commit(memory, own, plan, guard, None).await?;
                }
                let again = match saying {
                    Some(said) => self.say_converged(memory, lease, revision, said).await?,
                    None => None,
                };
                Ok(memory.refresh.into_iter().chain(again).min())
            }
            Standing::Free { replaces } => self.claim(memory, own, wanted, replaces).await,
        }
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
        let plan = plan(&self.host, &own.own, wanted, &self.me.session(&session));
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
        let Plan { mut txns, exports, put, deleted, mut messages } = plan;
        let there = own.own.records.len();
        if self.noop {
            messages.extend(would("publish", put));
            messages.extend(would("withdraw", deleted));
            self.say(there, messages);
            return Ok(());
        }
        let claims = presence.is_some();
        if txns.is_empty() && claims {
            txns.push(Txn::default());
        }
        if let Some(last) = txns.last_mut() {
            last.then.extend(presence);
        }
        for mut txn in txns {
            txn.when.push(guard.clone());
            let claims = txn.then.iter().any(|op| is_presence(op, &self.host));
            let writes = txn.then.len() > usize::from(claims);
            let committed = ask(self.store.txn(txn)).await?;
            if !committed.applied {
                // Somebody wrote in between; what they wrote will be shown to us.
                return Err(StoreError::Unavailable("our keys changed meanwhile".to_owned()));
            }
            if writes {
                memory.exports_written = committed.revision;
            }
            if claims {
                memory.presence_written = committed.revision;
            }
        }
        if put + deleted > 0 {
            tracing::info!("{exports} exported: {put} written, {deleted} withdrawn");
        }
        self.say(exports, messages);
        Ok(())
    }

    fn say(&self, exports: usize, messages: Vec<String>) {
        self.show(PublishView { exports, messages, retrying: false });
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
            let exports = self.view.borrow().exports;
            let messages = vec![format!("XE03 exports of {}: {why}; retried", self.host)];
            self.show(PublishView { exports, messages, retrying: true });
        }
    }
}

async fn ask<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(StoreError::Unavailable(format!("no answer within {seconds} s")))
        }
    }
}

fn is_presence(op: &Op, host: &HostName) -> bool {
    matches!(op, Op::Put { key, .. } if *key == keys::presence(host))
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
    match count {
        0 => None,
        1 => Some(format!("would {verb} 1 export")),
        _ => Some(format!("would {verb} {count} exports")),
    }
}
