//! Several chapters at once, each on a cluster of its own. It knows nothing of chapters.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Chapters wait more than they compute: two at a time take little more than half of the time on
/// two cores.
pub(crate) const JOBS: u8 = 2;

/// Works on all of `pages`, `jobs` at a time, and gives the results in their order. After an error
/// nothing more is begun, and the first error, in the order of `pages`, is the result.
pub(crate) fn each<P: Sync, T: Send>(
    pages: &[P],
    jobs: u8,
    work: &(dyn Fn(&P) -> anyhow::Result<T> + Sync),
) -> anyhow::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, anyhow::Result<T>)>> = Mutex::new(Vec::new());
    let one_after_another = || {
        while let Some((at, page)) = begin(pages, &next) {
            let result = work(page);
            if result.is_err() {
                next.store(pages.len(), Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..usize::from(jobs).min(pages.len()) {
            scope.spawn(one_after_another);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn begin<'a, P>(pages: &'a [P], next: &AtomicUsize) -> Option<(usize, &'a P)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    pages.get(at).map(|page| (at, page))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_order_and_two_are_worked_on_at_once() {
        // Each waits for another one: with one at a time this would not end.
        let together = Barrier::new(2);
        let work = |page: &u32| {
            together.wait();
            Ok(page * 10)
        };
        assert_eq!(each(&[1, 2, 3, 4], 2, &work).ok(), Some(vec![10, 20, 30, 40]));
        assert_eq!(each(&[], 2, &work).ok(), Some(Vec::new()));
    }

    #[test]
    fn after_an_error_nothing_more_is_begun() {
        let begun = AtomicUsize::new(0);
        let work = |page: &u32| {
            begun.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(*page != 2, "two");
            Ok(*page)
        };
        let why = each(&[1, 2, 3, 4], 1, &work).expect_err("refused");
        assert_eq!((why.to_string().as_str(), begun.into_inner()), ("two", 2));
    }
}
