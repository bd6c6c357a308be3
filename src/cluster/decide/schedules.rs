//! The model of a cluster through random lives: hosts die and return, ask to leave and are added by
//! hand, changes are opened, get stuck, are called off or turn out to have been made. Pure luck,
//! from one number.
//!
//! `QUORATE_SCHEDULES=N` tries N of them, `QUORATE_SCHEDULE=S` the one that a failure names.

use super::super::Action;
use super::model::{
    Health, Host, Model, PLAIN, Policy, check_allowed, check_removed, check_step, host_of, leaders,
    model,
};
use super::next;
use crate::cluster::keys::ChangeKind;

/// How many things happen in one life.
const STEPS: u64 = 40;

/// A small random number generator (splitmix64): the same numbers for a seed everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// Names the seed when an invariant is broken.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("QUORATE_SCHEDULE={}", self.0);
        }
    }
}

/// A cluster of one founder and some hosts that could serve.
fn begin(dice: &mut Dice) -> Model {
    let mut hosts = vec![Host::Voter(Health::Up, false)];
    hosts.resize(2 + dice.below(8), Host::Spare);
    let zones = dice.below(4) as u8;
    let policy = Policy {
        desired: 1 + dice.below(7) as u16,
        floor: 1 + dice.below(8).saturating_sub(5) as u16,
        allow_even: dice.below(4) == 0,
        strict: dice.below(4) == 0,
    };
    let mut begun = model(&hosts, policy);
    for zone in &mut begun.zones {
        *zone = if zones == 0 { 0 } else { 1 + dice.below(usize::from(zones)) as u8 };
    }
    begun
}

/// Something that no decision wanted.
fn misfortune(model: &mut Model, dice: &mut Dice) {
    if dice.below(12) == 0 {
        model.policy.desired = 1 + dice.below(7) as u16;
    }
    let n = dice.below(model.hosts.len());
    let lucky = dice.below(3) > 0;
    model.hosts[n] = match model.hosts[n] {
        Host::Voter(Health::Up, _) if !lucky => Host::Voter(Health::Down, false),
        Host::Voter(Health::Up, _) => Host::Voter(Health::Up, true),
        Host::Voter(Health::Down, leaving) if !lucky => Host::Voter(Health::Dead, leaving),
        Host::Voter(_, leaving) => Host::Voter(Health::Up, leaving),
        Host::Stranger(Health::Up) => Host::Stranger(Health::Down),
        Host::Stranger(_) => Host::Stranger(Health::Up),
        Host::Learner { lost: true, .. } => return,
        Host::Learner { ready: false, .. } if lucky => {
            Host::Learner { ready: true, stable: dice.below(2) == 0, lost: false }
        }
        Host::Learner { ready, stable, .. } => {
            Host::Learner { ready: ready && lucky, stable: stable && lucky, lost: !lucky }
        }
        Host::Spare => Host::Barred,
        // Somebody's hand, when it does not stop the cluster at once.
        Host::Absent if dice.below(6) == 0 && model.observe().slack() > 0 => {
            Host::Stranger(Health::Down)
        }
        Host::Barred | Host::Absent => Host::Spare,
    };
}

/// The voters elect somebody who answers; without one nobody leads, which the observation shows.
fn elect(model: &mut Model, dice: &mut Dice) {
    let able = leaders(&model.hosts);
    if !able.contains(&model.leader) && !able.is_empty() {
        model.leader = able[dice.below(able.len())];
    }
}

