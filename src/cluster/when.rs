//! Moments and spans of time as people read them.
//!
//! Refuses to know what time it is: both ends of a span are given.

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The time of day of a moment in seconds since 1970: `10:31 UTC`.
pub fn clock(at: u64) -> String {
    format!("{:02}:{:02} UTC", at % DAY / HOUR, at % HOUR / MINUTE)
}

/// The date and time of a moment in seconds since 1970: `2026-11-22 10:31:07 UTC`.
pub fn date(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    let (hour, minute, second) = (at % DAY / HOUR, at % HOUR / MINUTE, at % MINUTE);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The same to the minute: `2026-11-22 10:31 UTC`.
pub fn date_to_minute(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    format!("{year:04}-{month:02}-{day:02} {}", clock(at))
}

/// A span of time in its largest unit that says something: `3 s`, `12 min`, `5 h`, `9 days`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / MINUTE),
        7200..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} days", seconds / DAY),
    }
}

/// A span of time as a person types it: `90s`, `30m`, `2h`, `1d`, or seconds; a week at most.
///
/// # Errors
/// Why it is none.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        other => {
            return Err(format!("`{other}` is no unit of time; 90s, 30m, 2h and 1d are known"));
        }
    };
    let count: u64 = digits.parse().map_err(|_| "a time is a number and a unit: 90s, 30m, 2h")?;
    match count.checked_mul(unit) {
        Some(seconds) if seconds <= 7 * DAY => Ok(seconds),
        _ => Err("a host that is away for more than a week is better removed".to_owned()),
    }
}

/// How long ago a moment was; nothing is in the future, whatever another host's clock says.
pub fn ago(at: u64, now: u64) -> String {
    span(now.saturating_sub(at))
}

/// Year, month and day of a day counted from the first of January 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // Whole cycles of four centuries first, so that no number of days takes long.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    loop {
        let length = 365 + u64::from(leap(year));
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (at, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_583_020_799, "2020-02-29 23:59:59 UTC"),
            (1_795_392_439, "2026-11-23 00:07:19 UTC"),
        ] {
            assert_eq!(date(at), expected);
        }
        assert_eq!(clock(1_795_392_439), "00:07 UTC");
    }

    #[test]
    fn dates_to_the_minute_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date_to_minute(seconds), want);
        }
        assert!(date_to_minute(u64::MAX).ends_with("UTC"));
    }

    #[test]
    fn spans_are_read_in_each_unit_and_bounded() {
        for (text, seconds) in
            [("90s", 90), ("90", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400)]
        {
            assert_eq!(parse_span(text), Ok(seconds));
        }
        for text in ["", "h", "2w", "8d", "99999999999999999999s", "-1h", "ü"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        for (seconds, expected) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 days")]
        {
            assert_eq!(span(seconds), expected);
        }
        assert_eq!(ago(10, 5), "0 s");
    }
}
