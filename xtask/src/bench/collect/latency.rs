//! S11 and G13: from an edit of the exporter's file to the file on other hosts, beside a put that
//! as many plain watches of another member are told, each of which puts a file into its place.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::agents::{Agent, Files, PATIENCE};
use super::members::{Client, put};
use super::{Bench, Told};

/// Between two values: what the one before stirred up is over.
const GAP: Duration = Duration::from_millis(20);
/// The same for each of many agents: every one says within a second how far it is, to all others.
const GAP_EACH: Duration = Duration::from_millis(11);

/// Puts by one client until each of some others was told and has a file of it.
pub(super) fn raw(from: Client, to: &[Client], folder: &Path, rounds: u32) -> anyhow::Result<Told> {
    fs::create_dir_all(folder)?;
    let watch = |(n, one): (usize, &Client)| one.watch("/raw/", Some(folder.join(n.to_string())));
    let all: Vec<_> = to.iter().enumerate().map(watch).collect::<anyhow::Result<_>>()?;
    let mut told = Told::default();
    for round in 0..rounds {
        std::thread::sleep(GAP);
        let began = Instant::now();
        from.write(&[put("/raw/a", round.to_string().as_bytes())])?;
        let took = all.iter().map(|moments| {
            let told = moments.recv_timeout(PATIENCE).context("a watch tells nothing")?;
            Ok(told.saturating_duration_since(began))
        });
        told.0.push(took.collect::<anyhow::Result<_>>()?);
    }
    Ok(told)
}

/// A graph that exports a file.
pub(super) fn exports(content: &str) -> String {
    format!("graph: g\nresources:\n  file:\n  - name: \"@@v\"\n    content: '{content}'\n")
}

/// A graph that collects all files into this folder.
pub(super) fn collects(folder: &Path) -> String {
    let folder = folder.display();
    format!("graph: g\nresources: {{}}\ncollect:\n- kind: file\n  pattern: {folder}/\n")
}

pub(super) fn to_other_hosts(bench: &mut Bench) -> anyhow::Result<()> {
    for count in bench.options.collectors.clone().into_iter().map(usize::from) {
        let (members, folder) = bench.members()?;
        let seeds = members.urls();
        let mut exporter = Agent::new(&bench.agent, &seeds, &folder, "exporter");
        exporter.graph(&exports("first"))?;
        exporter.start()?;
        let mut all = Vec::new();
        for n in 0..count {
            let mut one = Agent::new(&bench.agent, &seeds, &folder, &format!("c{n}"));
            fs::create_dir_all(one.path("in"))?;
            one.graph(&collects(&one.path("in")))?;
            one.start()?;
            all.push(one);
        }
        let files = all.iter().map(|one| one.path("in").join("v"));
        let files = Files::new(files.collect())?;
        files.until_all_hold("first", Instant::now())?;
        let (mut told, before) = (Told::default(), members.sent()?);
        for round in 0..bench.rounds {
            std::thread::sleep(GAP.max(GAP_EACH * u32::try_from(count)?));
            let text = format!("value {round}");
            let began = Instant::now();
            exporter.graph(&exports(&text))?;
            told.0.push(files.until_all_hold(&text, began)?);
        }
        let bytes = (members.sent()? - before) / (f64::from(bench.rounds) * count as f64);
        // Alone: on few processors idle agents would not disturb, but their leases might.
        drop((exporter, all));
        let watches: Vec<Client> = (0..count).map(|n| members.client(n + 1)).collect();
        let limit = raw(members.client(0), &watches, &folder.join("raw"), bench.rounds)?;
        let also = format!("{bytes:.0} bytes from etcd for a value and host");
        bench.told(["S11 p50", "S11 p99", "S11 last p50"], count, (&told, &limit), also)?;
    }
    Ok(())
}
