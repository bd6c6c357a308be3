//! A graph in the language of Mermaid, which forges and wikis draw by themselves.

use std::fmt::Write;

use super::{Picture, plain};

/// A `flowchart` with one node and one edge a line.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut absent = Vec::new();
    for (at, one) in picture.resources.iter().enumerate() {
        let lines = [vec![plain(&one.id)], one.remarks()].concat();
        let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        // Writing to a string cannot fail.
        let _written = writeln!(out, "  n{at}[\"{}\"]", lines.join("<br>"));
        if one.is_absent() {
            absent.push(format!("n{at}"));
        }
    }
    for edge in picture.ends() {
        let (shaft, head) = match (edge.link.automatic, edge.link.notify) {
            (true, _) => ("-.", "->"),
            (false, true) => ("==", "==>"),
            (false, false) => ("--", "-->"),
        };
        let mut label = edge.link.name.iter().map(|name| escaped(&plain(name))).collect::<Vec<_>>();
        label.extend(edge.link.notify.then(|| "notify".to_owned()));
        let label = label.join(", ");
        let arrow = match (edge.link.automatic, label.is_empty()) {
            (true, true) => "-.->".to_owned(),
            (true, false) => format!("{shaft} \"{label}\" .{head}"),
            (false, true) => head.to_owned(),
            (false, false) => format!("{shaft} \"{label}\" {head}"),
        };
        let _written = writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to);
    }
    if !absent.is_empty() {
        let _written = writeln!(out, "  classDef absent stroke-dasharray: 2 3");
        let _written = writeln!(out, "  class {} absent", absent.join(","));
    }
    out
}

/// Mermaid reads entities with `#` in place of `&`, and markup in what is left.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | ';' | '\\' | '*' | '_' => {
                let _written = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
