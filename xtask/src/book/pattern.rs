//! The language of expected output, and what it says about lines that came back.
//!
//! A whole line `...` stands for any lines; `[..]` for any text in a line; `[NAME]` for a redacted
//! value of that class, whatever its number; `{{re: REGEX}}` for a span. Nothing else is special. A
//! run of two or more spaces equals any other such run, because a redacted or shorter value moves
//! the columns of a table.

use std::sync::OnceLock;

use regex::Regex;

/// How expected and actual lines are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Match {
    /// Line by line.
    #[default]
    Exact,
    /// The expected lines occur in this order, others may lie between.
    Subset,
    /// Each expected line occurs once, in any order; others only where `...` allows them.
    Unordered,
    /// Both are JSON, compared as sorted, indented text.
    Json,
}

/// One expected line.
#[derive(Clone, Debug)]
enum Item {
    Gap,
    Line(Regex),
}

/// Expected lines.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    items: Vec<Item>,
    texts: Vec<String>,
}

/// One step of an alignment of expected and actual lines, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Expected line matches actual line.
    Keep(usize, usize),
    /// A `...` that stands for the actual lines from the second to before the third.
    Gap(usize, usize, usize),
    /// Expected line in whose place another one came.
    Replace(usize, usize),
    /// Expected line that did not come.
    Drop(usize),
    /// Actual line that was not expected.
    Insert(usize),
}

impl Pattern {
    /// Reads expected lines. An error names the line (from 0) and says why.
    pub(crate) fn parse(lines: &[String]) -> Result<Pattern, (usize, String)> {
        let items = lines
            .iter()
            .enumerate()
            .map(|(index, line)| item(line).map_err(|why| (index, why)))
            .collect::<Result<_, _>>()?;
        Ok(Pattern { items, texts: lines.to_vec() })
    }

    /// Whether the actual lines are what was expected.
    pub(crate) fn matches(&self, actual: &[String], how: Match) -> bool {
        match how {
            Match::Exact => self.exact(actual),
            Match::Subset => self.subset(actual),
            Match::Unordered => self.unordered(actual),
            Match::Json => match (json(&self.texts), json(actual)) {
                (Some(expected), Some(actual)) => {
                    Pattern::parse(&expected).is_ok_and(|pattern| pattern.exact(&actual))
                }
                _ => false,
            },
        }
    }

