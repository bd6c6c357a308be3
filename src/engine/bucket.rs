//! The bound on how often events lead to runs: a bucket of tokens.
//!
//! Refuses to know what a token is spent on.

use super::Timestamp;
use crate::spec::Limit;

/// The tokens of one vertex, as the moment when all of them are there again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    limit: Limit,
    full: Timestamp,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(limit: Limit) -> Self {
        Bucket { limit, full: Timestamp::default() }
    }

    /// When there is a token.
    pub(super) fn next(&self) -> Timestamp {
        let spare = self.limit.every.saturating_mul(self.limit.burst.saturating_sub(1));
        Timestamp(self.full.0.saturating_sub(spare))
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let there = self.next() <= now;
        if there {
            self.owe(now);
        }
        there
    }

    /// Takes a token, from those to come if there is none.
    pub(super) fn owe(&mut self, now: Timestamp) {
        self.full = self.full.max(now).after(self.limit.every);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_at_a_time() {
        let mut bucket = Bucket::new(Limit { every: Duration::from_secs(5), burst: 3 });
        let taken: Vec<bool> = (0..4).map(|_| bucket.take(at(1_000))).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert_eq!(bucket.next(), at(6_000));
        assert!(!bucket.take(at(5_999)) && bucket.take(at(6_000)) && !bucket.take(at(6_000)));
    }

    #[test]
    fn what_is_owed_is_paid_before_the_next_one_passes() {
        let mut bucket = Bucket::new(Limit { every: Duration::from_secs(5), burst: 1 });
        assert!(bucket.take(at(1_000)));
        bucket.owe(at(1_000));
        assert!(!bucket.take(at(10_999)) && bucket.take(at(11_000)));
    }

    #[test]
    fn a_rest_fills_it_up_and_no_more() {
        let mut bucket = Bucket::new(Limit { every: Duration::from_secs(1), burst: 2 });
        for round in 0..3 {
            let now = at(1_000_000 * round);
            let taken = (0..5).filter(|_| bucket.take(now)).count();
            assert_eq!(taken, 2, "round {round}");
        }
    }

    #[test]
    fn the_rarest_rate_gives_its_burst_and_nothing_more() {
        let rarest = Limit::per_second(f64::MIN_POSITIVE, 5).unwrap();
        let mut bucket = Bucket::new(rarest);
        assert_eq!((0..9).filter(|_| bucket.take(at(1_000))).count(), 5);
    }
}
