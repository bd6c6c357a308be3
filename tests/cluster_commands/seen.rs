//! `cluster status` and `cluster explain`: what is there, and why nothing happens.

use serde_json::Value;

use super::hosts::{Host, hosts, of, up};

#[test]
fn every_host_tells_the_same_cluster_and_why_the_fourth_only_waits() {
    let hosts = hosts(4, 3);
    let why = "3 of 3 wanted voters serve already";
    for host in &hosts {
        let report = host.until("the reason", |report| {
            let waiting = report["cluster"]["hosts"].as_array().and_then(|all| {
                all.iter().find(|one| one["role"] == "volunteer" && one["why"][0] == why)
            });
            waiting.is_some()
        });
        assert_eq!(up(&report), 3, "{report}");
        assert_eq!(report["cluster"]["tolerance"], 1);
        assert_eq!(report["cluster"]["pending"], serde_json::Value::Null);
        let leader = report["cluster"]["leader"].as_str().unwrap();
        assert_eq!(of(&report, leader)["member"]["health"]["version"], etcd_version(host));
        let text = host.cluster(&["status"]);
        assert_eq!(text.code, 0, "{}", text.all());
        assert!(text.out.contains(&format!(": {why}\n")), "{}", text.out);
        assert!(text.out.contains("safety     can lose 1\n"), "{}", text.out);
        let said = host.cluster(&["explain"]);
        assert_eq!(said.code, 0, "{}", said.all());
        assert!(said.out.contains("\nnext       nothing\n"), "{}", said.out);
        assert!(said.out.contains("3 of 3 up, 2 needed, 3 wanted, 3 aimed at"), "{}", said.out);
    }
}

fn etcd_version(host: &Host) -> String {
    let status = host.cluster(&["status", "--json"]).json();
    status["etcd"].as_str().expect("a version").to_owned()
}

#[test]
fn a_kept_observation_is_decided_again_without_any_cluster() {
    let hosts = hosts(1, 1);
    hosts[0].until("a decision", |_| hosts[0].cluster(&["explain"]).code == 0);
    let kept = hosts[0].cluster(&["explain", "--json"]).out;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.json");
    let with_spare = kept
        .replace("\"desired\":1", "\"desired\":3")
        .replace("\"spares\":[]", "\"spares\":[{\"since\":1,\"host\":\"h2\"}]");
    assert_ne!(kept, with_spare);
    std::fs::write(&file, with_spare).unwrap();
    let said = hosts[0].cluster(&["explain", file.to_str().unwrap()]);
    assert!(said.out.contains("next       adds h2, to follow without a vote"), "{}", said.all());
}

#[test]
fn without_a_quorum_the_survivor_says_who_is_missing_and_what_to_do() {
    let mut hosts = hosts(3, 3);
    hosts[1].kill();
    hosts[2].kill();
    let report = hosts[0].until("no quorum", |report| report["cluster"]["quorum"] == false);
    assert_eq!(report["cluster"]["tolerance"], serde_json::Value::Null);
    let said = hosts[0].cluster(&["status"]);
    assert_eq!(said.code, 1, "{}", said.all());
    let note = said.out.lines().find(|line| line.starts_with("note")).unwrap_or_default();
    assert!(note.contains("waiting for quorum: 1 of 3 voters up, 1 more needed (missing h"));
    assert!(note.ends_with("quorate cluster recover --lost-quorum"), "{note}");
    let said = hosts[0].cluster(&["explain"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.starts_with("error: nothing is decided: "), "{}", said.err);
    // Started again alone, its etcd serves no client, and is counted all the same.
    hosts[0].kill();
    hosts[0].join(5, None);
    hosts[0].until("it counts itself", |report| {
        let note = report["cluster"]["note"].as_str().unwrap_or_default();
        note.starts_with("waiting for quorum: 1 of 3 voters up, 1 more needed (missing h")
    });
    // How many are wanted is in the store, which nobody can ask: not what this agent was told.
    let said = hosts[0].cluster(&["status"]);
    assert_eq!(said.code, 1, "{}", said.all());
    let wanted = "\nvoters     1 of 3 up, how many are wanted is not known\n";
    assert!(said.out.contains(wanted), "{}", said.out);
    assert_eq!(hosts[0].cluster(&["status", "--json"]).json()["cluster"]["desired"], Value::Null);
}

#[test]
fn an_agent_on_its_own_and_no_agent_at_all_are_told_apart() {
    let mut host = Host::new("h1");
    let said = host.cluster(&["status"]);
    assert_eq!(said.code, 1, "{}", said.all());
    assert!(said.err.contains("no agent answers in"), "{}", said.err);
    host.start(&[]);
    let started = std::time::Instant::now();
    let said = loop {
        let said = host.cluster(&["status"]);
        if said.code != 1 || started.elapsed() > super::hosts::LONG {
            break said;
        }
    };
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains("runs on its own"), "{}", said.err);
}
