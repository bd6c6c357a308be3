//! Ctrl-C and its relatives: the first signal asks, the second ends at once.
//!
//! A command that has something to undo says so with [`Stop::hold`]; any other is simply dropped.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::paths::Exit;

/// Tells a command that the user wants it to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    code: watch::Receiver<u8>,
    held: Arc<AtomicBool>,
}

impl Stop {
    /// One that never asks.
    pub(crate) fn never() -> Stop {
        let (sender, code) = watch::channel(0);
        // Nobody will send; a receiver without a sender would look as if someone had.
        std::mem::forget(sender);
        Stop { code, held: Arc::default() }
    }

    /// From here on the command undoes what it did itself.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to stop.
    pub(crate) fn requested(&self) -> bool {
        *self.code.borrow() != 0
    }

    /// The error that ends an interrupted command.
    pub(crate) fn error(&self) -> anyhow::Error {
        let code = (*self.code.borrow()).max(Exit::INTERRUPTED);
        Exit::error(code, "interrupted")
    }

    /// Runs something that leaves nothing behind when it is dropped, unless it is asked to stop
    /// first.
    pub(crate) async fn race<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let mut code = self.code.clone();
        tokio::select! {
            biased;
            _ = code.wait_for(|code| *code != 0) => Err(self.error()),
            done = work => done,
        }
    }
}

/// Runs a command on a runtime of its own, with signals turned into [`Stop`].
pub(crate) fn block_on<F, W>(work: W) -> anyhow::Result<ExitCode>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (sender, code) = watch::channel(0);
        let stop = Stop { code, held: Arc::default() };
        let held = stop.held.clone();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let work = work(stop.clone());
        tokio::pin!(work);
        loop {
            let code = tokio::select! {
                done = &mut work => return done,
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => 129,
            };
            if !held.load(Ordering::SeqCst) {
                return Ok(ExitCode::from(code));
            }
            if stop.requested() {
                eprintln!("left as it is. To clean up: cargo xtask cluster gc");
                std::process::exit(code.into());
            }
            eprintln!("stopping; what this run made is being removed");
            sender.send_replace(code);
        }
    })
}
