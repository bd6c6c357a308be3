//! Finds the fences of a chapter and reads them into blocks. It reports every mistake with its line
//! and runs nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};
use sha2::{Digest, Sha256};

use super::attributes::{self, Attribute};
use super::block::{Action, Block, Capture, Chapter, Console, Mode, Place, Shown, Stderr, Step};
use super::header::{self, Making};
use super::made::Made;
use super::pattern::{Match, Pattern};
use super::problem::{At, Problem};
use super::source::Source;

/// Commands are killed after this unless the block says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time between the tries of `eventually`.
const EVERY: Duration = Duration::from_millis(200);

/// Reads a chapter.
pub(crate) fn chapter(name: &str, source: Source) -> Result<Chapter, Vec<Problem>> {
    let first = source.lines.first().map_or("", String::as_str);
    let header = header::parse(first, &source.at(0))?;
    let text = source.text();
    let starts = line_starts(&text);
    let mut blocks = Vec::new();
    let mut problems = Vec::new();
    for (event, range) in Parser::new(&text).into_offset_iter() {
        let open = line_of(&starts, range.start);
        if let Event::Html(html) | Event::InlineHtml(html) = &event
            && html.trim_start().starts_with("<!-- quorate:")
            && open > 0
        {
            let text = "a chapter header must be on the first line";
            problems.push(Problem::new(source.at(open), text));
        }
        let Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) = event else { continue };
        let close = line_of(&starts, range.end.saturating_sub(1).max(range.start));
        match block(&source, &info, open, close) {
            Ok(block) => blocks.extend(block),
            Err(more) => problems.extend(more),
        }
    }
    problems.extend(whole(&header, &blocks));
    let name = name.to_owned();
    if problems.is_empty() {
        Ok(Chapter { name, header, source, blocks })
    } else {
        problems.sort_by(|a, b| a.at.cmp(&b.at));
        Err(problems)
    }
}

/// What can be seen only with all blocks at hand.
fn whole(header: &header::Header, blocks: &[Block]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut running: BTreeMap<&str, &At> = BTreeMap::new();
    for block in blocks {
        let mut wrong = |message: String| problems.push(Problem::new(block.at.clone(), message));
        let idle = matches!(block.action, Action::NotRun(_) | Action::Provenance);
        if header.making == Making::Nothing && !idle {
            wrong(
                "the chapter has no header `<!-- quorate: nodes = N -->` in its first line".into(),
            );
        }
        if let Place::Nodes(nodes) = &block.place {
            for node in nodes {
                let number = node.strip_prefix('h').and_then(|n| n.parse::<u8>().ok());
                if !number.is_some_and(|n| (1..=header.nodes).contains(&n)) {
                    wrong(format!("no node `{node}`: the chapter has h1 to h{}", header.nodes));
                }
            }
        }
        if header.making == Making::Page && matches!(block.place, Place::Nodes(_) | Place::All) {
            wrong("a chapter with cluster = \"page\" has host blocks only".into());
        }
        let Action::Console(console) = &block.action else { continue };
        match &console.mode {
            Mode::Run => {}
            Mode::Start(name) => {
                if let Some(before) = running.insert(name, &block.at) {
                    wrong(format!("`{name}` is running already, since {before}"));
                }
            }
            Mode::Stop { name, .. } => {
                if running.remove(name.as_str()).is_none() {
                    let names: Vec<&str> = running.keys().copied().collect();
                    problems.push(Problem::unknown(block.at.clone(), "bg name", name, &names));
                }
            }
        }
    }
    problems
}

/// Ids that occur twice in the book, and so name no single record.
pub(crate) fn duplicate_ids(chapters: &[Chapter]) -> Vec<Problem> {
    let mut seen: BTreeMap<&str, &At> = BTreeMap::new();
    let mut problems = Vec::new();
    for block in chapters.iter().flat_map(|chapter| &chapter.blocks) {
        let Some(id) = block.id.as_deref() else { continue };
        if let Some(before) = seen.insert(id, &block.at) {
            let text = format!("duplicate id `{id}`, first at {before}");
            problems.push(Problem::new(block.at.clone(), text));
        }
    }
    problems
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).saturating_sub(1)
}

