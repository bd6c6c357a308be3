//! What the verbs of `cluster` take. Refuses to do anything.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::choose::Choice;
use super::label::Lease;
use super::place::{self, Site};
use super::spec::{Agent, Wanted};
use super::{cut, fault, limits, name, node};
use crate::image::{Given, Prepared};

/// What `cluster` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(clap::Args)]
pub(crate) struct Global {
    /// Name of the cluster
    #[arg(
        long,
        global = true,
        default_value = "demo",
        env = "QUORATE_CLUSTER",
        hide_env_values = true
    )]
    #[arg(value_parser = name::parse)]
    pub(crate) name: String,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What runs the nodes
    #[arg(long, global = true, value_enum, default_value_t = Choice::Auto)]
    #[arg(env = "QUORATE_ENGINE", hide_env_values = true)]
    pub(crate) engine: Choice,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a cluster, or what is missing of it, and wait until it is ready
    Up(Up),
    /// How each node is; exit 0 healthy, 1 degraded, 4 absent
    Status(Status),
    /// What the nodes wrote, in the order of time
    Logs(Logs),
    /// Run a command in a node; a single word is a shell line
    Exec(Exec),
    /// A node's shell on this terminal
    Shell {
        /// The node
        #[arg(value_name = "H")]
        node: String,
        /// Another command than its shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Copy files: SRC H:DST, or H:SRC DST; all:DST for every node
    Cp {
        /// From
        source: String,
        /// To
        target: String,
    },
    /// Kill nodes as a power cut would
    Kill(Nodes),
    /// Stop nodes the soft way
    Stop(Nodes),
    /// Start killed or stopped nodes
    Start(Nodes),
    /// Stop and start nodes
    Restart(Nodes),
    /// Freeze nodes
    Pause(Nodes),
    /// Thaw nodes
    Unpause(Nodes),
    /// Add and remove nodes while the cluster runs
    #[command(subcommand)]
    Node(NodeVerb),
    #[command(flatten)]
    Cut(CutVerb),
    /// What is broken on purpose
    Faults,
    /// Everything that a cluster holds, in a file here
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Remove a cluster; what nodes of `up --persist` hold stays
    Down {
        /// Every cluster of this tool
        #[arg(long)]
        all: bool,
        /// With what its nodes hold
        #[arg(long)]
        volumes: bool,
    },
    /// List clusters
    Ls,
    /// Remove what killed commands left, and old images
    Gc {
        /// Age of leftovers whose maker cannot be looked up from here
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        older_than: Duration,
        /// Say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// The JSON Schema of what a verb prints with --json
    Schema {
        /// The verb; every one when it is left out
        verb: Option<String>,
        /// Compare JSON from standard input with it instead
        #[arg(long, requires = "verb")]
        check: bool,
    },
    /// Write compose/: the same clusters as Compose files
    Compose {
        /// Change nothing; fail when a file is not as it would be written
        #[arg(long)]
        check: bool,
    },
}

/// What a cluster is to be like.
#[derive(clap::Args)]
pub(crate) struct Shape {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(name::MOST_NODES)))]
    pub(crate) nodes: u8,
    /// How many of them vote; 3, or all if there are fewer
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(name::MOST_NODES)))]
    pub(crate) voters: Option<u8>,
    /// No way out of the cluster's network; no published ports either
    #[arg(long)]
    pub(crate) internal: bool,
    /// Agents without TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Memory of each node: bytes, or with k, m, g
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = limits::memory)]
    pub(crate) memory: i64,
    /// Processors of each node
    #[arg(long, value_name = "N", default_value = "1", value_parser = limits::cpus)]
    pub(crate) cpus: i64,
    /// Subnet of the nodes, a private one of 256 addresses; by default the first free one in 10.91
    #[arg(long, value_name = "CIDR", value_parser = place::parse_subnet)]
    pub(crate) subnet: Option<[u8; 3]>,
    /// Publish the client port of node n on this port plus n; by default the first free block
    #[arg(long, value_name = "PORT", value_parser = place::parse_ports)]
    #[arg(conflicts_with = "internal")]
    pub(crate) publish_base: Option<u16>,
    #[command(flatten)]
    pub(crate) given: Given,
}

impl Shape {
    /// As something wanted, of this image.
    pub(crate) fn wanted(&self, cluster: &str, image: &Prepared) -> Wanted {
        Wanted {
            cluster: cluster.to_owned(),
            nodes: self.nodes,
            voters: self.voters.unwrap_or(3).min(self.nodes),
            lease: Lease::Keep,
            agent: if self.insecure { Agent::Insecure } else { Agent::Running },
            internal: self.internal,
            persist: false,
            memory: self.memory,
            nano_cpus: self.cpus,
            site: Site { subnet: self.subnet, ports: self.publish_base },
            image: image.tag.clone(),
            image_key: image.key.clone(),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) shape: Shape,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Remove a cluster that is not as wanted, and make it anew
    #[arg(long)]
    pub(crate) recreate: bool,
    /// How long the cluster may take to get ready
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,
    /// Leave everything when it fails
    #[arg(long)]
    pub(crate) keep_on_failure: bool,
    /// Keep what the nodes hold in volumes that outlive `down`
    #[arg(long)]
    pub(crate) persist: bool,
    /// How many nodes to make at once
    #[arg(long, default_value_t = limits::PARALLEL as u8)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(name::MOST_NODES)))]
    pub(crate) parallel: u8,
}

#[derive(clap::Args)]
pub(crate) struct Status {
    /// Again and again until q or ctrl-c, on the whole screen where there is one
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(clap::Args)]
pub(crate) struct Logs {
    /// Go on as they write
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of this node only; may be repeated
    #[arg(long, value_name = "H")]
    pub(crate) node: Vec<String>,
    /// Not older than this
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) since: Option<Duration>,
    /// Only lines that this regular expression finds something in
    #[arg(long, value_name = "RE")]
    pub(crate) grep: Option<regex::Regex>,
    /// The time of each line before it, in UTC
    #[arg(long)]
    pub(crate) utc: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Exit code: the command's own; 6 when it timed out; with several nodes 1 \
    when it failed in all, 8 when in some.")]
pub(crate) struct Exec {
    /// The node; several with commas
    #[arg(required_unless_present = "all")]
    pub(crate) node: Option<String>,
    /// In every node
    #[arg(long, conflicts_with = "node")]
    pub(crate) all: bool,
    /// Kill it after this long
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// The command
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Nodes {
    /// The nodes
    #[arg(value_name = "H", required_unless_present = "all")]
    pub(crate) nodes: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "nodes")]
    pub(crate) all: bool,
}

