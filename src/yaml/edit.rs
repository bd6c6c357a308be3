//! What an edit of a text changes, by reading only the resources that it touches.
//!
//! The lines from the first resource that differs to the last are read as a list of their own,
//! below the same keys at the same indentation as in the whole text: the parser is in the same
//! state there. Refuses whatever is not exactly a list of resources without a remark: then the
//! whole text is to be read, which is also who says what is wrong, and where.

use std::ops::Range;

use super::entry::{self, Shelf};
use super::node::{Data, Entry};
use super::seam::{self, List, Seams};
use super::shift::{Shift, breaks};
use super::{Sink, TEXT_BYTES_MAX, across, read};
use crate::kind::{self, Kind};
use crate::spec::{Program, ResourceSpec};

/// What a text says otherwise than the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What the resources that it touches are now.
    pub resources: Vec<ResourceSpec>,
    /// They are the same resources as before in the same order, on all hosts, exported alike, and
    /// receive from the same ones: what holds between the parts of the program still does.
    pub in_place: bool,
    replaced: Range<usize>,
    starts: Vec<usize>,
    values: usize,
    shift: Shift,
}

/// What has to be done to `program`, which is what `old` says, to become what `new` says; `None`
/// when the whole text has to be read to know it.
pub fn edit(old: &str, program: &Program, seams: &Seams, new: &str) -> Option<Edit> {
    edit_with(kind::all(), old, program, seams, new)
}

pub(super) fn edit_with(
    kinds: &[&dyn Kind],
    old: &str,
    program: &Program,
    seams: &Seams,
    new: &str,
) -> Option<Edit> {
    if new.len() > TEXT_BYTES_MAX {
        return None;
    }
    let cut = Cut::of(old, seams, new)?;
    let mut sink = Sink::default();
    let (mut starts, mut resources, more) = cut.read(kinds, &mut sink)?;
    let values = seams.values.saturating_add(more);
    let before = program.resources.get(cut.replaced.clone())?;
    let moved = cut.to_the_whole(old, before.first()?);
    resources.iter_mut().for_each(|one| moved.resource(one));
    starts.iter_mut().for_each(|start| moved.byte(start));
    let in_place = alike(before, &resources);
    let shift = Shift {
        from: cut.old.end,
        bytes: new.len().cast_signed() - old.len().cast_signed(),
        lines: breaks(cut.text) - breaks(&old[cut.old]),
    };
    let edit = Edit { resources, in_place, replaced: cut.replaced, starts, values, shift };
    if edit.in_place {
        across::fields(kinds, &edit.resources, &Shelf::default(), &mut sink);
    } else {
        let (mut whole, mut seams) = (program.clone(), seams.clone());
        edit.clone().apply(&mut whole, &mut seams);
        across::check(kinds, &whole, &Shelf::default(), &mut sink);
    }
    (sink.found.is_empty() && values <= read::VALUES_MAX).then_some(edit)
}

impl Edit {
    /// Makes the program and the places of the old text those of the new one.
    pub fn apply(self, program: &mut Program, seams: &mut Seams) {
        let Edit { resources, replaced, starts, values, shift, .. } = self;
        let (first, count) = (replaced.start, resources.len());
        let more = count.cast_signed() - replaced.len().cast_signed();
        program.resources.iter_mut().for_each(|one| shift.resource(one));
        seams.starts.iter_mut().for_each(|start| shift.byte(start));
        program.resources.splice(replaced.clone(), resources);
        seams.starts.splice(replaced, starts);
        seams.values = values;
        for list in &mut seams.lists {
            let Range { start, end } = &mut list.resources;
            if *start > first {
                *start = start.saturating_add_signed(more);
            }
            if *end > first {
                *end = end.saturating_add_signed(more);
            }
        }
        program.edges.iter_mut().for_each(|edge| shift.edge(edge));
        program.collect.iter_mut().for_each(|rule| shift.rule(rule));
    }
}

fn alike(old: &[ResourceSpec], new: &[ResourceSpec]) -> bool {
    let pair = |(old, new): (&ResourceSpec, &ResourceSpec)| {
        let receives = old.receives.iter().map(|(field, one)| (field, &one.receive));
        old.id == new.id
            && old.export == new.export
            && old.hosts.is_none()
            && new.hosts.is_none()
            && receives.eq(new.receives.iter().map(|(field, one)| (field, &one.receive)))
    };
    old.len() == new.len() && old.iter().zip(new).all(pair)
}

