//! Hosts on loopback, their agents as processes, and what can be said about them from outside.
//!
//! Refuses to look inside an agent: files, output, exit codes, `quorate status` and the store are
//! what a user has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::store::etcd::{Endpoints, EtcdStore};
use quorate::store::{Op, Store, Txn};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::program::{etcd, ports};
pub(crate) use crate::sentence::fits;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");
/// Longer, in seconds, than anything here takes on a loaded machine with two cores.
pub(crate) const LONG: u64 = 40;
/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something; panics with `what` after `seconds`.
pub(crate) fn wait_for<T>(
    seconds: u64,
    what: impl Fn() -> String,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {}", what());
        std::thread::sleep(LOOK);
    }
}

/// The numbers that a variable names, `N` or `N..M`; without it the usual ones.
pub(crate) fn numbers(variable: &str, usual: impl FnOnce() -> Vec<usize>) -> Vec<usize> {
    let Ok(text) = std::env::var(variable) else { return usual() };
    let number = |text: &str| match text.parse::<usize>() {
        Ok(number) => number,
        Err(_) => panic!("{variable} is N or N..M, not {text}"),
    };
    match text.split_once("..") {
        Some((first, end)) => (number(first)..number(end)).collect(),
        None => vec![number(&text)],
    }
}

/// Starts an agent again after its death. Killed before its folder had an identity, it is somebody
/// else until its claim ends.
pub(crate) fn insist(start: impl Fn() -> Agent) -> Agent {
    loop {
        let mut agent = start();
        let refused = wait_for(
            LONG,
            || agent.log(),
            || {
                let refused = agent.log().contains("error: another agent named");
                refused.then_some(true).or_else(|| agent.status().map(|_| false))
            },
        );
        if !refused {
            return agent;
        }
        agent.end(LONG);
    }
}

/// A host with its folder and its ports, started any number of times.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) client: u16,
    pub(crate) peer: u16,
    folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new(name: &str) -> Host {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Host { name: name.into(), client: ports(1), peer: ports(1), folder }
    }

    /// Its folder; the state is in `state` below it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }

    /// The words after `run` that make it a member of a cluster of three.
    pub(crate) fn words(&self, seeds: &[&Host]) -> Vec<String> {
        self.words_for(seeds, &["empty"])
    }

    /// The same with another graph than none.
    pub(crate) fn words_for(&self, seeds: &[&Host], graph: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = [
            ("--hostname", self.name.clone()),
            ("--prefix", self.state().display().to_string()),
            ("--client-urls", self.client_url()),
            ("--server-urls", self.peer_url()),
            ("--ideal-cluster-size", "3".into()),
            ("--dead-after", "3".into()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        for seed in seeds {
            words.extend(["--seeds".into(), seed.client_url()]);
        }
        words.extend(graph.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Starts its agent.
    pub(crate) fn start(&self, seeds: &[&Host]) -> Agent {
        self.start_with(&self.words(seeds))
    }

    /// Starts its agent by its old command: the founder's names no seed.
    pub(crate) fn again(&self, founder: &Host) -> Agent {
        if self.name == founder.name { self.start(&[]) } else { self.start(&[founder]) }
    }

    /// Starts its agent as a client that never serves, with this graph.
    pub(crate) fn client(&self, seeds: &[&Host], graph: &[&str]) -> Agent {
        let mut words = vec!["--hostname".to_owned(), self.name.clone()];
        words.extend(["--prefix".into(), self.state().display().to_string()]);
        for seed in seeds {
            words.extend(["--seeds".into(), seed.client_url()]);
        }
        words.push("--no-server".into());
        words.extend(graph.iter().map(|word| (*word).to_owned()));
        self.start_with(&words)
    }

    /// Sends a signal to its etcd.
    pub(crate) fn signal_etcd(&self, signal: Signal) {
        for pid in self.etcds() {
            kill(Pid::from_raw(pid), signal).expect("a signal");
        }
    }

    /// Starts its agent with these words after `run`.
    pub(crate) fn start_with(&self, words: &[String]) -> Agent {
        self.spawn(self.command(words))
    }

    /// What starts its agent with these words after `run`.
    pub(crate) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("run").args(words).env("QUORATE_ETCD", etcd());
        command
    }

    /// Starts a command that is its agent.
    pub(crate) fn spawn(&self, mut command: Command) -> Agent {
        static RUNS: AtomicU16 = AtomicU16::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.path().join(format!("log.{run}"));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the agent starts");
        Agent { child, state: self.state(), log, name: self.name.clone() }
    }

    /// Its start must be refused, within 3 s, with this exit code and sentence (`*` stands for
    /// anything), and must leave its state folder byte for byte as it was.
    pub(crate) fn refused(&self, words: &[String], code: i32, sentence: &str) -> Duration {
        self.refused_as(self.command(words), code, sentence)
    }

    /// The same of another command than the usual one.
    pub(crate) fn refused_as(&self, command: Command, code: i32, sentence: &str) -> Duration {
        let before = Trace::of(&self.state());
        let took = self.spawn(command).refused(code, sentence);
        let after = Trace::of(&self.state());
        assert_eq!(after, before, "the refused start changed {}", self.state().display());
        took
    }

    /// Something that must leave the folder of its running agent byte for byte as it was. The agent
    /// and its etcd stand still meanwhile, so that nobody else writes there.
    pub(crate) fn untouched_by(&self, agent: &Agent, something: impl FnOnce()) {
        let still = Still::now(self, agent);
        let before = wait_for(
            LONG,
            || "the folder is at rest".into(),
            || {
                let seen = Trace::of(&self.state());
                std::thread::sleep(LOOK);
                Some(seen).filter(|seen| *seen == Trace::of(&self.state()))
            },
        );
        something();
        assert_eq!(Trace::of(&self.state()), before, "{} was changed", self.state().display());
        drop(still);
    }

    /// The processes that run etcd on its data.
    pub(crate) fn etcds(&self) -> Vec<i32> {
        let folder = self.folder.path().canonicalize().expect("the folder is there");
        let wanted = format!("--data-dir={}/state/etcd", folder.display());
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").expect("Linux").flatten() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let named = arguments.split(|b| *b == 0).any(|a| a == wanted.as_bytes());
            if let (true, Some(name)) = (named, process.file_name().to_str()) {
                found.extend(name.parse::<i32>());
            }
        }
        found
    }

    /// A field of its `identity.json`.
    pub(crate) fn identity(&self, field: &str) -> Value {
        let text = fs::read(self.state().join("identity.json")).expect("an identity");
        let identity: Value = serde_json::from_slice(&text).expect("a readable identity");
        identity[field].clone()
    }

    /// The reasons in the names of the folders that its data were moved to.
    pub(crate) fn archived(&self) -> Vec<String> {
        let Ok(archive) = fs::read_dir(self.state().join("archive")) else { return Vec::new() };
        let mut names: Vec<String> =
            archive.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.iter().filter_map(|n| Some(n.split_once('-')?.1.to_owned())).collect()
    }
}

/// Processes that stand still until this is dropped.
struct Still(Vec<Pid>);

impl Still {
    fn now(host: &Host, agent: &Agent) -> Still {
        let all = host.etcds().into_iter().chain([agent.pid()]).map(Pid::from_raw);
        let still = Still(all.collect());
        still.0.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).expect("a signal"));
        still
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // Also after a failure: who stands still does not hear that it is to end.
        for pid in &self.0 {
            kill(*pid, Signal::SIGCONT).ok();
        }
    }
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    state: PathBuf,
    log: PathBuf,
    name: String,
}

