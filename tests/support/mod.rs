//! A real agent as a child process, for black-box tests.
//!
//! Refuses to look inside: tests see what a user sees, files, output, exit codes and `quorate
//! status`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until `condition` gives something; panics with `what` after `seconds`.
pub(crate) fn wait_for<T>(seconds: u64, what: &str, condition: impl FnMut() -> Option<T>) -> T {
    let found = look_for(seconds, condition);
    found.unwrap_or_else(|| panic!("not within {seconds} s: {what}"))
}

/// What `condition` gives within these seconds, if it does.
fn look_for<T>(seconds: u64, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// A folder for one test, with a state folder in it.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// A new, empty one.
    pub(crate) fn new() -> Self {
        Site { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A new, empty one that does not lie where all programs keep what is temporary: an agent in
    /// it is not woken by them.
    pub(crate) fn apart() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Site { folder: folder.expect("a temporary folder") }
    }

    /// The path of something in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file; `DIR` in the text becomes the folder's path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        // Rename, as editors do: a reader never sees half of it.
        let draft = self.path(&format!(".{name}.new"));
        std::fs::write(&draft, self.fill(text)).expect("a file");
        std::fs::rename(&draft, &path).expect("a rename");
        path
    }

    /// The text with `DIR` replaced by the folder's path.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("DIR", &self.folder.path().display().to_string())
    }

    /// What a file holds, if it is there.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// Starts an agent with its state in `state` and these further words.
    pub(crate) fn agent(&self, words: &[&str]) -> Agent {
        self.agent_with(None, words)
    }

    /// The same with one more variable in its environment.
    pub(crate) fn agent_with(&self, variable: Option<(&str, &str)>, words: &[&str]) -> Agent {
        let state = self.path("state");
        let log = std::fs::File::create(self.path("log")).expect("a log");
        let child = Command::new(PROGRAM)
            .arg("run")
            .args(["--hostname", "h1", "--prefix"])
            .arg(&state)
            .args(words.iter().map(|word| self.fill(word)))
            .envs(variable.map(|(name, value)| (name, self.fill(value))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        Agent { child, state, log: self.path("log") }
    }
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    state: PathBuf,
    log: PathBuf,
}

/// Each test program compiles this file, and not each of them uses everything.
const _: fn() -> Site = Site::apart;
const _: fn(&Agent) -> u32 = Agent::id;

impl Agent {
    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("a signal");
    }

    /// The exit status, waited for.
    pub(crate) fn end(&mut self, seconds: u64) -> ExitStatus {
        let log = self.log.clone();
        wait_for(seconds, &format!("the agent ends; its log: {}", text(&log)), || {
            self.child.try_wait().expect("a child")
        })
    }

    /// The status, once the agent answers.
    pub(crate) fn status(&self) -> Value {
        let answer = look_for(10, || {
            let mut command = Command::new(PROGRAM);
            command.args(["status", "--json", "--prefix"]).arg(&self.state);
            let output = command.output().expect("status runs");
            serde_json::from_slice(&output.stdout).ok()
        });
        answer.unwrap_or_else(|| {
            panic!("not within 10 s: the agent answers; its log:\n{}", self.log())
        })
    }

    /// Waits until the status fulfils the condition.
    pub(crate) fn status_where(
        &self,
        seconds: u64,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Value {
        wait_for(seconds, what, || Some(self.status()).filter(&good))
    }

    /// The log so far.
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
    if let Ok(mut file) = std::fs::File::open(path) {
        file.read_to_end(&mut text).expect("a readable log");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The state of one resource in a status.
pub(crate) fn state_of<'a>(status: &'a Value, id: &str) -> &'a str {
    let all = status["resources"].as_array().expect("a list of resources");
    let found = all.iter().find(|one| one["id"] == id);
    found.and_then(|one| one["state"].as_str()).unwrap_or("absent")
}
