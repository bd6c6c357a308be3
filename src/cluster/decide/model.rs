//! A model of a cluster that obeys every decision: every small cluster, one by one. After each
//! action the invariants of 3.4 are checked, and every cluster comes to rest.
//!
//! `QUORATE_HOSTS=N` looks at all clusters of up to N hosts under every policy and in two zones.

use super::super::{Action, Barred, Learner, Lost, Observation, Spare, Voter, quorum};
use super::next;
use crate::cluster::keys::ChangeKind;

/// What one host is in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Voter(Health, bool),
    Stranger(Health),
    Learner { ready: bool, stable: bool, lost: bool },
    Spare,
    Barred,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Up,
    Down,
    Dead,
}

const fn learner(ready: bool, stable: bool, lost: bool) -> Host {
    Host::Learner { ready, stable, lost }
}

const KINDS: [Host; 15] = [
    Host::Voter(Health::Up, false),
    Host::Voter(Health::Up, true),
    Host::Voter(Health::Down, false),
    Host::Voter(Health::Down, true),
    Host::Voter(Health::Dead, false),
    Host::Voter(Health::Dead, true),
    Host::Stranger(Health::Up),
    Host::Stranger(Health::Down),
    Host::Spare,
    Host::Barred,
    learner(true, true, false),
    learner(true, false, false),
    learner(false, false, false),
    learner(true, true, true),
    learner(false, false, true),
];
/// From here on the kinds are learners.
const LEARNERS: usize = 10;

/// What the cluster was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) desired: u16,
    pub(super) floor: u16,
    pub(super) allow_even: bool,
    pub(super) strict: bool,
}

pub(super) const PLAIN: Policy = Policy { desired: 5, floor: 1, allow_even: false, strict: false };

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) hosts: Vec<Host>,
    /// Of each host; 0 is none.
    pub(super) zones: Vec<u8>,
    pub(super) policy: Policy,
    pub(super) leader: usize,
    pub(super) ticket: Option<Action>,
}

pub(super) fn id(host: usize) -> u64 {
    host as u64 + 1
}

pub(super) fn host_of(id: u64) -> usize {
    id as usize - 1
}

impl Model {
    pub(super) fn observe(&self) -> Observation {
        let Policy { desired, floor, allow_even, strict } = self.policy;
        let mut seen = Observation { desired, floor, allow_even, strict, ..Observation::default() };
        for (n, host) in self.hosts.iter().enumerate() {
            let zone = (self.zones[n] > 0).then(|| self.zones[n].to_string());
            self.describe(&mut seen, n, *host, zone);
        }
        seen.leader = if seen.has_quorum() { id(self.leader) } else { 0 };
        seen.ticket = self.ticket.as_ref().map(|_| (ChangeKind::Add, String::new()));
        seen
    }

    fn describe(&self, seen: &mut Observation, n: usize, kind: Host, zone: Option<String>) {
        let (host, id) = (n.to_string(), id(n));
        match kind {
            Host::Voter(health, leaving) => seen.voters.push(Voter {
                id,
                host,
                zone,
                up: health == Health::Up,
                dead: health == Health::Dead,
                leaving,
                joined: n as i64,
                ..Voter::default()
            }),
            Host::Stranger(health) => seen.voters.push(Voter {
                id,
                up: health == Health::Up,
                stranger: true,
                ..Voter::default()
            }),
            Host::Learner { ready, stable, lost } => {
                let lost = lost.then_some(Lost::Silent);
                seen.learners.push(Learner { id, host, zone, ready, stable, lost });
            }
            Host::Spare => seen.spares.push(Spare { host, zone, ..Spare::default() }),
            Host::Barred => {
                let barred = Some(Barred::Quarantined { fails: 1, why: "it was slow".into() });
                seen.spares.push(Spare { host, zone, barred, ..Spare::default() });
            }
            Host::Absent => {}
        }
    }

