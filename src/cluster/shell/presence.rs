//! The claim to the host's name: `host/H`, bound to a lease that a task of its own keeps alive.
//!
//! Refuses to take a name from another instance. A lost lease is claimed anew, never given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Agent, fault};
use crate::cluster::StartError;
use crate::cluster::claim::{self, Asking};
use crate::cluster::keys::{self, HostRecord, PerHost};
use crate::cluster::status::Role;
use crate::cluster::writes::{self, Claim};
use crate::store::{Store, StoreError};

/// How long a name stays taken after its agent's last sign of life.
pub(super) const TTL: Duration = Duration::from_secs(10);
/// How often a sign of life is given: two may be lost.
const REFRESH: Duration = Duration::from_secs(3);
/// The pause before a refused or failed claim is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why there is no claim.
pub(super) enum ClaimError {
    /// Somebody else has the name.
    Taken(StartError),
    /// The store did not answer.
    Store(StoreError),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        ClaimError::Store(error)
    }
}

/// Claims the name: nobody has it, or an earlier run of this very state folder.
pub(super) async fn claim(agent: &Agent) -> Result<Claim, ClaimError> {
    let key = PerHost::Host.of(&agent.host);
    let (lease, seen) = tokio::join!(agent.store.grant(TTL), agent.store.range(&key));
    let (lease, mut snapshot) = (lease?, seen?);
    let own = record(agent);
    let asking = Asking {
        host: &agent.host,
        instance: &own.instance,
        machine: &own.machine,
        place: &own.place,
        folder: agent.folder.path(),
    };
    // Each round loses only against another write of the key.
    loop {
        let current = snapshot.entries.iter().find(|e| e.key == key);
        if let Some(entry) = current {
            let holder: Option<HostRecord> = keys::read(&entry.value);
            if let Some(error) = claim::refusal(asking, holder.as_ref()) {
                // Only tidies up: the lease ends by itself.
                drop(agent.store.revoke(lease).await);
                return Err(ClaimError::Taken(error));
            }
        }
        let seen = current.map(|entry| entry.revision);
        let committed = agent.store.txn(writes::claim(&agent.host, &own, seen, lease)).await?;
        if committed.applied {
            fault::point("claimed");
            return Ok(Claim { lease, revision: committed.revision });
        }
        snapshot = agent.store.range(&key).await?;
    }
}

fn record(agent: &Agent) -> HostRecord {
    HostRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        machine: agent.machine.clone(),
        place: agent.folder.place(),
        boot: super::state::boot(),
        pid: std::process::id(),
        started: agent.started,
        client: agent.addresses.client.clone(),
        peer: agent.addresses.peer.clone(),
        zone: agent.zone.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        etcd: agent.etcd.as_ref().map(|e| e.version.to_string()),
    }
}

/// Keeps the claim for as long as it is polled, from the moment that the cluster is known.
pub(super) async fn run(agent: Arc<Agent>) {
    let mut settled = agent.settled.subscribe();
    if settled.wait_for(|known| *known).await.is_err() {
        return;
    }
    let mut current = *agent.claim.borrow();
    loop {
        let held = match current.take() {
            Some(held) => held,
            None => match claim(&agent).await {
                Ok(held) => held,
                Err(ClaimError::Taken(error)) => {
                    agent.say(Role::Blocked, Some(error.to_string()));
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(ClaimError::Store(error)) => {
                    tracing::debug!(%error, "the host name cannot be claimed yet");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            },
        };
        agent.claim.send_replace(Some(held));
        keep(&agent, held).await;
        tracing::info!("the claim to the host name ended and is made anew");
        agent.claim.send_replace(None);
    }
}

/// Refreshes the lease until it is gone.
async fn keep(agent: &Agent, claim: Claim) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(REFRESH).await;
        match agent.store.refresh(claim.lease).await {
            Ok(()) => last = Instant::now(),
            Err(StoreError::LeaseGone) => return,
            // While there is no quorum no lease ends, so silence alone says nothing about ours.
            Err(error) => {
                let silent = last.elapsed().as_secs();
                tracing::debug!(%error, silent, "the claim could not be refreshed");
            }
        }
    }
}
