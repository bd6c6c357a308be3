//! The kind `timer`: a tick every so many seconds. Each tick counts as a change, so what hangs on
//! it by a notifying edge runs again.
//!
//! A refresh counts as a tick between the others. Refuses to keep wall-clock time: the first tick
//! comes one interval after the start.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fields::{int, mistake};
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The longest interval in seconds: about 136 years, what 32 bits hold, as in mgmt.
const INTERVAL_MAX: i64 = u32::MAX as i64;

/// The kind `timer`.
#[derive(Debug)]
pub(super) struct TimerKind;

const FIELDS: &[FieldDef] = &[FieldDef {
    name: "interval",
    ty: FieldType::Int,
    doc: "seconds from one tick to the next, at least 1",
}];

impl Kind for TimerKind {
    fn name(&self) -> &'static str {
        "timer"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn power(&self) -> Power {
        Power::Inert
    }

    fn build(&self, _: &ResourceId, fields: &Fields) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        match int(fields, "interval") {
            Some(seconds @ 1..=INTERVAL_MAX) => {
                Ok(Arc::new(Timer { interval: Duration::from_secs(seconds.unsigned_abs()) }))
            }
            Some(bad) => Err(vec![mistake(
                "interval",
                format!("`interval` is {bad}; it has to be between 1 and {INTERVAL_MAX} seconds"),
                "write a whole number of seconds, for instance `interval: 30`",
            )]),
            None => Err(vec![mistake(
                "interval",
                "a timer needs `interval`".to_owned(),
                "add the seconds between ticks, for instance `interval: 30`",
            )]),
        }
    }
}

#[derive(Debug)]
struct Timer {
    interval: Duration,
}

#[async_trait]
impl Resource for Timer {
    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Every(self.interval)]
    }

    fn event_is_change(&self) -> bool {
        true
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        Ok(super::passed_on(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{build_values, changed, context};
    use super::*;
    use crate::spec::Value;

    fn build(interval: Option<i64>) -> Result<Vec<Watch>, Vec<FieldError>> {
        let fields = interval.map(|i| ("interval".to_owned(), Value::Int(i))).into_iter().collect();
        TimerKind.build(&ResourceId::new("timer", "t"), &fields).map(|timer| timer.watches())
    }

    #[test]
    fn a_timer_without_a_positive_interval_is_refused() {
        for bad in [None, Some(0), Some(-1), Some(1 << 32)] {
            assert_eq!(build(bad).unwrap_err().len(), 1, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_refresh_counts_as_a_tick() {
        let timer = build_values("timer", "t", &[("interval", Value::Int(3))]).unwrap();
        assert_eq!(timer.run(&context()).await, Ok(Outcome::Unchanged));
        changed(timer.run(&Context { refresh: true, ..context() }).await);
    }

    #[test]
    fn a_timer_ticks_at_its_interval() {
        assert_eq!(build(Some(3)).unwrap(), [Watch::Every(Duration::from_secs(3))]);
    }
}
