//! A graph in the language of Graphviz.

use std::fmt::Write;

use super::{Picture, plain};

/// `digraph` with one node and one edge a line: `quorate graph FILE --format dot | dot -Tsvg`.
pub fn dot(picture: &Picture) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&picture.graph));
    out.push_str("  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"monospace\"];\n");
    for (at, one) in picture.resources.iter().enumerate() {
        let label = [vec![plain(&one.id)], one.remarks()].concat();
        let label: Vec<String> = label.iter().map(|line| escaped(line)).collect();
        let absent = if one.is_absent() { ", style=\"rounded,dotted\"" } else { "" };
        // Writing to a string cannot fail.
        let _written = writeln!(out, "  n{at} [label=\"{}\"{absent}];", label.join("\\n"));
    }
    for edge in picture.ends() {
        let mut attributes = Vec::new();
        if edge.link.automatic {
            attributes.push("style=dashed".to_owned());
        }
        let mut label = edge.link.name.iter().map(|name| plain(name)).collect::<Vec<_>>();
        if edge.link.notify {
            attributes.push("penwidth=2".to_owned());
            label.push("notify".to_owned());
        }
        if !label.is_empty() {
            attributes.push(format!("label={}", quoted(&label.join(", "))));
        }
        let attributes = match attributes.is_empty() {
            true => String::new(),
            false => format!(" [{}]", attributes.join(", ")),
        };
        let _written = writeln!(out, "  n{} -> n{}{attributes};", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(&plain(text)))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
