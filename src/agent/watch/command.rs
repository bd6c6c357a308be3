//! Commands that are watched: kept running, and each line that they print is told, as is their end.
//!
//! One task for each command that runs. Refuses to keep lines: who is touched is told once, however
//! much was printed before the reader came; and to run a command in a tight circle: what ends soon
//! after its start waits longer and longer before the next one.

use std::collections::HashMap;
use std::future::pending;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Touched;
use crate::kind::process::{Ended, Line, Running, Tail};

/// How many touched ids wait for the reader; whoever comes later waits with one of its own.
const TOUCHED_QUEUE: usize = 64;

/// The pause before a command that ended is started again; it doubles while the command ends sooner
/// than this after its start.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a command that failed before has to run until it counts as watching again, if it prints
/// nothing.
const SETTLED: Duration = Duration::from_secs(1);

/// How long output is read after the command ended: something in its background may hold it.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// How much is read at a time, in bytes.
const BUFFER: usize = 8 << 10;

/// All commands that are watched.
pub(in crate::agent) struct Commands {
    touched: mpsc::Sender<Touched>,
    tasks: JoinSet<()>,
    tokens: HashMap<u64, CancellationToken>,
}

impl Commands {
    /// None yet. Whoever is touched comes out of the receiver.
    pub(in crate::agent) fn new() -> (Self, mpsc::Receiver<Touched>) {
        let (touched, receiver) = mpsc::channel(TOUCHED_QUEUE);
        (Commands { touched, tasks: JoinSet::new(), tokens: HashMap::new() }, receiver)
    }

    /// Keeps this command running for `id`; returns when it was started. After an error it is tried
    /// again later, and a [`Touched`] without an error says when it runs.
    pub(in crate::agent) async fn add(&mut self, id: u64, line: Line) -> Result<(), String> {
        while self.tasks.try_join_next().is_some() {}
        let cancel = CancellationToken::new();
        self.tokens.insert(id, cancel.clone());
        let (started, first) = oneshot::channel();
        let touched = self.touched.clone();
        let watcher = Watcher { id, line, touched, cancel, told: None, scan: Scan::default() };
        self.tasks.spawn(watcher.run(started));
        first.await.unwrap_or_else(|_| Err("the watching task ended early".to_owned()))
    }

    /// Ends the command of `id`. What it printed before may still be told.
    pub(in crate::agent) fn remove(&mut self, id: u64) {
        self.tokens.remove(&id).inspect(CancellationToken::cancel);
    }

    /// Ends all commands: asks them first, or kills them at once.
    pub(in crate::agent) async fn stop(&mut self, at_once: bool) {
        if at_once {
            self.tasks.shutdown().await;
        }
        self.tokens.drain().for_each(|(_, token)| token.cancel());
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Keeps one command running.
struct Watcher {
    id: u64,
    line: Line,
    touched: mpsc::Sender<Touched>,
    cancel: CancellationToken,
    /// The error that was told and holds since.
    told: Option<String>,
    scan: Scan,
}

/// How one life of the command ended.
enum End {
    /// By itself, with code 0.
    Clean,
    /// Any other way, or it was not started.
    Failed(String),
    /// Nobody wants it any more.
    Unwanted,
}

impl Watcher {
    async fn run(mut self, started: oneshot::Sender<Result<(), String>>) {
        let mut started = Some(started);
        let mut pause = Duration::ZERO;
        loop {
            let begin = Instant::now();
            let (end, lived) = match Running::start(&self.line).await {
                Ok(running) => {
                    answer(&mut started, Ok(()));
                    (self.follow(running).await, begin.elapsed())
                }
                Err(why) => (End::Failed(why), Duration::ZERO),
            };
            let error = match end {
                End::Unwanted => return,
                End::Clean => None,
                End::Failed(why) => Some(format!("watchcmd: {why}")),
            };
            if let (Some(why), Some(_)) = (&error, &started) {
                // Whoever asked for the watch tells it.
                self.told = Some(why.clone());
                answer(&mut started, Err(why.clone()));
            } else if error.is_none() || error != self.told {
                self.told = error.clone();
                self.tell(error).await;
            }
            pause = pause_after(pause, lived);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.cancel.cancelled() => return,
            }
        }
    }

    async fn tell(&self, error: Option<String>) {
        let error = error.map(Into::into);
        tokio::select! {
            // The reader ends with the agent.
            sent = self.touched.send(Touched { id: self.id, error }) => drop(sent),
            () = self.cancel.cancelled() => {}
        }
    }

    /// One life of the command.
    async fn follow(&mut self, mut running: Running) -> End {
        self.scan = Scan::default();
        let mut stdout = running.stdout.take();
        let mut stderr = running.stderr.take();
        let mut tail = Tail::default();
        let (mut out, mut err) = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut printed = false;
        let settled = Instant::now() + SETTLED;
        let status = loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {
                    running.stop(Signal::SIGTERM).await;
                    return End::Unwanted;
                }
                permit = self.touched.reserve(), if printed => {
                    let Ok(permit) = permit else { return End::Unwanted };
                    permit.send(Touched { id: self.id, error: None });
                    (printed, self.told) = (false, None);
                }
                read = read(&mut stdout, &mut out) => {
                    tail.push(&out[..read]);
                    printed |= self.scan.take(&out[..read]);
                }
                read = read(&mut stderr, &mut err) => tail.push(&err[..read]),
                () = sleep_until(settled), if self.told.is_some() && !printed => printed = true,
                status = running.wait() => break status,
            }
        };
        let rest = async {
            while stdout.is_some() || stderr.is_some() {
                tokio::select! {
                    read = read(&mut stdout, &mut out) => tail.push(&out[..read]),
                    read = read(&mut stderr, &mut err) => tail.push(&err[..read]),
                }
            }
        };
        if timeout(DRAIN_LIMIT, rest).await.is_err() {
            tracing::debug!("something in the background still holds the output of a watchcmd");
        }
        match status {
            Ok(status) if status.success() => End::Clean,
            Ok(status) => End::Failed(Ended::of(status, &tail).describe(&self.line)),
            Err(error) => End::Failed(format!("cannot wait for `{}`: {error}", self.line)),
        }
    }
}

fn answer(started: &mut Option<oneshot::Sender<Result<(), String>>>, result: Result<(), String>) {
    // Who asked may have given up; it removes the id then.
    started.take().map(|started| started.send(result)).transpose().ok();
}

/// Reads what is there; at the end, takes the source away. Without one waits for ever.
async fn read(from: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    let Some(source) = from else { return pending().await };
    match source.read(buffer).await {
        Ok(read @ 1..) => read,
        _ => {
            *from = None;
            0
        }
    }
}

/// The pause before the next start, from the one before and how long the command lived after it.
fn pause_after(before: Duration, lived: Duration) -> Duration {
    if lived >= PAUSE_MIN { PAUSE_MIN } else { (before * 2).clamp(PAUSE_MIN, PAUSE_MAX) }
}

/// Finds lines that are not empty, without keeping them.
#[derive(Debug, Default)]
struct Scan {
    /// The line that is not complete yet holds something.
    open: bool,
}

impl Scan {
    /// Takes in more of the output; whether it completed a line that is not empty.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let mut found = false;
        for byte in bytes {
            match byte {
                b'\n' => found |= std::mem::take(&mut self.open),
                byte => self.open |= !byte.is_ascii_whitespace(),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
