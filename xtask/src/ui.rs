//! What a long command tells while it works: bars on a terminal, the same words one a line
//! elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar turns; people see it live, and it costs nothing.
const TICK: Duration = Duration::from_millis(120);

/// Writes a line; that nobody reads it is no failure.
pub(crate) fn say(out: &mut impl Write, line: std::fmt::Arguments<'_>) {
    // In one piece: what several threads say is not to be mixed.
    let written = out.write_all(format!("{line}\n").as_bytes());
    drop(written);
}

/// So many of something, in words: `1 node`, `2 nodes`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ui {
    silent: bool,
    bars: bool,
}

/// A phase that is under way.
pub(crate) struct Phase {
    bar: Option<ProgressBar>,
}

impl Ui {
    /// `silent` says nothing at all (a caller wants JSON, or is a library user); `plain` draws no
    /// bars.
    pub(crate) fn new(silent: bool, plain: bool) -> Ui {
        Ui { silent, bars: !silent && !plain && std::io::stdout().is_terminal() }
    }

    /// A finished line: what it is about, and what there is to say.
    pub(crate) fn line(&self, about: &str, text: &str) {
        if !self.silent {
            println!("{about:<10}{text}");
        }
    }

    /// Something that takes a while, of `total` parts; 0 when it has none.
    pub(crate) fn phase(&self, about: &str, total: u64) -> Phase {
        if !self.bars {
            return Phase { bar: None };
        }
        let template = match total {
            0 => "{prefix:<10}{spinner} {msg}  {elapsed}",
            _ => "{prefix:<10}[{bar:10.##-}] {pos}/{len}  {elapsed}",
        };
        let template = template.replace(".##-", "");
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("##-");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(about.to_owned());
        bar.enable_steady_tick(TICK);
        Phase { bar: Some(bar) }
    }
}

impl Phase {
    /// One more part is done.
    pub(crate) fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// What it waits for now.
    pub(crate) fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A table with fixed columns: as wide as their longest cell, two blanks apart, no blanks at a
/// line's end.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [vec!["NAME", "STATE"], vec!["h10", "-"], vec!["h1", "healthy"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(table(&rows), ["NAME  STATE", "h10   -", "h1    healthy"]);
        assert_eq!(table(&[]), Vec::<String>::new());
    }
}
