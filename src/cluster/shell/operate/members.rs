//! `quorate cluster leave|remove|move-leader|away`: one host among the others.
//!
//! Refuses to change members itself: it asks the host's agent, or the deciding host, by a key.

use std::time::Duration;

use super::look::{self, Sight};
use crate::cluster::keys::{self, AwayRecord, LeaveRecord, OrderRecord, PerHost};
use crate::cluster::request::{Answer, Planned};
use crate::cluster::shell::{Agent, Order, now_seconds};
use crate::cluster::verdict::{self, Go};
use crate::cluster::writes;
use crate::store::{Op, Store, Txn};

/// A host leaves and its agent ends, as after ctrl-c.
pub(super) async fn leave(agent: &Agent, host: Option<&str>, dry: bool) -> Answer {
    let sight = match look::sight(agent).await {
        Ok(sight) => sight,
        Err(answer) => return answer,
    };
    let host = host.unwrap_or(&agent.host);
    let go = match verdict::leave(&sight.known(), host) {
        Ok(go) => go,
        Err(why) => return Answer::Refused(why),
    };
    if dry {
        return planned(host, go, false);
    }
    match order(agent, &sight, host, Order::Leave).await {
        Ok(()) => planned(host, go, true),
        Err(why) => Answer::Failed(why),
    }
}

/// A host's agent starts itself anew.
pub(super) async fn restart(agent: &Agent, host: &str) -> Answer {
    if host == agent.host {
        return match agent.orders.try_send(Order::Restart) {
            Ok(()) => Answer::Said(format!("{host} starts anew")),
            Err(_) => Answer::Refused("the agent is ending already".into()),
        };
    }
    let sight = match look::sight(agent).await {
        Ok(sight) => sight,
        Err(answer) => return answer,
    };
    match order(agent, &sight, host, Order::Restart).await {
        Ok(()) => Answer::Said(format!("{host} starts anew")),
        Err(why) => Answer::Failed(why),
    }
}

/// Tells a host's agent what to do: ours directly, another one by a key that it watches.
async fn order(agent: &Agent, sight: &Sight, host: &str, order: Order) -> Result<(), String> {
    if host == agent.host {
        return agent.orders.try_send(order).map_err(|_| "the agent is ending already".to_owned());
    }
    let Some(claimed) = sight.claims.get(host) else {
        return Err(format!("the agent of {host} is not there"));
    };
    let record = OrderRecord {
        v: keys::VERSION,
        what: order.as_str().into(),
        by: agent.host.clone(),
        at: now_seconds(),
    };
    match agent.store.txn(writes::order(host, &record, claimed.claim)).await {
        // Repeated and refused: the agent has ended since the first try, which is what was asked.
        Ok(done) if done.applied || done.repeated => Ok(()),
        Ok(_) => Err(format!("the agent of {host} was started anew at this moment; try again")),
        Err(error) => Err(error.to_string()),
    }
}

/// A member goes without its own doing.
pub(super) async fn remove(agent: &Agent, host: &str, force: bool, dry: bool) -> Answer {
    let sight = match look::sight(agent).await {
        Ok(sight) => sight,
        Err(answer) => return answer,
    };
    let mut go = match verdict::remove(&sight.known(), host, force) {
        Ok(go) => go,
        Err(why) => return Answer::Refused(why),
    };
    let Some(member) = go.member.filter(|_| !dry) else { return planned(host, go, false) };
    go.notes.push(super::snapshot::before(agent, "remove").await);
    let claimed = sight.claims.get(host);
    let wish = LeaveRecord {
        v: keys::VERSION,
        instance: claimed.map(|one| one.instance.clone()).unwrap_or_default(),
        member,
        reason: format!("taken out from {}", agent.host),
        deadline: None,
    };
    match agent.store.txn(writes::leave(host, &wish, claimed.map(|one| one.claim.revision))).await {
        Ok(done) if done.applied => planned(host, go, true),
        Ok(_) => Answer::Refused(format!("{host} came or went at this moment; look again")),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

fn planned(host: &str, go: Go, begun: bool) -> Answer {
    Answer::Planned(Box::new(Planned {
        host: Some(host.into()),
        member: go.member.map(crate::cluster::identity::show_id),
        plan: go.plan,
        notes: go.notes,
        begun,
        ..Planned::default()
    }))
}

/// Hands the leadership over.
pub(super) async fn move_leader(agent: &Agent, host: &str) -> Answer {
    let sight = match look::sight(agent).await {
        Ok(sight) => sight,
        Err(answer) => return answer,
    };
    let to = match verdict::move_leader(&sight.known(), host) {
        Ok(Some(to)) => to,
        Ok(None) => return Answer::Said(format!("{host} leads already")),
        Err(why) => return Answer::Refused(why),
    };
    let leader = crate::cluster::identity::show_id(sight.told.seen.leader);
    let view = agent.status.borrow().cluster.clone().unwrap_or_default();
    let url = view.members.iter().find(|m| m.id == leader).and_then(|m| m.client.first().cloned());
    let Some(url) = url else {
        return Answer::Failed("the leader's address is not known yet; try again".into());
    };
    match agent.rpc.move_leader(&url, to).await {
        Ok(()) => Answer::Said(format!("{host} leads")),
        Err(why) => Answer::Failed(format!("the leadership stays where it is: {why}")),
    }
}

/// Notes that a host will be away, or that it no longer is.
pub(super) async fn away(agent: &Agent, host: &str, seconds: u64) -> Answer {
    let sight = match look::sight(agent).await {
        Ok(sight) => sight,
        Err(answer) => return answer,
    };
    if let Err(why) = verdict::exists(&sight.known(), host) {
        return Answer::Refused(why);
    }
    let (txn, said) = if seconds == 0 {
        let then = vec![Op::Delete { key: PerHost::Away.of(host) }];
        (Txn { when: Vec::new(), then }, format!("{host} is not expected to be away"))
    } else {
        let note = AwayRecord { v: keys::VERSION, seconds, why: format!("said on {}", agent.host) };
        let span = crate::cluster::when::span(seconds);
        let said = format!("{host} may be away for {span} before it counts as dead");
        (writes::away(host, &note, None), said)
    };
    match tokio::time::timeout(Duration::from_secs(5), agent.store.txn(txn)).await {
        Ok(Ok(_)) => Answer::Said(said),
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(_) => Answer::Failed("the store does not answer".into()),
    }
}
