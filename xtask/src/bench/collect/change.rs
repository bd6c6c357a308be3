//! G3 and G14: ten thousand exports of a thousand hosts, one of which changes; who reads what, and
//! what goes over the wire while nothing happens.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::agents::{Agent, Files};
use super::format::Simulated;
use super::latency::raw;
use super::members::{Client, Members, put, used};
use super::{Bench, Told, rank, spread};
use crate::bench::table::{Row, number};

/// How many hosts are keys only.
const HOSTS: usize = 1_000;
/// How many exports each of them has.
const EACH: usize = 10;
/// How many agents start at a time.
const AT_ONCE: usize = 10;
/// How long nothing happens: each host keeps its lease alive at least once meanwhile.
const QUIET: Duration = Duration::from_secs(25);
/// Between two changes: what the one before stirred up is over. Every agent says within a second
/// how far it is, to all others.
const GAP: Duration = Duration::from_millis(1100);
/// The message that keeps a lease alive.
const KEEP_ALIVE: &str = "LeaseKeepAlive";
/// The message that reads keys.
const READ: &str = "Range";

fn simulated(members: &Members) -> anyhow::Result<Vec<Simulated>> {
    let client = members.client(0);
    let content = "x".repeat(200);
    let mut hosts = Vec::new();
    for n in 0..HOSTS {
        let file = |at: usize| (format!("f{n}-{at}"), content.clone());
        let host = Simulated { host: format!("n{n}"), files: (0..EACH).map(file).collect() };
        let mut puts: Vec<_> = (0..EACH).map(|at| host.record(at, 1)).collect();
        puts.extend([host.publisher(1), host.presence()]);
        let puts: Vec<_> = puts.iter().map(|(key, value)| put(key, value)).collect();
        client.write(&puts)?;
        hosts.push(host);
    }
    Ok(hosts)
}

/// The file that each of these makes of the export that it takes.
fn taken(all: &[Agent]) -> anyhow::Result<Files> {
    Files::new(all.iter().map(|one| one.path("in").join("f0-0")).collect())
}

/// Agents that follow all of it and take one, and what the first of them took to know all.
fn collectors(bench: &Bench, seeds: &str, count: usize) -> anyhow::Result<(Vec<Agent>, Duration)> {
    let folder = tempfile::Builder::new().prefix("collect-").tempdir_in(&bench.folder)?.keep();
    let (mut all, mut alone): (Vec<Agent>, _) = (Vec::new(), Duration::ZERO);
    while all.len() < count {
        let began = Instant::now();
        let some = if all.is_empty() { 1 } else { AT_ONCE.min(count - all.len()) };
        for n in all.len()..all.len() + some {
            let mut one = Agent::new(&bench.agent, seeds, &folder, &format!("c{n}"));
            let into = one.path("in");
            fs::create_dir_all(&into)?;
            one.graph(&format!(
                "graph: g\nresources: {{}}\ncollect:\n- rule: r\n  kind: file\n  into: {}/\n  \
                 where: {{name: f0-0}}\n",
                into.display()
            ))?;
            one.start()?;
            all.push(one);
        }
        taken(&all)?.until_all_hold(&"x".repeat(200), began)?;
        alone = if some == all.len() { began.elapsed() } else { alone };
    }
    for one in &all {
        one.until("rest", |status| status["converged"] == true)?;
    }
    Ok((all, alone))
}

/// What is told while nothing happens: how many messages, but for those that keep leases alive.
fn idle(members: &Members, count: usize) -> anyhow::Result<Row> {
    let (before, sent, received) = (members.messages()?, members.sent()?, members.received()?);
    std::thread::sleep(QUIET);
    let (sent, received) = (members.sent()? - sent, members.received()? - received);
    let mut told = members.messages()?;
    told.iter_mut().for_each(|(method, count)| *count -= before.get(method).unwrap_or(&0.0));
    let alive = told.remove(KEEP_ALIVE).unwrap_or(0.0);
    told.retain(|_, count| *count > 0.0);
    let each = |bytes: f64| bytes / count as f64 / QUIET.as_secs_f64();
    let also = format!(
        "in {} s, beside {alive:.0} {KEEP_ALIVE}: {told:?}; bytes a second and host: {:.1} to \
         etcd, {:.1} from it",
        QUIET.as_secs(),
        each(received),
        each(sent)
    );
    let ours = told.values().sum();
    Ok(Row { scenario: "G14 idle", n: count, unit: "messages", ours, also, ..Row::default() })
}

