//! Tables and properties of the pattern language.

use proptest::prelude::*;

use super::pattern::{Match, Op, Pattern};

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn matches(expected: &str, actual: &str, how: Match) -> bool {
    Pattern::parse(&lines(expected)).expect("a good pattern").matches(&lines(actual), how)
}

#[test]
fn exact_patterns_say_what_they_say() {
    for (expected, actual, verdict) in [
        ("", "", true),
        ("a", "a", true),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("...", "", true),
        ("...", "a\nb\nc", true),
        ("a\n...\nz", "a\nz", true),
        ("a\n...\nz", "a\nb\nz\nc\nz", true),
        ("a\n...\nz", "a\nb", false),
        ("x [..] z", "x yy z", true),
        ("x [..] z", "x yy zz", false),
        ("leader [HOST]", "leader [HOST12]", true),
        ("leader [HOST]", "leader [HOST]", true),
        ("leader [HOST1]", "leader [HOST2]", false),
        ("file[/tmp/x] ok", "file[/tmp/x] ok", true),
        ("file[/tmp/x] ok", "file[/tmp/y] ok", false),
        ("n {{re: [0-9]+}} s", "n 42 s", true),
        ("n {{re: [0-9]+}} s", "n x s", false),
        ("h1  voter", "h1      voter", true),
        ("h1  voter", "h1 voter", false),
        ("a.c", "abc", false),
        ("trailing", "trailing   ", true),
    ] {
        assert_eq!(matches(expected, actual, Match::Exact), verdict, "{expected:?} {actual:?}");
    }
}

#[test]
fn the_other_ways_to_compare_allow_what_their_names_say() {
    assert!(matches("b\nd", "a\nb\nc\nd", Match::Subset));
    assert!(!matches("d\nb", "a\nb\nc\nd", Match::Subset));
    assert!(matches("b\na", "a\nb", Match::Unordered));
    assert!(!matches("b\na", "a\nb\nc", Match::Unordered));
    assert!(matches("b\n...", "a\nb\nc", Match::Unordered));
    assert!(matches("[..]\nab", "ab\nzz", Match::Unordered));
    assert!(matches("{\"b\": 1, \"a\": [\"[..]\"]}", "{\"a\":[\"x\"],\n\"b\":1}", Match::Json));
    assert!(!matches("{\"b\": 1}", "{\"b\": 2}", Match::Json));
    assert!(!matches("{\"b\": 1}", "no json", Match::Json));
}

#[test]
fn a_bad_pattern_is_refused_with_its_line() {
    for (text, expected) in
        [("ok\n{{re: ( }}", "bad regular expression"), ("ok\n{{re: x", "without its `}}`")]
    {
        let (line, why) = Pattern::parse(&lines(text)).expect_err("refused");
        assert_eq!(line, 1);
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn an_alignment_keeps_what_still_matches() {
    let pattern = Pattern::parse(&lines("head\n...\nold\n[..] tail")).expect("good");
    let ops = pattern.align(&lines("head\nmore\nnew\nthe tail"));
    assert!(ops.contains(&Op::Keep(0, 0)) && ops.contains(&Op::Keep(3, 3)), "{ops:?}");
    assert!(ops.contains(&Op::Replace(2, 2)), "{ops:?}");
}

proptest! {
    #[test]
    fn no_input_makes_a_pattern_panic(expected in "\\PC{0,60}", actual in "\\PC{0,60}") {
        if let Ok(pattern) = Pattern::parse(&[expected]) {
            let actual = [actual];
            pattern.align(&actual);
            pattern.matches(&actual, Match::Exact);
        }
    }

    #[test]
    fn an_alignment_covers_both_sides_once_and_in_order(
        expected in proptest::collection::vec("[ab]|\\.\\.\\.", 0..7),
        actual in proptest::collection::vec("[abc]", 0..9),
    ) {
        let pattern = Pattern::parse(&expected).expect("good");
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let mut exact = true;
        for op in pattern.align(&actual) {
            match op {
                Op::Keep(at, line) => { left.push(at); right.push(line); }
                Op::Gap(at, from, to) => { left.push(at); right.extend(from..to); }
                Op::Replace(at, line) => { left.push(at); right.push(line); exact = false; }
                Op::Drop(at) => { left.push(at); exact = false; }
                Op::Insert(line) => { right.push(line); exact = false; }
            }
        }
        prop_assert_eq!(left, (0..expected.len()).collect::<Vec<_>>());
        prop_assert_eq!(right, (0..actual.len()).collect::<Vec<_>>());
        prop_assert_eq!(exact, pattern.matches(&actual, Match::Exact));
    }

    #[test]
    fn a_changed_character_outside_wildcards_is_noticed(
        line in "[a-z]{1,20}", at in 0_usize..20,
    ) {
        let at = at % line.len();
        let mut other = line.clone();
        other.replace_range(at..=at, "#");
        let pattern = Pattern::parse(std::slice::from_ref(&line)).expect("good");
        prop_assert!(pattern.matches(&[line], Match::Exact));
        prop_assert!(!pattern.matches(&[other], Match::Exact));
    }
}