    /// Does what was decided; an added learner is not ready yet, a removed live one that did not
    /// ask is a spare again, one that failed is left alone.
    pub(super) fn obey(&mut self, action: &Action) {
        match action {
            Action::AddLearner { host } => {
                let n: usize = host.parse().unwrap();
                assert_eq!(self.hosts[n], Host::Spare, "{self:?}");
                self.hosts[n] = learner(false, false, false);
            }
            Action::Promote { id } => {
                let host = &mut self.hosts[host_of(*id)];
                let good = matches!(host, Host::Learner { ready: true, lost: false, .. });
                assert!(good, "{host:?} is given a vote");
                *host = Host::Voter(Health::Up, false);
            }
            Action::Remove { id, .. } => {
                let host = &mut self.hosts[host_of(*id)];
                *host = match *host {
                    Host::Voter(Health::Up, false) => Host::Spare,
                    Host::Learner { lost: false, .. } => Host::Spare,
                    Host::Learner { lost: true, .. } => Host::Barred,
                    _ => Host::Absent,
                };
            }
            Action::MoveLeader { to } => {
                let up = [Host::Voter(Health::Up, false), Host::Voter(Health::Up, true)];
                let host = self.hosts[host_of(*to)];
                assert!(up.contains(&host) || host == Host::Stranger(Health::Up), "{self:?}");
                self.leader = host_of(*to);
            }
        }
    }

    /// Follows the decisions until there are none, checking each; how many there were.
    pub(super) fn run(mut self) -> usize {
        let most = if self.hosts.len() <= 6 { 12 } else { 3 * self.hosts.len() };
        let mut count = 0;
        loop {
            let before = self.observe();
            let Some(action) = next(&before) else {
                if self.learner_goes_on() {
                    continue;
                }
                self.check_rest(&before);
                return count;
            };
            count += 1;
            assert!(count <= most, "I8: no end: {self:?} {action:?}");
            check_allowed(&before, &action);
            self.obey(&action);
            check_step(&before, &self.observe(), &action);
        }
    }

    /// Time passes while nothing is decided; whether that changed anything.
    pub(super) fn learner_goes_on(&mut self) -> bool {
        let waiting = |h: &&mut Host| matches!(h, Host::Learner { stable: false, lost: false, .. });
        let found = self.hosts.iter_mut().find(waiting);
        found.map(|host| *host = learner(true, true, false)).is_some()
    }

    /// I8: at rest, the size is what it should be, unless a voter is in the way that may return,
    /// and nobody is left dead or unwilling who could be replaced.
    fn check_rest(&self, seen: &Observation) {
        if !seen.has_quorum() {
            return;
        }
        let n = seen.voters.len();
        let helper = seen.usable().next().is_some() || !seen.learners.is_empty();
        // etcd's own check adds nobody while a voter is down.
        let stuck = seen.strict && seen.up() < n;
        let replaceable = helper && !stuck;
        let bad = |v: &&Voter| v.dead || v.leaving;
        assert!(!replaceable || !seen.voters.iter().any(|v| bad(&v)), "I8: left alone: {self:?}");
        let may_go = |v: &&Voter| (v.stranger || v.leaving) && seen.can_remove(v);
        assert_eq!(seen.voters.iter().find(may_go), None, "I8: may go and stays: {self:?}");
        if seen.voters.iter().all(|v| v.up && !v.leaving && !v.stranger) {
            assert!(n >= seen.target().max(1), "I8: too few: {self:?}");
            assert!(n <= usize::from(seen.desired).max(seen.least()), "I8: too many: {self:?}");
            let spares = n >= usize::from(seen.desired) && !seen.learners.is_empty();
            assert!(!spares, "I8: a learner of no use: {self:?}");
        }
    }
}

fn slack(seen: &Observation) -> isize {
    seen.up() as isize - quorum(seen.voters.len()) as isize
}

