//! From what is wanted and what the engine lists to the steps that `up` takes, or the conflict that
//! stops it. Pure.

use super::label;
use super::name;
use super::place::{self, Place};
use super::spec::Wanted;
use crate::engine::{Container, Network, State, Volume};
use crate::paths::Exit;

/// All that the engine lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Containers, running or not.
    pub(crate) containers: Vec<Container>,
    /// Networks.
    pub(crate) networks: Vec<Network>,
    /// Volumes.
    pub(crate) volumes: Vec<Volume>,
}

impl Listed {
    /// What belongs to one cluster by its labels.
    pub(crate) fn of(&self, cluster: &str) -> Listed {
        let ours = |labels: &crate::engine::Labels| label::get(labels, label::CLUSTER) == cluster;
        Listed {
            containers: self.containers.iter().filter(|c| ours(&c.labels)).cloned().collect(),
            networks: self.networks.iter().filter(|n| ours(&n.labels)).cloned().collect(),
            volumes: self.volumes.iter().filter(|v| ours(&v.labels)).cloned().collect(),
        }
    }

    /// What goes with the cluster: all but the volumes that hold what its nodes hold.
    pub(crate) fn without_state(&self) -> Listed {
        let mut listed = self.clone();
        listed.volumes.retain(|v| label::get(&v.labels, label::ROLE) != "state");
        listed
    }

    /// The nodes of a listing that [`Listed::of`] gave whose state is there, and where the cluster
    /// lay that it knows.
    pub(crate) fn stored(&self) -> (Vec<String>, Option<Place>) {
        let state = |v: &&Volume| label::get(&v.labels, label::ROLE) == "state";
        let mut volumes: Vec<&Volume> = self.volumes.iter().filter(state).collect();
        volumes.sort_by_key(|v| name::number(label::get(&v.labels, label::NODE)));
        let place = volumes.first().and_then(|v| {
            let subnet = place::subnet_of(label::get(&v.labels, label::SUBNET))?;
            Some(Place { subnet, ports: label::get(&v.labels, label::PORTS).parse().ok()? })
        });
        let node = |v: &&Volume| label::get(&v.labels, label::NODE).to_owned();
        (volumes.iter().map(node).collect(), place)
    }

    /// Whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.networks.is_empty() && self.volumes.is_empty()
    }

    /// Names of all clusters that left a label anywhere, sorted.
    pub(crate) fn clusters(&self) -> Vec<String> {
        let labels = (self.containers.iter().map(|c| &c.labels))
            .chain(self.networks.iter().map(|n| &n.labels))
            .chain(self.volumes.iter().map(|v| &v.labels));
        let mut names: Vec<String> =
            labels.filter_map(|l| l.get(label::CLUSTER)).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// The nodes of a listing that [`Listed::of`] gave, in the order of their numbers.
    pub(crate) fn nodes(&self) -> Vec<(String, &Container)> {
        let mut nodes: Vec<(String, &Container)> = (self.containers.iter())
            .map(|c| (label::get(&c.labels, label::NODE).to_owned(), c))
            .filter(|(node, _)| name::number(node).is_some())
            .collect();
        nodes.sort_by_key(|(node, _)| name::number(node));
        nodes
    }

    /// Where the cluster of a listing that [`Listed::of`] gave lies.
    pub(crate) fn place(&self) -> Option<Place> {
        let network = self.networks.first()?;
        let subnet = network.subnets.iter().find_map(|cidr| place::subnet_of(cidr))?;
        Some(Place { subnet, ports: label::get(&network.labels, label::PORTS).parse().ok()? })
    }

    /// How many nodes of a listing that [`Listed::of`] gave were to vote when it was made.
    pub(crate) fn voters(&self) -> usize {
        let said = self.networks.first().and_then(|n| n.labels.get(label::VOTERS)?.parse().ok());
        let marked = |c: &&Container| label::get(&c.labels, label::ROLE) == "voter";
        // Networks that an older version made do not say it.
        said.unwrap_or_else(|| self.containers.iter().filter(marked).count())
    }

    /// Whether the cluster of a listing that [`Listed::of`] gave was finished.
    pub(crate) fn finished(&self) -> bool {
        self.volumes.iter().any(|v| label::get(&v.labels, label::ROLE) == "marker")
    }
}

/// What `up` does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make the network, at the first free place.
    Network,
    /// Make and start the n-th node.
    Make(u8),
    /// Start the n-th node again.
    Start(u8),
    /// Thaw the n-th node.
    Unpause(u8),
    /// Make the marker.
    Marker,
}

impl Step {
    /// The node that it is about.
    pub(crate) fn number(&self) -> Option<u8> {
        match self {
            Step::Make(number) | Step::Start(number) | Step::Unpause(number) => Some(*number),
            Step::Network | Step::Marker => None,
        }
    }
}

/// Why `up` stops before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Something of a name that we need is not ours. The whole sentence.
    Foreign(String),
    /// What is there was made for something else. What differs, one a line.
    Differs(Vec<String>),
}

impl Conflict {
    /// The error that the user sees.
    pub(crate) fn into_error(self, cluster: &str) -> anyhow::Error {
        let text = match self {
            Conflict::Foreign(text) => text,
            Conflict::Differs(what) => format!(
                "cluster {cluster} is there, but not as wanted: {}. Add --recreate to make it anew \
                 (what it holds is \
                 lost), or pick another --name.",
                what.join("; ")
            ),
        };
        Exit::error(Exit::CONFLICT, text)
    }
}

