//! S12 and G15: one host with many exports: published, published again unchanged by a restarted
//! agent, and one changed; beside the same bytes written by a client that does nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::agents::{Agent, PATIENCE};
use super::members::{Members, put};
use super::{Bench, ms};

/// Operations of one transaction, as the agent has them.
const OPERATIONS: usize = 126;

fn graph(count: usize, changed: &str) -> String {
    let mut text = "graph: g\nresources:\n  file:\n".to_owned();
    for n in 0..count {
        let content = if n == 0 { changed } else { "the content of one export" };
        text.push_str(&format!("  - name: \"@@f{n}\"\n    content: {content}\n"));
    }
    text
}

/// The least that writes as much.
fn floor(members: &Members, count: usize) -> anyhow::Result<Duration> {
    let client = members.client(0);
    let value = vec![b'x'; 230];
    let began = Instant::now();
    let all: Vec<usize> = (0..count).collect();
    for some in all.chunks(OPERATIONS) {
        let puts: Vec<_> = some.iter().map(|n| put(&format!("/floor/{n:06}"), &value)).collect();
        client.write(&puts)?;
    }
    Ok(began.elapsed())
}

pub(super) fn of_one_host(bench: &mut Bench) -> anyhow::Result<()> {
    for count in bench.options.exports.clone() {
        let (members, folder) = bench.members()?;
        let closed = members.client(1).watch("/quorate/1/xo/")?;
        let mut agent = Agent::new(&bench.agent, &members.urls(), &folder, "exporter");
        agent.graph(&graph(0, ""))?;
        agent.start()?;
        let after = |began: Instant| -> anyhow::Result<Duration> {
            let told = closed.recv_timeout(PATIENCE).context("nothing is published")?;
            Ok(told.saturating_duration_since(began))
        };
        agent.until("a start", |status| status["store"]["state"] == "live")?;
        let began = Instant::now();
        agent.graph(&graph(count, "first"))?;
        let mut published = after(began)?;
        let whole = |status: &serde_json::Value| status["exports"] == count;
        agent.until("all exports", whole)?;
        // The last that came closed the set.
        while let Ok(told) = closed.try_recv() {
            published = told.saturating_duration_since(began);
        }
        let least = floor(&members, count)?;
        let mut changes = Vec::new();
        for round in 0..10 {
            let began = Instant::now();
            agent.graph(&graph(count, &format!("change {round}")))?;
            changes.push(after(began)?);
        }
        agent.stop()?;
        let began = Instant::now();
        agent.start()?;
        agent.until("all exports again", whole)?;
        let again = began.elapsed();
        std::thread::sleep(Duration::from_secs(2));
        // Who it is and how far it is a started agent says anew; its exports it does not write.
        let written = closed.try_iter().count();
        let bar = if count == 10_000 { "G15: <= 1000" } else { "" };
        let ours = bench.row(&format!("S12 {count} exports published"), vec![published], bar)?;
        let least = bench.row("    as many puts by a client", vec![least], "")?;
        println!("{:36} {:.2} times the client", "", ms(ours.p50) / ms(least.p50));
        let bar = if count == 10_000 { "G15: <= 200 beyond the start" } else { "" };
        bench.row(&format!("S12 {count} unchanged after a restart"), vec![again], bar)?;
        bench.row(&format!("S12 one of {count} changed"), changes, "")?;
        ensure!(written == 0, "a restart with nothing changed published {written} times");
    }
    Ok(())
}
