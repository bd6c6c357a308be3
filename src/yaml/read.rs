//! From the text to the tree: the parser's events, with budgets on size, depth and what aliases
//! expand to.
//!
//! Refuses a second document, a key that is there twice, and keys that are not text.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::key::{Keys, Seen, Slot, accept};
use super::node::{Data, Entry, Node, Weight};
use super::place::Places;
use super::{Sink, TEXT_BYTES_MAX, plain};
use crate::diag::{Diagnostic, Span};

/// How deep values may be nested. Nothing that we understand is deeper than seven.
const DEPTH_MAX: usize = 64;

/// How many values a document may hold once its aliases are followed. A resource has about seven.
pub(super) const VALUES_MAX: usize = 1_000_000;

/// How long all texts may be once aliases are followed, in bytes: each use of an aliased text is a
/// copy. Every file without aliases is below it.
const EXPANDED_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

/// Where a text begins.
const START: Span = Span { start: 0, end: 0, line: 1, column: 1 };

/// What a text holds.
pub(super) struct Document {
    pub(super) root: Rc<Node>,
    /// There is no anchor, no alias and no tag in it.
    pub(super) is_plain: bool,
}

/// The only document; `None` when the text cannot be read to its end (the sink says
/// why).
pub(super) fn document(text: &str, sink: &mut Sink) -> Option<Document> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", TEXT_BYTES_MAX >> 20);
        sink.add(
            Diagnostic::error(START, message).with_help("split the graph over hosts or files"),
        );
        return None;
    }
    plain_document(text).or_else(|| parsed_document(text, sink))
}

/// The document as the parser reads it.
pub(super) fn parsed_document(text: &str, sink: &mut Sink) -> Option<Document> {
    let places = Places::of(text);
    if let Some(at) = text.chars().position(|c| c == '\0') {
        // The parser takes it for the end of the text, and what follows would be dropped.
        sink.add(Diagnostic::error(places.at(text, at), "a NUL byte cannot stand in a graph file"));
        return None;
    }
    let mut builder = Builder::new(sink);
    builder.run(text, &places).ok()?;
    let (root, is_plain) = (builder.root, builder.is_plain);
    if root.as_deref().is_none_or(Node::is_null) {
        let empty = Diagnostic::error(START, "the file is empty");
        sink.add(empty.with_help("an empty graph is written `graph: NAME`"));
        return None;
    }
    Some(Document { root: root?, is_plain })
}

/// The document of a text that needs no parser and of which nothing is to say.
pub(super) fn plain_document(text: &str) -> Option<Document> {
    let mut scratch = Sink::default();
    let mut builder = Builder::new(&mut scratch);
    plain::read(text, &mut builder)?;
    let root = builder.root.take()?;
    // Whatever there is to say, the parser's reading says it.
    scratch.found.is_empty().then_some(Document { root, is_plain: true })
}

impl plain::Taker for Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        self.event(event, span).ok()
    }
}

/// Reading cannot go on; the sink has the reason.
struct Stop;

struct Builder<'a> {
    sink: &'a mut Sink,
    open: Vec<Open>,
    /// `None` while the anchored value is still open: an alias to it would be endless.
    anchors: HashMap<usize, Option<Rc<Node>>>,
    keys: Keys,
    root: Option<Rc<Node>>,
    weight: Weight,
    is_plain: bool,
}

/// A list or map whose end is not read yet.
struct Open {
    span: Span,
    anchor: usize,
    weight: Weight,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, seen: Seen, merges: Vec<Rc<Node>>, key: Slot },
}

impl<'a> Builder<'a> {
    fn new(sink: &'a mut Sink) -> Self {
        Builder {
            sink,
            open: Vec::new(),
            anchors: HashMap::new(),
            keys: Keys::default(),
            root: None,
            weight: Weight { values: 0, bytes: 0 },
            is_plain: true,
        }
    }

