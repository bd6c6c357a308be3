//! Rows A12, A13 and A19: everybody is killed, members move, and members take another etcd.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::kit::{Host, LONG, PROGRAM, Writer, healthy, three};
use crate::program::{etcd, ports};

/// Row A12.
#[test]
fn a_killed_cluster_writes_again_when_any_two_of_three_are_back() {
    let (hosts, agents) = three();
    let mut running = Vec::from(agents);
    let start = |host: &Host| host.again(&hosts[0]);
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        running.iter_mut().for_each(crate::kit::Agent::kill);
        let [one, two, three] = order.map(|n| &hosts[n]);
        let first = start(one);
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        let second = start(two);
        let writer = Writer::start(&[one, two]);
        writer.goes_on(1);
        println!("{order:?}: writes after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{order:?}: {:?}", began.elapsed());
        writer.end();
        let third = start(three);
        healthy(&[&first, &second, &third], 3);
        running = vec![first, second, third];
    }
}

/// Row A13.
#[test]
fn a_member_that_moves_is_listed_at_its_new_address_and_nobody_waits() {
    let (mut hosts, agents) = three();
    let mut agents = Vec::from(agents);
    let writer = Writer::start(&hosts.each_ref());
    for n in [2, 1, 0] {
        let id = hosts[n].identity("member");
        assert_eq!(agents[n].stop(Signal::SIGTERM, LONG).0, 0);
        (hosts[n].client, hosts[n].peer) = (ports(1), ports(1));
        let (client, peer) = (hosts[n].client_url(), hosts[n].peer_url());
        let began = Instant::now();
        agents[n] = hosts[n].again(&hosts[0]);
        for other in &agents {
            other.until(LONG, |s| {
                let members = s["cluster"]["members"].as_array().cloned().unwrap_or_default();
                let moved = members.iter().find(|m| m["id"] == id);
                moved.is_some_and(|m| m["peer"][0] == peer && m["client"][0] == client)
            });
        }
        println!("h{} is listed anew after {:?}", n + 1, began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        healthy(&agents.iter().collect::<Vec<_>>(), 3);
        assert_eq!(hosts[n].identity("member"), id, "it is the same member");
        writer.goes_on(20);
    }
    let written = writer.end();
    assert_eq!(written.failed, 0, "{written:?}");
    assert!(written.gap < Duration::from_secs(2), "{written:?}");
}

/// The others have moved, so that nobody is left whom its etcd could ask, and answer slower than
/// the start waits for them.
#[test]
fn a_member_that_was_taken_out_while_it_was_away_joins_anew_in_the_same_process() {
    let (mut hosts, agents) = three();
    let mut agents = Vec::from(agents);
    let old = hosts[2].identity("member");
    agents[2].kill();
    let out = ["cluster", "remove", "h3", "--force", "--prefix"];
    let done = Command::new(PROGRAM).args(out).arg(hosts[0].state()).output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    agents[0].until(LONG, |s| {
        let members = s["cluster"]["members"].as_array().cloned().unwrap_or_default();
        members.len() == 2 && members.iter().all(|m| m["id"] != old)
    });
    for n in [1, 0] {
        assert_eq!(agents[n].stop(Signal::SIGTERM, LONG).0, 0);
        hosts[n].peer = ports(1);
        agents[n] = hosts[n].again(&hosts[0]);
        healthy(&[&agents[0], &agents[1]], 2);
    }
    hosts[0].signal_etcd(Signal::SIGSTOP);
    hosts[1].signal_etcd(Signal::SIGSTOP);
    agents[2] = hosts[2].start(&[&hosts[0]]);
    agents[2].role(LONG, "starting");
    hosts[0].signal_etcd(Signal::SIGCONT);
    hosts[1].signal_etcd(Signal::SIGCONT);
    agents[2].until(LONG, |s| s["role"] == "voter" && hosts[2].identity("member") != old);
    assert_eq!(hosts[2].archived(), ["removed"]);
    let log = agents[2].log();
    assert!(!log.contains("starting anew"), "{log}");
    healthy(&agents.iter().collect::<Vec<_>>(), 3);
}

/// Row A19, between the versions that `QUORATE_ETCD` and `QUORATE_ETCD_NEXT` name; without the
/// latter every member takes the same program again.
#[test]
fn members_take_the_next_etcd_one_by_one_and_no_write_is_lost() {
    let next = std::env::var_os("QUORATE_ETCD_NEXT").map_or_else(etcd, PathBuf::from);
    let next = next.canonicalize().expect("QUORATE_ETCD_NEXT is a program");
    let (hosts, agents) = three();
    let mut agents = Vec::from(agents);
    let writer = Writer::start(&hosts.each_ref());
    let before: Vec<_> = hosts.iter().map(|host| host.identity("member")).collect();
    for n in [2, 1, 0] {
        assert_eq!(agents[n].stop(Signal::SIGTERM, LONG).0, 0);
        let seeds = [&hosts[0]];
        let words = hosts[n].words(if n == 0 { &[] } else { &seeds });
        let mut command = Command::new(PROGRAM);
        command.arg("run").args(words).env("QUORATE_ETCD", &next);
        agents[n] = hosts[n].spawn(command);
        healthy(&agents.iter().collect::<Vec<_>>(), 3);
        let runs = hosts[n].etcds().into_iter().map(|pid| format!("/proc/{pid}/exe"));
        let runs: Vec<PathBuf> = runs.flat_map(std::fs::read_link).collect();
        assert_eq!(runs, std::slice::from_ref(&next), "h{}", n + 1);
        writer.goes_on(20);
    }
    let written = writer.end();
    assert_eq!(written.failed, 0, "{written:?}");
    let after: Vec<_> = hosts.iter().map(|host| host.identity("member")).collect();
    assert_eq!(after, before, "they are the same members");
    // A host that comes later gets along with them.
    let fourth = Host::new("h4");
    let mut command = Command::new(PROGRAM);
    command.arg("run").args(fourth.words(&[&hosts[0]])).env("QUORATE_ETCD", &next);
    let fourth = fourth.spawn(command);
    assert_eq!(agents[2].stop(Signal::SIGINT, LONG).0, 0);
    healthy(&[&agents[0], &agents[1], &fourth], 3);
}
