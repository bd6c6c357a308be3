//! S11 and G13: from an edit of the exporter's file to the file on other hosts, beside a put that a
//! plain watch of another member is told.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::agents::{Agent, PATIENCE, until_all_hold};
use super::members::{Client, put};
use super::{Bench, ms};

/// Between two values: what the one before stirred up is over.
const GAP: Duration = Duration::from_millis(20);

/// A put through one member until a watch of another is told.
fn raw(from: Client, to: Client, rounds: u32) -> anyhow::Result<Vec<Duration>> {
    let moments = to.watch("/raw/")?;
    let mut took = Vec::new();
    for round in 0..rounds {
        std::thread::sleep(GAP);
        let began = Instant::now();
        from.write(&[put("/raw/a", round.to_string().as_bytes())])?;
        let told = moments.recv_timeout(PATIENCE).context("the watch tells nothing")?;
        took.push(told.duration_since(began));
    }
    Ok(took)
}

pub(super) fn to_other_hosts(bench: &mut Bench) -> anyhow::Result<()> {
    for count in bench.options.collectors.clone() {
        let (members, folder) = bench.members()?;
        let seeds = members.urls();
        let value = |text: &str| {
            format!("graph: g\nresources:\n  file:\n  - name: \"@@v\"\n    content: '{text}'\n")
        };
        let mut exporter = Agent::new(&bench.agent, &seeds, &folder, "exporter");
        exporter.graph(&value("first"))?;
        exporter.start()?;
        let mut all = Vec::new();
        for n in 0..count {
            let mut one = Agent::new(&bench.agent, &seeds, &folder, &format!("c{n}"));
            let into = one.path("in");
            fs::create_dir_all(&into)?;
            let into = into.display();
            one.graph(&format!(
                "graph: g\nresources: {{}}\ncollect:\n- kind: file\n  pattern: {into}/\n"
            ))?;
            one.start()?;
            all.push(one);
        }
        let files: Vec<_> = all.iter().map(|one| one.path("in").join("v")).collect();
        until_all_hold(&files, "first", Instant::now())?;
        let mut took = Vec::new();
        for round in 0..bench.rounds {
            std::thread::sleep(GAP);
            let text = format!("value {round}");
            let began = Instant::now();
            exporter.graph(&value(&text))?;
            took.extend(until_all_hold(&files, &text, began)?);
        }
        let floor = raw(members.client(0), members.client(1), bench.rounds)?;
        let name = format!("S11 edit to file on {count} host(s)");
        let bar = if count == 3 { "G13: p50 <= 4, p99 <= 15" } else { "" };
        let ours = bench.row(&name, took, bar)?;
        let floor = bench.row("    a put to a plain watch", floor, "")?;
        println!("{:36} {:.2} times the plain watch", "", ms(ours.p50) / ms(floor.p50));
    }
    Ok(())
}