    fn run(&mut self, text: &str, places: &Places) -> Result<(), Stop> {
        let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, marks) = match next {
                Ok(event) => event,
                Err(error) => return self.syntax(text, places, error.marker(), error.info()),
            };
            let span = places.span(text, marks);
            match event {
                Event::DocumentStart(_) => documents += 1,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                event if documents > 1 => return self.second_document(&event, span),
                event => self.event(event, span)?,
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        self.is_plain &= is_plain(&event);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let weight = Weight { values: 1, bytes: text.len() };
                self.count(weight, span)?;
                let plain = self.plainness(style, tag.as_deref(), span);
                // Most scalars are keys, and of those nothing but the text is kept.
                if anchor == 0
                    && let Some(Open { kind: OpenKind::Map { seen, key, .. }, weight: all, .. }) =
                        self.open.last_mut()
                    && matches!(key, Slot::Key)
                {
                    *all = all.and(weight);
                    *key = accept(self.keys.share(&text), plain, span, seen, self.sink);
                    return Ok(());
                }
                let data = Data::Scalar { text: text.into_owned(), plain };
                self.place(Node { span, data, weight }, anchor);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.expect_tag(tag.as_deref(), "seq", span);
                self.begin(OpenKind::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.expect_tag(tag.as_deref(), "map", span);
                let (entries, seen, merges) = (Vec::new(), Seen::new(), Vec::new());
                self.begin(OpenKind::Map { entries, seen, merges, key: Slot::Key }, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.end(open);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, kind: OpenKind, anchor: usize, span: Span) -> Result<(), Stop> {
        let weight = Weight { values: 1, bytes: 0 };
        self.count(weight, span)?;
        if self.open.len() >= DEPTH_MAX {
            self.sink.add(Diagnostic::error(span, too_deep()));
            return Err(Stop);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        // The place of a list or map is where it starts: its whole extent would underline half the
        // file.
        let span = Span { end: span.start, ..span };
        self.open.push(Open { span, anchor, weight, kind });
        Ok(())
    }

    fn end(&mut self, open: Open) {
        let data = match open.kind {
            OpenKind::List(items) => Data::List(items),
            OpenKind::Map { mut entries, mut seen, merges, .. } => {
                for source in merges {
                    self.merge(&source, &mut entries, &mut seen);
                }
                Data::Map(entries)
            }
        };
        self.place(Node { span: open.span, data, weight: open.weight }, open.anchor);
    }

    /// Takes over the entries of `source` whose keys are not there yet.
    fn merge(&mut self, source: &Node, entries: &mut Vec<Entry>, seen: &mut Seen) {
        match &source.data {
            Data::Map(more) => {
                for entry in more {
                    if !seen.contains_key(&entry.key.text) {
                        seen.insert(entry.key.text.clone(), entry.key.span);
                        entries.push(entry.clone());
                    }
                }
            }
            Data::List(sources) if sources.iter().all(|one| matches!(one.data, Data::Map(_))) => {
                for source in sources {
                    self.merge(source, entries, seen);
                }
            }
            _ => {
                let message = format!("`<<` merges a map or a list of maps, not {}", source.what());
                self.sink.add(Diagnostic::error(source.span, message));
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        match self.anchors.get(&anchor) {
            Some(Some(node)) => {
                let node = Rc::clone(node);
                self.count(node.weight, span)?;
                self.attach(node);
                Ok(())
            }
            _ => {
                self.sink.add(Diagnostic::error(span, "this alias stands inside its own anchor"));
                Err(Stop)
            }
        }
    }

    fn count(&mut self, more: Weight, span: Span) -> Result<(), Stop> {
        self.weight = self.weight.and(more);
        let message = if self.weight.values > VALUES_MAX {
            format!("more than {VALUES_MAX} values, aliases followed")
        } else if self.weight.bytes > EXPANDED_BYTES_MAX {
            format!("more than {} MiB of text, aliases followed", EXPANDED_BYTES_MAX >> 20)
        } else {
            return Ok(());
        };
        self.sink.add(
            Diagnostic::error(span, message).with_help("use fewer aliases, or split the file"),
        );
        Err(Stop)
    }

    fn place(&mut self, node: Node, anchor: usize) {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Some(Rc::clone(&node)));
        }
        self.attach(node);
    }

    fn attach(&mut self, node: Rc<Node>) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.weight = open.weight.and(node.weight);
        match &mut open.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, seen, merges, key } => {
                match std::mem::replace(key, Slot::Key) {
                    Slot::Key => {
                        *key = match &node.data {
                            Data::Scalar { text, plain } => {
                                let text = self.keys.share(text);
                                accept(text, *plain, node.span, seen, self.sink)
                            }
                            _ => {
                                let message = format!("a key must be a text, not {}", node.what());
                                self.sink.add(Diagnostic::error(node.span, message));
                                Slot::Refused
                            }
                        }
                    }
                    Slot::Value(name) => entries.push(Entry { key: name, value: node }),
                    Slot::Merge => merges.push(node),
                    Slot::Refused => {}
                }
            }
        }
    }

