//! The whole text read anew is the truth: an edit that is understood leads to exactly that.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::yaml::parse_to_edit;

/// The text with all that is known about it.
struct Known {
    text: String,
    program: Program,
    seams: Seams,
}

impl Known {
    fn new(text: &str) -> Option<Known> {
        let (program, _, seams) = parse_to_edit(text);
        Some(Known { text: text.to_owned(), program: program?, seams })
    }

    /// Whether this edit is understood, and in place. What comes of it is the whole text read.
    fn edit(&mut self, new: &str) -> Result<Option<bool>, String> {
        let Some(edit) = edit(&self.text, &self.program, &self.seams, new) else {
            return Ok(None);
        };
        let in_place = edit.in_place;
        let replaced = edit.replaced.clone();
        edit.apply(&mut self.program, &mut self.seams);
        self.text = new.to_owned();
        let (program, found, mut seams) = parse_to_edit(new);
        if !found.is_empty() || program.as_ref() != Some(&self.program) {
            return Err(format!("{found:?}\n{program:#?}\nis not {:#?}\n{new}", self.program));
        }
        let values = std::mem::replace(&mut seams.values, self.seams.values);
        if seams != self.seams || values > self.seams.values {
            return Err(format!("{seams:?} is not {:?}, replaced {replaced:?}", self.seams));
        }
        Ok(Some(in_place))
    }
}

const SITE: &str = "\
graph: g
resources:
  noop:
  - name: one
    comment: first
  - name: two
    comment: |
      some text

  # a remark
  - name: three
  file:
    - path: /tmp/a
      name: a
      content: 'x'
    - {name: b, path: /tmp/b, content: y}
    - name: c
      path: /tmp/c
edges:
- name: e
  from: {kind: noop, name: one}
  to: {kind: noop, name: two}
";

#[test]
fn an_edit_of_one_value_is_read_alone_and_everything_behind_it_moves() {
    let table = [
        ("first", "another"),
        ("some text", "more\n      lines"),
        ("'x'", "\"\\n\""),
        ("content: y", "content: 'longer'"),
        ("/tmp/a", "/tmp/ä"),
    ];
    for (before, after) in table {
        let mut known = Known::new(SITE).unwrap();
        let edited = known.edit(&SITE.replacen(before, after, 1)).unwrap();
        assert_eq!(edited, Some(true), "{before} to {after}");
    }
}

#[test]
fn resources_that_come_and_go_are_read_alone() {
    let table = [
        ("  - name: three\n", "  - name: three\n  - name: four\n", None),
        ("  - name: two\n", "  - name: between\n  - name: two\n", Some(false)),
        ("    - path: /tmp/a\n      name: a\n      content: 'x'\n", "", Some(false)),
        ("name: b", "name: d", Some(false)),
        // The edge has no end then.
        ("  - name: one\n    comment: first\n", "", None),
        ("name: b", "name: a", None),
    ];
    for (before, after, expected) in table {
        let mut known = Known::new(SITE).unwrap();
        assert_eq!(known.edit(&SITE.replacen(before, after, 1)).unwrap(), expected, "{after}");
    }
}

#[test]
fn the_last_of_a_text_that_ends_with_it_is_read_alone() {
    let (text, _) = SITE.split_once("edges:").unwrap();
    let mut known = Known::new(text).unwrap();
    let more = format!("{text}    - {{name: d, path: /tmp/d}}\n");
    for (new, expected) in [
        (more.clone(), Some(false)),
        (more.replace("/tmp/d", "/tmp/e"), Some(true)),
        (text.trim_end().to_owned(), Some(false)),
        (format!("{text}edges: []\n"), None),
    ] {
        assert_eq!(known.edit(&new).unwrap(), expected, "{new}");
    }
}

#[test]
fn what_says_something_about_another_part_has_the_whole_text_read() {
    for (before, after) in [
        ("graph: g", "graph: h"),
        ("name: one", "name: one\n    comment: [open"),
        ("comment: first", "coment: first"),
        ("comment: first", "comment: &a first"),
        ("comment: first", "comment: !!str first"),
        ("comment: first", "comment: \"first"),
        ("comment: first", "\tcomment: first"),
        ("comment: first", "comment: first\n  noop:\n  - name: x"),
        ("comment: first", "comment: first\nedges: []"),
        ("comment: first", "comment: first\n---\na: b"),
        ("comment: first", "comment: 1\n    comment: 2"),
        ("  - name: two", "   - name: two"),
        ("    comment: first\n", "    comment: first"),
        ("    comment: first\n", "   comment: first\n"),
        ("path: /tmp/a", "path: a"),
        ("name: e", "name: f"),
    ] {
        let mut known = Known::new(SITE).unwrap();
        let edited = known.edit(&SITE.replacen(before, after, 1)).unwrap();
        assert_eq!(edited, None, "{before} to {after}");
    }
    let anchored = SITE.replace("comment: first", "comment: &a first");
    let mut known = Known::new(&anchored).unwrap();
    assert_eq!(known.edit(&anchored.replace("'x'", "'y'")).unwrap(), None);
}

