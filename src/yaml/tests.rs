//! Claims about reading files that fixtures cannot make: any text, mutated files, budgets.

use proptest::prelude::*;

use super::*;
use crate::diag::render;
use crate::graph::compile;
use crate::spec::{CollectRule, Export, Value};

/// A file of the shape of the five cluster examples.
fn example(letter: char) -> String {
    let big = letter.to_ascii_uppercase();
    let lines = [
        "---",
        "graph: mygraph",
        "comment: one of five hosts",
        "resources:",
        "  file:",
        &format!("  - name: \"@@file{letter}\""),
        &format!("    path: \"/tmp/mgmt{big}/f{big}\""),
        "    content: |",
        &format!("      i am f{big}, exported from host {big}"),
        "    state: exists",
        &format!("  - name: dir_{letter}"),
        &format!("    path: \"/tmp/mgmt{big}/\""),
        "    state: exists",
        "collect:",
        "- kind: file",
        &format!("  pattern: \"/tmp/mgmt{big}/\""),
        "edges:",
    ];
    lines.map(|line| format!("{line}\n")).concat()
}

const RICH: &str = include_str!("../../tests/yaml/anchors.yaml");
const EDGES: &str = include_str!("../../tests/yaml/edges-accepted.yaml");
const TYPES: &str = include_str!("../../tests/yaml/coercions.yaml");

#[test]
fn the_five_cluster_examples_export_one_file_and_collect_all_into_their_directory() {
    for letter in 'a'..='e' {
        let big = letter.to_ascii_uppercase();
        let (program, found) = parse(&example(letter));
        assert_eq!(found, []);
        let program = program.expect("there is no mistake in it");
        let export = &program.resources[0];
        assert_eq!(export.id.to_string(), format!("file[file{letter}]"));
        let default = Export { hidden: true, ..Export::default() };
        assert_eq!(export.export, Some(default));
        let content = format!("i am f{big}, exported from host {big}\n");
        assert_eq!(export.fields.get("content"), Some(&Value::Str(content)));
        assert_eq!(program.resources[1].export, None);
        let [CollectRule::Legacy { kind, pattern, .. }] = &program.collect[..] else {
            panic!("there is one rule")
        };
        assert_eq!(
            (kind.as_str(), pattern.as_deref()),
            ("file", Some(&*format!("/tmp/mgmt{big}/")))
        );
    }
}

#[test]
fn aliases_cannot_expand_without_bound() {
    let mut text = String::from("graph: g\ncomment:\n  l0: &l0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..30 {
        let below = vec![format!("*l{}", level - 1); 10].join(", ");
        text.push_str(&format!("  l{level}: &l{level} [{below}]\n"));
    }
    let (program, found) = parse(&text);
    assert!(program.is_none());
    assert!(found[0].message.contains("aliases followed"), "{found:?}");
}

#[test]
fn nesting_is_bounded() {
    for open in ["[", "{a: ", "- "] {
        let text = format!("graph: g\ncomment:\n {}", open.repeat(50_000));
        let (program, found) = parse(&text);
        assert!(program.is_none() && !found.is_empty(), "{open}");
    }
}

#[test]
fn a_file_beyond_the_size_limit_is_refused() {
    let text = format!("graph: g\n# {}", "x".repeat(TEXT_BYTES_MAX));
    let found = check(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("larger than 32 MiB"), "{found:?}");
}

#[test]
fn diagnostics_are_bounded_in_number() {
    let text = format!("graph: g\nresources:\n  noop:\n{}", "  - nothing: 1\n".repeat(5_000));
    let (program, found) = parse(&text);
    assert!(program.is_none());
    assert!((100..=FOUND_MAX).contains(&found.len()), "{}", found.len());
}

#[test]
fn copies_of_an_aliased_text_cannot_fill_the_memory() {
    let long = "x".repeat(100_000);
    let mut text = format!("graph: g\nresources:\n  noop:\n  - &a {{name: a, comment: {long}}}\n");
    (0..1_000).for_each(|n| text.push_str(&format!("  - {{<<: *a, name: n{n}}}\n")));
    let (program, found) = parse(&text);
    assert!(program.is_none());
    assert!(found[0].message.contains("of text, aliases followed"), "{:?}", found[0].message);
}