    /// Whether a scalar may stand for something else than text.
    fn plainness(&mut self, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> bool {
        let plain = style == ScalarStyle::Plain;
        let Some(tag) = tag else { return plain };
        if is_unspecific(tag) {
            return false;
        }
        match tag.suffix.as_str() {
            "str" if tag.is_yaml_core_schema() => false,
            "null" | "bool" | "int" | "float" if tag.is_yaml_core_schema() => true,
            _ => {
                self.refuse_tag(tag, span);
                plain
            }
        }
    }

    fn expect_tag(&mut self, tag: Option<&Tag>, suffix: &str, span: Span) {
        if let Some(tag) = tag {
            let same = tag.is_yaml_core_schema() && tag.suffix == suffix;
            if !same && !is_unspecific(tag) {
                self.refuse_tag(tag, span);
            }
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, span: Span) {
        let name = if tag.is_yaml_core_schema() {
            format!("!!{}", tag.suffix)
        } else {
            format!("{}{}", tag.handle, tag.suffix)
        };
        let found = Diagnostic::error(span, format!("the tag `{name}` is not understood"));
        self.sink.add(found.with_help("remove the tag: a field takes its type from its kind"));
    }

    fn second_document(&mut self, event: &Event<'_>, span: Span) -> Result<(), Stop> {
        // A closing `---` starts a document with nothing in it, and drops nothing.
        if matches!(event, Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty()) {
            return Ok(());
        }
        let found =
            Diagnostic::error(span, "a graph file is one YAML document; here starts a second");
        self.sink.add(found.with_help("remove the `---` above it, or run it as a file of its own"));
        Ok(())
    }

    fn syntax(
        &mut self,
        text: &str,
        places: &Places,
        marker: &Marker,
        info: &str,
    ) -> Result<(), Stop> {
        let span = places.at(text, marker.index());
        let line = text.lines().nth(span.line.saturating_sub(1)).unwrap_or_default();
        // The parser has a limit of its own, which it can reach while it looks ahead.
        let found = match info.contains("recursion limit") {
            true => Diagnostic::error(span, too_deep()),
            false => Diagnostic::error(span, format!("not valid YAML: {info}")),
        };
        let tabbed = line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t');
        self.sink.add(match tabbed {
            true => found.with_help("YAML is indented with spaces; there is a tab in this line"),
            false => found,
        });
        Err(Stop)
    }
}

/// Whether nothing else in the text says something about it, or it about them.
fn is_plain(event: &Event<'_>) -> bool {
    match event {
        Event::Alias(_) => false,
        Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(anchor, tag)
        | Event::MappingStart(anchor, tag) => *anchor == 0 && tag.is_none(),
        _ => true,
    }
}

fn too_deep() -> String {
    format!("nested deeper than {DEPTH_MAX} levels")
}

fn is_unspecific(tag: &Tag) -> bool {
    (tag.handle.as_str(), tag.suffix.as_str()) == ("", "!")
        || (tag.handle.as_str(), tag.suffix.as_str()) == ("!", "")
}
