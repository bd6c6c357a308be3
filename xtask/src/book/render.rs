//! Turns a chapter and its record into the page that a reader sees: recorded lines, never patterns.
//! Pure; it starts no process, so building the book runs nothing.

use std::collections::BTreeMap;

use super::block::{Action, Block, Chapter, Console, Mode, Shown};
use super::judge;
use super::provenance::Stamp;
use super::record::{BlockRecord, ChapterRecord, FileRecord, StepRecord};
use super::redact::Rules;
use super::topology::{self, escape};
use super::{colour, timeline};

/// What a page says where no run was of this commit and these records.
const NOT_AGAIN: &str = "<p class=\"stamp\">recorded, not re-run in this build</p>";

/// What a page is made from besides its chapter.
pub(crate) struct Sources<'a> {
    /// The chapter's record.
    pub(crate) record: &'a ChapterRecord,
    /// The files that it shows, as they are now.
    pub(crate) files: &'a BTreeMap<String, FileRecord>,
    /// To mark placeholders.
    pub(crate) rules: &'a Rules,
    /// The last full run, if it was of these records and this commit.
    pub(crate) stamp: Option<&'a Stamp>,
}

/// The page as Markdown with HTML in it. Refused with every difference between chapter and record.
pub(crate) fn page(chapter: &Chapter, sources: &Sources<'_>) -> Result<String, Vec<judge::Drift>> {
    let drifts = judge::records(chapter, sources.record, sources.files);
    if !drifts.is_empty() {
        return Err(drifts);
    }
    let mut text = String::new();
    let mut stamped = false;
    let mut blocks = chapter.blocks.iter().peekable();
    let mut line = 0;
    while line < chapter.source.lines.len() {
        if let Some(block) = blocks.next_if(|block| block.span.0 == line) {
            text.push_str(&html(chapter, block, sources));
            line = block.span.1 + 1;
            continue;
        }
        let source = &chapter.source.lines[line];
        let header = line == 0 && source.starts_with("<!-- quorate:");
        if !header {
            text.push_str(source);
            text.push('\n');
        }
        if !stamped && source.starts_with("# ") {
            stamped = true;
            text.push_str(&format!("\n{}\n\n", stamp(chapter, sources.stamp)));
        }
        line += 1;
    }
    Ok(text)
}

/// The line that says when the page's outputs were recorded.
fn stamp(chapter: &Chapter, stamp: Option<&Stamp>) -> String {
    if !chapter.blocks.iter().any(judge::recorded) {
        return String::new();
    }
    let Some(stamp) = stamp else {
        return NOT_AGAIN.to_owned();
    };
    let dirty = if stamp.dirty { " with local changes" } else { "" };
    let version = |name: &str| stamp.versions.get(name).map_or("?", String::as_str);
    let engine = version("engine").split(',').next().unwrap_or("?");
    format!(
        "<p class=\"stamp\">verified at <code>{}</code>{dirty} on {}, agent {}, etcd {}, \
        engine {}, kernel {}; its commands took {:.0} s</p>",
        escape(stamp.short()),
        escape(stamp.day()),
        escape(version("agent")),
        escape(version("etcd")),
        escape(engine),
        escape(version("kernel")),
        stamp.seconds(chapter),
    )
}

/// The tables of a `provenance` block: all that the last full run noted.
fn provenance_html(stamp: Option<&Stamp>) -> String {
    let Some(stamp) = stamp else { return format!("{NOT_AGAIN}\n\n") };
    let row = |(name, value): (String, String)| {
        format!("<tr><td>{}</td><td>{value}</td></tr>", escape(&name))
    };
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    let dirty = if stamp.dirty { " with local changes" } else { "" };
    let mut rows = vec![
        ("commit".to_owned(), format!("{}{dirty}", code(&stamp.commit))),
        ("began".to_owned(), escape(&stamp.started)),
        ("ended".to_owned(), escape(&stamp.ended)),
        ("image of the nodes".to_owned(), code(&stamp.image)),
        ("faults that could be made".to_owned(), escape(&stamp.faults.join(", "))),
    ];
    rows.extend(stamp.versions.iter().map(|(name, version)| (name.clone(), escape(version))));
    let digests = stamp.digests.iter();
    rows.extend(digests.map(|(name, sum)| (format!("SHA-256 of {name}"), code(sum))));
    let none = ("blocks that are not run".to_owned(), "none".to_owned());
    rows.extend(stamp.not_run.is_empty().then_some(none));
    let not_run = stamp.not_run.iter();
    rows.extend(not_run.map(|(at, why)| (format!("not run: {at}"), escape(why))));
    let table = |head: &str, rows: Vec<String>| {
        format!(
            "<table class=\"provenance\"><thead>{head}</thead><tbody>{}</tbody></table>\n\n",
            rows.concat()
        )
    };
    let chapters = stamp.chapters.iter();
    let chapters = chapters.map(|(name, took)| row((name.clone(), format!("{took:.1} s"))));
    format!(
        "{}{}",
        table("<tr><th>what</th><th>which</th></tr>", rows.into_iter().map(row).collect()),
        table("<tr><th>chapter</th><th>its commands took</th></tr>", chapters.collect()),
    )
}

