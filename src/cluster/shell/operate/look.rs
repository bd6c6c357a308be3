//! What requests read: the records in the store, and what members say of themselves.
//!
//! Refuses to wait long: a report without a quorum must come, too.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use crate::cluster::identity::parse_id;
use crate::cluster::report::{Health, Records};
use crate::cluster::shell::Agent;
use crate::cluster::shell::rpc::Probe;
use crate::cluster::status::MemberView;

/// How long the store may take; without a leader it would be asked for ten.
const READ: Duration = Duration::from_secs(2);

/// The records of the cluster at one revision; `None` when the store does not answer.
pub(super) async fn records(agent: &Agent) -> Option<(Records, i64)> {
    let prefixes = Records::prefixes();
    let (lists, revision) = timeout(READ, agent.store.read_many(&prefixes)).await.ok()?.ok()?;
    Some((Records::read(&lists), revision))
}

/// What the known members say of themselves, by id; all are asked at the same time.
pub(super) async fn health(agent: &Agent) -> BTreeMap<String, Health> {
    let members: Vec<MemberView> =
        agent.status.borrow().cluster.iter().flat_map(|view| view.members.clone()).collect();
    let expected = agent.endpoints.expected();
    let asked = members.iter().map(|member| async move {
        let probe = agent.rpc.probe(member.client.first()?).await?;
        let right = parse_id(&member.id) == Some(probe.member)
            && expected.is_none_or(|cluster| cluster == probe.cluster);
        right.then(|| (member.id.clone(), of(&probe)))
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

fn of(probe: &Probe) -> Health {
    Health {
        version: probe.version.map(|v| v.to_string()).unwrap_or_default(),
        term: probe.term,
        index: probe.index,
        applied: probe.applied,
        lag: 0,
        db_bytes: probe.db_bytes,
        db_used_bytes: probe.db_used_bytes,
    }
}