/// The decider's turn: opens a change, or goes on with the open one, as the shell does.
fn turn(model: &mut Model, dice: &mut Dice) {
    let before = model.observe();
    let Some(action) = model.ticket.clone() else {
        let Some(action) = next(&before) else { return };
        check_allowed(&before, &action);
        match action {
            Action::MoveLeader { .. } => model.obey(&action),
            _ => model.ticket = Some(action),
        }
        return;
    };
    assert_eq!(next(&before), None, "I3: decides although a change is open");
    let (kind, member) = match &action {
        Action::AddLearner { .. } => (ChangeKind::Add, 0),
        Action::Promote { id } => (ChangeKind::Promote, *id),
        Action::Remove { id, .. } => (ChangeKind::Remove, *id),
        Action::MoveLeader { .. } => return,
    };
    let made = match &action {
        Action::AddLearner { host } => {
            matches!(model.hosts[host.parse::<usize>().unwrap()], Host::Learner { .. })
        }
        Action::Promote { id } => before.voters.iter().any(|v| v.id == *id),
        _ => {
            !before.voters.iter().any(|v| v.id == member)
                && !before.learners.iter().any(|l| l.id == member)
        }
    };
    // Whoever changed meanwhile is refused by etcd or by the observation.
    let fits = match &action {
        Action::AddLearner { host } => {
            let strict = model.policy.strict && before.up() < before.voters.len();
            model.hosts[host.parse::<usize>().unwrap()] == Host::Spare && !strict
        }
        Action::Promote { id } => {
            let host = model.hosts[host_of(*id)];
            matches!(host, Host::Learner { ready: true, lost: false, .. })
        }
        _ => true,
    };
    if made || !fits || !before.still_safe(kind, member) {
        model.ticket = None;
        return;
    }
    match dice.below(4) {
        // The order gets lost.
        0 => {}
        luck => {
            if kind == ChangeKind::Remove {
                check_removed(&before, member);
            }
            model.obey(&action);
            elect(model, dice);
            let mut after = model.observe();
            after.leader = before.leader;
            check_step(&before, &after, &action);
            // In one of these the answer gets lost, and the change is found to be made later.
            if luck > 1 {
                model.ticket = None;
            }
        }
    }
}

fn live(seed: u64) {
    let _named = Named(seed);
    let dice = &mut Dice(seed);
    let mut model = begin(dice);
    for _ in 0..STEPS {
        match dice.below(3) {
            0 => misfortune(&mut model, dice),
            1 => drop(model.learner_goes_on()),
            _ => turn(&mut model, dice),
        }
        elect(&mut model, dice);
    }
    model.ticket = None;
    if !leaders(&model.hosts).is_empty() {
        model.run();
    }
}

#[test]
fn random_schedules_of_a_cluster_violate_nothing() {
    let asked = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
    };
    let seeds = match asked("QUORATE_SCHEDULE") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("QUORATE_SCHEDULES").unwrap_or(2_000),
    };
    println!("seeds {seeds:?}");
    seeds.for_each(live);
}

#[test]
fn what_became_unsafe_since_it_was_decided_is_not_done() {
    let up = Host::Voter(Health::Up, false);
    let down = Host::Voter(Health::Down, false);
    let dead = Host::Voter(Health::Dead, false);
    let safe =
        |hosts: &[Host], kind, member| model(hosts, PLAIN).observe().still_safe(kind, member);
    assert!(safe(&[up, up, dead], ChangeKind::Remove, 3));
    assert!(!safe(&[up, up, down], ChangeKind::Remove, 3), "it is back, or almost");
    assert!(!safe(&[up, up, dead], ChangeKind::Remove, 2), "it did not ask");
    let going = Host::Voter(Health::Up, true);
    assert!(safe(&[up, going, up], ChangeKind::Remove, 2));
    assert!(!safe(&[up, going, dead], ChangeKind::Remove, 2), "another one fell");
    assert!(!safe(&[going, up, up], ChangeKind::Remove, 1), "it leads");
    let ready = Host::Learner { ready: true, stable: true, lost: false };
    let unready = Host::Learner { ready: false, stable: false, lost: false };
    assert!(safe(&[up, ready], ChangeKind::Promote, 2));
    assert!(!safe(&[up, unready], ChangeKind::Promote, 2));
    assert!(!safe(&[up, ready], ChangeKind::Add, 0), "one learner at a time");
    assert!(!safe(&[up, down, down], ChangeKind::Remove, 3), "no quorum");
}
