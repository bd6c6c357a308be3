//! The picture of the graph that an agent runs: the agent draws it, the record keeps it, the page
//! shows it as it was drawn. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::topology::escape;

/// What a node runs to draw the graph that its agent runs.
pub(crate) const COMMAND: &str = "quorate graph --format svg";

/// Whether two drawings show the same: the same things in the same states at the same places.
pub(crate) fn same(one: &[String], other: &[String]) -> bool {
    one == other
}

/// Whether lines are a drawing.
pub(crate) fn is_drawing(lines: &[String]) -> bool {
    lines.first().is_some_and(|line| line.starts_with("<svg "))
}

/// The figure: a picture of its own, since its style is not to reach the page, with the names of
/// what it shows as text for those who do not see it, and for the search.
pub(crate) fn html(lines: &[String], id: &str, caption: &str) -> String {
    let drawing = STANDARD.encode(lines.join("\n"));
    let (id, caption, names) = (escape(id), escape(caption), escape(&titles(lines).join(", ")));
    format!(
        "<figure class=\"graph\" id=\"{id}\"><img alt=\"{names}\" \
         src=\"data:image/svg+xml;base64,{drawing}\"><figcaption>{caption}</figcaption>\
         </figure>\n\n"
    )
}

/// What the things in a drawing are called; the first title is the whole drawing's.
fn titles(lines: &[String]) -> Vec<String> {
    let text = lines.join("\n");
    let parts = text.split("<title>").skip(2);
    parts.filter_map(|part| Some(part.split_once("</title>")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_becomes_a_picture_that_says_what_it_shows() {
        let text = "<svg width=\"9\">\n<title>g</title>\n<g><title>file[a]</title></g>\n<g>\
            <title>file[b]: ok</title></g>\n</svg>";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert!(is_drawing(&lines) && !is_drawing(&["error".to_owned()]));
        let html = html(&lines, "drawn", "the \"graph\"");
        assert!(html.contains("alt=\"file[a], file[b]: ok\""), "{html}");
        assert!(html.contains("<figcaption>the &quot;graph&quot;</figcaption>"), "{html}");
        let encoded = html.split("base64,").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(STANDARD.decode(encoded.unwrap()).unwrap(), text.as_bytes());
    }
}
