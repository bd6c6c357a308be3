//! Row A26: a cluster under a fault every few seconds, for long. What grows is a leak: the memory
//! and the open files of agents that live through it, and the history in the store.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use super::gateway::{ask, serves, until, voters, writes};
use super::hosts::{Host, Programs};
use super::process::{self, Use};
use super::writer::TRY;
use super::{Bench, FAILED};

/// How many hosts: four of which three vote, and one that only takes part.
const HOSTS: usize = 5;
/// How long one hangs.
const HANGS: Duration = Duration::from_secs(3);
/// `/quorate/1/history/` and its end, in base64.
const HISTORY: (&str, &str) = ("L3F1b3JhdGUvMS9oaXN0b3J5Lw==", "L3F1b3JhdGUvMS9oaXN0b3J5MA==");
/// What the row allows.
const KEPT: usize = 200;
/// By how many percent the memory may differ.
const FLAT: u64 = 10;
/// Files that are open for a moment: connections to whoever is just coming back.
const PASSING: usize = 4;

/// What is done to a host; each is repaired before the next.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Leave,
    Stop,
    Freeze,
    /// Of the host that is watched: its agent must start another.
    KillEtcd,
}

const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Leave, Fault::Stop, Fault::Freeze];
/// An agent gives up an etcd that ends five times without a minute of health in between.
const ETCD_EVERY: Duration = Duration::from_secs(90);

/// Runs it; fails when something grew.
pub(super) fn under_faults(bench: &Bench) -> anyhow::Result<()> {
    let (programs, over, every) = (&bench.programs, bench.options.over, bench.options.every);
    let mut hosts = Host::set(HOSTS, &bench.fresh()?)?;
    let (url, mut samples, mut count) = (hosts[0].url(programs), Vec::new(), 0);
    // The last one only takes part as a client.
    let client = hosts.len() - 1;
    for (n, host) in hosts.iter_mut().enumerate() {
        if n == client {
            host.takes_part(programs, &url, None)?;
        } else {
            host.agent(programs, 3, if n > 0 { std::slice::from_ref(&url) } else { &[] })?;
        }
    }
    let seed = hosts[0].socket().to_owned();
    let seed = seed.as_path();
    until("formation", Instant::now(), FAILED, || voters(seed) == 3 && serves(seed, TRY))?;
    let start = Instant::now();
    let (mut due, mut etcd) = (start, start);
    while start.elapsed() < over {
        due += every;
        // The first is watched: its agent lives through everything.
        let victim = 1 + count / FAULTS.len() % (client - 1);
        let mut fault = FAULTS[count % FAULTS.len()];
        if etcd.elapsed() > ETCD_EVERY {
            (fault, etcd) = (Fault::KillEtcd, Instant::now());
        }
        happen(programs, &mut hosts, victim, fault).with_context(|| {
            format!("fault {count}: {fault:?} of h{} after {:?}", victim + 1, start.elapsed())
        })?;
        count += 1;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        samples.push([&hosts[0], &hosts[client]].map(|host| process::used(host.id()?)));
    }
    until("three voters at the end", Instant::now(), FAILED, || {
        voters(seed) == 3 && serves(seed, FAILED)
    })?;
    let kept = history(seed)?;
    println!("A26 soak: {count} faults in {} s, {kept} changes kept", start.elapsed().as_secs());
    let mut grown = kept > KEPT;
    for (n, name) in ["voter", "client"].into_iter().enumerate() {
        let of = samples.iter_mut().map(|both| std::mem::replace(&mut both[n], Ok(Use::default())));
        let of = of.collect::<anyhow::Result<Vec<Use>>>()?;
        let (early, late) = ends(&of).context("too short to say anything: fewer than 4 faults")?;
        println!(
            "A26 agent of a {name:7} memory {:6} -> {:6} KiB (bar {FLAT} %)  open files {} -> {} \
             (no growth)",
            early.memory, late.memory, early.files, late.files
        );
        grown |= late.memory * 100 > early.memory * (100 + FLAT);
        grown |= late.files > early.files + PASSING;
    }
    ensure!(!grown, "something grew: see the lines above");
    Ok(())
}

fn happen(
    programs: &Programs,
    hosts: &mut [Host],
    victim: usize,
    fault: Fault,
) -> anyhow::Result<()> {
    let seed = hosts[0].socket().to_owned();
    let seed = seed.as_path();
    let host = &mut hosts[victim];
    match fault {
        Fault::Kill => host.kill()?,
        Fault::Leave => super::changing::interrupt(host).map(drop)?,
        Fault::Stop => {
            host.signal(Signal::SIGTERM)?;
            host.ended(FAILED)?;
        }
        Fault::Freeze => {
            host.signal_all(Signal::SIGSTOP)?;
            std::thread::sleep(HANGS);
            host.signal_all(Signal::SIGCONT)?;
        }
        Fault::KillEtcd => hosts[0].signal_children(Signal::SIGKILL)?,
    }
    if matches!(fault, Fault::Kill | Fault::Leave | Fault::Stop) {
        host_again(programs, hosts, victim)?;
    }
    until("a write", Instant::now(), FAILED, || writes(seed, TRY))?;
    until("three voters", Instant::now(), FAILED, || voters(seed) == 3)?;
    Ok(())
}

fn host_again(programs: &Programs, hosts: &mut [Host], victim: usize) -> anyhow::Result<()> {
    let seed = hosts[0].url(programs);
    hosts[victim].agent(programs, 3, &[seed])
}

/// How many changes the store keeps.
fn history(socket: &Path) -> anyhow::Result<usize> {
    let body = json!({"key": HISTORY.0, "range_end": HISTORY.1, "count_only": true});
    let answer = ask(socket, "/v3/kv/range", &body, FAILED)?;
    Ok(answer["count"].as_str().unwrap_or("0").parse()?)
}

/// The medians of the second and of the last quarter: the first one warms up.
fn ends(samples: &[Use]) -> Option<(Use, Use)> {
    let quarter = samples.len() / 4;
    let early = samples.get(quarter..2 * quarter)?;
    let late = samples.get(samples.len() - quarter..)?;
    Some((Use::median(early)?, Use::median(late)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_judged_by_the_last_quarter_beside_the_second() {
        let of = |memory: u64| Use { memory, files: memory as usize, ..Use::default() };
        let samples: Vec<Use> = (1..=12).map(of).collect();
        let (early, late) = ends(&samples).expect("twelve are enough");
        assert_eq!((early.memory, late.memory), (5, 11));
        assert_eq!(ends(&samples[..3]), None);
    }
}
