//! How a set of durations is spread. Pure.

use std::fmt;
use std::time::Duration;

/// Smallest, median, 95th percentile and largest of a set of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    /// The smallest.
    pub(super) min: Duration,
    /// Half are at most this.
    pub(super) median: Duration,
    /// 95 of 100 are at most this.
    pub(super) p95: Duration,
    /// The largest.
    pub(super) max: Duration,
}

impl Spread {
    /// Of a set; `None` when it is empty.
    pub(super) fn of(mut durations: Vec<Duration>) -> Option<Spread> {
        durations.sort_unstable();
        let at = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100).max(1);
            durations.get(rank - 1).copied()
        };
        Some(Spread { min: at(0)?, median: at(50)?, p95: at(95)?, max: at(100)? })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in [self.min, self.median, self.p95, self.max].into_iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{:8.3}", value.as_secs_f64() * 1000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        for (values, expected) in [
            (vec![], None),
            (vec![7], Some([7, 7, 7, 7])),
            (vec![3, 1, 2], Some([1, 2, 3, 3])),
            ((1..=100).rev().collect(), Some([1, 50, 95, 100])),
        ] {
            let ms = Duration::from_millis;
            let spread = Spread::of(values.iter().copied().map(ms).collect());
            let expected = expected.map(|[min, median, p95, max]| Spread {
                min: ms(min),
                median: ms(median),
                p95: ms(p95),
                max: ms(max),
            });
            assert_eq!(spread, expected, "{values:?}");
        }
    }

    #[test]
    fn durations_are_shown_in_milliseconds() {
        let spread = Spread::of(vec![Duration::from_micros(1500)]).expect("it is not empty");
        assert_eq!(spread.to_string(), "   1.500    1.500    1.500    1.500");
    }
}
