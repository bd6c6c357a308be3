//! `quorate cluster explain`: what the deciding host saw last.
//!
//! Refuses to decide in its place: the clocks that tell a dead voter from a silent one are there.

use super::look;
use crate::cluster::request::Answer;
use crate::cluster::shell::Agent;

/// The record of the present decider.
pub(super) async fn answer(agent: &Agent) -> Answer {
    let Some(records) = look::records(agent).await else {
        let view = agent.status.borrow().cluster.clone().unwrap_or_default();
        let why = view.missing().unwrap_or_else(|| "the store does not answer".into());
        return Answer::Refused(format!("nothing is decided: {why}"));
    };
    match records.told {
        Some(told) => Answer::Explain(Box::new(told)),
        None => Answer::Refused(
            "nothing was decided yet: no host has been able to see the whole cluster".into(),
        ),
    }
}
