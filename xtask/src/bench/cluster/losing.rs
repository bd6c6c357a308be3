//! The leader is gone, and everybody at once; with the usual timers and with short ones.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::dice::Dice;
use super::gateway::{serves, until, voters, writes};
use super::hosts::Host;
use super::writer::TRY;
use super::{Bench, FAILED, changing, forming, leader, pair, sockets};

/// Voters of what is lost here.
const SIZE: usize = 3;
/// The longest pause between two starts after everybody was killed.
const APART: usize = 300;

/// From the signal to the first write that another host takes.
pub(super) fn leader_gone(bench: &Bench) -> anyhow::Result<()> {
    for (signal, name) in [(Signal::SIGKILL, "KILL"), (Signal::SIGSTOP, "STOP")] {
        lose_leader(bench, signal, &format!("A7 leader {name}"), "p50 1.6 s, max 2.5 s")?;
    }
    Ok(())
}

fn lose_leader(bench: &Bench, signal: Signal, name: &str, bar: &str) -> anyhow::Result<()> {
    let (agents, least) =
        bench.both(|| lost(bench.formed(SIZE)?, signal), || lost(bench.scripted(SIZE)?, signal))?;
    pair(name, agents, least, bar);
    Ok(())
}

fn lost(hosts: Vec<Host>, signal: Signal) -> anyhow::Result<Duration> {
    let leader = leader(&hosts)?;
    let others = hosts.iter().enumerate().filter(|(number, _)| *number != leader);
    let others = sockets(others.map(|(_, host)| host));
    hosts[leader].signal_all(signal)?;
    let start = Instant::now();
    until("a write", start, FAILED, || others.iter().any(|socket| writes(socket, TRY)))
}

/// From the start of the one that makes a majority, after all were killed, to the first write. The
/// others start in any order, with any pause.
pub(super) fn cold_restart(bench: &Bench) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Dice::new(bench.options.seed), Dice::new(bench.options.seed));
    let programs = &bench.programs;
    let (agents, least) = bench.both(
        || {
            let mut hosts = bench.formed(SIZE)?;
            let seed = [hosts[0].url(programs)];
            back(&mut hosts, &mut ours, |number, host| {
                host.agent(programs, SIZE, if number > 0 { &seed } else { &[] })
            })
        },
        || {
            let mut hosts = bench.scripted(SIZE)?;
            let list: Vec<String> = hosts.iter().map(|host| host.entry(programs)).collect();
            back(&mut hosts, &mut theirs, |_, host| {
                host.etcd(programs, &list.join(","), "existing")
            })
        },
    )?;
    pair("A12 cold restart 3", agents, least, "2 s");
    Ok(())
}

/// Until everybody has it on disk who votes. etcd keeps in its memory how much is agreed until the
/// next entry comes; who is killed before that asks the wrong ones for their votes.
fn settle(sockets: &[PathBuf]) -> anyhow::Result<()> {
    for _ in 0..2 {
        let first = sockets.first().context("no hosts")?;
        until("a write", Instant::now(), FAILED, || writes(first, TRY))?;
        let known = || sockets.iter().all(|it| voters(it) == sockets.len() && serves(it, TRY));
        until("voters that everybody knows", Instant::now(), FAILED, known)?;
    }
    Ok(())
}

fn back(
    hosts: &mut [Host],
    dice: &mut Dice,
    mut begin: impl FnMut(usize, &mut Host) -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let sockets = sockets(hosts.iter());
    settle(&sockets)?;
    hosts.iter_mut().try_for_each(Host::kill)?;
    let mut majority = None;
    for (started, number) in dice.order(hosts.len()).into_iter().enumerate() {
        begin(number, &mut hosts[number])?;
        if started == hosts.len() / 2 {
            majority = Some(Instant::now());
            // The last one is not needed.
            break;
        }
        std::thread::sleep(Duration::from_millis(dice.below(APART) as u64));
    }
    let majority = majority.context("nobody was started")?;
    until("a write", majority, FAILED, || sockets.iter().any(|socket| writes(socket, TRY)))
}

/// Formation, growth and the loss of the leader, by agents that were told of short timers.
pub(super) fn short_timers(bench: &Bench) -> anyhow::Result<()> {
    forming::compare(bench, "G16", (SIZE, SIZE), "0.5 s")?;
    changing::grow(bench)?;
    lose_leader(bench, Signal::SIGKILL, "G16 leader KILL", "0.5 s")
}
