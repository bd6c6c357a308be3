//! Agents as plain processes on loopback, and the least that a script does with the same etcd.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::certs::Certificates;
use super::gateway::{ask, serves, until, voters};

/// How long a cluster may take to form before it counts as failed.
const FORMED: Duration = Duration::from_secs(60);
/// A question that is answered at once or not at all.
const SOON: Duration = Duration::from_millis(500);

/// What hosts run, and with what.
pub(super) struct Programs {
    /// The agent.
    pub(super) agent: PathBuf,
    /// The etcd of agents and of the script.
    pub(super) etcd: PathBuf,
    /// With TLS, the same files for everybody.
    pub(super) certificates: Option<Certificates>,
    /// etcd's heartbeat and election time in milliseconds, where they are not the usual ones.
    pub(super) timers: Option<(u32, u32)>,
}

impl Programs {
    fn url(&self, port: u16) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}")
    }
}

/// A host: its two ports, its folder, and what runs of it.
pub(super) struct Host {
    client: u16,
    peer: u16,
    name: String,
    folder: PathBuf,
    /// Where its etcd is asked.
    socket: PathBuf,
    child: Option<Child>,
}

impl Host {
    /// The n-th host of a set below a folder, with these ports.
    fn new(number: usize, folder: &Path, one: u16, other: u16) -> anyhow::Result<Host> {
        let folder = folder.join(format!("h{number}"));
        fs::create_dir_all(&folder)?;
        Ok(Host {
            client: one,
            peer: other,
            name: format!("h{number}"),
            socket: folder.join("client:0"),
            folder,
            child: None,
        })
    }

    /// A set of hosts, with ports that were free a moment ago.
    pub(super) fn set(count: usize, folder: &Path) -> anyhow::Result<Vec<Host>> {
        (1..=count).map(|number| Host::new(number, folder, port(), port())).collect()
    }

    /// Where its etcd is asked.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its URL for clients.
    pub(super) fn url(&self, programs: &Programs) -> String {
        programs.url(self.client)
    }

