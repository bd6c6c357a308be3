//! A cluster for a test, an example or a chapter: made, addressed by node, removed when dropped.
//!
//! The interface is blocking, because its callers are step by step; each call may be made from
//! several threads at once. It compares nothing and prints nothing: what came back is the caller's
//! business.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::diff::{self, Conflict};
use crate::cluster::place::Site;
use crate::cluster::spec::Wanted;
use crate::cluster::up::{self, Manner};
use crate::cluster::view::Goal;
use crate::cluster::{copy, down, limits, logs, look, name, process, run};
use crate::engine::{Container, Engine, ExecRequest};
use crate::image::{self, Given};
use crate::interrupt::Stop;
use crate::paths::Exit;
use crate::ui::Ui;

pub(crate) use crate::cluster::label::Lease;
pub(crate) use crate::cluster::run::Output;
pub(crate) use crate::cluster::spec::{Agent, STATE};

/// How long a cluster with running agents may take to get its quorum.
const READY: Duration = Duration::from_secs(30);

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
    /// A folder for what its nodes wrote, when they do not get ready.
    pub(crate) logs: Option<PathBuf>,
}

/// A running cluster. Dropping it removes it, on a panic too; SIGINT and SIGTERM remove it before
/// the process ends.
#[derive(Debug)]
pub(crate) struct Lab {
    spec: LabSpec,
    engine: Engine,
    gone: bool,
}

impl Lab {
    /// Builds the image if needed, makes the cluster, and waits: for the quorum of running agents
    /// (30 s), or for the containers of manual ones. Removes a leftover of the same name first.
    ///
    /// # Errors
    /// As `cluster up` has them; nothing is left then. A living cluster of that name is a conflict.
    pub(crate) fn up(spec: LabSpec) -> anyhow::Result<Lab> {
        watch_signals();
        name::parse(&spec.name).map_err(|e| Exit::error(2, e))?;
        remember(&spec.name);
        let made = runtime()?.block_on(make(&spec));
        match made {
            Ok(engine) => Ok(Lab { spec, engine, gone: false }),
            Err(failure) => {
                wait_if_ending();
                forget(&spec.name);
                Err(failure)
            }
        }
    }

    /// A cluster that commands of the caller will make under this name, with the image made first.
    /// It is removed like any other lab.
    ///
    /// # Errors
    /// No engine answers, or there is no image.
    pub(crate) fn promised(name: &str, nodes: u8) -> anyhow::Result<Lab> {
        watch_signals();
        remember(name);
        let spec = LabSpec {
            name: name.to_owned(),
            nodes,
            voters: nodes,
            lease: Lease::Book,
            agent: Agent::Running,
            files: Vec::new(),
            logs: None,
        };
        let prepare = async {
            let engine = Engine::connect().await?;
            let given = Given::from_environment();
            let mut image = image::prepare(&engine, &given, &Ui::new(true, true)).await?;
            image::ensure(&engine, &mut image).await?;
            anyhow::Ok(engine)
        };
        match runtime()?.block_on(prepare) {
            Ok(engine) => Ok(Lab { spec, engine, gone: false }),
            Err(failure) => {
                wait_if_ending();
                forget(name);
                Err(failure)
            }
        }
    }

    /// The cluster's name; `QUORATE_CLUSTER` of a `cargo xtask` that is to act on it.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The host names of its nodes, in order.
    pub(crate) fn nodes(&self) -> Vec<String> {
        (1..=self.spec.nodes).map(name::node).collect()
    }

    /// Runs a shell command in a node, both streams joined, `COLUMNS=80`; kills it and all that it
    /// started after `timeout`.
    pub(crate) fn exec(
        &self,
        node: &str,
        command: &str,
        timeout: Duration,
    ) -> anyhow::Result<Output> {
        runtime()?.block_on(async {
            // By name: one call less than looking its id up, and examples make many.
            let id = self.container(node)?;
            Ok(run::shell(&self.engine, &id, command, timeout).await?)
        })
    }

    /// Runs a shell command in a node on a terminal of this width and height; gives its exit code,
    /// 137 after `timeout`, and what the terminal was sent.
    pub(crate) fn exec_on_terminal(
        &self,
        node: &str,
        command: &str,
        (width, height): (u16, u16),
        timeout: Duration,
    ) -> anyhow::Result<(i64, String)> {
        runtime()?.block_on(async {
            let id = self.container(node)?;
            let seconds = timeout.as_secs().max(1).to_string();
            // Told before the command starts, which may look once.
            let script = format!("stty cols {width} rows {height}; {command}");
            let words = ["timeout", "-s", "KILL", &seconds, "sh", "-c", &script];
            let request = ExecRequest {
                argv: words.map(str::to_owned).to_vec(),
                env: vec!["TERM=xterm-256color".to_owned()],
            };
            let mut terminal = self.engine.terminal(&id, request).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = terminal.shown.next().await {
                bytes.extend(piece?);
            }
            let code = self.engine.ended_terminal(&terminal.exec).await?;
            Ok((code, String::from_utf8_lossy(&bytes).into_owned()))
        })
    }

