//! From an edit on one node to the applied file on another one, on a cluster in containers; beside
//! a put through the one's store that a plain watch of the other's is told.
//!
//! The nodes' files are written and looked at through their processes' roots: a command in a node
//! would take longer than what is measured. That wants the engine on this machine, and its rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::agents::Files;
use super::latency::{collects, exports, raw};
use super::members::Client;
use super::{Bench, Told};
use crate::lab::{Agent, Lab, LabSpec, Lease, NodeFile};

/// How many nodes, all of which vote.
const NODES: u8 = 3;
/// The graph of a node.
const GRAPH: &str = "etc/quorate/site.yaml";
/// Where what is collected is put.
const INTO: &str = "/srv/in";
/// The port on which a node's store serves clients.
const PORT: u16 = 2379;
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(10);
/// Between two values: what the one before stirred up is over.
const GAP: Duration = Duration::from_millis(20);

/// Has a node take this graph.
fn edit(root: &Path, text: &str) -> anyhow::Result<()> {
    let (draft, file) = (root.join("etc/quorate/.site.new"), root.join(GRAPH));
    fs::write(&draft, text)?;
    fs::rename(draft, file)?;
    Ok(())
}

/// The folder that a node has as its root, seen from here.
fn root(lab: &Lab, node: &str) -> anyhow::Result<PathBuf> {
    let root = PathBuf::from(format!("/proc/{}/root", lab.process(node)?));
    let there = root.join("etc/quorate").is_dir();
    ensure!(there, "cannot look into {node}; run this as root on the engine's machine");
    Ok(root)
}

/// The store of a node as its clients see it.
fn client(lab: &Lab, node: &str) -> anyhow::Result<Client> {
    let said = lab.exec(node, "hostname -i", COMMAND)?;
    let address = said.lines.first().and_then(|line| line.split_whitespace().next());
    let address = address.context("a node does not know its address")?;
    Ok(Client::at((address.parse::<std::net::IpAddr>()?, PORT).into()))
}

pub(super) fn from_one_to_another(bench: &mut Bench) -> anyhow::Result<()> {
    let keep = |node: &str| NodeFile {
        node: node.to_owned(),
        path: format!("{INTO}/.keep"),
        bytes: Vec::new(),
    };
    let lab = Lab::up(LabSpec {
        name: format!("b-collect-{:04x}", std::process::id() & 0xffff),
        nodes: NODES,
        voters: NODES,
        lease: Lease::Book,
        agent: Agent::Insecure,
        files: vec![keep("h2")],
        logs: None,
    })?;
    let (from, to) = (root(&lab, "h1")?, root(&lab, "h2")?);
    edit(&to, &collects(Path::new(INTO)))?;
    let files = Files::new(vec![to.join("srv/in/v")])?;
    edit(&from, &exports("first"))?;
    files.until_all_hold("first", Instant::now())?;
    let mut told = Told::default();
    for round in 0..bench.rounds {
        std::thread::sleep(GAP);
        let text = format!("value {round}");
        let began = Instant::now();
        edit(&from, &exports(&text))?;
        told.0.push(files.until_all_hold(&text, began)?);
    }
    let watches = [client(&lab, "h2")?];
    let limit = raw(client(&lab, "h1")?, &watches, &bench.folder.join("raw"), bench.rounds)?;
    let also = format!("{NODES} containers; limit: {}", super::spread(&limit.each())?);
    bench.told(["containers p50", "containers p99", ""], 1, (&told, &limit), also)?;
    lab.down()
}