/// What cuts nodes off from each other or makes their network bad, and what ends that.
#[derive(Subcommand)]
pub(crate) enum CutVerb {
    /// Cut nodes off from others, in both directions
    Partition(Partition),
    /// Cut each of these nodes off from every other one
    Isolate(Isolate),
    /// Let each node reach its two neighbours only
    Ring(CutManner),
    /// Cut the others into two halves that only this node reaches
    Bridge {
        /// The node between them
        #[arg(value_name = "H")]
        node: String,
        #[command(flatten)]
        manner: CutManner,
    },
    /// Lose some of what a node gets from the others
    Loss {
        /// The nodes; several with commas
        #[arg(value_name = "H", required = true)]
        nodes: Vec<String>,
        /// How many of a hundred packets
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
        pct: u32,
        /// Of what it gets from these nodes only
        #[arg(long, value_name = "H")]
        to: Vec<String>,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Hold back what a node sends
    Delay {
        /// The nodes; several with commas
        #[arg(value_name = "H", required = true)]
        nodes: Vec<String>,
        /// For so many milliseconds
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        ms: u32,
        /// More or less by so many milliseconds
        #[arg(long, value_name = "MS", default_value_t = 0)]
        #[arg(value_parser = clap::value_parser!(u32).range(0..=5_000))]
        jitter: u32,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// Let a node send no faster than this
    Rate {
        /// The nodes; several with commas
        #[arg(value_name = "H", required = true)]
        nodes: Vec<String>,
        /// Thousand bits in a second
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=20_000))]
        kbit: u32,
        #[command(flatten)]
        lasting: Lasting,
    },
    /// End the faults of these nodes' networks, or all of them
    Heal {
        /// The nodes
        #[arg(value_name = "H")]
        nodes: Vec<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum NodeVerb {
    /// Add nodes, which vote when a seat is free, and wait until they are ready
    Add {
        /// Their names; the lowest free ones if left out
        #[arg(value_name = "H")]
        nodes: Vec<String>,
        /// How many
        #[arg(long, default_value_t = 1, conflicts_with = "nodes")]
        #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(name::MOST_NODES)))]
        count: u8,
        #[command(flatten)]
        manner: NodeManner,
    },
    /// Let nodes leave the cluster, and remove them with all that they hold
    Rm {
        /// The nodes
        #[arg(value_name = "H", required = true)]
        nodes: Vec<String>,
        /// Remove them although they cannot leave
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        manner: NodeManner,
    },
}

#[derive(Subcommand)]
pub(crate) enum SnapshotVerb {
    /// Save it
    Save {
        /// Where to
        file: PathBuf,
    },
    /// Make a cluster of a new name that begins with it
    Restore {
        /// What was saved
        file: PathBuf,
        #[command(flatten)]
        shape: Box<Shape>,
    },
}

#[derive(clap::Args)]
pub(crate) struct NodeManner {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// How long it may take
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,
}

impl NodeManner {
    pub(crate) fn how(&self, force: bool) -> node::How {
        node::How { plan: self.plan, force, wait: (!self.no_wait).then_some(self.wait) }
    }
}

#[derive(clap::Args)]
pub(crate) struct Partition {
    /// One side; several with commas
    #[arg(value_name = "A")]
    pub(crate) one: String,
    /// The other side; every other node if it is left out
    #[arg(long, value_name = "B")]
    pub(crate) from: Option<String>,
    /// Only what the first side sends is lost
    #[arg(long)]
    pub(crate) one_way: bool,
    #[command(flatten)]
    pub(crate) manner: CutManner,
}

#[derive(clap::Args)]
pub(crate) struct Isolate {
    /// The nodes; several with commas
    #[arg(value_name = "H", required = true)]
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) manner: CutManner,
}

#[derive(clap::Args)]
pub(crate) struct Lasting {
    /// End it after this long, in whole seconds
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) lasting: Option<Duration>,
}

#[derive(clap::Args)]
pub(crate) struct CutManner {
    /// What it looks like from the inside
    #[arg(long, value_enum, default_value_t = cut::Mode::Drop)]
    pub(crate) mode: cut::Mode,
    /// End it after this long, in whole seconds
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) lasting: Option<Duration>,
}

impl CutManner {
    pub(crate) fn whole(&self, one_way: bool) -> fault::Manner {
        fault::Manner { mode: self.mode, lasting: self.lasting, one_way }
    }
}
