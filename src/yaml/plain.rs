//! The plainest texts without the parser: those of which every line can mean one thing only.
//!
//! Each line is an entry of a map or the item of a list, with a value that is a word, a text in
//! quotes on the same line, or a map of words in braces; no comment, no empty line, nothing beyond
//! ASCII. What programs write mostly looks like that, and takes the parser most of the time of a
//! start. Refuses everything else, also what may well be right: that is the parser's, as is every
//! mistake. What it takes has to come out as the parser would have it, place by place: a test holds
//! the two side by side.

use std::borrow::Cow;

use saphyr_parser::{Event, ScalarStyle};

use crate::diag::Span;

/// Takes the events of the text one after the other.
pub(super) trait Taker {
    /// The next one and its place; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()>;
}

/// Reads a text; `None` when the parser has to. What was told by then is to be forgotten.
pub(super) fn read(text: &str, taker: &mut impl Taker) -> Option<()> {
    if !text.is_ascii() {
        return None;
    }
    let mut lines = Lines { taker, open: Vec::new(), wanted: Wanted::Root };
    let (mut start, mut number) = (0, 1);
    for line in text.split_inclusive('\n') {
        lines.line(Line { text: line.strip_suffix('\n').unwrap_or(line), start, number })?;
        start += line.len();
        number += 1;
    }
    lines.end()
}

/// A line, the byte where it starts, and its number from 1.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    start: usize,
    number: usize,
}

impl<'a> Line<'a> {
    /// The place from one of its columns, counted from 0, to before another one.
    fn span(&self, from: usize, to: usize) -> Span {
        let (start, end) = (self.start + from, self.start + to);
        Span { start, end, line: self.number, column: from + 1 }
    }

    fn rest(&self, from: usize) -> &'a str {
        self.text.get(from..).unwrap_or_default()
    }
}

/// A list or map whose end has not come yet, and the column of its entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    List(usize),
    Map(usize),
}

/// What may come next.
#[derive(Clone, Copy)]
enum Wanted {
    /// The first entry of the whole.
    Root,
    /// The value of a key in this column, on the lines below it.
    Below(usize),
    /// One more entry of what is open.
    More,
}

struct Lines<'t, T> {
    taker: &'t mut T,
    open: Vec<Open>,
    wanted: Wanted,
}

