//! Whose turn it is to change a directory: one thread puts its files there, then another one.
//!
//! The kernel lets one thread change a directory at a time, and those that want to meanwhile keep
//! a processor busy with waiting. Refuses to be more than politeness: who has waited for long goes
//! ahead, so a thread that hangs in a directory holds nobody up for ever, and nothing depends on
//! the order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long another thread's turn is waited for: many times what it does in one.
const PATIENCE: Duration = Duration::from_millis(10);

/// The turns of all directories in which somebody works. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashMap<PathBuf, Weak<Turn>>>>);

/// The turn of one directory.
#[derive(Debug, Default)]
struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

/// It is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Ours(Arc<Turn>);

impl Turns {
    /// Waits for the turn of the directory of this path; nothing when that takes too long.
    pub(super) fn wait(&self, directory: &Path) -> Option<Ours> {
        let turn = self.of(directory);
        let taken = lock(&turn.taken);
        let waited = turn.free.wait_timeout_while(taken, PATIENCE, |taken| *taken);
        let (mut taken, limit) = waited.unwrap_or_else(PoisonError::into_inner);
        if limit.timed_out() {
            return None;
        }
        *taken = true;
        drop(taken);
        Some(Ours(turn))
    }

    fn of(&self, directory: &Path) -> Arc<Turn> {
        let mut all = lock(&self.0);
        if let Some(turn) = all.get(directory).and_then(Weak::upgrade) {
            return turn;
        }
        // There are as many as threads, besides those that nobody has any more.
        all.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        all.insert(directory.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        *lock(&self.0.taken) = false;
        self.0.free.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn one_thread_at_a_time_has_the_turn_of_a_directory() {
        let (turns, inside) = (Turns::default(), AtomicUsize::new(0));
        let mut most = 0;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut most = 0;
                        for _ in 0..500 {
                            // Whoever is held up that long is on a machine without a processor to
                            // spare, and then the turn is nobody's.
                            let Some(_ours) = turns.wait(Path::new("/d")) else { continue };
                            most = most.max(1 + inside.fetch_add(1, Ordering::SeqCst));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                        most
                    })
                })
                .collect();
            most = threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap();
        });
        assert_eq!(most, 1);
    }

    #[test]
    fn who_hangs_holds_up_nobody_for_ever_and_no_other_directory_at_all() {
        let turns = Turns::default();
        let hangs = turns.wait(Path::new("/hung")).unwrap();
        assert!(turns.wait(Path::new("/other")).is_some());
        let began = Instant::now();
        assert!(turns.wait(Path::new("/hung")).is_none(), "it goes ahead without");
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(hangs);
        assert!(turns.wait(Path::new("/hung")).is_some());
    }

    #[test]
    fn directories_in_which_nobody_works_are_forgotten() {
        let turns = Turns::default();
        for number in 0..1000 {
            turns.wait(Path::new(&format!("/{number}"))).unwrap();
        }
        assert!(lock(&turns.0).len() <= 2);
    }
}
