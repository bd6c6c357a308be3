//! The meta parameters of a resource.
//!
//! Refuses what it does not understand: a parameter that is dropped without a word is how a
//! resource that should only be looked at is run.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::node::{Data, Entry, Key, Node};
use super::{Sink, program, scalar, unbuilt};
use crate::diag::{Diagnostic, Span, suggest};
use crate::spec::{Limit, Meta, Retry, Semaphore, SemaphoreError};

/// All that are accepted.
pub(super) const KEYS: [&str; 12] = [
    "autoedge",
    "autogroup",
    "burst",
    "delay",
    "limit",
    "noop",
    "poll",
    "retry",
    "retryreset",
    "rewatch",
    "sema",
    "timeout",
];

/// As large as a text can say.
const ANY: RangeInclusive<i64> = 0..=i64::MAX;
const U32: RangeInclusive<i64> = 0..=u32::MAX as i64;

/// What stands below `meta:`.
pub(super) fn read(value: &Node, sink: &mut Sink) -> Meta {
    let mut draft = Draft::default();
    let entries = program::map(value, "`meta`", "of meta parameters", sink);
    for Entry { key, value } in entries.unwrap_or_default() {
        let name = &*key.text;
        if !KEYS.contains(&name) {
            unknown(key, sink);
        } else if !value.is_null() {
            draft.take(name, value, sink);
        }
    }
    draft.finish(sink)
}

/// Meta parameters while they are read.
#[derive(Default)]
struct Draft {
    meta: Meta,
    rate: Option<(f64, Span)>,
    burst: Option<(u32, Span)>,
    /// There is a burst, and it was reported as wrong.
    burst_refused: bool,
}

impl Draft {
    fn take(&mut self, name: &str, value: &Node, sink: &mut Sink) {
        let meta = &mut self.meta;
        let flag =
            |usual: bool, sink: &mut Sink| scalar::boolean(name, value, sink).unwrap_or(usual);
        match name {
            "noop" => meta.noop = flag(true, sink),
            "retryreset" => meta.retryreset = flag(true, sink),
            "rewatch" => meta.rewatch = flag(false, sink),
            "autoedge" => meta.autoedge = flag(true, sink),
            "autogroup" => meta.autogroup = flag(true, sink),
            "retry" => {
                let range = -1..=i64::from(i16::MAX);
                let help = "write how often to repeat a failed run; -1 repeats it until it is good";
                let found = number(name, value, range, help, sink);
                let times = |times| u16::try_from(times).map_or(Retry::Forever, Retry::Times);
                meta.retry = found.map_or(meta.retry, times);
            }
            "delay" => {
                let help = "write milliseconds, for instance `delay: 5000`";
                meta.delay = millis(number(name, value, ANY, help, sink)).unwrap_or_default();
            }
            "timeout" => {
                let help = "write milliseconds, for instance `timeout: 5000`";
                meta.timeout = millis(number(name, value, ANY, help, sink));
            }
            "poll" => {
                let help = "write whole seconds from one look to the next; 0 watches instead";
                let found = number(name, value, U32, help, sink).filter(|seconds| *seconds > 0);
                meta.poll = found.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
            }
            "limit" => self.rate = scalar::rate(name, value, sink).map(|rate| (rate, value.span)),
            "burst" => {
                let help = "write how many events may come at once";
                let found = number(name, value, U32, help, sink).and_then(|n| n.try_into().ok());
                self.burst_refused = found.is_none();
                self.burst = found.map(|burst| (burst, value.span));
            }
            "sema" => locks(value, meta, sink),
            // The caller knows that it is one of these.
            _ => {}
        }
    }

    fn finish(mut self, sink: &mut Sink) -> Meta {
        let Some((rate, span)) = self.rate else { return self.meta };
        let burst = self.burst.filter(|(burst, _)| *burst > 0);
        self.meta.limit = Limit::per_second(rate, burst.map_or(1, |(burst, _)| burst));
        if self.meta.limit.is_some() && burst.is_none() && !self.burst_refused {
            let (span, said) = match self.burst {
                Some((_, span)) => (span, "`burst: 0` with a finite `limit`"),
                None => (span, "a finite `limit` without `burst`"),
            };
            let found = Diagnostic::error(span, format!("{said} would never let an event pass"));
            sink.add(found.with_help("write how many events may come at once: `burst: 1`"));
        }
        self.meta
    }
}

/// A whole number in this range; the sink says so when it is not.
fn number(
    name: &str,
    value: &Node,
    range: RangeInclusive<i64>,
    help: &str,
    sink: &mut Sink,
) -> Option<i64> {
    let found = scalar::integer(name, value, sink)?;
    if range.contains(&found) {
        return Some(found);
    }
    let bounds = match (range.start(), range.end()) {
        (least, &i64::MAX) => format!("at least {least}"),
        (least, most) => format!("between {least} and {most}"),
    };
    let message = format!("`{name}` is {found}; it has to be {bounds}");
    sink.add(Diagnostic::error(value.span, message).with_help(help));
    None
}

/// A time that is not zero.
fn millis(found: Option<i64>) -> Option<Duration> {
    found.filter(|millis| *millis > 0).map(|millis| Duration::from_millis(millis.unsigned_abs()))
}

fn locks(value: &Node, meta: &mut Meta, sink: &mut Sink) {
    let Data::List(items) = &value.data else {
        let help = matches!(value.data, Data::Scalar { .. }).then_some("write it as `[NAME]`");
        scalar::refuse::<()>("sema", "a list of locks", value, help, sink);
        return;
    };
    for (at, item) in items.iter().enumerate() {
        let name = format!("sema[{at}]");
        if item.is_null() {
            scalar::refuse::<()>(&name, "a lock", item, None, sink);
            continue;
        }
        let Some(text) = scalar::text(&name, item, sink) else { continue };
        match Semaphore::parse(&text) {
            Ok(lock) => meta.hold(lock),
            Err(why) => {
                let message = format!("`{name}` is `{}`: {why}", scalar::brief(&text));
                let help = match why {
                    SemaphoreError::Number => "name the lock: `NAME`, or `NAME:COUNT`",
                    SemaphoreError::Empty | SemaphoreError::Count => {
                        "write `NAME`, or `NAME:COUNT` to let COUNT resources run at once"
                    }
                };
                sink.add(Diagnostic::error(item.span, message).with_help(help));
            }
        }
    }
}

fn unknown(key: &Key, sink: &mut Sink) {
    let name = &*key.text;
    if unbuilt::meta(name) {
        let message = format!("meta parameter `{name}` is not built yet");
        sink.add(Diagnostic::error(key.span, message).with_help("remove it"));
        return;
    }
    let found = Diagnostic::error(key.span, format!("unknown meta parameter `{name}`"));
    if matches!(name, "hidden" | "export" | "recv") {
        sink.add(found.with_help(format!("`{name}` stands beside `name`, not below `meta`")));
        return;
    }
    sink.add_with_hint(found, || suggest(name, KEYS, "known meta parameters"));
}
