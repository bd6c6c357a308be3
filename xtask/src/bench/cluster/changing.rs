//! Hosts that stop, sizes that change and agents that start anew, each beside a client that writes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use super::gateway::{ask, until, voters};
use super::hosts::{Host, serving};
use super::{Bench, FAILED, leader, row, sockets, writer};

/// The sizes that are gone through, after the first.
const STEPS: [usize; 6] = [3, 5, 7, 5, 3, 1];
/// How many hosts there are for them.
const HOSTS: usize = 7;
/// How many hosts grow to as many voters with short timers.
const GROWN: usize = 3;
/// `/quorate/1/volunteer/` and its end, in base64.
const OFFERS: (&str, &str) = ("L3F1b3JhdGUvMS92b2x1bnRlZXIv", "L3F1b3JhdGUvMS92b2x1bnRlZXIw");
/// Between two signals: two that come as one are one.
const SIGNALS_APART: Duration = Duration::from_millis(100);

/// From SIGINT to the end of a follower, the leader and the last one, and the largest time between
/// two writes meanwhile; then with a second and a third signal while the others are frozen.
pub(super) fn stopping(bench: &Bench) -> anyhow::Result<()> {
    let (mut follower, mut led, mut last, mut gaps) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        let mut hosts = bench.formed(3)?;
        let leader = leader(&hosts)?;
        let first = (0..hosts.len()).find(|n| *n != leader).context("no follower")?;
        let rest = (0..hosts.len()).find(|n| ![leader, first].contains(n)).context("none")?;
        let remaining = sockets([&hosts[rest]]);
        let (follow, gap) = writer::beside(&remaining, || interrupt(&mut hosts[first]))?;
        follower.push(follow);
        gaps.push(gap);
        let (lead, gap) = writer::beside(&remaining, || interrupt(&mut hosts[leader]))?;
        led.push(lead);
        gaps.push(gap);
        last.push(interrupt(&mut hosts[rest])?);
    }
    row("A10 INT follower, end", follower, "3 s");
    row("A10 INT leader, end", led, "3 s");
    row("A10 INT last, end", last, "3 s");
    row("A10 largest write gap", gaps, "0.3 s");
    let second = bench.times(|| hurried(bench, 2))?;
    row("A10 second INT, end", second, "1.5 s");
    let third = bench.times(|| hurried(bench, 3))?;
    row("A10 third INT, end", third, "0.2 s");
    Ok(())
}

/// Interrupts an agent, which leaves and ends well.
pub(super) fn interrupt(host: &mut Host) -> anyhow::Result<Duration> {
    host.signal(Signal::SIGINT)?;
    let (status, took) = host.ended(FAILED)?;
    ensure!(status.success(), "an agent that was interrupted ended with {status}");
    Ok(took)
}

/// From the last of so many signals to the end of an agent that waits for hosts that hang.
fn hurried(bench: &Bench, signals: usize) -> anyhow::Result<Duration> {
    let mut hosts = bench.formed(3)?;
    let leader = leader(&hosts)?;
    for (number, host) in hosts.iter().enumerate() {
        if number != leader {
            host.signal_all(Signal::SIGSTOP)?;
        }
    }
    for sent in 0..signals {
        if sent > 0 {
            std::thread::sleep(SIGNALS_APART);
        }
        hosts[leader].signal(Signal::SIGINT)?;
    }
    let (status, took) = hosts[leader].ended(FAILED)?;
    ensure!(!status.success(), "an agent that was hurried ended well");
    Ok(took)
}

/// From the order to as many voters that serve, with seven agents.
pub(super) fn sizes(bench: &Bench) -> anyhow::Result<()> {
    let (mut steps, mut gaps) = (vec![Vec::new(); STEPS.len()], Vec::new());
    for _ in 0..bench.rounds {
        let mut hosts = Host::set(HOSTS, &bench.fresh()?)?;
        super::form(&bench.programs, &mut hosts, 1)?;
        let all = sockets(&hosts);
        let (took, gap) = writer::beside(&all, || {
            STEPS.into_iter().map(|size| resize(bench, &hosts, size)).collect::<Result<Vec<_>, _>>()
        })?;
        steps.iter_mut().zip(took).for_each(|(step, took)| step.push(took));
        gaps.push(gap);
    }
    let mut from = 1;
    for (size, figures) in STEPS.into_iter().zip(steps) {
        row(&format!("A8 size {from} to {size}"), figures, "3 s");
        from = size;
    }
    row("A8 largest write gap", gaps, "0.5 s");
    Ok(())
}

/// From the order to three voters that serve, when two hosts wait to be asked.
pub(super) fn grow(bench: &Bench) -> anyhow::Result<()> {
    let grown = bench.times(|| {
        let mut hosts = Host::set(GROWN, &bench.fresh()?)?;
        super::form(&bench.programs, &mut hosts, 1)?;
        let ready = || offers(hosts[0].socket()).is_ok_and(|count| count == GROWN - 1);
        until("offers to serve", Instant::now(), FAILED, ready)?;
        resize(bench, &hosts, GROWN)
    })?;
    row("G16 size 1 to 3", grown, "0.5 s");
    Ok(())
}

/// How many hosts offer to serve.
fn offers(socket: &Path) -> anyhow::Result<usize> {
    let body = json!({"key": OFFERS.0, "range_end": OFFERS.1, "count_only": true});
    let answer = ask(socket, "/v3/kv/range", &body, FAILED)?;
    Ok(answer["count"].as_str().unwrap_or("0").parse()?)
}

fn resize(bench: &Bench, hosts: &[Host], size: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    hosts[0].cluster(&bench.programs, &["size", &size.to_string(), "--no-wait"])?;
    until(&format!("{size} voters"), start, FAILED, || {
        hosts.iter().any(|host| voters(host.socket()) == size) && serving(hosts) == size
    })
}

/// The largest time between two writes while every agent starts anew in turn.
pub(super) fn rolling(bench: &Bench) -> anyhow::Result<()> {
    for size in [3, 5] {
        let (mut took, mut gaps) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            let hosts = bench.formed(size)?;
            // What the status shows is looked at once a second.
            until("a roll that may begin", Instant::now(), FAILED, || {
                hosts[0].cluster(&bench.programs, &["roll", "--dry-run"]).is_ok()
            })?;
            let start = Instant::now();
            let (_, gap) = writer::beside(&sockets(&hosts), || {
                hosts[0].cluster(&bench.programs, &["roll", "--pause", "0"])
            })?;
            took.push(start.elapsed());
            gaps.push(gap);
        }
        row(&format!("A11 roll {size}, end"), took, "");
        row(&format!("A11 roll {size}, write gap"), gaps, "0.5 s");
    }
    Ok(())
}