    /// Writes a file in a node; missing parents are made. Who watches it sees the old or the new
    /// content.
    pub(crate) fn upload(
        &self,
        node: &str,
        path: &str,
        bytes: &[u8],
        mode: u32,
    ) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let container = self.listed(node).await?;
            copy::put(&self.engine, &container, path, bytes, mode).await
        })
    }

    /// What the node's main process wrote, as lines; stdout and stderr in the engine's order.
    pub(crate) fn logs(&self, node: &str) -> anyhow::Result<Vec<String>> {
        runtime()?.block_on(async {
            let lines = logs::all(&self.engine, &self.container(node)?).await?;
            Ok(lines.into_iter().map(|line| line.text).collect())
        })
    }

    /// The number of a node's main process, on the machine of the engine.
    pub(crate) fn process(&self, node: &str) -> anyhow::Result<u32> {
        let container = self.container(node)?;
        Ok(runtime()?.block_on(self.engine.process(&container))?)
    }

    /// Removes the cluster and says so if something was left.
    pub(crate) fn down(mut self) -> anyhow::Result<()> {
        self.gone = true;
        self.remove()
    }

    fn remove(&self) -> anyhow::Result<()> {
        runtime()?.block_on(remove(&self.engine, &self.spec.name))?;
        forget(&self.spec.name);
        Ok(())
    }

    fn container(&self, node: &str) -> anyhow::Result<String> {
        match self.nodes().iter().any(|there| there == node) {
            true => Ok(name::container(&self.spec.name, node)),
            false => Err(name::no_node(&self.spec.name, node, &self.nodes())),
        }
    }

    async fn listed(&self, node: &str) -> anyhow::Result<Container> {
        let nodes = look::nodes(&self.engine, &self.spec.name, &[node.to_owned()]).await?;
        let found = nodes.into_iter().next().map(|(_, container)| container);
        found.ok_or_else(|| name::no_node(&self.spec.name, node, &self.nodes()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.gone
            && let Err(failure) = self.remove()
        {
            eprintln!("cluster {} was not removed: {failure:#}", self.spec.name);
        }
    }
}

async fn make(spec: &LabSpec) -> anyhow::Result<Engine> {
    let engine = Engine::connect().await?;
    let ui = Ui::new(true, true);
    let given = Given::from_environment();
    let _lock = process::lock(&spec.name)?;
    let mut image = image::prepare(&engine, &given, &ui).await?;
    let wanted = Wanted {
        cluster: spec.name.clone(),
        nodes: spec.nodes,
        voters: spec.voters,
        lease: spec.lease,
        agent: spec.agent,
        internal: false,
        persist: false,
        memory: limits::MEMORY,
        nano_cpus: limits::NANO_CPUS,
        site: Site::default(),
        image: image.tag.clone(),
        image_key: image.key.clone(),
    };
    image::ensure(&engine, &mut image).await?;
    let mut files: BTreeMap<String, Vec<crate::engine::FileEntry>> = BTreeMap::new();
    for file in &spec.files {
        let entries = copy::entries(&file.path, &file.bytes, 0o644);
        files.entry(file.node.clone()).or_default().extend(entries);
    }
    let manner = Manner {
        wait: Some(READY),
        keep_on_failure: false,
        goal: Goal::All,
        parallel: limits::PARALLEL,
        files,
        logs: spec.logs.clone(),
    };
    let made = up::up(&engine, &wanted, &manner, &Stop::never(), &ui).await?;
    if made.nodes == 0 {
        let text = format!("cluster {} is there already and in use", spec.name);
        return Err(Conflict::Foreign(text).into_error(&spec.name));
    }
    Ok(engine)
}

async fn remove(engine: &Engine, cluster: &str) -> anyhow::Result<()> {
    let ours: diff::Listed = look::list(engine).await?.of(cluster);
    down::remove(engine, &ours).await.map(|_| ())
}

/// The key of the image that nodes would have now.
///
/// # Errors
/// No engine answers, or there is no image.
pub(crate) fn image_key() -> anyhow::Result<String> {
    runtime()?.block_on(async {
        let engine = Engine::connect().await?;
        let given = Given::from_environment();
        Ok(image::prepare(&engine, &given, &Ui::new(true, true)).await?.key)
    })
}

/// What the agent of the nodes prints when it is run here; it is built if it has to be.
///
/// # Errors
/// It does not build, or ends with an error.
pub(crate) fn agent(words: &[&str]) -> anyhow::Result<String> {
    let given = Given::from_environment();
    let program = runtime()?.block_on(image::agent_program(&given))?;
    let output = std::process::Command::new(program).args(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "quorate {}: {}", words.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One runtime for all labs of the process.
fn runtime() -> anyhow::Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    });
    made.as_ref().map_err(|e| anyhow::anyhow!("no runtime for the lab: {e}"))
}

/// Names of the labs that are there or being made.
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Does not return once a signal is ending this process: what began then would be left behind.
fn remember(name: &str) {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    // Asked under the lock: who cleans up says that he does before he reads the names.
    if !ENDING.load(Ordering::SeqCst) {
        live.insert(name.to_owned());
    }
    drop(live);
    wait_if_ending();
}

