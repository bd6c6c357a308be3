//! `quorate cluster token`: the answer.

use std::time::Duration;

use super::super::{Agent, mint};
use crate::cluster::request::Answer;

/// A new token, or why there is none.
pub(super) async fn answer(agent: &Agent, seconds: u64, uses: u16) -> Answer {
    let terms = (Duration::from_secs(seconds), uses);
    match mint(agent.store.as_ref(), agent.folder.path(), &agent.host, terms).await {
        Ok(made) => {
            let host = &agent.host;
            tracing::info!("{host} made a token, for {uses} host(s) within {seconds} s");
            Answer::Token(made)
        }
        Err(why) => Answer::Refused(why),
    }
}
