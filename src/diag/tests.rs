//! Claims about rendering and nearest names.

use super::*;
use proptest::prelude::*;

/// The span of the `nth` (from 0) `needle` in `text`.
fn span_of(text: &str, needle: &str, nth: usize) -> Span {
    let start = text.match_indices(needle).nth(nth).expect("the needle is there").0;
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    Span {
        start,
        end: start + needle.len(),
        line: text[..start].matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
    }
}

#[test]
fn a_diagnostic_shows_message_place_line_mark_related_and_help() {
    let text = "graph: g\nresources:\n  noop:\n  - name: a\n  - name: a\n";
    let found = Diagnostic::error(span_of(text, "a\n", 1), "noop[a] is declared twice")
        .with_related(span_of(text, "a\n", 0), "first declared here")
        .with_help("remove one of them");
    let expected = "\
error: noop[a] is declared twice
 --> site.yaml:5:11
  |
5 |   - name: a
  |           ^
 ::: site.yaml:4:11
  |
4 |   - name: a
  |           - first declared here
  = help: remove one of them
";
    assert_eq!(render("site.yaml", text, &[found], false), expected);
}

#[test]
fn marks_stand_under_wide_characters_and_tabs() {
    let text = "\tname: 漢字 x";
    let found = Diagnostic::warning(span_of(text, "字", 0), "m");
    let expected = "\
warning: m
 --> f:1:9
  |
1 |     name: 漢字 x
  |             ^^
";
    assert_eq!(render("f", text, &[found], false), expected);
}

#[test]
fn a_long_line_is_cut_around_the_mark() {
    let text = format!("{}needle{}", "a".repeat(300), "b".repeat(300));
    let out = render("f", &text, &[Diagnostic::error(span_of(&text, "needle", 0), "m")], false);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[3].len() < 110 && lines[3].contains("needle"), "{out}");
    assert_eq!(lines[3].find("needle"), lines[4].find('^'), "{out}");
    assert_eq!(lines[4].matches('^').count(), 6, "{out}");
}

#[test]
fn a_file_cannot_drive_the_terminal() {
    let text = "a: \u{1b}[2Jx\u{202e}";
    let out = render("f\u{7}", text, &[Diagnostic::error(Span::default(), "m\u{1b}")], false);
    let placed = Diagnostic::error(span_of(text, "x", 0), "m");
    let out = out + &render("f", text, &[placed], false);
    assert!(out.chars().all(|c| c == '\n' || !c.is_control()), "{out:?}");
    assert!(!out.contains('\u{202e}'));
}

#[test]
fn colour_is_only_added() {
    let text = "abc";
    let found = [Diagnostic::error(span_of(text, "b", 0), "m").with_help("h")];
    let painted = render("f", text, &found, true);
    assert!(painted.contains("\u{1b}[1;31merror\u{1b}[0m"));
    let mut plain = painted;
    for tint in ["\u{1b}[1;31m", "\u{1b}[1;33m", "\u{1b}[1;34m", "\u{1b}[0m"] {
        plain = plain.replace(tint, "");
    }
    assert_eq!(plain, render("f", text, &found, false));
}

#[test]
fn more_than_anyone_reads_is_counted() {
    let found = vec![Diagnostic::error(Span::default(), "m"); 103];
    assert!(render("f", "", &found, false).ends_with("\n... and 3 more\n"));
}

#[test]
fn the_nearest_name_is_the_one_that_was_meant() {
    let known = ["content", "cwd", "group", "mode", "watch_cmd"];
    let table = [
        ("contnet", Some("content")),
        ("Content", Some("content")),
        ("watchcmd", Some("watch_cmd")),
        ("mdoe", Some("mode")),
        ("zzz", None),
        ("", None),
        ("c", None),
    ];
    for (typed, expected) in table {
        assert_eq!(nearest(typed, known), expected, "{typed}");
    }
}

#[test]
fn a_name_that_is_near_nothing_gets_the_list() {
    let help = suggest("colour", ["file", "exec"], "known kinds");
    assert_eq!(help.as_deref(), Some("known kinds: `exec`, `file`"));
}

#[test]
fn diagnostics_come_in_the_order_of_the_file_and_once() {
    let text = "one two";
    let (one, two) = (span_of(text, "one", 0), span_of(text, "two", 0));
    let mut found =
        vec![Diagnostic::error(two, "b"), Diagnostic::error(one, "a"), Diagnostic::error(two, "b")];
    sort(&mut found);
    assert_eq!(found, [Diagnostic::error(one, "a"), Diagnostic::error(two, "b")]);
}

proptest! {
    #[test]
    fn rendering_never_panics(text in "\\PC{0,40}(\n|\t|漢|\r)?\\PC{0,300}", start in 0usize..400,
                              len in 0usize..400, line in 0usize..9) {
        let span = Span { start, end: start.saturating_add(len), line, column: 1 };
        let found = Diagnostic::error(span, "m").with_related(span, "l");
        prop_assert!(render("f", &text, &[found], false).starts_with("error: m"));
    }
}
