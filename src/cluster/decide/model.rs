//! A model of a cluster that obeys every decision: all small clusters one by one, larger ones at
//! random. After each action the invariants of 3.4 are checked, and every cluster comes to rest.

use proptest::prelude::*;

use super::super::{Action, Learner, Observation, Spare, Voter, quorum};
use super::decide;

/// What one host is in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Voter(Health, bool),
    Learner { ready: bool, lost: bool },
    Spare,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Up,
    Down,
    Dead,
}

const HOSTS: [Host; 11] = [
    Host::Voter(Health::Up, false),
    Host::Voter(Health::Up, true),
    Host::Voter(Health::Down, false),
    Host::Voter(Health::Down, true),
    Host::Voter(Health::Dead, false),
    Host::Learner { ready: true, lost: false },
    Host::Learner { ready: false, lost: false },
    Host::Learner { ready: true, lost: true },
    Host::Learner { ready: false, lost: true },
    Host::Spare,
    Host::Absent,
];

#[derive(Clone, Debug)]
struct Model {
    hosts: Vec<Host>,
    desired: u16,
    leader: usize,
}

fn id(host: usize) -> u64 {
    host as u64 + 1
}

impl Model {
    fn observe(&self) -> Observation {
        let mut seen = Observation { desired: self.desired, floor: 1, ..Observation::default() };
        for (n, host) in self.hosts.iter().enumerate() {
            let name = format!("h{n}");
            match *host {
                Host::Voter(health, leaving) => seen.voters.push(Voter {
                    id: id(n),
                    host: name,
                    up: health == Health::Up,
                    dead: health == Health::Dead,
                    leaving,
                    index: 0,
                }),
                Host::Learner { ready, lost } => {
                    seen.learners.push(Learner {
                        id: id(n),
                        host: name,
                        ready,
                        stable: ready,
                        lost,
                    });
                }
                Host::Spare => seen.spares.push(Spare { since: 0, host: name }),
                Host::Absent => {}
            }
        }
        seen.leader = if seen.has_quorum() { id(self.leader) } else { 0 };
        seen
    }

    /// Does what was decided; an added learner is not ready yet, a removed live one that did not
    /// ask is a spare again.
    fn obey(&mut self, action: &Action) {
        match action {
            Action::AddLearner { host } => {
                let n: usize = host[1..].parse().unwrap();
                assert_eq!(self.hosts[n], Host::Spare);
                self.hosts[n] = Host::Learner { ready: false, lost: false };
            }
            Action::Promote { id } => {
                let n = *id as usize - 1;
                assert_eq!(self.hosts[n], Host::Learner { ready: true, lost: false });
                self.hosts[n] = Host::Voter(Health::Up, false);
            }
            Action::Remove { id, .. } => {
                let n = *id as usize - 1;
                self.hosts[n] = match self.hosts[n] {
                    Host::Voter(Health::Up, false) => Host::Spare,
                    Host::Learner { lost: false, .. } => Host::Spare,
                    _ => Host::Absent,
                };
            }
            Action::MoveLeader { to } => self.leader = *to as usize - 1,
        }
    }

    /// Follows the decisions until there are none, checking each; how many there were.
    fn run(mut self) -> usize {
        for count in 0.. {
            let before = self.observe();
            let Some(action) = decide(&before).action else {
                if self.learner_becomes_ready() {
                    continue;
                }
                self.check_rest(&before);
                return count;
            };
            assert!(count < 24, "no end: {self:?} {action:?}");
            check_allowed(&before, &action);
            self.obey(&action);
            check_step(&before, &self.observe(), &action);
        }
        0
    }

    /// Time passes while nothing is decided; whether that changed anything.
    fn learner_becomes_ready(&mut self) -> bool {
        let waiting = Host::Learner { ready: false, lost: false };
        let found = self.hosts.iter_mut().find(|host| **host == waiting);
        found.map(|host| *host = Host::Learner { ready: true, lost: false }).is_some()
    }

    /// I8: at rest, the size is what it should be, unless a voter is in the way that may return.
    fn check_rest(&self, seen: &Observation) {
        let calm = seen.voters.iter().all(|v| v.up && !v.leaving);
        let learners_ready = seen.learners.iter().all(|l| l.ready);
        if seen.has_quorum() && calm && learners_ready {
            let n = seen.voters.len();
            assert!(n >= seen.target().max(1), "too few: {self:?}");
            assert!(n <= usize::from(seen.desired.max(1)), "too many: {self:?}");
        }
    }
}

fn slack(seen: &Observation) -> isize {
    seen.up() as isize - quorum(seen.voters.len()) as isize
}

/// I5 and I7: who may be removed at all.
fn check_allowed(seen: &Observation, action: &Action) {
    let Action::Remove { id, .. } = action else { return };
    assert_ne!(*id, seen.leader, "I7: the leader is removed while leading: {seen:?}");
    if let Some(voter) = seen.voters.iter().find(|v| v.id == *id) {
        let wanted_less = seen.voters.len() > usize::from(seen.desired);
        assert!(voter.leaving || voter.dead || wanted_less, "I5: {seen:?} {action:?}");
    }
}

