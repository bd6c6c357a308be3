//! `cluster node add` and `node rm`: nodes that come and go while the cluster runs.
//!
//! A new node joins as volunteer and votes when a seat is free; a node that is removed leaves the
//! cluster first, so that nobody has to wait for it to be thought dead.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use super::diff::{self, Listed, Step};
use super::label::{self, Lease, get};
use super::place::Site;
use super::spec::{Agent, Wanted};
use super::up::{self, Manner};
use super::view::Goal;
use super::{fault, limits, look, name, process};
use crate::engine::{Container, Engine, State};
use crate::interrupt::Stop;
use crate::paths::Exit;
use crate::ui::Ui;

/// How long an agent may take to leave its cluster.
const LEAVE: Duration = Duration::from_secs(20);

/// How a verb of this module goes about it.
pub(crate) struct How {
    /// Only say what would be done.
    pub(crate) plan: bool,
    /// Remove a node although it cannot leave.
    pub(crate) force: bool,
    /// How long it may take until the cluster is as it should be; none does not wait.
    pub(crate) wait: Option<Duration>,
}

/// The cluster as it is, as something wanted: what a further node of it looks like.
fn wanted(cluster: &str, ours: &Listed) -> Wanted {
    let nodes = ours.nodes();
    let labels = ours.networks.first().map(|n| n.labels.clone()).unwrap_or_default();
    let first = nodes.first().map(|(_, c)| (*c).clone());
    let of_first = |label| first.as_ref().map(|c| get(&c.labels, label)).unwrap_or_default();
    let mut wanted = Wanted {
        cluster: cluster.to_owned(),
        nodes: nodes.iter().filter_map(|(node, _)| name::number(node)).max().unwrap_or(0),
        voters: u8::try_from(ours.voters()).unwrap_or(u8::MAX),
        lease: if get(&labels, label::LEASE) == "book" { Lease::Book } else { Lease::Keep },
        agent: Agent::parse(of_first(label::AGENT)),
        internal: true,
        persist: get(&labels, label::PERSIST) == "yes",
        memory: get(&labels, label::MEMORY).parse().unwrap_or(limits::MEMORY),
        nano_cpus: get(&labels, label::NANO_CPUS).parse().unwrap_or(limits::NANO_CPUS),
        site: Site::default(),
        image: first.as_ref().map(|c| c.image.clone()).unwrap_or_default(),
        image_key: of_first(label::IMAGE_KEY).to_owned(),
    };
    wanted.internal = get(&labels, label::SPEC) == wanted.network_digest();
    wanted
}

/// The numbers of nodes to make: those that are named and not there, or the lowest free ones.
///
/// # Errors
/// A name that no node can have, or no number is left.
fn new(ours: &Listed, named: &[String], count: u8) -> anyhow::Result<Vec<u8>> {
    let there: Vec<u8> = ours.nodes().iter().filter_map(|(node, _)| name::number(node)).collect();
    let number = |node: &String| {
        name::number(node).ok_or_else(|| {
            let text =
                format!("{node} cannot be a node: they are called h1 to h{}", name::MOST_NODES);
            Exit::error(Exit::USAGE, text)
        })
    };
    let mut asked: Vec<u8> = named.iter().map(number).collect::<anyhow::Result<_>>()?;
    if named.is_empty() {
        let free = (1..=name::MOST_NODES).filter(|number| !there.contains(number));
        asked = free.take(usize::from(count)).collect();
        if asked.len() < usize::from(count) {
            let text = format!("a cluster has {} nodes at most", name::MOST_NODES);
            return Err(Exit::error(Exit::USAGE, text));
        }
    }
    asked.retain(|number| !there.contains(number));
    asked.sort_unstable();
    asked.dedup();
    Ok(asked)
}

/// `cluster node add`.
///
/// # Errors
/// No such cluster; a new node does not get ready, and is removed then.
pub(crate) async fn add(
    engine: &Engine,
    cluster: &str,
    (named, count): (&[String], u8),
    how: &How,
    (stop, ui): (&Stop, &Ui),
) -> anyhow::Result<ExitCode> {
    let _lock = process::lock(cluster)?;
    let ours = look::cluster(engine, cluster).await?;
    let numbers = new(&ours, named, count)?;
    let wanted = wanted(cluster, &ours);
    if numbers.is_empty() {
        ui.line("unchanged", &format!(" {} is there", named.join(", ")));
        return Ok(ExitCode::SUCCESS);
    }
    if how.plan {
        let step = |number: &u8| diff::describe(&Step::Make(*number), &wanted);
        numbers.iter().for_each(|number| println!("would {}", step(number)));
        return Ok(ExitCode::SUCCESS);
    }
    let hosts: Vec<String> = numbers.iter().map(|number| name::node(*number)).collect();
    let manner = Manner {
        wait: how.wait,
        keep_on_failure: false,
        goal: Goal::There(hosts.clone()),
        parallel: limits::PARALLEL,
        files: BTreeMap::new(),
        logs: None,
    };
    up::add(engine, &wanted, &manner, &numbers, (stop, ui)).await?;
    hosts.iter().for_each(|host| ui.line("added", host));
    Ok(ExitCode::SUCCESS)
}

