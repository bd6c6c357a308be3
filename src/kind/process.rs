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

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(super) mod identity;

/// How much of the output an error shows, in bytes: the last lines, where commands say what went
/// wrong.
const OUTPUT_TAIL: usize = 2048;

/// Up to how many characters a command is told as a whole.
const SHOWN_MAX: usize = 80;

/// How many characters are told of a longer one.
const SHOWN_OF_LONG: usize = 60;

/// How much output is kept to be compared or sent, in bytes: what fits into a value of the store
/// several times.
pub(super) const OUTPUT_MAX: usize = 64 << 10;

/// How long a group may clean up after the first signal before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// How often it is looked whether a group is gone whose leader is: nothing tells that.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// How long the output is read after the command ended: a daemon that it started may hold the pipe
/// for years.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// What to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The program, a path or a name to be found.
    pub program: String,
    /// Its arguments as they are.
    pub args: Vec<String>,
    /// The directory to run in.
    pub cwd: Option<PathBuf>,
    /// Variables to set on top of the agent's environment.
    pub env: BTreeMap<String, String>,
    /// The user to run as, by name or number.
    pub user: Option<String>,
    /// The group to run as, by name or number; else the user's.
    pub group: Option<String>,
    /// What is told of it names the program only: the arguments may hold secrets.
    pub terse: bool,
}

impl Line {
    /// Split at white space, without any quoting. The program is empty when there is only white
    /// space.
    pub(super) fn split(cmd: &str) -> Self {
        let mut words = cmd.split_whitespace().map(str::to_owned);
        let program = words.next().unwrap_or_default();
        Line { program, args: words.collect(), ..Line::default() }
    }

    /// Handed to a shell as it is.
    pub(super) fn shell(shell: &str, cmd: &str) -> Self {
        let args = vec!["-c".to_owned(), cmd.to_owned()];
        Line { program: shell.to_owned(), args, ..Line::default() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = if self.terse { &[] } else { &self.args[..] };
        let words: Vec<&str> =
            [&self.program].into_iter().chain(args).map(String::as_str).collect();
        f.write_str(&in_short(&words.join(" ")))
    }
}

/// A command as it is told: whole when it is short and of one line, else its beginning.
fn in_short(command: &str) -> String {
    let first = command.lines().next().unwrap_or_default();
    let shown = if command.chars().count() > SHOWN_MAX {
        first.chars().take(SHOWN_OF_LONG).chain(['…']).collect()
    } else if command.trim_end() == first {
        first.to_owned()
    } else {
        format!("{first}…")
    };
    escaped(&shown)
}

/// Text of others on one line: nothing in it moves the cursor, or pretends to be a line of ours.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for one in text.chars() {
        if one.is_control() { line.extend(one.escape_default()) } else { line.push(one) }
    }
    line
}

/// When and how a process is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// How long it may take.
    pub(super) time: Option<Duration>,
    /// What its group gets first, before it is killed.
    pub(super) signal: Signal,
}

/// How a process ended by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// The end of what it printed.
    pub(crate) tail: String,
    /// What it printed on standard output.
    pub(super) stdout: Head,
    /// What it printed on standard error.
    pub(super) stderr: Head,
    /// Both as they came.
    pub(super) output: Head,
}

impl Ended {
    /// What is known of a process whose output was read by somebody else.
    pub(crate) fn of(status: ExitStatus, tail: &Tail) -> Self {
        let (code, signal) = (status.code(), status.signal());
        Ended { code, signal, tail: tail.text(), ..Ended::default() }
    }

    /// One sentence for an error.
    pub(crate) fn describe(&self, line: &Line) -> String {
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
        tail => {
            let whole = escaped(tail);
            let excess = whole.chars().count().saturating_sub(OUTPUT_TAIL);
            let cut = if excess > 0 { "…" } else { "" };
            let last: String = whole.chars().skip(excess).collect();
            format!("its last output: {cut}{last}")
        }
    }
}

