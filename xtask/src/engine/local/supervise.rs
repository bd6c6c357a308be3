//! The process that looks after a node's main process: stamps what it writes, hands signals on,
//! writes down how it ended. It is to a local node what an init is to a container.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Local, Node, process};

/// The hidden verb of `cargo xtask` that runs it.
pub(crate) const VERB: &str = "run-node";
/// Lines on their way to the log; a slow disk slows the node down.
const IN_FLIGHT: usize = 256;
/// A log that grows beyond this becomes the old one, which is kept, as containers have it.
const LOG_LIMIT: u64 = 5 << 20;
/// How long lines are awaited that were on their way when the process ended; something that it left
/// behind may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs a node's main process to its end; `folder` is the node's.
///
/// # Errors
/// The folder is no node's, or its log cannot be written.
pub(crate) fn supervise(folder: PathBuf) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = Local::new()?;
    let images = local.root.join("images");
    runtime.block_on(run(Node { folder, images }))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(node: Node) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut log = Log::open(&node.folder)?;
    let (sender, mut lines) = mpsc::channel(IN_FLIGHT);
    let mut child = match start(&node) {
        Ok(child) => child,
        Err(failure) => {
            log.line(&format!("it cannot be started: {failure:#}"))?;
            return Ok(fs::write(node.folder.join("exit"), "127")?);
        }
    };
    let pid = child.id().unwrap_or_default();
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        tokio::spawn(pass_on(out, sender.clone()));
        tokio::spawn(pass_on(err, sender));
    }
    let status = loop {
        tokio::select! {
            Some(line) = lines.recv() => log.line(&line)?,
            _ = terminate.recv() => process::signal(pid, Signal::SIGTERM),
            _ = interrupt.recv() => process::signal(pid, Signal::SIGINT),
            status = child.wait() => break status?,
        }
    };
    while let Ok(Some(line)) = tokio::time::timeout(LAST_WORDS, lines.recv()).await {
        log.line(&line)?;
    }
    Ok(fs::write(node.folder.join("exit"), code(status).to_string())?)
}

fn start(node: &Node) -> anyhow::Result<Child> {
    let made = node.made()?;
    let programs = node.programs(&made);
    let words: Vec<String> =
        made.spec.command.iter().map(|word| node.mapped(word, &programs)).collect();
    let Some((program, arguments)) = words.split_first() else {
        anyhow::bail!("the node has no command");
    };
    let mut command = Command::new(program);
    scrub(&mut command);
    command.args(arguments).envs(node.environment(&made)).current_dir(node.disk());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// What is set for whoever started the cluster is not meant for its nodes.
pub(super) fn scrub(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let foreign = name
            .to_str()
            .is_some_and(|name| name.starts_with("QUORATE_") || name.starts_with("ETCD"));
        if foreign {
            command.env_remove(name);
        }
    }
}

/// The code that a shell would tell.
pub(super) fn code(status: ExitStatus) -> i64 {
    status.code().or(status.signal().map(|signal| 128 + signal)).map_or(-1, i64::from)
}

/// Reads lines of any bytes.
async fn pass_on(from: impl AsyncRead + Unpin, to: mpsc::Sender<String>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = from.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        if to.send(text).await.is_err() {
            return;
        }
        line.clear();
    }
}

/// A node's log, each line behind its time.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn open(folder: &Path) -> std::io::Result<Log> {
        let path = folder.join("log");
        let file = File::options().create(true).append(true).open(&path)?;
        Ok(Log { path, file })
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        if self.file.metadata()?.len() > LOG_LIMIT {
            fs::rename(&self.path, self.path.with_extension("old"))?;
            self.file = File::options().create(true).append(true).open(&self.path)?;
        }
        let stamp = humantime::format_rfc3339_nanos(SystemTime::now());
        self.file.write_all(format!("{stamp} {text}\n").as_bytes())
    }
}
