//! Formation: all agents at one moment, and in any order.

use std::time::{Duration, Instant};

use super::dice::Dice;
use super::gateway::{until, voters};
use super::hosts::{Host, form, script, serving};
use super::{Bench, FAILED, SIZES, pair, row};

/// More hosts than voters, as in a usual cluster: so many, and how many of them vote.
const CROWD: (usize, usize) = (20, 5);
/// The longest pause between two starts in any order.
const APART: usize = 1_500;

/// From the first start until all vote and serve.
pub(super) fn at_once(bench: &Bench) -> anyhow::Result<()> {
    let bars = ["all within 2 s", "p50 2.0 s, p95 3.0 s", "p95 3.5 s", "p95 4.5 s"];
    for (size, bar) in SIZES.into_iter().zip(bars) {
        compare(bench, "A1", (size, size), bar)?;
    }
    compare(bench, "A1", CROWD, "")
}

/// So many hosts form a cluster of so many voters, beside as many members by the script.
pub(super) fn compare(
    bench: &Bench,
    row: &str,
    (count, size): (usize, usize),
    bar: &str,
) -> anyhow::Result<()> {
    let programs = &bench.programs;
    let (agents, least) = bench.both(
        || form(programs, &mut Host::set(count, &bench.fresh()?)?, size),
        || script(programs, &mut Host::set(size, &bench.fresh()?)?),
    )?;
    let of = if count == size { String::new() } else { format!(" of {count}") };
    pair(&format!("{row} form {size}{of}"), agents, least, bar);
    Ok(())
}

/// Sizes, orders and pauses that follow from seeds; tells every seed that failed.
pub(super) fn in_any_order(bench: &Bench) -> anyhow::Result<()> {
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for seed in (bench.options.seed..).take(bench.rounds as usize) {
        match one(bench, seed) {
            Ok(took) => figures.push(took),
            Err(why) => {
                println!("seed {seed}: {why:#}");
                failed.push(seed);
            }
        }
    }
    row("A1 in any order, last start", figures, "none fails");
    anyhow::ensure!(failed.is_empty(), "no cluster formed with the seeds {failed:?}");
    Ok(())
}

/// From the last start until all vote and serve.
fn one(bench: &Bench, seed: u64) -> anyhow::Result<Duration> {
    let mut dice = Dice::new(seed);
    let size = [3, 5, 7][dice.below(3)];
    let mut hosts = Host::set(size, &bench.fresh()?)?;
    // Everybody but the founder is told of it, and half the time of somebody else as well.
    let urls: Vec<String> = hosts.iter().map(|host| host.url(&bench.programs)).collect();
    for number in dice.order(size) {
        let mut seeds = vec![urls[0].clone()];
        if dice.below(2) == 1 {
            seeds.insert(dice.below(2), urls[1 + dice.below(size - 1)].clone());
        }
        let seeds = if number == 0 { &[] } else { seeds.as_slice() };
        hosts[number].agent(&bench.programs, size, seeds)?;
        std::thread::sleep(Duration::from_millis(dice.below(APART) as u64));
    }
    let start = Instant::now();
    until("formation", start, FAILED, || {
        voters(hosts[0].socket()) == size && serving(&hosts) == size
    })
}
