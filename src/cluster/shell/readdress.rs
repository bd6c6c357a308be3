//! A member that has moved: the list of the others learns its new peer URLs.
//!
//! Refuses to touch learners, whose update etcd gets wrong, and to keep anybody waiting: a member
//! works while its listed address is old, as it dials the others itself.

use super::Agent;
use super::rpc::Member;

/// Has another voter correct our entry in the list, if we have moved since it was right. Whoever
/// starts where it was asks nobody: the others may be waiting for it before they can answer.
pub(super) async fn through_others(agent: &Agent) {
    let identity = agent.folder.identity();
    if same(&identity.peer, &agent.addresses.peer) {
        return;
    }
    let (Some(cluster), Some(own)) = (identity.cluster_id, identity.member) else { return };
    for url in agent.endpoints.urls().iter().filter(|url| **url != agent.own_url) {
        let Some((theirs, members)) = agent.rpc.members(url).await else { continue };
        if theirs == cluster {
            correct(agent, url, own, &members).await;
            return;
        }
    }
}

/// Corrects our entry through our own etcd, which serves; true when it is right.
pub(super) async fn through_own(agent: &Agent) -> bool {
    let Some(own) = agent.folder.identity().member else { return true };
    let Some((_, members)) = agent.rpc.members(&agent.own_url).await else { return false };
    correct(agent, &agent.own_url, own, &members).await
}

async fn correct(agent: &Agent, url: &str, own: u64, members: &[Member]) -> bool {
    let wanted = &agent.addresses.peer;
    let Some(entry) = members.iter().find(|member| member.id == own) else { return true };
    if entry.learner || same(&entry.peer, wanted) {
        return true;
    }
    match agent.rpc.update(url, own, wanted).await {
        Ok(()) => {
            tracing::info!("the others know that this member is at {} now", wanted.join(", "));
            true
        }
        Err(why) => {
            tracing::debug!(why, "the others could not be told the new address");
            false
        }
    }
}

/// The same URLs in any order.
fn same(listed: &[String], wanted: &[String]) -> bool {
    listed.len() == wanted.len() && wanted.iter().all(|url| listed.contains(url))
}
