//! A large text in pieces that are read one without the other, and the whole put together again.
//!
//! Where to cut is guessed from the look of the lines, and whether the guess was right is told by
//! what the parser made of the pieces. Each is read below the keys that its first entry stands
//! under, and above an entry that says nothing: only when that comes out as the last entry of the
//! same list, at the same indentation, is the parser there in the state in which it reads the next
//! piece, as in the whole text. Refuses whatever is odd or wrong: then the whole text is to be read
//! in one, which is also who says what is wrong, and where.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::node::{Data, Node};
use super::read::{Document, VALUES_MAX};
use super::seam::{self, List, Seams};
use super::shift::Shift;
use super::{Sink, TEXT_BYTES_MAX, across, program, read};
use crate::kind::{self, Kind};
use crate::spec::{Program, ResourceSpec};

/// A part of a text, from where an entry of a list begins to where another one does.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    text: &'a str,
    /// How many bytes and lines are above it.
    bytes: usize,
    lines: usize,
    /// The list that its first entry belongs to; the first piece has none.
    above: Option<Way<'a>>,
    /// The list that goes on behind it; the last piece has none.
    below: Option<Way<'a>>,
}

/// What a piece says.
#[derive(Debug)]
pub struct Part {
    program: Program,
    seams: Seams,
    /// The keys of the file that begin in it, and the kinds.
    keys: Vec<String>,
    kinds: Vec<String>,
    /// It begins within a list of resources.
    goes_on: bool,
}

/// Cuts a text into pieces of about this many bytes. None when it is too short, too long, or has no
/// place that looks like one to cut at.
pub fn cut(text: &str, size: usize) -> Option<Vec<Piece<'_>>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (mut pieces, mut look): (Vec<Piece<'_>>, _) = (Vec::new(), Look::default());
    let (mut start, mut at, mut line) = (0, 0, 0);
    let (mut lines, mut above) = (0, None);
    for one in text.split_inclusive('\n') {
        let entry = look.at(one);
        if entry && at - start >= size {
            let (text, below) = (&text[start..at], look.way);
            pieces.push(Piece { text, bytes: start, lines, above, below });
            (start, lines, above) = (at, line, below);
        }
        at += one.len();
        line += 1;
    }
    let last = Piece { text: &text[start..], bytes: start, lines, above, below: None };
    pieces.push(last);
    (pieces.len() > 1).then_some(pieces)
}

/// The keys that lead to a list, and the spaces before its dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way<'a> {
    /// The kind of resources and the spaces before it; edges have none.
    kind: Option<(&'a str, usize)>,
    dash: usize,
}

impl<'a> Way<'a> {
    fn keys(self) -> impl Iterator<Item = (&'a str, usize)> {
        let first = if self.kind.is_some() { "resources" } else { "edges" };
        std::iter::once((first, 0)).chain(self.kind)
    }

    /// The lines that lead to the list.
    fn heading(self) -> String {
        self.keys().map(|(key, indent)| format!("{:indent$}{key}:\n", "")).collect()
    }

    /// An entry that says nothing.
    fn ending(self) -> String {
        format!("{:1$}- ~\n", "", self.dash)
    }

    /// The first entry of the document is in this list, and begins at this byte.
    fn begins(self, text: &str, root: &Node, at: usize) -> Option<()> {
        let mut node = root;
        for (name, _) in self.keys() {
            let first = seam::entries(node)?.first().filter(|first| &*first.key.text == name)?;
            node = &first.value;
        }
        let Data::List(items) = &node.data else { return None };
        self.is_line(text, items.first()?, at)
    }

    /// Takes the last entry out of the document, which is in this list, says nothing, and begins at
    /// this byte.
    fn take_ending(self, text: &str, root: &mut Rc<Node>, at: usize) -> Option<()> {
        let mut node = root;
        for (name, indent) in self.keys() {
            let Data::Map(entries) = &mut Rc::get_mut(node)?.data else { return None };
            let last = entries.last_mut().filter(|last| &*last.key.text == name)?;
            if seam::indent(text, last.key.span) != Some(indent) {
                return None;
            }
            node = &mut last.value;
        }
        let Data::List(items) = &mut Rc::get_mut(node)?.data else { return None };
        let last = items.pop().filter(|last| last.is_null() && !items.is_empty())?;
        self.is_line(text, &last, at)
    }

    fn is_line(self, text: &str, item: &Node, at: usize) -> Option<()> {
        let (starts, dash) = seam::starts(text, std::iter::once(item.span))?;
        (starts == [at] && dash == self.dash).then_some(())
    }

    /// How many values the lines hold that lead to the list: each key, what it leads to, and the
    /// map that they are in.
    fn values(self) -> usize {
        1 + 2 * self.keys().count()
    }
}