/// Has one export of one host change so many times; what each collector took.
fn changes(
    members: &Members,
    host: &mut Simulated,
    all: &[Agent],
    rounds: u32,
) -> anyhow::Result<Told> {
    let files = taken(all)?;
    let mut told = Told::default();
    for round in 0..rounds {
        std::thread::sleep(GAP);
        let generation = u64::from(round) + 2;
        let text = format!("value {round}");
        host.files[0].1.clone_from(&text);
        let [record, publisher] = [host.record(0, generation), host.publisher(generation)];
        let puts = [put(&record.0, &record.1), put(&publisher.0, &publisher.1)];
        let began = Instant::now();
        members.client(0).write(&puts)?;
        told.0.push(files.until_all_hold(&text, began)?);
    }
    Ok(told)
}

pub(super) fn among_many(bench: &mut Bench) -> anyhow::Result<()> {
    let count = bench.options.collectors.iter().copied().max().map(usize::from);
    let count = count.context("there are no collectors")?;
    let (members, folder) = bench.members()?;
    let mut hosts = simulated(&members)?;
    let (all, cold) = collectors(bench, &members.urls(), count)?;
    let ours = rank(&[cold], 50)?;
    let also = format!("one agent, until it knows {} exports and took one", HOSTS * EACH);
    bench.add(Row { scenario: "G14 cold", n: 1, unit: "ms", ours, also, ..Row::default() });
    bench.add(idle(&members, count)?);
    let busy = || all.iter().map(|one| one.id().map_or(Duration::ZERO, used)).sum::<Duration>();
    let (before, sent, worked) = (members.messages()?, members.sent()?, busy());
    let told = changes(&members, &mut hosts[0], &all, bench.rounds)?;
    let each = f64::from(bench.rounds) * count as f64;
    let (bytes, cpu) = ((members.sent()? - sent) / each, (busy() - worked).as_secs_f64() / each);
    let reads = |counts: &BTreeMap<String, f64>| counts.get(READ).copied();
    let reads = reads(&members.messages()?).unwrap_or(0.0) - reads(&before).unwrap_or(0.0);
    let judged = all.iter().map(|one| Ok(one.status()?["judged"].as_u64().unwrap_or(u64::MAX)));
    let judged = judged.collect::<anyhow::Result<Vec<u64>>>()?.into_iter().max().unwrap_or(0);
    drop(all);
    let watches: Vec<Client> = (0..count).map(|n| members.client(n + 1)).collect();
    let limit = raw(members.client(0), &watches, &folder.join("raw"), bench.rounds)?;
    let also = format!(
        "a change and host: {bytes:.0} bytes from etcd, {} ms of a processor; {}",
        number(cpu * 1000.0),
        spread(&told.each())?
    );
    bench.told(["G14 p50", "G14 p99", "G14 last p50"], count, (&told, &limit), also)?;
    let row = |scenario, unit, ours, also: String| Row {
        scenario,
        n: count,
        unit,
        ours,
        also,
        ..Row::default()
    };
    let also = format!("in {} changes", bench.rounds);
    bench.add(row("G14 reads", "reads", reads, also));
    bench.add(row("G14 judged", "exports", judged as f64, "for the last change".to_owned()));
    ensure!(judged <= 1, "G3: for a change {judged} exports were judged");
    ensure!(reads < 1.0, "G3: {reads:.0} reads although every change was told");
    Ok(())
}