    /// Classic wildcard match over lines: on a mismatch the latest `...` takes one line more.
    fn exact(&self, actual: &[String]) -> bool {
        let (mut at, mut line) = (0, 0);
        let mut retry = None;
        while line < actual.len() {
            match self.items.get(at) {
                Some(Item::Gap) => {
                    retry = Some((at, line));
                    at += 1;
                }
                Some(Item::Line(regex)) if regex.is_match(&actual[line]) => {
                    at += 1;
                    line += 1;
                }
                _ => match retry {
                    Some((gap, taken)) => {
                        retry = Some((gap, taken + 1));
                        at = gap + 1;
                        line = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        self.items[at..].iter().all(|item| matches!(item, Item::Gap))
    }

    fn subset(&self, actual: &[String]) -> bool {
        let mut rest = actual.iter();
        self.items.iter().all(|item| match item {
            Item::Gap => true,
            Item::Line(regex) => rest.any(|line| regex.is_match(line)),
        })
    }

    fn unordered(&self, actual: &[String]) -> bool {
        let mut left: Vec<&String> = actual.iter().collect();
        // Plain lines first: a line with wildcards must not take the only line that a plain one can
        // have.
        let mut wanted: Vec<&Regex> = Vec::new();
        let mut gaps = false;
        for item in &self.items {
            match item {
                Item::Gap => gaps = true,
                Item::Line(regex) => wanted.push(regex),
            }
        }
        wanted.sort_by_key(|regex| regex.as_str().contains(".*"));
        let all = wanted.iter().all(|regex| {
            let found = left.iter().position(|line| regex.is_match(line));
            found.map(|index| left.swap_remove(index)).is_some()
        });
        all && (gaps || left.is_empty())
    }

    /// The alignment with the fewest lines dropped and inserted. Used for diffs and for blessing,
    /// where expected lines that still match must survive.
    pub(crate) fn align(&self, actual: &[String]) -> Vec<Op> {
        let (rows, columns) = (self.items.len(), actual.len());
        let mut cost = vec![vec![0_u32; columns + 1]; rows + 1];
        for at in (0..=rows).rev() {
            for line in (0..=columns).rev() {
                cost[at][line] = self.cheapest(&cost, at, line, actual).0;
            }
        }
        let mut ops = Vec::new();
        let (mut at, mut line) = (0, 0);
        while at < rows || line < columns {
            let (_, op) = self.cheapest(&cost, at, line, actual);
            match op {
                Some(Op::Keep(..) | Op::Replace(..)) => (at, line) = (at + 1, line + 1),
                Some(Op::Drop(_)) => at += 1,
                Some(Op::Insert(_)) => line += 1,
                Some(Op::Gap(_, from, to)) => {
                    if to == from {
                        at += 1
                    } else {
                        line += 1
                    }
                }
                None => break,
            }
            ops.extend(op);
        }
        merge_gaps(ops)
    }

    /// The cheapest way on from expected line `at` and actual line `line`. A `...` that takes a
    /// line costs a little, so that it does not swallow a line which replaces an expected one.
    fn cheapest(
        &self,
        cost: &[Vec<u32>],
        at: usize,
        line: usize,
        actual: &[String],
    ) -> (u32, Option<Op>) {
        let (rows, columns) = (self.items.len(), actual.len());
        let mut best: (u32, Option<Op>) = (u32::MAX, None);
        let mut offer = |price: u32, op: Op| {
            if price < best.0 {
                best = (price, Some(op));
            }
        };
        if at == rows && line == columns {
            return (0, None);
        }
        match self.items.get(at) {
            Some(Item::Line(regex)) => {
                if line < columns && regex.is_match(&actual[line]) {
                    offer(cost[at + 1][line + 1], Op::Keep(at, line));
                } else if line < columns {
                    offer(cost[at + 1][line + 1] + 100, Op::Replace(at, line));
                }
                offer(cost[at + 1][line] + 100, Op::Drop(at));
            }
            Some(Item::Gap) => {
                offer(cost[at + 1][line], Op::Gap(at, line, line));
                if line < columns {
                    offer(cost[at][line + 1] + 1, Op::Gap(at, line, line + 1));
                }
            }
            None => {}
        }
        if line < columns {
            offer(cost[at][line + 1] + 2, Op::Insert(line));
        }
        best
    }
}

/// Consecutive steps of one `...` become one.
fn merge_gaps(ops: Vec<Op>) -> Vec<Op> {
    let mut merged: Vec<Op> = Vec::new();
    for op in ops {
        match (merged.last_mut(), op) {
            (Some(Op::Gap(at, _, end)), Op::Gap(other, _, to)) if *at == other => *end = to,
            _ => merged.push(op),
        }
    }
    merged
}

/// Output as sorted, indented JSON; `None` if it is none.
pub(crate) fn json(lines: &[String]) -> Option<Vec<String>> {
    let value: serde_json::Value = serde_json::from_str(&lines.join("\n")).ok()?;
    let text = serde_json::to_string_pretty(&sorted(value)).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// Keys in order, whatever the map type of this build does.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            serde_json::Value::Object(entries.into_iter().collect())
        }
        serde_json::Value::Array(items) => {
            serde_json::Value::Array(items.into_iter().map(sorted).collect())
        }
        other => other,
    }
}

fn item(line: &str) -> Result<Item, String> {
    if line == "..." {
        return Ok(Item::Gap);
    }
    let mut regex = String::from("^(?s:");
    let mut rest = line.trim_end();
    while !rest.is_empty() {
        rest = token(rest, &mut regex)?;
    }
    regex.push_str(")[ ]*$");
    Regex::new(&regex).map(Item::Line).map_err(|error| format!("bad pattern: {error}"))
}

/// Takes one token off `rest` and adds its regular expression.
fn token<'a>(rest: &'a str, regex: &mut String) -> Result<&'a str, String> {
    if let Some(after) = rest.strip_prefix("[..]") {
        regex.push_str(".*");
        return Ok(after);
    }
    if let Some(after) = rest.strip_prefix("{{re:") {
        let end = after.find("}}").ok_or("`{{re:` without its `}}`")?;
        let inner = after[..end].trim();
        Regex::new(inner).map_err(|error| format!("bad regular expression `{inner}`: {error}"))?;
        regex.push_str(&format!("(?:{inner})"));
        return Ok(&after[end + 2..]);
    }
    if let Some(name) = class().captures(rest).and_then(|found| found.get(1)) {
        regex.push_str(&format!("\\[{}[0-9]*\\]", name.as_str()));
        return Ok(&rest[name.end() + 1..]);
    }
    let spaces = rest.len() - rest.trim_start_matches(' ').len();
    if spaces >= 2 {
        regex.push_str("[ ]{2,}");
        return Ok(&rest[spaces..]);
    }
    let mut chars = rest.chars();
    if let Some(first) = chars.next() {
        regex.push_str(&regex::escape(first.encode_utf8(&mut [0; 4])));
    }
    Ok(chars.as_str())
}

/// A class of redacted values: letters only, since a number in the brackets means one certain
/// value.
fn class() -> &'static Regex {
    static CLASS: OnceLock<Regex> = OnceLock::new();
    CLASS.get_or_init(|| Regex::new(r"^\[([A-Z]+)\]").expect("a constant that compiles"))
}