impl<T: Taker> Lines<'_, T> {
    fn line(&mut self, line: Line<'_>) -> Option<()> {
        let column = line.text.bytes().take_while(|byte| *byte == b' ').count();
        if !line.rest(column).starts_with("- ") {
            self.enter(line, column, Open::Map(column))?;
            return self.entry(line, column);
        }
        self.enter(line, column, Open::List(column))?;
        let inner = column + 2;
        if key(line.rest(inner)).is_none() {
            return self.value(line, inner);
        }
        self.begin(line, inner, Open::Map(inner))?;
        self.entry(line, inner)
    }

    /// Ends what the line does not belong to, and begins what it is the first of.
    fn enter(&mut self, line: Line<'_>, column: usize, of: Open) -> Option<()> {
        match std::mem::replace(&mut self.wanted, Wanted::More) {
            Wanted::Root => {
                (of == Open::Map(0)).then_some(())?;
                self.begin(line, column, of)
            }
            Wanted::Below(above) => {
                // The dashes of a list may stand below the first letter of its key; its place is
                // then that of its first item.
                if of == Open::List(above) {
                    return self.begin(line, column + 2, of);
                }
                (column > above).then(|| self.begin(line, column, of))?
            }
            Wanted::More => {
                while let Some(last) = self.open.last().filter(|last| **last != of) {
                    let (Open::List(at) | Open::Map(at)) = *last;
                    let is_over = at > column || *last == Open::List(column);
                    is_over.then_some(())?;
                    self.close()?;
                }
                (!self.open.is_empty()).then_some(())
            }
        }
    }

    fn begin(&mut self, line: Line<'_>, column: usize, what: Open) -> Option<()> {
        self.open.push(what);
        let event = match what {
            Open::List(_) => Event::SequenceStart(0, None),
            Open::Map(_) => Event::MappingStart(0, None),
        };
        self.taker.take(event, line.span(column, column))
    }

    fn close(&mut self) -> Option<()> {
        let event = match self.open.pop()? {
            Open::List(_) => Event::SequenceEnd,
            Open::Map(_) => Event::MappingEnd,
        };
        self.taker.take(event, Span::default())
    }

    /// A key, and its value if that stands beside it.
    fn entry(&mut self, line: Line<'_>, column: usize) -> Option<()> {
        let key = key(line.rest(column))?;
        self.word(line, column, key)?;
        let colon = column + key.len();
        if line.text.len() == colon + 1 {
            self.wanted = Wanted::Below(column);
            return Some(());
        }
        self.value(line, colon + 2)
    }

    /// A value that begins in this column and ends with the line.
    fn value(&mut self, line: Line<'_>, column: usize) -> Option<()> {
        let text = line.rest(column);
        let (text, style) = match text.as_bytes().first()? {
            b'\'' => (Cow::Borrowed(single(text)?), ScalarStyle::SingleQuoted),
            b'"' => (double(text)?, ScalarStyle::DoubleQuoted),
            b'{' => return self.braces(line, column),
            _ => (Cow::Borrowed(is_words(text).then_some(text)?), ScalarStyle::Plain),
        };
        let span = line.span(column, line.text.len());
        self.taker.take(Event::Scalar(text, style, 0, None), span)
    }

    /// A map of words in braces.
    fn braces(&mut self, line: Line<'_>, column: usize) -> Option<()> {
        let inside = line.rest(column).strip_prefix('{')?.strip_suffix('}')?;
        self.taker.take(Event::MappingStart(0, None), line.span(column, column + 1))?;
        let mut at = column + 1;
        for pair in inside.split(", ") {
            let (name, word) = pair.split_once(": ")?;
            (key(pair) == Some(name) && is_word(word)).then_some(())?;
            self.word(line, at, name)?;
            self.word(line, at + name.len() + 2, word)?;
            at += pair.len() + 2;
        }
        self.taker.take(Event::MappingEnd, Span::default())
    }

    fn word(&mut self, line: Line<'_>, column: usize, word: &str) -> Option<()> {
        let event = Event::Scalar(Cow::Borrowed(word), ScalarStyle::Plain, 0, None);
        self.taker.take(event, line.span(column, column + word.len()))
    }

    fn end(mut self) -> Option<()> {
        // A key without a value, and a text without a key, are the parser's.
        matches!(self.wanted, Wanted::More).then_some(())?;
        while !self.open.is_empty() {
            self.close()?;
        }
        Some(())
    }
}

/// The key that a text begins with: a word, a colon, and a space or nothing.
fn key(text: &str) -> Option<&str> {
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = text.bytes().take_while(|byte| is_key(byte)).count();
    let (key, rest) = text.split_at(length);
    let is_word = key.bytes().next()?.is_ascii_alphanumeric() && length <= KEY_MAX;
    (is_word && (rest == ":" || rest.starts_with(": "))).then_some(key)
}

/// The longest key, in bytes; the parser takes no more than 1024.
const KEY_MAX: usize = 256;

/// A text without quotes that means itself wherever it stands.
fn is_word(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_./~+=-".contains(&byte);
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_/~".contains(&byte))
        && text.bytes().all(is_inside)
}

/// Words with one space between them.
fn is_words(text: &str) -> bool {
    text.split(' ').all(is_word)
}

/// What is in single quotes, which hold none.
fn single(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('\'')?.strip_suffix('\'')?;
    inside.bytes().all(|byte| is_shown(byte) && byte != b'\'').then_some(inside)
}

/// What is in double quotes.
fn double(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.strip_prefix('"').filter(|rest| !rest.is_empty())?.strip_suffix('"')?;
    if inside.bytes().all(|byte| is_shown(byte) && !b"\"\\".contains(&byte)) {
        return Some(Cow::Borrowed(inside));
    }
    let mut meant = String::with_capacity(inside.len());
    let mut parts = inside.split('\\');
    let mut plain = parts.next()?;
    loop {
        let is_plain = plain.bytes().all(|byte| is_shown(byte) && byte != b'"');
        is_plain.then(|| meant.push_str(plain))?;
        let Some(escaped) = parts.next() else { return Some(Cow::Owned(meant)) };
        let (sign, rest) = escaped.split_at_checked(1)?;
        meant.push(match sign {
            "n" => '\n',
            "t" => '\t',
            _ => return None,
        });
        plain = rest;
    }
}

fn is_shown(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

#[cfg(test)]
mod tests;
