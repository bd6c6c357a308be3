//! The built pages in a real browser without a window: no message on its console, no request that
//! leaves the folder, and the text of each recorded block is what the store holds.
//!
//! Refuses to judge how a page looks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::Context as _;
use regex::Regex;

use super::library::{Library, Page};
use super::record::BlockRecord;
use crate::paths::Exit;

/// The programs that are tried, in this order.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Opens every page; gives what is wrong, each with its page.
pub(crate) fn check(library: &Library, out: &Path) -> anyhow::Result<Vec<String>> {
    let program = program()?;
    let mut wrong = Vec::new();
    let mut blocks = 0;
    for page in library.pages()? {
        let name = page.path.replace(".md", ".html");
        let seen = open(&program, &out.join(&name))?;
        let records = library.record(&page.chapter.name)?.blocks;
        blocks += records.len();
        wrong
            .extend(faults(&page, &records, &seen).into_iter().map(|one| format!("{name}: {one}")));
    }
    println!("browser {blocks} recorded blocks are on their pages as recorded");
    Ok(wrong)
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

fn open(program: &Path, page: &Path) -> anyhow::Result<Seen> {
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
        .arg(format!("file://{}", page.display()))
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
    for record in records {
        let shown = page.chapter.blocks.iter().any(|block| {
            block.id.as_ref() == Some(&record.id) && !block.hide && block.language != "diagram"
        });
        if !shown {
            continue;
        }
        let lines: Vec<&str> =
            record.steps.iter().flat_map(|step| step.lines.iter().map(String::as_str)).collect();
        match text_of(&seen.dom, &record.id) {
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
