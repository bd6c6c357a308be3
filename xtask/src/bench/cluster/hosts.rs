//! Agents as plain processes on loopback, and the least that a script does with the same etcd.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::gateway::{ask, serves, until};

/// How long a cluster may take to form before it counts as failed.
const FORMED: Duration = Duration::from_secs(60);
/// A question that is answered at once or not at all.
const SOON: Duration = Duration::from_millis(500);

/// What hosts run.
pub(super) struct Programs {
    /// The agent.
    pub(super) agent: PathBuf,
    /// The etcd of agents and of the script.
    pub(super) etcd: PathBuf,
}

/// A host: its two ports, its folder, and what runs of it.
pub(super) struct Host {
    pub(super) client: u16,
    peer: u16,
    name: String,
    folder: PathBuf,
    child: Option<Child>,
}

impl Host {
    /// The n-th host of a set below a folder, with ports that were free a moment ago.
    pub(super) fn new(number: usize, folder: &Path) -> anyhow::Result<Host> {
        let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let folder = folder.join(format!("h{number}"));
        fs::create_dir_all(&folder)?;
        Ok(Host {
            client: one.local_addr()?.port(),
            peer: other.local_addr()?.port(),
            name: format!("h{number}"),
            folder,
            child: None,
        })
    }

    /// A set of hosts.
    pub(super) fn set(count: usize, folder: &Path) -> anyhow::Result<Vec<Host>> {
        (1..=count).map(|number| Host::new(number, folder)).collect()
    }

