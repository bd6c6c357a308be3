//! One look at the cluster: the keys, then the members, then each member.
//!
//! Refuses to judge what it sees; that is [`crate::cluster::clocks`].

use crate::cluster::seen::{Probe, Seen};
use crate::cluster::shell::Agent;
use crate::store::StoreError;
use crate::store::etcd::EtcdStore;

/// Reads everything, the members after the keys: the read made sure that our own list is current.
/// `None` when the founder has not written its records yet, or our etcd does not answer.
pub(super) async fn look(
    agent: &Agent,
    store: &EtcdStore,
    own: Probe,
) -> Result<Option<Seen>, StoreError> {
    let (lists, revision) = store.read_many(&Seen::prefixes()).await?;
    let cluster = own.cluster;
    let Some(mut seen) = Seen::read(own, &lists, revision) else { return Ok(None) };
    let Some((id, members)) = agent.rpc.members(&agent.own_url).await else { return Ok(None) };
    if id != cluster {
        return Ok(None);
    }
    seen.members = members;
    let urls: Vec<Option<String>> = seen.members.iter().map(|m| seen.url_of(m)).collect();
    let asked = urls.iter().map(|url| async { agent.rpc.probe(url.as_deref()?).await });
    seen.probes = futures_util::future::join_all(asked).await;
    Ok(Some(seen))
}
