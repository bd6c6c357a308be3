//! Places of a text: the parser counts characters, everything else counts bytes and lines.
//!
//! Refuses to walk the whole text for one place.

use std::cell::Cell;

use saphyr_parser::Span as Marks;

use crate::diag::Span;

/// Where characters and lines are, in bytes. One mark for every [`STRIDE`] characters: a text of
/// nothing but line breaks must not cost many times its size.
pub(super) struct Places {
    marks: Vec<Mark>,
    /// The last character that was asked for: the next one is mostly the one after.
    last: Cell<(usize, Mark)>,
}

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
        if text.is_ascii() {
            for (number, part) in text.as_bytes().chunks(STRIDE).enumerate() {
                let byte = number * STRIDE;
                marks.push(Mark { byte, line, line_start });
                line += part.iter().filter(|byte| **byte == b'\n').count();
                let last = part.iter().rposition(|byte| *byte == b'\n');
                line_start = last.map_or(line_start, |last| byte + last + 1);
            }
            return Places::with(marks);
        }
        for (index, (byte, c)) in text.char_indices().enumerate() {
            if index % STRIDE == 0 {
                marks.push(Mark { byte, line, line_start });
            }
            if c == '\n' {
                (line, line_start) = (line + 1, index + 1);
            }
        }
        Places::with(marks)
    }

    fn with(marks: Vec<Mark>) -> Self {
        Places { marks, last: Cell::new((0, Mark { byte: 0, line: 1, line_start: 0 })) }
    }

    /// The `index`th character, from 0; the end of the text beyond it.
    fn mark(&self, text: &str, index: usize) -> Mark {
        let last = self.marks.len().saturating_sub(1);
        let at = (index / STRIDE).min(last);
        let Some(mark) = self.marks.get(at) else {
            return Mark { byte: text.len(), line: 1, line_start: 0 };
        };
        let (mut number, mut mark) = match self.last.get() {
            near if (at * STRIDE..=index).contains(&near.0) => near,
            _ => (at * STRIDE, *mark),
        };
        let rest = &text[mark.byte..];
        for c in rest.chars().take(index - number) {
            number += 1;
            mark.byte += c.len_utf8();
            if c == '\n' {
                (mark.line, mark.line_start) = (mark.line + 1, number);
            }
        }
        self.last.set((number, mark));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(text: &str, index: usize) -> Span {
        let before: String = text.chars().take(index).collect();
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| before[..=at].chars().count());
        Span { start: before.len(), end: before.len(), line, column: index - line_start + 1 }
    }

    proptest! {
        #[test]
        fn places_are_those_of_a_count_from_the_start_in_whatever_order_they_are_asked_for(
            text in prop_oneof!["[aä\n]{0,300}", "[a\n]{0,300}"],
            asked in prop::collection::vec(0_usize..300, 0..20),
        ) {
            let places = Places::of(&text);
            let length = text.chars().count();
            for index in asked.into_iter().map(|index| index.min(length)) {
                prop_assert_eq!(places.at(&text, index), counted(&text, index));
            }
        }
    }
}
