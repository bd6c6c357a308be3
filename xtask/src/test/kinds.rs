//! Which kinds of tests there are and what runs each. A list of values; starts nothing.

use std::path::Path;

/// One kind of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Its name in the table.
    pub(super) name: String,
    /// What runs it.
    pub(super) runner: Runner,
    /// It needs a container engine.
    pub(super) engine: bool,
    /// It is given an etcd program in `QUORATE_ETCD`.
    pub(super) etcd: bool,
    /// Properties are counted in a row of their own.
    pub(super) properties: bool,
    /// What has its tests take more, and how much.
    pub(super) more: Option<(&'static str, &'static str)>,
}

/// What runs a kind of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// `cargo` with these arguments.
    Cargo(Vec<String>),
    /// This program with these arguments.
    Xtask(Vec<String>),
}

/// Tests that need the engine carry this in their names.
const NEEDS_ENGINE: &str = "engine_";

/// One at a time: they are about what is left on the engine, and a node wants its own processor.
const CONTAINERS: [&str; 6] = ["-p", "xtask", "--tests", "--", "--test-threads=1", NEEDS_ENGINE];

/// All kinds, in the order in which they run: what is quick first.
pub(super) fn all(test_files: &[String], long: bool) -> Vec<Kind> {
    let mut kinds = vec![
        Kind { properties: true, ..cargo("unit", &["-p", "quorate", "--lib", "--bins"]) },
        cargo("toolkit", &["-p", "xtask", "--tests", "--", "--skip", NEEDS_ENGINE]),
    ];
    kinds.extend(
        test_files
            .iter()
            .map(|file| Kind { etcd: true, ..cargo(file, &["-p", "quorate", "--test", file]) }),
    );
    kinds.extend([
        Kind { engine: true, ..cargo("containers", &CONTAINERS) },
        // A cluster may be late on a busy machine: what is fine alone is fine, and is named.
        xtask("examples", &["examples", "run", "--again"]),
        xtask("book", &["book", "verify", "--again"]),
    ]);
    if long {
        let leases = cargo("leases", &["-p", "quorate", "--test", "exchange", "stays_f1"]);
        kinds.push(Kind { etcd: true, more: Some(("QUORATE_LEASES", "whole")), ..leases });
        kinds.push(xtask("heal", &["bench", "heal"]));
        kinds.push(xtask("chaos", &["chaos", "--seeds", "1..20"]));
        kinds.push(xtask("browser", &["book", "build", "--browser", "--plain"]));
    }
    kinds
}

/// The programs under `tests/`, by name.
pub(super) fn test_files(tests: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(tests)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let rust = path.extension().is_some_and(|ext| ext == "rs");
            rust.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).flatten()
        })
        .collect();
    names.sort();
    names
}

fn cargo(name: &str, args: &[&str]) -> Kind {
    let words = std::iter::once("test").chain(["--locked"]).chain(args.iter().copied());
    Kind {
        name: name.into(),
        runner: Runner::Cargo(words.map(Into::into).collect()),
        engine: false,
        etcd: false,
        properties: false,
        more: None,
    }
}

fn xtask(name: &str, args: &[&str]) -> Kind {
    Kind {
        name: name.into(),
        runner: Runner::Xtask(args.iter().map(|&word| word.into()).collect()),
        engine: !["heal", "browser"].contains(&name),
        etcd: false,
        properties: false,
        more: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_tests_is_a_kind_of_its_own() {
        let names: Vec<String> =
            all(&["cli".into(), "etcd".into()], false).into_iter().map(|kind| kind.name).collect();
        assert_eq!(names, ["unit", "toolkit", "cli", "etcd", "containers", "examples", "book"]);
    }

    #[test]
    fn long_adds_kinds_and_takes_none_away() {
        let (short, long) = (all(&[], false), all(&[], true));
        assert!(short.len() < long.len());
        assert_eq!(long[..short.len()], short[..]);
    }

    #[test]
    fn tests_that_need_the_engine_run_in_one_kind_only() {
        for kind in all(&[], true) {
            let Runner::Cargo(words) = kind.runner else { continue };
            let skips = words.windows(2).any(|pair| pair == ["--skip", NEEDS_ENGINE]);
            assert!(kind.engine || skips || !words.contains(&"xtask".into()), "{}", kind.name);
        }
    }
}
