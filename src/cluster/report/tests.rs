//! The text of a report in each role, beside the files in `golden/`. `QUORATE_BLESS=1` writes them
//! anew.

use std::path::PathBuf;

use super::*;
use crate::cluster::keys::ChangeKind;
use crate::cluster::told::Held;

/// 2026-11-22 10:40:00 UTC.
const NOW: u64 = 1_795_344_000;

/// A cluster to report about; each test takes something away.
struct Scene {
    host: &'static str,
    status: ClusterStatus,
    health: BTreeMap<String, Health>,
    records: Option<Records>,
}

fn id(n: u64) -> String {
    crate::cluster::identity::show_id(0x10 + n)
}

fn host_record(n: u64) -> HostRecord {
    HostRecord {
        v: 1,
        instance: format!("instance-{n}"),
        machine: String::new(),
        boot: String::new(),
        pid: 100 + u32::try_from(n).unwrap(),
        started: NOW - 60 * n - 600,
        client: vec![format!("http://10.0.0.{n}:2379")],
        peer: vec![format!("http://10.0.0.{n}:2380")],
        zone: None,
        version: "0.1.0".into(),
        etcd: Some("3.4.23".into()),
        place: String::new(),
    }
}

/// Three voters that are well, `h1` leading, three wanted.
fn three() -> Scene {
    let member = |n: u64| MemberView {
        host: format!("h{n}"),
        id: id(n),
        role: Role::Voter,
        up: true,
        answers: true,
        since: NOW - 3600,
        leader: n == 1,
        client: vec![format!("http://10.0.0.{n}:2379")],
        peer: vec![format!("http://10.0.0.{n}:2380")],
    };
    let health = |n: u64| Health {
        version: "3.4.23".into(),
        term: 4,
        index: 1000,
        applied: 1000 - (n - 1),
        lag: 0,
        db_bytes: 20_480,
        db_used_bytes: 16_384,
    };
    let mut status = ClusterStatus::new(Role::Voter, "instance-1");
    status.etcd = Some("3.4.23".into());
    status.cluster = Some(ClusterView {
        uuid: "7d2a6f0c-2a53-4c9b-9f6e-0f4a3f1f6f10".into(),
        leader: Some("h1".into()),
        desired: Some(3),
        quorum: true,
        note: None,
        members: (1..=3).map(member).collect(),
    });
    let records = Records {
        cluster: Some(ClusterRecord {
            v: 1,
            uuid: "7d2a6f0c-2a53-4c9b-9f6e-0f4a3f1f6f10".into(),
            token: "t".into(),
            created: NOW - 7200,
            epoch: 0,
            timers: None,
        }),
        size: Some(SizeRecord {
            v: 1,
            n: 3,
            floor: 1,
            allow_even: false,
            by: "h1".into(),
            at: NOW - 7200,
        }),
        controller: Some(ControllerRecord {
            v: 1,
            host: "h1".into(),
            instance: "instance-1".into(),
            member: 0x11,
            term: 4,
        }),
        hosts: (1..=3).map(|n| (format!("h{n}"), host_record(n))).collect(),
        ..Records::default()
    };
    let health = (1..=3).map(|n| (id(n), health(n))).collect();
    Scene { host: "h1", status, health, records: Some(records) }
}

impl Scene {
    fn view(&mut self) -> &mut ClusterView {
        self.status.cluster.as_mut().unwrap()
    }

    fn records(&mut self) -> &mut Records {
        self.records.as_mut().unwrap()
    }

    fn says(&mut self, held: &[(&str, &str)]) {
        let one =
            |(host, reason): &(&str, &str)| Held { host: (*host).into(), reason: (*reason).into() };
        let held = held.iter().map(one).collect();
        let seen = crate::cluster::decide::Observation::default();
        self.records().told = Some(Told { v: 1, by: "h1".into(), term: 4, at: NOW, seen, held });
    }

    /// A volunteer with this number, which is the host that is asked.
    fn volunteer(&mut self, n: u64) {
        let name = format!("h{n}");
        let offer = VolunteerRecord {
            v: 1,
            instance: format!("instance-{n}"),
            peer: Vec::new(),
            client: Vec::new(),
            since: NOW - 60,
            not_before: 0,
            etcd: "3.4.23".into(),
        };
        self.records().hosts.insert(name.clone(), host_record(n));
        self.records().volunteers.insert(name, offer);
    }

    /// A voter that does not answer since seven minutes, its claim gone.
    fn lose(&mut self, n: u64) {
        let wanted = id(n);
        let member = self.view().members.iter_mut().find(|m| m.id == wanted).unwrap();
        (member.up, member.answers, member.since) = (false, false, NOW - 420);
        self.health.remove(&wanted);
        self.records().hosts.remove(&format!("h{n}"));
        let note = self.view().missing();
        self.view().note = note;
    }

    fn report(&self) -> Report {
        assemble(&Facts {
            now: NOW,
            host: self.host,
            status: &self.status,
            health: &self.health,
            records: self.records.as_ref(),
        })
    }

