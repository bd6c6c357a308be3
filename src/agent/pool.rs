//! Threads for runs that block: a few at a time, and more only while those hang.
//!
//! A thread that has finished something takes the loop a step further itself, and mostly finds its
//! next job by that. Refuses to know what a run does, to start a thread for each, and to wake one
//! while there is nothing to do.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::relay::Turn;

/// The most threads. So many runs may hang (a dead network file system) before others wait for
/// them.
const THREADS_MAX: usize = 16;

/// How long nothing may come to its end, while work waits, before one more thread takes some.
const STUCK: Duration = Duration::from_millis(100);

/// How many finished jobs are told at once while others wait: each time costs about as much as one
/// of them.
const TOGETHER: usize = 16;

/// How old the beginning of what is finished may be before it is told although others wait.
const SOON: Duration = Duration::from_millis(4);

/// Work that gives a `T`, on a thread that has an `S` at hand.
type Job<T, S> = Box<dyn FnOnce(&S) -> T + Send>;

/// A job and its number.
type Numbered<T, S> = (u64, Job<T, S>);

/// The state, while nobody else has it.
type Locked<'a, T, S> = MutexGuard<'a, State<T, S>>;

/// The threads, and what they have finished. Dropping it lets them end after their current job.
pub(super) struct Pool<T, S: 'static> {
    shared: Arc<Shared<T, S>>,
}

struct Shared<T, S: 'static> {
    state: Mutex<State<T, S>>,
    /// Somebody has something to do.
    wake: Condvar,
    /// Something was finished.
    finished: Notify,
    /// Whom to tell of that first, as it then needs no other thread.
    turn: OnceLock<Weak<dyn Turn>>,
    /// Makes what a thread has at hand: for jobs that were there by then, and until they are told.
    fresh: Box<dyn Fn() -> S + Send + Sync>,
    /// How many work at a time when none hangs.
    usual: usize,
}

struct State<T, S> {
    /// Bounded by the callers: a resource has one run at a time.
    waiting: VecDeque<Numbered<T, S>>,
    /// The number of the last one that came.
    newest: u64,
    done: Vec<T>,
    /// When the first job of those began.
    since: Option<Instant>,
    threads: usize,
    /// Threads with a job.
    working: usize,
    /// Threads that tell what is finished. They look for a job right after it.
    telling: usize,
    /// Threads that wait without a time limit, or are about to look for their first job.
    idle: usize,
    /// A thread looks whether the others hang.
    supervised: bool,
    /// How many jobs have come to their end.
    ended: u64,
    closed: bool,
}

impl<T: Send + 'static, S> Pool<T, S> {
    /// A pool without threads; they start as work comes. What is `fresh` serves several jobs that
    /// follow one another, and none that came after it was made.
    pub(super) fn new(fresh: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let state = State {
            waiting: VecDeque::new(),
            newest: 0,
            done: Vec::new(),
            since: None,
            threads: 0,
            working: 0,
            telling: 0,
            idle: 0,
            supervised: false,
            ended: 0,
            closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            finished: Notify::new(),
            turn: OnceLock::new(),
            fresh: Box::new(fresh),
            usual: processors.clamp(1, THREADS_MAX - 1),
        };
        Pool { shared: Arc::new(shared) }
    }

    /// Has the threads poll what waits for [`Pool::finished`] themselves.
    pub(super) fn turn_with(&self, turn: Weak<dyn Turn>) {
        // There is one loop, and it says so once.
        self.shared.turn.set(turn).ok();
    }

    /// Has a job done. Each has a greater number than the one before. One that panics gives
    /// nothing, so it has to see to that itself.
    pub(super) fn submit(
        &self,
        number: u64,
        job: impl FnOnce(&S) -> T + Send + 'static,
    ) -> std::io::Result<()> {
        let mut state = self.shared.lock();
        state.newest = number;
        state.waiting.push_back((number, Box::new(job)));
        match state.threads {
            0 => self.shared.call(&mut state).inspect_err(|_| state.waiting.clear()),
            _ if state.waiting.len() <= state.telling => Ok(()),
            _ => {
                self.shared.call_if_needed(&mut state);
                Ok(())
            }
        }
    }

    /// Waits for something to be finished, and takes all that is.
    pub(super) async fn finished(&self) -> Vec<T> {
        let mut told = pin!(self.shared.finished.notified());
        // Who was told to poll it looks for itself.
        poll_fn(|context| {
            loop {
                let done = self.shared.lock().take();
                if !done.is_empty() {
                    return Poll::Ready(done);
                }
                ready!(told.as_mut().poll(context));
                told.set(self.shared.finished.notified());
            }
        })
        .await
    }

    /// Does a job here and now if it has not begun: it was given up, and those before it may hang.
    pub(super) fn hasten(&self, number: u64) {
        let mut state = self.shared.lock();
        let Ok(at) = state.waiting.binary_search_by_key(&number, |(number, _)| *number) else {
            return;
        };
        let Some((_, job)) = state.waiting.remove(at) else { return };
        drop(state);
        let began = Instant::now();
        let done = job(&(self.shared.fresh)());
        self.shared.lock().put(done, began);
        self.shared.finished.notify_one();
    }

    /// Who polls is going to take long: what waits for it is for others.
    pub(super) fn hand_over(&self) {
        let mut state = self.shared.lock();
        if !state.waiting.is_empty() {
            self.shared.call_if_needed(&mut state);
        }
    }

    /// Drops what has not begun.
    pub(super) fn clear(&self) {
        self.shared.lock().waiting.clear();
    }
}

