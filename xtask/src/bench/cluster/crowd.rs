//! Row A25: many agents that only take part, and three voters. What the deciding host pays for
//! them, and what the death of one of them does to the store.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::gateway::{ask, serves, until, voters};
use super::hosts::Host;
use super::process;
use super::writer::TRY;
use super::{Bench, FAILED};

/// Time between the starts of two agents: they are not all started by one hand either.
const APART: Duration = Duration::from_millis(20);
/// How long the deciding host is looked at.
const LOOK: Duration = Duration::from_secs(30);
/// How long many agents may take to claim their names.
const CLAIMED: Duration = Duration::from_secs(120);
/// A claim ends this long after its agent, at most: twice its lease and more.
const ENDED: Duration = Duration::from_secs(30);
/// `/quorate/1/host/` and its end, in base64.
const CLAIMS: (&str, &str) = ("L3F1b3JhdGUvMS9ob3N0Lw==", "L3F1b3JhdGUvMS9ob3N0MA==");

/// How many inotify instances a user may have; each agent has one.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// As root, so many agents run as one user.
const OF_A_USER: usize = 100;
/// The first of these users: nobody's on usual systems.
const FIRST_USER: u32 = 61_000;

/// Whether the agents have to be those of several users; fails when that would be so and cannot be.
fn several_users(agents: usize) -> anyhow::Result<bool> {
    let most: usize = fs::read_to_string(INSTANCES)?.trim().parse()?;
    // Others of this user have some, too.
    let enough = agents + OF_A_USER / 4 <= most;
    ensure!(
        enough || nix::unistd::geteuid().is_root(),
        "a user may have {most} inotify instances, too few for {agents} agents; run this as root, \
         or allow more: sysctl fs.inotify.max_user_instances={}",
        agents * 2
    );
    Ok(!enough)
}

/// Measures with as many agents as are wanted, the first three of which vote.
pub(super) fn many(bench: &Bench) -> anyhow::Result<()> {
    let (programs, folder) = (&bench.programs, bench.fresh()?);
    let mut hosts = Host::set(usize::from(bench.options.agents), &folder)?;
    let several = several_users(hosts.len())?;
    for folder in folder.ancestors().take(2) {
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    let user = |n: usize| several.then(|| FIRST_USER + (n / OF_A_USER) as u32);
    let url = hosts[0].url(programs);
    for (n, host) in hosts.iter_mut().enumerate().take(3) {
        host.agent(programs, 3, if n > 0 { std::slice::from_ref(&url) } else { &[] })?;
    }
    let seed = hosts[0].socket().to_owned();
    let seed = seed.as_path();
    until("formation", Instant::now(), FAILED, || voters(seed) == 3 && serves(seed, TRY))?;
    let start = Instant::now();
    for (n, host) in hosts.iter_mut().enumerate().skip(3) {
        host.takes_part(programs, &url, user(n))?;
        std::thread::sleep(APART);
    }
    let all = hosts.len();
    let took = until("all claims", start, CLAIMED, || count(seed).is_ok_and(|n| n == all))?;
    println!("A25 {all} agents: all there after {:.1} s", took.as_secs_f64());
    let decider = hosts.iter().position(|host| super::gateway::leads(host.socket()));
    let decider = &hosts[decider.context("nobody leads")?];
    let others = &hosts[all - 1];
    let looked = [("the deciding agent", decider.id()?), ("its etcd", decider.child_id()?)];
    let looked = looked.into_iter().chain([("an agent that takes part", others.id()?)]);
    let looked: Vec<(&str, u32)> = looked.collect();
    let before: Vec<_> = looked.iter().map(|(_, id)| process::used(*id)).collect();
    let (began, quiet) = (Instant::now(), revision(seed)?);
    std::thread::sleep(LOOK);
    let spent = began.elapsed();
    let written = revision(seed)? - quiet;
    for ((name, id), before) in looked.iter().zip(before) {
        let now = process::used(*id)?;
        let percent = (now.cpu - before?.cpu).as_secs_f64() * 100.0 / spent.as_secs_f64();
        let bar = if *name == "the deciding agent" { "  bar 2 %" } else { "" };
        println!("A25 {name:24} {percent:5.1} % of a core, {} KiB{bar}", now.memory);
    }
    ensure!(count(seed)? == all, "agents have ended by themselves");
    let (before, killed) = (revision(seed)?, Instant::now());
    hosts[all - 1].kill()?;
    let gone = until("the end of its claim", killed, ENDED, || count(seed).is_ok_and(|n| n < all))?;
    let events = revision(seed)? - before;
    println!(
        "A25 one of them killed: {events} event(s), its claim gone after {:.1} s; {written} \
         event(s) in {} s of quiet",
        gone.as_secs_f64(),
        LOOK.as_secs()
    );
    ensure!(events == 1, "the death of an agent is {events} events, not one");
    ensure!(written == 0, "{written} writes although nothing happened");
    Ok(())
}

/// How many hosts have claimed their names.
fn count(socket: &Path) -> anyhow::Result<usize> {
    let body = json!({"key": CLAIMS.0, "range_end": CLAIMS.1, "count_only": true});
    Ok(ask(socket, "/v3/kv/range", &body, FAILED)?["count"].as_str().unwrap_or("0").parse()?)
}

/// How many writes the store has seen.
fn revision(socket: &Path) -> anyhow::Result<i64> {
    let answer = ask(socket, "/v3/kv/range", &json!({"key": CLAIMS.0}), FAILED)?;
    Ok(answer["header"]["revision"].as_str().context("no revision")?.parse()?)
}
