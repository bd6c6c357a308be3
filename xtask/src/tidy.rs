//! `cargo xtask tidy`: what a compiler cannot check. Each check is a function from text to
//! findings.
//!
//! Reads tracked files and `cargo metadata`; changes nothing.

mod documents;
mod finding;
mod modules;
mod packages;
mod pure;
mod size;
mod source;
mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use self::documents::Paths;
use self::finding::Finding;
use self::modules::Tables;
use self::packages::{Metadata, Permissions};
use self::source::Source;
use crate::paths;

/// What `tidy` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Runs all checks and prints what they found; exit code 1 when there is anything.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let root = paths::root();
    let files = tracked(root)?;
    let mut found = check_texts(&read_texts(root, &files)?, &files);
    found.extend(check_packages(root)?);
    found.sort();
    found.dedup();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        found.iter().for_each(|finding| println!("{finding}"));
        match found.len() {
            0 => println!("{} files are tidy", files.len()),
            1 => println!("\n1 finding"),
            n => println!("\n{n} findings"),
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file of the repository.
struct Text {
    path: String,
    text: String,
}

/// The files that git knows or would add.
fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut git = Command::new("git");
    // On CI the clone may belong to somebody else than who runs this.
    git.arg("-c").arg(format!("safe.directory={}", root.display()));
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = git.current_dir(root).output();
    let output = output.context("cannot list the repository's files: git does not start")?;
    if !output.status.success() {
        bail!(
            "cannot list the repository's files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    // A deleted file stays listed until the deletion is staged.
    Ok(listed.lines().filter(|path| root.join(path).exists()).map(Into::into).collect())
}

/// The content of those that are text.
fn read_texts(root: &Path, files: &[String]) -> anyhow::Result<Vec<Text>> {
    let mut texts = Vec::new();
    for path in files {
        let bytes =
            std::fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        texts.extend(String::from_utf8(bytes).ok().map(|text| Text { path: path.clone(), text }));
    }
    Ok(texts)
}

fn check_texts(texts: &[Text], files: &[String]) -> Vec<Finding> {
    let text_of = |path: &str| {
        texts.iter().find(|text| text.path == path).map_or("", |found| found.text.as_str())
    };
    let mut found = Vec::new();
    let known = Paths::of(files);
    let here = [paths::root().display().to_string()];
    let functions: BTreeSet<&str> = (texts.iter().filter(|text| text.path.ends_with(".rs")))
        .flat_map(|text| documents::functions(&text.text))
        .collect();
    for Text { path, text } in texts {
        found.extend(words::check_machine_paths(path, text, &here));
        // The changelog speaks of what was.
        if path.ends_with(".md") && path != "CHANGELOG.md" {
            found.extend(documents::check_paths(path, text, &known));
            found.extend(documents::check_tests(path, text, &functions));
        }
    }
    found.extend(documents::check_rust_version(text_of("Cargo.toml"), text_of("README.md")));
    let sources = parse(texts, &mut found);
    found.extend(check_sources(&modules::read(text_of(modules::PAGE)), &sources));
    found
}

/// Parses the Rust files; a file that a parent declares for tests only is all test code.
fn parse(texts: &[Text], found: &mut Vec<Finding>) -> Vec<Source> {
    let mut sources = Vec::new();
    for Text { path, text } in texts.iter().filter(|text| text.path.ends_with(".rs")) {
        match Source::parse(path, text) {
            Ok(source) => sources.push(source),
            Err(message) => found.push(Finding::new(path, 0, message)),
        }
    }
    let of_tests: BTreeSet<(bool, Vec<String>)> = sources
        .iter()
        .flat_map(|source| {
            source.test_modules().into_iter().map(|module| (is_xtask(source), module))
        })
        .collect();
    for source in &mut sources {
        let of_xtask = is_xtask(source);
        let module = &source.module;
        source.is_test |=
            (1..=module.len()).any(|n| of_tests.contains(&(of_xtask, module[..n].to_vec())));
    }
    sources
}

fn is_xtask(source: &Source) -> bool {
    source.path.starts_with("xtask/")
}

fn check_sources(tables: &Tables, sources: &[Source]) -> Vec<Finding> {
    let mut found = modules::check_page(tables, sources);
    for source in sources {
        let pure = tables.row_of(source).is_some_and(|(_, row)| row.pure);
        found.extend(modules::check_uses(tables, source));
        found.extend(size::check(source, pure));
        found.extend(words::check(source));
        if pure {
            found.extend(pure::check(source));
        }
    }
    found
}

/// Asks cargo what is built in on Linux, and compares it with the permissions.
fn check_packages(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut cargo = paths::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).current_dir(root);
    let output = cargo.output().context("cannot ask cargo for the packages")?;
    if !output.status.success() {
        bail!(
            "cannot ask cargo for the packages: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
    let path = root.join(packages::PERMISSIONS);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let permissions: Permissions =
        toml::from_str(&text).with_context(|| format!("cannot read {}", packages::PERMISSIONS))?;
    Ok(packages::check(&metadata, &permissions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_its_parent_declares_for_tests_is_test_code() {
        let text = |path: &str, text: &str| Text { path: path.into(), text: text.into() };
        let texts = [
            text("src/a.rs", "//! For a.\n#[cfg(test)]\nmod cases;"),
            text("src/a/cases.rs", "//! Cases.\nfn f() { g().unwrap(); }"),
            text("src/a/cases/more.rs", "//! Cases.\nfn f() { g().unwrap(); }"),
            text("xtask/src/a/cases.rs", "//! Not of tests.\nfn f() { g().unwrap(); }"),
        ];
        let mut found = Vec::new();
        let sources = parse(&texts, &mut found);
        let of_tests: Vec<bool> = sources.iter().map(|source| source.is_test).collect();
        assert_eq!(of_tests, [false, true, true, false]);
        assert!(found.is_empty());
    }
}
