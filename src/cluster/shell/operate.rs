//! Requests about the cluster, as they come through the agent's socket: one file for each kind.
//!
//! Refuses to answer more than a few at once, to take longer than a request may, and to keep a
//! membership alive that has ended.

use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Agent;
use crate::cluster::request::{Answer, Request};

mod explain;
mod history;
mod look;
mod members;
mod recover;
mod size;
mod snapshot;
mod status;
mod token;

/// How many requests are answered at once: each may ask all members and the store.
const AT_ONCE: usize = 4;

/// Answers requests for as long as its membership lives.
#[derive(Clone)]
pub struct Operator {
    pub(super) agent: Weak<Agent>,
    places: Arc<Semaphore>,
}

impl Operator {
    pub(super) fn new(agent: &Arc<Agent>) -> Self {
        Operator { agent: Arc::downgrade(agent), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Answers a request, within its time.
    pub async fn answer(&self, request: Request) -> Answer {
        let Ok(_place) = self.places.try_acquire() else {
            let why = format!("{AT_ONCE} requests about the cluster are being answered; try again");
            return Answer::Refused(why);
        };
        let Some(agent) = self.agent.upgrade() else {
            return Answer::Failed("the agent is ending".into());
        };
        match timeout(request.patience(), serve(&agent, &request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = request.patience().as_secs();
                Answer::Failed(format!("the cluster did not answer within {seconds} s"))
            }
        }
    }
}

async fn serve(agent: &Agent, request: &Request) -> Answer {
    match request {
        Request::Status => Answer::Status(Box::new(status::report(agent).await)),
        Request::Explain => explain::answer(agent).await,
        Request::Token { seconds, uses } => token::answer(agent, *seconds, *uses).await,
        Request::Size { n, dry } => size::answer(agent, *n, *dry).await,
        Request::Leave { host, dry } => members::leave(agent, host.as_deref(), *dry).await,
        Request::Remove { host, force, dry } => members::remove(agent, host, *force, *dry).await,
        Request::MoveLeader { host } => members::move_leader(agent, host).await,
        Request::Away { host, seconds } => members::away(agent, host, *seconds).await,
        Request::Restart { host } => members::restart(agent, host).await,
        Request::Recover { request, recovery } => recover::answer(agent, request, recovery).await,
        Request::SnapshotSave => snapshot::save(agent).await,
        Request::History => history::answer(agent).await,
    }
}
