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
    /// `cargo test` with these arguments, and these for the test programs.
    Cargo {
        /// What is built.
        build: Vec<String>,
        /// Which of its tests run, and how.
        tests: Vec<String>,
    },
    /// This program with these arguments.
    Xtask(Vec<String>),
}

/// Tests that need the engine carry this in their names.
const NEEDS_ENGINE: &str = "engine_";

/// One at a time: containers are about what is left on the engine, and a node wants its own
/// processor; a second try is to be alone.
const ALONE: &str = "--test-threads=1";

/// All kinds, in the order in which they run: what is quick first.
pub(super) fn all(test_files: &[String], long: bool) -> Vec<Kind> {
    let mut kinds = vec![
        Kind { properties: true, ..cargo("unit", &["-p", "quorate", "--lib", "--bins"], &[]) },
        cargo("toolkit", &["-p", "xtask", "--tests"], &["--skip", NEEDS_ENGINE]),
    ];
    kinds.extend(
        test_files.iter().map(|file| Kind {
            etcd: true,
            ..cargo(file, &["-p", "quorate", "--test", file], &[])
        }),
    );
    kinds.extend([
        Kind {
            engine: true,
            ..cargo("containers", &["-p", "xtask", "--tests"], &[ALONE, NEEDS_ENGINE])
        },
        // A cluster may be late on a busy machine: what is fine alone is fine, and is named.
        xtask("examples", &["examples", "run", "--again"]),
        xtask("book", &["book", "verify", "--again"]),
    ]);
    if long {
        let leases = cargo("leases", &["-p", "quorate", "--test", "exchange"], &["stays_f1"]);
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

impl Runner {
    /// Runs these tests alone, one after another; nothing for what has no tests by name.
    pub(super) fn again(&self, names: &[String]) -> Option<Runner> {
        let Runner::Cargo { build, .. } = self else { return None };
        let words = [ALONE, "--exact"].into_iter().map(Into::into);
        Some(Runner::Cargo {
            build: build.clone(),
            tests: words.chain(names.iter().cloned()).collect(),
        })
    }
}

fn cargo(name: &str, build: &[&str], tests: &[&str]) -> Kind {
    let words = |words: &[&str]| words.iter().map(|&word| word.into()).collect();
    Kind {
        name: name.into(),
        runner: Runner::Cargo { build: words(build), tests: words(tests) },
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
            let Runner::Cargo { build, tests } = kind.runner else { continue };
            let skips = tests == ["--skip", NEEDS_ENGINE];
            assert!(kind.engine || skips || !build.contains(&"xtask".into()), "{}", kind.name);
        }
    }

    #[test]
    fn a_second_try_runs_the_named_tests_alone() {
        let kind = cargo("etcd", &["-p", "quorate", "--test", "etcd"], &["a_filter"]);
        let again = kind.runner.again(&["one".into(), "two".into()]);
        let Some(Runner::Cargo { build, tests }) = again else { panic!("no second try") };
        assert_eq!(build, ["-p", "quorate", "--test", "etcd"]);
        assert_eq!(tests, [ALONE, "--exact", "one", "two"]);
        assert_eq!(xtask("book", &["book", "verify"]).runner.again(&["one".into()]), None);
    }
}
