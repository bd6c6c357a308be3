//! G3 and G14: ten thousand exports of a thousand hosts, one of which changes; who reads what, and
//! what goes over the wire while nothing happens.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::agents::{Agent, PATIENCE, until_all_hold};
use super::format::Simulated;
use super::members::{Members, put};
use super::{Bench, ms};

/// How many hosts are keys only.
const HOSTS: usize = 1_000;
/// How many exports each of them has.
const EACH: usize = 10;
/// How many real agents collect.
const COLLECTORS: usize = 10;
/// How long nothing happens.
const QUIET: Duration = Duration::from_secs(20);
/// Between two changes: what the one before stirred up is over.
const GAP: Duration = Duration::from_millis(50);

/// What all members have answered and received.
struct Counts {
    ranges: f64,
    sent: f64,
    received: f64,
}

fn counts(members: &Members) -> anyhow::Result<Counts> {
    let handled = "grpc_server_handled_total";
    Ok(Counts {
        ranges: members.counted(handled, "grpc_method=\"Range\"")?,
        sent: members.counted("etcd_network_client_grpc_sent_bytes_total", "")?,
        received: members.counted("etcd_network_client_grpc_received_bytes_total", "")?,
    })
}

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

pub(super) fn among_many(bench: &mut Bench) -> anyhow::Result<()> {
    let (members, folder) = bench.members()?;
    let mut hosts = simulated(&members)?;
    let began = Instant::now();
    let mut all = Vec::new();
    for n in 0..COLLECTORS {
        let mut one = Agent::new(&bench.agent, &members.urls(), &folder, &format!("c{n}"));
        let into = one.path("in");
        fs::create_dir_all(&into)?;
        let into = into.display();
        one.graph(&format!(
            "graph: g\nresources: {{}}\ncollect:\n- rule: r\n  kind: file\n  into: {into}/\n  \
             where: {{name: f0-0}}\n"
        ))?;
        one.start()?;
        all.push(one);
    }
    let files: Vec<_> = all.iter().map(|one| one.path("in").join("f0-0")).collect();
    let cold = until_all_hold(&files, &"x".repeat(200), began)?;
    let name = format!("G5 {} exports known, {COLLECTORS} agents", HOSTS * EACH);
    bench.row(&name, cold, "G5: <= 2000 each")?;
    let quiet = counts(&members)?;
    std::thread::sleep(QUIET);
    let after = counts(&members)?;
    let (sent, received) = (after.sent - quiet.sent, after.received - quiet.received);
    println!(
        "{:36} {COLLECTORS} agents, {} s of quiet: {received:.0} bytes to etcd, {sent:.0} from it, \
         {:.0} reads",
        "G3",
        QUIET.as_secs(),
        after.ranges - quiet.ranges
    );
    let watch = members.client(1).watch(&hosts[0].publisher_key())?;
    let (before, mut took, mut floor) = (counts(&members)?, Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        std::thread::sleep(GAP);
        let generation = u64::from(round) + 2;
        let text = format!("value {round}");
        hosts[0].files[0].1.clone_from(&text);
        let [record, publisher] = [hosts[0].record(0, generation), hosts[0].publisher(generation)];
        let puts = [put(&record.0, &record.1), put(&publisher.0, &publisher.1)];
        let began = Instant::now();
        members.client(0).write(&puts)?;
        let told = watch.recv_timeout(PATIENCE).context("the watch tells nothing")?;
        floor.push(told.duration_since(began));
        took.extend(until_all_hold(&files, &text, began)?);
    }
    let after = counts(&members)?;
    let bar = "G14: <= 15";
    let ours = bench.row(&format!("G14 one of {} changed", HOSTS * EACH), took, bar)?;
    let floor = bench.row("    the same put to a plain watch", floor, "")?;
    println!("{:36} {:.2} times the plain watch", "", ms(ours.p50) / ms(floor.p50));
    let bytes = (after.sent - before.sent) / (f64::from(bench.rounds) * COLLECTORS as f64);
    let ranges = after.ranges - before.ranges;
    println!("{:36} {bytes:.0} bytes a change and collector, {ranges:.0} reads", "G3");
    for one in &all {
        let judged = one.status()?["judged"].as_u64();
        ensure!(judged <= Some(1), "G3: a change had {judged:?} exports judged");
    }
    ensure!(ranges < 1.0, "G3: {ranges:.0} reads although every change was told");
    Ok(())
}
