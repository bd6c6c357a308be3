//! `cluster snapshot`, `recover`, `rejoin` and `state reset`: what is left after a loss comes back,
//! and nothing is deleted.

use std::path::Path;

use quorate::store::etcd::{Endpoints, EtcdStore};
use quorate::store::{Op, Store, Txn};
use serde_json::Value;

use super::hosts::{Host, Said, hosts, of, state_reset, up};

/// Writes a key through this host's etcd.
fn put(host: &Host, key: &str, value: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let put = Op::Put { key: format!("/quorate/1/kv/{key}"), value: value.into(), lease: None };
    let store = EtcdStore::new(Endpoints::new(vec![host.url()], None, true));
    runtime.block_on(store.txn(Txn { when: Vec::new(), then: vec![put] })).expect("a write");
}

fn get(host: &Host, key: &str) -> Option<String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = EtcdStore::new(Endpoints::new(vec![host.url()], None, true));
    let key = format!("/quorate/1/kv/{key}");
    let found = runtime.block_on(store.range(&key)).expect("a read");
    found.entries.first().map(|entry| String::from_utf8(entry.value.clone()).expect("text"))
}

fn archives(host: &Host, reason: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(host.state().join("archive")) else { return 0 };
    let named = |name: &str| name.ends_with(&format!("-{reason}"));
    entries.flatten().filter(|one| named(&one.file_name().to_string_lossy())).count()
}

/// Row A15.
#[test]
fn a_survivor_recovers_with_its_agent_running_and_the_lost_ones_join_again() {
    let mut hosts = hosts(3, 3);
    put(&hosts[0], "a", "kept");
    let refused = hosts[0].cluster(&["recover", "--lost-quorum"]);
    assert_eq!(refused.code, 3, "{}", refused.all());
    assert!(refused.err.contains("nothing is lost: the cluster has a quorum"), "{}", refused.err);
    hosts[1].kill();
    hosts[2].kill();
    hosts[0].until("no quorum", |report| report["cluster"]["quorum"] == false);
    let started = std::time::Instant::now();
    let said = hosts[0].cluster(&["recover", "--lost-quorum"]);
    println!("recovered after {:?}: {}", started.elapsed(), said.all());
    assert_eq!(said.code, 0, "{}", said.all());
    assert!(said.out.starts_with("recovered from h1, one of 3 voters, at term "), "{}", said.out);
    assert!(said.out.contains("may be missing"), "{}", said.out);
    // It waited until the cluster can be written to.
    let report = hosts[0].cluster(&["status", "--json"]).json();
    let cluster = &report["cluster"];
    assert_eq!((&cluster["quorum"], &cluster["voters"]), (&true.into(), &1.into()), "{report}");
    hosts[0].until("one voter", |report| up(report) == 1 && report["cluster"]["epoch"] == 1);
    assert_eq!(get(&hosts[0], "a").as_deref(), Some("kept"));
    assert_eq!(archives(&hosts[0], "before-recover"), 1);
    // Members of before are told that they were removed, and join as new ones.
    let seed = hosts[0].url();
    hosts[1].join(3, Some(&seed));
    hosts[2].join(3, Some(&seed));
    hosts[0].until("three voters again", |report| up(report) == 3);
    assert_eq!(get(&hosts[2], "a").as_deref(), Some("kept"));
    assert_eq!(hosts[0].end_with(nix::sys::signal::Signal::SIGTERM), Some(0), "one process still");
}

