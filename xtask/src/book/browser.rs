//! The built pages in a real browser without a window: no message on its console, no request that
//! leaves the folder, and the text of each recorded block is what the store holds.
//!
//! Refuses to judge how a page looks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::Context as _;
use regex::Regex;

use super::block::Action;
use super::library::{Library, Page};
use super::made::Made;
use super::record::BlockRecord;
use crate::paths::Exit;

/// The programs that are tried, in this order.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Opens every page; gives what is wrong, each with its page.
pub(crate) fn check(library: &Library, out: &Path) -> anyhow::Result<Vec<String>> {
    let program = program()?;
    let mut wrong = Vec::new();
    let mut blocks = 0;
    let pages = library.pages()?;
    for page in &pages {
        let name = page.path.replace(".md", ".html");
        let seen = open(&program, &format!("file://{}", out.join(&name).display()))?;
        let records = library.record(&page.chapter.name)?.blocks;
        blocks += records.len();
        wrong.extend(faults(page, &records, &seen).into_iter().map(|one| format!("{name}: {one}")));
    }
    let (mut texts, mut shown) = (String::new(), Vec::new());
    for page in &pages {
        texts.push_str(&page.chapter.source.text());
        let records = library.record(&page.chapter.name)?.blocks;
        shown.extend(records.into_iter().map(|record| (page, record)));
    }
    let found = match only_recorded(&texts, &shown) {
        Some((word, page)) => {
            let seen =
                open(&program, &format!("file://{}/index.html?search={word}", out.display()))?;
            let name = page.path.replace(".md", ".html");
            wrong.extend((!finds(&seen.dom, &name)).then(|| {
                format!("index.html: a search for `{word}` does not find {name}, which shows it")
            }));
            format!("a search for `{word}`, which only an output has, finds {name}")
        }
        None => "no word is in outputs alone, so the search was not tried".to_owned(),
    };
    if wrong.is_empty() {
        println!("browser {blocks} recorded blocks are on their pages as recorded; {found}");
    }
    Ok(wrong)
}

/// A word that stands in one recorded output and in no chapter's text, where a wildcard covers it.
fn only_recorded<'a>(texts: &str, shown: &[(&'a Page, BlockRecord)]) -> Option<(String, &'a Page)> {
    static WORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^[a-z]{6,20}$").expect("a valid pattern"));
    let texts = texts.to_lowercase();
    let mut words: Vec<(&str, &Page)> = Vec::new();
    for (page, record) in shown {
        let text = page.chapter.blocks.iter().any(|block| {
            let shown = block.id.as_ref() == Some(&record.id) && !block.hide;
            let made = matches!(&block.action, Action::Made { made: Made::Fields(_), .. });
            shown && (made || matches!(block.action, Action::Console(_)))
        });
        let lines = record.steps.iter().flat_map(|step| &step.lines).filter(|_| text);
        let all = lines.flat_map(|line| line.split_whitespace());
        words.extend(all.filter(|word| WORD.is_match(word)).map(|word| (word, *page)));
    }
    let alone = |(word, page): &&(&str, &Page)| {
        let same = |(other, at): &(&str, &Page)| other != word || at.path == page.path;
        !texts.contains(word) && words.iter().all(same)
    };
    words.iter().find(alone).map(|(word, page)| ((*word).to_owned(), *page))
}

/// Whether a page is among the results that a search shows.
fn finds(dom: &str, page: &str) -> bool {
    // No other link has the words to mark on the page that it leads to.
    dom.contains(&format!("{page}?highlight="))
}

fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = PROGRAMS
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|file| file.is_file());
    found.ok_or_else(|| {
        Exit::error(Exit::MISSING, "no Chromium on the search path. Debian: apt install chromium")
    })
}

/// What a browser made of a page.
struct Seen {
    /// The document after its scripts ran.
    dom: String,
    /// Lines of the console.
    console: Vec<String>,
    /// Addresses that the page asked for.
    requests: Vec<String>,
}

fn open(program: &Path, address: &str) -> anyhow::Result<Seen> {
    let profile = tempfile::tempdir()?;
    let log = profile.path().join("net.json");
    let output = Command::new(program)
        .args(["--headless", "--disable-gpu", "--no-first-run", "--disable-sync", "--dump-dom"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
        ])
        // Nodes and CI run as root, for whom the sandbox is refused; the pages are our own.
        .args([
            "--no-sandbox",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=4000",
        ])
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(address)
        .output()
        .with_context(|| format!("{} does not start", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let console =
        said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    let net = std::fs::read_to_string(&log).unwrap_or_default();
    Ok(Seen {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        console,
        requests: requests(&net),
    })
}

/// The addresses of the pages' own requests in Chromium's log of its network: those that an origin
/// started. The browser's own, for updates and the time of day, come from none.
fn requests(log: &str) -> Vec<String> {
    static REQUEST: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r#""initiator":"([^"]*)".*"url":"(https?:[^"]+)""#;
        Regex::new(pattern).expect("a valid pattern")
    });
    let started = REQUEST.captures_iter(log).filter(|one| &one[1] != "not an origin");
    let mut found: Vec<String> = started.map(|one| one[2].to_owned()).collect();
    found.sort();
    found.dedup();
    found
}

