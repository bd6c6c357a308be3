//! From a wanted cluster to the objects that make it up: names, labels, addresses, ports, command
//! lines. Pure.

use sha2::{Digest, Sha256};

use super::label::{self, Lease, Owner};
use super::name;
use super::place::{Place, Site};
use crate::engine::{ContainerSpec, Labels, NetworkSpec};

/// Port on which each node's etcd serves clients.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Port on which each node's etcd talks to the others.
pub(crate) const PEER_PORT: u16 = 2380;
/// The graph that each node runs; empty at first, watched.
pub(crate) const GRAPH: &str = "/etc/quorate/site.yaml";
/// Where a node that joins finds its token.
pub(crate) const TOKEN: &str = "/etc/quorate/token";
/// The agent's folder.
pub(crate) const STATE: &str = "/var/lib/quorate";

/// What runs in the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// `quorate run` as process of the container, with TLS.
    Running,
    /// The same without TLS.
    Insecure,
    /// Nothing: the node sleeps until a command starts an agent by hand.
    Manual,
}

/// A wanted cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name.
    pub(crate) cluster: String,
    /// How many nodes.
    pub(crate) nodes: u8,
    /// How many of them are to vote.
    pub(crate) voters: u8,
    /// Who owns it.
    pub(crate) lease: Lease,
    /// What runs in the nodes.
    pub(crate) agent: Agent,
    /// Whether the way out is cut; ports cannot be published then.
    pub(crate) internal: bool,
    /// Whether what the nodes hold outlives them.
    pub(crate) persist: bool,
    /// Memory of each node in bytes.
    pub(crate) memory: i64,
    /// Thousand millionths of a processor of each node.
    pub(crate) nano_cpus: i64,
    /// Where it is to lie.
    pub(crate) site: Site,
    /// Tag of the image.
    pub(crate) image: String,
    /// Key of the image.
    pub(crate) image_key: String,
}

impl Wanted {
    /// Host names of all nodes.
    pub(crate) fn names(&self) -> Vec<String> {
        (1..=self.nodes).map(name::node).collect()
    }

    /// The network. Its labels remember the ports, so that a later `up` finds them.
    pub(crate) fn network(&self, place: &Place, owner: &Owner, now: u64) -> NetworkSpec {
        let mut spec = NetworkSpec {
            name: name::network(&self.cluster),
            subnet: place.cidr(),
            internal: self.internal,
            labels: Labels::new(),
        };
        let mut labels = self.labels("network", owner, now);
        labels.insert(label::SPEC.to_owned(), self.network_digest());
        labels.insert(label::PORTS.to_owned(), place.ports.to_string());
        labels.insert(label::NODES.to_owned(), self.nodes.to_string());
        labels.insert(label::VOTERS.to_owned(), self.voters.to_string());
        labels.insert(label::MEMORY.to_owned(), self.memory.to_string());
        labels.insert(label::NANO_CPUS.to_owned(), self.nano_cpus.to_string());
        if self.persist {
            labels.insert(label::PERSIST.to_owned(), "yes".to_owned());
        }
        spec.labels = labels;
        spec
    }

    /// What the network's label says of what was wanted of it. The subnet is not part of it: any
    /// free one will do.
    pub(crate) fn network_digest(&self) -> String {
        digest(&(self.internal, self.lease.as_str()))
    }

    /// The n-th node. `seeds` are addresses of the nodes that it is to find the cluster by; none
    /// founds one.
    pub(crate) fn node(
        &self,
        number: u8,
        place: &Place,
        seeds: &[String],
        owner: &Owner,
        now: u64,
    ) -> ContainerSpec {
        let host = name::node(number);
        let role = if number <= self.voters { "voter" } else { "spare" };
        let mut labels = self.labels(role, owner, now);
        labels.insert(label::NODE.to_owned(), host.clone());
        labels.insert(label::IMAGE_KEY.to_owned(), self.image_key.clone());
        labels.insert(label::SPEC.to_owned(), self.node_digest(number, place));
        labels.insert(label::AGENT.to_owned(), self.agent.as_str().to_owned());
        ContainerSpec {
            name: name::container(&self.cluster, &host),
            image: self.image.clone(),
            command: self.command(number, place, seeds),
            network: name::network(&self.cluster),
            address: place.address(number),
            publish: (!self.internal).then(|| (CLIENT_PORT, place.port(number))),
            state: self.persist.then(|| (name::state(&self.cluster, &host), STATE.to_owned())),
            memory: self.memory,
            nano_cpus: self.nano_cpus,
            labels,
            host,
        }
    }

