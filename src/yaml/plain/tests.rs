//! The plainest texts beside the parser's reading of them.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::Sink;
use super::super::read::{parsed_document, plain_document};

/// Whether the text is taken; then it has to be what the parser makes of it, places included.
fn is_taken(text: &str) -> bool {
    let Some(plain) = plain_document(text) else { return false };
    let mut sink = Sink::default();
    let parsed = parsed_document(text, &mut sink);
    assert!(sink.found.is_empty(), "{text:?}: {:?}", sink.found);
    let parsed = parsed.unwrap_or_else(|| panic!("the parser takes {text:?}, too"));
    assert!(parsed.is_plain, "{text:?}");
    assert_eq!(format!("{:#?}", plain.root), format!("{:#?}", parsed.root), "{text:?}");
    true
}

#[test]
fn what_programs_write_is_taken() {
    for text in [
        "graph: g\nresources:\n  file:\n  - name: f1\n    path: /srv/f1\n    mode: '0644'\n    \
         content: \"00000001 xx\\n\"\n  - name: f2\n    path: /srv/f2\n",
        "graph: g\nresources:\n  file:\n    - name: a\n      meta:\n        noop: true\n      \
         fragments:\n      - /a\n      - /b c\n    - name: b\n  noop:\n    - name: c\nedges:\n- \
         name: e1\n  from: {kind: file, name: a}\n  to: {kind: noop, name: c}\n",
        "resources:\n  file:\n  - name: a\n  - ~\n",
        "a: b",
        "a: ''\nb: \"\"\nc: \"\\t\\n\"\nd: 'it\"s \\n # : {'\n",
        "a:\n- b:\n  - c:\n      d: e\n  f: g\n- h\ni: j\n",
    ] {
        assert!(is_taken(text), "{text}");
    }
}

#[test]
fn what_may_mean_something_else_is_left_to_the_parser() {
    for text in [
        "",
        "a",
        "a:\n",
        "a:\nb: c\n",
        "a: b\n  c: d\n",
        "a: b\n  c\n",
        " a: b\n",
        "- a\n",
        "a: b # c\n",
        "a: b: c\n",
        "a: -\n",
        "a: - b\n",
        "a: b \n",
        "a:  b\n",
        "a: [b]\n",
        "a: {b: c,d: e}\n",
        "a: {b: c, d}\n",
        "a: {}\n",
        "a: 'b''c'\n",
        "a: 'b\n  c'\n",
        "a: \"\\x41\"\n",
        "a: \"b\" \n",
        "a: \"\n",
        "a: &b c\n",
        "a: *b\n",
        "a: !b c\n",
        "a: |\n  b\n",
        "? a\n",
        "<<: a\n",
        "a: b\n...\n",
        "---\na: b\n",
        "a: b\n\nc: d\n",
        "a: b\r\n",
        "\ta: b\n",
        "a: \u{e4}\n",
        "a: b\na: c\n",
        "a:\n - b\n- c\n",
        "a:\n  - b\n  c: d\n",
    ] {
        assert!(!is_taken(text), "{text:?}");
    }
}

/// Parts of lines, of which most are near to what is taken.
const PARTS: [&str; 22] = [
    "a: b",
    "b: c d",
    "c:",
    "d:",
    "- ",
    "- e",
    "- f: g",
    "- g:",
    "h: 'i j'",
    "- 'k'",
    "~",
    "- ~",
    "l: \"m\\n\"",
    "n: {o: p, q: r}",
    "- {s: t}",
    "u: /v/w.x",
    "#",
    "e: -1",
    "a: 0x1f",
    "x",
    ": ",
    "j: \"\\\"",
];

proptest! {
    #[test]
    fn what_is_taken_is_what_the_parser_reads(
        lines in prop::collection::vec((0_usize..5, select(&PARTS[..])), 1..9),
        ends in any::<bool>(),
    ) {
        let mut text = String::new();
        for (indent, part) in lines {
            text.push_str(&format!("{:1$}{part}\n", "", indent));
        }
        if !ends {
            text.pop();
        }
        is_taken(&text);
    }

    #[test]
    fn single_values_are_taken_as_the_parser_reads_them(value in "[ -~\n]{0,12}") {
        for text in [
            format!("a: {value}\n"), format!("a: \"{value}\"\n"), format!("a: '{value}'\n"),
            format!("a:\n- {value}\n"), format!("a: {{b: {value}}}\n"), format!("{value}: a\n"),
        ] {
            is_taken(&text);
        }
    }
}
