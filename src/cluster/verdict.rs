//! Whether what a person asks for may be done, and what it leads to.
//!
//! Refuses what would end the quorum, whoever asks, and says what to do instead.

use std::collections::BTreeSet;

use super::decide::{Lost, Observation, Voter, quorum};
use super::plan::{self, Plan};
use crate::ident::counted;

/// What is known when a request is judged.
pub struct Known<'a> {
    /// What the deciding host saw last.
    pub seen: &'a Observation,
    /// The hosts whose agents have a claim to their name.
    pub alive: &'a BTreeSet<String>,
}

/// What is to be done about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Go {
    /// Its member, if it is one.
    pub member: Option<u64>,
    /// What it leads to.
    pub plan: Plan,
    /// What a person should know before.
    pub notes: Vec<String>,
}

/// Where a host is.
enum Place<'a> {
    Voter(&'a Voter),
    Learner(u64),
    Outside,
}

impl Known<'_> {
    fn place(&self, host: &str) -> Result<Place<'_>, String> {
        if let Some(voter) = self.seen.voters.iter().find(|one| one.host == host) {
            return Ok(Place::Voter(voter));
        }
        if let Some(learner) = self.seen.learners.iter().find(|one| one.host == host) {
            return Ok(Place::Learner(learner.id));
        }
        if self.alive.contains(host) {
            return Ok(Place::Outside);
        }
        let members = self.seen.voters.iter().map(|one| one.host.clone());
        let learners = self.seen.learners.iter().map(|one| one.host.clone());
        let all: BTreeSet<String> =
            members.chain(learners).chain(self.alive.iter().cloned()).collect();
        let all: Vec<String> = all.into_iter().collect();
        Err(format!("no host is called {host}; there are {}", all.join(", ")))
    }

    /// The plan when the voters with this id want to go.
    fn without(&self, id: u64) -> Plan {
        let mut seen = self.seen.clone();
        seen.voters.iter_mut().filter(|one| one.id == id).for_each(|one| one.leaving = true);
        seen.learners
            .iter_mut()
            .filter(|one| one.id == id)
            .for_each(|one| one.lost = Some(Lost::Leaving));
        plan::plan(&seen)
    }

    fn quorum(&self) -> Result<(), String> {
        if self.seen.has_quorum() {
            return Ok(());
        }
        let (up, voters) = (self.seen.up(), counted(self.seen.voters.len(), "voter"));
        Err(format!(
            "no quorum: {up} of {voters} answer, and nothing can be changed; see `quorate cluster \
             status`"
        ))
    }

    /// Whether this voter can be spared, now or once another has taken its place.
    fn can_go(&self, voter: &Voter) -> Result<(), String> {
        let n = self.seen.voters.len();
        let replaced = self.seen.usable().next().is_some()
            || self.seen.learners.iter().any(|l| l.lost.is_none());
        if n == 1 && !replaced {
            return Err(format!(
                "{} is the only voter and has the data; let another host join first, or stop its \
                 agent, which keeps them",
                voter.host
            ));
        }
        if self.seen.can_remove(voter) || replaced {
            return Ok(());
        }
        let left = self.seen.up().saturating_sub(usize::from(voter.up));
        Err(format!(
            "without {} only {left} of {} would answer, and {} are needed; bring back who is \
             silent first",
            voter.host,
            counted(n - 1, "voter"),
            quorum(n - 1)
        ))
    }
}

/// There is a host of this name.
///
/// # Errors
/// One sentence that names those that there are.
pub fn exists(known: &Known<'_>, host: &str) -> Result<(), String> {
    known.place(host).map(drop)
}

/// A host leaves by itself: its agent is asked to go.
///
/// # Errors
/// One sentence.
pub fn leave(known: &Known<'_>, host: &str) -> Result<Go, String> {
    let place = known.place(host)?;
    if !known.alive.contains(host) {
        return Err(format!(
            "the agent of {host} is not there to leave; once it counts as dead: quorate cluster \
             remove {host}"
        ));
    }
    let notes = Vec::new();
    match place {
        Place::Outside => Ok(Go { member: None, plan: plan::plan(known.seen), notes }),
        Place::Learner(id) => Ok(Go { member: Some(id), plan: known.without(id), notes }),
        Place::Voter(voter) => {
            known.quorum()?;
            known.can_go(voter)?;
            let plan = known.without(voter.id);
            Ok(Go { member: Some(voter.id), notes: fewer(&plan), plan })
        }
    }
}

/// A member that does not come back is taken out by the others.
///
/// # Errors
/// One sentence.
pub fn remove(known: &Known<'_>, host: &str, force: bool) -> Result<Go, String> {
    let (id, plan, mut notes) = match known.place(host)? {
        Place::Outside => {
            return Err(format!("{host} is no member of etcd: there is nothing to remove"));
        }
        Place::Learner(id) if !force => {
            let id = super::identity::show_id(id);
            return Err(format!(
                "{host} follows without a vote (member {id}) and is removed by itself when it \
                 fails; --force removes it now"
            ));
        }
        Place::Learner(id) => (id, known.without(id), Vec::new()),
        Place::Voter(voter) => {
            known.quorum()?;
            known.can_go(voter)?;
            if !voter.dead && !force {
                return Err(not_dead(voter));
            }
            let plan = known.without(voter.id);
            (voter.id, plan.clone(), fewer(&plan))
        }
    };
    notes.push(match known.alive.contains(host) {
        true => format!("{host} is alive: it puts its data aside and volunteers again"),
        false => format!("if {host} comes back, it puts its data aside and joins as a new member"),
    });
    Ok(Go { member: Some(id), plan, notes })
}

