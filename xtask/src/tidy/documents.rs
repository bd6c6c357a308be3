//! Documents that name what is not there: paths of the repository, links, tests, the minimum
//! supported Rust version.

use std::collections::BTreeSet;
use std::ops::Range;

use pulldown_cmark::{Event, Parser, Tag};

use super::finding::Finding;

/// What the repository holds, for looking paths up.
pub(super) struct Paths {
    /// All files and folders, from the root.
    all: BTreeSet<String>,
    /// The names at the root.
    top: BTreeSet<String>,
}

impl Paths {
    /// Of the tracked files.
    pub(super) fn of(files: &[String]) -> Paths {
        let mut all = BTreeSet::new();
        for file in files {
            let ends = file.match_indices('/').map(|(at, _)| at).chain([file.len()]);
            all.extend(ends.map(|end| file[..end].to_owned()));
        }
        let top = all.iter().filter(|path| !path.contains('/')).cloned().collect();
        Paths { all, top }
    }

    fn has(&self, path: &str) -> bool {
        self.all.contains(path.trim_end_matches('/'))
    }

    /// Whether the words in backticks mean a path of the repository: they begin at its root, and
    /// are not a pattern.
    fn means_a_path(&self, word: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if word.is_empty() || !word.chars().all(plain) {
            return false;
        }
        match word.split_once('/') {
            // `examples/NAME` stands for many; what is made by building is not tracked.
            Some((first, rest)) => {
                let stands_for_many = rest
                    .split('/')
                    .any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()));
                self.top.contains(first) && !stands_for_many
            }
            None => word.ends_with(".md") || word.ends_with(".toml"),
        }
    }
}

/// Dead paths in backticks and dead relative links of a document.
pub(super) fn check_paths(path: &str, text: &str, paths: &Paths) -> Vec<Finding> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    let mut dead = |name: &str, place: Range<usize>| {
        let line = text[..place.start].lines().count().max(1);
        found.push(Finding::new(path, line, format!("`{name}` is not in the repository")));
    };
    for (event, place) in Parser::new(text).into_offset_iter() {
        match event {
            Event::Code(word) if paths.means_a_path(&word) => {
                let beside = resolve(folder, &word);
                if !paths.has(&word) && !beside.is_some_and(|beside| paths.has(&beside)) {
                    dead(&word, place);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                let target = dest_url.split('#').next().unwrap_or("");
                if target.is_empty() || target.contains(':') {
                    continue;
                }
                if !resolve(folder, target).is_some_and(|target| paths.has(&target)) {
                    dead(target, place);
                }
            }
            _ => {}
        }
    }
    found
}

/// A relative path from a folder; `None` when it leaves the repository.
fn resolve(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The names of all functions of a Rust text, those inside of macros included.
pub(super) fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        rest[end..].starts_with(['(', '<']).then_some(&rest[..end])
    })
}

/// Whether the words in backticks mean a test: its name is a claim, and so of many words.
fn means_a_test(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(plain) && word.matches('_').count() >= TEST_WORDS
}

/// A name with so many underscores is a test's.
const TEST_WORDS: usize = 4;

/// Tests in backticks that are not among `functions`.
pub(super) fn check_tests(path: &str, text: &str, functions: &BTreeSet<&str>) -> Vec<Finding> {
    let named = Parser::new(text).into_offset_iter().filter_map(|(event, place)| match event {
        Event::Code(word) if means_a_test(&word) => Some((word, place)),
        _ => None,
    });
    let gone = named.filter(|(word, _)| !functions.contains(word.as_ref()));
    gone.map(|(word, place)| {
        let line = text[..place.start].matches('\n').count() + 1;
        Finding::new(path, line, format!("no test is called `{word}`"))
    })
    .collect()
}

/// The manifest's `rust-version` is the one that the README states.
pub(super) fn check_rust_version(manifest: &str, readme: &str) -> Vec<Finding> {
    let version = toml::from_str::<toml::Table>(manifest).ok().and_then(|manifest| {
        let package = manifest.get("workspace")?.get("package")?;
        Some(package.get("rust-version")?.as_str()?.to_owned())
    });
    let Some(version) = version else {
        return vec![Finding::new("Cargo.toml", 0, "states no `rust-version` for the workspace")];
    };
    if readme.contains(&format!("Rust {version}")) {
        return Vec::new();
    }
    vec![Finding::new(
        "README.md",
        0,
        format!("does not say `Rust {version}`, as `Cargo.toml` does"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(path: &str, text: &str) -> Vec<String> {
        let files =
            ["README.md", "src/lib.rs", "docs/decisions/0001-x.md", "examples/etcd1/README.md"];
        let paths = Paths::of(&files.map(Into::into));
        check_paths(path, text, &paths).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_test_that_a_document_names_has_to_exist() {
        let source = "fn a_file_that_is_gone_is_back() {}\nproptest! { fn b<T>() {} }\nfn x";
        let known: BTreeSet<&str> = functions(source).collect();
        assert_eq!(known, BTreeSet::from(["a_file_that_is_gone_is_back", "b"]));
        let text = "| P1 | `a_file_that_is_gone_is_back` |\n| P2 | `a_file_that_never_was_there` |";
        let found: Vec<String> =
            check_tests("a.md", text, &known).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a.md:2: no test is called `a_file_that_never_was_there`"]);
        assert!(check_tests("a.md", "`max_user_instances`, `--a-b-c-d-e`", &known).is_empty());
    }

    #[test]
    fn paths_in_backticks_have_to_exist() {
        for (text, expected) in [
            ("see `src/lib.rs` and `src/`", vec![]),
            ("one\n\nsee `src/gone.rs`", vec!["a.md:3: `src/gone.rs` is not in the repository"]),
            ("see `GONE.md`", vec!["a.md:1: `GONE.md` is not in the repository"]),
            ("`examples/NAME` `/tmp/x` `a/b` `src/*.rs` `cargo xtask`", vec![]),
            ("```\nsrc/gone.rs\n```", vec![]),
        ] {
            assert_eq!(dead("a.md", text), expected, "{text}");
        }
    }

    #[test]
    fn links_are_followed_from_the_document() {
        for (path, text, fine) in [
            ("README.md", "[x](docs/decisions/0001-x.md#why)", true),
            ("docs/decisions/0001-x.md", "[x](../../src/lib.rs)", true),
            ("docs/decisions/0001-x.md", "[x](src/lib.rs)", false),
            ("README.md", "[x](../outside.md)", false),
            ("README.md", "[x](https://example.org/x)", true),
            ("README.md", "[x](#here)", true),
        ] {
            assert_eq!(dead(path, text).is_empty(), fine, "{path}: {text}");
        }
    }

    #[test]
    fn the_rust_version_is_stated_once_and_the_same() {
        let manifest = "[workspace.package]\nrust-version = \"1.95\"";
        assert!(check_rust_version(manifest, "needs Rust 1.95 or later").is_empty());
        assert_eq!(check_rust_version(manifest, "needs Rust 1.90").len(), 1);
        assert_eq!(check_rust_version("[package]", "needs Rust 1.90").len(), 1);
    }
}