    /// What a node's label says of what was wanted of it. The seeds are not part of it: a node that
    /// is made anew finds the others by those that are there. Neither is the image, which has its
    /// own label.
    pub(crate) fn node_digest(&self, number: u8, place: &Place) -> String {
        let base = digest(&(
            self.command(number, place, &[]),
            place.address(number),
            (!self.internal).then(|| place.port(number)),
            (self.memory, self.nano_cpus),
            self.lease.as_str(),
        ));
        if self.persist { digest(&(base, "persist")) } else { base }
    }

    /// The volume that holds the n-th node's state; its name and labels.
    pub(crate) fn state(
        &self,
        number: u8,
        place: &Place,
        owner: &Owner,
        now: u64,
    ) -> (String, Labels) {
        let host = name::node(number);
        let mut labels = self.labels("state", owner, now);
        labels.insert(label::NODE.to_owned(), host.clone());
        labels.insert(label::SUBNET.to_owned(), place.cidr());
        labels.insert(label::PORTS.to_owned(), place.ports.to_string());
        (name::state(&self.cluster, &host), labels)
    }

    /// The volume that is made last; its name and labels.
    pub(crate) fn marker(&self, owner: &Owner, now: u64) -> (String, Labels) {
        let mut labels = self.labels("marker", owner, now);
        labels.insert(label::NODES.to_owned(), self.nodes.to_string());
        (name::marker(&self.cluster), labels)
    }

