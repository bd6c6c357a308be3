//! A graph as an SVG picture: columns in the order of the runs, from left to right.
//!
//! Its text is text, to be selected and searched. Refuses scripts and references to anything
//! outside the file.

use std::fmt::Write;

use super::{Ends, Node, Picture, Standing, layout, plain};

/// The advance of one column of a monospace font of 12 points.
const CHAR: f64 = 7.3;
/// The longest label in columns; the whole name is in the tooltip.
const LABEL_MAX: usize = 48;
/// From a box's edge to its text.
const PADDING: f64 = 8.0;
/// The height of a box with one line, and what a second one adds.
const LINE: f64 = 24.0;
const SECOND_LINE: f64 = 14.0;
/// Between two boxes, from top to bottom and from left to right.
const GAP: f64 = 12.0;
const COLUMN_GAP: f64 = 72.0;
/// Around everything.
const MARGIN: f64 = 12.0;

const STYLE: &str = "\
text { font: 12px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1b1f24; }
.small { font-size: 10px; fill: #57606a; }
.box { fill: #f6f8fa; stroke: #57606a; }
.absent { fill: none; stroke-dasharray: 2 3; }
.ok { fill: #dafbe1; stroke: #1a7f37; }
.failed, .blocked { fill: #ffebe9; stroke: #cf222e; }
.running, .pending, .would-change { fill: #fff8c5; stroke: #9a6700; }
.edge { fill: none; stroke: #57606a; stroke-width: 1.2; }
.automatic { stroke-dasharray: 5 4; }
.notify { stroke: #0969da; stroke-width: 2; }
";

/// The states that have a colour.
const COLOURED: [&str; 6] = ["ok", "failed", "blocked", "running", "pending", "would-change"];

/// A box with its place.
struct Placed<'a> {
    node: &'a Node,
    lines: Vec<String>,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A picture that stands alone.
pub fn svg(picture: &Picture) -> String {
    let ends = picture.ends();
    let ranks = picture.ranks();
    let labels: Vec<Vec<String>> = picture.resources.iter().map(label).collect();
    let heights: Vec<f64> = labels.iter().map(|lines| box_height(lines) + GAP).collect();
    let pairs: Vec<(usize, usize)> = ends.iter().map(|edge| (edge.from, edge.to)).collect();
    let layout = layout::place(&ranks, &heights, &pairs);
    let columns = Columns::of(&ranks, &labels);
    let labelled = picture.resources.iter().zip(labels).enumerate();
    let boxes: Vec<Placed<'_>> = labelled
        .map(|(at, (node, lines))| Placed {
            x: columns.left[ranks[at]],
            y: layout.y[at] + MARGIN,
            width: columns.width[ranks[at]],
            height: box_height(&lines),
            node,
            lines,
        })
        .collect();
    let (width, height) = (columns.right + MARGIN, layout.height + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8Z\" fill=\"#57606a\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(&plain(&picture.graph))
    );
    for (edge, bends) in ends.iter().zip(&layout.bends) {
        draw_edge(&mut out, edge, bends, &boxes, &columns, ranks[edge.from]);
    }
    for one in &boxes {
        draw_box(&mut out, one);
    }
    out.push_str("</svg>\n");
    out
}

/// Where the columns begin and how wide they are.
struct Columns {
    left: Vec<f64>,
    width: Vec<f64>,
    right: f64,
}

impl Columns {
    fn of(ranks: &[usize], labels: &[Vec<String>]) -> Self {
        let mut width = vec![0.0_f64; ranks.iter().max().map_or(0, |max| max + 1)];
        for (rank, lines) in ranks.iter().zip(labels) {
            let widest = lines.iter().map(|line| columns_of(line)).max().unwrap_or(0);
            width[*rank] = width[*rank].max(widest as f64 * CHAR + 2.0 * PADDING);
        }
        let mut left = Vec::with_capacity(width.len());
        let mut right = MARGIN;
        for one in &width {
            left.push(right);
            right += one + COLUMN_GAP;
        }
        Columns { left, width, right: (right - COLUMN_GAP).max(MARGIN) }
    }
}

fn label(node: &Node) -> Vec<String> {
    let remarks = node.remarks();
    let remarks = (!remarks.is_empty()).then(|| brief(&remarks.join(", ")));
    [brief(&plain(&node.id))].into_iter().chain(remarks).collect()
}

fn brief(text: &str) -> String {
    if columns_of(text) <= LABEL_MAX {
        return text.to_owned();
    }
    let cut: String = text.chars().take(LABEL_MAX - 1).collect();
    format!("{cut}\u{2026}")
}

fn columns_of(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

fn box_height(lines: &[String]) -> f64 {
    if lines.len() > 1 { LINE + SECOND_LINE } else { LINE }
}

fn draw_box(out: &mut String, one: &Placed<'_>) {
    let state = one.node.state.as_deref().filter(|state| COLOURED.contains(state));
    let class = match (one.node.is_absent(), state) {
        (true, _) => "box absent".to_owned(),
        (false, Some(state)) => format!("box {state}"),
        (false, None) => "box".to_owned(),
    };
    let standing = match one.node.standing {
        Standing::Local => "local",
        Standing::Collected => "collected",
        Standing::Hidden => "hidden",
        Standing::Awaited => "awaited",
    };
    let (x, top, middle) = (one.x, one.y - one.height / 2.0, one.x + PADDING);
    let _written = writeln!(
        out,
        "<g data-standing=\"{standing}\"><title>{}</title>\
         <rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
         rx=\"4\"/><text x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
        escaped(&plain(&one.node.id)),
        one.width,
        one.height,
        top + 16.0,
        escaped(&one.lines[0])
    );
    if let Some(second) = one.lines.get(1) {
        let (y, text) = (top + 30.0, escaped(second));
        let _written =
            writeln!(out, "<text class=\"small\" x=\"{middle:.1}\" y=\"{y:.1}\">{text}</text>");
    }
    out.push_str("</g>\n");
}

/// From the right side of the first box to the left side of the second, past the boxes between.
fn draw_edge(
    out: &mut String,
    edge: &Ends<'_>,
    bends: &[f64],
    boxes: &[Placed<'_>],
    columns: &Columns,
    rank: usize,
) {
    let (first, last) = (&boxes[edge.from], &boxes[edge.to]);
    let (mut x, mut y) = (first.x + first.width, first.y);
    let mut path = format!("M{x:.1} {y:.1}");
    for (step, bend) in bends.iter().enumerate() {
        let column = rank + 1 + step;
        let (left, right) = (columns.left[column], columns.left[column] + columns.width[column]);
        let bend = bend + MARGIN;
        curve(&mut path, (x, y), (left, bend));
        let _written = write!(path, "L{right:.1} {bend:.1}");
        (x, y) = (right, bend);
    }
    curve(&mut path, (x, y), (last.x, last.y));
    let mut class = String::from("edge");
    for word in edge.link.remarks() {
        class = format!("{class} {word}");
    }
    let _written =
        writeln!(out, "<path class=\"{class}\" d=\"{path}\" marker-end=\"url(#arrow)\"/>");
    let mut label: Vec<String> = edge.link.name.iter().map(|name| brief(&plain(name))).collect();
    label.extend(edge.link.notify.then(|| "notify".to_owned()));
    if !label.is_empty() {
        let (x, y) = ((x + last.x) / 2.0, (y + last.y) / 2.0 - 4.0);
        let text = escaped(&label.join(", "));
        let _written = writeln!(
            out,
            "<text class=\"small\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        );
    }
}

fn curve(path: &mut String, from: (f64, f64), to: (f64, f64)) {
    let middle = (from.0 + to.0) / 2.0;
    let _written =
        write!(path, "C{middle:.1} {:.1} {middle:.1} {:.1} {:.1} {:.1}", from.1, to.1, to.0, to.1);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
