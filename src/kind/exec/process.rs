//! One process with everything that it starts: run, bounded in time and output, and killed as a
//! group.
//!
//! Refuses to leave a group behind: dropped, cancelled or too slow, all of it is killed. Only what
//! a command that ended by itself left in the background stays.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How much of the output an error shows, in bytes: the last lines, where commands say what went
/// wrong.
const OUTPUT_TAIL: usize = 2048;

/// How long a group may clean up after SIGTERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// How long the output is read after the command ended: a daemon that it started may hold the pipe
/// for years.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) cwd: Option<PathBuf>,
}

impl Line {
    /// Split at white space, without any quoting. The program is empty when there is only white
    /// space.
    pub(super) fn split(cmd: &str, cwd: Option<PathBuf>) -> Self {
        let mut words = cmd.split_whitespace().map(str::to_owned);
        Line { program: words.next().unwrap_or_default(), args: words.collect(), cwd }
    }

    /// Handed to a shell as it is.
    pub(super) fn shell(shell: &str, cmd: &str, cwd: Option<PathBuf>) -> Self {
        Line { program: shell.to_owned(), args: vec!["-c".to_owned(), cmd.to_owned()], cwd }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

/// How a process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code, unless a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// The end of what it printed.
    pub(super) tail: String,
}

impl Ended {
    /// One sentence for an error.
    pub(super) fn describe(&self, line: &Line) -> String {
        let how = match (self.code, self.signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        format!("`{line}` {how}; {}", said(&self.tail))
    }
}

fn said(tail: &str) -> String {
    match tail {
        "" => "it printed nothing".to_owned(),
        tail => format!("its last output: {tail}"),
    }
}

/// Runs `line` to its end. Errors when it cannot be started, takes longer than `limit`, or is
/// cancelled.
pub(super) async fn run(
    line: &Line,
    env: &BTreeMap<String, String>,
    limit: Option<Duration>,
    cancel: &CancellationToken,
) -> Result<Ended, String> {
    let mut command = Command::new(&line.program);
    command.args(&line.args).envs(env).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    line.cwd.iter().for_each(|cwd| {
        command.current_dir(cwd);
    });
    let mut child = command.spawn().map_err(|error| not_started(line, &error))?;
    let mut group = Group::of(&child);
    let tail = Arc::new(Mutex::new(Tail::default()));
    let mut pumps = JoinSet::new();
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        pumps.spawn(pump(stdout, Arc::clone(&tail)));
        pumps.spawn(pump(stderr, Arc::clone(&tail)));
    }
    let too_late = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let status = tokio::select! {
        biased;
        status = child.wait() => {
            group.disarm();
            status.map_err(|error| format!("cannot wait for `{line}`: {error}"))?
        }
        () = cancel.cancelled() => {
            stop(&mut child, &mut group).await;
            return Err(format!("`{line}` was stopped, since the run was cancelled"));
        }
        () = too_late => {
            stop(&mut child, &mut group).await;
            let seconds = limit.unwrap_or_default().as_secs();
            let said = said(&text_of(&tail));
            return Err(format!("`{line}` was killed after its timeout of {seconds} s; {said}"));
        }
    };
    Ok(ended(status, &mut pumps, &tail).await)
}

async fn ended(status: ExitStatus, pumps: &mut JoinSet<()>, tail: &Mutex<Tail>) -> Ended {
    let drained = timeout(DRAIN_LIMIT, async { while pumps.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::debug!("something in the background still holds the output of its command");
    }
    Ended { code: status.code(), signal: status.signal(), tail: text_of(tail) }
}

fn not_started(line: &Line, error: &std::io::Error) -> String {
    if let Some(cwd) = line.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        let cwd = cwd.display();
        return format!("cannot run `{line}`: the directory {cwd} does not exist; create it");
    }
    let program = &line.program;
    match error.kind() {
        ErrorKind::NotFound => format!(
            "cannot run `{line}`: the program `{program}` is not found; install it, or give its \
             full path"
        ),
        ErrorKind::PermissionDenied => format!(
            "cannot run `{line}`: `{program}` may not be executed; make it executable, or run the \
             agent as a user who may"
        ),
        _ => format!("cannot run `{line}`: {error}"),
    }
}

/// Asks the group to end, then kills what is left of it.
async fn stop(child: &mut Child, group: &mut Group) {
    group.signal(Signal::SIGTERM);
    if let Some(pid) = group.leader {
        // Looks without reaping: while the leader is a zombie, nobody else can get the number of
        // its group.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let leader = tokio::task::spawn_blocking(move || waitid(Id::Pid(pid), flags));
        if timeout(TERM_GRACE, leader).await.is_err() {
            tracing::debug!("process group {pid} did not end by SIGTERM; killing it");
        }
    }
    group.signal(Signal::SIGKILL);
    if let Err(error) = child.wait().await {
        tracing::debug!("cannot wait for a killed process: {error}");
    }
    group.disarm();
}

/// A process group whose leader is not reaped yet; killed when dropped.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Group { leader: pid.map(Pid::from_raw) }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader
            && let Err(error) = killpg(leader, signal)
        {
            tracing::debug!("cannot send {signal} to process group {leader}: {error}");
        }
    }

    /// The leader is reaped: its number may belong to somebody else from now on.
    fn disarm(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The last bytes of an output.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(OUTPUT_TAIL);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let cut = if self.cut { "…" } else { "" };
        format!("{cut}{}", text.trim_end())
    }
}

fn text_of(tail: &Mutex<Tail>) -> String {
    tail.lock().unwrap_or_else(PoisonError::into_inner).text()
}

/// Reads to the end, so that the command never waits for us.
async fn pump(mut from: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..read]);
    }
}
