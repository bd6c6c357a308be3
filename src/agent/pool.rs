//! Threads for runs that block: a few at a time, and more only while those hang.
//!
//! Refuses to know what a run does, to start a thread for each, and to wake one while there is
//! nothing to do.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The most threads. So many runs may hang (a dead network file system) before others wait for
/// them.
const THREADS_MAX: usize = 16;

/// How long nothing may come to its end, while work waits, before one more thread takes some.
const STUCK: Duration = Duration::from_millis(100);

/// Work that gives a `T`, and its number.
type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// The threads, and what they have finished. Dropping it lets them end after their current job.
pub(super) struct Pool<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Somebody has something to do.
    wake: Condvar,
    /// Something was finished.
    finished: Notify,
    /// How many work at a time when none hangs.
    usual: usize,
}

struct State<T> {
    /// Bounded by the callers: a resource has one run at a time.
    waiting: VecDeque<(u64, Job<T>)>,
    done: Vec<T>,
    threads: usize,
    /// Threads with a job.
    working: usize,
    /// Threads that wait without a time limit, or are about to look for their first job.
    idle: usize,
    /// A thread looks whether the others hang.
    supervised: bool,
    /// How many jobs have come to their end.
    ended: u64,
    closed: bool,
}

impl<T: Send + 'static> Pool<T> {
    /// A pool without threads; they start as work comes.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let state = State {
            waiting: VecDeque::new(),
            done: Vec::new(),
            threads: 0,
            working: 0,
            idle: 0,
            supervised: false,
            ended: 0,
            closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            finished: Notify::new(),
            usual: processors.clamp(1, THREADS_MAX - 1),
        };
        Pool { shared: Arc::new(shared) }
    }

    /// Has a job done. Each has a greater number than the one before. One that panics gives
    /// nothing, so it has to see to that itself.
    pub(super) fn submit(
        &self,
        number: u64,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<()> {
        let mut state = self.shared.lock();
        state.waiting.push_back((number, Box::new(job)));
        match state.threads {
            0 => self.shared.call(&mut state).inspect_err(|_| state.waiting.clear()),
            _ => {
                self.shared.call_if_needed(&mut state);
                Ok(())
            }
        }
    }

    /// Waits for something to be finished, and takes all that is.
    pub(super) async fn finished(&self) -> Vec<T> {
        loop {
            let done = std::mem::take(&mut self.shared.lock().done);
            if !done.is_empty() {
                return done;
            }
            self.shared.finished.notified().await;
        }
    }

    /// Does a job here and now if it has not begun: it was given up, and those before it may hang.
    pub(super) fn hasten(&self, number: u64) {
        let mut state = self.shared.lock();
        let Ok(at) = state.waiting.binary_search_by_key(&number, |(number, _)| *number) else {
            return;
        };
        let Some((_, job)) = state.waiting.remove(at) else { return };
        drop(state);
        let done = job();
        self.shared.lock().done.push(done);
        self.shared.finished.notify_one();
    }

    /// Drops what has not begun.
    pub(super) fn clear(&self) {
        self.shared.lock().waiting.clear();
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting.clear();
        self.shared.wake.notify_all();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Shared<T> {
    /// Work waits: has one more thread look at it, unless enough do. One more than usual looks
    /// after the others.
    fn call_if_needed(self: &Arc<Self>, state: &mut State<T>) {
        if state.working >= self.usual && state.supervised {
            return;
        }
        if let Err(error) = self.call(state) {
            tracing::debug!("no further thread: {error}");
        }
    }

    /// Has one more thread look for something to do.
    fn call(self: &Arc<Self>, state: &mut State<T>) -> std::io::Result<()> {
        if state.idle > 0 {
            self.wake.notify_one();
            return Ok(());
        }
        if state.threads == THREADS_MAX {
            return Ok(());
        }
        let shared = self.clone();
        let thread = std::thread::Builder::new().name("quorate-files".to_owned());
        match thread.spawn(move || shared.work()) {
            Ok(_runs) => {
                state.threads += 1;
                state.idle += 1;
            }
            // Those that there are do it later.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let mut state = self.lock();
        state.idle -= 1;
        loop {
            let (held, job) = self.next(state);
            state = held;
            let Some(job) = job else { break };
            state.working += 1;
            if !state.waiting.is_empty() {
                self.call_if_needed(&mut state);
            }
            drop(state);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            state = self.lock();
            state.working -= 1;
            state.ended += 1;
            let Ok(done) = done else { continue };
            state.done.push(done);
            if state.done.len() == 1 {
                self.finished.notify_one();
            }
        }
        state.threads -= 1;
    }

    /// The next job for this thread; waits for one. None when the pool is gone.
    fn next<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State<T>>,
    ) -> (MutexGuard<'a, State<T>>, Option<Job<T>>) {
        loop {
            if state.closed {
                return (state, None);
            }
            if !state.waiting.is_empty() && state.working < self.usual {
                let job = state.waiting.pop_front().map(|(_, job)| job);
                return (state, job);
            }
            if state.waiting.is_empty() || state.supervised {
                state.idle += 1;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            }
            let before = state.ended;
            state.supervised = true;
            let waited = self.wake.wait_timeout(state, STUCK);
            let (held, limit) = waited.unwrap_or_else(PoisonError::into_inner);
            state = held;
            state.supervised = false;
            if limit.timed_out() && state.ended == before && !state.waiting.is_empty() {
                let job = state.waiting.pop_front().map(|(_, job)| job);
                return (state, job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn everything_submitted_is_finished_once() {
        let pool = Pool::new();
        for number in 0..1000 {
            pool.submit(number, move || number).unwrap();
        }
        let mut all = Vec::new();
        while all.len() < 1000 {
            all.extend(pool.finished().await);
        }
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_goes_on_while_all_but_one_hang() {
        let pool = Pool::new();
        let hang = |number: u64| {
            let (sender, receiver) = mpsc::channel::<()>();
            pool.submit(number, move || receiver.recv().map_or(number, |()| number)).unwrap();
            sender
        };
        let mut hung: Vec<_> = (1..THREADS_MAX as u64).map(hang).collect();
        pool.submit(50, || 50).unwrap();
        assert_eq!(pool.finished().await, [50], "only the one that does not hang");
        hung.push(hang(60));
        pool.submit(61, || 61).unwrap();
        pool.hasten(61);
        assert_eq!(pool.finished().await, [61], "it was given up and waits for nobody");
        drop(hung);
        let mut rest = 0;
        while rest < THREADS_MAX {
            rest += pool.finished().await.len();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_costs_no_thread() {
        let pool = Pool::new();
        for number in 0..2 * THREADS_MAX as u64 {
            pool.submit(number, || panic!("of a job")).unwrap();
        }
        pool.submit(99, || 7).unwrap();
        assert_eq!(pool.finished().await, [7]);
    }
}
