//! The labels on everything that this tool makes. They are the only record: there is no state file
//! to lose.

use crate::engine::Labels;

/// Version of the labels' meaning.
pub(crate) const SCHEMA: &str = "dev.quorate.schema";
/// Name of the cluster.
pub(crate) const CLUSTER: &str = "dev.quorate.cluster";
/// Host name of the node.
pub(crate) const NODE: &str = "dev.quorate.node";
/// `voter`, `spare`, `network`, `marker`, `state`, `cut`, `wear` or `helper`.
pub(crate) const ROLE: &str = "dev.quorate.role";
/// Digest of what was wanted of the object.
pub(crate) const SPEC: &str = "dev.quorate.spec";
/// Key of the image that the node runs, or that the image is.
pub(crate) const IMAGE_KEY: &str = "dev.quorate.image-key";
/// The process that made it, as [`Owner`] writes it.
pub(crate) const OWNER: &str = "dev.quorate.owner";
/// `keep` or `book`.
pub(crate) const LEASE: &str = "dev.quorate.lease";
/// When it was made, in seconds of Unix time (networks and volumes list no usable time).
pub(crate) const MADE: &str = "dev.quorate.made";
/// First published port of the cluster, on the network.
pub(crate) const PORTS: &str = "dev.quorate.ports";
/// How many nodes the cluster has, on the network and the marker.
pub(crate) const NODES: &str = "dev.quorate.nodes";

/// The subnet that a node's state knows the others by, on the volume that holds it.
pub(crate) const SUBNET: &str = "dev.quorate.subnet";
/// `yes` on the network of a cluster whose nodes' state outlives it.
pub(crate) const PERSIST: &str = "dev.quorate.persist";
/// How many nodes were to vote when the cluster was made, on the network.
pub(crate) const VOTERS: &str = "dev.quorate.voters";
/// Memory of each node in bytes, on the network.
pub(crate) const MEMORY: &str = "dev.quorate.memory";
/// Thousand millionths of a processor of each node, on the network.
pub(crate) const NANO_CPUS: &str = "dev.quorate.nano-cpus";
/// The node that a cut keeps [`NODE`] from, on the cut's volume.
pub(crate) const PEER: &str = "dev.quorate.peer";
/// `drop` or `reject`, on a cut's volume.
pub(crate) const MODE: &str = "dev.quorate.mode";
/// How bad it is, on the volume of a fault that is no cut: numbers with a blank between.
pub(crate) const AMOUNT: &str = "dev.quorate.amount";
/// When a cut ends, in seconds of Unix time; empty when it is to be healed.
pub(crate) const UNTIL: &str = "dev.quorate.until";
/// The node whose timed cuts a helper ends; empty on any other helper.
pub(crate) const TIMER: &str = "dev.quorate.timer";

/// `running`, `insecure` or `manual`: whether the node's container runs an agent, and with TLS.
pub(crate) const AGENT: &str = "dev.quorate.agent";

/// The value of [`SCHEMA`].
pub(crate) const SCHEMA_NOW: &str = "1";

/// Who owns a cluster, and so who may remove it without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// The user's own: only `cluster down` removes it.
    Keep,
    /// A chapter, an example or a test: `gc` removes it once its maker is dead.
    Book,
}

impl Lease {
    /// As the label says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Lease::Keep => "keep",
            Lease::Book => "book",
        }
    }
}

/// A process, told apart from every other one that this machine ran or will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Where its pid means something: boot id and pid namespace.
    pub(crate) place: String,
    /// Its pid there.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot: a pid alone comes back.
    pub(crate) started: u64,
}

impl Owner {
    /// As the label says it.
    pub(crate) fn to_label(&self) -> String {
        format!("{}/{}/{}", self.place, self.pid, self.started)
    }

    /// From the label; nothing when it is not in our form.
    pub(crate) fn from_label(text: &str) -> Option<Owner> {
        let (rest, started) = text.rsplit_once('/')?;
        let (place, pid) = rest.rsplit_once('/')?;
        let (pid, started) = (pid.parse().ok()?, started.parse().ok()?);
        Some(Owner { place: place.to_owned(), pid, started })
    }
}

/// The label's value; empty when it is not there.
pub(crate) fn get<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn an_owner_survives_its_label() {
        let owner = Owner { place: "7f0a/4026531836".to_owned(), pid: 41, started: 99 };
        assert_eq!(Owner::from_label(&owner.to_label()), Some(owner));
        for wrong in ["", "a/b", "a/1/x", "a/x/1", "1/2"] {
            assert_eq!(Owner::from_label(wrong), None, "{wrong}");
        }
    }
}
