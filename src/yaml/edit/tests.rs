//! The whole text read anew is the truth: an edit that is understood leads to exactly that.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

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
        "  recv:\n    FIELD: {kind: exec, name: x, key: stdout}\n",
        "  # a remark\n\n",
    ]);
    let flow = "[a-z]{3}".prop_map(|name| format!("- {{name: {name}, FIELD: \"x\n   y\"}}\n"));
    let block = ("(@@)?[a-z]{2}", value, more, any::<bool>()).prop_map(
        |(name, value, more, name_first)| match name_first {
            true => format!("- name: '{name}'\n  FIELD: {value}\n{more}"),
            false => format!("- FIELD: {value}\n  name: '{name}'\n{more}"),
        },
    );
    prop_oneof![1 => flow, 5 => block]
}

fn list(kind: &'static str, field: &'static str) -> impl Strategy<Value = String> {
    (prop::collection::vec(entry(), 0..7), 0usize..3).prop_map(move |(entries, indent)| {
        let deeper = format!("\n  {}", " ".repeat(indent));
        let all = format!("\n{}", entries.concat()).replace('\n', &deeper).replace("FIELD", field);
        format!("  {kind}:{}\n", all.trim_end_matches(' ').trim_end_matches('\n'))
    })
}

const EXEC: &str = "  exec:\n  - name: x\n    shell: /bin/sh\n    cmd: echo\n";

pub(in crate::yaml) fn text() -> impl Strategy<Value = String> {
    let head =
        select(vec!["graph: g\n", "---\ngraph: g\n", "\u{feff}graph: g\n", "# r\ngraph: g\n"]);
    let tail =
        select(vec!["", "edges: []\n", "collect:\n- kind: file\n", "---\n", "# end", "...\n"]);
    let before = select(vec!["", "collect:\n- kind: file\n  pattern: /a/\n"]);
    (head, before, list("noop", "comment"), list("print", "msg"), tail, prop::bool::weighted(0.1))
        .prop_map(|(head, before, one, other, tail, crlf)| {
            let text = format!("{head}{before}resources:\n{EXEC}{one}{other}{tail}");
            if crlf { text.replace('\n', "\r\n") } else { text }
        })
}

/// Puts a piece over a part of a text.
pub(in crate::yaml) fn change() -> impl Strategy<Value = (Index, usize, String)> {
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
        "  - name: new\n    msg: m\n",
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
    (any::<Index>(), 0usize..40, prop_oneof![pieces.prop_map(str::to_owned), "[a-z]{1,3}"])
}

pub(in crate::yaml) fn changed(text: &str, (at, size, piece): &(Index, usize, String)) -> String {
    let start = text.floor_char_boundary(at.index(text.len() + 1));
    let end = text.floor_char_boundary((start + size % 13).min(text.len())).max(start);
    let line = |at: usize| text[..at].rfind('\n').map_or(0, |at| at + 1);
    let put = |start, end, piece: &str| format!("{}{piece}{}", &text[..start], &text[end..]);
    // Most changes at random places are mistakes, so there are others.
    let dashes = text.match_indices("- ").map(|(at, _)| at);
    let mut entries = dashes.filter(|at| text[line(*at)..*at].trim().is_empty()).map(line);
    let entry = entries.find(|at| *at >= start);
    let words = ["plain", "two", "it", "block", "keeps", "folded", "odd"];
    let word = words.iter().filter_map(|word| Some((start + text[start..].find(word)?, *word)));
    match (size % 6, entry) {
        (0, Some(entry)) => put(entry, entries.next().unwrap_or(text.len()), ""),
        (1, Some(entry)) => {
            let indent = text[entry..].len() - text[entry..].trim_start_matches(' ').len();
            put(entry, entry, &format!("{:indent$}- name: 'n{size}'\n", ""))
        }
        (2, _) => put(line(start), line(end), piece),
        (3, _) => put(start, start, piece),
        (4, _) => put(start, end, piece),
        _ => word.min().map_or_else(
            || text.to_owned(),
            |(at, word)| put(at, at + word.len(), &format!("w{size}")),
        ),
    }
}

#[test]
fn most_random_texts_are_right_and_many_changes_of_them_are_read_alone() {
    let mut runner = TestRunner::deterministic();
    let (mut right, mut whole, mut moved, mut in_place) = (0, 0, 0, 0);
    for _ in 0..500 {
        let text = text().new_tree(&mut runner).unwrap().current();
        let change = change().new_tree(&mut runner).unwrap().current();
        let Some(mut known) = Known::new(&text) else { continue };
        right += 1;
        match known.edit(&changed(&text, &change)).unwrap() {
            None => whole += 1,
            Some(false) => moved += 1,
            Some(true) => in_place += 1,
        }
    }
    let counts = format!("{right} right: {whole} whole, {moved} moved, {in_place} in place");
    assert!(right > 250 && moved > 25 && in_place > 25, "{counts}");
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
