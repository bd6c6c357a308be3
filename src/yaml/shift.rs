//! Places that move: what stands behind an edit, and what was read apart from what is above it.
//!
//! Refuses to know what moves them.

use std::sync::Arc;

use crate::diag::Span;
use crate::spec::{CollectRule, EdgeSpec, ResourceSpec};

/// How far everything from one place on moves. Columns stay: nothing is cut within a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    /// The first byte that moves, as counted before.
    pub(super) from: usize,
    pub(super) bytes: isize,
    pub(super) lines: isize,
}

impl Shift {
    pub(super) fn byte(self, byte: &mut usize) {
        if *byte >= self.from {
            *byte = byte.saturating_add_signed(self.bytes);
        }
    }

    pub(super) fn span(self, span: &mut Span) {
        if span.start >= self.from {
            span.line = span.line.saturating_add_signed(self.lines);
            span.start = span.start.saturating_add_signed(self.bytes);
            span.end = span.end.saturating_add_signed(self.bytes);
        }
    }

    pub(super) fn resource(self, one: &mut ResourceSpec) {
        self.span(&mut one.span);
        one.field_spans.iter_mut().for_each(|(_, span)| self.span(span));
        for receive in one.receives.values_mut() {
            self.span(&mut receive.span);
            self.span(&mut receive.from_span);
        }
    }

    pub(super) fn edge(self, edge: &mut EdgeSpec) {
        self.span(&mut edge.from_span);
        self.span(&mut edge.to_span);
    }

    pub(super) fn rule(self, rule: &mut CollectRule) {
        match rule {
            CollectRule::Legacy { span, .. } => self.span(span),
            CollectRule::Full(rule) => self.span(&mut Arc::make_mut(rule).span),
        }
    }
}

/// How many lines end in a text.
pub(super) fn breaks(text: &str) -> isize {
    text.bytes().filter(|byte| *byte == b'\n').count().cast_signed()
}
