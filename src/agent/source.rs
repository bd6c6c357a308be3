//! The graph file: read and understood as a whole, or refused as a whole.
//!
//! Refuses to keep anything: the caller holds the last good program. Refuses to read what is no
//! regular file, or too large for a graph: a pipe would never end, and the agent would hang in it.

use std::fs::{File, Metadata};
use std::io::{IsTerminal, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use super::pieces;
use crate::diag::{self, Diagnostic, Severity};
use crate::spec::{CollectRule, Program, ResourceSpec};
use crate::yaml::{self, Edit, Seams, TEXT_BYTES_MAX};

/// A graph file that was understood.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The text that was read, to see whether an event changed it.
    pub(super) text: String,
    /// What it says.
    pub(super) program: Program,
    /// Where the text can be cut, to read only what an edit changed.
    seams: Seams,
}

impl Source {
    /// No file: a graph without resources.
    pub(super) fn empty() -> Self {
        let program = Program { name: "empty".to_owned(), ..Program::default() };
        Source { text: String::new(), program, seams: Seams::default() }
    }

    /// Gives up what only serves to read the file again: who does not follow it does that rarely,
    /// and then reads it as a whole.
    pub(super) fn forget_text(&mut self) {
        (self.text, self.seams) = (String::new(), Seams::default());
    }

    /// Takes over an edit of it, which led to this text.
    pub(super) fn apply(&mut self, edit: Edit, text: String) {
        edit.apply(&mut self.program, &mut self.seams);
        self.text = text;
    }
}

/// A graph file that was read again.
pub(super) enum Again {
    /// It says the same, to the letter.
    Same,
    /// It differs in few resources; the text that it has now.
    Edited(Edit, String),
    /// It was read as a whole, with these warnings.
    Whole(Source, String),
}

/// Why a graph file is not used.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// One line for status: the first mistake and how many more there are.
    pub(super) summary: String,
    /// All mistakes, rendered for people.
    pub(super) report: String,
}

/// Reads and checks the file. Warnings are returned rendered beside the program.
pub(super) fn load(path: &Path, rules: Option<&Path>) -> Result<(Source, String), Refused> {
    let (source, warnings) = understand(path, read_or_refuse(path)?)?;
    with_rules(source, warnings, rules)
}

/// Adds the rules of a file of their own behind those of the graph.
pub(super) fn with_rules(
    mut source: Source,
    mut warnings: String,
    rules: Option<&Path>,
) -> Result<(Source, String), Refused> {
    let Some(path) = rules else { return Ok((source, warnings)) };
    let (name, text) = (path.display().to_string(), read_or_refuse(path)?);
    let (found, findings) = yaml::rules(&text);
    let report = diag::render(&name, &text, &findings, coloured());
    let Some(found) = found else {
        return Err(Refused { summary: summary(&name, &findings), report });
    };
    if let Some(twice) = found.iter().find_map(|rule| named_before(rule, &source.program)) {
        let summary = format!("{name}: the graph file has a rule `{twice}`, too; rename one");
        return Err(Refused { report: format!("error: {summary}\n"), summary });
    }
    source.program.collect.extend(found);
    warnings.push_str(&report);
    Ok((source, warnings))
}

/// The name of a rule that the program has already.
fn named_before(rule: &CollectRule, program: &Program) -> Option<String> {
    let name = |rule: &CollectRule| match rule {
        // One without a name is called by its place, which says nothing.
        CollectRule::Full(rule) if !rule.id.starts_with("collect[") => Some(rule.id.to_string()),
        _ => None,
    };
    let wanted = name(rule)?;
    program.collect.iter().any(|one| name(one).as_ref() == Some(&wanted)).then_some(wanted)
}

fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Reads the file again, which was `before`.
pub(super) fn load_again(
    path: &Path,
    rules: Option<&Path>,
    before: &Source,
) -> Result<Again, Refused> {
    let text = read_or_refuse(path)?;
    if rules.is_some() {
        let (source, warnings) = load(path, rules)?;
        let is_same = source.program == before.program;
        return Ok(if is_same { Again::Same } else { Again::Whole(source, warnings) });
    }
    if text == before.text {
        return Ok(Again::Same);
    }
    if let Some(mut edit) = yaml::edit(&before.text, &before.program, &before.seams, &text) {
        edit.resources.iter_mut().for_each(forget_places);
        return Ok(Again::Edited(edit, text));
    }
    let (source, warnings) = understand(path, text)?;
    // Its text was given up, but what it says was not.
    let is_same = before.text.is_empty() && source.program == before.program;
    Ok(if is_same { Again::Same } else { Again::Whole(source, warnings) })
}

