//! What test programs print, read back as counts. Pure: text in, numbers out; starts nothing.

use std::time::Duration;

/// How many tests ran and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Those that passed.
    pub(super) passed: usize,
    /// Those that failed.
    pub(super) failed: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The counts of one line, if it sums up a libtest run (`test result: ok. 3 passed; 0 failed; …`),
/// a tool of ours (`3 passed, 0 failed`), or the blocks of examples and book (`1 of 9 blocks
/// drifted, 8 matched, …`).
pub(super) fn counts_of_line(line: &str) -> Option<Counts> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("test result: ") {
        let parts: Vec<&str> = rest.split_once(". ")?.1.split("; ").collect();
        return Some(Counts {
            passed: number(&parts, "passed")?,
            failed: number(&parts, "failed")?,
        });
    }
    let parts: Vec<&str> = line.split(", ").collect();
    if let (Some(passed), Some(failed), 2) =
        (number(&parts, "passed"), number(&parts, "failed"), parts.len())
    {
        return Some(Counts { passed, failed });
    }
    let failed = parts[0].strip_suffix(" blocks drifted")?.split_once(" of ")?.0.parse().ok()?;
    Some(Counts { passed: number(&parts, "matched")?, failed })
}

/// The number before a word: `3 passed`.
fn number(parts: &[&str], word: &str) -> Option<usize> {
    parts.iter().find_map(|part| {
        let (number, label) = part.split_once(' ')?;
        (label == word).then(|| number.parse().ok()).flatten()
    })
}

/// The name of the test and whether it passed, if this is libtest's line about one test.
pub(super) fn test_of_line(line: &str) -> Option<(&str, bool)> {
    let (name, result) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
    match result {
        "ok" => Some((name, true)),
        "FAILED" => Some((name, false)),
        _ => None,
    }
}

/// The names of the properties that a Rust file states: the functions inside `proptest! { … }`.
pub(super) fn properties_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut end = None;
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match &end {
            None if line.trim_start().starts_with("proptest! {") => {
                end = Some(format!("{indent}}}"))
            }
            Some(closing) if line == closing => end = None,
            Some(_) => {
                let name =
                    line.trim_start().strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                names.extend(name.map(Into::into));
            }
            None => {}
        }
    }
    names
}

/// One row of the table at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The kind of tests.
    pub(super) kind: String,
    /// What came of it.
    pub(super) counts: Counts,
    /// How long it took, building included.
    pub(super) took: Duration,
    /// Said at the end of the row: why nothing ran, how it failed.
    pub(super) note: String,
}

/// The sum of all rows.
pub(super) fn total(rows: &[Row]) -> Counts {
    let mut sum = Counts::default();
    for row in rows {
        sum += row.counts;
    }
    sum
}

/// The table: kind, passed, failed, seconds; then the sum alone on the last line.
pub(super) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.kind.len()).max().unwrap_or(0).max("kind".len());
    let mut text = format!("{:width$}  passed  failed  seconds\n", "kind");
    for Row { kind, counts, took, note } in rows {
        let (passed, failed, seconds) = (counts.passed, counts.failed, took.as_secs_f64());
        let line = format!("{kind:width$}  {passed:6}  {failed:6}  {seconds:7.1}  {note}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let Counts { passed, failed } = total(rows);
    text.push_str(&format!("\n{passed} passed, {failed} failed\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_last_line_of_libtest_and_of_our_tools() {
        let ran = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; \
        finished in 0.1s";
        let broke =
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        for (line, expected) in [
            (ran, Some((12, 0))),
            (broke, Some((1, 2))),
            ("7 passed, 1 failed", Some((7, 1))),
            ("  7 passed, 1 failed  ", Some((7, 1))),
            ("1 of 9 blocks drifted, 8 matched, 2 hidden, 0 not run, 12 s", Some((8, 1))),
            ("one of 9 blocks drifted, 8 matched", None),
            ("1 chapter needed a second try: addresses", None),
            ("2 chapters needed a second try: addresses, tokens", None),
            ("test result: ok", None),
            ("test result: ok. many passed; 0 failed", None),
            ("running 7 tests", None),
            ("7 passed, 1 failed, 3 more", None),
            ("", None),
        ] {
            let counts = expected.map(|(passed, failed)| Counts { passed, failed });
            assert_eq!(counts_of_line(line), counts, "{line}");
        }
    }

    #[test]
    fn one_tests_line_gives_its_name_and_end() {
        for (line, expected) in [
            ("test a::b ... ok", Some(("a::b", true))),
            ("test a::b ... FAILED", Some(("a::b", false))),
            ("test a::b ... ignored", None),
            ("test result: ok. 1 passed; 0 failed", None),
            ("a test ... ok", None),
        ] {
            assert_eq!(test_of_line(line), expected, "{line}");
        }
    }

    #[test]
    fn properties_are_the_functions_of_their_macro() {
        let text = "fn a() {}
    proptest! {
        #[test]
        fn b(x in 0..3) {
            fn_like();
        }
        fn c(y in any::<u8>()) {}
    }
    fn d() {}
";
        assert_eq!(properties_of(text), ["b", "c"]);
    }

    #[test]
    fn the_table_ends_with_the_sum_alone_on_its_line() {
        let row = |kind: &str, passed, failed, note: &str| Row {
            kind: kind.into(),
            counts: Counts { passed, failed },
            took: Duration::from_millis(1250),
            note: note.into(),
        };
        let rows = [row("unit", 10, 0, ""), row("containers", 0, 1, "no engine answers")];
        let expected = "kind        passed  failed  seconds
unit            10       0      1.2
containers       0       1      1.2  no engine answers

10 passed, 1 failed
";
        assert_eq!(table(&rows), expected);
        assert_eq!(total(&rows), Counts { passed: 10, failed: 1 });
    }
}
