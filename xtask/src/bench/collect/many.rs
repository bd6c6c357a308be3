//! S12 and G15: one host with many exports: published, published again unchanged by a restarted
//! agent, and one changed; beside the same bytes written, and read once in pages, by a client that
//! does nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::agents::{Agent, PATIENCE};
use super::members::{Members, put};
use super::{Bench, rank};
use crate::bench::table::{Row, ms, number};

/// Operations of one transaction, as the agent has them.
const OPERATIONS: usize = 126;
/// Keys of one page, as the agent has them.
const PAGE: usize = 1_000;
/// The bytes of a record of such an export.
const RECORD: usize = 230;
/// How often an agent is restarted.
const RESTARTS: usize = 5;
/// How often one export is changed.
const CHANGES: usize = 10;

fn graph(count: usize, changed: &str) -> String {
    let mut text = "graph: g\nresources:\n  file:\n".to_owned();
    for n in 0..count {
        let content = if n == 0 { changed } else { "the content of one export" };
        text.push_str(&format!("  - name: \"@@f{n}\"\n    content: {content}\n"));
    }
    text
}

/// The least that writes as much, and that reads it again.
fn limits(members: &Members, count: usize) -> anyhow::Result<(Duration, Duration)> {
    let client = members.client(0);
    let value = vec![b'x'; RECORD];
    let began = Instant::now();
    let all: Vec<usize> = (0..count).collect();
    for some in all.chunks(OPERATIONS) {
        let puts: Vec<_> = some.iter().map(|n| put(&format!("/floor/{n:06}"), &value)).collect();
        client.write(&puts)?;
    }
    let (wrote, began) = (began.elapsed(), Instant::now());
    let read = client.read("/floor/", PAGE)?;
    ensure!(read == count, "of {count} keys {read} were read");
    Ok((wrote, began.elapsed()))
}

/// From starts of an agent, each after a stop, until all its exports are known to be there.
fn restarts(agent: &mut Agent, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    for _ in 0..RESTARTS {
        agent.stop()?;
        let began = Instant::now();
        agent.start()?;
        agent.until("all exports again", |status| status["exports"] == count)?;
        took.push(began.elapsed());
    }
    Ok(took)
}

/// The same of an agent with one export: what a start takes anyhow.
fn start(bench: &Bench, members: &Members, folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut agent = Agent::new(&bench.agent, &members.urls(), folder, "one");
    agent.graph(&graph(1, "one"))?;
    agent.start()?;
    agent.until("a start", |status| status["exports"] == 1)?;
    restarts(&mut agent, 1)
}

pub(super) fn of_one_host(bench: &mut Bench) -> anyhow::Result<()> {
    for count in bench.options.exports.clone() {
        let (members, folder) = bench.members()?;
        let closed = members.client(1).watch("/quorate/1/xo/exporter", None)?;
        let mut agent = Agent::new(&bench.agent, &members.urls(), &folder, "exporter");
        agent.graph(&graph(0, ""))?;
        agent.start()?;
        let after = |began: Instant| -> anyhow::Result<Duration> {
            let told = closed.recv_timeout(PATIENCE).context("nothing is published")?;
            Ok(told.saturating_duration_since(began))
        };
        agent.until("a start", |status| status["store"]["state"] == "live")?;
        let (used, began) = (members.used(), Instant::now());
        agent.graph(&graph(count, "first"))?;
        let mut publish = after(began)?;
        agent.until("all exports", |status| status["exports"] == count)?;
        // The last that came closed the set.
        while let Ok(told) = closed.try_recv() {
            publish = told.saturating_duration_since(began);
        }
        let used = number(ms(members.used().saturating_sub(used)));
        let (wrote, read) = limits(&members, count)?;
        let mut changes = Vec::new();
        for round in 0..CHANGES {
            let began = Instant::now();
            agent.graph(&graph(count, &format!("change {round}")))?;
            changes.push(after(began)?);
        }
        while closed.try_recv().is_ok() {}
        let again = rank(&restarts(&mut agent, count)?, 50)?;
        std::thread::sleep(Duration::from_secs(2));
        // Who it is and how far it is a started agent says anew; its exports it does not write.
        let written = closed.try_iter().count();
        agent.stop()?;
        let start = rank(&start(bench, &members, &folder)?, 50)?;
        let row = |scenario, ours, limit, also| Row {
            scenario,
            n: count,
            unit: "ms",
            ours,
            limit,
            also,
            ..Row::default()
        };
        let also = format!("CPU of the members {used}");
        bench.add(row("S12 publish", ms(publish), Some(ms(wrote)), also));
        let also = format!("after a start of {}, with {}", number(start), number(again));
        bench.add(row("S12 unchanged", (again - start).max(0.0), Some(ms(read)), also));
        let also = super::spread(&changes)?;
        bench.add(row("S12 change", rank(&changes, 50)?, None, also));
        ensure!(written == 0, "a restart with nothing changed published {written} times");
    }
    Ok(())
}
