//! The whole text read in one is the truth: pieces that are understood lead to exactly that.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::yaml::edit::tests::{change, changed, text};
use crate::yaml::parse_to_edit;

fn in_pieces(text: &str, size: usize) -> Option<(Program, Seams)> {
    let parts: Option<Vec<Part>> = cut(text, size)?.iter().map(Piece::read).collect();
    join(parts?)
}

/// How many pieces it was read in; none when it has to be read whole.
fn compared(text: &str, size: usize) -> Result<Option<usize>, String> {
    let Some((program, seams)) = in_pieces(text, size) else { return Ok(None) };
    let (whole, found, whole_seams) = parse_to_edit(text);
    if !found.is_empty() || whole.as_ref() != Some(&program) || whole_seams != seams {
        return Err(format!(
            "{found:?}\n{program:#?}\n{seams:?}\nis not {whole:#?}\n{whole_seams:?}\n{text}"
        ));
    }
    Ok(cut(text, size).map(|pieces| pieces.len()))
}

const SITE: &str = "\
# a remark
graph: g
resources:
  noop:
  - name: one
    comment: first
  - name: two
    comment: |
      some text

  # another remark
  - name: three
    meta:
      sema:
      - a
      - b:2
  file:
    - path: /tmp/ä
      name: a
      content: 'x'
    - {name: b, path: /tmp/b, content: y}
    - name: c
      path: /tmp/c
edges:
- name: e
  from: {kind: noop, name: one}
  to: {kind: noop, name: two}
- name: f
  from: {kind: file, name: a}
  to: {kind: noop, name: two}
- {name: g, from: {kind: file, name: b}, to: {kind: noop, name: two}}
collect:
- kind: file
  pattern: /tmp/
";

#[test]
fn a_text_is_the_same_in_pieces_of_every_size() {
    let windows = SITE.replace('\n', "\r\n");
    let marked = format!("\u{feff}{SITE}");
    let indented = SITE.replace("\n- ", "\n  - ").replace("\n  from", "\n    from");
    let indented = indented.replace("\n  to", "\n    to").replace("\n  pattern", "\n    pattern");
    for text in [SITE, &windows, &marked, &indented] {
        assert_eq!(compared(text, 1).unwrap(), Some(7), "{text}");
        let most = (2..text.len()).map(|size| compared(text, size).unwrap()).max();
        assert!(most.flatten() > Some(3), "{text}");
    }
}

#[test]
fn whatever_is_odd_is_read_whole() {
    for (before, after) in [
        ("comment: first", "comment: &a first"),
        ("comment: first", "comment: !!str first"),
        ("comment: first", "coment: first"),
        ("comment: first", "\tcomment: first"),
        ("comment: first", "comment: \"first"),
        ("comment: first", "comment: first\n---\ngraph: h"),
        ("comment: first", "comment: first\n..."),
        ("graph: g", "grap: g"),
        ("graph: g", "comment: g"),
        ("graph: g", "graph: g\n<<: {comment: x}"),
        ("collect:", "graph: h\ncollect:"),
        ("collect:", "resources:\n  noop:\n  - name: x\ncollect:"),
        ("collect:", "edges: []\ncollect:"),
        ("edges:", "  noop:\n  - name: x\nedges:"),
        ("edges:", "  print: [{name: x, msg: x}]\nedges:"),
        ("name: three", "name: one"),
        ("name: c", "name: a"),
        ("path: /tmp/c", "path: c"),
        ("kind: noop, name: two", "kind: noop, name: 2"),
        ("from: {kind: file, name: a}", "from: {kind: noop, name: two}"),
        ("pattern: /tmp/", "comment: x"),
    ] {
        let text = SITE.replacen(before, after, 1);
        assert_ne!(text, SITE, "{before}");
        for size in [1, 50, 100] {
            let found = in_pieces(&text, size);
            let read = found.as_ref().map(|(program, _)| program);
            assert_eq!(read, None, "{before} to {after} in pieces of {size}");
        }
    }
}

#[test]
fn what_only_looks_like_an_entry_is_not_cut_at() {
    let text = "\
graph: g
resources:
  noop:
  - name: one
  - name: two
    comment: \"it goes on
  - name: here
  - name: and here\"
  - name: three
";
    assert_eq!(in_pieces(text, 1), None);
    assert!(parse_to_edit(text).0.is_none_or(|program| program.resources.len() == 3));
    let block = text.replace("\"it goes on", "|").replace("here\"", "here");
    let block = block.replace("\n  - name: here", "\n     - name: here");
    assert_eq!(compared(&block, 1).unwrap(), Some(4), "{block}");
}

#[test]
fn places_can_be_forgotten_piece_by_piece() {
    let pieces = cut(SITE, 1).unwrap();
    let parts = pieces.iter().map(|piece| {
        let mut part = piece.read().unwrap();
        part.resources().iter_mut().for_each(|one| one.field_spans = Vec::new());
        part
    });
    let (program, _) = join(parts.collect()).unwrap();
    assert_eq!(program.resources.len(), 6);
    assert!(program.resources.iter().all(|one| one.field_spans.is_empty()));
}

/// A text with edges behind it, if it has room for them.
fn with_edges() -> impl Strategy<Value = String> {
    let edges = "edges:\n- name: a\n  from: {kind: exec, name: x}\n  to:\n    kind: exec\n    \
                 name: x\n- {name: b, from: {kind: exec, name: x}, to: {kind: noop, name: x}}\n";
    let one = "- name: c\n  from: {kind: exec, name: x}\n  to: {kind: exec, name: z}\n";
    (text(), any::<bool>()).prop_map(move |(text, right)| {
        let more = "  - name: z\n    shell: /bin/sh\n    cmd: echo\n";
        let edges = if right { &format!("edges:\n{one}{one}{one}") } else { edges };
        let text = text.replace("    cmd: echo\n", &format!("    cmd: echo\n{more}"));
        text.replace("edges: []\n", edges)
    })
}

#[test]
fn most_random_texts_that_are_right_are_read_in_pieces() {
    let mut runner = TestRunner::deterministic();
    let (mut right, mut pieces, mut changed_too) = (0, 0, 0);
    for _ in 0..500 {
        let text = with_edges().new_tree(&mut runner).unwrap().current();
        let change = change().new_tree(&mut runner).unwrap().current();
        let (program, found, _) = parse_to_edit(&text);
        right += usize::from(program.is_some() && found.is_empty());
        pieces += usize::from(compared(&text, 60).unwrap().is_some());
        changed_too += usize::from(compared(&changed(&text, &change), 60).unwrap().is_some());
    }
    let counts = format!("{right} right, {pieces} in pieces, {changed_too} changed");
    assert!(right > 200 && pieces * 2 > right && changed_too > 50, "{counts}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn pieces_that_are_understood_are_the_whole_text(
        text in with_edges(),
        changes in prop::collection::vec(change(), 0..3),
        size in 1_usize..200,
    ) {
        let text = changes.iter().fold(text, |text, change| changed(&text, change));
        compared(&text, size).map_err(TestCaseError::fail)?;
    }
}
