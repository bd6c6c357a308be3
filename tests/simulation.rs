//! Whole agents, their disks and one store between them, simulated from one number: agents crash
//! and start again, connections break, requests and answers get lost, news come late, files are
//! edited and destroyed. Only the pure parts of the agent take part.
//!
//! `QUORATE_SEEDS=N` tries N seeds, `QUORATE_SEED=S` the one that a failure names.

#[path = "simulation/agent.rs"]
mod agent;
#[path = "simulation/store.rs"]
mod store;
#[path = "simulation/world.rs"]
mod world;

use world::World;

/// How many seeds are tried when nobody asks for more.
const SEEDS: u64 = 100;

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

#[test]
fn whatever_happens_all_hosts_end_up_as_their_files_say() {
    let seeds = match asked("QUORATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("QUORATE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(error) = World::live(seed) {
            panic!("QUORATE_SEED={seed}: {error}");
        }
    }
}

#[test]
fn a_seed_always_gives_the_same_life() {
    for seed in [1, 2] {
        let [first, second] = [(); 2].map(|()| World::live(seed).expect("it ends well").trace);
        assert!(first.lines().count() > 50 && first == second, "QUORATE_SEED={seed}");
    }
}