    fn labels(&self, role: &str, owner: &Owner, now: u64) -> Labels {
        let pairs = [
            (label::SCHEMA, label::SCHEMA_NOW.to_owned()),
            (label::CLUSTER, self.cluster.clone()),
            (label::ROLE, role.to_owned()),
            (label::OWNER, owner.to_label()),
            (label::LEASE, self.lease.as_str().to_owned()),
            (label::MADE, now.to_string()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn command(&self, number: u8, place: &Place, seeds: &[String]) -> Vec<String> {
        match self.agent {
            // Under the engine's init, so it ends at once when it is told to.
            Agent::Manual => ["/bin/sleep", "2147483647"].map(str::to_owned).to_vec(),
            Agent::Running | Agent::Insecure => self.agent_command(number, place, seeds),
        }
    }

    /// The command line of a node's agent.
    fn agent_command(&self, number: u8, place: &Place, seeds: &[String]) -> Vec<String> {
        let (tls, address) = (self.agent == Agent::Running, place.address(number));
        let scheme = if tls { "https" } else { "http" };
        let client_url = |address: &str| format!("{scheme}://{address}:{CLIENT_PORT}");
        let mut command = vec!["/usr/bin/quorate".to_owned(), "run".to_owned()];
        let mut flag = |name: &str, value: String| {
            command.push(name.to_owned());
            command.push(value);
        };
        flag("--hostname", name::node(number));
        flag("--ideal-cluster-size", self.voters.to_string());
        flag("--prefix", STATE.to_owned());
        flag("--client-urls", client_url(&address));
        flag("--server-urls", format!("{scheme}://{address}:{PEER_PORT}"));
        if !seeds.is_empty() {
            let urls: Vec<String> = seeds.iter().map(|seed| client_url(seed)).collect();
            flag("--seeds", urls.join(","));
            if tls {
                flag("--token-file", TOKEN.to_owned());
            }
        }
        flag("--log-format", "text".to_owned());
        if !tls {
            command.push("--insecure-network".to_owned());
        }
        command.extend(["yaml".to_owned(), GRAPH.to_owned()]);
        command
    }
}

impl Agent {
    /// As the label says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Agent::Running => "running",
            Agent::Insecure => "insecure",
            Agent::Manual => "manual",
        }
    }

    /// What a label says.
    pub(crate) fn parse(text: &str) -> Agent {
        match text {
            "manual" => Agent::Manual,
            "insecure" => Agent::Insecure,
            _ => Agent::Running,
        }
    }
}

/// Sixteen hex digits that stand for a value.
fn digest(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    hex(&Sha256::digest(&text)[..8])
}

/// Lower case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn wanted(nodes: u8) -> Wanted {
        Wanted {
            cluster: "demo".to_owned(),
            nodes,
            voters: nodes.min(3),
            lease: Lease::Keep,
            agent: Agent::Running,
            internal: false,
            persist: false,
            memory: 256 << 20,
            nano_cpus: 1_000_000_000,
            site: Site::default(),
            image: "localhost/quorate-node:0123456789ab".to_owned(),
            image_key: "0123456789ab".to_owned(),
        }
    }

    pub(crate) fn owner() -> Owner {
        Owner { place: "boot/ns".to_owned(), pid: 7, started: 70 }
    }

    pub(crate) const PLACE: Place = Place { subnet: [10, 91, 12], ports: 24_000 };

    #[test]
    fn the_first_node_founds_the_cluster_and_the_others_are_pointed_at_it() {
        let wanted = wanted(4);
        let first = wanted.node(1, &PLACE, &[], &owner(), 0).command.join(" ");
        assert_eq!(
            first,
            "/usr/bin/quorate run --hostname h1 --ideal-cluster-size 3 --prefix /var/lib/quorate \
             --client-urls https://10.91.12.11:2379 --server-urls https://10.91.12.11:2380 \
             --log-format text yaml /etc/quorate/site.yaml"
        );
        let seeds = ["10.91.12.11".to_owned(), "10.91.12.12".to_owned()];
        let fourth = wanted.node(4, &PLACE, &seeds, &owner(), 0);
        let list = "--seeds https://10.91.12.11:2379,https://10.91.12.12:2379 \
                    --token-file /etc/quorate/token ";
        assert!(fourth.command.join(" ").contains(list));
        assert_eq!(fourth.labels[label::ROLE], "spare");
        assert_eq!(fourth.publish, Some((2379, 24_004)));
    }

    #[test]
    fn an_insecure_cluster_has_neither_tls_nor_tokens() {
        let wanted = Wanted { agent: Agent::Insecure, ..wanted(2) };
        let second = wanted.node(2, &PLACE, &["10.91.12.11".to_owned()], &owner(), 0);
        let command = second.command.join(" ");
        assert!(command.contains("--seeds http://10.91.12.11:2379 --log-format"), "{command}");
        assert!(command.contains(" --insecure-network "), "{command}");
        for agent in [Agent::Running, Agent::Insecure, Agent::Manual] {
            assert_eq!(Agent::parse(agent.as_str()), agent);
        }
    }

    #[test]
    fn an_internal_network_publishes_nothing() {
        let wanted = Wanted { internal: true, ..wanted(1) };
        assert_eq!(wanted.node(1, &PLACE, &[], &owner(), 0).publish, None);
        assert!(wanted.network(&PLACE, &owner(), 0).internal);
    }

    #[test]
    fn every_object_carries_every_label_that_gc_decides_on() {
        let wanted = wanted(1);
        let network = wanted.network(&PLACE, &owner(), 5).labels;
        let state = wanted.state(1, &PLACE, &owner(), 5).1;
        let node = wanted.node(1, &PLACE, &[], &owner(), 5).labels;
        let marker = wanted.marker(&owner(), 5).1;
        let needed =
            [label::SCHEMA, label::CLUSTER, label::ROLE, label::OWNER, label::LEASE, label::MADE];
        for labels in [network, node, marker, state] {
            assert!(needed.iter().all(|name| labels.contains_key(*name)), "{labels:?}");
        }
    }

    #[test]
    fn a_node_differs_when_anything_but_its_seeds_differs() {
        let base = wanted(3);
        let digest = base.node_digest(2, &PLACE);
        assert_eq!(
            Wanted { image: "other".to_owned(), ..base.clone() }.node_digest(2, &PLACE),
            digest
        );
        for other in [
            Wanted { voters: 1, ..base.clone() },
            Wanted { memory: 1, ..base.clone() },
            Wanted { nano_cpus: 1, ..base.clone() },
            Wanted { internal: true, ..base.clone() },
            Wanted { persist: true, ..base.clone() },
            Wanted { agent: Agent::Manual, ..base.clone() },
            Wanted { agent: Agent::Insecure, ..base.clone() },
            Wanted { lease: Lease::Book, ..base.clone() },
        ] {
            assert_ne!(other.node_digest(2, &PLACE), digest, "{other:?}");
        }
        assert_ne!(base.node_digest(1, &PLACE), digest);
        assert_ne!(base.node_digest(2, &Place { subnet: [10, 91, 13], ..PLACE }), digest);
    }
}
