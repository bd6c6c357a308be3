//! `quorate cluster size [N]`: how many voters are wanted, compared with what was read.
//!
//! Refuses to overwrite what somebody else said at the same moment.

use super::look;
use crate::cluster::keys::{self, SizeRecord};
use crate::cluster::plan;
use crate::cluster::request::{Answer, Planned};
use crate::cluster::shell::{Agent, now_seconds};
use crate::cluster::writes;
use crate::ident::counted;
use crate::store::Store;

/// Shows the plan for `n`, or for the present size, and writes it unless only shown.
pub(super) async fn answer(agent: &Agent, n: Option<u16>, dry: bool) -> Answer {
    let sight = match look::sight(agent).await {
        Ok(sight) => sight,
        Err(answer) => return answer,
    };
    let Some((before, revision)) = sight.size.clone() else {
        return Answer::Failed(
            "the wanted size is not written yet; the cluster still forms".into(),
        );
    };
    let n = n.unwrap_or(before.n);
    let mut seen = sight.told.seen.clone();
    seen.desired = n;
    let plan = plan::plan(&seen);
    let even = plan::even(n, plan.to).filter(|_| !before.allow_even);
    let mut notes: Vec<String> = even.into_iter().chain(plan::short(&seen)).collect();
    if plan.to > usize::from(n) {
        let stay = counted(plan.to, "voter");
        notes.push(format!("{stay} stay, as fewer are not allowed or not safe now"));
    }
    let planned = Planned {
        wanted: Some(n),
        wanted_before: Some(before.n),
        plan,
        notes,
        ..Planned::default()
    };
    if dry || n == before.n {
        return Answer::Planned(Box::new(planned));
    }
    let mut planned = planned;
    if n < before.n {
        planned.notes.push(super::snapshot::before(agent, "size").await);
    }
    let record =
        SizeRecord { v: keys::VERSION, n, by: agent.host.clone(), at: now_seconds(), ..before };
    match agent.store.txn(writes::resize(&record, Some(revision))).await {
        Ok(done) if done.applied || (done.repeated && is_written(agent, &record).await) => {
            let were = planned.wanted_before.unwrap_or(n);
            tracing::info!("{} wanted, {were} before", counted(n.into(), "voter"));
            Answer::Planned(Box::new(Planned { begun: true, ..planned }))
        }
        Ok(_) => Answer::Refused(
            "somebody else changed the wanted size at the same moment; see `quorate cluster size`"
                .into(),
        ),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// Whether the record is there although the write was refused: an earlier try at it was made, and
/// its answer lost.
async fn is_written(agent: &Agent, record: &SizeRecord) -> bool {
    let now = agent.store.range(&keys::size()).await.ok();
    let entry = now.and_then(|now| now.entries.into_iter().find(|one| one.key == keys::size()));
    entry.is_some_and(|entry| entry.value == keys::write(record))
}
