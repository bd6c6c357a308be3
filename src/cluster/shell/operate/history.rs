//! `quorate cluster history`: the changes of members that came to an end.
//!
//! Refuses to show more than the store keeps.

use crate::cluster::keys::{self, HistoryRecord};
use crate::cluster::request::Answer;
use crate::cluster::shell::Agent;
use crate::store::Store;

/// All of them, the oldest first.
pub(super) async fn answer(agent: &Agent) -> Answer {
    match agent.store.range(&keys::histories()).await {
        Ok(found) => {
            let records = found.entries.iter().filter_map(|one| keys::read(&one.value));
            Answer::History(records.collect::<Vec<HistoryRecord>>())
        }
        Err(error) => Answer::Failed(error.to_string()),
    }
}
