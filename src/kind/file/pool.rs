//! Threads for work on files: a run is put into a queue and done by whoever is free.
//!
//! Waking a thread for each file costs several times what looking at a file does; these threads
//! sleep only when the queue is empty. Refuses to keep the caller waiting when it gives up before
//! its turn, and to end with a panic of the work.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How many threads there are for each processor: some wait for a disk while others go on.
const THREADS_PER_CPU: usize = 2;

/// The fewest and the most threads: enough to keep a slow disk busy, few beside what else runs.
const THREADS_MIN: usize = 4;
const THREADS_MAX: usize = 16;

/// Work that is done at most once: by a thread, or taken back by who gave up.
type Work = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A queue and its threads, started when they are needed. Its length is bounded by the number of
/// runs that the engine has under way.
pub(super) struct Pool {
    inner: Mutex<Inner>,
    filled: Condvar,
}

struct Inner {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Pool {
    pub(super) const fn new() -> Self {
        let inner = Inner { queue: VecDeque::new(), threads: 0, idle: 0 };
        Pool { inner: Mutex::new(inner), filled: Condvar::new() }
    }

    /// Does the work on one of the threads, or nothing when `cancel` comes before its turn.
    pub(super) async fn run<T: Send + 'static>(
        &'static self,
        cancel: &CancellationToken,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let given_up = || Err("cancelled before it started".to_owned());
        if cancel.is_cancelled() {
            return given_up();
        }
        let (done, result) = oneshot::channel();
        let work: Work = Arc::new(Mutex::new(Some(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            // Who asked may have gone.
            done.send(result.unwrap_or_else(|_| Err("the file task panicked".to_owned()))).ok();
        }))));
        self.push(work.clone())?;
        let mut result = result;
        tokio::select! {
            biased;
            result = &mut result => return result.map_err(|error| error.to_string())?,
            () = cancel.cancelled() => {}
        }
        if lock(&work).take().is_some() {
            return given_up();
        }
        // It has begun: it sees by itself that it was cancelled, and never stops halfway.
        result.await.map_err(|error| error.to_string())?
    }

    fn push(&'static self, work: Work) -> Result<(), String> {
        let mut inner = lock(&self.inner);
        inner.queue.push_back(work);
        if inner.idle > 0 {
            self.filled.notify_one();
        } else if inner.threads < threads_max() {
            let name = format!("file-{}", inner.threads);
            match thread::Builder::new().name(name).spawn(move || self.serve()) {
                Ok(_) => inner.threads += 1,
                Err(_) if inner.threads > 0 => {}
                Err(error) => {
                    inner.queue.pop_back();
                    return Err(format!("no thread for work on files: {error}; try again"));
                }
            }
        }
        Ok(())
    }

    fn serve(&self) {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(work) = inner.queue.pop_front() {
                drop(inner);
                let taken = lock(&work).take();
                if let Some(work) = taken {
                    work();
                }
                inner = lock(&self.inner);
            } else {
                inner.idle += 1;
                inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.idle -= 1;
            }
        }
    }
}

/// Asked once: finding out reads several files.
fn threads_max() -> usize {
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        (processors * THREADS_PER_CPU).clamp(THREADS_MIN, THREADS_MAX)
    })
}

/// Nothing that is behind these locks can be left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    static POOL: Pool = Pool::new();

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_threads_go_on() {
        let none = CancellationToken::new();
        for _ in 0..2 * THREADS_MAX {
            let panicked = POOL.run(&none, || -> Result<(), String> { panic!("for the test") });
            assert_eq!(panicked.await, Err("the file task panicked".to_owned()));
        }
        assert_eq!(POOL.run(&none, || Ok(1)).await, Ok(1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_gives_up_before_its_turn_is_answered_at_once_and_its_work_is_never_done() {
        static BUSY: Pool = Pool::new();
        static DONE: AtomicUsize = AtomicUsize::new(0);
        let none = CancellationToken::new();
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut blocked = Vec::new();
        for _ in 0..threads_max() {
            let (none, gate) = (none.clone(), gate.clone());
            blocked.push(tokio::spawn(async move {
                BUSY.run(&none, move || lock(&gate).recv().map_err(|e| e.to_string())).await
            }));
        }
        let cancel = CancellationToken::new();
        let waiting = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                while lock(&BUSY.inner).threads < threads_max() {
                    tokio::task::yield_now().await;
                }
                let count = || Ok(DONE.fetch_add(1, Ordering::Relaxed));
                BUSY.run(&cancel, count).await
            }
        });
        while lock(&BUSY.inner).queue.is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        assert!(waiting.await.unwrap().unwrap_err().contains("cancelled"));
        for _ in 0..threads_max() {
            open.send(()).unwrap();
        }
        for one in blocked {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        assert_eq!(BUSY.run(&none, || Ok(DONE.load(Ordering::Relaxed))).await, Ok(0));
    }
}
