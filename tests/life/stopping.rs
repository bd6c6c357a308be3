//! Rows A10, A22 and A23: how a member goes.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::kit::{Agent, Host, LONG, PROGRAM, Writer, healthy, three, voters, wait_for};
use crate::program::etcd;

fn leader(agent: &Agent) -> String {
    let status = agent.until(LONG, |s| s["cluster"]["leader"].is_string());
    status["cluster"]["leader"].as_str().expect("a leader").to_owned()
}

fn in_time(what: &str, (code, took): (i32, Duration), wanted: i32, seconds: u64) {
    println!("{what}: {code} after {took:?}");
    assert_eq!(code, wanted, "{what}");
    assert!(took < Duration::from_secs(seconds), "{what}: {took:?}");
}

/// Row A10: INT on each role, and all of them started again in another order.
#[test]
fn every_role_leaves_in_three_seconds_and_the_last_one_keeps_the_data() {
    let (hosts, agents) = three();
    let [client, spare] = ["c1", "h4"].map(Host::new);
    let mut as_client = client.client(&[&hosts[0]], &["empty"]);
    as_client.role(LONG, "client");
    let mut volunteer = spare.start(&[&hosts[0]]);
    volunteer.role(LONG, "volunteer");
    let writer = Writer::start(&hosts.each_ref());
    in_time("client", as_client.stop(Signal::SIGINT, LONG), 0, 3);
    in_time("volunteer", volunteer.stop(Signal::SIGINT, LONG), 0, 3);
    let first = leader(&agents[0]);
    let (mut followers, mut leads) = (Vec::new(), Vec::new());
    for (host, agent) in hosts.iter().zip(agents) {
        let half = if host.name == first { &mut leads } else { &mut followers };
        half.push((host, agent));
    }
    let (gone, mut follower) = followers.remove(0);
    in_time("follower", follower.stop(Signal::SIGINT, LONG), 0, 3);
    assert_eq!(gone.identity("phase"), "none");
    assert_eq!(gone.archived(), ["left"]);
    let (last, mut rest) = followers.remove(0);
    healthy(&[&rest], 2);
    writer.goes_on(50);
    let (led, mut leads) = leads.remove(0);
    in_time("leader", leads.stop(Signal::SIGINT, LONG), 0, 3);
    healthy(&[&rest], 1);
    let written = writer.end();
    assert!(written.gap < Duration::from_secs(2), "{written:?}");
    in_time("the last", rest.stop(Signal::SIGINT, LONG), 0, 3);
    assert_eq!(last.identity("phase"), "member");
    // By their old commands, in any order: who has left knows where the cluster was.
    let again = |host: &Host| host.again(&hosts[0]);
    let back = [again(gone), again(led), again(last)];
    healthy(&back.each_ref(), 3);
    let writer = Writer::start(&hosts.each_ref());
    writer.end();
}

/// Row A10: TERM on leader and follower, and on one that waits for a quorum.
#[test]
fn every_role_stops_in_three_seconds_and_stays_a_member() {
    let (hosts, mut agents) = three();
    for (host, agent) in hosts.iter().zip(&mut agents) {
        in_time(&host.name, agent.stop(Signal::SIGTERM, LONG), 0, 3);
        assert_eq!(host.identity("phase"), "member");
        assert!(host.etcds().is_empty());
    }
    let mut alone = hosts[1].start(&[&hosts[0]]);
    alone.role(LONG, "waiting");
    in_time("without a quorum", alone.stop(Signal::SIGINT, LONG), 0, 3);
    assert_eq!(hosts[1].identity("phase"), "member");
    let again = [hosts[2].start(&[&hosts[0]]), hosts[0].start(&[]), hosts[1].start(&[&hosts[0]])];
    healthy(&again.each_ref(), 3);
}

/// Row A10: the second and the third signal, while the others hang.
#[test]
fn a_second_signal_skips_the_waits_and_a_third_ends_everything() {
    let (hosts, [mut first, mut second, _third]) = three();
    for host in &hosts {
        host.signal_etcd(Signal::SIGSTOP);
    }
    let heard = |agent: &Agent, times: usize| {
        wait_for(
            LONG,
            || agent.log(),
            || (agent.log().matches("stopping").count() >= times).then_some(()),
        );
    };
    first.signal(Signal::SIGINT);
    heard(&first, 1);
    in_time("second", first.stop(Signal::SIGINT, LONG), 130, 2);
    second.signal(Signal::SIGINT);
    heard(&second, 1);
    second.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(100));
    in_time("third", second.stop(Signal::SIGINT, LONG), 137, 1);
    for host in &hosts[..2] {
        assert!(host.etcds().is_empty(), "{} left an etcd", host.name);
    }
    hosts[2].signal_etcd(Signal::SIGCONT);
    let again = [hosts[0].start(&[]), hosts[1].start(&[&hosts[0]])];
    // What the first began to ask for may be finished now: it leaves, and comes back.
    healthy(&again.each_ref(), 3);
}