fn read_or_refuse(path: &Path) -> Result<String, Refused> {
    read(path).map_err(|summary| Refused { report: format!("error: {summary}\n"), summary })
}

fn understand(path: &Path, text: String) -> Result<(Source, String), Refused> {
    if let Some((program, seams)) = pieces::read(&text) {
        return Ok((Source { text, program, seams }, String::new()));
    }
    let name = path.display().to_string();
    let (program, findings, seams) = yaml::parse_to_edit(&text);
    let report = diag::render(&name, &text, &findings, coloured());
    match program {
        Some(mut program) => {
            program.resources.iter_mut().for_each(forget_places);
            program.resources.shrink_to_fit();
            Ok((Source { text, program, seams }, report))
        }
        None => Err(Refused { summary: summary(&name, &findings), report }),
    }
}

/// Where fields stand is for messages about them, and those were all found.
pub(super) fn forget_places(resource: &mut ResourceSpec) {
    resource.field_spans = Vec::new();
}

/// The text of a graph file; the error is a sentence that begins with the file's name. Never waits
/// for a writer, and never reads more than a graph may have.
pub fn read(path: &Path) -> Result<String, String> {
    let name = path.display();
    let cannot = |why: &dyn std::fmt::Display| format!("{name} cannot be read: {why}");
    // Without O_NONBLOCK a pipe is opened only once somebody writes to it.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let open = || File::options().read(true).custom_flags(flags).open(path);
    // Asked before, since opening a device may do something, and after, since paths change.
    let regular = |about: &Metadata| irregular(about.file_type()).map_or(Ok(()), Err);
    let refused = |what| cannot(&format!("it is {what}; name a regular file of YAML text"));
    let about = std::fs::metadata(path).map_err(|failure| cannot(&failure))?;
    regular(&about).map_err(refused)?;
    let file = open().map_err(|failure| cannot(&failure))?;
    let about = file.metadata().map_err(|failure| cannot(&failure))?;
    regular(&about).map_err(refused)?;
    let limit = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::with_capacity(room(about.len().min(limit)));
    if about.len() <= limit {
        // It may grow while it is read.
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|failure| cannot(&failure))?;
    }
    if about.len() > limit || bytes.len() > TEXT_BYTES_MAX {
        let why = format!("it is larger than {} MiB", TEXT_BYTES_MAX >> 20);
        return Err(cannot(&format!("{why}; split the graph over hosts or files")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        cannot(&format!("line {line} is not UTF-8 text; save the file as UTF-8"))
    })
}

/// Room for a file of this length, and to see that it has ended.
fn room(length: u64) -> usize {
    usize::try_from(length).unwrap_or(0).saturating_add(32)
}

/// What else than a regular file it is.
fn irregular(kind: std::fs::FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_fifo() => Some("a pipe"),
        _ if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

fn summary(name: &str, findings: &[Diagnostic]) -> String {
    let errors: Vec<_> = findings.iter().filter(|one| one.severity == Severity::Error).collect();
    let Some(first) = errors.first() else {
        return format!("{name} was not understood");
    };
    let at = format!("{name}:{}:{}: {}", first.span.line, first.span.column, first.message);
    match errors.len() {
        1 => at,
        n => format!("{at} (and {} more)", n - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_text_was_given_up_is_the_same_until_it_says_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("site.yaml");
        let one = |name| format!("graph: g\nresources:\n  noop:\n  - name: {name}\n");
        std::fs::write(&file, one("a")).expect("a file");
        let (mut source, _) = load(&file, None).expect("it is good");
        source.forget_text();
        assert!(
            source.text.is_empty() && matches!(load_again(&file, None, &source), Ok(Again::Same))
        );
        std::fs::write(&file, one("b")).expect("a file");
        let Ok(Again::Whole(new, _)) = load_again(&file, None, &source) else {
            panic!("another one")
        };
        assert_eq!(new.text, one("b"));
        assert_eq!(new.text.capacity(), new.text.len() + 32, "no more room than it needs");
    }
}
