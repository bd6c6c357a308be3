//! What time makes of what is seen, as tables of moments.

use super::*;
use crate::cluster::keys::{
    AwayRecord, ClusterRecord, HostRecord, NominateRecord, QuarantineRecord, VERSION,
};

const CLUSTER: u64 = 7;
const DEAD_AFTER: Duration = Duration::from_secs(60);

fn clocks() -> Clocks {
    Clocks::new(Settings { dead_after: DEAD_AFTER, ideal: 3, strict: false })
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(in crate::cluster) fn name(host: &str) -> String {
    flags::name_of(host, "0a1b2c3d-4e5f")
}

pub(in crate::cluster) fn voter(id: u64, host: &str) -> Member {
    let url = |port: u64| vec![format!("http://10.0.0.{id}:{port}")];
    Member { id, name: name(host), peer: url(2380), client: url(2379), learner: false }
}

pub(in crate::cluster) fn learner(id: u64, host: &str) -> Member {
    Member { learner: true, ..voter(id, host) }
}

pub(in crate::cluster) fn answer(id: u64) -> Probe {
    let version = Version::parse("3.5.30");
    Probe { cluster: CLUSTER, member: id, leader: 1, term: 2, version, ..Probe::default() }
}

pub(in crate::cluster) fn agent(host: &str) -> Kept<HostRecord> {
    let record = HostRecord {
        v: VERSION,
        instance: "0a1b2c3d-4e5f".into(),
        machine: String::new(),
        place: String::new(),
        boot: String::new(),
        pid: 1,
        started: 0,
        client: Vec::new(),
        peer: Vec::new(),
        zone: None,
        version: String::new(),
        etcd: None,
    };
    Kept { host: host.into(), record, revision: 1 }
}

pub(in crate::cluster) fn offer(host: &str, revision: i64) -> Kept<VolunteerRecord> {
    let record = VolunteerRecord {
        v: VERSION,
        instance: "0a1b2c3d-4e5f".into(),
        peer: vec![format!("http://{host}:2380")],
        client: vec![format!("http://{host}:2379")],
        since: 0,
        not_before: 0,
        etcd: "3.5.30".into(),
    };
    Kept { host: host.into(), record, revision }
}

fn order(host: &str, member: u64) -> Kept<NominateRecord> {
    let record = NominateRecord {
        v: VERSION,
        seq: 3,
        member,
        uuid: String::new(),
        token: String::new(),
        initial_cluster: Vec::new(),
    };
    Kept { host: host.into(), record, revision: 3 }
}

/// A cluster of the founder alone, which looks.
pub(in crate::cluster) fn look() -> Seen {
    let uuid = String::new();
    let cluster = ClusterRecord {
        v: VERSION,
        uuid: uuid.clone(),
        token: uuid,
        created: 0,
        epoch: 0,
        timers: None,
    };
    Seen {
        own: answer(1),
        revision: 9,
        cluster,
        size: None,
        controller: None,
        ticket: None,
        endpoints: None,
        hosts: vec![agent("h1")],
        volunteers: Vec::new(),
        leaves: Vec::new(),
        nominations: Vec::new(),
        away: Vec::new(),
        quarantined: Vec::new(),
        members: vec![voter(1, "h1")],
        probes: vec![Some(answer(1))],
    }
}

/// The same with two more voters, the last of them silent.
fn look_at_silence(agent_alive: bool) -> Seen {
    let mut seen = look();
    seen.members.extend([voter(2, "h2"), voter(3, "h3")]);
    seen.probes.extend([Some(answer(2)), None]);
    seen.hosts.push(agent("h2"));
    seen.hosts.extend(agent_alive.then(|| agent("h3")));
    seen
}

/// When the last voter counts as dead, looked at every second.
fn death(seen: &Seen) -> Option<u64> {
    let mut clocks = clocks();
    (0..2_000).find(|n| clocks.observe(seen, seconds(*n)).voters[2].dead)
}

#[test]
fn a_voter_is_dead_when_it_and_its_agent_are_gone_for_long_enough() {
    assert_eq!(death(&look_at_silence(false)), Some(60));
    // Its agent lives and starts it again.
    assert_eq!(death(&look_at_silence(true)), Some(600));
    // The agent is gone and etcd answers: up.
    let mut seen = look_at_silence(false);
    seen.probes[2] = Some(answer(3));
    assert_eq!(death(&seen), None);
}

#[test]
fn death_counts_from_the_end_of_a_planned_absence_and_not_on_top_of_it() {
    let record = AwayRecord { v: VERSION, seconds: 300, why: String::new() };
    let mut seen = look_at_silence(false);
    seen.away.push(Kept { host: "h3".into(), record, revision: 4 });
    assert_eq!(death(&seen), Some(360));
    // Silent since long after the absence began.
    let mut clocks = clocks();
    let mut up = seen.clone();
    up.probes[2] = Some(answer(3));
    clocks.observe(&up, seconds(0));
    clocks.observe(&up, seconds(290));
    let dead = (291..2_000).find(|n| clocks.observe(&seen, seconds(*n)).voters[2].dead);
    assert_eq!(dead, Some(360));
    let dead_late = {
        let mut clocks = self::clocks();
        (0..=500).for_each(|n| drop(clocks.observe(&up, seconds(n))));
        (501..2_000).find(|n| clocks.observe(&seen, seconds(*n)).voters[2].dead)
    };
    assert_eq!(dead_late, Some(560));
}

#[test]
fn a_new_decider_starts_the_clocks_anew() {
    let seen = look_at_silence(false);
    let mut first = clocks();
    (0..59).for_each(|n| assert!(!first.observe(&seen, seconds(n)).voters[2].dead));
    let mut second = clocks();
    (59..119).for_each(|n| assert!(!second.observe(&seen, seconds(n)).voters[2].dead));
    assert!(second.observe(&seen, seconds(119)).voters[2].dead);
}

#[test]
fn up_means_the_right_ids_our_leader_our_term_and_a_log_that_is_close() {
    let good = answer(3);
    for (probe, up) in [
        (good.clone(), true),
        (Probe { cluster: 8, ..good.clone() }, false),
        (Probe { member: 4, ..good.clone() }, false),
        (Probe { leader: 0, ..good.clone() }, false),
        (Probe { term: 1, ..good.clone() }, false),
    ] {
        let mut seen = look_at_silence(true);
        seen.probes[2] = Some(probe.clone());
        assert_eq!(clocks().observe(&seen, seconds(0)).voters[2].up, up, "{probe:?}");
        seen.own.applied = 5_000;
        assert_eq!(clocks().observe(&seen, seconds(0)).voters[2].up, up, "{probe:?}");
        seen.own.applied = 5_001;
        assert!(!clocks().observe(&seen, seconds(0)).voters[2].up, "too far behind");
    }
}

/// A learner on h2 that says this.
fn look_at_learner(probe: Option<Probe>) -> Seen {
    let mut seen = look();
    seen.members.push(learner(2, "h2"));
    seen.probes.push(probe);
    seen.hosts.push(agent("h2"));
    seen.nominations.push(order("h2", 2));
    seen
}

fn ready() -> Option<Probe> {
    Some(Probe { learner: true, ..answer(2) })
}

fn lost(seen: &Seen) -> Option<(u64, Lost)> {
    let mut clocks = clocks();
    (0..200).find_map(|n| Some((n, clocks.observe(seen, seconds(n)).learners[0].lost?)))
}

#[test]
fn a_learner_has_thirty_seconds_to_answer_and_sixty_for_each_progress() {
    assert_eq!(lost(&look_at_learner(ready())), None);
    assert_eq!(lost(&look_at_learner(None)), Some((30, Lost::Silent)));
    let behind = |applied| {
        let mut seen = look_at_learner(Some(Probe { learner: true, applied, ..answer(2) }));
        seen.own.applied = 1_000_000;
        seen
    };
    assert_eq!(lost(&behind(10)), Some((60, Lost::Stuck)));
    let mut clocks = clocks();
    for n in 0..500 {
        let seen = behind(n * 10);
        assert_eq!(clocks.observe(&seen, seconds(n)).learners[0].lost, None, "it grows");
    }
}

#[test]
fn a_learner_of_nobody_of_one_who_left_or_whose_agent_is_gone_goes_at_once() {
    let mut seen = look_at_learner(ready());
    seen.nominations.clear();
    assert_eq!(lost(&seen), Some((0, Lost::Foreign)));
    let mut seen = look_at_learner(None);
    seen.hosts.pop();
    assert_eq!(lost(&seen), Some((0, Lost::Gone)));
    let mut seen = look_at_learner(ready());
    seen.hosts.pop();
    assert_eq!(lost(&seen), None, "etcd outlives its agent");
    let record = crate::cluster::keys::LeaveRecord {
        v: VERSION,
        instance: String::new(),
        member: 2,
        reason: "leave".into(),
        deadline: None,
    };
    seen.leaves.push(Kept { host: "h2".into(), record, revision: 4 });
    assert_eq!(lost(&seen), Some((0, Lost::Leaving)));
}

#[test]
fn a_learner_votes_at_once_while_all_is_well_and_else_after_ten_seconds_of_health() {
    let stable = |seen: &Seen, from: u64, until: u64| {
        let mut clocks = clocks();
        // The decider is not new.
        clocks.observe(&look(), seconds(0));
        (from..until).find(|n| clocks.observe(seen, seconds(*n)).learners[0].stable)
    };
    let mut seen = look_at_learner(ready());
    assert_eq!(stable(&seen, 100, 200), Some(100));
    seen.members.push(voter(3, "h3"));
    seen.probes.push(None);
    assert_eq!(stable(&seen, 100, 200), Some(110));
    // A new decider does not ask for it.
    assert!(clocks().observe(&seen, seconds(100)).learners[0].stable);
}

#[test]
fn a_voter_of_nobody_is_a_stranger_after_a_minute() {
    let strange = |member: Member, ordered: bool| {
        let mut seen = look();
        seen.nominations.extend(ordered.then(|| order("h2", member.id)));
        seen.members.push(member);
        seen.probes.push(None);
        let mut clocks = clocks();
        (0..200).find(|n| clocks.observe(&seen, seconds(*n)).voters[1].stranger)
    };
    assert_eq!(strange(voter(2, "h2"), false), None, "made by an agent");
    assert_eq!(strange(Member { name: "h2".into(), ..voter(2, "h2") }, false), Some(60));
    assert_eq!(strange(Member { name: String::new(), ..voter(2, "h2") }, false), Some(60));
    assert_eq!(strange(Member { name: String::new(), ..voter(2, "h2") }, true), None);
}

#[test]
fn a_volunteer_is_barred_for_as_long_as_its_record_says() {
    let until = |change: &dyn Fn(&mut Seen)| {
        let mut seen = look();
        seen.hosts.push(agent("h2"));
        seen.volunteers.push(offer("h2", 5));
        change(&mut seen);
        let mut clocks = clocks();
        (0..200).find(|n| {
            let spares = clocks.observe(&seen, seconds(*n)).spares;
            spares.first().is_some_and(|s| s.barred.is_none())
        })
    };
    assert_eq!(until(&|_| {}), Some(0));
    assert_eq!(until(&|seen| seen.volunteers[0].record.not_before = 20), Some(20));
    assert_eq!(
        until(&|seen| {
            let why = String::new();
            let record = QuarantineRecord { v: VERSION, seconds: 40, fails: 2, why };
            seen.quarantined.push(Kept { host: "h2".into(), record, revision: 6 });
        }),
        Some(40)
    );
    // An older etcd than those that vote, an address in use, an agent that is gone.
    assert_eq!(until(&|seen| seen.volunteers[0].record.etcd = "3.4.23".into()), None);
    let member_url = |seen: &mut Seen| seen.volunteers[0].record.peer = voter(1, "h1").peer;
    assert_eq!(until(&member_url), None);
    assert_eq!(until(&|seen| drop(seen.hosts.pop())), None);
}
