//! `cluster size`, `leave`, `remove`, `move-leader`, `away`, `history`: what is asked for happens,
//! or is refused with the reason.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::hosts::{Host, hosts, of, up};
use super::writer::Writer;

/// How long nothing may be written while the size changes; usually a tenth of a second.
const GAP: Duration = Duration::from_secs(2);

/// Row A8.
#[test]
fn the_size_grows_and_shrinks_step_by_step_under_a_writer_that_loses_nothing() {
    let hosts = hosts(7, 1);
    let writer = Writer::start(&hosts);
    for n in ["3", "5", "7", "5", "3", "1"] {
        let started = std::time::Instant::now();
        let said = hosts[1].cluster(&["size", n]);
        assert_eq!(said.code, 0, "{}", said.all());
        println!("size {n}: {:?}\n{}", started.elapsed(), said.out);
        let voters = if n == "1" { "voter" } else { "voters" };
        assert!(said.out.ends_with(&format!("done: {n} {voters}\n")), "{}", said.all());
        let report = hosts[0].until("the size", |report| up(report).to_string() == n);
        assert_eq!(report["cluster"]["voters"].to_string(), n, "{report}");
    }
    let written = writer.end();
    println!("{written:?}");
    assert!(written.gap < GAP && written.failed == 0, "{written:?}");
    let history = hosts[3].cluster(&["history", "--json", "--limit", "200"]).json();
    let changes = history["changes"].as_array().unwrap();
    let done = |kind: &str| {
        let of_kind = |one: &&Value| one["change"]["kind"] == kind && one["outcome"] == "done";
        changes.iter().filter(of_kind).count()
    };
    assert_eq!((done("promote"), done("remove")), (6, 6), "{history}");
    let text = hosts[3].cluster(&["history", "--limit", "1"]);
    assert_eq!(text.out.lines().count(), 1, "{}", text.out);
    assert!(text.out.contains(": fewer voters are wanted (by h"), "{}", text.out);
}

