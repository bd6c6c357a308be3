//! Colours of a terminal: what is kept of a program's control sequences, the text without them, and
//! the page's words for them, so that what is coloured stays text that can be selected. Pure.

use super::topology::escape;

/// The class of each sequence's number that means something on a page.
const CLASSES: [(u8, &str); 19] = [
    (1, "bold"),
    (2, "faint"),
    (3, "italic"),
    (4, "underlined"),
    (30, "black"),
    (31, "red"),
    (32, "green"),
    (33, "yellow"),
    (34, "blue"),
    (35, "magenta"),
    (36, "cyan"),
    (37, "white"),
    (90, "black"),
    (91, "red"),
    (92, "green"),
    (93, "yellow"),
    (94, "blue"),
    (95, "magenta"),
    (96, "cyan"),
];

/// A piece of a line: text, or a sequence that changes colours, by its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Colours(&'a str),
}

/// Takes a line apart; other sequences than those of colours are left out.
fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}') {
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        rest = &rest[at + 1..];
        let Some(inner) = rest.strip_prefix('[') else { continue };
        let end = inner.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(inner.len());
        let numbers = &inner[..end];
        let letter = inner[end..].chars().next();
        if letter == Some('m') && numbers.chars().all(|c| c.is_ascii_digit() || c == ';') {
            pieces.push(Piece::Colours(numbers));
        }
        rest = &inner[end + letter.map_or(0, char::len_utf8)..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// What a terminal got, as lines that hold text and colours and nothing else.
pub(crate) fn kept(text: &str) -> Vec<String> {
    let line = |line: &str| -> String {
        let kept = pieces(line.trim_end_matches('\r')).into_iter().map(|piece| match piece {
            Piece::Text(text) => text.replace('\r', ""),
            Piece::Colours(numbers) => format!("\u{1b}[{numbers}m"),
        });
        kept.collect()
    };
    text.lines().map(line).collect()
}

/// The text of a line without its colours.
pub(crate) fn plain(line: &str) -> String {
    let text = pieces(line).into_iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Colours(_) => None,
    });
    text.collect()
}

/// A line for a page. `words` turns a text into what the page shows of it.
pub(crate) fn html(line: &str, words: &dyn Fn(&str) -> String) -> String {
    let mut html = String::new();
    let mut classes: Vec<&str> = Vec::new();
    for piece in pieces(line) {
        match piece {
            Piece::Text(text) if classes.is_empty() => html.push_str(&words(text)),
            Piece::Text(text) => {
                let names: Vec<String> = classes.iter().map(|name| format!("sgr-{name}")).collect();
                let (names, text) = (escape(&names.join(" ")), words(text));
                html.push_str(&format!("<span class=\"{names}\">{text}</span>"));
            }
            Piece::Colours(numbers) => change(&mut classes, numbers),
        }
    }
    html
}

fn change(classes: &mut Vec<&str>, numbers: &str) {
    for number in numbers.split(';') {
        let number: u8 = number.parse().unwrap_or(0);
        match (number, CLASSES.iter().find(|(known, _)| *known == number)) {
            (0, _) => classes.clear(),
            (22, _) => classes.retain(|name| !["bold", "faint"].contains(name)),
            (39, _) => classes
                .retain(|name| !CLASSES.iter().any(|(known, other)| *known >= 30 && other == name)),
            (_, Some((_, name))) if !classes.contains(name) => classes.push(name),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_kept_and_everything_else_that_moves_a_cursor_is_not() {
        let text = "\u{1b}[?25l\u{1b}[1;31merror\u{1b}[0m: no\u{1b}[2K x\r\n\u{1b}]0;t\u{7}ok\r\n";
        let lines = kept(text);
        assert_eq!(lines[0], "\u{1b}[1;31merror\u{1b}[0m: no x");
        assert_eq!(plain(&lines[0]), "error: no x");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_page_gets_text_with_classes() {
        let words = |text: &str| escape(text);
        let line = "a \u{1b}[1m\u{1b}[31m<b>\u{1b}[39m c\u{1b}[m d";
        let wanted = "a <span class=\"sgr-bold sgr-red\">&lt;b&gt;</span>\
                      <span class=\"sgr-bold\"> c</span> d";
        assert_eq!(html(line, &words), wanted);
        assert_eq!(html("plain", &words), "plain");
    }
}
