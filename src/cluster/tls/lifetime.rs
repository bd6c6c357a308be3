//! How long certificates are good for and when they are renewed.
//!
//! Refuses to look at a clock: seconds since 1970 come in.

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// How long a host's certificate is good for.
pub const HOST: u64 = 90 * DAY;
/// How long the authority of a cluster is good for.
pub const AUTHORITY: u64 = 3650 * DAY;
/// A certificate is good from this long before it was made: clocks differ.
pub const BACKDATED: u64 = HOUR;
/// When the end of a certificate that we cannot renew ourselves is told.
pub const WARN: u64 = 14 * DAY;

/// From when until when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: u64,
    /// The last second.
    pub until: u64,
}

impl Validity {
    /// That of a certificate that is made now for `lifetime` seconds.
    pub fn new(now: u64, lifetime: u64) -> Self {
        // Short ones, as tests have, are not more past than future.
        let back = BACKDATED.min(lifetime);
        Validity { from: now.saturating_sub(back), until: now.saturating_add(lifetime) }
    }

    /// When to renew it: a third of it is left then, which is time for several tries.
    pub fn renewal(&self) -> u64 {
        self.until - self.until.saturating_sub(self.from) / 3
    }

    /// In how many seconds to look at it again.
    pub fn look_again(&self, now: u64) -> u64 {
        // The clock may be set, and a file may be replaced.
        self.renewal().saturating_sub(now).clamp(1, HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_while_a_third_of_it_is_left() {
        let now = 1_000 * DAY;
        let validity = Validity::new(now, 90 * DAY);
        assert_eq!(validity.from, now - HOUR);
        let left = validity.until - validity.renewal();
        assert!((30 * DAY..=30 * DAY + HOUR).contains(&left), "{left}");
        assert_eq!(validity.look_again(now), HOUR);
        assert_eq!(validity.look_again(validity.until + 5), 1);
        let short = Validity::new(now, 9);
        assert!(short.renewal() < short.until, "{short:?}");
        assert!(short.look_again(now) < 9);
    }
}
