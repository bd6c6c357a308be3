//! The etcd child (4.3 to 4.5): found, spawned so that it never outlives the agent, its log read,
//! its end reported.
//!
//! Refuses to signal any process that is not a child of ours or an orphan that names our folder.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use crate::cluster::StartError;
use crate::cluster::aftermath::Cause;
use crate::cluster::flags::{OLDEST, Version, keeps_variable};
use crate::cluster::logline::{self, Line};

/// The hidden subcommand of our program that becomes etcd.
pub const SUBCOMMAND: &str = "etcd-child";
/// Lines kept for the cause of an exit.
const LINES_KEPT: usize = 200;
/// The size at which `etcd.log` becomes `etcd.log.1`: days of an idle member, and little of any
/// disk.
const LOG_BYTES: u64 = 8 << 20;
/// The same kind of trouble is told at most this often.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Orders that may wait for the supervising task; there are two kinds, each sent once.
const ORDERS: usize = 4;
/// How long an orphan may take to end after TERM.
const ORPHAN_TERM: Duration = Duration::from_secs(5);

/// The body of the hidden subcommand: `PARENT PROGRAM ARGS...`. Becomes the program, in such a way
/// that the kernel ends it with the agent. Returns only what went wrong.
pub fn exec_child(args: Vec<OsString>) -> io::Error {
    let mut args = args.into_iter();
    let parent = args.next().and_then(|a| a.to_str().and_then(|t| t.parse::<i32>().ok()));
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return io::Error::new(
            io::ErrorKind::InvalidInput,
            "usage: etcd-child PARENT PROGRAM ARGS",
        );
    };
    // etcd hands its leadership over on TERM.
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM) {
        return error.into();
    }
    // The parent may have ended before the line above.
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        return io::Error::other("the agent has gone");
    }
    std::process::Command::new(program).args(args).exec()
}

/// An etcd program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) version: Version,
}

/// Finds etcd: as told, then `QUORATE_ETCD`, then the search path; `None` when nobody named one and
/// there is none.
pub(super) async fn find(told: Option<&Path>) -> Result<Option<Program>, StartError> {
    let path = match told {
        Some(path) => path.to_owned(),
        None => match std::env::var_os("QUORATE_ETCD").filter(|v| !v.is_empty()) {
            Some(path) => path.into(),
            None => match on_path() {
                Some(path) => path,
                None => return Ok(None),
            },
        },
    };
    let refuse = |why| StartError::NoEtcd { why: format!("{} {why}", path.display()) };
    let output = scrubbed(Command::new(&path))
        .arg("--version")
        .output()
        .await
        .map_err(|e| refuse(format!("does not start: {e}")))?;
    let version = Version::from_output(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| refuse("does not say its version".into()))?;
    if version < OLDEST {
        return Err(refuse(format!(
            "is {version}, and {OLDEST} is the oldest that knows learners"
        )));
    }
    Ok(Some(Program { path, version }))
}

/// What to say where nobody named an etcd and there is none.
pub(super) fn none_found() -> StartError {
    StartError::NoEtcd { why: "no etcd program was found on PATH".into() }
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file())
}

pub(super) fn scrubbed(mut command: Command) -> Command {
    command.env_clear();
    command.envs(std::env::vars_os().filter(|(k, _)| k.to_str().is_some_and(keeps_variable)));
    command
}

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// The one thread that spawns. The parent-death signal fires when the thread that spawned ends, not
/// the process, so it must not be one of the runtime's.
pub(super) struct Spawner {
    requests: std::sync::mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread; it ends when this value is dropped.
    pub(super) fn start() -> io::Result<Spawner> {
        let (requests, inbox) = std::sync::mpsc::channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("etcd-spawner".into()).spawn(move || {
            let _runtime = runtime.enter();
            for (mut command, answer) in inbox {
                // A caller that has gone drops the child, which kills it.
                drop(answer.send(command.spawn()));
            }
        })?;
        Ok(Spawner { requests })
    }