fn faults(page: &Page, records: &[BlockRecord], seen: &Seen) -> Vec<String> {
    let mut found: Vec<String> =
        seen.console.iter().map(|line| format!("the browser's console says: {line}")).collect();
    found.extend(seen.requests.iter().map(|url| format!("it asks for {url}")));
    found.extend(differing(page, records, &seen.dom));
    found
}

/// Recorded blocks whose text in a document is not what the store holds.
pub(crate) fn differing(page: &Page, records: &[BlockRecord], dom: &str) -> Vec<String> {
    let mut found = Vec::new();
    for record in records {
        let shown = page.chapter.blocks.iter().any(|block| {
            let console = matches!(block.action, Action::Console(_));
            block.id.as_ref() == Some(&record.id) && !block.hide && console
        });
        if !shown {
            continue;
        }
        let lines: Vec<&str> =
            record.steps.iter().flat_map(|step| step.lines.iter().map(String::as_str)).collect();
        match text_of(dom, &record.id) {
            None => found.push(format!("block {} is not on it", record.id)),
            Some(text) if !holds(&text, &lines) => {
                found.push(format!("block {} differs from its record", record.id));
            }
            Some(_) => {}
        }
    }
    found
}

/// The lines of a text hold these, in this order.
fn holds(text: &str, wanted: &[&str]) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    wanted.iter().all(|line| lines.any(|one| one == line.trim_end()))
}

/// The text of the block with this id, as a reader sees it.
fn text_of(dom: &str, id: &str) -> Option<String> {
    static TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new("<[^>]*>").expect("a valid pattern"));
    let from = dom.find(&format!("id=\"{id}\""))?;
    let code = from + dom[from..].find("<code")?;
    let end = code + dom[code..].find("</code>")?;
    let text = TAG.replace_all(&dom[code..end], "");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    Some(text.replace("&#39;", "'").replace("&nbsp;", " ").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOM: &str = "<div class=\"where\" id=\"a\">h1</div>\
                       <pre><code class=\"x\"><b>$ cat f</b>\n\
                       1 &lt; 2 &amp;&amp; 3\nend\n</code></pre>";

    #[test]
    fn the_text_of_a_block_is_what_a_reader_sees() {
        assert_eq!(text_of(DOM, "a").as_deref(), Some("$ cat f\n1 < 2 && 3\nend\n"));
        assert_eq!(text_of(DOM, "b"), None);
    }

    #[test]
    fn a_word_to_search_for_is_in_one_output_alone() {
        let text = "```console {node=h1 id=a}\n$ one\n...\n```\n";
        let chapter = super::super::fence_tests::chapter(text).expect("a chapter");
        let page = Page { path: "c.md".into(), chapter };
        let steps = vec![super::super::record::StepRecord {
            lines: vec!["listening on 127.0.0.1 eagerly".into()],
            ..Default::default()
        }];
        let record = BlockRecord {
            fence: String::new(),
            id: "a".into(),
            node: "h1".into(),
            output: String::new(),
            rules: Vec::new(),
            steps,
        };
        let found = only_recorded("It is Listening.", &[(&page, record)]);
        assert_eq!(found.map(|(word, _)| word).as_deref(), Some("eagerly"));
        let dom = "<ul id=\"searchresults\"><li><a href=\"c.html?highlight=eagerly#x\">";
        assert!(finds(dom, "c.html") && !finds(dom, "d.html"));
    }

    #[test]
    fn one_changed_word_is_a_difference() {
        let text = text_of(DOM, "a").expect("the block");
        assert!(holds(&text, &["1 < 2 && 3", "end"]));
        assert!(!holds(&text, &["1 < 2 && 4", "end"]));
        assert!(!holds(&text, &["end", "1 < 2 && 3"]));
    }

    #[test]
    fn a_request_that_leaves_the_folder_is_seen_and_the_browsers_own_is_not() {
        let log = r#"
{"params":{"initiator":"null","method":"GET","url":"file:///x"},"phase":1},
{"params":{"initiator":"null","method":"GET","url":"https://a.example/f.woff"},"phase":1},
{"params":{"priority":"LOW","url":"https://a.example/f.woff"},"phase":1},
{"params":{"initiator":"not an origin","method":"POST","url":"https://up.example/"},"phase":1},
"#;
        assert_eq!(requests(log), ["https://a.example/f.woff"]);
    }
}
