//! Row A27: the command lines of the story, with the ports of this test in the place of the usual
//! ones. Each works, or fails with its sentence.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::kit::{Agent, Host, LONG, PROGRAM, Writer, fits, healthy, wait_for};
use crate::program::etcd;

/// The answer to a line that cannot work: its exit code and what it writes.
fn answer(host: &Host, line: &str) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM)
        .args(line.split(' '))
        .env("QUORATE_ETCD", etcd())
        .env("QUORATE_PREFIX", host.state())
        .output()
        .expect("the program runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Lines 1, 10, 11 and 13.
#[test]
fn lines_of_the_story_that_cannot_work_say_what_to_type_instead() {
    let host = Host::new("h2");
    let seed = Host::new("h1");
    let mut first = seed.start(&[]);
    healthy(&[&first], 1);
    let (client, peer) = (host.client_url(), host.peer_url());
    let own = format!("--client-urls {client} --server-urls {peer}");
    for (line, code, sentence) in [
        (
            "run --file examples/etcd1a.yaml --hostname h1 --ideal-cluster-size 3".to_owned(),
            2,
            "error: `--file` is gone: a graph is given after its front end\n\n  quorate run \
             --hostname h1 --ideal-cluster-size 3 yaml examples/etcd1a.yaml"
                .to_owned(),
        ),
        (
            format!("run --hostname h2 --seeds http://10.255.0.7:2379 {own} empty"),
            3,
            format!(
                "error: this agent would advertise {client}, which other hosts cannot reach; pass \
                 --client-urls http://ADDRESS:{}",
                host.client
            ),
        ),
        (
            "run --hostname h1 --client-urls http://10.255.0.7:2379 --server-urls \
             http://10.255.0.7:2380 empty"
                .to_owned(),
            3,
            "error: http://10.255.0.7:2379 is reachable from the network without certificates; \
             write https:// for TLS, or pass --insecure-network if that is what you want"
                .to_owned(),
        ),
        (
            format!("run --hostname h2 --seeds {} {own} empty", seed.peer_url()),
            3,
            format!(
                "error: {} is the peer port of h1; pass --seeds {}, its port for clients",
                seed.peer_url(),
                seed.client_url()
            ),
        ),
    ] {
        let (got, said) = answer(&host, &line);
        assert!(got == Some(code) && fits(&said, &sentence), "{line}\n{got:?} {said}");
    }
    assert!(!host.state().exists());
    assert_eq!(first.stop(Signal::SIGINT, LONG).0, 0);
}

/// Line 10, from the other side: the address that refuses is named, and the agent waits for it.
#[test]
fn an_agent_whose_seed_is_not_up_names_it_and_joins_when_it_comes() {
    let (seed, host) = (Host::new("h1"), Host::new("h2"));
    let agent = host.start(&[&seed]);
    let reason =
        format!("waiting: {} refuses the connection: its agent is not up", seed.client_url());
    agent.until(LONG, |s| s["reason"] == reason.as_str());
    let first = seed.start(&[]);
    agent.role(LONG, "learner");
    healthy(&[&first], 1);
}

/// Lines 6 to 8: three terminals on one machine, each with `--tmp-prefix`; then one of them is
/// killed and started again without it.
#[test]
fn three_terminals_make_a_cluster_and_a_second_folder_for_a_living_name_is_refused() {
    let hosts = ["h1", "h2", "h3"].map(Host::new);
    let agents: Vec<Agent> = hosts
        .iter()
        .map(|host| {
            let seeds = if host.name == "h1" { vec![] } else { vec![&hosts[0]] };
            let mut words = host.words(&seeds);
            let prefix = words.iter().position(|word| word == "--prefix").expect("a prefix");
            words.splice(prefix..prefix + 2, ["--tmp-prefix".to_owned()]);
            let mut command = Command::new(PROGRAM);
            command.arg("run").args(words);
            command.env("QUORATE_ETCD", etcd()).env("TMPDIR", host.folder());
            host.spawn(command)
        })
        .collect();
    for (host, agent) in hosts.iter().zip(&agents) {
        // The tests know the state by one name.
        let made: PathBuf = wait_for(
            LONG,
            || agent.log(),
            || {
                let entries = fs::read_dir(host.folder()).expect("a folder").flatten();
                let mut paths = entries.map(|entry| entry.path());
                paths.find(|path| path.to_string_lossy().contains("quorate-h"))
            },
        );
        std::os::unix::fs::symlink(made, host.state()).expect("a link");
    }
    let mut agents = agents;
    healthy(&agents.iter().collect::<Vec<_>>(), 3);
    let writer = Writer::start(&[&hosts[0], &hosts[2]]);
    agents[1].kill();
    fs::remove_file(hosts[1].state()).expect("the link");
    let taken = "another agent named h2 is alive (instance *, pid *, at *); host names must be \
                 unique";
    hosts[1].refused(&hosts[1].words(&[&hosts[0]]), 3, taken);
    let written = writer.end();
    assert_eq!(written.failed, 0, "h1 and h3 are undisturbed: {written:?}");
}
