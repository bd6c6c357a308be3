//! Rows A5 and A6: joiners that die, hang, panic, or say the wrong address.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kit::{Host, LONG, PROGRAM, Writer, healthy, insist, wait_for};
use crate::program::{etcd, ports};

/// Row A5, the joiner's side: killed at each of its steps, and started again.
#[test]
fn a_joiner_killed_at_any_step_joins_by_its_next_start_and_leaves_no_ghost() {
    let seed = Host::new("h1");
    let first = seed.start(&[]);
    healthy(&[&first], 1);
    for step in
        ["claimed", "volunteered", "nominated", "archived", "joining", "spawned", "ready", "member"]
    {
        let host = Host::new(&format!("h-{step}"));
        let mut command = Command::new(PROGRAM);
        command.arg("run").args(host.words(&[&seed]));
        command.env("QUORATE_ETCD", etcd()).env("QUORATE_FAULT", step);
        let mut dying = host.spawn(command);
        assert_eq!(dying.end(LONG).0, 137, "{step}: {}", dying.log());
        let began = Instant::now();
        let mut second = insist(|| host.start(&[&seed]));
        let joined = |s: &serde_json::Value| {
            let members = s["cluster"]["members"].as_array().map_or(0, Vec::len);
            s["role"] == "learner" && members == 2
        };
        second.until(LONG, joined);
        println!("{step}: joined after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(30), "{step}: {:?}", began.elapsed());
        assert_eq!(second.stop(nix::sys::signal::Signal::SIGINT, LONG).0, 0);
        first.until(LONG, |s| s["cluster"]["members"].as_array().map_or(0, Vec::len) == 1);
    }
}

/// A program in the place of etcd.
fn stand_in(host: &Host, does: &str) -> PathBuf {
    let path = host.folder().join("etcd");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'etcd Version: 3.4.23'; exit; fi\n{does}\n"
    );
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script");
    path
}

/// Two others join within 40 s although the first to volunteer never serves, and nobody waits.
fn others_join_in_spite_of(what: &str, bad: impl FnOnce(&Host, &Host) -> crate::kit::Agent) {
    let [seed, joiner, next, last] = ["h1", "h2", "h3", "h4"].map(Host::new);
    let first = seed.start(&[]);
    healthy(&[&first], 1);
    let writer = Writer::start(&[&seed]);
    let _bad = bad(&joiner, &seed);
    first.until(LONG, |s| s["cluster"]["members"].as_array().map_or(0, Vec::len) == 2);
    let began = Instant::now();
    let good = [next.start(&[&seed]), last.start(&[&seed])];
    first.until(80, |s| {
        let members = s["cluster"]["members"].as_array().cloned().unwrap_or_default();
        let votes = |host: &str| {
            members.iter().any(|m| m["host"] == host && m["role"] == "voter" && m["up"] == true)
        };
        votes("h3") && votes("h4")
    });
    println!("{what}: both have joined after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(40), "{what}: {:?}", began.elapsed());
    healthy(&good.each_ref(), 3);
    let written = writer.end();
    assert_eq!(written.failed, 0, "{what}: {written:?}");
    assert!(written.gap < Duration::from_secs(2), "{what}: {written:?}");
}

fn with_stand_in(joiner: &Host, seed: &Host, does: &str) -> crate::kit::Agent {
    let mut command = Command::new(PROGRAM);
    command.arg("run").args(joiner.words(&[seed])).env("QUORATE_ETCD", stand_in(joiner, does));
    joiner.spawn(command)
}

/// Row A6.
#[test]
fn a_joiner_that_never_answers_makes_room_for_the_next() {
    others_join_in_spite_of("silent", |joiner, seed| {
        with_stand_in(joiner, seed, "exec sleep 1000")
    });
}

/// Row A6.
#[test]
fn a_joiner_that_panics_again_and_again_makes_room_for_the_next() {
    others_join_in_spite_of("panics", |joiner, seed| {
        with_stand_in(joiner, seed, "echo 'panic: runtime error: index out of range' >&2; exit 2")
    });
}

/// Row A6.
#[test]
fn a_joiner_that_says_a_wrong_address_makes_room_for_the_next() {
    others_join_in_spite_of("wrong address", |joiner, seed| {
        let mut words = joiner.words(&[seed]);
        let wrong = format!("http://127.0.0.1:{}", ports(1));
        words.splice(0..0, ["--advertise-client-urls".to_owned(), wrong]);
        joiner.start_with(&words)
    });
}

/// The flags of the etcd on a host's data that begin with this.
fn flags(host: &Host, start: &str) -> Vec<String> {
    let arguments = host.etcds().into_iter().map(|pid| format!("/proc/{pid}/cmdline"));
    let arguments: Vec<Vec<u8>> = arguments.flat_map(std::fs::read).collect();
    let all = arguments.iter().flat_map(|text| text.split(|b| *b == 0));
    let all = all.map(|flag| String::from_utf8_lossy(flag).into_owned());
    all.filter(|flag| flag.starts_with(start)).collect()
}

#[test]
fn a_joiner_takes_the_clusters_timers_and_says_so_and_keeps_them_without_anybody() {
    let (founder, joiner) = (Host::new("h1"), Host::new("h2"));
    let with = |host: &Host, seeds: &[&Host], timers: &[&str]| {
        let timers = timers.iter().map(|word| (*word).to_owned());
        timers.chain(host.words(seeds)).collect::<Vec<_>>()
    };
    let first = founder.start_with(&with(&founder, &[], &["--etcd-heartbeat", "50"]));
    first.role(LONG, "voter");
    let mut second = joiner.start_with(&with(&joiner, &[&founder], &["--etcd-heartbeat", "80"]));
    // With two hosts the second is a learner.
    second.until(LONG, |s| s["role"] == "learner" || s["role"] == "voter");
    // A joiner whose etcd was told a list that is old by now starts it again.
    let taken = |host: &Host| {
        let both =
            || [flags(host, "--heartbeat-interval="), flags(host, "--election-timeout=")].concat();
        let wanted = ["--heartbeat-interval=50", "--election-timeout=500"];
        wait_for(LONG, || format!("{:?}", both()), || (both() == wanted).then_some(()));
    };
    taken(&founder);
    taken(&joiner);
    let log = second.log();
    let said = "this cluster was founded with --etcd-heartbeat 50 and --etcd-election 500, which \
                this member takes in place of its own, 80 and 800";
    assert!(log.contains(said), "{log}");
    // The founder is away, and the flags say something else.
    drop(first);
    second.kill();
    let second = joiner.start_with(&with(&joiner, &[&founder], &["--etcd-heartbeat", "80"]));
    crate::kit::wait_for(LONG, || second.log(), || joiner.etcds().first().copied());
    taken(&joiner);
}
