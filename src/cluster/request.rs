//! What can be asked of the cluster through an agent's socket, and what comes back.
//!
//! Refuses to judge and to print: these are the words alone. Fields are only ever added.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::Report;
use super::told::Told;

/// A request. Each is answered once, within [`Request::patience`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Everything about hosts, members and what is under way.
    Status,
    /// What the deciding host saw last.
    Explain,
}

impl Request {
    /// How long the agent may take.
    pub fn patience(&self) -> Duration {
        match self {
            Request::Status | Request::Explain => Duration::from_secs(10),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To a status.
    Status(Box<Report>),
    /// To an explanation.
    Explain(Box<Told>),
    /// The agent runs on its own, without any cluster.
    Alone,
    /// No: one sentence says why, and what to do.
    Refused(String),
    /// It went wrong, or nobody answered in time.
    Failed(String),
}
