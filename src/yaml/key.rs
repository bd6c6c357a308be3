//! The keys of maps while a document is read: one copy of each text, and each only once in its map.
//!
//! Refuses to know which keys mean something.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::Sink;
use super::node::Key;
use crate::diag::{Diagnostic, Span};

/// How many different keys are kept to have one copy of each: more than all kinds have fields.
const KEYS_MAX: usize = 1_000;

/// The keys of a map and where each stands.
pub(super) type Seen = BTreeMap<Rc<str>, Span>;

/// One copy of each key, as far as they are kept.
#[derive(Default)]
pub(super) struct Keys(HashSet<Rc<str>>);

impl Keys {
    /// The one copy of this text.
    pub(super) fn share(&mut self, text: &str) -> Rc<str> {
        if let Some(known) = self.0.get(text) {
            return Rc::clone(known);
        }
        let new: Rc<str> = text.into();
        if self.0.len() < KEYS_MAX {
            self.0.insert(Rc::clone(&new));
        }
        new
    }
}

/// What the next value in a map is.
pub(super) enum Slot {
    /// A key.
    Key,
    /// The value of this key.
    Value(Key),
    /// The value of a merge key `<<`.
    Merge,
    /// The value of a key that was refused.
    Refused,
}

/// What follows a key of this text.
pub(super) fn accept(
    text: Rc<str>,
    plain: bool,
    span: Span,
    seen: &mut Seen,
    sink: &mut Sink,
) -> Slot {
    if let Some(first) = seen.get(&text) {
        let twice = Diagnostic::error(span, format!("the key `{text}` is there twice"));
        sink.add(twice.with_related(*first, "first here"));
    } else {
        seen.insert(Rc::clone(&text), span);
    }
    if plain && &*text == "<<" {
        return Slot::Merge;
    }
    Slot::Value(Key { text, span })
}