/// Reads one fence; `None` if it is not for us.
fn block(
    source: &Source,
    info: &str,
    open: usize,
    close: usize,
) -> Result<Option<Block>, Vec<Problem>> {
    let at = source.at(open);
    let language = info.split([' ', '{']).next().unwrap_or_default().to_owned();
    let Some(attributes) = attributes::parse(info, &at)? else {
        if language == "console" {
            let text = "a console block needs `{node=h1 id=name}`, or `{norun reason=\"...\"}`";
            return Err(vec![Problem::new(at, text)]);
        }
        return Ok(None);
    };
    let one = |message: &str| Err(vec![Problem::new(at.clone(), message)]);
    if !source.lines[open].starts_with(['`', '~']) {
        return one("a block with attributes must start in the first column");
    }
    let mark: String = source.lines[open].chars().take_while(|c| *c == '`' || *c == '~').collect();
    if close <= open || !source.lines[close].starts_with(&mark) {
        return one("the fence is not closed");
    }
    if source.at(close).file != at.file {
        return one("the fence ends in another file");
    }
    Reader { source, at: &at, attributes, open, close, problems: Vec::new() }
        .read(language)
        .map(Some)
}

/// Takes a fence apart, collecting every mistake.
struct Reader<'a> {
    source: &'a Source,
    at: &'a At,
    attributes: Vec<Attribute>,
    open: usize,
    close: usize,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn read(mut self, language: String) -> Result<Block, Vec<Problem>> {
        let hide = self.flag("hide");
        let id = self.id();
        let place = self.place();
        let action = if self.has("file") {
            self.file(&place)
        } else if self.flag("topology") {
            Action::Topology { caption: self.text("caption").unwrap_or_default() }
        } else if self.flag("timeline") {
            Action::Timeline { caption: self.text("caption").unwrap_or_default() }
        } else if self.flag("provenance") {
            Action::Provenance
        } else if let Some(made) = self.made() {
            Action::Made { made, caption: self.text("caption").unwrap_or_default() }
        } else if self.flag("norun") {
            self.not_run()
        } else {
            self.console()
        };
        let runs = !matches!(action, Action::File(_) | Action::NotRun(_) | Action::Provenance);
        let needs_id = !hide && runs;
        if needs_id && id.is_none() {
            self.wrong("the block has no id; give it `id=some-name`");
        }
        if place == Place::Nowhere && runs {
            self.wrong("the block says neither `host` nor `node=`");
        }
        if matches!(action, Action::Provenance) && !self.body().is_empty() {
            self.wrong("the body of a `provenance` block must be empty: it is made by the build");
        }
        if let (Place::Host, Action::Console(console)) = (&place, &action) {
            let foreign = console.steps.iter().any(|s| !s.command.starts_with("cargo xtask "));
            if foreign || console.mode != Mode::Run {
                self.wrong("a host block holds nothing but `cargo xtask ...`, run to its end");
            }
            if console.stderr != Stderr::Join || console.terminal.is_some() {
                self.wrong("`stderr` and `tty` are for commands in nodes");
            }
        }
        for left in std::mem::take(&mut self.attributes) {
            self.wrong(&format!("attribute `{}` has no meaning in this block", left.key));
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let digest = digest(&self.source.lines[self.open..=self.close]);
        let span = (self.open, self.close);
        Ok(Block { at: self.at.clone(), span, language, id, digest, hide, place, action })
    }

    fn wrong(&mut self, message: &str) {
        self.problems.push(Problem::new(self.at.clone(), message));
    }

    fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute.key == key)
    }

    fn take(&mut self, key: &str) -> Option<Attribute> {
        let index = self.attributes.iter().position(|attribute| attribute.key == key)?;
        Some(self.attributes.remove(index))
    }

    fn flag(&mut self, key: &str) -> bool {
        let found = self.take(key);
        if found.as_ref().is_some_and(|attribute| attribute.value.is_some()) {
            self.wrong(&format!("attribute `{key}` takes no value"));
        }
        found.is_some()
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let found = self.take(key)?;
        if found.value.as_deref().unwrap_or_default().is_empty() {
            self.wrong(&format!("attribute `{key}` needs a value"));
        }
        found.value
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        match humantime::parse_duration(&text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.wrong(&format!("attribute `{key}`: {error}"));
                None
            }
        }
    }

    fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = format!("value of `{key}`");
        self.problems.push(Problem::unknown(self.at.clone(), &what, &text, &known));
        default
    }

    fn id(&mut self) -> Option<String> {
        let id = self.text("id")?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !id.chars().all(good) {
            self.wrong(&format!("id `{id}`: only a-z, 0-9 and - are allowed"));
        }
        Some(id)
    }

    fn place(&mut self) -> Place {
        let host = self.flag("host");
        match self.text("node") {
            Some(_) if host => {
                self.wrong("the block says both `host` and `node=`");
                Place::Host
            }
            Some(all) if all == "all" => Place::All,
            Some(list) => Place::Nodes(list.split(',').map(str::to_owned).collect()),
            None if host => Place::Host,
            None => Place::Nowhere,
        }
    }

    fn body(&self) -> &[String] {
        &self.source.lines[self.open + 1..self.close]
    }

    fn file(&mut self, place: &Place) -> Action {
        let path = self.text("file").unwrap_or_default();
        if !self.body().is_empty() {
            self.wrong("the body of a `file` block must be empty: it is taken from the file");
        }
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            self.wrong("`file` is a path from the repository's root, without `..`");
        }
        let lines = self.text("lines").and_then(|text| {
            let found = range(&text);
            if found.is_none() {
                self.wrong("`lines` is FIRST..LAST, from 1");
            }
            found
        });
        let to = self.text("to");
        if to.as_ref().is_some_and(|to| !to.starts_with('/')) {
            self.wrong("`to` is an absolute path in the node");
        }
        if to.is_some() && *place == Place::Nowhere {
            self.wrong("`to` without `node=`");
        }
        Action::File(Shown { path, to, lines })
    }

    /// What the agent is to make, if the block is about that.
    fn made(&mut self) -> Option<Made> {
        match (self.text("schema"), self.text("graph")) {
            (Some(_), Some(_)) => {
                self.wrong("a block shows either a schema or a graph");
                None
            }
            (Some(part), None) => Some(Made::Fields(part)),
            (None, Some(file)) => Some(Made::Graph(file)),
            (None, None) => None,
        }
    }

    fn not_run(&mut self) -> Action {
        match self.text("reason") {
            Some(reason) => Action::NotRun(reason),
            None => {
                self.wrong("`norun` needs `reason=\"...\"`");
                Action::NotRun(String::new())
            }
        }
    }

    fn console(&mut self) -> Action {
        let mode = match (self.text("bg"), self.text("stop")) {
            (Some(_), Some(_)) => {
                self.wrong("a block cannot both start and stop something");
                Mode::Run
            }
            (Some(name), None) => Mode::Start(name),
            (None, Some(name)) => {
                let words = [("INT", "INT"), ("TERM", "TERM")];
                let signal = self.choice("signal", &words, "INT").to_owned();
                Mode::Stop { name, signal }
            }
            (None, None) => Mode::Run,
        };
        let exit = self.exit();
        let eventually = self.duration("eventually");
        let every = self.duration("every").unwrap_or(EVERY);
        let timeout = self.duration("timeout").unwrap_or(TIMEOUT);
        let ways = [
            ("exact", Match::Exact),
            ("subset", Match::Subset),
            ("unordered", Match::Unordered),
            ("json", Match::Json),
        ];
        let how = self.choice("match", &ways, Match::Exact);
        let streams = [("join", Stderr::Join), ("split", Stderr::Split), ("drop", Stderr::Drop)];
        let stderr = self.choice("stderr", &streams, Stderr::Join);
        if eventually.is_some() && exit == Some(None) {
            self.wrong("`eventually` with `exit=any` would match at once");
        }
        let capture = self.capture();
        let terminal = self.terminal();
        if terminal.is_some() && mode != Mode::Run {
            self.wrong("`tty` is for commands that are run to their end");
        }
        if stderr != Stderr::Join && (terminal.is_some() || mode != Mode::Run) {
            self.wrong("`stderr` is for commands that are run to their end, without `tty`");
        }
        let steps = self.steps(&mode, exit.unwrap_or(Some(0)));
        if steps.len() != 1 && (eventually.is_some() || mode != Mode::Run) {
            self.wrong("`eventually`, `bg` and `stop` need a block of one command");
        }
        Action::Console(Console {
            steps,
            mode,
            eventually,
            every,
            timeout,
            how,
            stderr,
            capture,
            terminal,
        })
    }

    /// The attribute `tty`: width and height of a terminal.
    fn terminal(&mut self) -> Option<(u16, u16)> {
        let text = self.text("tty")?;
        let number = |text: &str| text.parse().ok().filter(|n| (20..=300).contains(n));
        let size = text.split_once('x').and_then(|(w, h)| Some((number(w)?, number(h)?)));
        if size.is_none() {
            self.wrong("`tty` is WIDTHxHEIGHT, each from 20 to 300");
        }
        size
    }

    /// The attribute `capture`: a name, a colon, and a regular expression with one group.
    fn capture(&mut self) -> Option<Capture> {
        let text = self.text("capture")?;
        let (name, regex) = text.split_once(':').unwrap_or((&text, ""));
        let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(good) {
            self.wrong("`capture` is NAME:REGEX; a name is upper-case letters, digits and _");
            return None;
        }
        match regex::Regex::new(regex) {
            Ok(regex) if regex.captures_len() == 2 => {
                Some(Capture { name: name.to_owned(), regex })
            }
            Ok(_) => {
                self.wrong("`capture` needs exactly one group in its expression");
                None
            }
            Err(error) => {
                self.wrong(&format!("`capture`: {error}"));
                None
            }
        }
    }

    /// The attribute `exit`: absent, any, or a number.
    fn exit(&mut self) -> Option<Option<i64>> {
        let text = self.text("exit")?;
        if text == "any" {
            return Some(None);
        }
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong(&format!("`exit={text}` is neither a number nor `any`"));
        }
        Some(number)
    }

    /// Splits the body at its `$ ` lines. `exit` is meant for the last command.
    fn steps(&mut self, mode: &Mode, exit: Option<i64>) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let body = self.body().to_vec();
        if matches!(mode, Mode::Stop { .. }) {
            let (command, line, first) = (String::new(), self.open, self.open + 1);
            steps.push(Step { command, line, expected: body, first, exit });
            self.patterns(&steps);
            return steps;
        }
        for (offset, text) in body.iter().enumerate() {
            let line = self.open + 1 + offset;
            if let Some(command) = text.strip_prefix("$ ") {
                let (command, expected) = (command.trim_end().to_owned(), Vec::new());
                steps.push(Step { command, line, expected, first: line + 1, exit: Some(0) });
            } else if let Some(step) = steps.last_mut() {
                match text.strip_prefix("> ") {
                    Some(more) if step.expected.is_empty() => {
                        step.command.push('\n');
                        step.command.push_str(more);
                        step.first = line + 1;
                    }
                    _ => step.expected.push(text.clone()),
                }
            } else {
                self.wrong("the first line of a console block must start with `$ `");
                return steps;
            }
        }
        match steps.last_mut() {
            Some(last) => last.exit = exit,
            None => self.wrong("the block has no command"),
        }
        for step in &mut steps {
            let code = step.expected.last().and_then(|line| line.strip_prefix("? "));
            if let Some(code) = code.and_then(|code| code.parse().ok()) {
                step.exit = Some(code);
                step.expected.pop();
            }
        }
        self.patterns(&steps);
        steps
    }

    fn patterns(&mut self, steps: &[Step]) {
        for step in steps {
            if let Err((line, why)) = Pattern::parse(&step.expected) {
                self.problems.push(Problem::new(self.source.at(step.first + line), why));
            }
        }
    }
}

fn range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.split_once("..")?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first >= 1 && first <= last).then_some((first, last))
}

/// SHA-256 of lines, each with a newline, in hex.
pub(crate) fn digest(lines: &[String]) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