/// Who may be added, promoted and removed at all.
pub(super) fn check_allowed(seen: &Observation, action: &Action) {
    let n = seen.voters.len();
    assert!(seen.ticket.is_none(), "I3: one change at a time: {seen:?} {action:?}");
    let unwell = seen.voters.iter().any(|v| v.dead || v.leaving);
    match action {
        Action::Remove { id, .. } => {
            check_removed(seen, *id);
            check_victim(seen, *id);
            check_gain(seen, *id);
        }
        Action::Promote { id } => {
            let learner = seen.learners.iter().find(|l| l.id == *id).expect("a learner");
            assert!(learner.stable || unwell, "stabilization: {seen:?}");
            let further = seen.usable().next().is_some();
            let passed = n.is_multiple_of(2) || further || seen.allow_even;
            assert!(passed || unwell || seen.up() < n, "an even size for nothing: {seen:?}");
        }
        Action::AddLearner { host } => {
            let spare = seen.spares.iter().find(|s| s.host == *host).expect("a spare");
            assert_eq!(spare.barred, None, "{seen:?}");
            assert!(!seen.strict || seen.up() == n, "etcd would refuse: {seen:?}");
            let crowd = seen.in_zone(spare.zone.as_ref());
            let emptier = seen.usable().any(|s| seen.in_zone(s.zone.as_ref()) < crowd);
            assert!(!emptier, "zones: {seen:?} {action:?}");
        }
        Action::MoveLeader { .. } => {}
    }
}

/// I5, I7 and the floor: who may go.
pub(super) fn check_removed(seen: &Observation, id: u64) {
    assert_ne!(id, seen.leader, "I7: the leader is removed while leading: {seen:?}");
    let Some(voter) = seen.voters.iter().find(|v| v.id == id) else { return };
    let less = seen.voters.len() > usize::from(seen.desired);
    let may = voter.leaving || voter.dead || voter.stranger || less;
    assert!(may, "I5: {seen:?} removes {id}");
    assert!(seen.voters.len() > usize::from(seen.floor), "floor: {seen:?} removes {id}");
}

/// A dead voter without a replacement goes only if that makes the cluster safer.
fn check_gain(seen: &Observation, id: u64) {
    let Some(voter) = seen.voters.iter().find(|v| v.id == id) else { return };
    let less = seen.voters.len() > usize::from(seen.desired);
    let helper = seen.usable().next().is_some() || !seen.learners.is_empty();
    if !voter.leaving && !voter.stranger && !less && !helper {
        let (n, dead) = (seen.voters.len(), seen.voters.iter().filter(|v| v.dead).count());
        let gain = seen.up() as isize - quorum(n - dead) as isize > slack(seen);
        assert!(gain, "nothing is won: {seen:?} removes {id}");
    }
}

/// A voter too many is not the only one of its zone while another one could go instead.
fn check_victim(seen: &Observation, id: u64) {
    let Some(victim) = seen.voters.iter().find(|v| v.id == id) else { return };
    let chosen = victim.up && !victim.leaving && !victim.stranger;
    if !chosen || seen.in_zone(victim.zone.as_ref()) > 1 {
        return;
    }
    let twin =
        |v: &&Voter| v.id != seen.leader && seen.can_remove(v) && seen.in_zone(v.zone.as_ref()) > 1;
    assert_eq!(seen.voters.iter().find(twin), None, "zones: {seen:?} {victim:?}");
}

/// I1 to I4 and I6: what holds after every action.
pub(super) fn check_step(before: &Observation, after: &Observation, action: &Action) {
    let (n, m) = (before.voters.len(), after.voters.len());
    assert!(after.up() >= quorum(m), "I1: {before:?} {action:?}");
    let learners = after.learners.len();
    assert!(learners <= before.learners.len().max(1), "I2: {before:?} {action:?}");
    let changed = n.abs_diff(m) + before.learners.len().abs_diff(learners);
    let promoted = matches!(action, Action::Promote { .. });
    assert!(changed <= if promoted { 2 } else { 1 }, "I3: {before:?} {action:?}");
    assert!(m >= 1, "I4: {before:?} {action:?}");
    // Only who answers and goes takes slack along, and I5 says who that is.
    let goes = |id: &u64| before.voters.iter().any(|v| v.id == *id && v.up);
    let taken = matches!(action, Action::Remove { id, .. } if goes(id));
    assert!(slack(after) >= slack(before) || taken, "I6: {before:?} {action:?}");
}