fn not_dead(voter: &Voter) -> String {
    let host = &voter.host;
    if voter.up {
        return format!(
            "{host} answers; to let it go in good order: quorate cluster leave {host}; --force \
             removes it all the same"
        );
    }
    format!(
        "{host} is silent but does not count as dead yet, and may come back; wait for that, or \
         --force removes it now"
    )
}

fn fewer(plan: &Plan) -> Vec<String> {
    let lost = plan.tolerance_to < plan.tolerance_from;
    let note = || {
        format!(
            "afterwards {} can lose {}, before {} could lose {}",
            counted(plan.to, "voter"),
            plan.tolerance_to,
            plan.from,
            plan.tolerance_from
        )
    };
    lost.then(note).into_iter().collect()
}

/// The voter to hand the leadership to; `None` when it leads already.
///
/// # Errors
/// One sentence.
pub fn move_leader(known: &Known<'_>, host: &str) -> Result<Option<u64>, String> {
    known.quorum()?;
    match known.place(host)? {
        Place::Voter(voter) if voter.id == known.seen.leader => Ok(None),
        Place::Voter(voter) if voter.up && !voter.leaving => Ok(Some(voter.id)),
        Place::Voter(voter) if voter.leaving => Err(format!("{host} is about to leave")),
        Place::Voter(_) => Err(format!("{host} does not answer, and could not lead")),
        Place::Learner(_) => Err(format!("{host} follows without a vote, and cannot lead")),
        Place::Outside => Err(format!("{host} is no member of etcd, and cannot lead")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::decide::{Learner, Spare};

    /// Voters `h1`… in these states: `u`p, `d`own, dead (`x`).
    fn seen(states: &str) -> Observation {
        let voter = |(n, state): (usize, char)| Voter {
            id: n as u64 + 1,
            host: format!("h{}", n + 1),
            up: state == 'u',
            dead: state == 'x',
            ..Voter::default()
        };
        Observation {
            desired: u16::try_from(states.len()).unwrap(),
            floor: 1,
            voters: states.chars().enumerate().map(voter).collect(),
            leader: 1,
            ..Observation::default()
        }
    }

    fn judge<T>(seen: &Observation, alive: &str, ask: impl Fn(&Known<'_>) -> T) -> T {
        let alive = alive.split(' ').map(str::to_owned).collect();
        ask(&Known { seen, alive: &alive })
    }

    #[test]
    fn who_may_leave_and_who_may_not() {
        for (states, alive, host, refusal) in [
            ("uuu", "h1 h2 h3", "h2", None),
            ("uuu", "h1 h2 h3", "h1", None),
            ("u", "h1", "h1", Some("is the only voter")),
            ("uud", "h1 h2", "h3", Some("is not there to leave")),
            ("uud", "h1 h2", "h2", Some("without h2 only 1 of 2 voters would answer")),
            ("udd", "h1", "h1", Some("no quorum: 1 of 3 voters answer")),
            ("uuu", "h1 h2 h3", "h9", Some("no host is called h9; there are h1, h2, h3")),
            ("uuu", "h1 h2 h3 h4", "h4", None),
        ] {
            let said = judge(&seen(states), alive, |known| leave(known, host));
            match refusal {
                None => assert!(said.is_ok(), "{states} {host}: {said:?}"),
                Some(why) => {
                    assert!(said.as_ref().is_err_and(|s| s.contains(why)), "{host}: {said:?}")
                }
            }
        }
    }

    #[test]
    fn what_leaving_costs_is_said_before() {
        let said = judge(&seen("uuu"), "h1 h2 h3", |known| leave(known, "h3")).unwrap();
        assert_eq!(said.notes, ["afterwards 2 voters can lose 0, before 3 could lose 1"]);
        let mut with_spare = seen("uuu");
        with_spare.spares.push(Spare { since: 1, host: "h4".into(), ..Spare::default() });
        let said = judge(&with_spare, "h1 h2 h3 h4", |known| leave(known, "h3")).unwrap();
        assert_eq!((said.notes.len(), said.plan.to), (0, 3), "{said:?}");
    }

    #[test]
    fn only_the_dead_are_removed_without_force_and_nobody_against_the_quorum() {
        for (states, host, force, refusal) in [
            ("uux", "h3", false, None),
            ("uud", "h3", false, Some("does not count as dead yet")),
            ("uud", "h3", true, None),
            ("uuu", "h3", false, Some("h3 answers; to let it go in good order")),
            ("uuu", "h3", true, None),
            ("uxd", "h2", true, Some("no quorum")),
            ("uxuud", "h2", false, None),
            ("uud", "h2", true, Some("only 1 of 2 voters would answer")),
        ] {
            let said = judge(&seen(states), "h1 h2", |known| remove(known, host, force));
            match refusal {
                None => assert!(said.is_ok(), "{states} {host}: {said:?}"),
                Some(why) => {
                    assert!(said.as_ref().is_err_and(|s| s.contains(why)), "{host}: {said:?}")
                }
            }
        }
        let said = judge(&seen("uuu"), "h1 h2 h3 h4", |known| remove(known, "h4", true));
        assert!(said.is_err_and(|why| why.contains("nothing to remove")));
    }

    #[test]
    fn the_leadership_goes_only_to_a_voter_that_answers() {
        let mut seen = seen("uud");
        let learner = Learner { id: 9, host: "h4".into(), ready: true, ..Learner::default() };
        seen.learners.push(learner);
        let ask = |host: &str| judge(&seen, "h1 h2 h4 h5", |known| move_leader(known, host));
        assert_eq!(ask("h1"), Ok(None));
        assert_eq!(ask("h2"), Ok(Some(2)));
        assert!(ask("h3").is_err_and(|why| why.contains("does not answer")));
        assert!(ask("h4").is_err_and(|why| why.contains("without a vote")));
        assert!(ask("h5").is_err_and(|why| why.contains("no member")));
    }
}