#[test]
fn impossible_and_even_sizes_are_explained_and_a_dry_run_changes_nothing() {
    let hosts = hosts(3, 3);
    let ask = |words: &[&str]| hosts[0].cluster(words);
    let none = ask(&["size", "0"]);
    assert_eq!(none.code, 2, "{}", none.all());
    assert!(none.err.contains("a cluster of none keeps nothing"), "{}", none.err);
    let many = ask(&["size", "9"]);
    assert_eq!(many.code, 2, "{}", many.all());
    assert!(many.err.contains("9 voters are slower than 7"), "{}", many.err);
    let dry = ask(&["size", "1", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.all());
    assert!(dry.out.contains("3 voters, can lose 1; in the end 1, can lose 0"), "{}", dry.out);
    let even = ask(&["size", "4", "--dry-run"]);
    assert!(even.out.contains("note: 4 voters can lose 1 like 3"), "{}", even.all());
    let now = ask(&["size"]);
    assert_eq!(now.out, "3 voters are wanted\n3 voters, can lose 1\n");
    let json = ask(&["size", "5", "--dry-run", "--json"]).json();
    assert_eq!((&json["wanted"], &json["begun"]), (&5.into(), &false.into()), "{json}");
    assert!(json["notes"][0].as_str().unwrap().starts_with("2 more hosts are needed"), "{json}");
}

#[test]
fn what_is_not_reached_in_time_is_exit_4_and_goes_on_by_itself() {
    let hosts = hosts(3, 1);
    // Its agent is there and volunteers, but does nothing.
    hosts[1].signal(Signal::SIGSTOP);
    hosts[2].signal(Signal::SIGSTOP);
    let said = hosts[0].cluster(&["size", "3", "--timeout", "1"]);
    assert_eq!(said.code, 4, "{}", said.all());
    assert!(said.err.contains("not reached within 1 s; it goes on by itself"), "{}", said.err);
    hosts[1].signal(Signal::SIGCONT);
    hosts[2].signal(Signal::SIGCONT);
    hosts[0].until("three voters", |report| up(report) == 3);
}

#[test]
fn a_host_leaves_when_another_asks_for_it_and_when_it_is_asked_itself() {
    let mut hosts = hosts(4, 3);
    let report = hosts[3].cluster(&["status", "--json"]).json();
    let voter = (1..3).find(|n| of(&report, &hosts[*n].name)["role"] == "voter").unwrap();
    let name = hosts[voter].name.clone();
    let said = hosts[0].cluster(&["leave", &name]);
    assert_eq!(said.code, 0, "{}", said.all());
    assert!(said.out.ends_with(&format!("done: {name} has left\n")), "{}", said.out);
    assert_eq!(hosts[voter].end(), Some(0), "its agent ends");
    assert!(!hosts[voter].state().join("etcd").exists(), "its data are put aside");
    let report = hosts[0].until("the spare has taken its place", |report| up(report) == 3);
    assert_eq!(*of(&report, &name), Value::Null);
    let said = hosts[0].cluster(&["leave"]);
    assert_eq!(said.code, 0, "{}", said.all());
    assert_eq!(hosts[0].end(), Some(0));
    assert!(!hosts[0].state().join("etcd").exists());
}

#[test]
fn what_would_end_the_quorum_is_refused_with_the_reason() {
    let hosts = hosts(1, 1);
    let said = hosts[0].cluster(&["leave"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains("h1 is the only voter and has the data"), "{}", said.err);
    let said = hosts[0].cluster(&["leave", "h7"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert_eq!(said.err, "error: no host is called h7; there are h1\n");
    for words in [["remove", "h7"], ["move-leader", "h7"]] {
        assert_eq!(hosts[0].cluster(&words).code, 3);
    }
}

#[test]
fn only_a_dead_member_is_removed_unless_forced_and_nothing_without_a_quorum() {
    let mut hosts = hosts(3, 3);
    let leader = hosts[0].cluster(&["status", "--json"]).json()["cluster"]["leader"].clone();
    let follower = hosts.iter().position(|one| leader != one.name.as_str()).unwrap();
    let asked = (follower + 1) % 3;
    let name = hosts[follower].name.clone();
    let said = hosts[asked].cluster(&["remove", &name]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains(&format!("{name} answers; to let it go")), "{}", said.err);
    hosts[follower].kill();
    hosts[asked].until("it is silent", |report| up(report) == 2);
    let early = hosts[asked].cluster(&["remove", &name]);
    assert_eq!(early.code, 3, "{}", early.all());
    let shown = hosts[asked].cluster(&["remove", &name, "--force", "--dry-run"]);
    assert_eq!(shown.code, 0, "{}", shown.all());
    assert!(shown.out.contains(&format!("removes {name}")), "{}", shown.out);
    let started = std::time::Instant::now();
    let done = loop {
        let said = hosts[asked].cluster(&["remove", &name]);
        if said.code == 0 || started.elapsed() > super::hosts::LONG {
            break said;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    assert!(done.out.ends_with("is no member any more\n"), "{}", done.all());
    let report = hosts[asked].until("two voters", |report| report["cluster"]["voters"] == 2);
    assert_eq!(report["cluster"]["tolerance"], 0, "{report}");
    let last = (follower + 2) % 3;
    hosts[last].kill();
    hosts[asked].until("no quorum", |report| report["cluster"]["quorum"] == false);
    let name = hosts[last].name.clone();
    let said = hosts[asked].cluster(&["remove", &name, "--force"]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains("waiting for quorum: 1 of 2 voters up"), "{}", said.err);
}

#[test]
fn the_leadership_goes_round_and_only_to_who_can_lead() {
    let hosts = hosts(4, 3);
    let report = hosts[0].cluster(&["status", "--json"]).json();
    let voters = hosts.iter().filter(|one| of(&report, &one.name)["role"] == "voter");
    let voters: Vec<&Host> = voters.collect();
    for host in voters.iter().chain(&voters) {
        let said = hosts[3].cluster(&["move-leader", &host.name]);
        assert_eq!(said.code, 0, "{}", said.all());
        hosts[3].until("it leads", |report| report["cluster"]["leader"] == host.name.as_str());
    }
    let spare = hosts.iter().find(|one| of(&report, &one.name)["role"] == "volunteer").unwrap();
    let said = hosts[0].cluster(&["move-leader", &spare.name]);
    assert_eq!(said.code, 3, "{}", said.all());
    assert!(said.err.contains("is no member of etcd, and cannot lead"), "{}", said.err);
}

#[test]
fn a_host_that_is_away_is_not_replaced_before_its_time() {
    let mut hosts = hosts(4, 3);
    let report = hosts[0].cluster(&["status", "--json"]).json();
    let voter = (1..4).find(|n| of(&report, &hosts[*n].name)["role"] == "voter").unwrap();
    let name = hosts[voter].name.clone();
    assert_eq!(hosts[0].cluster(&["away", &name, "ages"]).code, 2);
    assert_eq!(hosts[0].cluster(&["away", "h9", "1h"]).code, 3);
    let said = hosts[0].cluster(&["away", &name, "1h"]);
    assert_eq!(said.out, format!("{name} may be away for 60 min before it counts as dead\n"));
    hosts[voter].kill();
    let why = "is away as planned, for 60 min";
    let is_away = |report: &Value| {
        let host = of(report, &name);
        host["agent"].is_null() && host["why"].to_string().contains(why)
    };
    // Its claim has ended, and with it the time of a voter that nobody expects back.
    hosts[0].until("its claim is gone", is_away);
    std::thread::sleep(Duration::from_secs(5));
    let report = hosts[0].cluster(&["status", "--json"]).json();
    assert!(is_away(&report) && !of(&report, &name)["member"].is_null(), "{report}");
    assert_eq!(hosts[0].cluster(&["away", &name, "0"]).code, 0);
    hosts[0]
        .until("it is replaced", |report| up(report) == 3 && of(report, &name)["member"].is_null());
}