/// The hosts that can lead: the voters that answer.
pub(super) fn leaders(hosts: &[Host]) -> Vec<usize> {
    let up = |host: &Host| matches!(host, Host::Voter(Health::Up, _) | Host::Stranger(Health::Up));
    (0..hosts.len()).filter(|n| up(&hosts[*n])).collect()
}

/// All hosts in ascending order, so that no cluster is looked at twice; at most one learner, as I2
/// keeps it.
fn each_cluster(
    size: usize,
    zones: u8,
    from: usize,
    hosts: &mut Vec<(Host, u8)>,
    visit: &mut impl FnMut(&[(Host, u8)]),
) {
    if hosts.len() == size {
        return visit(hosts);
    }
    let each = KINDS.len() * usize::from(zones);
    for next in from..each {
        let kind = next / usize::from(zones);
        // The first host's zone is the first zone: names of zones mean nothing.
        let zone = (next % usize::from(zones)) as u8;
        if hosts.is_empty() && zone > 0 {
            continue;
        }
        let after = if kind >= LEARNERS { each } else { next };
        hosts.push((KINDS[kind], if zones > 1 { zone + 1 } else { 0 }));
        if kind < LEARNERS || hosts.len() == size {
            each_cluster(size, zones, after, hosts, visit);
        }
        hosts.pop();
    }
}