/// Runs `line` to its end. Errors when it cannot be started, takes too long, or is cancelled.
pub(super) async fn run(
    line: &Line,
    limits: Limits,
    cancel: &CancellationToken,
) -> Result<Ended, String> {
    let mut running = Running::start(line).await?;
    let said_so_far = Arc::new(Mutex::new(Said::default()));
    let mut pumps = JoinSet::new();
    if let Some(stdout) = running.stdout.take() {
        pumps.spawn(pump(stdout, Said::stdout, Arc::clone(&said_so_far)));
    }
    if let Some(stderr) = running.stderr.take() {
        pumps.spawn(pump(stderr, Said::stderr, Arc::clone(&said_so_far)));
    }
    let too_late = async {
        match limits.time {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let status = tokio::select! {
        biased;
        status = running.wait() => {
            status.map_err(|error| format!("cannot wait for `{line}`: {error}"))?
        }
        () = cancel.cancelled() => {
            running.stop(limits.signal).await;
            return Err(format!("`{line}` was stopped, since the run was cancelled"));
        }
        () = too_late => {
            running.stop(limits.signal).await;
            let seconds = limits.time.unwrap_or_default().as_secs();
            let said = said(&lock(&said_so_far).tail.text());
            return Err(format!("`{line}` was killed after its timeout of {seconds} s; {said}"));
        }
    };
    drain(&mut pumps).await;
    let said = std::mem::take(&mut *lock(&said_so_far));
    Ok(said.ended(status))
}

/// Waits until all output is read, but not for what still holds it in the background.
async fn drain(pumps: &mut JoinSet<()>) {
    let drained = timeout(DRAIN_LIMIT, async { while pumps.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::debug!("something in the background still holds the output of its command");
    }
}

fn lock(said: &Mutex<Said>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A process that was started, in a group of its own; all of the group is killed when this is
/// dropped before the process ended.
pub(crate) struct Running {
    /// Dropped before the child: as long as that is not reaped, the number is this group's.
    group: Group,
    child: Child,
    /// To be read by whoever started it.
    pub(crate) stdout: Option<ChildStdout>,
    /// To be read by whoever started it.
    pub(crate) stderr: Option<ChildStderr>,
}

impl Running {
    /// Starts it. The error is a sentence.
    pub(crate) async fn start(line: &Line) -> Result<Running, String> {
        let mut command = Command::new(&line.program);
        if line.user.is_some() || line.group.is_some() {
            let found = identity::of(line.user.clone(), line.group.clone()).await;
            let found = found.map_err(|why| format!("cannot run `{line}`: {why}"))?;
            found.variables.iter().for_each(|(name, value)| {
                command.env(name, value);
            });
            found.gid.iter().for_each(|gid| {
                command.gid(*gid);
            });
            found.uid.iter().for_each(|uid| {
                command.uid(*uid);
            });
        }
        // The agent's own key to the cluster is nobody else's.
        command.env_remove("QUORATE_TOKEN");
        command.args(&line.args).envs(&line.env).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        line.cwd.iter().for_each(|cwd| {
            command.current_dir(cwd);
        });
        let mut child = command.spawn().map_err(|error| not_started(line, &error))?;
        let group = Group::of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Running { group, child, stdout, stderr })
    }

    /// Waits until it ends by itself.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.group.disarm();
        status
    }

    /// Asks the group to end, and kills what is left of it when its time to clean up is over. That
    /// is everyone's: others of the group may take longer than its leader.
    pub(crate) async fn stop(&mut self, signal: Signal) {
        self.group.signal(signal);
        let ended = timeout(TERM_GRACE, async {
            if let Err(error) = self.child.wait().await {
                tracing::debug!("cannot wait for a process that is to end: {error}");
            }
            // While somebody is in the group, nobody else can get its number.
            while self.group.exists() {
                sleep(GROUP_POLL).await;
            }
        });
        if ended.await.is_err() {
            tracing::debug!("a process group did not end by {signal}; killing it");
            self.group.signal(Signal::SIGKILL);
        }
        if let Err(error) = self.wait().await {
            tracing::debug!("cannot wait for a killed process: {error}");
        }
    }
}

/// A process group that nobody has seen the end of yet; killed when dropped.
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

    /// Somebody is left in it; a zombie counts.
    fn exists(&self) -> bool {
        self.leader.is_some_and(|leader| killpg(leader, None) != Err(Errno::ESRCH))
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

/// What a process printed.
#[derive(Default)]
struct Said {
    stdout: Head,
    stderr: Head,
    output: Head,
    tail: Tail,
}

impl Said {
    fn stdout(&mut self, bytes: &[u8]) {
        self.stdout.push(bytes);
        self.output.push(bytes);
        self.tail.push(bytes);
    }

    fn stderr(&mut self, bytes: &[u8]) {
        self.stderr.push(bytes);
        self.output.push(bytes);
        self.tail.push(bytes);
    }

    fn ended(self, status: ExitStatus) -> Ended {
        let Said { stdout, stderr, output, tail } = self;
        Ended { stdout, stderr, output, ..Ended::of(status, &tail) }
    }
}

/// The first bytes of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    bytes: Vec<u8>,
    cut: bool,
}

impl Head {
    fn push(&mut self, bytes: &[u8]) {
        let room = OUTPUT_MAX - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend(&bytes[..bytes.len().min(room)]);
    }

    /// All of it as text; nothing when it was longer than what is kept, or is no text.
    pub(super) fn text(&self) -> Option<&str> {
        if self.cut { None } else { std::str::from_utf8(&self.bytes).ok() }
    }
}

#[cfg(test)]
impl From<&str> for Head {
    fn from(text: &str) -> Self {
        Head { bytes: text.as_bytes().to_vec(), cut: false }
    }
}

/// The last bytes of an output.
#[derive(Default)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    /// Takes in what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(OUTPUT_TAIL);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    /// As text, with a mark where it begins later than the output.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let cut = if self.cut { "…" } else { "" };
        format!("{cut}{}", text.trim_end())
    }
}

