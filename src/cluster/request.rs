//! What can be asked of the cluster through an agent's socket, and what comes back.
//!
//! Refuses to judge: these are the words alone. Fields are only ever added.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys::HistoryRecord;
use super::plan::Plan;
use super::recover::Recovery;
use super::report::Report;
use super::snapshot::Snapshot;
use super::tls::token::NewToken;
use super::told::Told;
use crate::ident::counted;

/// A request. Each is answered once, within [`Request::patience`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Everything about hosts, members and what is under way.
    Status,
    /// What the deciding host saw last.
    Explain,
    /// A new token.
    Token {
        /// How long it is good.
        seconds: u64,
        /// How many hosts may use it.
        uses: u16,
    },
    /// Another wanted size.
    Size {
        /// How many voters; the present number when it is only asked for.
        n: Option<u16>,
        /// Only the plan.
        dry: bool,
    },
    /// A host leaves.
    Leave {
        /// Its name; the asked agent's own without one.
        host: Option<String>,
        /// Only the plan.
        dry: bool,
    },
    /// A member is taken out.
    Remove {
        /// Its host.
        host: String,
        /// Also when it does not count as dead.
        force: bool,
        /// Only the plan.
        dry: bool,
    },
    /// Another voter leads.
    MoveLeader {
        /// Its host.
        host: String,
    },
    /// A host will be away.
    Away {
        /// Its name.
        host: String,
        /// For how long; 0 takes it back.
        seconds: u64,
    },
    /// A host's agent starts itself anew.
    Restart {
        /// Its name.
        host: String,
    },
    /// The changes that came to an end.
    History,
    /// The state folder is recovered, and its agent starts anew.
    Recover {
        /// Names the outcome in the state folder.
        request: String,
        /// What is to be done.
        recovery: Recovery,
    },
    /// A snapshot into the agent's state folder.
    SnapshotSave,
}

impl Request {
    /// How long the agent may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            Request::Status | Request::Explain | Request::History | Request::Token { .. } => 10,
            // As much as there is, and a slow disk.
            Request::SnapshotSave | Request::Size { .. } | Request::Remove { .. } => 300,
            _ => 20,
        })
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
    /// A token.
    Token(NewToken),
    /// To what changes members.
    Planned(Box<Planned>),
    /// All of the history that is kept, the oldest first.
    History(Vec<HistoryRecord>),
    /// A snapshot was saved.
    Saved(Snapshot),
    /// It is done; one sentence.
    Said(String),
    /// The agent runs on its own, without any cluster.
    Alone,
    /// No: one sentence says why, and what to do.
    Refused(String),
    /// It went wrong, or nobody answered in time.
    Failed(String),
}

/// What a change of members leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// How many voters are wanted, when that was asked for.
    pub wanted: Option<u16>,
    /// How many were before.
    pub wanted_before: Option<u16>,
    /// The host that it is about.
    pub host: Option<String>,
    /// Its member, 16 hex digits.
    pub member: Option<String>,
    /// What will be done.
    pub plan: Plan,
    /// What a person should know.
    pub notes: Vec<String>,
    /// It has begun; else it was only asked for, or there is nothing to do.
    pub begun: bool,
}

impl Planned {
    /// For people, with a final line break.
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        if let (Some(now), Some(before)) = (self.wanted, self.wanted_before) {
            let are = if now == 1 { "is" } else { "are" };
            let were = if before == 1 { "was" } else { "were" };
            let mut line = format!("{} {are} wanted", counted(now.into(), "voter"));
            if now != before {
                line.push_str(&format!(", {before} {were}"));
            }
            lines.push(line);
        }
        let plan = &self.plan;
        let steps = plan.steps.iter().enumerate();
        lines.extend(steps.map(|(n, step)| format!("{:>3}. {step}", n + 1)));
        lines.push(if plan.from == plan.to {
            format!("{}, can lose {}", counted(plan.from, "voter"), plan.tolerance_from)
        } else {
            format!(
                "{}, can lose {}; in the end {}, can lose {}",
                counted(plan.from, "voter"),
                plan.tolerance_from,
                plan.to,
                plan.tolerance_to
            )
        });
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        // What other hosts wrote must not drive this terminal, nor forge a line.
        lines.iter().map(|line| line.replace(char::is_control, "\u{fffd}") + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_numbered_and_says_what_is_gained() {
        let planned = Planned {
            wanted: Some(3),
            wanted_before: Some(1),
            plan: Plan {
                steps: vec!["adds h2, to follow without a vote".into(), "gives h2 a vote".into()],
                from: 1,
                to: 3,
                tolerance_from: 0,
                tolerance_to: 1,
            },
            notes: vec!["a\nb".into()],
            ..Planned::default()
        };
        assert_eq!(
            planned.render(),
            "3 voters are wanted, 1 was\n  1. adds h2, to follow without a vote\n  2. gives h2 a \
             vote\n1 voter, can lose 0; in the end 3, can lose 1\nnote: a\u{fffd}b\n"
        );
    }
}
