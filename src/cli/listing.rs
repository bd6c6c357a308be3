//! The resources of a status, one a line, and which of them are shown.
//!
//! Pure but for [`now_ms`]. Refuses to print.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Which resources are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Those whose id fits.
    pub(super) pattern: Option<String>,
    /// Those that failed or are blocked.
    pub(super) failed: bool,
}

impl Filter {
    /// It leaves something out.
    pub(super) fn is_set(&self) -> bool {
        self.failed || self.pattern.is_some()
    }

    /// Leaves the others out of a status.
    pub(super) fn apply(&self, status: &mut Value) {
        if let Some(all) = status["resources"].as_array_mut() {
            all.retain(|one| self.shows(one));
        }
    }

    fn shows(&self, one: &Value) -> bool {
        let id = one["id"].as_str().unwrap_or_default();
        let fits = self.pattern.as_deref().is_none_or(|pattern| fits(pattern, id));
        fits && (!self.failed || matches!(one["state"].as_str(), Some("failed" | "blocked")))
    }
}

/// Whether the text is the pattern, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// The time on the clock that a status is written by, in Unix time.
pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A table: state, for how long, when it is tried again, who wants it, which, and what there is to
/// say.
pub(super) fn render(status: &Value, filter: &Filter, now_ms: u64) -> String {
    let mut rows = vec![["STATE", "SINCE", "RETRY", "FROM", "RESOURCE"].map(str::to_owned)];
    let mut notes = vec![String::new()];
    let all = status["resources"].as_array().into_iter().flatten();
    for one in all.filter(|one| filter.shows(one)) {
        let ago = one["since_ms"].as_u64().map(|then| span(now_ms.saturating_sub(then)));
        let retry = one["next_retry_ms"].as_u64().map(|then| span(then.saturating_sub(now_ms)));
        let from = names(&one["from"]);
        rows.push([
            word(one, "state"),
            ago.unwrap_or_else(|| "-".to_owned()),
            retry.unwrap_or_else(|| "-".to_owned()),
            if from.is_empty() { "local".to_owned() } else { from },
            word(one, "id"),
        ]);
        let waits = names(&one["blocked_by"]);
        let waits = (!waits.is_empty()).then(|| format!("waits for {waits}"));
        let said = ["error", "outcome"].iter().find_map(|key| one[key].as_str()).map(tame);
        notes.push(said.or(waits).unwrap_or_default());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut out = String::from("\n");
    for (row, note) in rows.iter().zip(notes) {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a string cannot fail.
        let _written = writeln!(out, "{}", format!("{}  {note}", cells.join("  ")).trim_end());
    }
    out
}

fn word(one: &Value, key: &str) -> String {
    tame(one[key].as_str().unwrap_or("-"))
}

fn names(list: &Value) -> String {
    let names: Vec<&str> =
        list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    tame(&names.join(", "))
}

/// What other hosts wrote must not drive this terminal, nor forge a line.
fn tame(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// A length of time in its largest unit.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        for (pattern, id, expected) in [
            ("file[/a]", "file[/a]", true),
            ("file[/a", "file[/a]", false),
            ("file[*", "file[/a]", true),
            ("*[/a]", "file[/a]", true),
            ("*", "", true),
            ("f*a*]", "file[/a/b]", true),
            ("f*b*b]", "file[/b]", false),
            ("file[/a*a]", "file[/a]", false),
            ("*.?", "a.b", false),
        ] {
            assert_eq!(fits(pattern, id), expected, "{pattern} {id}");
        }
    }

    #[test]
    fn a_row_says_state_age_retry_origin_and_what_went_wrong() {
        let status = json!({"resources": [
            {"id": "file[/a]", "state": "failed", "error": "no \u{1b}space", "from": ["h2", "h3"],
             "since_ms": 10_000, "next_retry_ms": 75_000},
            {"id": "noop[n]", "state": "ok", "error": null, "from": [], "since_ms": 14_999,
             "next_retry_ms": null, "outcome": "done"}]});
        assert_eq!(
            render(&status, &Filter::default(), 15_000),
            "\nSTATE   SINCE  RETRY  FROM    RESOURCE\n\
             failed  5s     1m     h2, h3  file[/a]  no \u{fffd}space\n\
             ok      0s     -      local   noop[n]   done\n"
        );
        let failed = Filter { failed: true, ..Filter::default() };
        assert!(!render(&status, &failed, 0).contains("noop"));
    }
}