impl Agent {
    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal");
    }

    /// Its exit code (128 and more for signals), and how long that took.
    pub(crate) fn end(&mut self, seconds: u64) -> (i32, Duration) {
        use std::os::unix::process::ExitStatusExt;
        let since = Instant::now();
        let log = self.log.clone();
        let what = || format!("the agent ends; its log:\n{}", text(&log));
        let status = wait_for(seconds, what, || self.child.try_wait().expect("a child"));
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        (code, since.elapsed())
    }

    /// Whether its process has ended, and nobody has asked how yet.
    pub(crate) fn is_gone(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn stop(&mut self, signal: Signal, seconds: u64) -> (i32, Duration) {
        self.signal(signal);
        self.end(seconds)
    }

    /// KILL, and its end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.end(LONG);
    }

    /// It must have been refused with this exit code and exactly this sentence.
    pub(crate) fn refused(&mut self, code: i32, sentence: &str) -> Duration {
        let (got, took) = self.end(LONG);
        let log = self.log();
        assert_eq!(got, code, "{log}");
        let said = log.lines().filter_map(|line| line.strip_prefix("error: ")).collect::<Vec<_>>();
        assert_eq!(said.len(), 1, "one sentence: {log}");
        assert!(fits(said[0], sentence), "said:   {}\nwanted: {sentence}", said[0]);
        took
    }

    /// The status, if it answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let mut command = Command::new(PROGRAM);
        command.args(["status", "--json", "--prefix"]).arg(&self.state);
        let output = command.output().expect("status runs");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until the status is as wanted.
    pub(crate) fn until(&self, seconds: u64, good: impl Fn(&Value) -> bool) -> Value {
        let what = || {
            let status = self.status().unwrap_or_default();
            let (role, reason, cluster) = (&status["role"], &status["reason"], &status["cluster"]);
            format!("{}: {role} {reason} {cluster:#}\n{}", self.name, self.log())
        };
        wait_for(seconds, what, || self.status().filter(&good))
    }

    /// Waits until it has this role.
    pub(crate) fn role(&self, seconds: u64, role: &str) -> Value {
        self.until(seconds, |status| status["role"] == role)
    }

    /// Waits until it is blocked with a reason that fits.
    pub(crate) fn blocked(&self, seconds: u64, reason: &str) {
        self.until(seconds, |status| {
            let said = status["reason"].as_str().unwrap_or_default();
            status["role"] == "blocked" && fits(said, reason)
        });
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        text(&self.log)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().expect("the agent is ours to kill");
            self.child.wait().expect("the agent is ours to wait for");
        }
    }
}