/// I1 to I4 and I6: what holds after every action.
fn check_step(before: &Observation, after: &Observation, action: &Action) {
    let (n, m) = (before.voters.len(), after.voters.len());
    assert!(after.up() >= quorum(m), "I1: {before:?} {action:?}");
    let learners = after.learners.len();
    assert!(learners <= before.learners.len().max(1), "I2: {before:?} {action:?}");
    let changed = n.abs_diff(m) + before.learners.len().abs_diff(learners);
    let promoted = matches!(action, Action::Promote { .. });
    assert!(changed <= if promoted { 2 } else { 1 }, "I3: {before:?} {action:?}");
    assert!(m >= 1, "I4: {before:?} {action:?}");
    let asked = before.voters.iter().any(|v| v.leaving);
    let shrinks = n > usize::from(before.desired);
    let even_step = promoted && m % 2 == 0;
    let replaces = before.voters.iter().any(|v| v.dead);
    assert!(
        slack(after) >= slack(before) || asked || shrinks || even_step || replaces,
        "I6: {before:?} {action:?}"
    );
}

/// A model with a leader among the voters that answer, if any do; at most one learner, as I2 keeps
/// it.
fn models(hosts: &[Host], desired: u16) -> Vec<Model> {
    let learners = hosts.iter().filter(|h| matches!(h, Host::Learner { .. })).count();
    let leaders: Vec<usize> =
        (0..hosts.len()).filter(|&n| matches!(hosts[n], Host::Voter(Health::Up, _))).collect();
    if learners > 1 {
        return Vec::new();
    }
    leaders.into_iter().map(|leader| Model { hosts: hosts.to_vec(), desired, leader }).collect()
}

/// All hosts in ascending order, so that no cluster is looked at twice.
fn each_cluster(size: usize, from: usize, hosts: &mut Vec<Host>, visit: &mut impl FnMut(&[Host])) {
    if hosts.len() == size {
        return visit(hosts);
    }
    for (next, host) in HOSTS.iter().enumerate().skip(from) {
        hosts.push(*host);
        each_cluster(size, next, hosts, visit);
        hosts.pop();
    }
}

#[test]
fn no_small_cluster_ever_breaks_an_invariant() {
    let (mut clusters, mut actions) = (0, 0);
    for size in 1..=6 {
        each_cluster(size, 0, &mut Vec::new(), &mut |hosts| {
            for model in (0..=7).flat_map(|desired| models(hosts, desired)) {
                clusters += 1;
                actions += model.run();
            }
        });
    }
    println!("{clusters} clusters, {actions} actions");
    assert!(clusters > 50_000 && actions > 100_000, "{clusters} {actions}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_large_cluster_ever_breaks_an_invariant(
        picks in prop::collection::vec(0..HOSTS.len(), 7..12), desired in 0u16..9,
    ) {
        let mut hosts: Vec<Host> = picks.into_iter().map(|n| HOSTS[n]).collect();
        let mut seen_learner = false;
        hosts.retain(|h| {
            !matches!(h, Host::Learner { .. }) || !std::mem::replace(&mut seen_learner, true)
        });
        for model in models(&hosts, desired) {
            model.run();
        }
    }
}

#[test]
fn three_hosts_form_in_four_actions_learner_first() {
    let up = Host::Voter(Health::Up, false);
    let mut model = Model { hosts: vec![up, Host::Spare, Host::Spare], desired: 3, leader: 0 };
    let mut said = Vec::new();
    loop {
        match decide(&model.observe()).action {
            Some(action) => {
                model.obey(&action);
                said.push(action);
            }
            None if model.learner_becomes_ready() => {}
            None => break,
        }
    }
    assert_eq!(
        said,
        [
            Action::AddLearner { host: "h1".into() },
            Action::Promote { id: 2 },
            Action::AddLearner { host: "h2".into() },
            Action::Promote { id: 3 },
        ]
    );
}

#[test]
fn the_named_cases_of_the_design_hold() {
    let up = Host::Voter(Health::Up, false);
    let dead = Host::Voter(Health::Dead, false);
    let first = |hosts: &[Host], desired| {
        decide(&Model { hosts: hosts.to_vec(), desired, leader: 0 }.observe()).action
    };
    // One of three dead without a spare stays: its removal would gain nothing, and it may return.
    assert_eq!(first(&[up, up, dead], 3), None);
    // Two of five dead go, one of four goes.
    assert!(matches!(first(&[up, up, up, dead, dead], 5), Some(Action::Remove { id: 4, .. })));
    assert!(matches!(first(&[up, up, up, dead], 5), Some(Action::Remove { id: 4, .. })));
    // With two hosts the second follows without a vote.
    assert!(matches!(first(&[up, Host::Spare], 5), Some(Action::AddLearner { .. })));
    assert_eq!(first(&[up, Host::Learner { ready: true, lost: false }], 5), None);
    // At the ideal size the others stay volunteers.
    assert_eq!(first(&[up, up, up, Host::Spare, Host::Spare], 3), None);
    // The only voter keeps its data, and a leaving leader hands over first.
    let going = Host::Voter(Health::Up, true);
    assert_eq!(first(&[going], 3), None);
    assert!(matches!(first(&[going, up, up], 3), Some(Action::MoveLeader { .. })));
}
