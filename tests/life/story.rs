//! Row A27: the command lines of the story, with the ports of this test in the place of the usual
//! ones. Each works, or fails with its sentence.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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

/// A shipped graph, with this host's folder in the place of `/tmp`.
fn shipped(host: &Host, name: &str) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let text = fs::read_to_string(examples.join(name)).expect("an example");
    let own = format!("{}/mgmt", host.folder().display());
    let path = host.folder().join(name.replace('/', "-"));
    fs::write(&path, text.replace("/tmp/mgmt", &own)).expect("a test's own file");
    path.display().to_string()
}

/// Lines 2 and 3: the file that was published first, and the corrected one.
#[test]
fn a_graph_without_its_directory_names_it_and_heals_and_the_corrected_one_just_works() {
    let host = Host::new("h1");
    let made = host.folder().join("mgmtA/fA");
    let graph = shipped(&host, "etcd1-uncorrected/etcd1a.yaml");
    let mut agent = host.start_with(&host.words_for(&[], &["yaml", &graph]));
    let folder = host.folder().display();
    let failed = format!(
        "file[filea] failed: {folder}/mgmtA/fA: directory {folder}/mgmtA/ does not exist; declare \
         it as a file resource (name: {folder}/mgmtA/) or create it"
    );
    wait_for(LONG, || agent.log(), || agent.log().contains(&failed).then_some(()));
    fs::create_dir(host.folder().join("mgmtA")).expect("a directory");
    let written = || fs::read_to_string(&made).is_ok_and(|text| text.starts_with("i am fA"));
    wait_for(LONG, || agent.log(), || written().then_some(()));
    assert_eq!(agent.stop(Signal::SIGINT, LONG).0, 0);
    fs::remove_dir_all(host.folder().join("mgmtA")).expect("a directory");
    let graph = shipped(&host, "etcd1/etcd1a.yaml");
    let agent = host.start_with(&host.words_for(&[], &["yaml", &graph]));
    wait_for(LONG, || agent.log(), || written().then_some(()));
    assert!(!agent.log().contains("failed"), "{}", agent.log());
}

/// Lines 4 and 5: everything exported under one rule, then files from elsewhere.
#[test]
fn whatever_is_collected_comes_into_the_one_directory_and_each_failure_names_its_path() {
    let host = Host::new("h1");
    let state = host.state().display().to_string();
    let run = |graph: &str| {
        // Of no cluster, as it was: what it exports ends with it.
        let words = ["--hostname", "h1", "--prefix", &state, "--converged-timeout", "1", "yaml"];
        let words = words.into_iter().chain([graph]).map(str::to_owned);
        let mut agent = host.start_with(&words.collect::<Vec<_>>());
        (agent.end(LONG).0, agent.log())
    };
    let (code, log) = run(&shipped(&host, "superposition/s6.yaml"));
    assert_eq!(code, 5, "converged, with failures: {log}");
    let folder = host.folder().display();
    for name in ["fA", "mgmtA/", "mgmtB/", "mgmtC/", "mgmtD/", "mgmtE/"] {
        let failed = format!("failed: {folder}/mgmtA/{name}: directory {folder}/mgmtA/ does not");
        assert_eq!(log.matches(&failed).count(), 1, "{name}: {log}");
    }
    fs::create_dir(host.folder().join("mgmtA")).expect("a directory");
    let (code, log) = run(&shipped(&host, "superposition/one.yaml"));
    assert_eq!(code, 0, "{log}");
    let made = fs::read_dir(host.folder().join("mgmtA")).expect("a directory").flatten();
    let mut made: Vec<_> = made.map(|entry| entry.file_name()).collect();
    made.sort();
    assert_eq!(made, ["dir", "x", "z"]);
}

/// Line 12: names, which etcd cannot listen on, are listened on by their address and told to the
/// others as typed.
#[test]
fn names_in_the_place_of_addresses_work_and_are_advertised_as_typed() {
    let hosts = ["h1", "h2", "h3"].map(Host::new);
    let named = |url: &str| url.replace("127.0.0.1", "localhost");
    let start = |host: &Host| {
        let seeds = if host.name == "h1" { vec![] } else { vec![&hosts[0]] };
        let words = host.words(&seeds);
        host.start_with(&words.iter().map(|word| named(word)).collect::<Vec<_>>())
    };
    let agents = hosts.each_ref().map(start);
    healthy(&agents.each_ref(), 3);
    let status = agents[1].status().expect("a status");
    for host in &hosts {
        let members = status["cluster"]["members"].as_array().expect("members");
        let member = members.iter().find(|one| one["host"] == host.name.as_str());
        let member = member.expect("one of three");
        assert_eq!(member["client"][0], named(&host.client_url()), "{member}");
        assert_eq!(member["peer"][0], named(&host.peer_url()), "{member}");
    }
}

/// Line 14: agents without a graph serve a cluster; there is nothing to deploy with, and that is
/// said.
#[test]
fn a_deploy_is_refused_as_a_verb_that_is_not_there() {
    let host = Host::new("h1");
    let line = format!("deploy --seeds {} x.yaml", host.client_url());
    let (code, said) = answer(&host, &line);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.starts_with("error: unrecognized subcommand 'deploy'"), "{said}");
    assert!(!host.state().exists(), "a refused line made a folder");
}

/// The third block of 03-15, and line 16: h2 is started on h1's folder. There, h1 flooded its
/// terminal, h3 could not join, and several ^C stopped nobody.
#[test]
fn an_agent_on_anothers_folder_hinders_nobody_and_one_ctrl_c_ends_each() {
    let (h1, h2, h3) = (Host::new("h1"), Host::new("h2"), Host::new("h3"));
    let mut first = h1.start(&[]);
    healthy(&[&first], 1);
    let mut words = h2.words(&[&h1]);
    let prefix = words.iter().position(|word| word == "--prefix").expect("a prefix");
    words[prefix + 1] = h1.state().display().to_string();
    let in_use = "state folder * is in use by h1 (pid *, started *:* UTC); give this agent its \
                  own --hostname or --prefix";
    h1.untouched_by(&first, || {
        h2.start_with(&words).refused(3, in_use);
    });
    assert!(!h2.state().exists(), "a refused start made a folder");
    let mut third = h3.start(&[&h1]);
    third.role(LONG, "learner");
    let lines = first.log().lines().count();
    // What would flood it does so ten times a second.
    std::thread::sleep(Duration::from_secs(2));
    let more = first.log().lines().count() - lines;
    assert!(more <= 3, "{more} lines in 2 s: {}", first.log());
    for agent in [&mut third, &mut first] {
        let (code, took) = agent.stop(Signal::SIGINT, LONG);
        assert!(code == 0 && took < Duration::from_secs(3), "{code} after {took:?}");
    }
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
