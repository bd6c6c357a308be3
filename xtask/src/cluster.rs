//! `cargo xtask cluster`: real nodes in containers on this machine.
//!
//! What is wanted is turned into objects, compared with what the engine lists, and the difference
//! is made; all of that is decided in pure modules. The labels on the objects are the only record.
//! Nothing without our label is ever touched.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};

use crate::engine::{Engine, Power};
use crate::image::{self, Given};
use crate::interrupt::Stop;
use crate::paths::Exit;
use crate::ui::{Ui, table};

mod compose;
pub(crate) mod copy;
mod cut;
pub(crate) mod diff;
pub(crate) mod down;
mod fault;
mod gc;
pub(crate) mod label;
pub(crate) mod limits;
mod list;
pub(crate) mod logs;
pub(crate) mod look;
pub(crate) mod name;
mod node;
pub(crate) mod place;
mod power;
pub(crate) mod process;
pub(crate) mod run;
mod shell;
pub(crate) mod spec;
mod token;
pub(crate) mod up;
pub(crate) mod view;

use label::Lease;
use place::Site;
use spec::{Agent, Wanted};
use up::Manner;

/// What `cluster` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Args)]
struct Global {
    /// Name of the cluster
    #[arg(long, global = true, default_value = "demo", env = "QUORATE_CLUSTER")]
    #[arg(value_parser = name::parse)]
    name: String,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// What runs the nodes
    #[arg(long, global = true, value_enum, default_value_t = Choice::Auto)]
    engine: Choice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Whatever answers
    Auto,
    /// Docker, or Podman's service
    Docker,
}

#[derive(Subcommand)]
enum Verb {
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
    /// End the cuts of these nodes, or all of them
    Heal {
        /// The nodes
        #[arg(value_name = "H")]
        nodes: Vec<String>,
    },
    /// What is broken on purpose
    Faults,
    /// Remove a cluster with all it holds
    Down {
        /// Every cluster of this tool
        #[arg(long)]
        all: bool,
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
    /// Write compose/: the same clusters as Compose files
    Compose {
        /// Change nothing; fail when a file is not as it would be written
        #[arg(long)]
        check: bool,
    },
}

#[derive(clap::Args)]
struct Up {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(name::MOST_NODES)))]
    nodes: u8,
    /// How many of them vote; 3, or all if there are fewer
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=i64::from(name::MOST_NODES)))]
    voters: Option<u8>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// Remove a cluster that is not as wanted, and make it anew
    #[arg(long)]
    recreate: bool,
    /// How long the cluster may take to get ready
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Leave everything when it fails
    #[arg(long)]
    keep_on_failure: bool,
    /// No way out of the cluster's network; no published ports either
    #[arg(long)]
    internal: bool,
    /// Agents without TLS
    #[arg(long)]
    insecure: bool,
    /// Memory of each node: bytes, or with k, m, g
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = limits::memory)]
    memory: i64,
    /// Processors of each node
    #[arg(long, value_name = "N", default_value = "1", value_parser = limits::cpus)]
    cpus: i64,
    /// Subnet of the nodes, a private one of 256 addresses; by default the first free one in 10.91
    #[arg(long, value_name = "CIDR", value_parser = place::parse_subnet)]
    subnet: Option<[u8; 3]>,
    /// Publish the client port of node n on this port plus n; by default the first free block
    #[arg(long, value_name = "PORT", value_parser = place::parse_ports)]
    #[arg(conflicts_with = "internal")]
    publish_base: Option<u16>,
    /// How many nodes to make at once
    #[arg(long, default_value_t = limits::PARALLEL as u8, value_parser = clap::value_parser!(u8).range(1..=30))]
    parallel: u8,
    #[command(flatten)]
    given: Given,
}

#[derive(clap::Args)]
struct Status {
    /// Again and again, until interrupted
    #[arg(long)]
    watch: bool,
}

