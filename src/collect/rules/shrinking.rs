//! A rule that suddenly gets far fewer exports keeps its last set for a while: something other than
//! the exporters may be wrong.
//!
//! Refuses to read a clock: it is told what time it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::spec::rule::Expect;

/// How long a set is held when the rule does not say.
const HOLD: Duration = Duration::from_secs(600);

/// How many exports each rule had, and which rules hold their last set.
#[derive(Debug, Default)]
pub(super) struct Shrinking(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    rules: BTreeMap<Arc<str>, Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// How many there were when the set was last taken.
    good: usize,
    /// Until when the last set is kept.
    until: Option<Duration>,
    /// A person takes the next set as it is.
    accepted: bool,
}

impl Shrinking {
    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is this time now, counted from any moment.
    pub(super) fn at(&self, now: Duration) {
        self.state(|state| state.now = now);
    }

    /// The next set of this rule is taken as it is; false when it holds none.
    pub(super) fn accept(&self, rule: &str) -> bool {
        self.state(|state| {
            let held = state.rules.get_mut(rule).filter(|held| held.until.is_some());
            held.map(|held| held.accepted = true).is_some()
        })
    }

    /// When the first rule ceases to hold.
    pub(super) fn next(&self) -> Option<Duration> {
        self.state(|state| state.rules.values().filter_map(|held| held.until).min())
    }

    /// What was wanted when so many exports are too few of a sudden.
    pub(super) fn violated(&self, rule: &Arc<str>, expect: Expect, count: usize) -> Option<String> {
        let percent = usize::from(expect.max_drop?);
        let hold = expect.hold.map_or(HOLD, Duration::from_secs);
        self.state(|state| {
            let now = state.now;
            let held = state.rules.entry(Arc::clone(rule)).or_default();
            let drop = held.good.saturating_sub(count) * 100;
            let small = drop <= held.good * percent;
            let over = held.until.is_some_and(|until| until <= now);
            if small || over || held.accepted {
                *held = Held { good: count, ..Held::default() };
                return None;
            }
            held.until.get_or_insert(now.saturating_add(hold));
            let good = held.good;
            Some(format!("at most {percent} % fewer than {good} at once"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_drop_is_held_until_its_time_is_over_or_a_person_takes_it() {
        let rule: Arc<str> = "r".into();
        let expect = Expect { max_drop: Some(50), hold: Some(60), ..Expect::default() };
        let shrinking = Shrinking::default();
        let held = |count| shrinking.violated(&rule, expect, count).is_some();
        for (second, count, wanted) in [
            (0, 10, false),
            (1, 5, false),
            (2, 2, true),
            (3, 1, true),
            (4, 3, false),
            (5, 0, true),
            (64, 0, true),
            (65, 0, false),
            (66, 8, false),
        ] {
            shrinking.at(Duration::from_secs(second));
            assert_eq!(held(count), wanted, "{count} in second {second}");
        }
        assert!(!shrinking.accept("r"), "it holds nothing");
        assert!(held(1) && shrinking.next().is_some());
        assert!(shrinking.accept("r") && !shrinking.accept("other"));
        assert!(!held(1));
        assert_eq!(shrinking.next(), None);
    }
}