#[test]
fn a_stopped_host_recovers_too_unless_a_quorum_is_possible() {
    let mut hosts = hosts(3, 3);
    put(&hosts[0], "a", "kept");
    // What etcd knows to be agreed on is on its disk with the next write; the last one may go.
    put(&hosts[0], "last", "may go");
    hosts[0].kill();
    let said = hosts[0].cluster(&["recover", "--lost-quorum"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(
        said.err.contains("a quorum is possible: 3 of 3 voters can be reached"),
        "{}",
        said.err
    );
    hosts[1].kill();
    let said = hosts[0].cluster(&["recover", "--lost-quorum"]);
    assert!(said.err.contains("a quorum is possible: 2 of 3 voters"), "{}", said.all());
    hosts[2].kill();
    let other = hosts[0].cluster(&["recover", "--lost-quorum", "--from", "h2"]);
    assert_eq!(other.code, 3, "{}", other.all());
    assert!(other.err.contains("is to be said on h2"), "{}", other.err);
    assert_eq!(archives(&hosts[0], "before-recover"), 0, "refusals change nothing");
    let said = hosts[0].cluster(&["recover", "--lost-quorum"]);
    assert_eq!(said.code, 0, "{}", said.all());
    assert!(said.out.ends_with("; now start the agent of h1\n"), "{}", said.out);
    hosts[0].join(3, None);
    hosts[0].until("one voter", |report| up(report) == 1 && report["cluster"]["epoch"] == 1);
    assert_eq!(get(&hosts[0], "a").as_deref(), Some("kept"));
}

/// Row A15, from a worse one.
#[test]
fn who_is_behind_another_survivor_is_refused_unless_it_is_named() {
    let mut hosts = hosts(5, 5);
    hosts[0].kill();
    put(&hosts[1], "late", "only on the others");
    for n in [4, 3, 2] {
        hosts[n].kill();
    }
    // Two of five: no quorum, and the first knows less than the second.
    hosts[1].until("no quorum", |report| report["cluster"]["quorum"] == false);
    let said = hosts[0].cluster(&["recover", "--lost-quorum"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains("h2 is ahead"), "{}", said.err);
    assert!(said.err.contains("here with --from h1"), "{}", said.err);
    let said = hosts[1].cluster(&["recover", "--lost-quorum"]);
    assert_eq!(said.code, 0, "{}", said.all());
    hosts[1].until("one voter", |report| up(report) == 1 && report["cluster"]["epoch"] == 1);
    assert_eq!(get(&hosts[1], "late").as_deref(), Some("only on the others"));
}

#[test]
fn snapshots_are_saved_checked_listed_and_only_five_are_kept() {
    let hosts = hosts(1, 1);
    let none = hosts[0].cluster(&["snapshot", "list"]);
    assert_eq!(none.out, "no snapshot was saved here yet\n");
    let saved = hosts[0].cluster(&["snapshot", "save", "--json"]).json();
    assert_eq!(saved["whole"], true, "{saved}");
    let file = Path::new(saved["file"].as_str().unwrap());
    let mut bytes = std::fs::read(file).unwrap();
    bytes[5_000] ^= 1;
    let damaged = file.with_file_name("20200101T000000Z-1577836800-damaged.db");
    std::fs::write(&damaged, bytes).unwrap();
    let listed = hosts[0].cluster(&["snapshot", "list"]);
    let lines: Vec<&str> = listed.out.lines().collect();
    assert!(lines[0].contains("DAMAGED") && lines[1].contains("whole"), "{}", listed.out);
    let refused = hosts[0].cluster(&["snapshot", "restore", damaged.to_str().unwrap()]);
    assert_eq!(refused.code, 3, "{}", refused.all());
    assert!(refused.err.contains("is no whole snapshot"), "{}", refused.err);
    for _ in 0..6 {
        // Names have seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(hosts[0].cluster(&["snapshot", "save"]).code, 0);
    }
    let listed = hosts[0].cluster(&["snapshot", "list", "--json"]).json();
    let kept = listed["snapshots"].as_array().unwrap();
    assert_eq!(kept.len(), 5, "{listed}");
    assert!(kept.iter().all(|one| one["whole"] == true), "{listed}");
}

/// Row A15, from a snapshot.
#[test]
fn a_restored_snapshot_is_another_cluster_which_old_members_join_only_by_rejoin() {
    let mut hosts = hosts(3, 3);
    put(&hosts[0], "a", "old");
    let saved = hosts[1].cluster(&["snapshot", "save", "--json"]).json();
    let file = saved["file"].as_str().unwrap().to_owned();
    put(&hosts[0], "a", "new");
    let before = hosts[0].cluster(&["status", "--json"]).json()["cluster"]["uuid"].clone();
    let alive = hosts[0].cluster(&["snapshot", "restore", &file]);
    assert_eq!(alive.code, 3, "{}", alive.all());
    assert!(alive.err.contains("restoring would found a second one"), "{}", alive.err);
    hosts.iter_mut().for_each(Host::kill);
    let said = hosts[0].cluster(&["snapshot", "restore", &file]);
    assert_eq!(said.code, 0, "{}", said.all());
    hosts[0].join(3, None);
    let other = |report: &Value| {
        let uuid = &report["cluster"]["uuid"];
        up(report) == 1 && uuid.is_string() && *uuid != before
    };
    hosts[0].until("another cluster", other);
    assert_eq!(get(&hosts[0], "a").as_deref(), Some("old"));
    let running = hosts[0].cluster(&["rejoin"]);
    assert_eq!(running.code, 3, "{}", running.all());
    assert!(running.err.contains("is in use by h1"), "{}", running.err);
    let seed = hosts[0].url();
    let rejoined = hosts[1].cluster(&["rejoin"]);
    assert_eq!(rejoined.code, 0, "{}", rejoined.all());
    assert_eq!(archives(&hosts[1], "rejoin"), 1);
    hosts[1].join(3, Some(&seed));
    // Without a rejoin, an old member neither enters the new cluster nor disturbs it.
    hosts[2].join(3, Some(&seed));
    let report = hosts[0].until("the one that rejoined", |report| {
        !of(report, "h2")["member"].is_null() && of(report, "h2")["member"]["up"] == true
    });
    assert!(of(&report, "h3")["member"].is_null(), "{report}");
}

#[test]
fn a_state_folder_is_reset_only_without_its_agent_and_nothing_is_lost_by_it() {
    let mut hosts = hosts(1, 1);
    let running: Said = state_reset(&hosts[0], &[]);
    assert_eq!(running.code, 3, "{}", running.all());
    assert!(running.err.contains("is in use by h1"), "{}", running.err);
    let before = hosts[0].cluster(&["status", "--json"]).json();
    hosts[0].kill();
    let done = state_reset(&hosts[0], &["--new-identity", "--json"]);
    assert_eq!(done.code, 0, "{}", done.all());
    let archive = done.json()["archive"].as_str().unwrap().to_owned();
    assert!(Path::new(&archive).join("etcd/member/wal").exists());
    assert_ne!(done.json()["instance"], before["instance"]);
    hosts[0].join(1, None);
    let report = hosts[0].until("a new cluster", |report| up(report) == 1);
    assert_ne!(report["cluster"]["uuid"], before["cluster"]["uuid"]);
    let none = Host::new("h9");
    assert_eq!(state_reset(&none, &[]).code, 3);
}
