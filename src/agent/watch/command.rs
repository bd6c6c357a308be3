//! Commands that are watched: kept running, and each line that they print is told, as is a good
//! end.
//!
//! One task for each command that runs. Refuses to keep lines: who is touched is told once, however
//! much was printed before the reader came, and not again at once; to take a failure for an event;
//! and to run a command in a tight circle: what ends soon
//! after its start waits longer and longer before the next one.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Touched;
use crate::kind::process::{Ended, Line, Running, Tail};

/// The shortest time between two events of one command, however much it prints.
const TELL_PAUSE: Duration = Duration::from_millis(100);

/// The first pause before a command that ended is started again; it doubles while the command fails
/// sooner than [`PAUSE_MAX`] after its start, or ends well sooner than this.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a command that failed before has to run at least until it counts as watching again, if
/// it prints nothing; as long as the pause before it, so that one that fails again and again does
/// not.
const SETTLED: Duration = Duration::from_secs(1);

/// How long output is read after the command ended: something in its background may hold it.
const DRAIN_LIMIT: Duration = Duration::from_millis(250);

/// How much is read at a time, in bytes.
const BUFFER: usize = 8 << 10;

/// All commands that are watched.
pub(in crate::agent) struct Commands {
    board: Arc<Board>,
    tasks: JoinSet<()>,
    tokens: HashMap<u64, CancellationToken>,
}

impl Commands {
    /// None yet. Whoever is touched comes out of the receiver.
    pub(in crate::agent) fn new() -> (Self, CommandNews) {
        let board = Arc::new(Board::default());
        let commands =
            Commands { board: board.clone(), tasks: JoinSet::new(), tokens: HashMap::new() };
        (commands, CommandNews { board })
    }

    /// Keeps this command running for `id`. The first [`Touched`] says whether it was started, and
    /// whether something happened since; after an error it is tried again later.
    pub(in crate::agent) fn add(&mut self, id: u64, line: Line) {
        while self.tasks.try_join_next().is_some() {}
        let cancel = CancellationToken::new();
        self.tokens.insert(id, cancel.clone());
        let board = self.board.clone();
        let mut watcher =
            Watcher { id, line, board, told: false, error: None, scan: Scan::default() };
        self.tasks.spawn(async move {
            watcher.run(&cancel).await;
        });
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

/// What is to be told, once for each id until the reader has taken it.
#[derive(Debug, Default)]
struct Board {
    news: Mutex<BTreeMap<u64, Touched>>,
    come: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Touched>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, touched: Touched) {
        let mut news = self.lock();
        let before = news.get(&touched.id).is_some_and(|before| before.happened);
        let happened = touched.happened || before;
        news.insert(touched.id, Touched { happened, ..touched });
        self.come.notify_one();
    }
}

/// What happens to watched commands, as it comes.
#[derive(Debug)]
pub(in crate::agent) struct CommandNews {
    board: Arc<Board>,
}

impl CommandNews {
    /// The next that has news; waits for ever when there is none.
    pub(in crate::agent) async fn recv(&mut self) -> Touched {
        loop {
            if let Some((_, touched)) = self.board.lock().pop_first() {
                return touched;
            }
            self.board.come.notified().await;
        }
    }
}

/// Keeps one command running.
struct Watcher {
    id: u64,
    line: Line,
    board: Arc<Board>,
    /// It was said whether it runs.
    told: bool,
    /// The error that holds since it was told.
    error: Option<String>,
    scan: Scan,
}

/// How one life of the command ended.
enum End {
    /// By itself, with code 0.
    Clean,
    /// Any other way, or it was not started.
    Failed(String),
}

impl Watcher {
    /// Runs it again and again, until nobody wants it any more; gives nothing then.
    async fn run(&mut self, cancel: &CancellationToken) -> Option<()> {
        let mut pause = Duration::ZERO;
        loop {
            let begin = Instant::now();
            // Who it runs as may be looked up far away.
            let started = cancel.run_until_cancelled(Running::start(&self.line)).await?;
            let (end, lived, printed) = match started {
                Ok(running) => {
                    if !self.told {
                        self.tell(false, None);
                    }
                    let (end, printed) = self.follow(running, pause, cancel).await?;
                    (end, begin.elapsed(), printed)
                }
                Err(why) => (End::Failed(why), Duration::ZERO, false),
            };
            let clean = matches!(end, End::Clean);
            match end {
                End::Clean => self.tell(true, None),
                End::Failed(why) => {
                    let error = Some(format!("watchcmd: {why}"));
                    if printed || error != self.error {
                        self.tell(printed, error);
                    }
                }
            }
            pause = pause_after(pause, lived, clean);
            cancel.run_until_cancelled(sleep(pause)).await?;
        }
    }

    /// Tells whether something happened, and how the command is.
    fn tell(&mut self, happened: bool, error: Option<String>) {
        self.told = true;
        self.error.clone_from(&error);
        self.board.post(Touched { id: self.id, happened, error: error.map(Into::into) });
    }

    /// One life of the command: its end, and whether it printed something that was not told.
    async fn follow(
        &mut self,
        mut running: Running,
        pause: Duration,
        cancel: &CancellationToken,
    ) -> Option<(End, bool)> {
        self.scan = Scan::default();
        let mut stdout = running.stdout.take();
        let mut stderr = running.stderr.take();
        let mut tail = Tail::default();
        let (mut out, mut err) = (vec![0; BUFFER], vec![0; BUFFER]);
        let mut printed = false;
        let mut next_tell = Instant::now();
        let settled = Instant::now() + SETTLED.max(pause);
        let status = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    running.stop(Signal::SIGTERM).await;
                    return None;
                }
                () = sleep_until(next_tell), if printed => {
                    self.tell(true, None);
                    (printed, next_tell) = (false, Instant::now() + TELL_PAUSE);
                }
                read = read(&mut stdout, &mut out) => {
                    tail.push(&out[..read]);
                    printed |= self.scan.take(&out[..read]);
                }
                read = read(&mut stderr, &mut err) => tail.push(&err[..read]),
                () = sleep_until(settled), if self.error.is_some() && !printed => {
                    self.tell(false, None);
                }
                status = running.wait() => break status,
            }
        };
        let rest = async {
            while stdout.is_some() || stderr.is_some() {
                tokio::select! {
                    read = read(&mut stdout, &mut out) => {
                        tail.push(&out[..read]);
                        printed |= self.scan.take(&out[..read]);
                    }
                    read = read(&mut stderr, &mut err) => tail.push(&err[..read]),
                }
            }
        };
        if timeout(DRAIN_LIMIT, rest).await.is_err() {
            tracing::debug!("something in the background still holds the output of a watchcmd");
        }
        let end = match status {
            Ok(status) if status.success() => End::Clean,
            Ok(status) => End::Failed(Ended::of(status, &tail).describe(&self.line)),
            Err(error) => End::Failed(format!("cannot wait for `{}`: {error}", self.line)),
        };
        Some((end, printed))
    }
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

/// The pause before the next start, from the one before, how long the command lived after it, and
/// whether it ended well.
fn pause_after(before: Duration, lived: Duration, clean: bool) -> Duration {
    let long = if clean { PAUSE_MIN } else { PAUSE_MAX };
    if lived >= long { PAUSE_MIN } else { (before * 2).clamp(PAUSE_MIN, PAUSE_MAX) }
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
