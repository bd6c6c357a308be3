//! What repeated decisions lead to, step by step, when hosts do what they are told and nothing
//! fails meanwhile.
//!
//! Refuses to promise: hosts that come or go change it.

use serde::{Deserialize, Serialize};

use super::decide::{Action, Learner, Observation, Spare, Voter, decide, quorum};
use super::told;

/// No sensible plan is longer; the decisions themselves never go in circles.
const STEPS: usize = 64;

/// A plan, with what it begins and ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is done, in order, for people.
    pub steps: Vec<String>,
    /// How many voters there are now.
    pub from: usize,
    /// How many there are in the end.
    pub to: usize,
    /// How many more may be lost now.
    pub tolerance_from: usize,
    /// How many more may be lost in the end.
    pub tolerance_to: usize,
}

/// The plan for what is seen.
pub fn plan(seen: &Observation) -> Plan {
    let mut now = Observation { ticket: None, ..seen.clone() };
    let mut plan =
        Plan { from: now.voters.len(), tolerance_from: tolerance(&now), ..Plan::default() };
    let mut fresh = u64::MAX;
    while plan.steps.len() < STEPS {
        // A learner that is on its way will be ready, or another takes its place.
        for learner in now.learners.iter_mut().filter(|one| one.lost.is_none()) {
            (learner.ready, learner.stable) = (true, true);
        }
        let Some(action) = decide(&now).action else { break };
        plan.steps.push(told::sentence(&now, &action));
        obey(&mut now, action, fresh);
        fresh -= 1;
    }
    plan.to = now.voters.len();
    plan.tolerance_to = tolerance(&now);
    plan
}

/// How many more voters may be lost.
fn tolerance(seen: &Observation) -> usize {
    seen.up().saturating_sub(quorum(seen.voters.len()))
}

fn obey(now: &mut Observation, action: Action, fresh: u64) {
    match action {
        Action::AddLearner { host } => {
            let spare = now.spares.iter().position(|spare| spare.host == host);
            let zone = spare.and_then(|at| now.spares.remove(at).zone);
            let learner = Learner { id: fresh, host, zone, ready: true, ..Learner::default() };
            now.learners.push(learner);
        }
        Action::Promote { id } => {
            let (promoted, rest) = now.learners.drain(..).partition(|one| one.id == id);
            now.learners = rest;
            now.voters.extend(promoted.into_iter().map(|one: Learner| Voter {
                id: one.id,
                host: one.host,
                zone: one.zone,
                up: true,
                joined: i64::MAX,
                ..Voter::default()
            }));
        }
        Action::Remove { id, .. } => {
            let gone = now.voters.iter().find(|one| one.id == id);
            // Who was only too many is a volunteer again, the last in the queue.
            let spare = gone.filter(|one| one.up && !one.leaving);
            let spare = spare.map(|one| Spare {
                since: u64::MAX,
                host: one.host.clone(),
                zone: one.zone.clone(),
                ..Spare::default()
            });
            now.spares.extend(spare);
            now.voters.retain(|one| one.id != id);
            now.learners.retain(|one| one.id != id);
        }
        Action::MoveLeader { to } => now.leader = to,
    }
}

/// The wanted number of voters as a person types it.
///
/// # Errors
/// Why it is none.
pub fn size(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(0) => {
            Err("a cluster of none keeps nothing; to stop it, stop each agent (TERM keeps its \
                      data)"
                .to_owned())
        }
        Ok(n @ 1..=7) => Ok(n),
        Ok(n) => Err(format!(
            "{n} voters are slower than 7 and hardly safer, as each write waits for more than half \
             of them; further hosts use the cluster without a vote"
        )),
        Err(_) => Err("the number of voters, 1 to 7".to_owned()),
    }
}

/// Why an even number of voters is no gain, and how many vote instead.
pub fn even(n: u16, to: usize) -> Option<String> {
    let odd = n.checked_sub(1).filter(|odd| n.is_multiple_of(2) && *odd > 0)?;
    let lose = usize::from(n) - quorum(usize::from(n));
    let instead = match to >= usize::from(n) {
        true => format!("{odd} would be as safe and answer sooner"),
        false => format!("so {to} vote"),
    };
    Some(format!("{n} voters can lose {lose} like {odd}, as one more has to agree; {instead}"))
}

