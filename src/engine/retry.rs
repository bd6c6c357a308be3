//! When a failed run is repeated by itself.
//!
//! Refuses to count what is not a failure in a row: a new reason to run starts anew.

use std::time::Duration;

use super::Timestamp;
use crate::spec::{Meta, Retry};

/// The least time before a repetition when none was set, or when there is no end of them.
const LEAST: Duration = Duration::from_secs(1);

/// Where doubling ends.
const MOST: Duration = Duration::from_secs(60);

/// How often one vertex was repeated in a row, and when it is again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retries {
    pub(super) used: u32,
    pub(super) at: Option<Timestamp>,
}

impl Retries {
    /// Its run failed, and there is no other reason to run.
    pub(super) fn failed(&mut self, meta: &Meta, now: Timestamp) {
        if self.left(meta) != Some(0) {
            self.used = self.used.saturating_add(1);
            self.at = Some(now.after(wait(meta, self.used)));
        }
    }

    /// How many repetitions are left; `None` when there is no end of them.
    pub(super) fn left(&self, meta: &Meta) -> Option<u32> {
        match meta.retry {
            Retry::Times(times) => Some(u32::from(times).saturating_sub(self.used)),
            Retry::Forever => None,
        }
    }
}

/// The time before the `nth` repetition in a row: what was set; but without an end, or when nothing
/// was set, it doubles from a least one on.
fn wait(meta: &Meta, nth: u32) -> Duration {
    if meta.retry != Retry::Forever && !meta.delay.is_zero() {
        return meta.delay;
    }
    let doublings = nth.saturating_sub(1).min(6);
    let first = meta.delay.max(LEAST);
    first.saturating_mul(1 << doublings).min(first.max(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retry: Retry, delay: u64) -> Vec<u64> {
        let meta = Meta { retry, delay: Duration::from_millis(delay), ..Meta::default() };
        let of = |nth| wait(&meta, nth).as_secs();
        [1, 2, 3, 6, 7, u32::MAX].map(of).to_vec()
    }

    #[test]
    fn a_set_delay_stays_and_an_unset_one_backs_off() {
        assert_eq!(waits(Retry::Times(9), 5_000), [5; 6]);
        assert_eq!(waits(Retry::Times(9), 0), [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn endless_repetitions_back_off_from_at_least_a_second() {
        assert_eq!(waits(Retry::Forever, 0), [1, 2, 4, 32, 60, 60]);
        assert_eq!(waits(Retry::Forever, 10), [1, 2, 4, 32, 60, 60]);
        assert_eq!(waits(Retry::Forever, 3_000), [3, 6, 12, 60, 60, 60]);
        assert_eq!(waits(Retry::Forever, 90_000), [90; 6], "never shorter than what was set");
    }
}