/// Reads to the end, so that the command never waits for us.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    push: fn(&mut Said, &[u8]),
    said: Arc<Mutex<Said>>,
) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        push(&mut lock(&said), &buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_plain_command_is_told_whole_and_any_other_only_in_part() {
        let long = format!("/bin/sh -c {}\nsecond", "x".repeat(80));
        let begin = format!("/bin/sh -c {}…", "x".repeat(49));
        let with = |args: &[&str], terse| Line {
            program: "mysql".to_owned(),
            args: args.iter().map(|one| (*one).to_owned()).collect(),
            terse,
            ..Line::default()
        };
        let cases = [
            (Line::split("touch  /tmp/a b"), "touch /tmp/a b"),
            (Line::shell("/bin/sh", "echo hi > /tmp/a\n"), "/bin/sh -c echo hi > /tmp/a"),
            (Line::shell("/bin/sh", "a\nb"), "/bin/sh -c a…"),
            (Line::split(&"y".repeat(80)), &"y".repeat(80)),
            (Line::split(&long), &begin),
            (Line::split("a\x1b[2Jb"), "a\\u{1b}[2Jb"),
            (with(&["-phunter2"], false), "mysql -phunter2"),
            (with(&["-phunter2"], true), "mysql"),
        ];
        for (line, expected) in cases {
            assert_eq!(line.to_string(), expected);
        }
    }

    #[test]
    fn what_a_command_printed_is_told_on_one_line_and_moves_no_cursor() {
        let ended =
            Ended { code: Some(1), tail: "a\n\x1b[2Jb\u{85}ä".to_owned(), ..Ended::default() };
        let told = ended.describe(&Line::split("x"));
        assert_eq!(told, "`x` exited with code 1; its last output: a\\n\\u{1b}[2Jb\\u{85}ä");
    }
}