impl Piece<'_> {
    /// What it says; `None` when the whole text has to be read to know it.
    pub fn read(&self) -> Option<Part> {
        self.read_with(kind::all())
    }

    fn read_with(&self, kinds: &[&dyn Kind]) -> Option<Part> {
        let heading = self.above.map(Way::heading).unwrap_or_default();
        let ending = self.below.map(Way::ending).unwrap_or_default();
        let text = [&heading, self.text, &ending].concat();
        let mut sink = Sink::default();
        let mut document = read::document(&text, &mut sink)?;
        if let Some(way) = self.below {
            way.take_ending(&text, &mut document.root, text.len() - ending.len())?;
        }
        if let Some(way) = self.above {
            way.begins(&text, &document.root, heading.len())?;
        }
        let mut seams = Seams::found(&text, &document)?;
        let added = self.above.map_or(0, Way::values) + usize::from(self.below.is_some());
        seams.values = seams.values.saturating_sub(added);
        let (keys, kinds_here) = self.keys(&document)?;
        let program::Parts { mut program, .. } = program::parts(kinds, document.root, &mut sink);
        across::fields(kinds, &program.resources, &Default::default(), &mut sink);
        if !sink.found.is_empty() {
            return None;
        }
        let lines = heading.matches('\n').count();
        let moved = Shift {
            from: 0,
            bytes: self.bytes.cast_signed() - heading.len().cast_signed(),
            lines: self.lines.cast_signed() - lines.cast_signed(),
        };
        program.resources.iter_mut().for_each(|one| moved.resource(one));
        program.edges.iter_mut().for_each(|edge| moved.edge(edge));
        program.collect.iter_mut().for_each(|rule| moved.rule(rule));
        seams.starts.iter_mut().for_each(|start| moved.byte(start));
        let goes_on = self.above.is_some_and(|way| way.kind.is_some());
        Some(Part { program, seams, keys, kinds: kinds_here, goes_on })
    }

    /// The keys of the file and the kinds of resources that begin here.
    fn keys(&self, document: &Document) -> Option<(Vec<String>, Vec<String>)> {
        let all = seam::entries(&document.root)?;
        let resources = all.iter().filter(|entry| &*entry.key.text == "resources");
        let below = resources.filter_map(|entry| seam::entries(&entry.value)).flatten();
        let above = self.above.map_or(0, |_| 1);
        let kind_above = self.above.and_then(|way| way.kind).map_or(0, |_| 1);
        let (keys, kinds) = (all.iter().skip(above), below.skip(kind_above));
        let name = |entry: &super::node::Entry| entry.key.text.to_string();
        Some((keys.map(name).collect(), kinds.map(name).collect()))
    }
}

impl Part {
    /// Its resources, in the order of the file.
    pub fn resources(&mut self) -> &mut [ResourceSpec] {
        &mut self.program.resources
    }

    /// Adds what comes right behind it.
    fn add(&mut self, next: Part) {
        let Part { program, mut seams, keys, kinds, goes_on } = next;
        let before = self.program.resources.len();
        if keys.iter().any(|key| key == "graph") {
            self.program.name = program.name;
        }
        self.program.resources.extend(program.resources);
        self.program.edges.extend(program.edges);
        self.program.collect.extend(program.collect);
        for list in &mut seams.lists {
            list.resources = list.resources.start + before..list.resources.end + before;
        }
        let mut lists = seams.lists.into_iter();
        if goes_on && let (Some(last), Some(first)) = (self.seams.lists.last_mut(), lists.next()) {
            let List { resources, is_last, .. } = first;
            (last.resources.end, last.is_last) = (resources.end, is_last);
        }
        self.seams.lists.extend(lists);
        self.seams.starts.extend(seams.starts);
        self.seams.values += seams.values;
        self.keys.extend(keys);
        self.kinds.extend(kinds);
    }
}

/// The program that all parts of a text are, in their order, and where it can be cut; `None` when
/// the whole text has to be read to know it.
pub fn join(parts: Vec<Part>) -> Option<(Program, Seams)> {
    let more = parts.iter().skip(1).map(|part| part.program.resources.len()).sum();
    let mut parts = parts.into_iter();
    let mut whole = parts.next()?;
    whole.program.resources.reserve_exact(more);
    whole.seams.starts.reserve_exact(more);
    parts.for_each(|part| whole.add(part));
    let once = |keys: &[String]| keys.iter().collect::<BTreeSet<_>>().len() == keys.len();
    let named = whole.keys.iter().any(|key| key == "graph");
    let Part { program, seams, keys, kinds, .. } = whole;
    if !named || !once(&keys) || !once(&kinds) || seams.values > VALUES_MAX {
        return None;
    }
    let mut sink = Sink::default();
    across::between(&program, &mut sink);
    sink.found.is_empty().then_some((program, seams))
}

/// What the lines so far look like.
#[derive(Default)]
struct Look<'a> {
    /// The key of the file that they stand under.
    section: &'a str,
    kind: Option<(&'a str, usize)>,
    /// The list that they stand in.
    way: Option<Way<'a>>,
}

impl<'a> Look<'a> {
    /// Looks at one more line: whether an entry that is not the first of its list begins there.
    fn at(&mut self, line: &'a str) -> bool {
        let rest = line.trim_start_matches(' ');
        let indent = line.len() - rest.len();
        let is_entry = rest.starts_with("- ");
        if let Some(way) = self.way
            && (indent > way.dash || is_entry && indent == way.dash)
        {
            return indent == way.dash;
        }
        let rest = rest.trim_end();
        if rest.is_empty() || rest.starts_with('#') {
            return false;
        }
        let kind = self.kind.filter(|(_, spaces)| self.section == "resources" && *spaces <= indent);
        match key(rest) {
            _ if is_entry && (kind.is_some() || self.section == "edges") => {
                self.way = Some(Way { kind, dash: indent });
            }
            found if indent == 0 => {
                *self = Look { section: found.unwrap_or_default(), ..Look::default() };
            }
            Some(found) if self.section == "resources" => {
                (self.kind, self.way) = (Some((found, indent)), None);
            }
            _ => *self = Look::default(),
        }
        false
    }
}

/// The word of a line that is a word and a colon.
fn key(line: &str) -> Option<&str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    line.strip_suffix(':').filter(|key| !key.is_empty() && key.bytes().all(word))
}

#[cfg(test)]
mod tests;
