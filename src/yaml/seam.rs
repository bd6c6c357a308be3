//! Where a text can be cut: at the lines that begin an entry of a kind's list in block style.
//!
//! Takes the places from the tree that the parser made of the whole text, and never guesses them
//! from the look of a line. Refuses to cut a text with anchors, aliases or tags: there one part
//! says something about another one.

use std::ops::Range;

use super::node::{Data, Entry, Node};
use super::read::Document;
use crate::diag::Span;

/// The places where a text can be cut; none when it cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seams {
    pub(super) lists: Vec<List>,
    /// The first byte of the first line of each resource, in the order of the program.
    pub(super) starts: Vec<usize>,
    /// How many values the whole text holds, or more.
    pub(super) values: usize,
}

/// One list of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) kind: String,
    /// The spaces before the kind.
    pub(super) kind_indent: usize,
    /// The spaces before the dash of each entry.
    pub(super) dash_indent: usize,
    /// Which resources of the program it holds.
    pub(super) resources: Range<usize>,
    /// Nothing comes after it in the text.
    pub(super) is_last: bool,
}

impl Seams {
    /// Those of a text that was read without a remark: each entry is one resource.
    pub(super) fn of(text: &str, document: &Document) -> Seams {
        Seams::found(text, document).unwrap_or_default()
    }

    /// [`Seams::of`], or nothing when the text cannot be cut.
    pub(super) fn found(text: &str, document: &Document) -> Option<Seams> {
        let mut seams = Seams { values: document.root.weight.values, ..Seams::default() };
        document.is_plain.then(|| seams.add_all(text, &document.root)).flatten()?;
        // What is merged into a map comes last in it, wherever it stands.
        seams.starts.is_sorted().then_some(seams)
    }

    fn add_all(&mut self, text: &str, root: &Node) -> Option<()> {
        let keys = entries(root)?;
        let Some(at) = keys.iter().position(|entry| &*entry.key.text == "resources") else {
            return Some(());
        };
        if indent(text, keys[at].key.span)? != 0 || keys[at].value.is_null() {
            return None;
        }
        let kinds = entries(&keys[at].value)?;
        for (number, Entry { key, value }) in kinds.iter().enumerate() {
            if value.is_null() {
                continue;
            }
            let Data::List(items) = &value.data else { return None };
            let (starts, dash_indent) = starts(text, items.iter().map(|item| item.span))?;
            let first = self.starts.len();
            self.starts.extend(starts);
            self.lists.push(List {
                kind: key.text.to_string(),
                kind_indent: indent(text, key.span).filter(|spaces| *spaces > 0)?,
                dash_indent,
                resources: first..self.starts.len(),
                is_last: at + 1 == keys.len() && number + 1 == kinds.len(),
            });
        }
        Some(())
    }

    /// The list that this resource stands in.
    pub(super) fn list_of(&self, resource: usize) -> Option<&List> {
        self.lists.iter().find(|list| list.resources.contains(&resource))
    }
}

pub(super) fn entries(node: &Node) -> Option<&[Entry]> {
    match &node.data {
        Data::Map(entries) => Some(entries),
        _ => None,
    }
}

/// The first byte of the line of each entry, and the spaces before its dash, which are the same
/// for all of them. None when one does not begin with `- ` on a line of its own.
pub(super) fn starts(text: &str, items: impl Iterator<Item = Span>) -> Option<(Vec<usize>, usize)> {
    let (mut all, mut indent) = (Vec::new(), None);
    for item in items {
        let (start, before) = line_before(text, item)?;
        let spaces = before.len() - before.trim_start_matches(' ').len();
        let dash = before[spaces..].strip_prefix('-')?;
        if !dash.starts_with(' ') || !dash.trim_start_matches(' ').is_empty() {
            return None;
        }
        if *indent.get_or_insert(spaces) != spaces {
            return None;
        }
        all.push(start);
    }
    Some((all, indent?))
}

/// The spaces before a place that is the first of its line.
pub(super) fn indent(text: &str, place: Span) -> Option<usize> {
    let (_, before) = line_before(text, place)?;
    before.bytes().all(|byte| byte == b' ').then_some(before.len())
}

/// The first byte of the line that a place is in, and the line as far as the place.
fn line_before(text: &str, place: Span) -> Option<(usize, &str)> {
    let before = text.get(..place.start)?;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    Some((start, &before[start..]))
}