/// `cluster node rm`.
///
/// # Errors
/// No such cluster; a node cannot leave, or does not in time; the others have no quorum after it.
pub(crate) async fn remove(
    engine: &Engine,
    cluster: &str,
    named: &[String],
    how: &How,
    (stop, ui): (&Stop, &Ui),
) -> anyhow::Result<ExitCode> {
    for host in named {
        let lock = process::lock(cluster)?;
        let ours = look::cluster(engine, cluster).await?;
        let nodes = ours.nodes();
        let Some((_, container)) = nodes.iter().find(|(node, _)| node == host) else {
            ui.line("unchanged", &format!(" there is no {host}"));
            continue;
        };
        if nodes.len() == 1 {
            let text =
                format!("{host} is the only node. Remove the cluster: cargo xtask cluster down");
            return Err(Exit::error(Exit::CONFLICT, text));
        }
        let wanted = wanted(cluster, &ours);
        let leaves = wanted.agent != Agent::Manual && !how.force;
        if how.plan {
            let first = if leaves { "leave the cluster, then " } else { "" };
            println!("would {first}remove container {}", container.name);
            continue;
        }
        if leaves {
            leave(engine, host, container).await?;
        }
        drop(lock);
        // What others are kept from reaching is given back before the address is.
        fault::heal(engine, cluster, std::slice::from_ref(host), &Ui::new(true, true)).await?;
        engine.remove_container(&container.id).await?;
        engine.remove_volume(&name::state(cluster, host)).await?;
        ui.line("removed", host);
        let goal = if leaves { Goal::Gone(host.clone()) } else { Goal::There(Vec::new()) };
        let manner = Manner {
            wait: how.wait,
            keep_on_failure: true,
            goal,
            parallel: limits::PARALLEL,
            files: BTreeMap::new(),
            logs: None,
        };
        up::wait_for(engine, &wanted, &manner, (stop, ui)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets a node's agent leave its cluster, which ends its container.
async fn leave(engine: &Engine, host: &str, container: &Container) -> anyhow::Result<()> {
    if container.state != State::Running {
        let text = format!(
            "{host} does not run, so it cannot leave. Start it, or add --force: the others replace \
             it when it has been silent for long enough."
        );
        return Err(Exit::error(Exit::CONFLICT, text));
    }
    match tokio::time::timeout(LEAVE, engine.interrupt(&container.id)).await {
        Ok(done) => Ok(done?),
        Err(_) => {
            let text = format!(
                "{host} did not leave within {} s. Why: cargo xtask cluster logs --node {host}. \
                 Add --force to remove it all the same.",
                LEAVE.as_secs()
            );
            Err(Exit::error(Exit::TIMED_OUT, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::{PLACE, owner, wanted as any};
    use super::*;
    use crate::engine::Network;

    fn listed(wanted: &Wanted, numbers: &[u8]) -> Listed {
        let network = wanted.network(&PLACE, &owner(), 0);
        let node = |number: &u8| {
            let spec = wanted.node(*number, &PLACE, &[], &owner(), 0);
            Container {
                id: spec.name.clone(),
                name: spec.name,
                image: spec.image,
                labels: spec.labels,
                state: State::Running,
                created: 0,
            }
        };
        Listed {
            containers: numbers.iter().map(node).collect(),
            networks: vec![Network {
                id: String::new(),
                name: network.name,
                labels: network.labels,
                subnets: vec![network.subnet],
            }],
            volumes: vec![],
        }
    }

    #[test]
    fn a_further_node_is_made_as_the_first_ones_were() {
        for options in [
            any(3),
            any(5),
            Wanted { internal: true, ..any(3) },
            Wanted { persist: true, ..any(3) },
            Wanted { memory: 64 << 20, nano_cpus: 1, ..any(3) },
            Wanted { agent: Agent::Manual, lease: Lease::Book, voters: 1, ..any(2) },
        ] {
            let all: Vec<u8> = (1..=options.nodes).collect();
            assert_eq!(wanted("demo", &listed(&options, &all)), options);
        }
        let without_h2 = listed(&any(3), &[1, 3]);
        assert_eq!(wanted("demo", &without_h2), any(3));
    }

    #[test]
    fn new_nodes_take_the_lowest_free_numbers_and_named_ones_are_made_once() {
        let ours = listed(&any(5), &[1, 3, 5]);
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (named, count, wanted) in [
            (names(&[]), 1, Ok(vec![2])),
            (names(&[]), 3, Ok(vec![2, 4, 6])),
            (names(&["h7", "h4", "h3", "h7"]), 1, Ok(vec![4, 7])),
            (names(&["h3"]), 1, Ok(vec![])),
            (names(&["x3"]), 1, Err("x3 cannot be a node: they are called h1 to h30")),
            (names(&[]), 28, Err("a cluster has 30 nodes at most")),
        ] {
            let seen = new(&ours, &named, count).map_err(|failure| failure.to_string());
            assert_eq!(seen, wanted.map_err(str::to_owned), "{named:?} {count}");
        }
    }
}
