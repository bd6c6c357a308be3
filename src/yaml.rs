//! A user's file, read: text to a [`Program`] with all its mistakes, each with its place.
//!
//! Pure. Refuses to guess: what is not understood is an error, never dropped (mgmt drops a
//! misspelt key, a second document and every `meta:` without a word).

use crate::diag::{self, Diagnostic};
use crate::kind::{self, Kind};
use crate::spec::{CollectRule, Program};

mod across;
mod collect;
mod edge;
mod edit;
mod entry;
mod key;
mod meta;
mod node;
mod piece;
mod place;
mod plain;
mod policy;
mod program;
mod read;
mod receive;
mod rule;
mod scalar;
mod schema;
mod seal;
mod seam;
mod select;
mod setting;
mod shift;
mod terms;
mod unbuilt;

pub use edit::{Edit, edit};
pub use piece::{Part, Piece, cut, join};
pub use policy::{policy, policy_text};
pub use schema::schema;
pub use seam::Seams;

use read::Document;

/// The longest text that is read, in bytes. A hundred thousand small files fit.
pub const TEXT_BYTES_MAX: usize = 32 << 20;

/// Reads a file. All mistakes are found in one run and come in the order of the file: its form,
/// the names and types of its keys, what the kinds say about their fields, duplicate names,
/// missing edge ends, cycles. The program is there exactly if no diagnostic is an error.
pub fn parse(text: &str) -> (Option<Program>, Vec<Diagnostic>) {
    parse_with(kind::all(), text)
}

/// [`parse`] with these kinds.
pub fn parse_with(kinds: &[&dyn Kind], text: &str) -> (Option<Program>, Vec<Diagnostic>) {
    let (program, found, _) = read_with(kinds, text, |_| ());
    (program, found)
}

/// [`parse`], and where the text can be cut, so that [`edit`] has to read only a part of a later
/// one.
pub fn parse_to_edit(text: &str) -> (Option<Program>, Vec<Diagnostic>, Seams) {
    let (program, found, seams) = read_with(kind::all(), text, |one| Seams::of(text, one));
    let seams = seams.filter(|_| found.is_empty()).unwrap_or_default();
    (program, found, seams)
}

/// Reads a text, and shows the document to `look` before it is given up.
fn read_with<T>(
    kinds: &[&dyn Kind],
    text: &str,
    look: impl FnOnce(&Document) -> T,
) -> (Option<Program>, Vec<Diagnostic>, Option<T>) {
    let mut sink = Sink::default();
    let (program, looked) = read::document(text, &mut sink)
        .map(|one| {
            let looked = look(&one);
            (program::read(kinds, one.root, &mut sink), looked)
        })
        .unzip();
    let Sink { mut found, errors, .. } = sink;
    diag::sort(&mut found);
    (program.filter(|_| errors == 0), found, looked)
}

/// Reads a file of collect rules alone. They are there exactly if no diagnostic is an error.
pub fn rules(text: &str) -> (Option<Vec<CollectRule>>, Vec<Diagnostic>) {
    let mut sink = Sink::default();
    let rules =
        read::document(text, &mut sink).map(|one| collect::side(kind::all(), &one.root, &mut sink));
    let Sink { mut found, errors, .. } = sink;
    diag::sort(&mut found);
    (rules.filter(|_| errors == 0), found)
}

/// All that is to say about a file, as `quorate check` prints it. A file without an error among
/// these compiles, whatever is collected.
pub fn check(text: &str) -> Vec<Diagnostic> {
    parse(text).1
}

/// How many diagnostics are kept: a wrong file of any size must not fill the memory.
const FOUND_MAX: usize = 2_000;

/// The longest message, about, in characters: a name can be as long as the file.
const MESSAGE_MAX: usize = 2_000;

/// For how many diagnostics a nearest name is looked for: each costs a comparison with every known
/// name.
const HINTS_MAX: usize = 50;

/// Where diagnostics are gathered.
#[derive(Default)]
struct Sink {
    found: Vec<Diagnostic>,
    errors: usize,
    hints: usize,
}

impl Sink {
    fn add(&mut self, mut diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.is_error());
        if self.found.len() < FOUND_MAX {
            shorten(&mut diagnostic.message);
            diagnostic.help.as_mut().map(shorten);
            self.found.push(diagnostic);
        }
    }

    /// How many errors there were: a later, larger number says that something was wrong in between.
    fn mark(&self) -> usize {
        self.errors
    }

    /// Adds `diagnostic`, with the help that `hint` finds unless there were too many already.
    fn add_with_hint(&mut self, diagnostic: Diagnostic, hint: impl FnOnce() -> Option<String>) {
        self.hints += 1;
        let help = if self.hints <= HINTS_MAX { hint() } else { None };
        self.add(Diagnostic { help: help.or(diagnostic.help), ..diagnostic });
    }
}

/// Takes the middle out of a text that is too long: what is wrong often stands at its end.
fn shorten(text: &mut String) {
    const END: usize = MESSAGE_MAX / 4;
    let Some((start, _)) = text.char_indices().nth(MESSAGE_MAX - END) else { return };
    let Some((end, _)) = text.char_indices().nth_back(END - 1) else { return };
    if start < end {
        *text = format!("{}...{}", &text[..start], &text[end..]);
    }
}

#[cfg(test)]
mod tests;
