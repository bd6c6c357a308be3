//! `quorate cluster snapshot save`, and those that are saved before something risky.
//!
//! Refuses to restore: that needs an agent that does not run.

use crate::cluster::request::Answer;
use crate::cluster::shell::{Agent, snapshots};

/// Saves one.
pub(super) async fn save(agent: &Agent) -> Answer {
    match snapshots::save_from_any(agent, "asked").await {
        Ok(saved) => Answer::Saved(saved),
        Err(why) => Answer::Failed(format!("no snapshot could be saved: {why}")),
    }
}

/// Saves one before a change; a note about what came of it.
pub(super) async fn before(agent: &Agent, change: &str) -> String {
    match snapshots::save_from_any(agent, &format!("before-{change}")).await {
        Ok(saved) => format!("the store as it was is saved in {}", saved.file),
        Err(why) => format!("no snapshot could be saved before: {why}"),
    }
}