    fn is_like(&self, name: &str) {
        let report = self.report();
        let text = text::render(&report);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{name}");
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("src/cluster/report/golden")
            .join(format!("{name}.txt"));
        if std::env::var_os("QUORATE_BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&file).unwrap(), "{name}");
    }
}

#[test]
fn a_healthy_cluster_is_reported_with_its_tolerance() {
    three().is_like("voter");
}

#[test]
fn a_volunteer_is_told_why_it_is_not_taken() {
    let mut scene = three();
    scene.volunteer(4);
    scene.says(&[("h4", "3 of 3 wanted voters serve already")]);
    (scene.host, scene.status.role) = ("h4", Role::Volunteer);
    scene.is_like("volunteer");
}

#[test]
fn reasons_of_an_earlier_decider_are_not_repeated() {
    let mut scene = three();
    scene.volunteer(4);
    scene.says(&[("h4", "3 of 3 wanted voters serve already")]);
    scene.records().controller.as_mut().unwrap().term = 5;
    assert!(!text::render(&scene.report()).contains("serve already"));
}

#[test]
fn a_starting_host_and_the_change_that_makes_it_a_member_are_shown() {
    let mut scene = three();
    scene.volunteer(4);
    scene.records().size.as_mut().unwrap().n = 5;
    scene.records().change = Some(ChangeRecord {
        v: 1,
        seq: 7,
        kind: ChangeKind::Add,
        host: "h4".into(),
        member: 0,
        peer: Vec::new(),
        by: "h1".into(),
        started: NOW - 3,
        why: "more voters are wanted".into(),
        deadline: 15,
    });
    (scene.host, scene.status.role) = ("h4", Role::Starting);
    scene.is_like("starting");
}

#[test]
fn a_learner_is_told_what_it_waits_for() {
    let mut scene = three();
    let third = &mut scene.view().members[2];
    (third.role, third.host) = (Role::Learner, "h3".into());
    scene.says(&[("h3", "follows without a vote: an even number of voters would not be safer")]);
    (scene.host, scene.status.role) = ("h3", Role::Learner);
    scene.is_like("learner");
}

#[test]
fn one_silent_voter_lowers_the_tolerance_and_is_named() {
    let mut scene = three();
    scene.lose(3);
    scene.says(&[("h3", "does not answer")]);
    scene.records().away.insert(
        "h3".into(),
        AwayRecord { v: 1, seconds: 600, why: "the agent was stopped".into() },
    );
    scene.is_like("one-down");
}

#[test]
fn without_a_quorum_it_says_who_is_missing_and_the_way_out() {
    let mut scene = three();
    scene.view().quorum = false;
    scene.view().leader = None;
    scene.view().members.iter_mut().for_each(|m| (m.leader, m.up) = (false, false));
    scene.lose(2);
    scene.lose(3);
    scene.records = None;
    scene.status.role = Role::Waiting;
    scene.status.reason = Some("waiting for quorum: this host's etcd knows no leader".into());
    scene.is_like("waiting");
}

#[test]
fn a_client_a_leaving_a_removed_and_a_blocked_host_are_each_told_why() {
    for (role, reason) in [
        (Role::Client, None),
        (Role::Leaving, None),
        (Role::Removed, Some("this member was removed from the cluster; data moved to archive/")),
        (Role::Blocked, Some("etcd ended (exit code 1): bind: address already in use")),
    ] {
        let mut scene = three();
        let mut record = host_record(4);
        if role == Role::Client {
            record.etcd = None;
        }
        scene.records().hosts.insert("h4".into(), record);
        (scene.host, scene.status.role) = ("h4", role);
        scene.status.etcd = None;
        scene.status.reason = reason.map(str::to_owned);
        scene.is_like(role.as_str());
    }
}

#[test]
fn an_agent_that_has_seen_no_cluster_yet_says_what_it_waits_for() {
    let mut scene = three();
    scene.status.cluster = None;
    scene.status.role = Role::Volunteer;
    scene.status.reason = Some("waiting for an answer from http://10.0.0.9:2379".into());
    scene.is_like("none-seen");
}

#[test]
fn an_etcd_without_its_agent_and_one_that_is_to_go_are_named() {
    let mut scene = three();
    scene.records().hosts.remove("h2");
    scene.records().leaves.insert(
        "h3".into(),
        LeaveRecord {
            v: 1,
            instance: "i".into(),
            member: 0x13,
            reason: "leave".into(),
            deadline: None,
        },
    );
    scene.records().cluster.as_mut().unwrap().epoch = 1;
    scene.is_like("agent-missing");
}

#[test]
fn what_others_wrote_cannot_drive_the_terminal_that_shows_it() {
    let mut scene = three();
    scene.says(&[("h2", "\u{1b}[2Jgone\nfake     line")]);
    let text = text::render(&scene.report());
    assert!(!text.contains('\u{1b}') && !text.contains("\nfake"), "{text:?}");
}
