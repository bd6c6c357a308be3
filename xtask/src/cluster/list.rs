//! What there is: the nodes of a cluster, and all clusters.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::diff::Listed;
use super::view::View;
use super::{label, look};
use crate::engine::{Engine, State};
use crate::image::REPOSITORY;
use crate::paths::Exit;
use crate::ui::table;

/// How often a watched status is printed where there is no screen: each asks every node once.
const WATCH: Duration = Duration::from_secs(1);

/// `cluster status`.
pub(crate) async fn status(
    engine: &Engine,
    cluster: &str,
    json: bool,
    watch: bool,
) -> anyhow::Result<ExitCode> {
    if watch && !json && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        return super::watch::watch(engine, cluster).await;
    }
    loop {
        let ours = look::cluster(engine, cluster).await?;
        let view = look::view(engine, cluster, &ours).await;
        let text = match json {
            true => view.json().to_string(),
            false => human(&view),
        };
        if !watch {
            println!("{text}");
            let code = if view.healthy() { 0 } else { Exit::FAILED };
            return Ok(ExitCode::from(code));
        }
        println!("{text}");
        tokio::time::sleep(WATCH).await;
    }
}

fn human(view: &View) -> String {
    let mut lines = table(&view.table());
    if let Some(missing) = view.missing() {
        lines.push(format!("degraded: {missing}"));
    }
    lines.join("\n")
}

/// `cluster ls`.
pub(crate) async fn clusters(engines: &[Engine], json: bool) -> anyhow::Result<ExitCode> {
    let mut rows: Vec<Row> = Vec::new();
    for engine in engines {
        let listed = look::list(engine).await?;
        let own = listed.clusters();
        rows.extend(own.iter().map(|name| row(name, &listed.of(name))));
        rows.extend(foreign(&listed));
    }
    if json {
        let clusters: Vec<_> = (rows.iter())
            .map(|r| {
                json!({"name": r.name, "nodes": r.nodes, "running": r.running, "state": r.state,
                       "subnet": r.subnet, "image": r.image})
            })
            .collect();
        println!("{}", json!({"schema": 1, "clusters": clusters}));
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        println!("no cluster. Start one: cargo xtask cluster up");
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["NAME", "NODES", "STATE", "SUBNET", "IMAGE"].map(str::to_owned).to_vec();
    let cells = |r: &Row| {
        let nodes = format!("{}/{}", r.running, r.nodes);
        vec![r.name.clone(), nodes, r.state.clone(), r.subnet.clone(), r.image.clone()]
    };
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    table(&all).iter().for_each(|line| println!("{line}"));
    Ok(ExitCode::SUCCESS)
}

struct Row {
    name: String,
    nodes: usize,
    running: usize,
    state: String,
    subnet: String,
    image: String,
}

fn row(name: &str, ours: &Listed) -> Row {
    let nodes = ours.nodes();
    let running = nodes.iter().filter(|(_, c)| c.state == State::Running).count();
    let lease = (ours.containers.iter().map(|c| &c.labels))
        .chain(ours.networks.iter().map(|n| &n.labels))
        .map(|labels| label::get(labels, label::LEASE))
        .next()
        .unwrap_or_default();
    let state = match (ours.finished(), lease) {
        _ if ours.without_state().is_empty() => "stored".to_owned(),
        (false, _) => "unfinished".to_owned(),
        (true, "keep") => "ready".to_owned(),
        (true, lease) => format!("ready ({lease})"),
    };
    let key = nodes.first().map(|(_, c)| label::get(&c.labels, label::IMAGE_KEY).to_owned());
    Row {
        name: name.to_owned(),
        nodes: nodes.len(),
        running,
        state,
        subnet: ours.place().map_or("-".to_owned(), |place| place.cidr()),
        image: key.unwrap_or("-".to_owned()),
    }
}

/// Containers of our image that something else made: Compose, or a person. Shown, never touched.
fn foreign(listed: &Listed) -> Vec<Row> {
    const PROJECT: &str = "com.docker.compose.project";
    let mut rows: Vec<Row> = Vec::new();
    for container in &listed.containers {
        let ours = container.labels.contains_key(label::CLUSTER);
        if ours || !container.image.starts_with(REPOSITORY) {
            continue;
        }
        let (name, state) = match container.labels.get(PROJECT) {
            Some(project) => (project.clone(), "foreign (compose)"),
            None => (container.name.clone(), "foreign"),
        };
        let running = usize::from(container.state == State::Running);
        match rows.iter_mut().find(|row| row.name == name) {
            Some(row) => (row.nodes, row.running) = (row.nodes + 1, row.running + running),
            None => rows.push(Row {
                name,
                nodes: 1,
                running,
                state: state.to_owned(),
                subnet: "-".to_owned(),
                image: container.image.clone(),
            }),
        }
    }
    rows
}
