//! The loop's future, polled by whoever has news for it.
//!
//! A thread of the pool that ends a run takes the loop a step further itself, so no thread waits
//! for another one between a resource and the next. Refuses to wait: who finds the future being
//! polled leaves word, and who polls it does so once more.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::lines::Together;

/// A future that any thread may poll when it has news for it.
pub(super) trait Turn: Send + Sync {
    /// Polls it, or has the thread that does so poll it once more. Comes back soon either way: the
    /// future must not block.
    fn turn(&self);
}

/// A future that ends like the one that it was made of, and may be polled by others meanwhile.
pub(super) struct Relay<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Nothing once it has ended.
    future: Mutex<Option<BoxFuture<'static, T>>>,
    /// There may be news that no poll has seen.
    news: AtomicBool,
    /// Of the task that waits for the end; whatever the future waits for wakes it.
    task: Mutex<Option<Waker>>,
    /// What came of it, or the panic that ended it.
    end: Mutex<Option<Result<T, Box<dyn Any + Send>>>>,
    /// Other threads have no timers without it.
    runtime: Handle,
}

impl<T: Send + 'static> Relay<T> {
    /// Makes the future, which is told how others poll it. Only inside of a runtime.
    pub(super) fn new<F>(make: impl FnOnce(Weak<dyn Turn>) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let shared = Arc::new_cyclic(|weak: &Weak<Shared<T>>| Shared {
            future: Mutex::new(Some(Box::pin(make(weak.clone())))),
            news: AtomicBool::new(false),
            task: Mutex::new(None),
            end: Mutex::new(None),
            runtime: Handle::current(),
        });
        Relay { shared }
    }
}

impl<T: Send + 'static> Future for Relay<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let shared = &self.shared;
        *lock(&shared.task) = Some(context.waker().clone());
        shared.turn();
        let end = lock(&shared.end).take();
        match end {
            None => Poll::Pending,
            Some(Ok(value)) => Poll::Ready(value),
            Some(Err(panic)) => resume_unwind(panic),
        }
    }
}

impl<T: Send + 'static> Turn for Shared<T> {
    fn turn(&self) {
        self.news.store(true, Ordering::SeqCst);
        while self.news.load(Ordering::SeqCst) {
            let mut future = match self.future.try_lock() {
                Ok(future) => future,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // Who polls it looks for news again when it is done.
                Err(TryLockError::WouldBlock) => return,
            };
            // Only who polls takes the word away: what is left from now on is seen after the poll.
            self.news.store(false, Ordering::SeqCst);
            let task = lock(&self.task).clone();
            let (Some(running), Some(task)) = (future.as_mut(), task) else { return };
            let end = {
                let _runtime = self.runtime.enter();
                let mut context = Context::from_waker(&task);
                let _lines = Together::begin();
                catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context)))
            };
            let end = match end {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(value)) => Ok(value),
                Err(panic) => Err(panic),
            };
            *future = None;
            *lock(&self.end) = Some(end);
            task.wake();
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A future that is told how to be polled through this, and counts what lies in its inbox; it
    /// ends with that many.
    fn counting(wanted: usize) -> (Relay<usize>, Weak<dyn Turn>, Arc<AtomicUsize>) {
        let inbox = Arc::new(AtomicUsize::new(0));
        let (look, mut told) = (inbox.clone(), None);
        let relay = Relay::new(|turn| {
            told = Some(turn);
            let mut seen = 0;
            std::future::poll_fn(move |_| {
                seen += look.swap(0, Ordering::SeqCst);
                if seen < wanted { Poll::Pending } else { Poll::Ready(seen) }
            })
        });
        (relay, told.unwrap(), inbox)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_news_are_lost_however_many_threads_have_some() {
        const EACH: usize = 2000;
        let (relay, turn, inbox) = counting(4 * EACH);
        let task = tokio::spawn(relay);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (turn, inbox) = (turn.clone(), inbox.clone());
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        inbox.fetch_add(1, Ordering::SeqCst);
                        // When all was seen there is nobody to tell any more.
                        turn.upgrade().iter().for_each(|relay| relay.turn());
                    }
                })
            })
            .collect();
        assert_eq!(task.await.unwrap(), 4 * EACH);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[tokio::test]
    async fn a_future_that_panics_on_another_thread_panics_in_its_task() {
        let (mut told, mut polls) = (None, 0);
        let relay = Relay::<()>::new(|turn| {
            told = Some(turn);
            std::future::poll_fn(move |_| {
                polls += 1;
                assert!(polls < 2, "the second poll fails");
                Poll::Pending
            })
        });
        let task = tokio::spawn(relay);
        tokio::task::yield_now().await;
        let turn = told.unwrap();
        std::thread::spawn(move || turn.upgrade().unwrap().turn()).join().unwrap();
        assert!(task.await.unwrap_err().is_panic());
    }
}
