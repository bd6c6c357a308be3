//! Whole agents as they form, serve and leave one cluster, simulated from one number: agents and
//! their etcds are killed, frozen, stopped and told to leave, networks break, disks are full or
//! lose their data, requests and answers get lost, deciders are slow. Only the pure parts of the
//! agent take part: the start table, the roles, the ways out, the clocks, the decision, the tickets
//! and every write.
//!
//! `QUORATE_SEEDS=N` tries N seeds, `QUORATE_SEED=S` the one that a failure names.

#[path = "membership/agent.rs"]
mod agent;
#[path = "membership/decider.rs"]
mod decider;
#[path = "membership/etcd.rs"]
mod etcd;
#[path = "membership/world.rs"]
mod world;

use world::World;

/// How many seeds are tried when nobody asks for more.
const SEEDS: u64 = 200;

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Row A17.
#[test]
fn whatever_happens_the_hosts_end_up_as_one_cluster_of_the_right_size() {
    let seeds = match asked("QUORATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("QUORATE_SEEDS").unwrap_or(SEEDS),
    };
    println!("seeds {seeds:?}");
    let mut changes = 0;
    for seed in seeds {
        let (world, ended) = World::live(seed);
        if let Err(error) = ended {
            panic!("QUORATE_SEED={seed}: {error}\n{}", world.trace);
        }
        changes += world.changes;
    }
    println!("{changes} changes of membership");
}

#[test]
fn a_seed_always_gives_the_same_life() {
    for seed in [1, 2] {
        let [first, second] = [(); 2].map(|()| World::live(seed).0.trace);
        assert!(first.lines().count() > 20 && first == second, "QUORATE_SEED={seed}");
    }
}
