//! `quorate cluster recover`, with an agent that runs: it judges, ends, recovers its state folder
//! and starts anew.
//!
//! Refuses what would be refused later as well, so that no agent is restarted for nothing.

use super::look;
use crate::cluster::recover::{self, Found, Recovery, Survivor};
use crate::cluster::report::Health;
use crate::cluster::request::Answer;
use crate::cluster::shell::{Agent, Order, snapshots};
use crate::cluster::status::Role;

/// Orders the recovery, or says why not.
pub(super) async fn answer(agent: &Agent, request: &str, recovery: &Recovery) -> Answer {
    let recovery = match recovery {
        Recovery::LostQuorum { from, peer, addresses_changed } => {
            let judged = match lost(agent, from).await {
                Ok(judged) => judged,
                Err(why) => return Answer::Refused(why),
            };
            // The others were asked with certificates that the state folder does not know.
            let known = agent.tls.by_authority() || agent.tls.certificates.is_none();
            let named = (judged && !known).then(|| agent.host.clone());
            let from = from.clone().or(named);
            let own = agent.addresses.peer.clone();
            let peer = if *addresses_changed && peer.is_empty() { own } else { peer.clone() };
            Recovery::LostQuorum { from, peer, addresses_changed: *addresses_changed }
        }
        Recovery::Snapshot { file } => {
            let whole = snapshots::check(file).is_ok_and(|(_, whole)| whole);
            if !whole {
                let why = format!("{} is no whole snapshot", file.display());
                return Answer::Refused(why);
            }
            if let Some(host) = others_lead(agent).await {
                return Answer::Refused(format!(
                    "{host} answers, and its cluster has a leader: restoring would found a second \
                     one; stop its agents first"
                ));
            }
            recovery.clone()
        }
    };
    let order = Order::Recover { request: request.into(), recovery };
    match agent.orders.try_send(order) {
        Ok(()) => Answer::Said("the agent ends, recovers its state and starts anew".into()),
        Err(_) => Answer::Refused("the agent is ending already".into()),
    }
}

/// Whether the quorum is lost, as far as an agent that runs can tell; false when that is to be
/// judged later.
async fn lost(agent: &Agent, named: &Option<String>) -> Result<bool, String> {
    let view = agent.status.borrow().cluster.clone().unwrap_or_default();
    if view.quorum {
        return Err(
            "nothing is lost: the cluster has a quorum; see `quorate cluster status`".into()
        );
    }
    let health = look::health(agent).await;
    let of = |host: &str, health: Option<&Health>| Survivor {
        host: host.into(),
        term: health.map_or(0, |one| one.term),
        index: health.map_or(0, |one| one.index),
    };
    let own = view.voters().find(|one| one.host == agent.host);
    let Some(own) = own else {
        return Err(format!(
            "{} has no vote, and no data to recover from; recover on one of {}",
            agent.host,
            view.voters().map(|one| one.host.as_str()).collect::<Vec<_>>().join(", ")
        ));
    };
    let Some(known) = health.get(&own.id) else {
        // Its etcd does not run, so that its log is not known yet: judged once it is.
        return Ok(false);
    };
    let others = view.voters().filter(|one| one.id != own.id);
    recover::judge(&Found {
        voters: view.voters().count(),
        own: of(&agent.host, Some(known)),
        others: others.filter_map(|one| Some(of(&one.host, Some(health.get(&one.id)?)))).collect(),
        named: named.clone(),
    })
    .map(|()| true)
}

/// Another host that answers and knows a leader.
async fn others_lead(agent: &Agent) -> Option<String> {
    let view = agent.status.borrow().cluster.clone()?;
    let others = view.members.iter().filter(|one| one.role == Role::Voter);
    let mut others = others.filter(|one| one.host != agent.host && one.up);
    others.next().map(|one| one.host.clone())
}
