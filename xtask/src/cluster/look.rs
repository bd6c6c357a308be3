//! Looking at clusters: what the engine lists, and what the agents in the nodes say.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::diff::Listed;
use super::spec::STATE;
use super::view::{Node, View};
use super::{name, process, run};
use crate::engine::{Answer, Container, Engine, State};

/// How long an agent may take to say how it is.
const ANSWER: Duration = Duration::from_secs(3);

/// How many processes of a node were killed for want of memory, by either version of cgroups.
const KILLED: &str = "cd /sys/fs/cgroup; \
    grep -h '^oom_kill ' memory.events memory/memory.oom_control 2>/dev/null; true";

/// All that the engine lists.
pub(crate) async fn list(engine: &Engine) -> Answer<Listed> {
    let (containers, networks, volumes) =
        tokio::try_join!(engine.containers(), engine.networks(), engine.volumes())?;
    Ok(Listed { containers, networks, volumes })
}

/// What the engine lists of one cluster.
///
/// # Errors
/// There is no such cluster.
pub(crate) async fn cluster(engine: &Engine, cluster: &str) -> anyhow::Result<Listed> {
    let ours = list(engine).await?.of(cluster);
    match ours.containers.is_empty() {
        true => Err(name::no_cluster(cluster)),
        false => Ok(ours),
    }
}

/// The nodes that a user names, or all of them; `h1,h2` counts as two.
///
/// # Errors
/// There is no such cluster or node.
pub(crate) async fn nodes(
    engine: &Engine,
    cluster: &str,
    named: &[String],
) -> anyhow::Result<Vec<(String, Container)>> {
    let ours = self::cluster(engine, cluster).await?;
    let all: Vec<(String, Container)> =
        ours.nodes().into_iter().map(|(node, c)| (node, c.clone())).collect();
    if named.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for node in named.iter().flat_map(|names| names.split(',')) {
        let Some(found) = all.iter().find(|(name, _)| name == node) else {
            let there: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
            return Err(name::no_node(cluster, node, &there));
        };
        chosen.push(found.clone());
    }
    Ok(chosen)
}

/// The cluster with what its agents say, asked at once.
pub(crate) async fn view(engine: &Engine, cluster: &str, ours: &Listed) -> View {
    let mut view = View::new(cluster, ours, process::now());
    join_all(view.nodes.iter_mut().map(|node| fill(engine, node))).await;
    view
}

async fn fill(engine: &Engine, node: &mut Node) {
    match node.state {
        State::Running => (node.agent, node.starved) = ask(engine, &node.id).await,
        State::Exited => {
            let ended = engine.ended(&node.id).await.ok().flatten();
            node.ended = ended.map(|ended| (ended.code, ended.out_of_memory));
        }
        _ => {}
    }
}

/// What the agent of a running node says, null when none answers; and whether the kernel has killed
/// one of the node's processes for want of memory: the engine tells that only of the first one.
async fn ask(engine: &Engine, id: &str) -> (Value, bool) {
    let killed = match engine.is_local() {
        // Nothing limits them; the file would be this machine's own.
        true => "",
        false => KILLED,
    };
    let command = format!("quorate status --json --prefix {STATE} 2>/dev/null; {killed}");
    let Ok(output) = run::shell(engine, id, &command, ANSWER).await else {
        return (Value::Null, false);
    };
    let (counts, answer): (Vec<String>, Vec<String>) =
        output.lines.into_iter().partition(|line| line.starts_with("oom_kill "));
    let starved = counts.iter().any(|line| line != "oom_kill 0");
    (serde_json::from_str(&answer.join("\n")).unwrap_or_default(), starved)
}