/// How many hosts are missing for an odd number of voters; those that are there and could vote do
/// not count. The same hosts are counted as for the target of the decisions.
pub fn short(seen: &Observation) -> Option<String> {
    let wanted = usize::from(seen.desired);
    let more = wanted.checked_sub(seen.candidates()).filter(|more| *more > 0 && wanted % 2 == 1)?;
    Some(match more {
        1 => "1 more host is needed; it is taken up as soon as it joins".to_owned(),
        _ => format!("{more} more hosts are needed; they are taken up as soon as they join"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(voters: u64, spares: u64, desired: u16) -> Observation {
        let voter = |id: u64| Voter { id, host: format!("h{id}"), up: true, ..Voter::default() };
        let spare = |n: u64| Spare { since: n, host: format!("h{n}"), ..Spare::default() };
        Observation {
            desired,
            floor: 1,
            voters: (1..=voters).map(voter).collect(),
            spares: (voters + 1..=voters + spares).map(spare).collect(),
            leader: 1,
            ..Observation::default()
        }
    }

    #[test]
    fn growing_takes_two_steps_for_each_host_and_ends_where_it_says() {
        let plan = plan(&seen(3, 2, 5));
        assert_eq!(
            plan.steps,
            [
                "adds h4, to follow without a vote",
                "gives h4 a vote",
                "adds h5, to follow without a vote",
                "gives h5 a vote",
            ]
        );
        assert_eq!((plan.from, plan.to, plan.tolerance_from, plan.tolerance_to), (3, 5, 1, 2));
    }

    #[test]
    fn shrinking_keeps_the_leader_and_does_not_take_anybody_up_again() {
        let plan = plan(&seen(5, 0, 3));
        assert_eq!((plan.to, plan.steps.len()), (3, 2), "{plan:?}");
        assert!(plan.steps.iter().all(|step| step.starts_with("removes h")), "{plan:?}");
        assert!(plan.steps.iter().all(|step| !step.starts_with("removes h1:")), "{plan:?}");
    }

    #[test]
    fn every_size_from_every_size_comes_to_an_end() {
        for voters in 1..=7 {
            for spares in 0..=6 {
                for desired in 1..=7 {
                    let plan = plan(&seen(voters, spares, desired));
                    assert!(plan.steps.len() < 20, "{voters} {spares} {desired}: {plan:?}");
                    assert!(plan.to <= usize::from(desired).max(1), "{desired}: {plan:?}");
                }
            }
        }
    }

    #[test]
    fn without_enough_hosts_it_ends_with_those_that_there_are() {
        assert_eq!(plan(&seen(1, 2, 5)).to, 3);
        assert_eq!(plan(&seen(3, 0, 5)).to, 3);
    }

    #[test]
    fn none_and_more_than_seven_are_explained() {
        assert_eq!(size("7"), Ok(7));
        assert!(size("0").is_err_and(|why| why.contains("stop each agent")));
        assert!(size("9").is_err_and(|why| why.starts_with("9 voters are slower")));
        assert!(size("many").is_err_and(|why| why.contains("1 to 7")));
    }

    #[test]
    fn an_even_number_is_explained_and_an_odd_one_is_not() {
        assert_eq!(even(3, 3), None);
        let four = even(4, 3).unwrap();
        assert_eq!(four, "4 voters can lose 1 like 3, as one more has to agree; so 3 vote");
        assert!(even(2, 1).unwrap().ends_with("so 1 vote"));
        // Who shrinks to an even number keeps it.
        let stay = even(4, plan(&seen(5, 0, 4)).to).unwrap();
        assert!(stay.ends_with("3 would be as safe and answer sooner"), "{stay}");
        assert_eq!(even(0, 0), None);
    }

    #[test]
    fn as_many_hosts_are_missing_as_the_reasons_of_those_who_wait_say() {
        assert_eq!(short(&seen(3, 2, 5)), None);
        assert_eq!(short(&seen(3, 0, 4)), None);
        assert!(short(&seen(3, 0, 5)).is_some_and(|note| note.starts_with("2 more hosts are")));
        let one = seen(3, 1, 5);
        assert!(short(&one).is_some_and(|note| note.starts_with("1 more host is needed")));
        let reason = "4 voters could lose no more than 3 can; with one more host 5 would vote";
        assert_eq!(decide(&one).held, [("h4".to_owned(), reason.to_owned())]);
    }
}
