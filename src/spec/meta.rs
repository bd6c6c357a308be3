//! Meta parameters: how the engine treats a resource, whatever its kind.
//!
//! Refuses to act on them, and to hold a value that cannot be compared: rates are kept as the time
//! from one event to the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Meta parameters of one resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// Check only; never change anything.
    pub noop: bool,
    /// How often a failed run is repeated without a new reason.
    pub retry: Retry,
    /// A good run gives all repetitions back.
    pub retryreset: bool,
    /// The time from a failure to its repetition.
    pub delay: Duration,
    /// Run every so often instead of watching.
    pub poll: Option<Duration>,
    /// How often watched events may lead to a run.
    pub limit: Option<Limit>,
    /// Locks that are held during a run: sorted, none twice.
    pub sema: Vec<Semaphore>,
    /// A graph that is swapped in starts it anew if it has failed.
    pub rewatch: bool,
    /// How long one run may take.
    pub timeout: Option<Duration>,
    /// Take part in automatic edges.
    pub autoedge: bool,
    /// May be grouped with its like. No kind groups yet.
    pub autogroup: bool,
}

impl Default for Meta {
    fn default() -> Self {
        Meta {
            noop: false,
            retry: Retry::Times(0),
            retryreset: true,
            delay: Duration::ZERO,
            poll: None,
            limit: None,
            sema: Vec::new(),
            rewatch: false,
            timeout: None,
            autoedge: true,
            autogroup: true,
        }
    }
}

impl Meta {
    /// Adds a lock, unless it is held already.
    pub fn hold(&mut self, lock: Semaphore) {
        if let Err(at) = self.sema.binary_search(&lock) {
            self.sema.insert(at, lock);
        }
    }
}

/// Shows what is asked most, and of the rest what is not as usual.
impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Meta::default();
        let mut shown = f.debug_struct("Meta");
        shown.field("noop", &self.noop).field("autoedge", &self.autoedge);
        let mut show = |name: &str, unusual: bool, value: &dyn fmt::Debug| {
            if unusual {
                shown.field(name, value);
            }
        };
        show("retry", self.retry != usual.retry, &self.retry);
        show("retryreset", self.retryreset != usual.retryreset, &self.retryreset);
        show("delay", self.delay != usual.delay, &self.delay);
        show("poll", self.poll != usual.poll, &self.poll);
        show("limit", self.limit != usual.limit, &self.limit);
        show("sema", self.sema != usual.sema, &self.sema);
        show("rewatch", self.rewatch != usual.rewatch, &self.rewatch);
        show("timeout", self.timeout != usual.timeout, &self.timeout);
        show("autogroup", self.autogroup != usual.autogroup, &self.autogroup);
        shown.finish()
    }
}

/// How often a failed run is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// So often.
    Times(u16),
    /// Until it is good.
    Forever,
}

/// A bound on how often events lead to runs: a bucket that holds `burst` of them and gets another
/// one `every` so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// From one event to the next in the long run; never zero.
    pub every: Duration,
    /// How many may come at once; at least one.
    pub burst: u32,
}

/// The longest time from one event to the next: about 136 years. A burst of them still fits.
const RAREST: Duration = Duration::from_secs(u32::MAX as u64);

impl Limit {
    /// So many events each second in the long run, and `burst` at once. `None` when that bounds
    /// nothing. The rate has to be above zero.
    pub fn per_second(rate: f64, burst: u32) -> Option<Limit> {
        if !rate.is_finite() {
            return None;
        }
        // Beyond a century, or below a nanosecond, is as good as that.
        let every = Duration::try_from_secs_f64(rate.recip()).unwrap_or(RAREST);
        let every = every.clamp(Duration::from_nanos(1), RAREST);
        Some(Limit { every, burst: burst.max(1) })
    }
}

/// A lock that at most `count` runs hold at once. The whole text is its identity: `a` and `a:1` are
/// two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Semaphore {
    name: Arc<str>,
    count: u32,
}

/// Why a text names no lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SemaphoreError {
    /// Nothing stands before the count.
    #[error("the lock has no name")]
    Empty,
    /// The count stands where the name should.
    #[error("the lock is only a number")]
    Number,
    /// What follows the name is not a count.
    #[error("what follows the last `:` is not a whole number from 1 to 4294967295")]
    Count,
}

impl Semaphore {
    /// The lock that this text names: `NAME`, held by one at a time, or `NAME:COUNT`.
    pub fn parse(text: &str) -> Result<Self, SemaphoreError> {
        let (name, count) = match text.rsplit_once(':') {
            Some((name, count)) => (name, Some(count)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(SemaphoreError::Empty);
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SemaphoreError::Number);
        }
        let digits = |count: &&str| count.bytes().all(|byte| byte.is_ascii_digit());
        let count = match count {
            None => 1,
            Some(count) => {
                Some(count).filter(digits).and_then(|count| count.parse().ok()).unwrap_or(0)
            }
        };
        if count == 0 {
            return Err(SemaphoreError::Count);
        }
        Ok(Semaphore { name: text.into(), count })
    }

    /// The lock without a name that every resource holds to bound how many run at once.
    pub fn anonymous(count: u32) -> Self {
        Semaphore { name: format!(":{count}").into(), count: count.max(1) }
    }

    /// The whole text.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many may hold it at once; at least one.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lock_is_named_by_its_whole_text_and_counts_one_unless_it_says_more() {
        for (text, count) in [("a", 1), ("a:1", 1), ("a:3", 3), ("a:b:2", 2), ("1a", 1)] {
            let lock = Semaphore::parse(text).unwrap();
            assert_eq!((&**lock.name(), lock.count()), (text, count));
        }
        assert_ne!(Semaphore::parse("a"), Semaphore::parse("a:1"), "two locks");
    }

    #[test]
    fn a_lock_without_a_name_or_with_a_count_that_is_none_is_refused() {
        use SemaphoreError::{Count, Empty, Number};
        let table = [
            ("", Empty),
            (":", Empty),
            (":2", Empty),
            ("5", Number),
            ("5:2", Number),
            ("a:", Count),
            ("a:0", Count),
            ("a:-1", Count),
            ("a:+1", Count),
            ("a:b", Count),
            ("a:4294967296", Count),
        ];
        for (text, error) in table {
            assert_eq!(Semaphore::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_rate_becomes_the_time_between_two_events() {
        let every = |rate| Limit::per_second(rate, 5).map(|limit| limit.every);
        assert_eq!(every(0.2), Some(Duration::from_secs(5)));
        assert_eq!(every(4.0), Some(Duration::from_millis(250)));
        assert_eq!(every(f64::INFINITY), None);
        assert_eq!(every(f64::MIN_POSITIVE), Some(RAREST), "never a panic");
        assert_eq!(every(f64::MAX), Some(Duration::from_nanos(1)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_lock_or_not_without_a_panic(text in "\\PC{0,12}|[a:0-9]{0,12}") {
            if let Ok(lock) = Semaphore::parse(&text) {
                prop_assert!(lock.count() > 0 && **lock.name() == text);
            }
        }
    }
}