/// The part of two texts in which they differ, on both sides up to where a resource begins.
struct Cut<'a> {
    list: &'a List,
    replaced: Range<usize>,
    old: Range<usize>,
    /// What stands there in the new text.
    text: &'a str,
    /// The two lines that it is read below.
    context: String,
    /// The line that it is read above: another entry, or nothing if nothing comes after it.
    end: String,
}

impl<'a> Cut<'a> {
    /// From the places in what is read to those in the whole text, where `before` is what the
    /// first resource was.
    fn to_the_whole(&self, old: &str, before: &ResourceSpec) -> Shift {
        let name = before.span;
        let above = breaks(&old[self.old.start..name.start.max(self.old.start)]);
        Shift {
            from: 0,
            bytes: self.old.start.cast_signed() - self.context.len().cast_signed(),
            lines: name.line.cast_signed() - above - breaks(&self.context) - 1,
        }
    }

    fn of(old: &str, seams: &'a Seams, new: &'a str) -> Option<Self> {
        let same = common_start(old.as_bytes(), new.as_bytes());
        let room = old.len().min(new.len()) - same;
        let same_end = common_end(old.as_bytes(), new.as_bytes()).min(room);
        // What comes right before a resource may belong to the one above it.
        let first = seams.starts.partition_point(|start| *start < same).checked_sub(1)?;
        let list = seams.list_of(first)?;
        let behind = seams.starts.partition_point(|start| *start < old.len() - same_end);
        let inside = list.resources.contains(&behind);
        if !inside && !list.is_last {
            return None;
        }
        let end = if inside { *seams.starts.get(behind)? } else { old.len() };
        let start = *seams.starts.get(first)?;
        let text = new.get(start..(new.len() + end).checked_sub(old.len())?)?;
        if inside && !text.ends_with('\n') {
            return None;
        }
        let List { kind_indent, dash_indent, .. } = *list;
        Some(Cut {
            list,
            replaced: first..behind,
            old: start..end,
            text,
            context: format!("r:\n{:kind_indent$}k:\n", ""),
            end: if inside { format!("{:dash_indent$}- ~\n", "") } else { String::new() },
        })
    }

    /// The resources, where each begins, and how many values they hold; all places are those in
    /// what is read.
    fn read(
        &self,
        kinds: &[&dyn Kind],
        sink: &mut Sink,
    ) -> Option<(Vec<usize>, Vec<ResourceSpec>, usize)> {
        let text = [&self.context, self.text, &self.end].concat();
        let document = read::document(&text, sink).filter(|document| document.is_plain)?;
        let [Entry { value: all, .. }] = seam::entries(&document.root)? else { return None };
        let [Entry { value: list, .. }] = seam::entries(all)? else { return None };
        let Data::List(items) = &list.data else { return None };
        let items = match items.split_last()? {
            _ if self.end.is_empty() => items.as_slice(),
            (last, items) => {
                let place = self.context.len() + self.text.len() + self.list.dash_indent + 2;
                (last.is_null() && last.span.start == place).then_some(items)?
            }
        };
        let (starts, indent) = seam::starts(&text, items.iter().map(|item| item.span))?;
        if indent != self.list.dash_indent || starts.first() != Some(&self.context.len()) {
            return None;
        }
        let kind = kinds.iter().find(|kind| kind.name() == self.list.kind)?;
        let mut resources = Vec::with_capacity(items.len());
        for item in items {
            entry::read(kinds, *kind, item, &mut resources, &mut Shelf::default(), sink);
        }
        (resources.len() == items.len()).then_some((starts, resources, list.weight.values))
    }
}

/// How much is looked at in one go: whole pieces are compared many bytes at a time.
const PIECE: usize = 4096;

/// How many bytes are the same at the start of both.
fn common_start(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.chunks_exact(PIECE).zip(other.chunks_exact(PIECE));
    let whole = PIECE * pieces.take_while(|(one, other)| one == other).count();
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes are the same at the end of both.
fn common_end(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.rchunks_exact(PIECE).zip(other.rchunks_exact(PIECE));
    let whole = PIECE * pieces.take_while(|(one, other)| one == other).count();
    let (one, other) = (&one[..one.len() - whole], &other[..other.len() - whole]);
    let rest = one.iter().rev().zip(other.iter().rev());
    whole + rest.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
pub(super) mod tests;
