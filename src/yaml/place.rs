//! Places of a text: the parser counts characters, everything else counts bytes and lines.
//!
//! Refuses to walk the whole text for one place.

use saphyr_parser::Span as Marks;

use crate::diag::Span;

/// Where characters and lines are, in bytes.
pub(super) struct Places {
    /// The byte of every [`STRIDE`]th character.
    characters: Vec<usize>,
    /// The number of the first character of every line.
    lines: Vec<usize>,
}

const STRIDE: usize = 64;

impl Places {
    pub(super) fn of(text: &str) -> Self {
        let (mut characters, mut lines) = (Vec::new(), vec![0]);
        for (index, (at, c)) in text.char_indices().enumerate() {
            if index % STRIDE == 0 {
                characters.push(at);
            }
            if c == '\n' {
                lines.push(index + 1);
            }
        }
        Places { characters, lines }
    }

    /// The byte of the `index`th character, from 0; the end of the text beyond it.
    fn byte(&self, text: &str, index: usize) -> usize {
        let Some(&known) = self.characters.get(index / STRIDE) else { return text.len() };
        let mut rest = text[known..].char_indices();
        rest.nth(index % STRIDE).map_or(text.len(), |(at, _)| known + at)
    }

    /// The place before the `index`th character.
    pub(super) fn at(&self, text: &str, index: usize) -> Span {
        let byte = self.byte(text, index);
        let line = self.lines.partition_point(|start| *start <= index);
        let column = index - self.lines[line - 1] + 1;
        Span { start: byte, end: byte, line, column }
    }

    /// The place between the parser's marks.
    pub(super) fn span(&self, text: &str, marks: Marks) -> Span {
        let start = self.at(text, marks.start.index());
        Span { end: self.byte(text, marks.end.index()).max(start.start), ..start }
    }
}
