//! A graph as lines of text, in an order in which it can run.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Picture, plain};
use crate::ident::counted;

/// The widest column of names; longer ones push what follows to the right.
const NAMES_WIDTH_MAX: usize = 60;

/// One line for each resource: its name, what it runs after, and what else there is to say.
pub fn text(picture: &Picture) -> String {
    let ends = picture.ends();
    let mut before: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for edge in &ends {
        let remarks = edge.link.remarks();
        let mut name = plain(&picture.resources[edge.from].id);
        if !remarks.is_empty() {
            name = format!("{name} ({})", remarks.join(", "));
        }
        before.entry(edge.to).or_default().push(name);
    }
    let ranks = picture.ranks();
    let mut order: Vec<usize> = (0..picture.resources.len()).collect();
    order.sort_by_key(|at| (ranks[*at], *at));
    let lines: Vec<(String, String)> = order
        .into_iter()
        .map(|at| {
            let one = &picture.resources[at];
            let mut facts = one.remarks();
            facts.extend(before.get(&at).map(|names| format!("after {}", names.join(", "))));
            (plain(&one.id), facts.join("; "))
        })
        .collect();
    let widths = lines.iter().filter(|(_, facts)| !facts.is_empty()).map(|(id, _)| width(id));
    let column = widths.max().unwrap_or(0).min(NAMES_WIDTH_MAX);
    let mut out = format!(
        "graph {}: {}, {}\n",
        plain(&picture.graph),
        counted(picture.resources.len(), "resource"),
        counted(ends.len(), "edge")
    );
    for (id, facts) in lines {
        let gap = " ".repeat(if facts.is_empty() { 0 } else { column.saturating_sub(width(&id)) });
        // Writing to a string cannot fail.
        let _written = writeln!(out, "{}", format!("  {id}{gap}  {facts}").trim_end());
    }
    out
}

fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}
