//! The text of a chapter with its includes in place, each line knowing the file that it came from.
//!
//! It reads through the function that it is given and knows nothing of fences.

use std::io;
use std::sync::Arc;

use super::problem::{At, Problem};

/// How deep an include may include.
const MAX_DEPTH: usize = 4;

/// Reads a file by its path from the repository's root.
pub(crate) type Read<'a> = &'a dyn Fn(&str) -> io::Result<String>;

/// A chapter's text, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The lines without their ends.
    pub(crate) lines: Vec<String>,
    /// Where each line comes from; as long as `lines`.
    pub(crate) origins: Vec<At>,
}

impl Source {
    /// The text as one string, a newline after each line.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// Where line `index` (from 0) comes from; the last line when there are fewer.
    pub(crate) fn at(&self, index: usize) -> At {
        let last = self.origins.last();
        let at = self.origins.get(index).or(last).cloned();
        at.unwrap_or_else(|| At { file: Arc::from(""), line: 1 })
    }
}

/// Reads `path` and what it includes with a line `{{#include PATH}}`, relative to the file in which
/// that line is.
pub(crate) fn load(path: &str, read: Read<'_>) -> Result<Source, Problem> {
    let mut source = Source { lines: Vec::new(), origins: Vec::new() };
    let start = At { file: Arc::from(path), line: 1 };
    append(&mut source, path, &start, 0, read)?;
    if source.lines.is_empty() {
        return Err(Problem::new(start, "the file is empty"));
    }
    Ok(source)
}

fn append(
    source: &mut Source,
    path: &str,
    asked: &At,
    depth: usize,
    read: Read<'_>,
) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::new(asked.clone(), format!("includes nest deeper than {MAX_DEPTH}")));
    }
    let text = read(path)
        .map_err(|error| Problem::new(asked.clone(), format!("cannot read {path}: {error}")))?;
    let file: Arc<str> = Arc::from(path);
    for (index, line) in text.lines().enumerate() {
        let at = At { file: file.clone(), line: index + 1 };
        match included(line) {
            Some(target) => append(source, &beside(path, target), &at, depth + 1, read)?,
            None => {
                source.lines.push(line.to_owned());
                source.origins.push(at);
            }
        }
    }
    Ok(())
}

/// The path in a line that is nothing but an include.
fn included(line: &str) -> Option<&str> {
    line.strip_prefix("{{#include ")?.strip_suffix("}}").map(str::trim)
}

/// `target` as seen from the folder of `path`, with `.` and `..` resolved.
pub(crate) fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &str) -> io::Result<String> {
        match path {
            "book/src/a.md" => Ok("one\n{{#include ../../examples/x/README.md}}\nthree\n".into()),
            "examples/x/README.md" => Ok("inner 1\ninner 2\n".into()),
            "loop.md" => Ok("{{#include loop.md}}\n".into()),
            _ => Err(io::Error::other("no such file")),
        }
    }

    #[test]
    fn an_included_line_knows_its_own_file() {
        let source = load("book/src/a.md", &files).expect("loads");
        assert_eq!(source.lines, ["one", "inner 1", "inner 2", "three"]);
        assert_eq!(source.at(2).to_string(), "examples/x/README.md:2");
        assert_eq!(source.at(3).to_string(), "book/src/a.md:3");
    }

    #[test]
    fn an_endless_include_and_a_missing_file_are_refused_with_the_line() {
        let endless = load("loop.md", &files).expect_err("refused");
        assert!(endless.to_string().starts_with("loop.md:1: includes nest"), "{endless}");
        let missing = load("nothing.md", &files).expect_err("refused");
        assert!(missing.to_string().contains("cannot read nothing.md"), "{missing}");
    }
}
