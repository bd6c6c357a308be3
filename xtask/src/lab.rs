//! A cluster for a test, an example or a chapter: made, addressed by node, removed when dropped.
//!
//! The interface is blocking, because its callers are step by step; each call may be made from several threads at once.
//! It compares nothing and prints nothing: what came back is the caller's business.

use std::time::Duration;

/// Who owns a cluster, and so who may remove it without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    /// The user's own: only `cluster down` removes it.
    Keep,
    /// A chapter or an example: `gc` removes it once its maker is dead.
    Book,
    /// A test: like a chapter.
    Test,
}

/// What runs in the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// `quorate run` as process of the container; `Lab::up` waits until the cluster has its quorum.
    Running,
    /// Nothing: the node sleeps until a command starts an agent by hand.
    Manual,
}

/// A file to put into a node before its agent starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeFile {
    /// Host name of the node, like `h1`.
    pub(crate) node: String,
    /// Absolute path in the node; missing parents are made with mode 0755.
    pub(crate) path: String,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
}

/// A wanted lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabSpec {
    /// Name of the cluster: `[a-z][a-z0-9-]{0,19}`.
    pub(crate) name: String,
    /// How many nodes, 1 to 30; they are called `h1`, `h2` and so on.
    pub(crate) nodes: u8,
    /// How many of them are to vote (`--ideal-cluster-size`).
    pub(crate) voters: u8,
    /// Who owns it.
    pub(crate) lease: Lease,
    /// What runs in its nodes.
    pub(crate) agent: Agent,
    /// Files that are there before anything starts.
    pub(crate) files: Vec<NodeFile>,
}

/// What a command in a node gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// The exit code; 137 when it was killed, which a timeout does as well.
    pub(crate) exit: i64,
    /// Both streams in the order in which they were written, as lines without their ends.
    pub(crate) lines: Vec<String>,
    /// Whether the time ran out. Nothing that the command started is left then.
    pub(crate) timed_out: bool,
    /// From the request to the last byte.
    pub(crate) elapsed: Duration,
}

/// A running cluster. Dropping it removes it, on a panic too; SIGINT and SIGTERM remove it before the process ends.
#[derive(Debug)]
pub(crate) struct Lab {
    spec: LabSpec,
}

impl Lab {
    /// Builds the image if needed, makes the cluster, and waits: for the quorum of running agents (30 s), or for the
    /// containers of manual ones. Refuses a name that is in use.
    pub(crate) fn up(_spec: LabSpec) -> anyhow::Result<Lab> {
        anyhow::bail!("clusters are not built yet")
    }

    /// The cluster's name; `QUORATE_CLUSTER` of a `cargo xtask` that is to act on it.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The host names of its nodes, in order.
    pub(crate) fn nodes(&self) -> Vec<String> {
        (1..=self.spec.nodes).map(|n| format!("h{n}")).collect()
    }

    /// Runs a shell command in a node, both streams joined, `COLUMNS=80`; kills it and all that it started after `timeout`.
    pub(crate) fn exec(&self, _node: &str, _command: &str, _timeout: Duration) -> anyhow::Result<Output> {
        anyhow::bail!("clusters are not built yet")
    }

    /// Writes a file in a node; missing parents are made with mode 0755.
    pub(crate) fn upload(&self, _node: &str, _path: &str, _bytes: &[u8], _mode: u32) -> anyhow::Result<()> {
        anyhow::bail!("clusters are not built yet")
    }

    /// Kills a node as a power cut would: SIGKILL to everything in it. Its disk stays.
    pub(crate) fn kill(&self, _node: &str) -> anyhow::Result<()> {
        anyhow::bail!("clusters are not built yet")
    }

    /// Starts a killed or stopped node again.
    pub(crate) fn start(&self, _node: &str) -> anyhow::Result<()> {
        anyhow::bail!("clusters are not built yet")
    }

    /// What the node's main process wrote, as lines; stdout and stderr in the engine's order.
    pub(crate) fn logs(&self, _node: &str) -> anyhow::Result<Vec<String>> {
        anyhow::bail!("clusters are not built yet")
    }

    /// What `quorate status --json` says in each node, by host name; null where no agent answers.
    pub(crate) fn status(&self) -> anyhow::Result<Vec<(String, serde_json::Value)>> {
        anyhow::bail!("clusters are not built yet")
    }

    /// Removes the cluster and says so if something was left.
    pub(crate) fn down(self) -> anyhow::Result<()> {
        anyhow::bail!("clusters are not built yet")
    }
}
