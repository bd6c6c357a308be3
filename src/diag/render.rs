//! Diagnostics as people read them: message, place, the source line with a mark under it, the next
//! step.
//!
//! Refuses to let a file drive the terminal: control and direction characters are shown, never
//! passed on.

use unicode_width::UnicodeWidthChar;

use super::{Diagnostic, Severity, Span};

/// How many columns of a source line are shown; a longer one is cut around the mark.
const SHOWN_COLUMNS: usize = 100;

/// How many columns are kept before the mark when a long line is cut.
const LEAD_COLUMNS: usize = 30;

/// How much of a line is looked at on each side of a mark, in bytes: a whole file can be one line.
const NEAR_BYTES: usize = 4_000;

/// How many diagnostics are written out: nobody reads more, and each repeats a line of the file.
const RENDERED_MAX: usize = 100;

const TAB: &str = "    ";

/// All diagnostics as text for people, each ended by an empty line but the last. `text` is what
/// they are about, `file_name` how to call it. A diagnostic with a line of 0 has no place in the
/// text, and none is shown.
pub fn render(file_name: &str, text: &str, diagnostics: &[Diagnostic], colour: bool) -> String {
    let paint = Paint { colour };
    let shown = &diagnostics[..diagnostics.len().min(RENDERED_MAX)];
    let mut blocks: Vec<String> =
        shown.iter().map(|diagnostic| one(file_name, text, diagnostic, paint)).collect();
    if diagnostics.len() > RENDERED_MAX {
        let rest = diagnostics.len() - RENDERED_MAX;
        blocks.push(format!("... and {rest} more\n"));
    }
    blocks.join("\n")
}

fn one(file_name: &str, text: &str, diagnostic: &Diagnostic, paint: Paint) -> String {
    let (word, tint) = match diagnostic.severity {
        Severity::Error => ("error", RED),
        Severity::Warning => ("warning", YELLOW),
    };
    let mut out = format!("{}: {}\n", paint.with(tint, word), visible(&diagnostic.message));
    let gutter = diagnostic
        .related
        .iter()
        .map(|(span, _)| span.line)
        .chain([diagnostic.span.line])
        .max()
        .map_or(1, |line| line.to_string().len());
    let place = Place { file_name, text, gutter, paint };
    if diagnostic.span.line > 0 {
        place.write(&mut out, "-->", diagnostic.span, "^", tint, "");
    }
    for (span, label) in &diagnostic.related {
        place.write(&mut out, ":::", *span, "-", BLUE, label);
    }
    if let Some(help) = &diagnostic.help {
        let label = paint.with(BLUE, "help:");
        let lead = if diagnostic.span.line > 0 { gutter + 1 } else { 1 };
        out.push_str(&format!("{:lead$}= {label} {}\n", "", visible(help)));
    }
    out
}

#[derive(Clone, Copy)]
struct Place<'a> {
    file_name: &'a str,
    text: &'a str,
    gutter: usize,
    paint: Paint,
}

impl Place<'_> {
    fn write(self, out: &mut String, arrow: &str, span: Span, mark: &str, tint: &str, label: &str) {
        let Place { file_name, gutter, paint, .. } = self;
        let (source, lead, width) = self.window(span);
        let bar = paint.with(BLUE, "|");
        let file_name = visible(file_name);
        let arrow = paint.with(BLUE, arrow);
        let number = paint.with(BLUE, &format!("{:>gutter$}", span.line));
        let marks =
            paint.with(tint, format!("{} {}", mark.repeat(width), visible(label)).trim_end());
        let pad = " ".repeat(gutter);
        out.push_str(&format!("{pad}{arrow} {file_name}:{}:{}\n", span.line, span.column));
        out.push_str(&format!("{pad} {bar}\n"));
        out.push_str(format!("{number} {bar} {source}").trim_end());
        out.push_str(&format!("\n{pad} {bar} {}{marks}\n", " ".repeat(lead)));
    }

    /// The part of the line to show, the columns before the mark, and the columns of the mark.
    fn window(self, span: Span) -> (String, usize, usize) {
        let text = self.text;
        let start = floor(text, span.start);
        let near = floor(text, start.saturating_sub(NEAR_BYTES));
        let line_start = text[near..start].rfind('\n').map_or(near, |at| near + at + 1);
        let far = floor(text, start.saturating_add(NEAR_BYTES));
        let line_end = text[start..far].find(['\n', '\r']).map_or(far, |at| start + at);
        let end = floor(text, span.end).clamp(start, line_end);
        let before = displayed(&text[line_start..start]);
        let marked = displayed(&text[start..end]);
        let after = displayed(&text[end..line_end]);
        let (lead, width) = (columns(&before), columns(&marked).max(1));
        if lead + columns(&marked) + columns(&after) <= SHOWN_COLUMNS {
            return (before + &marked + &after, lead, width);
        }
        let mut shown = String::new();
        let mut lead = lead;
        if lead > LEAD_COLUMNS {
            shown.push_str("...");
            shown.push_str(&last_columns(&before, LEAD_COLUMNS - 3));
            lead = columns(&shown);
        } else {
            shown.push_str(&before);
        }
        let rest = first_columns(&(marked + &after), SHOWN_COLUMNS - lead - 3);
        let width = width.min(columns(&rest)).max(1);
        (shown + &rest + "...", lead, width)
    }
}

fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

/// A stretch of source as it is shown: tabs as spaces, what would drive a terminal made visible.
fn displayed(part: &str) -> String {
    visible(&part.replace('\t', TAB))
}

fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if drives_the_terminal(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

fn drives_the_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn columns(shown: &str) -> usize {
    shown.chars().map(|c| c.width().unwrap_or(0)).sum()
}

fn first_columns(shown: &str, room: usize) -> String {
    let mut used = 0;
    shown
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect()
}

fn last_columns(shown: &str, room: usize) -> String {
    let mut used = 0;
    let tail: Vec<char> = shown
        .chars()
        .rev()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect();
    tail.into_iter().rev().collect()
}

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const BLUE: &str = "\u{1b}[1;34m";
const PLAIN: &str = "\u{1b}[0m";

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(self, tint: &str, text: &str) -> String {
        if self.colour { format!("{tint}{text}{PLAIN}") } else { text.to_owned() }
    }
}