    fn run(&mut self, mut command: Command) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let program = command.get_program().to_owned();
        let child = command.current_dir(&self.folder).spawn();
        self.child = Some(child.with_context(|| format!("cannot start {program:?}"))?);
        Ok(())
    }

    /// Starts the agent; without a seed it founds a cluster of `size`.
    pub(super) fn agent(
        &mut self,
        programs: &Programs,
        size: usize,
        seed: Option<u16>,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&programs.agent);
        command.env("QUORATE_ETCD", &programs.etcd);
        command.args(["run", "--hostname", &self.name]).arg("--prefix").arg(&self.folder);
        command.args(["--ideal-cluster-size", &size.to_string()]);
        command.args(["--client-urls", &url(self.client), "--server-urls", &url(self.peer)]);
        if let Some(seed) = seed {
            command.args(["--seeds", &url(seed)]);
        }
        command.arg("empty");
        self.run(command)
    }

    /// Starts an agent that never serves, as this user if one is named.
    pub(super) fn takes_part(
        &mut self,
        programs: &Programs,
        seed: u16,
        user: Option<u32>,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&programs.agent);
        if let Some(user) = user {
            nix::unistd::chown(&self.folder, Some(user.into()), None)?;
            command.uid(user);
        }
        command.args(["run", "--no-server", "--hostname", &self.name]);
        command.arg("--prefix").arg(&self.folder).args(["--seeds", &url(seed), "empty"]);
        self.run(command)
    }

    /// Starts an etcd with the flags that the agent gives it.
    pub(super) fn etcd(&mut self, etcd: &Path, list: &str, state: &str) -> anyhow::Result<()> {
        let mut command = Command::new(etcd);
        let data = self.folder.join("data");
        let data = data.to_string_lossy();
        for (flag, value) in [
            ("name", self.name.as_str()),
            ("data-dir", &data),
            ("listen-client-urls", &url(self.client)),
            ("advertise-client-urls", &url(self.client)),
            ("listen-peer-urls", &url(self.peer)),
            ("initial-advertise-peer-urls", &url(self.peer)),
            ("initial-cluster", list),
            ("initial-cluster-state", state),
            ("initial-cluster-token", "bench"),
            ("pre-vote", "true"),
            ("strict-reconfig-check", "false"),
            ("logger", "zap"),
            ("log-outputs", "stderr"),
            ("log-level", "info"),
            ("quota-backend-bytes", "2147483648"),
            ("auto-compaction-mode", "periodic"),
            ("auto-compaction-retention", "1h"),
            ("max-txn-ops", "512"),
            ("grpc-keepalive-min-time", "1s"),
            ("snapshot-count", "10000"),
            ("heartbeat-interval", "100"),
            ("election-timeout", "1000"),
        ] {
            command.arg(format!("--{flag}={value}"));
        }
        self.run(command)
    }

    /// As `--initial-cluster` names it.
    pub(super) fn entry(&self) -> String {
        format!("{}={}", self.name, url(self.peer))
    }

    /// The number of its process.
    pub(super) fn id(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("it does not run")?.id())
    }

    /// The number of the etcd that its agent runs.
    pub(super) fn child_id(&self) -> anyhow::Result<u32> {
        let id = self.children()?.first().copied().context("it runs no etcd")?;
        Ok(u32::try_from(id)?)
    }

    /// Sends a signal to its process.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.id()?)?), signal)?;
        Ok(())
    }

    /// Sends a signal to its process and to the etcd that this runs.
    pub(super) fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        self.signal_children(signal)?;
        self.signal(signal)
    }

    /// Sends a signal to the etcd that its process runs.
    pub(super) fn signal_children(&self, signal: Signal) -> anyhow::Result<()> {
        for child in self.children()? {
            kill(Pid::from_raw(child), signal)?;
        }
        Ok(())
    }

    fn children(&self) -> anyhow::Result<Vec<i32>> {
        let mut found = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()?))? {
            let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            for child in list.split_whitespace() {
                found.push(child.parse()?);
            }
        }
        Ok(found)
    }

    /// Waits until its process has ended.
    pub(super) fn ended(&mut self, within: Duration) -> anyhow::Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        let child = self.child.as_mut().context("it does not run")?;
        let mut status = None;
        let took = until("the end of an agent", start, within, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        })?;
        self.child = None;
        Ok((status.context("no exit status")?, took))
    }

    /// Kills it and waits until its ports are free: the etcd of an agent dies with it.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait()?;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let ports = (self.client, self.peer);
        let within = Duration::from_secs(5);
        until("free ports", Instant::now(), within, || free(ports.0) && free(ports.1))?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A frozen one first has to be able to die with its child.
            drop(self.signal_all(Signal::SIGCONT));
            drop(self.kill());
        }
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Starts agents at one moment, the first of which founds; waits until all vote and serve.
pub(super) fn form(programs: &Programs, hosts: &mut [Host]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let size = hosts.len();
    let seed = hosts.first().context("no hosts")?.client;
    for (number, host) in hosts.iter_mut().enumerate() {
        host.agent(programs, size, (number > 0).then_some(seed))?;
    }
    until("formation", start, FORMED, || {
        super::gateway::voters(seed) == size && hosts.iter().all(|host| serves(host.client, SOON))
    })
}

/// The same by the least script: one `new`, then for each other host add as learner, start and
/// promote.
pub(super) fn script(etcd: &Path, hosts: &mut [Host]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let Some((first, others)) = hosts.split_first_mut() else { bail!("no hosts") };
    let mut list = first.entry();
    first.etcd(etcd, &list, "new")?;
    until("the first member", start, FORMED, || serves(first.client, SOON))?;
    for host in others {
        let body = json!({"peerURLs": [url(host.peer)], "isLearner": true});
        let added = ask(first.client, "/v3/cluster/member/add", &body, FORMED)?;
        list = format!("{list},{}", host.entry());
        host.etcd(etcd, &list, "existing")?;
        let body = json!({"ID": added["member"]["ID"]});
        // Refused until the learner has caught up.
        until("a promotion", Instant::now(), FORMED, || {
            ask(first.client, "/v3/cluster/member/promote", &body, SOON).is_ok()
        })?;
        until("the new member", Instant::now(), FORMED, || serves(host.client, SOON))?;
    }
    Ok(start.elapsed())
}
