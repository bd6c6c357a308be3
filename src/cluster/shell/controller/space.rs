//! Keeps the store from filling up, and empties it when it has: carries out what
//! [`crate::cluster::space`] says.
//!
//! Refuses to decide. It rests on no claim: all of it can be done twice, and a full store takes no
//! claim.

use std::time::{Duration, Instant};

use crate::cluster::decide::Observation;
use crate::cluster::seen::{Member, Probe, Seen};
use crate::cluster::shell::Agent;
use crate::cluster::space::{Care, Keeper, Sight, Step, Usage};

/// Looks at the space of all members and does what is to be done; whether anything was.
pub(super) async fn keep(
    agent: &Agent,
    seen: &Seen,
    observation: &Observation,
    keeper: &mut Keeper,
    now: Duration,
) -> bool {
    let members = seen.members.iter().zip(&seen.probes);
    let usage = |(member, probe): (_, &Option<Probe>)| usage(member, probe.as_ref());
    let full = match seen.own.full {
        true => agent.rpc.full_members(&agent.own_url).await.unwrap_or_default(),
        false => Vec::new(),
    };
    let sight = Sight {
        quota: agent.quota,
        members: members.filter_map(usage).collect(),
        leader: seen.own.leader,
        slack: observation.slack(),
        full,
        revision: seen.revision,
    };
    let Care { steps, warning } = keeper.look(&sight, now);
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let (any, began) = (!steps.is_empty(), Instant::now());
    for step in steps {
        if let Err(why) = carry_out(agent, seen, step).await {
            tracing::warn!(?step, why, "the store's space could not be looked after");
            keeper.failed(now + began.elapsed());
            break;
        }
    }
    any
}

/// What a member that answers has and uses.
pub(in crate::cluster::shell) fn usage(member: &Member, probe: Option<&Probe>) -> Option<Usage> {
    let probe = probe.filter(|p| p.member == member.id)?;
    Some(Usage {
        id: member.id,
        voter: !member.learner,
        bytes: probe.db_bytes,
        used: probe.db_used_bytes,
    })
}

async fn carry_out(agent: &Agent, seen: &Seen, step: Step) -> Result<(), String> {
    let own = &agent.own_url;
    match step {
        Step::Compact(revision) => agent.rpc.compact(own, revision).await,
        Step::Disarm(id) => agent.rpc.disarm(own, id).await,
        Step::MoveLeader(to) => agent.rpc.move_leader(own, to).await,
        Step::Defragment(id) => {
            let member = seen.members.iter().find(|m| m.id == id);
            let url = member.and_then(|m| seen.url_of(m)).ok_or("its address is not known")?;
            let host = seen.host_of(id);
            tracing::info!("the member on {host} gives free space back");
            agent.rpc.defragment(&url).await
        }
    }
}