fn html(chapter: &Chapter, block: &Block, sources: &Sources<'_>) -> String {
    let record = sources.record.blocks.iter().find(|one| Some(&one.id) == block.id.as_ref());
    let steps = record.map(|record| record.steps.as_slice()).unwrap_or_default();
    match &block.action {
        _ if block.hide => hidden(block),
        Action::Console(console) => console_html(block, console, record, sources.rules),
        Action::File(shown) => file_html(block, shown, sources.files),
        Action::Topology { caption } => {
            let lines = steps.first().map(|step| step.lines.clone()).unwrap_or_default();
            let svg = topology::svg(&lines, caption);
            let (id, caption) = (escape(&block.label()), escape(caption));
            format!(
                "<figure class=\"topology\" id=\"{id}\">{svg}<figcaption>{caption}</figcaption>\
                 </figure>\n\n"
            )
        }
        Action::Timeline { caption } => {
            let lines = steps.first().map(|step| step.lines.clone()).unwrap_or_default();
            let svg = timeline::svg(&lines, caption);
            let (id, caption) = (escape(&block.label()), escape(caption));
            format!(
                "<figure class=\"timeline\" id=\"{id}\">{svg}<figcaption>{caption}</figcaption>\
                 </figure>\n\n"
            )
        }
        Action::Made { made, caption } => {
            let lines = steps.first().map(|step| step.lines.as_slice()).unwrap_or_default();
            made.html(&block.label(), lines, caption)
        }
        Action::Provenance => provenance_html(sources.stamp),
        Action::NotRun(reason) => {
            let body = &chapter.source.lines[block.span.0 + 1..block.span.1];
            let text = escape(&body.join("\n"));
            pre("", &format!("not run: {}", escape(reason)), &block.language, &text)
        }
    }
}

/// A block with a line above it that says where it acts.
fn pre(id: &str, place: &str, language: &str, text: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!(" id=\"{}\"", escape(id)) };
    // What a terminal showed gets no colours that it did not have.
    let class = match language {
        "console" | "text" | "" => "nohighlight".to_owned(),
        language => format!("language-{}", escape(language)),
    };
    // `<pre` at the start of its own line: only so may the text hold blank lines.
    format!(
        "<div class=\"where\"{id}>{place}</div>\n\n\
         <pre class=\"recorded\"><code class=\"{class}\">{text}</code></pre>\n\n"
    )
}

fn hidden(block: &Block) -> String {
    let commands: Vec<String> = match &block.action {
        Action::Console(console) => {
            console.steps.iter().map(|step| format!("$ {}", step.command)).collect()
        }
        Action::File(shown) => {
            let to = shown.to.clone().unwrap_or_default();
            vec![format!("{} to {to}", shown.path)]
        }
        Action::Topology { .. }
        | Action::Timeline { .. }
        | Action::Made { .. }
        | Action::Provenance
        | Action::NotRun(_) => Vec::new(),
    };
    let body = pre("", &escape(&block.place_name()), "text", &escape(&commands.join("\n")));
    format!(
        "<details class=\"setup\"><summary>1 setup step hidden</summary>\n\n{body}</details>\n\n"
    )
}

fn console_html(
    block: &Block,
    console: &Console,
    record: Option<&BlockRecord>,
    rules: &Rules,
) -> String {
    let steps = record.map(|record| record.steps.as_slice()).unwrap_or_default();
    let mut place = block.place_name();
    match &console.mode {
        Mode::Run => {}
        Mode::Start(_) => place.push_str(" · keeps running"),
        Mode::Stop { signal, .. } if signal == "INT" => place.push_str(" · after Ctrl-C"),
        Mode::Stop { signal, .. } => place.push_str(&format!(" · after a {signal} signal")),
    }
    if let (Some(limit), Mode::Run) = (console.eventually, &console.mode) {
        place.push_str(&format!(" · within {}", humantime::format_duration(limit)));
    }
    for exit in steps.iter().map(|step| step.exit).filter(|exit| *exit != 0) {
        place.push_str(&format!(" · exit code {exit}"));
    }
    let text: Vec<String> = steps.iter().map(|step| step_html(step, rules)).collect();
    let text = text.concat();
    pre(&block.label(), &escape(&place), "console", text.trim_end_matches('\n'))
}

fn step_html(step: &StepRecord, rules: &Rules) -> String {
    let mut html = String::new();
    if !step.command.is_empty() {
        let command = step.command.replace('\n', "\n> ");
        html.push_str(&format!("<span class=\"command\">$ {}</span>\n", escape(&command)));
    }
    let lines = if step.coloured.is_empty() { &step.lines } else { &step.coloured };
    for line in lines {
        html.push_str(&colour::html(line, &|text| marked(text, rules)));
        html.push('\n');
    }
    html
}

/// A line with its placeholders explained.
fn marked(line: &str, rules: &Rules) -> String {
    let mut html = String::new();
    let mut done = 0;
    for found in rules.placeholder().find_iter(line) {
        html.push_str(&escape(&line[done..found.start()]));
        html.push_str(&format!(
            "<span class=\"redacted\" title=\"differs from run to run; the same number is the same \
             value\">{}</span>",
            found.as_str()
        ));
        done = found.end();
    }
    html.push_str(&escape(&line[done..]));
    html
}

fn file_html(block: &Block, shown: &Shown, files: &BTreeMap<String, FileRecord>) -> String {
    let lines = files.get(&shown.path).map(|file| file.lines.as_slice()).unwrap_or_default();
    let (first, last) = shown.lines.unwrap_or((1, lines.len()));
    let part = lines.get(first - 1..last.min(lines.len())).unwrap_or_default();
    let mut place = escape(&shown.path);
    if shown.lines.is_some() {
        place.push_str(&format!(", lines {first} to {last} of {}", lines.len()));
    }
    if let Some(to) = &shown.to {
        place.push_str(&format!(" → {} {}", escape(&block.place_name()), escape(to)));
    }
    pre("", &place, &block.language, &escape(&part.join("\n")))
}