    fn run(&mut self, mut command: Command) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let program = command.get_program().to_owned();
        let child = command.current_dir(&self.folder).spawn();
        self.child = Some(child.with_context(|| format!("cannot start {program:?}"))?);
        Ok(())
    }

    /// Starts the agent; without seeds it founds a cluster of `size`.
    pub(super) fn agent(
        &mut self,
        programs: &Programs,
        size: usize,
        seeds: &[String],
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&programs.agent);
        command.env("QUORATE_ETCD", &programs.etcd);
        command.args(["run", "--hostname", &self.name]).arg("--prefix").arg(&self.folder);
        command.args(["--ideal-cluster-size", &size.to_string()]);
        command.args(["--client-urls", &programs.url(self.client)]);
        command.args(["--server-urls", &programs.url(self.peer)]);
        if let Some(files) = &programs.certificates {
            command.arg("--cert-file").arg(&files.cert).arg("--key-file").arg(&files.key);
            command.arg("--trusted-ca-file").arg(&files.authority);
        }
        if let Some((heartbeat, election)) = programs.timers {
            command.args(["--etcd-heartbeat", &heartbeat.to_string()]);
            command.args(["--etcd-election", &election.to_string()]);
        }
        if !seeds.is_empty() {
            command.args(["--seeds", &seeds.join(",")]);
        }
        command.arg("empty");
        self.socket = self.folder.join("sock/client:0");
        self.run(command)
    }

    /// Asks its agent for something about the cluster, and waits for the end of that.
    pub(super) fn cluster(&self, programs: &Programs, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&programs.agent);
        command.arg("cluster").args(words).arg("--prefix").arg(&self.folder);
        let done = command.output().context("cannot start the agent's program")?;
        if !done.status.success() {
            bail!("cluster {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// Starts an agent that never serves, as this user if one is named, who cannot read
    /// certificates.
    pub(super) fn takes_part(
        &mut self,
        programs: &Programs,
        seed: &str,
        user: Option<u32>,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&programs.agent);
        if let Some(user) = user {
            nix::unistd::chown(&self.folder, Some(user.into()), None)?;
            command.uid(user);
        }
        command.args(["run", "--no-server", "--hostname", &self.name]);
        command.arg("--prefix").arg(&self.folder).args(["--seeds", seed]);
        if let Some(files) = &programs.certificates {
            command.arg("--cert-file").arg(&files.cert).arg("--key-file").arg(&files.key);
            command.arg("--trusted-ca-file").arg(&files.authority);
        }
        command.arg("empty");
        self.run(command)
    }

    /// Starts an etcd with the flags that the agent gives it.
    pub(super) fn etcd(
        &mut self,
        programs: &Programs,
        list: &str,
        state: &str,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&programs.etcd);
        let data = self.folder.join("data");
        let (data, client) = (data.to_string_lossy(), programs.url(self.client));
        let peer = programs.url(self.peer);
        let (heartbeat, election) = programs.timers.unwrap_or((100, 1000));
        for (flag, value) in [
            ("name", self.name.as_str()),
            ("data-dir", &data),
            ("listen-client-urls", &format!("{client},unix://client:0")),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", &peer),
            ("initial-advertise-peer-urls", &peer),
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
            ("heartbeat-interval", &heartbeat.to_string()),
            ("election-timeout", &election.to_string()),
        ] {
            command.arg(format!("--{flag}={value}"));
        }
        for side in ["", "peer-"] {
            let Some(files) = &programs.certificates else { break };
            command.arg(format!("--{side}cert-file={}", files.cert.display()));
            command.arg(format!("--{side}key-file={}", files.key.display()));
            command.arg(format!("--{side}trusted-ca-file={}", files.authority.display()));
            command.arg(format!("--{side}client-cert-auth=true"));
        }
        // Left behind by one that was killed.
        drop(fs::remove_file(&self.socket));
        self.run(command)
    }

    /// As `--initial-cluster` names it.
    pub(super) fn entry(&self, programs: &Programs) -> String {
        format!("{}={}", self.name, programs.url(self.peer))
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

/// A port that nobody uses, outside of the range that outgoing connections take theirs from: who
/// tries a port there until somebody listens may end up connected to itself.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let own = (std::process::id() % 400) as u16 * 50;
        let port = 10_000 + own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A frozen one first has to be able to die with its child.
            drop(self.signal_all(Signal::SIGCONT));
            drop(self.kill());
        }
        // Logs stay for who looks for a failure; the data of all rounds would fill the disk.
        for data in ["data", "etcd", "archive"] {
            drop(fs::remove_dir_all(self.folder.join(data)));
        }
    }
}

/// Starts agents at one moment, the first of which founds a cluster of `size`; waits until so many
/// vote and serve.
pub(super) fn form(
    programs: &Programs,
    hosts: &mut [Host],
    size: usize,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let first = hosts.first().context("no hosts")?;
    let (seed, first) = ([first.url(programs)], first.folder.join("sock/client:0"));
    for (number, host) in hosts.iter_mut().enumerate() {
        host.agent(programs, size, if number > 0 { &seed } else { &[] })?;
    }
    until("formation", start, FORMED, || voters(&first) == size && serving(hosts) == size)
}

/// How many answer a linearizable read.
pub(super) fn serving(hosts: &[Host]) -> usize {
    hosts.iter().filter(|host| serves(&host.socket, SOON)).count()
}

/// The same by the least script: one `new`, then for each other host add as learner, start and
/// promote.
pub(super) fn script(programs: &Programs, hosts: &mut [Host]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let Some((first, others)) = hosts.split_first_mut() else { bail!("no hosts") };
    let mut list = first.entry(programs);
    first.etcd(programs, &list, "new")?;
    until("the first member", start, FORMED, || serves(&first.socket, SOON))?;
    for host in others {
        let body = json!({"peerURLs": [programs.url(host.peer)], "isLearner": true});
        let added = ask(&first.socket, "/v3/cluster/member/add", &body, FORMED)?;
        list = format!("{list},{}", host.entry(programs));
        host.etcd(programs, &list, "existing")?;
        let body = json!({"ID": added["member"]["ID"]});
        // Refused until the learner has caught up.
        until("a promotion", Instant::now(), FORMED, || {
            ask(&first.socket, "/v3/cluster/member/promote", &body, SOON).is_ok()
        })?;
        until("the new member", Instant::now(), FORMED, || serves(&host.socket, SOON))?;
    }
    Ok(start.elapsed())
}
