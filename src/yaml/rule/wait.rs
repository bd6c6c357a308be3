//! How long a rule waits for more before it takes what has changed.
//!
//! Refuses times that make no sense.

use std::time::Duration;

use super::Reader;
use crate::spec::rule::{Wait, duration};
use crate::yaml::node::{Entry, Node};
use crate::yaml::{program, scalar};

impl Reader<'_> {
    /// How long what changes may go on changing.
    pub(super) fn wait(&mut self, value: &Node) -> Option<Wait> {
        let lead = format!("{}: `wait`", self.lead);
        let entries = program::map(value, &lead, "with `quiet` and `max`", self.sink)?;
        let (mut quiet, mut max) = (None, None);
        for Entry { key, value } in entries {
            let place = match key.text.as_ref() {
                "quiet" => &mut quiet,
                "max" => &mut max,
                name => {
                    self.say(key.span, format!("unknown key `{name}` in `wait`"));
                    continue;
                }
            };
            let text = scalar::text(&key.text, value, self.sink)?;
            let good = |found: &Duration| !found.is_zero() && *found <= Wait::MAX;
            *place = duration(&text).filter(good);
            if place.is_none() {
                let what = "a duration such as `300ms`, at most `1h`";
                self.say(value.span, format!("`{}` is {what}, not `{text}`", key.text));
                return None;
            }
        }
        let Some(quiet) = quiet else {
            self.say(value.span, "`wait` has a `quiet`, for instance `300ms`");
            return None;
        };
        let max = max.unwrap_or_else(|| quiet.saturating_mul(Wait::TIMES).min(Wait::MAX));
        if max < quiet {
            self.say(value.span, "`max` is below `quiet`");
        }
        Some(Wait { quiet, max })
    }
}