impl<T, S> Drop for Pool<T, S> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting.clear();
        self.shared.wake.notify_all();
    }
}

impl<T, S> State<T, S> {
    fn put(&mut self, done: T, began: Instant) {
        self.done.push(done);
        self.since.get_or_insert(began);
    }

    fn take(&mut self) -> Vec<T> {
        self.since = None;
        std::mem::take(&mut self.done)
    }

    /// Threads that work or are about to.
    fn busy(&self) -> usize {
        self.working + self.telling
    }

    /// What is finished has to be told now.
    fn owes(&self) -> bool {
        let Some(since) = self.since else { return false };
        self.waiting.is_empty() || self.done.len() >= TOGETHER || since.elapsed() >= SOON
    }
}

impl<T, S> Shared<T, S> {
    fn lock(&self) -> Locked<'_, T, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static, S> Shared<T, S> {
    /// Work waits: has one more thread look at it, unless enough do. One more than usual looks
    /// after the others.
    fn call_if_needed(self: &Arc<Self>, state: &mut State<T, S>) {
        if state.busy() >= self.usual && state.supervised {
            return;
        }
        if let Err(error) = self.call(state) {
            tracing::debug!("no further thread: {error}");
        }
    }

    /// Has one more thread look for something to do.
    fn call(self: &Arc<Self>, state: &mut State<T, S>) -> std::io::Result<()> {
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
        // What is at hand, and the newest job that may use it.
        let mut hand: Option<(u64, S)> = None;
        loop {
            let (held, job) = self.next(state, &mut hand);
            state = held;
            let Some((number, job)) = job else { break };
            if state.waiting.is_empty() && state.since.is_some() {
                // This job may take long, and nobody looks after those that work when none waits.
                hand = None;
                state = self.tell(state);
            }
            state.working += 1;
            if !state.waiting.is_empty() {
                self.call_if_needed(&mut state);
            }
            let newest = state.newest;
            drop(state);
            let usable = hand.take().filter(|(until, _)| number <= *until);
            let at_hand = usable.unwrap_or_else(|| (newest, (self.fresh)()));
            let began = Instant::now();
            let whole = AssertUnwindSafe(|| job(&at_hand.1));
            let done = std::panic::catch_unwind(whole);
            hand = Some(at_hand);
            state = self.lock();
            state.working -= 1;
            state.ended += 1;
            if let Ok(done) = done {
                state.put(done, began);
            }
            if state.owes() {
                hand = None;
                state = self.tell(state);
            }
        }
        state.threads -= 1;
    }

    /// Has the loop take what is finished: on this thread, unless another one is at it.
    fn tell<'a>(&'a self, mut state: Locked<'a, T, S>) -> Locked<'a, T, S> {
        let Some(turn) = self.turn.get().and_then(Weak::upgrade) else {
            self.finished.notify_one();
            return state;
        };
        state.telling += 1;
        drop(state);
        turn.turn();
        drop(turn);
        let mut state = self.lock();
        state.telling -= 1;
        state
    }

