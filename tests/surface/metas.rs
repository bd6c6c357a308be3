//! Meta parameters as their examples show them: noop, limit, poll, retry.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::converged;
use super::support::{Site, state_of, wait_for};

fn lines(site: &Site, name: &str) -> usize {
    site.read(name).unwrap_or_default().lines().count()
}

/// Spoils a managed file in a folder and tells how long it stays so.
fn healed_after(site: &Site, name: &str, seconds: u64) -> Duration {
    let started = Instant::now();
    std::fs::write(site.path(name), "spoilt").expect("a file");
    wait_for(seconds, &format!("{name} is healed"), || site.read(name).filter(|text| text == "x"));
    started.elapsed()
}

#[test]
fn noop1_a_file_that_may_only_be_looked_at_is_not_made() {
    let site = converged(
        "graph: g\nresources:\n  file:\n  - name: DIR/f\n    content: x\n    meta:\n      noop: \
         true\n",
    );
    assert_eq!(site.read("f"), None);
}

#[test]
fn noop2_a_destructive_command_that_may_only_be_looked_at_is_not_run() {
    let site = converged(
        "graph: g\nresources:\n  exec:\n  - name: destroy\n    shell: /bin/sh\n    cmd: echo \
         destroyed > DIR/destroyed\n    meta:\n      noop: true\n",
    );
    assert_eq!(site.read("destroyed"), None);
}

#[test]
fn file3_an_unbounded_limit_without_burst_is_no_limit() {
    let site = converged(
        "graph: g\nresources:\n  file:\n  - name: DIR/f\n    content: x\n    meta: {limit: .inf, \
         burst: 0}\n",
    );
    assert_eq!(site.read("f").as_deref(), Some("x"));
}

#[test]
fn limit1_a_burst_is_healed_at_once_and_then_one_by_one() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: DIR/f\n    content: x\n    meta: {limit: 1, \
        burst: \
         5}\n",
    );
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "it is made", || site.read("f").filter(|text| text == "x"));
    let first = healed_after(&site, "f", 5);
    assert!(first < Duration::from_secs(1), "{first:?}");
    // One token comes each second, and each of these takes one at least.
    let rest: Duration = (0..8).map(|_| healed_after(&site, "f", 10)).sum();
    assert!(rest >= Duration::from_secs(2), "{rest:?} for eight after a burst of five");
}

#[test]
fn poll1_what_is_polled_is_healed_at_its_tick_and_what_is_not_at_once() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - {name: DIR/slow, content: x, meta: {poll: 2}}\n  - \
        {name: \
         DIR/watched, content: x}\n  - {name: DIR/fast, content: x, meta: {poll: 1}}\n",
    );
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    for name in ["slow", "watched", "fast"] {
        wait_for(10, "they are made", || site.read(name).filter(|text| text == "x"));
    }
    let watched = healed_after(&site, "watched", 5);
    assert!(watched < Duration::from_secs(1), "{watched:?}");
    // The first is healed at a tick, so the next tick is a whole interval away.
    healed_after(&site, "slow", 5);
    let slow = healed_after(&site, "slow", 5);
    assert!((1..4).contains(&slow.as_secs()), "{slow:?} for a poll of 2 s");
    healed_after(&site, "fast", 5);
    let fast = healed_after(&site, "fast", 5);
    assert!(fast < Duration::from_secs(2) + slow / 8, "{fast:?} for a poll of 1 s");
}

/// A command that is good once there is a file, and is repeated three times.
const TRYING: &str = "graph: g\nresources:\n  exec:\n  - name: e\n    shell: /bin/sh\n    cmd: \
echo \
                      try >> DIR/tries; test -e DIR/good\n    meta: {retry: 3, delay: 400}\n";

#[test]
fn poll2_who_looks_every_second_converges_within_one_that_has_to_be_quiet() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - {name: DIR/f, content: x, meta: {poll: 1}}\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "1", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0), "{}", agent.log());
}

#[test]
fn timeout1_the_log_says_how_long_a_run_may_take_that_took_longer() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - {name: slow, cmd: sleep 60, meta: {timeout: 300}}\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(5), "{}", agent.log());
    let log = agent.log();
    assert!(log.contains("exec[slow] failed: no result within 300 ms"), "{log}");
}

#[test]
fn retry1_there_are_one_and_three_attempts_apart_and_then_it_has_failed() {
    let site = Site::new();
    site.write("site.yaml", TRYING);
    let started = Instant::now();
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(5), "{}", agent.log());
    assert_eq!(lines(&site, "tries"), 4);
    assert!(started.elapsed() >= Duration::from_millis(1_200), "{:?}", started.elapsed());
}

#[test]
fn retry1_what_is_mended_in_time_is_right_with_the_next_attempt() {
    let site = Site::new();
    site.write("site.yaml", &TRYING.replace("delay: 400", "delay: 1000"));
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    wait_for(10, "the first attempt", || Some(()).filter(|()| lines(&site, "tries") > 0));
    std::fs::write(site.path("good"), "").expect("a file");
    assert_eq!(agent.end(20).code(), Some(0), "{}", agent.log());
    assert!((2..=4).contains(&lines(&site, "tries")), "{:?}", site.read("tries"));
}

#[test]
fn graph_exit2_an_interrupt_ends_an_agent_that_waits_for_a_repetition() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - name: bad\n    cmd: \"false\"\n    meta: {retry: 10, \
         delay: 60000}\n  - name: behind\n    cmd: \"true\"\n  - name: aside\n    cmd: \"true\"\n\
         edges:\n- {from: {kind: exec, name: bad}, to: {kind: exec, name: behind}}\n",
    );
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    agent.status_where(10, "the branches are where they stay", |one| {
        state_of(one, "exec[aside]") == "ok" && one.to_string().contains("code 1")
    });
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.end(5).code(), Some(0), "{}", agent.log());
}
