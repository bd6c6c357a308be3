//! Graph files beside what `check` says about them, and the graphs that come out of the accepted
//! ones.
//!
//! `tests/yaml/NAME.yaml` is read, `tests/yaml/NAME.expected` is what must come out. With
//! `QUORATE_BLESS=1` in the environment the expected files are written instead: read their diff
//! before you commit it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use quorate::diag::render;
use quorate::graph::{Origin, compile};
use quorate::yaml;

#[test]
fn every_file_is_answered_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/yaml");
    let bless = std::env::var_os("QUORATE_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files(&folder, "yaml") {
        let answer = answer(&path);
        let expected = path.with_extension("expected");
        if bless {
            fs::write(&expected, &answer).expect("the folder can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != answer {
            wrong.push(format!("{} answers:\n{answer}", path.display()));
        }
        seen += 1;
    }
    for path in files(&folder, "expected") {
        if !path.with_extension("yaml").exists() {
            wrong.push(format!("{} belongs to no file", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} files were found in {}", folder.display());
}

#[test]
fn six_mistakes_in_six_places_are_six_diagnostics() {
    let text = include_str!("yaml/six-mistakes.yaml");
    let found = yaml::check(text);
    assert_eq!(found.len(), 6, "{}", render("six-mistakes.yaml", text, &found, false));
    assert!(yaml::parse(text).0.is_none());
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

fn answer(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("the file can be read");
    let name = path.file_name().expect("it has one").to_string_lossy();
    let found = yaml::check(&text);
    let mut out = render(&name, &text, &found, false);
    let (program, _) = yaml::parse(&text);
    assert_eq!(program.is_none(), found.iter().any(|one| one.is_error()), "{name}: {out}");
    let Some(program) = program else { return out };
    if !out.is_empty() {
        out.push('\n');
    }
    let compiled = compile(&program, &[]).expect("parse found no mistake");
    writeln!(out, "graph {}", compiled.graph.name).expect("a string takes everything");
    for spec in program.resources.iter().filter(|spec| spec.export.is_some()) {
        writeln!(out, "export {:?} {:?} {:?}", spec.id, spec.export, spec.fields).expect("it does");
    }
    for vertex in compiled.graph.vertices.values() {
        assert_eq!(vertex.origin, Origin::Local);
        writeln!(out, "{} {:?} {:?}", vertex.id, vertex.meta, vertex.fields).expect("it does");
    }
    for ((from, to), edge) in &compiled.graph.edges {
        writeln!(out, "{from} -> {to} {edge:?}").expect("it does");
    }
    for rule in &program.collect {
        match rule {
            quorate::spec::CollectRule::Legacy { kind, pattern, .. } => {
                writeln!(out, "collect {kind} {pattern:?}").expect("it does");
            }
            quorate::spec::CollectRule::Full(rule) => {
                writeln!(out, "collect {rule:?}").expect("it does");
            }
        }
    }
    for note in &compiled.notes {
        writeln!(out, "note: {note}").expect("it does");
    }
    out
}