    /// The next job for this thread; waits for one, with nothing at hand. None when the pool is
    /// gone.
    fn next<'a>(
        self: &'a Arc<Self>,
        mut state: Locked<'a, T, S>,
        hand: &mut Option<(u64, S)>,
    ) -> (Locked<'a, T, S>, Option<Numbered<T, S>>) {
        loop {
            if state.closed {
                return (state, None);
            }
            if !state.waiting.is_empty() && state.busy() < self.usual {
                let job = state.waiting.pop_front();
                if state.waiting.is_empty() {
                    // All resources of a graph may have waited at once, and hardly will again.
                    state.waiting.shrink_to(TOGETHER);
                }
                return (state, job);
            }
            *hand = None;
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
            if !limit.timed_out() || state.ended != before || state.waiting.is_empty() {
                continue;
            }
            // Nobody else comes to tell it.
            if state.since.is_some() {
                state = self.tell(state);
            }
            let job = state.waiting.pop_front();
            if job.is_some() {
                return (state, job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::super::relay::Relay;
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn everything_submitted_is_finished_once() {
        let pool = Pool::new(|| ());
        for number in 0..1000 {
            pool.submit(number, move |()| number).unwrap();
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
        let pool = Pool::new(|| ());
        let hang = |number: u64| {
            let (sender, receiver) = mpsc::channel::<()>();
            pool.submit(number, move |()| receiver.recv().map_or(number, |()| number)).unwrap();
            sender
        };
        let mut hung: Vec<_> = (1..THREADS_MAX as u64).map(hang).collect();
        pool.submit(50, |()| 50).unwrap();
        assert_eq!(pool.finished().await, [50], "only the one that does not hang");
        hung.push(hang(60));
        pool.submit(61, |()| 61).unwrap();
        pool.hasten(61);
        assert_eq!(pool.finished().await, [61], "it was given up and waits for nobody");
        drop(hung);
        let mut rest = 0;
        while rest < THREADS_MAX {
            rest += pool.finished().await.len();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_finished_is_told_although_what_comes_after_it_hangs() {
        for hanging in [1, 2, THREADS_MAX - 1] {
            let pool = Pool::new(|| ());
            let hung: Vec<_> = (0..hanging as u64)
                .map(|number| {
                    let (sender, receiver) = mpsc::channel::<()>();
                    pool.submit(2 * number, |()| 1).unwrap();
                    pool.submit(2 * number + 1, move |()| receiver.recv().map_or(0, |()| 0))
                        .unwrap();
                    sender
                })
                .collect();
            let mut told = 0;
            let wait = async {
                while told < hanging {
                    told += pool.finished().await.len();
                }
            };
            tokio::time::timeout(Duration::from_secs(60), wait).await.expect("all are told");
            assert_eq!(told, hanging, "those that hang are not");
            drop(hung);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_of_a_chain_runs_on_the_thread_that_ended_the_one_before() {
        const LENGTH: u64 = 1000;
        let chain = Relay::new(|turn| async move {
            let pool = Pool::new(|| ());
            pool.turn_with(turn);
            let (mut last, mut moved) = (None, 0);
            for number in 0..LENGTH {
                pool.submit(number, |()| std::thread::current().id()).unwrap();
                let thread = pool.finished().await.pop();
                moved += u64::from(last.is_some() && last != thread);
                last = thread;
            }
            moved
        });
        let moved = chain.await;
        assert!(moved < LENGTH / 10, "another thread took over {moved} times");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_costs_no_thread() {
        let pool = Pool::new(|| ());
        for number in 0..2 * THREADS_MAX as u64 {
            pool.submit(number, |()| panic!("of a job")).unwrap();
        }
        pool.submit(99, |()| 7).unwrap();
        assert_eq!(pool.finished().await, [7]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_at_hand_serves_no_job_that_came_after_it_was_made() {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let pool = Pool::new(|| MADE.fetch_add(1, Ordering::SeqCst));
        for number in 0..200 {
            let came = MADE.load(Ordering::SeqCst);
            pool.submit(number, move |made| (came, *made)).unwrap();
            if number % 7 == 0 {
                std::thread::yield_now();
            }
        }
        let mut left = 200;
        while left > 0 {
            for (came, made) in pool.finished().await {
                assert!(made >= came, "made as number {made}, when {came} were there already");
                left -= 1;
            }
        }
    }
}