/// Row A10 and 3.7: which signal leaves can be chosen.
#[test]
fn what_a_signal_does_to_the_membership_can_be_chosen() {
    let (hosts, [_first, mut second, third]) = three();
    assert_eq!(second.stop(Signal::SIGTERM, LONG).0, 0);
    for (flags, signal, phase) in [
        (["--on-int", "stay"], Signal::SIGINT, "member"),
        (["--on-term", "leave"], Signal::SIGTERM, "none"),
    ] {
        let mut words = hosts[1].words(&[&hosts[0]]);
        words.splice(0..0, flags.map(str::to_owned));
        let mut agent = hosts[1].start_with(&words);
        healthy(&[&agent, &third], 3);
        agent.role(LONG, "voter");
        in_time(phase, agent.stop(signal, LONG), 0, 3);
        assert_eq!(hosts[1].identity("phase"), phase);
    }
}

/// Row A22.
#[test]
fn a_hundred_killed_agents_leave_no_etcd_and_lose_nothing() {
    let host = Host::new("h1");
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let mut agent = host.start(&[]);
        wait_for(LONG, || agent.log(), || (!host.etcds().is_empty()).then_some(()));
        std::thread::sleep(Duration::from_millis(n % 10 * 20));
        agent.kill();
        let killed = Instant::now();
        wait_for(
            2,
            || format!("etcd {:?} is gone", host.etcds()),
            || host.etcds().is_empty().then_some(()),
        );
        slowest = slowest.max(killed.elapsed());
    }
    println!("the slowest etcd was gone after {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let agent = host.start(&[]);
    healthy(&[&agent], 1);
    // Killed between its log and its first entry, etcd leaves a log that never elects anybody.
    let archived = host.archived();
    assert!(archived.iter().all(|reason| reason == "unfounded"), "{archived:?}");
}

/// The etcd of the killed one is just ending, and its ports are not free yet.
#[test]
fn an_agent_that_is_started_at_once_after_a_kill_is_never_refused() {
    let host = Host::new("h1");
    let mut agent = host.start(&[]);
    for _ in 0..20 {
        wait_for(LONG, || agent.log(), || (!host.etcds().is_empty()).then_some(()));
        healthy(&[&agent], 1);
        agent.kill();
        agent = host.start(&[]);
    }
    healthy(&[&agent], 1);
}

/// Row A23: ^C reaches everything in the foreground of the terminal, except etcd.
#[test]
fn etcd_outlives_a_ctrl_c_at_the_terminal_until_the_hand_over() {
    let hosts = ["h1", "h2", "h3"].map(Host::new);
    let line: Vec<String> =
        std::iter::once(format!("{PROGRAM} run")).chain(hosts[0].words(&[])).collect();
    let mut at_terminal = Command::new("script")
        .args(["-qefc", &line.join(" ")])
        .arg(hosts[0].folder().join("typescript"))
        .env("QUORATE_ETCD", etcd())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script, of util-linux");
    let others = [hosts[1].start(&[&hosts[0]]), hosts[2].start(&[&hosts[0]])];
    healthy(&others.each_ref(), 3);
    assert_eq!(leader(&others[0]), "h1", "the founder leads");
    let writer = Writer::start(&[&hosts[1], &hosts[2]]);
    writer.goes_on(20);
    let mut keys = at_terminal.stdin.take().expect("a terminal");
    keys.write_all(b"\x03").expect("a key");
    keys.flush().expect("a key");
    let status =
        wait_for(LONG, || "the agent ends".into(), || at_terminal.try_wait().expect("a child"));
    let said = std::fs::read(hosts[0].folder().join("typescript")).expect("a transcript");
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("left the cluster"), "{said}");
    assert!(!said.contains("etcd ended"), "{said}");
    let written = writer.end();
    assert!(written.gap < Duration::from_secs(2), "no election was needed: {written:?}");
    healthy(&others.each_ref(), 2);
    assert!(others[0].status().is_some_and(|s| voters(&s) == 2));
}

/// Row A22. The variable is looked at in debug builds only, as tests are.
#[test]
fn an_agent_that_loses_one_of_its_tasks_names_it_and_ends_in_order() {
    let host = Host::new("h1");
    let mut command = Command::new(PROGRAM);
    command.arg("run").args(host.words(&[])).env("QUORATE_ETCD", etcd());
    command.env("QUORATE_FAULT", "voter!");
    let mut agent = host.spawn(command);
    let (code, _) = agent.end(LONG);
    let log = agent.log();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("the look at the cluster broke off: a test wanted this"), "{log}");
    assert!(log.contains("this is a mistake in this program, please report it"), "{log}");
    assert_eq!(host.etcds(), Vec::<i32>::new());
    let again = host.start(&[]);
    again.role(LONG, "voter");
    assert_eq!(host.archived(), Vec::<String>::new(), "the data are as they were");
}
