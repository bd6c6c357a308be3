//! Places of a text: the parser counts characters, everything else counts bytes and lines.
//!
//! Refuses to walk the whole text for one place.

use saphyr_parser::Span as Marks;

use crate::diag::Span;

/// Where characters and lines are, in bytes. One mark for every [`STRIDE`] characters: a text of
/// nothing but line breaks must not cost many times its size.
pub(super) struct Places(Vec<Mark>);

/// What is known of one character.
#[derive(Clone, Copy)]
struct Mark {
    /// Its byte.
    byte: usize,
    /// Its line, from 1.
    line: usize,
    /// The number of the first character of that line.
    line_start: usize,
}

const STRIDE: usize = 64;

impl Places {
    pub(super) fn of(text: &str) -> Self {
        let mut marks = Vec::with_capacity(text.len() / STRIDE + 1);
        let (mut line, mut line_start) = (1, 0);
        for (index, (byte, c)) in text.char_indices().enumerate() {
            if index % STRIDE == 0 {
                marks.push(Mark { byte, line, line_start });
            }
            if c == '\n' {
                (line, line_start) = (line + 1, index + 1);
            }
        }
        Places(marks)
    }

    /// The `index`th character, from 0; the end of the text beyond it.
    fn mark(&self, text: &str, index: usize) -> Mark {
        let last = self.0.len().saturating_sub(1);
        let at = (index / STRIDE).min(last);
        let Some(mut mark) = self.0.get(at).copied() else {
            return Mark { byte: text.len(), line: 1, line_start: 0 };
        };
        let rest = &text[mark.byte..];
        let mut number = at * STRIDE;
        for c in rest.chars().take(index - number) {
            number += 1;
            mark.byte += c.len_utf8();
            if c == '\n' {
                (mark.line, mark.line_start) = (mark.line + 1, number);
            }
        }
        mark
    }

    /// The place before the `index`th character.
    pub(super) fn at(&self, text: &str, index: usize) -> Span {
        let Mark { byte, line, line_start } = self.mark(text, index);
        Span { start: byte, end: byte, line, column: index.saturating_sub(line_start) + 1 }
    }

    /// The place between the parser's marks.
    pub(super) fn span(&self, text: &str, marks: Marks) -> Span {
        let start = self.at(text, marks.start.index());
        Span { end: self.mark(text, marks.end.index()).byte.max(start.start), ..start }
    }
}