/// An entry of a list, with its dash at the start of the line.
fn entry() -> impl Strategy<Value = String> {
    let value = select(vec![
        "plain",
        "over\n     two lines",
        "'it''s'",
        "\"a\\n\n     b\"",
        "|\n   block\n\n   of text\n",
        "|+\n     keeps\n\n\n",
        ">-\n   folded\n   text",
        "|2\n     odd\n",
        "~",
        "漢 # remark",
    ]);
    let more = select(vec![
        "",
        "  meta: {noop: true}\n",
        "  meta:\n    retry: 3\n    sema: [a, 'b:2']\n",
        "# a remark\n",
        "\n",
        "  export: true\n",
        "  recv:\n    comment: {kind: exec, name: x, key: output}\n",
        "  # a remark\n\n",
    ]);
    let flow = "[a-f]".prop_map(|name| format!("- {{name: {name}, comment: [\n   x]}}\n"));
    let block =
        ("(@@)?[a-z]{1,2}", value, more, any::<bool>()).prop_map(|(name, value, more, first)| {
            match first {
                true => format!("- name: '{name}'\n  comment: {value}\n{more}"),
                false => format!("-  comment: {value}\n   name: '{name}'\n{more}")
                    .replace("\n  ", "\n   "),
            }
        });
    prop_oneof![1 => flow, 5 => block]
}

fn list(kind: &'static str) -> impl Strategy<Value = String> {
    (prop::collection::vec(entry(), 0..5), 0usize..3).prop_map(move |(entries, indent)| {
        let deeper = format!("\n  {}", " ".repeat(indent));
        let all = format!("\n{}", entries.concat()).replace('\n', &deeper);
        format!("  {kind}:{}\n", all.trim_end_matches(' ').trim_end_matches('\n'))
    })
}

fn text() -> impl Strategy<Value = String> {
    let head =
        select(vec!["graph: g\n", "---\ngraph: g\n", "\u{feff}graph: g\n", "# r\ngraph: g\n"]);
    let tail =
        select(vec!["", "edges: []\n", "collect:\n- kind: file\n", "---\n", "# end", "...\n"]);
    let before = select(vec!["", "collect:\n- kind: file\n  pattern: /a/\n"]);
    (head, before, list("noop"), list("print"), tail, prop::bool::weighted(0.1)).prop_map(
        |(head, before, one, other, tail, crlf)| {
            let text = format!("{head}{before}resources:\n{one}{other}{tail}");
            if crlf { text.replace('\n', "\r\n") } else { text }
        },
    )
}

/// Puts a piece over a part of a text.
fn change() -> impl Strategy<Value = (Index, usize, String)> {
    let pieces = select(vec![
        "",
        "x",
        " ",
        "  ",
        "\n",
        "\n\n",
        "'",
        "\"",
        "#",
        " # r",
        ": ",
        "- ",
        "  - name: new\n",
        "- name: new\n",
        "    - name: q\n",
        "&a ",
        "*a",
        "!x ",
        "[",
        "]",
        "{",
        "}",
        "|\n",
        "\t",
        "\r",
        "\r\n",
        "---\n",
        "\n...\n",
        "%T\n",
        "? ",
        "\u{feff}",
        "漢",
        "name: z\n",
        "<<: {}\n",
        "\0",
        "comment: 2\n",
        "  file:\n",
        "edges: []\n",
        "\n  exec:\n  - name: y\n",
    ]);
    (any::<Index>(), 0usize..40, prop_oneof![pieces.prop_map(str::to_owned), "[a-z ]{0,3}"])
}

fn changed(text: &str, (at, cut, piece): &(Index, usize, String)) -> String {
    let start = text.floor_char_boundary(at.index(text.len() + 1));
    let end = text.floor_char_boundary((start + cut % 17).min(text.len())).max(start);
    // Whole lines as often as not: most other edits are mistakes.
    let (start, end) = if cut % 2 == 0 {
        let line = |at: usize| text[..at].rfind('\n').map_or(0, |at| at + 1);
        (line(start), line(end))
    } else {
        (start, end)
    };
    format!("{}{piece}{}", &text[..start], &text[end..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn an_edit_that_is_read_alone_gives_what_the_whole_text_gives(
        text in text(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let Some(mut known) = Known::new(&text) else { return Ok(()) };
        for change in &changes {
            let new = changed(&known.text, change);
            if let Err(why) = known.edit(&new) {
                return Err(TestCaseError::fail(why));
            }
        }
    }

    #[test]
    fn two_changes_far_apart_are_one_edit(
        text in text(),
        (one, other) in (change(), change()),
    ) {
        let Some(mut known) = Known::new(&text) else { return Ok(()) };
        let new = changed(&changed(&text, &one), &other);
        known.edit(&new).map_err(TestCaseError::fail)?;
    }
}
