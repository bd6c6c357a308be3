//! The lines of the log: those that one step of the loop writes go out together, as one call for
//! each of ten thousand changed files is felt.
//!
//! Refuses to keep a line beyond that step, and those of other threads at all.

use std::cell::RefCell;
use std::io::{self, Write};
use std::mem;

/// So much is kept at most before it is written.
const MOST: usize = 64 << 10;

thread_local! {
    /// What this thread keeps, while it does.
    static KEPT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Where the log goes: the standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let full = KEPT.try_with(|kept| {
            let mut kept = kept.try_borrow_mut().ok()?;
            let kept = kept.as_mut()?;
            kept.extend_from_slice(line);
            Some(if kept.len() < MOST { Vec::new() } else { mem::take(kept) })
        });
        match full {
            Ok(Some(full)) => io::stderr().write_all(&full)?,
            // Nothing is kept here.
            Ok(None) | Err(_) => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// While it lives, this thread's lines are kept; then they are written.
#[derive(Debug)]
pub(super) struct Together(());

impl Together {
    pub(super) fn begin() -> Together {
        let begin = |kept: &RefCell<Option<Vec<u8>>>| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                kept.get_or_insert_default();
            }
        };
        // At the end of a thread there is nothing to keep them in, and they go out one by one.
        KEPT.try_with(begin).ok();
        Together(())
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let kept = KEPT.try_with(|kept| kept.try_borrow_mut().ok()?.take());
        if let Ok(Some(kept)) = kept
            && !kept.is_empty()
        {
            // That nobody reads the log any more is no reason to end.
            drop(io::stderr().write_all(&kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Option<usize> {
        KEPT.with_borrow(|kept| kept.as_ref().map(Vec::len))
    }

    #[test]
    fn lines_are_kept_for_one_step_and_within_a_bound() {
        assert_eq!(kept(), None);
        let step = Together::begin();
        Lines.write_all(b"").unwrap();
        assert_eq!(kept(), Some(0));
        let line = [b' '; 1];
        Lines.write_all(&line).unwrap();
        assert_eq!(kept(), Some(1));
        std::thread::spawn(|| assert_eq!(kept(), None)).join().unwrap();
        KEPT.with_borrow_mut(|kept| kept.as_mut().unwrap().clear());
        drop(step);
        assert_eq!(kept(), None);
    }
}