fn text(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.read_to_end(&mut text).expect("a readable log");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// How many voters of the cluster answer, in a status.
pub(crate) fn voters(status: &Value) -> usize {
    let members = status["cluster"]["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    members.iter().filter(|m| m["role"] == "voter" && m["up"] == true).count()
}

/// Waits until each of them sees so many voters and a leader.
pub(crate) fn healthy(agents: &[&Agent], size: usize) {
    for agent in agents {
        agent.until(LONG, |s| {
            let cluster = &s["cluster"];
            voters(s) == size && cluster["quorum"] == true && cluster["leader"].is_string()
        });
    }
}

/// Three hosts that have formed a cluster of three voters.
pub(crate) fn three() -> ([Host; 3], [Agent; 3]) {
    let hosts = ["h1", "h2", "h3"].map(Host::new);
    let agents = [hosts[0].start(&[]), hosts[1].start(&[&hosts[0]]), hosts[2].start(&[&hosts[0]])];
    healthy(&agents.each_ref(), 3);
    (hosts, agents)
}

/// Everything in a folder: the kind and mode of each entry, and a digest of what a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace(BTreeMap<PathBuf, (u32, String)>);

impl Trace {
    /// What is there; nothing when the folder is not.
    pub(crate) fn of(folder: &Path) -> Trace {
        let mut found = BTreeMap::new();
        let mut left = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            let digest = if about.is_file() {
                let mut digest = Sha256::new();
                let mut file = File::open(&path).expect("a readable file");
                let mut buffer = vec![0; 1 << 20];
                loop {
                    let read = file.read(&mut buffer).expect("a readable file");
                    if read == 0 {
                        break;
                    }
                    digest.update(&buffer[..read]);
                }
                format!("{:?}", digest.finalize())
            } else {
                String::new()
            };
            if about.is_dir() {
                left.extend(fs::read_dir(&path).expect("a folder").flatten().map(|e| e.path()));
            }
            found.insert(path, (about.permissions().mode(), digest));
        }
        Trace(found)
    }
}

/// Writes one key after the other until it is ended, and remembers what was acknowledged.
pub(crate) struct Writer {
    end: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    thread: JoinHandle<Written>,
}

/// What came of the writes.
#[derive(Debug)]
pub(crate) struct Written {
    /// Acknowledged.
    pub(crate) good: usize,
    /// Acknowledged, and not there at the end.
    pub(crate) lost: Vec<usize>,
    /// Refused or unanswered in the end.
    pub(crate) failed: usize,
    /// The longest time between two acknowledgements.
    pub(crate) gap: Duration,
}

impl Writer {
    /// Begins to write to these hosts.
    pub(crate) fn start(hosts: &[&Host]) -> Writer {
        let urls: Vec<String> = hosts.iter().map(|h| h.client_url()).collect();
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let good = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&good);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(write(urls, &ended, &count))
        });
        Writer { end, good, thread }
    }

    /// Waits until so many more writes were acknowledged.
    pub(crate) fn goes_on(&self, more: usize) {
        let wanted = self.good.load(Ordering::Relaxed) + more;
        let what = || format!("{more} more writes");
        wait_for(LONG, what, || (self.good.load(Ordering::Relaxed) >= wanted).then_some(()));
    }

    /// Ends the writing, once it goes on, and reads everything back.
    pub(crate) fn end(self) -> Written {
        self.goes_on(100);
        self.end.store(true, Ordering::Relaxed);
        let written = self.thread.join().expect("a writer");
        println!("writes: {written:?}");
        assert!(written.good > 0, "{written:?}");
        assert!(written.lost.is_empty(), "{written:?}");
        written
    }
}

/// Where the writer writes.
const WRITES: &str = "/quorate/1/kv/life/";

async fn write(urls: Vec<String>, end: &AtomicBool, count: &AtomicUsize) -> Written {
    let endpoints = Endpoints::new(urls, None, true);
    let store = EtcdStore::new(Arc::clone(&endpoints));
    // As agents do: who only asks one member would not learn where the others have moved.
    let review = tokio::spawn(async move { endpoints.review().await });
    let (mut good, mut failed) = (Vec::new(), 0);
    let (mut gap, mut last) = (Duration::ZERO, Instant::now());
    let mut n = 0_usize;
    while !end.load(Ordering::Relaxed) {
        let key = format!("{WRITES}{n:08}");
        let put = Op::Put { key, value: b"x".to_vec(), lease: None };
        match store.txn(Txn { when: Vec::new(), then: vec![put] }).await {
            Ok(_) => {
                gap = gap.max(last.elapsed());
                last = Instant::now();
                good.push(n);
                count.store(good.len(), Ordering::Relaxed);
            }
            Err(_) => failed += 1,
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    review.abort();
    let there = store.range(WRITES).await.expect("the writes can be read back");
    let there: Vec<String> = there.entries.into_iter().map(|e| e.key).collect();
    let lost = good.iter().filter(|n| there.binary_search(&format!("{WRITES}{n:08}")).is_err());
    Written { good: good.len(), lost: lost.copied().collect(), failed, gap }
}
