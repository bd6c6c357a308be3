//! `cluster roll`: every agent starts anew while a writer goes on.

use std::time::Duration;

use serde_json::Value;

use super::hosts::{hosts, of, up};
use super::writer::Writer;

/// How long nothing may be written; usually a fifth of a second.
const GAP: Duration = Duration::from_secs(3);

/// Row A11.
#[test]
fn a_roll_restarts_every_agent_once_the_leader_last_and_a_writer_goes_on() {
    let hosts = hosts(3, 3);
    let before = hosts[0].cluster(&["status", "--json"]).json();
    let leader = before["cluster"]["leader"].as_str().unwrap().to_owned();
    let pids: Vec<i32> = hosts.iter().map(super::hosts::Host::pid).collect();
    let writer = Writer::start(&hosts);
    let said = hosts[1].cluster(&["roll", "--pause", "1", "--json"]);
    let written = writer.end();
    println!("{written:?} {}", said.all());
    assert_eq!(said.code, 0, "{}", said.all());
    let order = said.json()["hosts"].clone();
    let order: Vec<&str> = order.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((order.len(), order.last().copied()), (3, Some(leader.as_str())), "{order:?}");
    assert!(written.failed == 0 && written.gap < GAP, "{written:?}");
    let report = hosts[0].until("all are back", |report| up(report) == 3);
    for (host, pid) in hosts.iter().zip(pids) {
        let started = |report: &Value| of(report, &host.name)["agent"]["started"].as_u64();
        assert!(started(&report) > started(&before), "{} is not new: {report}", host.name);
        assert_eq!(of(&report, &host.name)["agent"]["pid"].as_i64(), Some(i64::from(pid)));
        assert_eq!(host.pid(), pid, "the process is the same for who watches over it");
    }
}

#[test]
fn what_would_stop_all_writing_is_not_rolled_unless_that_is_allowed() {
    let hosts = hosts(1, 1);
    let said = hosts[0].cluster(&["roll"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains("1 voter can lose none"), "{}", said.err);
    let dry = hosts[0].cluster(&["roll", "--allow-gap", "--dry-run"]);
    assert_eq!(dry.out, "would start anew: h1\n", "{}", dry.all());
    let before = hosts[0].cluster(&["status", "--json"]).json();
    // Agents are told apart by the second of their start.
    std::thread::sleep(Duration::from_secs(1));
    let said = hosts[0].cluster(&["roll", "--allow-gap", "--pause", "0"]);
    assert_eq!(said.code, 0, "{}", said.all());
    assert_eq!(said.out, "started anew: h1\n");
    let report = hosts[0].cluster(&["status", "--json"]).json();
    assert_eq!(report["cluster"]["uuid"], before["cluster"]["uuid"], "{report}");
}
