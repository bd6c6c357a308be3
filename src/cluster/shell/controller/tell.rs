//! Writes down why nothing is done, for the other hosts to show.
//!
//! Refuses to write what stands there already.

use std::sync::PoisonError;

use super::Look;
use crate::cluster::decide::{Decision, Observation};
use crate::cluster::shell::now_seconds;
use crate::cluster::told::Told;
use crate::cluster::writes;
use crate::store::{Store, StoreError};

/// Writes the record when it says something new.
pub(super) async fn tell(
    look: &Look<'_>,
    observation: &Observation,
    decision: &Decision,
) -> Result<(), StoreError> {
    let agent = look.agent;
    let told = Told::new(&agent.host, look.seen.own.term, now_seconds(), observation, decision);
    let before = agent.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if before.is_some_and(|before| told.same(&before)) {
        return Ok(());
    }
    let done = look.store.txn(writes::tell(&told, look.fence)).await?;
    if done.applied {
        *agent.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
    Ok(())
}
