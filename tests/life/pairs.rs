//! Row A5, both sides at once: a joiner killed at each of its nine steps, while the deciding host
//! is killed at each of its seven.
//!
//! A run tries seven pairs, in which each step of the deciding host comes once;
//! `QUORATE_PAIRS=0..63` tries all, `QUORATE_PAIRS=17` one.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate::store::Store;
use quorate::store::etcd::{Endpoints, EtcdStore};
use serde_json::Value;

use crate::kit::{Agent, Host, LONG, PROGRAM, healthy, insist, numbers, wait_for};
use crate::program::etcd;

const JOINER: [&str; 9] = [
    "claimed",
    "volunteered",
    "nominated",
    "archived",
    "joining",
    "spawned",
    "ready",
    "member",
    "voter",
];
const DECIDER: [&str; 7] = [
    "claims",
    "add-opened",
    "add-made",
    "add-closed",
    "promote-opened",
    "promote-made",
    "promote-closed",
];
/// What the row allows from the last death on: 15 s, and `--dead-after`.
const CONVERGED: Duration = Duration::from_secs(15 + 3);

/// The pairs to try.
fn wanted() -> Vec<usize> {
    // One of each of the decider's steps, with another one of the joiner's each.
    let usual = || (0..DECIDER.len()).map(|n| (n + 2) * DECIDER.len() + n).collect();
    numbers("QUORATE_PAIRS", usual)
}

/// Starts a host of five that dies at this step.
fn start(host: &Host, seed: Option<&Host>, fault: Option<String>) -> Agent {
    let mut words = host.words(&seed.into_iter().collect::<Vec<_>>());
    let size = words.iter().position(|word| word == "--ideal-cluster-size").expect("a size");
    words[size + 1] = "5".into();
    let mut command = Command::new(PROGRAM);
    command.arg("run").args(words).env("QUORATE_ETCD", etcd());
    command.envs(fault.map(|step| ("QUORATE_FAULT", step)));
    host.spawn(command)
}

/// What is left in the store although it should not be.
fn left_over(hosts: &[Host]) -> Result<(), String> {
    let urls = hosts.iter().map(Host::client_url).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let store = EtcdStore::new(Endpoints::new(urls, None, true));
        let all = store.range("/quorate/1/").await.map_err(|error| error.to_string())?;
        let ids: Vec<Value> = hosts.iter().map(|host| host.identity("member")).collect();
        for entry in all.entries {
            let key = entry.key.trim_start_matches("/quorate/1/");
            if key == "change" || key.starts_with("leave/") || key.starts_with("quarantine/") {
                return Err(format!("{key}: {}", String::from_utf8_lossy(&entry.value)));
            }
            let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
            if key.starts_with("nominate/") && !ids.contains(&value["member"]) {
                return Err(format!("{key} names {}, none of {ids:?}", value["member"]));
            }
        }
        Ok(())
    })
}

/// Plays one pair; how long it took from the last death until five vote and nothing is left.
fn play(joiner: &str, decider: &str) -> Duration {
    let hosts = ["h1", "h2", "h3", "h4", "h5"].map(Host::new);
    let armed = hosts[0].folder().join("armed");
    let fault = || Some(format!("{decider}@{}", armed.display()));
    let seed = |n: usize| (n > 0).then_some(&hosts[0]);
    let mut agents: Vec<Agent> = (0..3).map(|n| start(&hosts[n], seed(n), fault())).collect();
    healthy(&agents.iter().collect::<Vec<_>>(), 3);
    fs::write(&armed, "").expect("a test's own file");
    if decider == "claims" {
        let status = agents[0].until(LONG, |s| s["cluster"]["leader"].is_string());
        let heir = ["h1", "h2"].into_iter().find(|host| status["cluster"]["leader"] != *host);
        let mut command = Command::new(PROGRAM);
        command.args(["cluster", "move-leader", heir.expect("one of two"), "--prefix"]);
        // Its answer may be lost with the heir, which dies as soon as it decides.
        command.arg(hosts[2].state()).output().expect("the program runs");
    }
    agents.push(start(&hosts[3], seed(3), Some(joiner.to_owned())));
    agents.push(start(&hosts[4], seed(4), None));
    let (mut dead, mut last) = (BTreeSet::new(), Instant::now());
    while dead.len() < 2 {
        let what = || {
            let logs: String = agents.iter().map(Agent::log).collect();
            format!("{joiner} and {decider}: dead {dead:?}\n{logs}")
        };
        let mut found = None;
        wait_for(LONG, what, || {
            // Looking at an agent that has ended takes nothing from it.
            found = agents.iter().position(Agent::is_gone);
            found
        });
        last = Instant::now();
        let n = found.expect("one of them");
        let code = agents[n].end(LONG).0;
        assert_eq!(code, 137, "{joiner} and {decider}: {}", agents[n].log());
        assert!(dead.insert(n), "{joiner} and {decider}: h{} died twice", n + 1);
        agents[n] = insist(|| start(&hosts[n], seed(n), None));
    }
    assert!(dead.contains(&3), "{joiner} and {decider}: {dead:?}");
    let whole = |s: &Value| {
        let members = s["cluster"]["members"].as_array().map_or(0, Vec::len);
        members == 5 && crate::kit::voters(s) == 5 && s["cluster"]["quorum"] == true
    };
    let what = || {
        let told = agents.iter().map(|agent| format!("{}\n{:?}\n", agent.log(), agent.status()));
        format!("{joiner} and {decider}:\n{}", told.collect::<String>())
    };
    wait_for(LONG, what, || {
        let all = |agent: &Agent| agent.status().is_some_and(|status| whole(&status));
        agents.iter().all(all).then_some(())
    });
    let mut left = Ok(());
    wait_for(LONG, String::new, || {
        left = left_over(&hosts);
        (left.is_ok() || last.elapsed() > CONVERGED).then_some(())
    });
    assert_eq!(left, Ok(()), "{joiner} and {decider}");
    last.elapsed()
}

/// Row A5.
#[test]
fn a_joiner_and_the_decider_killed_at_any_of_their_steps_leave_no_ghost() {
    let mut slowest = Duration::ZERO;
    for n in wanted() {
        let (joiner, decider) = (JOINER[n / DECIDER.len()], DECIDER[n % DECIDER.len()]);
        let took = play(joiner, decider);
        println!("pair {n}: joiner {joiner}, decider {decider}: {took:?}");
        assert!(took < CONVERGED, "pair {n}: joiner {joiner}, decider {decider}: {took:?}");
        slowest = slowest.max(took);
    }
    println!("the slowest: {slowest:?}");
}
