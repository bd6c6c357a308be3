//! Nodes without power, and an engine that is started anew: who is left goes on, and who comes back
//! is who it was.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::{PUT, until};
use super::{Named, engine_there};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

#[test]
fn engine_whoever_is_killed_the_others_write_on_and_it_comes_back() {
    if !engine_there("kill and start") {
        return;
    }
    let demo = Named::new("power");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    for (victim, other) in [("h1", "h2"), ("h2", "h3"), ("h3", "h1")] {
        demo.expect(0, &["kill", victim]);
        let killed = Instant::now();
        let put = format!("{PUT} without {victim}");
        until(&demo, 0, Duration::from_secs(5), &["exec", other, "--", &put]);
        let wrote = killed.elapsed();
        demo.expect(0, &["start", victim]);
        let started = Instant::now();
        until(&demo, 0, Duration::from_secs(10), &["status"]);
        eprintln!(
            "{victim}: written after {:.1} s, healthy after {:.1} s",
            wrote.as_secs_f64(),
            started.elapsed().as_secs_f64()
        );
    }
}

/// Name, address and member id of each node.
fn who(demo: &Named) -> Vec<[String; 3]> {
    let text = demo.expect(0, &["status", "--json"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |node: &Value| {
        let members = node["agent"]["cluster"]["members"].as_array().unwrap();
        let own = members.iter().find(|member| member["host"] == node["name"]).unwrap();
        [text(&node["name"]), text(&node["address"]), text(&own["id"])]
    };
    status["nodes"].as_array().unwrap().iter().map(one).collect()
}

/// All of them go at once, and are there again as who they were, with what they had.
fn comes_back(demo: &Named, outage: impl FnOnce()) {
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    demo.expect(0, &["exec", "h1", "--", &format!("{PUT} kept yes")]);
    let before = who(demo);
    assert!(before.iter().all(|[_, _, id]| id.len() == 16), "{before:?}");
    outage();
    demo.expect(1, &["status"]);
    demo.expect(0, &["start", "--all"]);
    until(demo, 0, Duration::from_secs(30), &["status"]);
    assert_eq!(who(demo), before);
    let get = "ETCDCTL_API=3 etcdctl --endpoints http://$(hostname):2379 get kept";
    for host in HOSTS {
        assert_eq!(demo.expect(0, &["exec", host, "--", get]), "kept\nyes\n");
    }
}

#[test]
fn engine_a_cluster_that_lost_its_power_is_the_same_when_all_start() {
    if !engine_there("start --all") {
        return;
    }
    let demo = Named::new("outage");
    comes_back(&demo, || {
        demo.expect(0, &["kill", "--all"]);
    });
}

/// Ends every container of this machine: only where a command says how it is done.
#[test]
fn engine_a_cluster_outlives_the_engine() {
    let Ok(command) = std::env::var("QUORATE_RESTART_ENGINE") else {
        eprintln!("skipped: QUORATE_RESTART_ENGINE names no command that restarts the engine");
        return;
    };
    let demo = Named::new("engine");
    comes_back(&demo, || {
        let done = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}: {done}");
        let start = Instant::now();
        while !engine_answers() {
            assert!(start.elapsed() < Duration::from_secs(30), "the engine does not come back");
        }
    });
}

fn engine_answers() -> bool {
    super::ask("GET", "/version", &Value::Null).is_ok_and(|(status, _)| status == 200)
}