/// Runs all clusters of up to so many hosts under these policies, on all cores; how many, and how
/// many actions.
fn exhaust(sizes: usize, zones: u8, policies: &[Policy]) -> (usize, usize) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |n: usize| policies.iter().copied().skip(n).step_by(threads).collect::<Vec<_>>();
    let (clusters, actions) = std::thread::scope(|scope| {
        let work: Vec<_> = (0..threads)
            .map(|n| scope.spawn(move || exhaust_alone(sizes, zones, &share(n))))
            .collect();
        let done = work.into_iter().map(|one| one.join().expect("no invariant is broken"));
        done.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    println!("{clusters} clusters, {actions} actions");
    (clusters, actions)
}

fn exhaust_alone(sizes: usize, zones: u8, policies: &[Policy]) -> (usize, usize) {
    let (mut clusters, mut actions) = (0, 0);
    for size in 1..=sizes {
        each_cluster(size, zones, 0, &mut Vec::new(), &mut |hosts| {
            let (hosts, zones): (Vec<Host>, Vec<u8>) = hosts.iter().copied().unzip();
            for policy in policies {
                for leader in leaders(&hosts) {
                    let (hosts, zones) = (hosts.clone(), zones.clone());
                    clusters += 1;
                    let model = Model { hosts, zones, policy: *policy, leader, ticket: None };
                    actions += model.run();
                }
            }
        });
    }
    (clusters, actions)
}

/// Every policy that makes a difference among so many hosts.
fn policies(hosts: usize) -> Vec<Policy> {
    let mut all = Vec::new();
    for desired in 0..=hosts as u16 + 1 {
        for floor in 1..=3 {
            for (allow_even, strict) in [(false, false), (true, false), (false, true)] {
                all.push(Policy { desired, floor, allow_even, strict });
            }
        }
    }
    all
}

#[test]
fn no_small_cluster_ever_breaks_an_invariant() {
    let plain: Vec<Policy> = [0, 1, 2, 3, 5].map(|desired| Policy { desired, ..PLAIN }).into();
    let (clusters, actions) = exhaust(6, 1, &plain);
    assert!(clusters > 50_000 && actions > 100_000, "{clusters} {actions}");
}

/// Row A16.
#[test]
fn no_policy_and_no_spread_over_zones_breaks_an_invariant() {
    let asked = std::env::var("QUORATE_HOSTS").ok().map(|text| {
        text.parse().unwrap_or_else(|_| panic!("QUORATE_HOSTS is a number, not {text}"))
    });
    let hosts = asked.unwrap_or(4);
    let (clusters, actions) = exhaust(hosts, 2, &policies(hosts));
    assert!(clusters > 50_000 && actions > 50_000, "{clusters} {actions}");
}

fn up() -> Host {
    Host::Voter(Health::Up, false)
}

pub(super) fn model(hosts: &[Host], policy: Policy) -> Model {
    let zones = vec![0; hosts.len()];
    Model { hosts: hosts.to_vec(), zones, policy, leader: 0, ticket: None }
}

#[test]
fn three_hosts_form_in_four_actions_learner_first() {
    let policy = Policy { desired: 3, ..PLAIN };
    let mut model = model(&[up(), Host::Spare, Host::Spare], policy);
    let mut said = Vec::new();
    loop {
        match next(&model.observe()) {
            Some(action) => {
                model.obey(&action);
                said.push(action);
            }
            None if model.learner_goes_on() => {}
            None => break,
        }
    }
    assert_eq!(
        said,
        [
            Action::AddLearner { host: "1".into() },
            Action::Promote { id: 2 },
            Action::AddLearner { host: "2".into() },
            Action::Promote { id: 3 },
        ]
    );
}

#[test]
fn the_named_cases_of_the_design_hold() {
    let dead = Host::Voter(Health::Dead, false);
    let going = Host::Voter(Health::Up, true);
    let ready = learner(true, true, false);
    let wants = |desired| Policy { desired, ..PLAIN };
    let first = |hosts: &[Host], policy| next(&model(hosts, policy).observe());
    let removes = |action: Option<Action>, member: u64| {
        assert!(matches!(action, Some(Action::Remove { id, .. }) if id == member), "{action:?}");
    };
    // One of three dead without a spare stays: its removal would gain nothing, and it may return.
    assert_eq!(first(&[up(), up(), dead], wants(3)), None);
    // Two of five dead go, one of four goes.
    removes(first(&[up(), up(), up(), dead, dead], wants(5)), 4);
    removes(first(&[up(), up(), up(), dead], wants(5)), 4);
    // With two hosts the second follows without a vote, unless even sizes are wanted.
    let added = Some(Action::AddLearner { host: "1".into() });
    assert_eq!(first(&[up(), Host::Spare], wants(5)), added);
    assert_eq!(first(&[up(), ready], wants(5)), None);
    let even = Policy { allow_even: true, ..wants(5) };
    assert_eq!(first(&[up(), ready], even), Some(Action::Promote { id: 2 }));
    // At the ideal size the others stay volunteers.
    assert_eq!(first(&[up(), up(), up(), Host::Spare, Host::Spare], wants(3)), None);
    // The only voter keeps its data, and a leaving leader hands over first.
    assert_eq!(first(&[going], wants(3)), None);
    assert!(matches!(first(&[going, up(), up()], wants(3)), Some(Action::MoveLeader { .. })));
    // A dead voter goes once the learner is ready; at the floor the learner votes first; with
    // etcd's own check the dead goes before anybody is added.
    removes(first(&[up(), up(), dead, ready], wants(3)), 3);
    let floor = Policy { floor: 3, ..wants(3) };
    assert_eq!(first(&[up(), up(), dead, ready], floor), Some(Action::Promote { id: 4 }));
    let strict = Policy { strict: true, ..wants(3) };
    removes(first(&[up(), up(), dead, Host::Spare], strict), 3);
}

#[test]
fn zones_get_their_first_voter_before_any_gets_its_second_and_lose_their_second_first() {
    let mut growing = model(&[up(), Host::Spare, Host::Spare], Policy { desired: 3, ..PLAIN });
    growing.zones = vec![1, 1, 2];
    assert_eq!(next(&growing.observe()), Some(Action::AddLearner { host: "2".into() }));
    let mut shrinking = model(&[up(), up(), up(), up()], Policy { desired: 3, ..PLAIN });
    // The newest is alone in its zone, and the two of the first zone lead or are older.
    shrinking.zones = vec![1, 1, 2, 3];
    assert!(matches!(next(&shrinking.observe()), Some(Action::Remove { id: 2, .. })));
}
