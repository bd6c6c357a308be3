//! Checks built HTML: every internal link leads somewhere, and no page loads anything from another
//! machine. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use regex::Regex;

use super::source::beside;

/// What is wrong with a built book. `pages` are the HTML files by path, `files` the paths of all
/// files.
pub(crate) fn check(pages: &BTreeMap<String, String>, files: &BTreeSet<String>) -> Vec<String> {
    let anchors: BTreeMap<&str, BTreeSet<&str>> =
        pages.iter().map(|(path, html)| (path.as_str(), values(html, ids()))).collect();
    let mut wrong = Vec::new();
    for (path, html) in pages {
        for url in loaded(html) {
            wrong.push(format!("{path} loads {url} from another machine"));
        }
        for link in values(html, links()) {
            if outside(link) || link.starts_with("data:") || link.starts_with("javascript:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = target.split('?').next().unwrap_or_default();
            let full = if target.is_empty() { path.clone() } else { beside(path, target) };
            let full = if full.is_empty() { "index.html".to_owned() } else { full };
            if !files.contains(&full) {
                wrong.push(format!("{path} links to {link}, which is not there"));
            } else if !anchor.is_empty()
                && anchors.get(full.as_str()).is_some_and(|known| !known.contains(anchor))
            {
                wrong.push(format!("{path} links to {link}, but {full} has no such anchor"));
            }
        }
    }
    wrong
}

fn outside(url: &str) -> bool {
    ["http://", "https://", "//", "mailto:"].iter().any(|start| url.starts_with(start))
}

/// Outside addresses that a browser fetches without being asked: scripts, styles, pictures, fonts.
fn loaded(html: &str) -> BTreeSet<&str> {
    let found = loads().captures_iter(html).filter_map(|one| one.get(1));
    found.map(|url| url.as_str()).filter(|url| outside(url)).collect()
}

fn values<'a>(html: &'a str, what: &Regex) -> BTreeSet<&'a str> {
    what.captures_iter(html).filter_map(|one| one.get(1)).map(|value| value.as_str()).collect()
}

fn ids() -> &'static Regex {
    static IDS: OnceLock<Regex> = OnceLock::new();
    IDS.get_or_init(|| Regex::new(r#"\sid="([^"]+)""#).expect("a constant that compiles"))
}

fn links() -> &'static Regex {
    static LINKS: OnceLock<Regex> = OnceLock::new();
    let text = r#"<[a-z]+\s[^>]*?(?:href|src)="([^"]+)""#;
    LINKS.get_or_init(|| Regex::new(text).expect("a constant that compiles"))
}

fn loads() -> &'static Regex {
    static LOADS: OnceLock<Regex> = OnceLock::new();
    let text = concat!(
        r#"(?:<(?:script|link|img|iframe|source|video|audio)\s[^>]*?(?:href|src)="|"#,
        r#"url\(["']?|@import\s+["'])([^"')]+)"#
    );
    LOADS.get_or_init(|| Regex::new(text).expect("a constant that compiles"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(html: &str) -> Vec<String> {
        let other = ("b/two.html".to_owned(), "<h1 id=\"top\">x</h1>".to_owned());
        let pages = BTreeMap::from([("a.html".to_owned(), html.to_owned()), other]);
        check(&pages, &pages.keys().cloned().chain(["x.css".to_owned()]).collect())
    }

    #[test]
    fn good_links_and_links_for_readers_pass() {
        let html = "<link href=\"x.css\"><a href=\"b/two.html#top\">x</a><a href=\"https://x.y/\">";
        assert_eq!(check_one(html), Vec::<String>::new());
    }

    #[test]
    fn a_planted_defect_of_each_kind_is_found() {
        for (html, expected) in [
            ("<a href=\"none.html\">", "a.html links to none.html, which is not there"),
            ("<a href=\"b/two.html#low\">", "b/two.html has no such anchor"),
            ("<a class=\"x\" href=\"#low\">", "a.html has no such anchor"),
            ("<script src=\"https://x.y/z.js\">", "loads https://x.y/z.js from another machine"),
            ("<style>@import \"//x.y/z.css\"</style>", "loads //x.y/z.css"),
            ("<style>a { src: url(https://x.y/f.woff) }</style>", "loads https://x.y/f.woff"),
        ] {
            let wrong = check_one(html);
            assert!(wrong.iter().any(|text| text.contains(expected)), "{html}: {wrong:?}");
        }
    }
}