    async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the spawning thread has ended");
        self.requests.send((command, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// How a child ended.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    /// For people: `exit code 1`, `signal 15`.
    pub(super) how: String,
    /// A signal ended it.
    pub(super) by_signal: bool,
    /// The line that says why.
    pub(super) line: Option<Line>,
}

impl Exit {
    /// Why, as far as its last lines tell.
    pub(super) fn cause(&self) -> Cause {
        match self.line.as_ref().and_then(|line| line.class) {
            _ if self.by_signal => Cause::Signal,
            Some(class) => Cause::Told(class),
            None => Cause::Unknown,
        }
    }

    /// For people.
    pub(super) fn sentence(&self) -> String {
        match self.line.as_ref().filter(|_| !self.by_signal) {
            Some(line) => format!("etcd ended ({}): {}", self.how, line.message),
            None => format!("etcd ended ({})", self.how),
        }
    }
}

/// A child that is supervised by a task of its own.
#[derive(Clone, Debug)]
pub(super) struct Running {
    orders: mpsc::Sender<Signal>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Running {
    /// Sends a signal, if it still runs.
    pub(super) fn signal(&self, signal: Signal) {
        // Full means that the same order waits already; closed means that it has ended.
        self.orders.try_send(signal).ok();
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|e| e.clone());
        ended.unwrap_or(Exit { how: "unknown".into(), by_signal: false, line: None })
    }
}

/// What to start.
pub(super) struct Start<'a> {
    /// Our own program, for the hidden subcommand.
    pub(super) via: &'a Path,
    /// etcd.
    pub(super) program: &'a Path,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Its working directory, where its sockets go.
    pub(super) directory: &'a Path,
    /// Where its log goes.
    pub(super) log: PathBuf,
}

/// Starts a child and the task that supervises it.
pub(super) async fn spawn(spawner: &Spawner, start: Start<'_>) -> io::Result<Running> {
    let mut command = scrubbed(Command::new(start.via));
    command
        .arg(SUBCOMMAND)
        .arg("--")
        .arg(std::process::id().to_string())
        .arg(start.program)
        .args(start.arguments)
        .current_dir(start.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Its own group: a ^C at the terminal must not end etcd before the agent has handed over.
        .process_group(0)
        .kill_on_drop(true);
    let child = spawner.spawn(command).await?;
    let (orders, inbox) = mpsc::channel(ORDERS);
    let (tell, exit) = watch::channel(None);
    let log = Log::open(start.log)?;
    tokio::spawn(async move {
        let ended = supervise(child, inbox, log).await;
        tell.send_replace(Some(ended));
    });
    Ok(Running { orders, exit })
}

async fn supervise(mut child: Child, mut orders: mpsc::Receiver<Signal>, mut log: Log) -> Exit {
    let mut lines = child.stderr.take().map(|stderr| BufReader::new(stderr).lines());
    let status = loop {
        let line = async {
            match lines.as_mut() {
                Some(lines) => lines.next_line().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = line => match line {
                Ok(Some(text)) => log.take(&text),
                _ => lines = None,
            },
            status = child.wait() => break status,
            Some(signal) = orders.recv() => {
                // Not reaped yet, so the id is still the child's.
                if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
                    kill(Pid::from_raw(pid), signal).ok();
                }
            }
        }
    };
    // What it wrote last says why. A child of the child could hold the pipe open, so not for ever.
    if let Some(mut lines) = lines {
        while let Ok(Ok(Some(text))) =
            tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await
        {
            log.take(&text);
        }
    }
    let by_signal = status.as_ref().is_ok_and(|s| s.code().is_none());
    let how = status.map_or_else(|e| e.to_string(), describe);
    let kept: Vec<Line> = log.kept.into_iter().collect();
    Exit { how, by_signal, line: logline::cause(&kept).cloned() }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The child's log: all of it in a file, the last lines in memory, what matters in ours.
struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    kept: VecDeque<Line>,
    told: HashMap<String, Instant>,
}

impl Log {
    fn open(path: PathBuf) -> io::Result<Log> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Log { path, file, size, kept: VecDeque::new(), told: HashMap::new() })
    }

    fn take(&mut self, text: &str) {
        if self.size > LOG_BYTES {
            self.rotate();
        }
        // A full disk must not end the supervision.
        if writeln!(self.file, "{text}").is_ok() {
            self.size += text.len() as u64 + 1;
        }
        let line = logline::read(text);
        self.tell(&line);
        if self.kept.len() == LINES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// Passes on what matters, unless the same was told a moment ago.
    fn tell(&mut self, line: &Line) -> bool {
        let Some(class) = line.class else { return false };
        let now = Instant::now();
        let key = format!("{class:?}");
        let tells = self.told.get(&key).is_none_or(|last| now - *last > TELL_AGAIN);
        if tells {
            self.told.insert(key, now);
            tracing::warn!("etcd: {}", line.message);
        }
        tells
    }

    fn rotate(&mut self) {
        let old = self.path.with_extension("log.1");
        if std::fs::rename(&self.path, old).is_ok()
            && let Ok(new) = Log::open(self.path.clone())
        {
            self.file = new.file;
            self.size = new.size;
        }
    }
}

/// Ends processes of etcd that hold our data folder without an agent: after a crash they may take a
/// moment to go.
pub(super) async fn end_orphans(data_dir: &Path) {
    let wanted = format!("--data-dir={}", data_dir.display());
    let mut signal = Signal::SIGTERM;
    let mut since = Instant::now();
    loop {
        let orphans = holders(&wanted);
        if orphans.is_empty() {
            return;
        }
        if since.elapsed() > ORPHAN_TERM {
            signal = Signal::SIGKILL;
            since = Instant::now();
        }
        for pid in orphans {
            tracing::info!(pid, "ending an etcd that an earlier agent left on {wanted}");
            kill(Pid::from_raw(pid), signal).ok();
        }
        // A process that is not our child cannot be waited for without holding a descriptor of it.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Processes of ours whose arguments name the folder.
fn holders(wanted: &str) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt;
    let own = nix::unistd::geteuid().as_raw();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let ours = process.metadata().is_ok_and(|m| m.uid() == own);
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if ours && arguments.split(|b| *b == 0).any(|a| a == wanted.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: &str = r#"{"level":"warn","msg":"apply request took too long"}"#;

    #[test]
    fn the_log_is_kept_in_two_files_of_a_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        let line = "x".repeat(64 << 10);
        let mut log = Log::open(path.clone()).unwrap();
        for _ in 0..300 {
            log.take(&line);
        }
        let sizes: Vec<u64> = [path.clone(), path.with_extension("log.1")]
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .collect();
        assert!(sizes.iter().all(|size| *size <= LOG_BYTES + 70_000), "{sizes:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        drop(log);
        let again = Log::open(path.clone()).unwrap();
        assert_eq!(again.size, path.metadata().unwrap().len(), "a restart goes on with the file");
    }

    #[test]
    fn the_same_trouble_is_told_once_in_a_while_and_written_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        let mut log = Log::open(path.clone()).unwrap();
        let told = (0..50).filter(|_| log.tell(&logline::read(SLOW))).count();
        assert_eq!(told, 1);
        assert!(log.tell(&logline::read("bind: address already in use")), "another trouble");
        for _ in 0..50 {
            log.take(SLOW);
        }
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 50);
        assert_eq!(log.kept.len(), 50);
    }
}