#[derive(clap::Args)]
struct Logs {
    /// Go on as they write
    #[arg(short, long)]
    follow: bool,
    /// Of this node only; may be repeated
    #[arg(long, value_name = "H")]
    node: Vec<String>,
    /// Not older than this
    #[arg(long, value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only lines that this regular expression finds something in
    #[arg(long, value_name = "RE")]
    grep: Option<regex::Regex>,
    /// The time of each line before it, in UTC
    #[arg(long)]
    utc: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Exit code: the command's own; 6 when it timed out; with several nodes 1 \
    when it failed in all, 8 when in some.")]
struct Exec {
    /// The node; several with commas
    #[arg(required_unless_present = "all")]
    node: Option<String>,
    /// In every node
    #[arg(long, conflicts_with = "node")]
    all: bool,
    /// Kill it after this long
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(clap::Args)]
struct Nodes {
    /// The nodes
    #[arg(value_name = "H", required_unless_present = "all")]
    nodes: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
}

#[derive(Subcommand)]
enum NodeVerb {
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

#[derive(clap::Args)]
struct NodeManner {
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// How long it may take
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

impl NodeManner {
    fn how(&self, force: bool) -> node::How {
        node::How { plan: self.plan, force, wait: (!self.no_wait).then_some(self.wait) }
    }
}

#[derive(clap::Args)]
struct Partition {
    /// One side; several with commas
    #[arg(value_name = "A")]
    one: String,
    /// The other side; every other node if it is left out
    #[arg(long, value_name = "B")]
    from: Option<String>,
    /// Only what the first side sends is lost
    #[arg(long)]
    one_way: bool,
    #[command(flatten)]
    manner: CutManner,
}

#[derive(clap::Args)]
struct Isolate {
    /// The nodes; several with commas
    #[arg(value_name = "H", required = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    manner: CutManner,
}

#[derive(clap::Args)]
struct CutManner {
    /// What it looks like from the inside
    #[arg(long, value_enum, default_value_t = cut::Mode::Drop)]
    mode: cut::Mode,
    /// End it after this long, in whole seconds
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    lasting: Option<Duration>,
}

impl CutManner {
    fn whole(&self, one_way: bool) -> fault::Manner {
        fault::Manner { mode: self.mode, lasting: self.lasting, one_way }
    }
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { global, verb } = args;
    if let Verb::Compose { check } = verb {
        return compose::compose(check);
    }
    crate::interrupt::block_on(async move |stop| {
        let engine = Engine::connect().await?;
        act(&engine, &global, verb, &stop).await
    })
}

async fn act(
    engine: &Engine,
    global: &Global,
    verb: Verb,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let ui = Ui::new(global.json, false);
    let cluster = global.name.as_str();
    let power =
        async |nodes: Nodes, power| power::power(engine, cluster, &nodes.nodes, power, &ui).await;
    match verb {
        Verb::Up(up) => bring_up(engine, global, up, stop, &ui).await,
        Verb::Status(status) => list::status(engine, cluster, global.json, status.watch).await,
        Verb::Logs(of) => {
            let what = logs::What {
                nodes: &of.node,
                follow: of.follow,
                since: of.since,
                only: of.grep.as_ref(),
                utc: of.utc,
            };
            logs::logs(engine, cluster, &what).await
        }
        Verb::Exec(exec) => execute(engine, global, exec).await,
        Verb::Shell { node, command } => shell::shell(engine, cluster, &node, &command).await,
        Verb::Cp { source, target } => {
            for line in copy::copy(engine, cluster, &source, &target).await? {
                ui.line("copied", &line);
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Kill(nodes) => power(nodes, Power::Kill).await,
        Verb::Stop(nodes) => power(nodes, Power::Stop).await,
        Verb::Start(nodes) => power(nodes, Power::Start).await,
        Verb::Restart(nodes) => power(nodes, Power::Restart).await,
        Verb::Pause(nodes) => power(nodes, Power::Pause).await,
        Verb::Unpause(nodes) => power(nodes, Power::Unpause).await,
        Verb::Node(NodeVerb::Add { nodes, count, manner }) => {
            let how = manner.how(false);
            node::add(engine, cluster, (&nodes, count), &how, (stop, &ui)).await
        }
        Verb::Node(NodeVerb::Rm { nodes, force, manner }) => {
            let how = manner.how(force);
            node::remove(engine, cluster, &nodes, &how, (stop, &ui)).await
        }
        Verb::Partition(Partition { one, from, one_way, manner }) => {
            let (one, from) = ([one], from.into_iter().collect::<Vec<_>>());
            let manner = manner.whole(one_way);
            let cuts = fault::partition(engine, cluster, (&one, &from), manner, &ui).await?;
            told(global, "cuts", cuts)
        }
        Verb::Isolate(Isolate { nodes, manner }) => {
            let cuts = fault::isolate(engine, cluster, &nodes, manner.whole(false), &ui);
            told(global, "cuts", cuts.await?)
        }
        Verb::Ring(manner) => {
            told(global, "cuts", fault::ring(engine, cluster, manner.whole(false), &ui).await?)
        }
        Verb::Bridge { node, manner } => {
            let cuts = fault::bridge(engine, cluster, &node, manner.whole(false), &ui);
            told(global, "cuts", cuts.await?)
        }
        Verb::Heal { nodes } => {
            told(global, "healed", fault::heal(engine, cluster, &nodes, &ui).await?)
        }
        Verb::Faults => fault::faults(engine, cluster, global.json).await,
        Verb::Down { all } => down::down(engine, cluster, all, &ui).await,
        Verb::Ls => list::clusters(engine, global.json).await,
        Verb::Gc { older_than, dry_run } => down::collect(engine, older_than, dry_run, &ui).await,
        Verb::Compose { check } => compose::compose(check),
    }
}

/// The JSON of a verb that has told its lines already.
fn told(global: &Global, what: &str, done: Vec<serde_json::Value>) -> anyhow::Result<ExitCode> {
    if global.json {
        println!("{}", serde_json::json!({"schema": 1, "cluster": global.name, what: done}));
    }
    Ok(ExitCode::SUCCESS)
}

async fn bring_up(
    engine: &Engine,
    global: &Global,
    up: Up,
    stop: &Stop,
    ui: &Ui,
) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let lock = process::lock(&global.name)?;
    let mut image = image::prepare(engine, &up.given, ui).await?;
    let wanted = Wanted {
        cluster: global.name.clone(),
        nodes: up.nodes,
        voters: up.voters.unwrap_or(3).min(up.nodes),
        lease: Lease::Keep,
        agent: if up.insecure { Agent::Insecure } else { Agent::Running },
        internal: up.internal,
        memory: up.memory,
        nano_cpus: up.cpus,
        site: Site { subnet: up.subnet, ports: up.publish_base },
        image: image.tag.clone(),
        image_key: image.key.clone(),
    };
    if up.plan {
        let listed = look::list(engine).await?;
        return print_plan(&wanted, &listed, up.recreate, global.json);
    }
    let mut listed = up::sweep(engine, &wanted.cluster).await?;
    if up.recreate && matches!(diff::plan(&wanted, &listed), Err(diff::Conflict::Differs(_))) {
        down::remove(engine, &listed.of(&wanted.cluster)).await?;
        listed = look::list(engine).await?;
    }
    let steps = diff::plan(&wanted, &listed).map_err(|c| c.into_error(&wanted.cluster))?;
    if steps.is_empty() {
        ui.line("unchanged", &format!(" {} nodes, image and spec match", wanted.nodes));
        if global.json {
            println!(
                "{}",
                serde_json::json!({"schema": 1, "cluster": wanted.cluster, "changed": false})
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = stop.race(image::ensure(engine, &mut image)).await?;
    image::report(ui, &image, &loaded, start);
    let wait = (!up.no_wait).then_some(up.wait);
    let manner = Manner {
        wait,
        keep_on_failure: up.keep_on_failure,
        goal: view::Goal::All,
        parallel: usize::from(up.parallel),
        files: BTreeMap::new(),
    };
    let made = up::up(engine, &wanted, &manner, stop, ui).await?;
    drop(lock);
    let view = match made.view {
        Some(view) => view,
        None => {
            let ours = look::cluster(engine, &global.name).await?;
            view::View::new(&global.name, &ours, process::now())
        }
    };
    print_made(&view, global, ui);
    Ok(ExitCode::SUCCESS)
}

fn print_made(view: &view::View, global: &Global, ui: &Ui) {
    if global.json {
        println!("{}", view.json());
        return;
    }
    for (number, line) in table(&view.table()).iter().enumerate() {
        ui.line(if number == 0 { "ready" } else { "" }, line);
    }
    let name =
        if global.name == "demo" { String::new() } else { format!("--name {} ", global.name) };
    ui.line("next", &format!("cargo xtask cluster {name}exec h1 -- quorate status"));
}

fn print_plan(
    wanted: &Wanted,
    listed: &diff::Listed,
    recreate: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let steps = match diff::plan(wanted, listed) {
        Err(diff::Conflict::Differs(_)) if recreate => diff::plan(wanted, &diff::Listed::default()),
        other => other,
    };
    let steps = steps.map_err(|c| c.into_error(&wanted.cluster))?;
    let lines: Vec<String> = steps.iter().map(|step| diff::describe(step, wanted)).collect();
    if json {
        println!("{}", serde_json::json!({"schema": 1, "cluster": wanted.cluster, "steps": lines}));
    } else if lines.is_empty() {
        println!("unchanged  {} nodes, image and spec match", wanted.nodes);
    }
    if !json {
        lines.iter().for_each(|line| println!("would {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn execute(engine: &Engine, global: &Global, exec: Exec) -> anyhow::Result<ExitCode> {
    let named: Vec<String> = exec.node.into_iter().collect();
    let nodes = look::nodes(engine, &global.name, &named).await?;
    let work = nodes.iter().map(|(node, container)| {
        let (command, timeout) = (&exec.command, exec.timeout);
        async move {
            let output = match command.as_slice() {
                [line] => run::shell(engine, &container.id, line, timeout).await,
                argv => run::program(engine, &container.id, argv, timeout).await,
            };
            (node, output)
        }
    });
    let outputs = futures_util::future::join_all(work).await;
    let several = outputs.len() > 1;
    let (mut codes, mut late) = (Vec::new(), Vec::new());
    let mut objects = Vec::new();
    for (node, output) in outputs {
        let output = output.map_err(|failure| {
            Exit::error(Exit::FAILED, format!("{node} cannot run it: {failure}"))
        })?;
        codes.push(output.exit);
        if output.timed_out {
            late.push(node.as_str());
        }
        if global.json {
            objects.push(serde_json::json!({
                "node": node, "exit": output.exit, "lines": output.lines,
                "timed_out": output.timed_out,
            }));
            continue;
        }
        if several {
            println!("{node} (exit {})", output.exit);
        }
        let indent = if several { "  " } else { "" };
        output.lines.iter().for_each(|line| println!("{indent}{line}"));
    }
    if global.json {
        println!("{}", serde_json::json!({"schema": 1, "cluster": global.name, "nodes": objects}));
    }
    if !late.is_empty() {
        let text = format!("timed out after {} s", exec.timeout.as_secs_f64());
        let text = if several { format!("{} {text}", late.join(", ")) } else { text };
        return Err(Exit::error(Exit::TIMED_OUT, text));
    }
    let failed = codes.iter().filter(|code| **code != 0).count();
    Ok(match (codes.as_slice(), failed) {
        (_, 0) => ExitCode::SUCCESS,
        ([code], _) => ExitCode::from(u8::try_from(*code).unwrap_or(1)),
        (_, failed) if failed == codes.len() => ExitCode::from(Exit::FAILED),
        _ => ExitCode::from(Exit::PARTIAL),
    })
}
