//! The tree of a YAML document: raw texts with their places, aliases followed, merge keys merged.
//!
//! Refuses to give scalars a type: only who reads a field knows what it accepts.

use std::rc::Rc;

use crate::diag::Span;

/// One value of the document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) data: Data,
    pub(super) weight: Weight,
}

/// What a value holds, itself included, aliases followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    pub(super) values: usize,
    /// The length of all its texts.
    pub(super) bytes: usize,
}

impl Weight {
    /// With what another value holds.
    pub(super) fn and(self, other: Weight) -> Weight {
        Weight {
            values: self.values.saturating_add(other.values),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Scalar {
        text: String,
        /// Not quoted, not a block, not tagged as text: its text may stand for null, a number, a
        /// truth value.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    /// In file order; merged entries last. A key that is there twice was reported and is in here
    /// twice.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) value: Rc<Node>,
}

/// The key of an entry.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// One copy for all keys that are alike.
    pub(super) text: Rc<str>,
    pub(super) span: Span,
}

impl Node {
    /// Whether it says nothing: the field takes its default.
    pub(super) fn is_null(&self) -> bool {
        match &self.data {
            Data::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What it is, for messages.
    pub(super) fn what(&self) -> &'static str {
        match &self.data {
            _ if self.is_null() => "nothing",
            Data::Scalar { plain: true, .. } => "a single value",
            Data::Scalar { plain: false, .. } => "a quoted text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }
}