/// Plans what is missing.
///
/// # Errors
/// Something foreign has our name, or what is there is not what is wanted. Nothing is touched then.
pub(crate) fn plan(wanted: &Wanted, listed: &Listed) -> Result<Vec<Step>, Conflict> {
    if let Some(text) = foreign(wanted, listed) {
        return Err(Conflict::Foreign(text));
    }
    let ours = listed.of(&wanted.cluster);
    let differs = differences(wanted, &ours);
    if !differs.is_empty() {
        return Err(Conflict::Differs(differs));
    }
    let nodes = ours.nodes();
    let mut steps = Vec::new();
    if ours.networks.is_empty() {
        steps.push(Step::Network);
    }
    for number in 1..=wanted.nodes {
        let node = name::node(number);
        match nodes.iter().find(|(n, _)| *n == node).map(|(_, c)| c.state) {
            None => steps.push(Step::Make(number)),
            Some(State::Running | State::Other) => {}
            Some(State::Paused) => steps.push(Step::Unpause(number)),
            Some(State::Created | State::Exited) => steps.push(Step::Start(number)),
        }
    }
    if !ours.finished() {
        steps.push(Step::Marker);
    }
    Ok(steps)
}

/// A step in words, after "would".
pub(crate) fn describe(step: &Step, wanted: &Wanted) -> String {
    let container = |number: &u8| name::container(&wanted.cluster, &name::node(*number));
    match step {
        Step::Network => format!("make network {}", name::network(&wanted.cluster)),
        Step::Make(number) => format!("make container {} of {}", container(number), wanted.image),
        Step::Start(number) => format!("start container {}", container(number)),
        Step::Unpause(number) => format!("unpause container {}", container(number)),
        Step::Marker => format!("make volume {}", name::marker(&wanted.cluster)),
    }
}

fn foreign(wanted: &Wanted, listed: &Listed) -> Option<String> {
    let not_ours =
        |labels: &crate::engine::Labels| label::get(labels, label::CLUSTER) != wanted.cluster;
    let sentence = |what: &str, name: &str| {
        format!(
            "{what} {name} exists but carries no quorate label; it is not ours. \
             Remove it or pick --name."
        )
    };
    for node in wanted.names() {
        let name = name::container(&wanted.cluster, &node);
        if listed.containers.iter().any(|c| c.name == name && not_ours(&c.labels)) {
            return Some(sentence("container", &name));
        }
    }
    let name = name::network(&wanted.cluster);
    if listed.networks.iter().any(|n| n.name == name && not_ours(&n.labels)) {
        return Some(sentence("network", &name));
    }
    // The 20.10 engine makes two networks of one name without a word, and containers would land in
    // either.
    if listed.networks.iter().filter(|n| n.name == name).count() > 1 {
        return Some(format!(
            "two networks are called {name}. Remove them: cargo xtask cluster down --name {}",
            wanted.cluster
        ));
    }
    let name = name::marker(&wanted.cluster);
    if listed.volumes.iter().any(|v| v.name == name && not_ours(&v.labels)) {
        return Some(sentence("volume", &name));
    }
    None
}

fn differences(wanted: &Wanted, ours: &Listed) -> Vec<String> {
    let mut differs = Vec::new();
    let nodes = ours.nodes();
    let (stored, _) = ours.stored();
    if !stored.is_empty() && !wanted.persist {
        differs.push(format!("{} left what they hold, which needs --persist", stored.join(", ")));
    }
    let beyond = |node: &&String| name::number(node).is_some_and(|n| n > wanted.nodes);
    if let Some(node) = stored.iter().find(beyond) {
        differs.push(format!("{node} left what it holds too"));
    }
    if let Some(network) = ours.networks.first() {
        if label::get(&network.labels, label::SPEC) != wanted.network_digest() {
            differs.push("its network was made with other options".to_owned());
        } else if ours.place().is_none() {
            differs.push("its network has no subnet of 256 addresses".to_owned());
        }
    }
    let Some(place) = ours.place() else {
        if !nodes.is_empty() && differs.is_empty() {
            differs.push("its network is gone".to_owned());
        }
        return differs;
    };
    if wanted.site.subnet.is_some_and(|subnet| subnet != place.subnet) {
        differs.push(format!("it lies in {}", place.cidr()));
    }
    if wanted.site.ports.is_some_and(|ports| ports != place.ports) {
        differs.push(format!("its ports are published from {} on", place.ports));
    }
    let extra: Vec<&str> = (nodes.iter())
        .filter(|(node, _)| name::number(node).is_some_and(|n| n > wanted.nodes))
        .map(|(node, _)| node.as_str())
        .collect();
    if !extra.is_empty() {
        differs.push(format!("it has {} too", extra.join(", ")));
    }
    let kept = || nodes.iter().filter_map(|(node, c)| Some((name::number(node)?, node, c)));
    let list = |which: Vec<&str>, what: &str| match which.len() {
        0 => None,
        _ => Some(format!("{}: {what}", which.join(", "))),
    };
    let image: Vec<&str> = kept()
        .filter(|(_, _, c)| label::get(&c.labels, label::IMAGE_KEY) != wanted.image_key)
        .map(|(_, node, _)| node.as_str())
        .collect();
    differs.extend(list(image, "another image"));
    let spec: Vec<&str> = kept()
        .filter(|(n, _, _)| *n <= wanted.nodes)
        .filter(|(n, _, c)| label::get(&c.labels, label::SPEC) != wanted.node_digest(*n, &place))
        .map(|(_, node, _)| node.as_str())
        .collect();
    differs.extend(list(spec, "made with other options"));
    differs
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
