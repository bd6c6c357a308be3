//! How long an export lives, as text and as a value.
//!
//! Refuses to know when its time begins.

use std::fmt;
use std::time::Duration;

/// How long an export lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// As long as its host is present.
    Session,
    /// Until it is withdrawn.
    Permanent,
    /// So many seconds longer than its host is present.
    For(u64),
}

/// The units of a lifetime, in seconds, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Reads a duration such as `10m`: digits and one of `s`, `m`, `h` and `d`. Gives seconds.
pub fn seconds(text: &str) -> Option<u64> {
    let (count, unit) = UNITS.iter().find_map(|(unit, s)| Some((text.strip_suffix(unit)?, s)))?;
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    count.parse::<u64>().ok().filter(|_| digits)?.checked_mul(*unit)
}

/// Reads a duration as [`seconds`] does, or in milliseconds: `300ms`.
pub fn duration(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().map(Duration::from_millis)
        }
        Some(_) => None,
        None => seconds(text).map(Duration::from_secs),
    }
}

impl Lifetime {
    /// The shortest in seconds: a lease has to be refreshed within it.
    pub const SECONDS_MIN: u64 = 10;
    /// The longest in seconds: thirty days.
    pub const SECONDS_MAX: u64 = 30 * 86_400;

    /// Reads `session`, `permanent`, or a duration such as `10m`, as it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let found = match text {
            "session" => Lifetime::Session,
            "permanent" => Lifetime::Permanent,
            duration => {
                let range = Lifetime::SECONDS_MIN..=Lifetime::SECONDS_MAX;
                Lifetime::For(seconds(duration).filter(|seconds| range.contains(seconds))?)
            }
        };
        Some(found)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lifetime::Session => f.write_str("session"),
            Lifetime::Permanent => f.write_str("permanent"),
            Lifetime::For(seconds) => {
                let exact = UNITS.iter().find(|(_, unit)| seconds.is_multiple_of(*unit));
                let (name, unit) = exact.unwrap_or(&("s", 1));
                write!(f, "{}{name}", seconds / unit)
            }
        }
    }
}
