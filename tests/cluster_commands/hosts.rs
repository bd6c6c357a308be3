//! Hosts of a cluster as child processes, each with its own state folder and ports.
//!
//! Refuses to look inside: tests see output, exit codes and files.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program::{etcd, ports};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");
/// Longer than anything here takes on a loaded machine with two cores.
pub(crate) const LONG: Duration = Duration::from_secs(40);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said {
            code: output.status.code().expect("an exit code"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Everything, for a failed assertion.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n{}{}", self.code, self.out, self.err)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {}", self.all()))
    }
}

/// A host: its folder, its ports, and its agent while it runs.
pub(crate) struct Host {
    pub(crate) name: String,
    dir: tempfile::TempDir,
    client: u16,
    peer: u16,
    agent: Option<Child>,
    /// The graph file; an empty graph without one.
    graph: Option<PathBuf>,
}

impl Host {
    pub(crate) fn new(name: &str) -> Host {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let client = ports(4);
        Host { name: name.into(), dir, client, peer: client + 1, agent: None, graph: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Starts its agent with these further words.
    pub(crate) fn start(&mut self, words: &[&str]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log");
        let mut command = program();
        command.args(["run", "--hostname", &self.name, "--prefix"]).arg(self.state()).args(words);
        match &self.graph {
            Some(file) => command.arg("yaml").arg(file),
            None => command.arg("empty"),
        };
        command.env("QUORATE_ETCD", etcd()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().expect("the agent starts"));
    }

    /// The path of something in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes its graph file, in which `DIR` stands for its folder.
    pub(crate) fn graph(&mut self, text: &str) {
        let (file, draft) = (self.path("site.yaml"), self.path("site.new"));
        let text = text.replace("DIR", &self.dir.path().display().to_string());
        std::fs::write(&draft, text).expect("a file");
        std::fs::rename(&draft, &file).expect("a rename");
        self.graph = Some(file);
    }

    /// What `quorate WORDS` says of files alone.
    pub(crate) fn plain(&self, words: &[&str]) -> Said {
        let mut command = program();
        Said::of(command.args(words).output().expect("the program starts"))
    }

    /// What `quorate WORDS` says, asked on this host.
    pub(crate) fn ask(&self, words: &[&str]) -> Said {
        let mut command = program();
        command.args(words).arg("--prefix").arg(self.state());
        Said::of(command.output().expect("the program starts"))
    }

    /// Starts its agent as one of a cluster of this size.
    pub(crate) fn join(&mut self, size: u16, seed: Option<&str>) {
        let (size, client) = (size.to_string(), self.url());
        let peer = self.peer_url();
        let mut words = vec!["--ideal-cluster-size", &size, "--client-urls", &client];
        words.extend(["--server-urls", &peer, "--dead-after", "3"]);
        words.extend(seed.iter().flat_map(|seed| ["--seeds", seed]));
        self.start(&words);
    }

    /// Gives it other ports; its agent must not run.
    pub(crate) fn moves(&mut self) {
        self.client = ports(4);
        self.peer = self.client + 1;
    }

    /// What its etcd is called by others.
    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }

    /// The same as [`Host::url`], with certificates.
    pub(crate) fn secured_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.client)
    }

    /// Starts its agent as one of three with certificates, by these further words.
    pub(crate) fn join_secured(&mut self, seed: Option<&str>, words: &[&str]) {
        let (client, peer) = (self.secured_url(), format!("https://127.0.0.1:{}", self.peer));
        let mut all = vec!["--ideal-cluster-size", "3", "--client-urls", &client];
        all.extend(["--server-urls", &peer, "--dead-after", "3"]);
        all.extend(seed.iter().flat_map(|seed| ["--seeds", seed]));
        all.extend(words);
        self.start(&all);
    }

    /// What `quorate cluster WORDS` says, asked on this host.
    pub(crate) fn cluster(&self, words: &[&str]) -> Said {
        let mut command = program();
        command.arg("cluster").args(words).arg("--prefix").arg(self.state());
        Said::of(command.env("QUORATE_ETCD", etcd()).output().expect("the program starts"))
    }

    /// The report of this host, once it is as wanted.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let said = self.cluster(&["status", "--json"]);
            let report = serde_json::from_str::<Value>(&said.out).unwrap_or_default();
            if wanted(&report) {
                return report;
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(started.elapsed() < LONG, "{what}: {}\n{}", said.all(), log());
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.agent.as_ref().and_then(|agent| i32::try_from(agent.id()).ok()).expect("an agent")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal");
    }

    /// Waits for the end of the agent; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let started = Instant::now();
        let agent = self.agent.as_mut().expect("an agent");
        loop {
            if let Some(status) = agent.try_wait().expect("a child") {
                self.agent = None;
                return status.code();
            }
            assert!(started.elapsed() < LONG, "{} does not end", self.name);
            std::thread::sleep(LOOK);
        }
    }

    /// Signals the agent and waits for its end.
    pub(crate) fn end_with(&mut self, with: Signal) -> Option<i32> {
        self.signal(with);
        self.end()
    }

    /// Ends the agent at once, and with it its etcd.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.end();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            // Its etcd goes with it.
            agent.kill().expect("the agent is ours to kill");
            agent.wait().expect("the agent is ours to wait for");
        }
    }
}

/// What `quorate state reset WORDS` says about this host's folder.
pub(crate) fn state_reset(host: &Host, words: &[&str]) -> Said {
    let mut command = program();
    command.args(["state", "reset"]).args(words).arg("--prefix").arg(host.state());
    Said::of(command.output().expect("the program starts"))
}

fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command
}

/// Hosts `h1` to `hN`, of which `voters` vote; the first founds.
pub(crate) fn hosts(n: usize, voters: u16) -> Vec<Host> {
    let mut hosts: Vec<Host> = (1..=n).map(|n| Host::new(&format!("h{n}"))).collect();
    let seed = hosts[0].url();
    hosts[0].join(voters, None);
    for host in hosts.iter_mut().skip(1) {
        host.join(voters, Some(&seed));
    }
    let known = |report: &Value| report["cluster"]["hosts"].as_array().map_or(0, Vec::len) == n;
    let wanted = usize::from(voters).min(n);
    for host in &hosts {
        host.until("all hosts", |report| {
            up(report) == wanted && known(report) && report["cluster"]["quorum"] == true
        });
    }
    hosts
}

/// How many voters are up in a report.
pub(crate) fn up(report: &Value) -> usize {
    let hosts = report["cluster"]["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    hosts.iter().filter(|one| one["role"] == "voter" && one["member"]["up"] == true).count()
}

/// A host in a report.
pub(crate) fn of<'a>(report: &'a Value, host: &str) -> &'a Value {
    let hosts = report["cluster"]["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    hosts.iter().find(|one| one["host"] == host).unwrap_or(&Value::Null)
}