fn forget(name: &str) {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
}

/// Commands of ours that act on a lab at this moment, by process id.
static ACTING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
/// How long such a command may take to undo what it did.
const UNDO: Duration = Duration::from_secs(15);
/// How often is looked whether it has ended: the thread that started it waits for it, this one
/// cannot.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Says that a command acts on a lab until this is dropped: on a signal it is interrupted, and its
/// lab removed when it has undone its part.
pub(crate) struct Acting(u32);

impl Acting {
    /// The command with this process id acts; it must have a process group of its own.
    pub(crate) fn new(pid: u32) -> Acting {
        ACTING.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        Acting(pid)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        ACTING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Whether a signal is ending this process: its cleaning up must not be overtaken.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Does not return once a signal is ending this process; the cleaning up ends it.
pub(crate) fn wait_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Interrupts the commands that act on labs and waits until they have ended.
async fn interrupt_acting() {
    let acting = || ACTING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for pid in acting().iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        // One that has ended meanwhile needs no signal.
        let _ended = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGINT);
    }
    let ended = async {
        while !acting().is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // Whatever it left after that is removed all the same.
    drop(tokio::time::timeout(UNDO, ended).await);
}

/// From the first lab on, SIGINT and SIGTERM remove all labs before the process ends.
fn watch_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(runtime) = runtime() {
            runtime.spawn(on_signal());
        }
    });
}

async fn on_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let code = tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    ENDING.store(true, Ordering::SeqCst);
    let names: Vec<String> =
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    eprintln!("interrupted; removing {}", names.join(", "));
    let clean = async {
        interrupt_acting().await;
        let engine = Engine::connect().await?;
        // One that cannot be removed does not keep the others.
        let mut left = Ok(());
        for name in &names {
            left = left.and(remove(&engine, name).await);
        }
        left
    };
    tokio::select! {
        _ = interrupt.recv() => eprintln!("left as it is. To clean up: cargo xtask cluster gc"),
        done = clean => if let Err(failure) = done {
            eprintln!("not everything was removed: {failure:#}. Try: cargo xtask cluster gc");
        },
    }
    std::process::exit(code);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether to go on; where the engine is required its absence is a failure.
    fn engine_there() -> bool {
        let engine = runtime().unwrap().block_on(Engine::connect());
        let required = std::env::var_os("CI").is_some()
            || std::env::var("QUORATE_REQUIRE_ENGINE").is_ok_and(|value| value == "1");
        match engine {
            Ok(_) => true,
            Err(failure) if required => panic!("this test needs an engine: {failure}"),
            Err(failure) => {
                eprintln!("skipped: 1 test of labs needs a container engine ({failure})");
                false
            }
        }
    }

    fn left(name: &str) -> bool {
        let listed = runtime().unwrap().block_on(async {
            let engine = Engine::connect().await.unwrap();
            look::list(&engine).await.unwrap()
        });
        !listed.of(name).is_empty()
    }

    #[test]
    fn engine_a_lab_has_its_files_runs_commands_and_is_gone_when_dropped() {
        if !engine_there() {
            return;
        }
        let name = format!("t-lab-{:04x}", std::process::id() & 0xffff);
        let file = |node: &str, path: &str, text: &str| NodeFile {
            node: node.to_owned(),
            path: path.to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        let lab = Lab::up(LabSpec {
            name: name.clone(),
            nodes: 2,
            voters: 1,
            lease: Lease::Book,
            agent: Agent::Manual,
            files: vec![file("h2", "/srv/deep/x", "two\n")],
            logs: None,
        })
        .unwrap();
        assert_eq!(lab.nodes(), ["h1", "h2"]);
        let second = Duration::from_secs(1);
        let seen = lab.exec("h2", "cat /srv/deep/x; echo $COLUMNS >&2; exit 3", 9 * second);
        let seen = seen.unwrap();
        assert_eq!((seen.exit, seen.timed_out), (3, false));
        assert_eq!(seen.lines, ["two", "80"]);

        lab.upload("h1", "/new/y", b"y", 0o600).unwrap();
        let mode = lab.exec("h1", "stat -c %a /new/y; ls -A /new", 9 * second).unwrap();
        assert_eq!(mode.lines, ["600", "y"]);
        assert!(lab.exec("h1", "sleep 60", second).unwrap().timed_out);

        lab.upload("h1", "/new/y", b"z\n", 0o644).unwrap();
        let again = lab.exec("h1", "cat /new/y; stat -c %a /new/y", 9 * second).unwrap();
        assert_eq!(again.lines, ["z", "644"]);
        assert_eq!(lab.logs("h1").unwrap(), Vec::<String>::new());
        let unknown = lab.exec("h3", "true", second).unwrap_err().to_string();
        assert_eq!(unknown, format!("cluster {name} has no node h3. It has h1, h2"));
        assert!(left(&name));
        drop(lab);
        assert!(!left(&name));
    }
}
