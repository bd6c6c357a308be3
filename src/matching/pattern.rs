//! What a text has to be: equal, of a form, or a regular expression that matches all of it.
//!
//! Refuses patterns that match nothing by mistake: an empty one, and one that is not closed.

use std::collections::BTreeMap;

use globset::GlobBuilder;
use regex::bytes;
use regex::{Regex, RegexBuilder};

use crate::spec::rule::{LabelTest, Matcher};

/// The longest regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 256;
/// The longest glob, in bytes.
const GLOB_BYTES_MAX: usize = 1024;
/// How much memory a regular expression may take, in bytes.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// A [`Matcher`], compiled.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// This text.
    Is(String),
    /// Of this form.
    Glob(bytes::Regex),
    /// Matched as a whole.
    Regex(Regex),
    /// One of these.
    Any(Vec<Pattern>),
    /// None of this.
    Not(Box<Pattern>),
}

impl Pattern {
    /// Of names and hosts, in which `*` stands for anything.
    pub fn new(matcher: &Matcher) -> Result<Self, String> {
        Pattern::compile(matcher, false)
    }

    /// Of paths, in which `*` does not stand for a slash.
    pub fn of_path(matcher: &Matcher) -> Result<Self, String> {
        Pattern::compile(matcher, true)
    }

    fn compile(matcher: &Matcher, slashes: bool) -> Result<Self, String> {
        Ok(match matcher {
            Matcher::Is(text) => Pattern::Is(text.clone()),
            Matcher::Glob(text) if is_plain(text) => Pattern::Is(text.clone()),
            Matcher::Glob(text) => Pattern::Glob(glob(text, slashes)?),
            Matcher::Regex(text) => Pattern::Regex(regex(text)?),
            Matcher::Any(all) => Pattern::Any(
                all.iter().map(|one| Pattern::compile(one, slashes)).collect::<Result<_, _>>()?,
            ),
            Matcher::Not(one) => Pattern::Not(Box::new(Pattern::compile(one, slashes)?)),
        })
    }

    /// Whether the text is what it has to be.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Is(wanted) => wanted == text,
            Pattern::Glob(glob) => glob.is_match(text.as_bytes()),
            Pattern::Regex(regex) => regex.is_match(text),
            Pattern::Any(all) => all.iter().any(|one| one.matches(text)),
            Pattern::Not(one) => !one.matches(text),
        }
    }
}

fn is_plain(glob: &str) -> bool {
    !glob.is_empty() && !glob.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

/// Compiled here and not by globset, which takes for granted that this cannot fail: braces in
/// braces can be deeper than a regular expression may be.
fn glob(text: &str, slashes: bool) -> Result<bytes::Regex, String> {
    if text.is_empty() {
        return Err("an empty glob matches nothing".to_owned());
    }
    if text.len() > GLOB_BYTES_MAX {
        return Err(format!("a glob has at most {GLOB_BYTES_MAX} bytes"));
    }
    let built = GlobBuilder::new(text).literal_separator(slashes).backslash_escape(true).build();
    let glob = built.map_err(|why| format!("the glob `{text}` is not valid: {}", why.kind()))?;
    bytes::RegexBuilder::new(glob.regex())
        .dot_matches_new_line(true)
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|_| format!("the glob `{text}` is too large or has too many braces"))
}

fn regex(text: &str) -> Result<Regex, String> {
    if text.len() > REGEX_BYTES_MAX {
        return Err(format!("a regex has at most {REGEX_BYTES_MAX} bytes"));
    }
    // Alone first: the parentheses around it must not close one of its own.
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_SIZE_MAX).build();
    build(text).and_then(|_| build(&format!("^(?:{text})$"))).map_err(|why| {
        let why = why.to_string();
        let why = why.lines().last().unwrap_or_default();
        format!("the regex `{text}` is not valid: {}", why.trim_start_matches("error: "))
    })
}

/// Forms of which one has to match.
#[derive(Clone, Debug)]
pub struct Globs(Vec<Pattern>);

impl Globs {
    /// Compiles them.
    pub fn new(globs: &[String]) -> Result<Self, String> {
        let one = |text: &String| Pattern::new(&Matcher::Glob(text.clone()));
        globs.iter().map(one).collect::<Result<_, _>>().map(Globs)
    }

    /// Whether one of them matches; none does when there are none.
    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|one| one.matches(text))
    }

    /// The place of the first that matches.
    pub fn first(&self, text: &str) -> Option<usize> {
        self.0.iter().position(|one| one.matches(text))
    }
}

/// A test of one label, compiled.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists(bool),
    Matches(Pattern),
}

impl Test {
    pub(super) fn new(test: &LabelTest) -> Result<Self, String> {
        match test {
            LabelTest::Exists(wanted) => Ok(Test::Exists(*wanted)),
            LabelTest::Matches(matcher) => Pattern::new(matcher).map(Test::Matches),
        }
    }

    /// A label that is not there matches nothing, not even what is not to be matched.
    pub(super) fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Test::Exists(wanted) => value.is_some() == *wanted,
            Test::Matches(pattern) => value.is_some_and(|value| pattern.matches(value)),
        }
    }
}

/// Tests of labels that all have to hold.
#[derive(Clone, Debug)]
pub struct Labels(Vec<(String, Test)>);

impl Labels {
    /// Compiles them.
    pub fn new(tests: &BTreeMap<String, LabelTest>) -> Result<Self, String> {
        let one = |(key, test): (&String, &LabelTest)| Ok((key.clone(), Test::new(test)?));
        tests.iter().map(one).collect::<Result<_, _>>().map(Labels)
    }

    /// Whether all hold.
    pub fn hold(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, test)| test.holds(labels.get(key).map(String::as_str)))
    }
}
