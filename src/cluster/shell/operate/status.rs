//! `quorate cluster status`: everything that is known, in every role, with and without a quorum.
//!
//! Refuses to fail: what cannot be read is missing in the report.

use super::look;
use crate::cluster::report::{self, Facts, Report};
use crate::cluster::shell::{Agent, now_seconds};

/// The report.
pub(super) async fn report(agent: &Agent) -> Report {
    let (records, health) = tokio::join!(look::records(agent), look::health(agent));
    let status = agent.status.borrow().clone();
    report::assemble(&Facts {
        now: now_seconds(),
        host: &agent.host,
        status: &status,
        health: &health,
        records: records.as_ref(),
    })
}