#[test]
fn what_is_wrong_with_a_long_name_is_still_said() {
    for (letter, length) in [("a", MESSAGE_MAX), ("a", 1 << 20), ("漢", 1 << 18)] {
        let name = letter.repeat(length);
        let ends = format!("from: {{kind: noop, name: {name}}}, to: {{kind: noop, name: {name}b}}");
        let text =
            format!("graph: g\nresources:\n  noop:\n  - name: {name}\nedges:\n- {{{ends}}}\n");
        let found = check(&text);
        let [one] = &found[..] else { panic!("{} mistakes", found.len()) };
        assert!(one.message.starts_with("noop[") && one.message.ends_with("b] is not declared"));
        assert!(one.message.chars().count() < 2 * MESSAGE_MAX);
        assert!(render("f", &text, &found, false).chars().count() < 4 * MESSAGE_MAX);
    }
}

#[test]
fn a_place_is_right_behind_wide_characters_and_on_long_lines() {
    for padding in [0, 1, 63, 64, 65, 1_000] {
        let wide = "漢🦀é".repeat(padding);
        let text = format!("# {wide}\ngraph: g\ncomment: [\"{wide}\", x]\nresorces: {{}}\n");
        let found = check(&text);
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!(&text[one.span.start..one.span.end], "resorces");
        assert_eq!((one.span.line, one.span.column), (4, 1));
    }
}

#[test]
fn whole_numbers_are_read_as_yaml_1_1_writes_them() {
    let table = [
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("0741", 481),
        ("1_000", 1000),
        ("-0x10", -16),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ];
    for (text, number) in table {
        assert_eq!(scalar::whole(text), Ok(number), "{text}");
    }
    for text in
        ["", "-", "a", "1.5", "1e3", "08", "--1", "0x", "0x-1", "_1", "1 2", "9223372036854775808"]
    {
        assert!(scalar::whole(text).is_err(), "{text}");
    }
}

/// One valid file with a piece of another text put over a piece of it.
fn mutated() -> impl Strategy<Value = String> {
    let bases = prop::sample::select(vec![example('a'), RICH.into(), EDGES.into(), TYPES.into()]);
    let pieces = prop_oneof![
        "\\PC{0,4}",
        "[-:?,&*!|>'\"%@`{}\\[\\]#~<\t\n\r 0-9a-z]{0,6}",
        prop::sample::select(vec![
            "<<: *common",
            "\n---\n",
            "- ",
            ": ",
            "!!binary ",
            "&a ",
            "*a",
            "@@",
            "null"
        ])
        .prop_map(str::to_owned),
    ];
    (bases, any::<prop::sample::Index>(), 0usize..12, pieces).prop_map(|(base, at, cut, piece)| {
        let start = base.floor_char_boundary(at.index(base.len() + 1));
        let end = base.floor_char_boundary((start + cut).min(base.len())).max(start);
        format!("{}{piece}{}", &base[..start], &base[end..])
    })
}

/// What must hold for any text whatever.
fn holds(text: &str) -> Result<(), TestCaseError> {
    let (program, found) = parse(text);
    prop_assert_eq!(program.is_some(), !found.iter().any(Diagnostic::is_error));
    prop_assert!(found.is_sorted_by_key(|one| one.span), "{:?}", found);
    for one in &found {
        for span in [one.span].into_iter().chain(one.related.iter().map(|(span, _)| *span)) {
            prop_assert!(text.get(span.start..span.end).is_some() && span.line > 0, "{:?}", one);
        }
    }
    prop_assert_eq!(render("f", text, &found, false).is_empty(), found.is_empty());
    if let Some(program) = program {
        let graph = compile(&program, &[]);
        prop_assert!(graph.is_ok(), "{:?}", graph);
        let again = parse(text).0;
        prop_assert_eq!(again.as_ref(), Some(&program));
        prop_assert_eq!(compile(&program, &[]), graph);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "(?s).{0,120}") {
        holds(&text)?;
    }

    #[test]
    fn text_that_looks_like_yaml_is_read_or_refused_without_a_panic(
        text in "([-:?,&*!|>'\"{}\\[\\]#~< \n\t]|graph|resources|file|name|<<|[ab0]|漢|\r\n){0,60}"
    ) {
        holds(&text)?;
    }

    #[test]
    fn a_mutated_file_is_read_or_refused_without_a_panic(text in mutated()) {
        holds(&text)?;
    }
}
