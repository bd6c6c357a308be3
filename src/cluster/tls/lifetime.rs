//! How long certificates are good for, when they are renewed, and dates for people.
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

/// `2026-11-22 20:12 UTC`.
pub fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / HOUR, rest % HOUR / 60)
}

/// Year, month and day of a day since 1970.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    // Whole cycles of four centuries first, so that no number of days takes long.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), want);
        }
        assert!(date(u64::MAX).ends_with("UTC"));
    }

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
