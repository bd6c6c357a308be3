//! Rows A7 and A9: the leader goes, and voters that are gone with and without anybody to take their
//! place.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::kit::{Agent, Host, LONG, Writer, healthy, three, voters, wait_for};

/// What a cluster of three waits until a silent voter is dead, as the tests start them, and 5 s.
const REPLACED: u64 = 3 + 5;

fn position(hosts: &[Host], name: &str) -> usize {
    hosts.iter().position(|host| host.name == name).expect("one of the hosts")
}

/// Row A7; `cargo xtask bench cluster --rows A7 --rounds 100` measures it.
#[test]
fn writes_go_on_within_three_seconds_after_the_leader_was_killed_or_froze() {
    for freezes in [false, true] {
        let (hosts, mut agents) = three();
        let status = agents[0].until(LONG, |s| s["cluster"]["leader"].is_string());
        let leads = position(&hosts, status["cluster"]["leader"].as_str().expect("a leader"));
        let writer = Writer::start(&hosts.each_ref());
        writer.goes_on(50);
        if freezes {
            agents[leads].signal(Signal::SIGSTOP);
            hosts[leads].signal_etcd(Signal::SIGSTOP);
        } else {
            agents[leads].kill();
        }
        writer.goes_on(50);
        let written = writer.end();
        assert!(written.gap < Duration::from_secs(3), "freezes: {freezes}: {written:?}");
        if freezes {
            hosts[leads].signal_etcd(Signal::SIGCONT);
            agents[leads].signal(Signal::SIGCONT);
        }
    }
}

/// The ids of all members, as an agent lists them.
fn members(agent: &Agent) -> Vec<(String, String)> {
    let status = agent.status().expect("a status");
    let members = status["cluster"]["members"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    members.iter().map(|one| (text(&one["host"]), text(&one["id"]))).collect()
}

/// Row A9, without a spare: nothing would be gained, and who returns has its place still.
#[test]
fn one_dead_voter_of_three_keeps_its_place_when_nobody_can_take_it() {
    let (hosts, mut agents) = three();
    let before = members(&agents[0]);
    agents[2].kill();
    let killed = Instant::now();
    let dead = |s: &serde_json::Value| {
        voters(s) == 2 && s["cluster"]["quorum"] == true && s["role"] == "voter"
    };
    agents[0].until(LONG, dead);
    // Longer than its claim lives, which a death waits for too.
    wait_for(LONG, String::new, || {
        (killed.elapsed() > Duration::from_secs(10 + REPLACED)).then_some(())
    });
    assert_eq!(members(&agents[0]), before);
    agents[2] = hosts[2].again(&hosts[0]);
    healthy(&agents.each_ref(), 3);
    assert_eq!(members(&agents[0]), before, "it returns with its id");
}

/// Row A9: two of five are gone for good, then return.
#[test]
fn two_dead_voters_of_five_go_and_join_again_when_they_return() {
    let hosts = ["h1", "h2", "h3", "h4", "h5"].map(Host::new);
    let start = |n: usize| {
        let seeds = if n == 0 { vec![] } else { vec![&hosts[0]] };
        let mut words = hosts[n].words(&seeds);
        let size = words.iter().position(|word| word == "--ideal-cluster-size").expect("a size");
        words[size + 1] = "5".into();
        hosts[n].start_with(&words)
    };
    let mut agents: Vec<Agent> = (0..5).map(start).collect();
    healthy(&agents.iter().collect::<Vec<_>>(), 5);
    let before = members(&agents[0]);
    agents[3].kill();
    agents[4].kill();
    let killed = Instant::now();
    agents[0].until(LONG, |s| {
        let count = s["cluster"]["members"].as_array().map_or(0, Vec::len);
        count == 3 && voters(s) == 3
    });
    println!("both are out {:?} after they were killed", killed.elapsed());
    // A claim ends up to 21 s after its host when the leader of etcd changes meanwhile.
    assert!(killed.elapsed() < Duration::from_secs(21 + REPLACED), "{:?}", killed.elapsed());
    agents[3] = start(3);
    agents[4] = start(4);
    healthy(&agents.iter().collect::<Vec<_>>(), 5);
    let after = members(&agents[0]);
    let kept = after.iter().filter(|one| before.contains(one)).count();
    assert_eq!(kept, 3, "the two have new ids: {before:?} {after:?}");
}
