//! The claim to the host's name: `host/H`, bound to a lease that a task of its own keeps alive.
//!
//! Refuses to take a name from another instance. A lost lease is claimed anew, never given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Agent;
use crate::cluster::StartError;
use crate::cluster::keys::{self, HostRecord, PerHost};
use crate::cluster::status::Role;
use crate::store::{Compare, LeaseId, Op, Store, StoreError, Txn};

/// How long a name stays taken after its agent's last sign of life.
pub(super) const TTL: Duration = Duration::from_secs(10);
/// How often a sign of life is given: two may be lost.
const REFRESH: Duration = Duration::from_secs(3);
/// The pause before a refused or failed claim is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A name that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its lease.
    pub(super) lease: LeaseId,
    /// The revision of the key; what rests on the claim compares it.
    pub(super) revision: i64,
}

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
    let lease = agent.store.grant(TTL).await?;
    let value = keys::write(&record(agent));
    // Each round loses only against another write of the key.
    loop {
        let snapshot = agent.store.range(&key).await?;
        let current = snapshot.entries.iter().find(|e| e.key == key);
        let condition = match current {
            None => Compare::Missing(key.clone()),
            Some(entry) => {
                let holder: Option<HostRecord> = keys::read(&entry.value);
                if let Some(error) = refusal(agent, holder.as_ref()) {
                    // Only tidies up: the lease ends by itself.
                    drop(agent.store.revoke(lease).await);
                    return Err(ClaimError::Taken(error));
                }
                Compare::Revision(key.clone(), entry.revision)
            }
        };
        let put = Op::Put { key: key.clone(), value: value.clone(), lease: Some(lease) };
        let away = Op::Delete { key: PerHost::Away.of(&agent.host) };
        let txn = Txn { when: vec![condition], then: vec![put, away] };
        let committed = agent.store.txn(txn).await?;
        if committed.applied {
            return Ok(Claim { lease, revision: committed.revision });
        }
    }
}

/// Why the holder's claim stands against ours.
fn refusal(agent: &Agent, holder: Option<&HostRecord>) -> Option<StartError> {
    let host = agent.host.clone();
    let Some(holder) = holder else {
        let who = "its record is of an unknown form".into();
        return Some(StartError::HostTaken { host, who });
    };
    let short = holder.instance.get(..8).unwrap_or(&holder.instance);
    let at = holder.client.join(", ");
    if holder.instance != agent.instance {
        let who = format!("instance {short}, pid {}, at {at}", holder.pid);
        return Some(StartError::HostTaken { host, who });
    }
    (holder.machine != agent.machine).then(|| {
        let who = format!("instance {short} on another machine: this state folder is a copy");
        StartError::HostTaken { host, who }
    })
}

fn record(agent: &Agent) -> HostRecord {
    HostRecord {
        v: keys::VERSION,
        instance: agent.instance.clone(),
        machine: agent.machine.clone(),
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
