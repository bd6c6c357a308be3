//! Writes down why nothing is done, for the other hosts to show.
//!
//! Refuses to write what stands there already.

use std::sync::PoisonError;

use super::Fence;
use super::observe::Seen;
use crate::cluster::decide::{Decision, Observation};
use crate::cluster::keys;
use crate::cluster::shell::{Agent, now_seconds};
use crate::cluster::told::Told;
use crate::store::etcd::EtcdStore;
use crate::store::{Op, Store, StoreError, Txn};

/// Writes the record when it says something new.
pub(super) async fn tell(
    agent: &Agent,
    store: &EtcdStore,
    (seen, fence): (&Seen, &Fence),
    observation: &Observation,
    decision: &Decision,
) -> Result<(), StoreError> {
    let told = Told::new(&agent.host, seen.own.term, now_seconds(), observation, decision);
    let before = agent.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if before.is_some_and(|before| told.same(&before)) {
        return Ok(());
    }
    let put = Op::Put { key: keys::decision(), value: keys::write(&told), lease: None };
    let done = store.txn(Txn { when: vec![fence.holds()], then: vec![put] }).await?;
    if done.applied {
        *agent.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
    Ok(())
}
