//! Runner, judge, bless and page on a stage without machines.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;

use super::block::Chapter;
use super::fence_tests::chapter;
use super::judge::{self, Drift};
use super::provenance::Stamp;
use super::record::{self, ChapterRecord, FileRecord};
use super::redact::Rules;
use super::render::{self, Sources};
use super::runner::{self, Outcome, Run};
use super::stage::Stage;
use super::{bless, block::Block};
use crate::lab::Output;

const RULES: &str = "[[rule]]\nname = 'id'\nregex = '(id-[0-9]+)'\nstem = 'ID'\nnumbered = true\n";

/// A part of a command, and what it gives back time after time.
type Answers = (String, Vec<(i64, String)>);

/// Answers each command with the next of its answers; the last one stays. Everything is noted.
#[derive(Default)]
struct Fake {
    answers: Mutex<Vec<Answers>>,
    noted: Mutex<Vec<String>>,
}

impl Fake {
    fn on(self, command: &str, answers: &[(i64, &str)]) -> Fake {
        let answers = answers.iter().map(|(exit, text)| (*exit, (*text).to_owned())).collect();
        self.answers.lock().expect("not poisoned").push((command.to_owned(), answers));
        self
    }

    fn answer(&self, node: &str, command: &str) -> Output {
        self.noted.lock().expect("not poisoned").push(format!("{node}: {command}"));
        let mut all = self.answers.lock().expect("not poisoned");
        let found = all.iter_mut().find(|(part, _)| command.contains(part.as_str()));
        let (exit, text) = match found {
            Some((_, list)) if list.len() > 1 => list.remove(0),
            Some((_, list)) => list[0].clone(),
            None => (0, String::new()),
        };
        let lines = text.replace("NODE", node).lines().map(str::to_owned).collect();
        let timed_out = text == "TIMEOUT";
        Output { exit, lines, timed_out, elapsed: Duration::ZERO }
    }
}

impl Stage for Fake {
    fn nodes(&self) -> Vec<String> {
        ["h1", "h2", "h3"].map(str::to_owned).to_vec()
    }
    fn exec(&self, node: &str, script: &str, _timeout: Duration) -> anyhow::Result<Output> {
        Ok(self.answer(node, script))
    }
    fn exec_on_terminal(
        &self,
        node: &str,
        script: &str,
        _size: (u16, u16),
        timeout: Duration,
    ) -> anyhow::Result<Output> {
        self.exec(node, script, timeout)
    }
    fn upload(&self, node: &str, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let text = format!("{node}: {path} = {}", String::from_utf8_lossy(bytes));
        self.noted.lock().expect("not poisoned").push(text);
        Ok(())
    }
    fn host(&self, words: &[String], _timeout: Duration) -> anyhow::Result<Output> {
        Ok(self.answer("host", &words.join("|")))
    }
    fn logs(&self, _node: &str) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn localise(&self, text: &str) -> String {
        text.replace("10.91.1.", "10.91.7.")
    }
    fn generalise(&self, text: &str) -> String {
        text.replace("10.91.7.", "10.91.1.")
    }
}

fn read(path: &str) -> io::Result<String> {
    if path == "x.yaml" {
        Ok("graph: x\nat: 10.91.1.11\n".into())
    } else {
        Err(io::Error::other("no"))
    }
}

fn run_of<'a>(rules: &'a Rules, progress: &'a dyn Fn(&Block)) -> Run<'a> {
    Run { rules, read: &read, keep_going: false, first: None, last: None, progress }
}

fn run(chapter: &Chapter, stage: &Fake) -> Outcome {
    let rules = Rules::parse(RULES).expect("good");
    let ran = RefCell::new(Vec::new());
    let progress = |block: &Block| ran.borrow_mut().push(block.label());
    let run = run_of(&rules, &progress);
    runner::chapter(chapter, stage, &run)
}

fn good(text: &str) -> Chapter {
    chapter(text).expect("a good chapter")
}

fn reports(drifts: &[Drift]) -> String {
    drifts.iter().map(Drift::report).collect()
}

#[test]
fn matching_output_is_no_drift_and_values_are_redacted_across_blocks() {
    let chapter = good(
        "```console {node=h1 id=a}\n$ one 10.91.1.11\nmember [ID1] of 10.91.1.11\n```\n\
         ```console {node=h2 id=b}\n$ two\nthis is [ID2], and that is [ID1]\n```\n",
    );
    let stage = Fake::default()
        .on("one 10.91.7.11", &[(0, "member id-5 of 10.91.7.11")])
        .on("two", &[(0, "this is id-6, and that is id-5")]);
    let outcome = run(&chapter, &stage);
    assert_eq!(reports(&outcome.drifts), "");
    assert!(outcome.fired.contains("id"));
}

#[test]
fn a_drift_names_file_and_line_shows_both_sides_and_ends_the_chapter() {
    let chapter = good(
        "Words.\n```console {node=h1 id=a}\n$ cat f\nsame\nexported by h1\n```\n\
         ```console {node=h1 id=b}\n$ other\n```\n",
    );
    let stage = Fake::default().on("cat f", &[(0, "same\nexported by node h1")]);
    let outcome = run(&chapter, &stage);
    let report = reports(&outcome.drifts);
    for part in [
        "drift  c.md:6  block a  on h1  (exit 0, ",
        "    4 | $ cat f\n    5   same\n    6 - exported by h1\n      + exported by node h1\n",
        "accept with: cargo xtask book bless --block a",
    ] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
    assert_eq!(outcome.seen.len(), 1, "the second block was not run");
}

#[test]
fn another_exit_code_and_a_timeout_are_drifts() {
    let chapter = good("```console {node=h1 id=a exit=1}\n$ fail\nno\n```\n");
    let outcome = run(&chapter, &Fake::default().on("fail", &[(2, "no")]));
    assert!(reports(&outcome.drifts).contains("exit 2 instead of 1"));
    let outcome = run(&chapter, &Fake::default().on("fail", &[(137, "TIMEOUT")]));
    assert!(reports(&outcome.drifts).contains("timed out after 10s"));
}

#[test]
fn eventually_repeats_until_it_matches_and_keeps_the_last_output() {
    let text = "```console {node=h1 id=a eventually=5s every=1ms}\n$ cat f\nthere\n```\n";
    let stage = Fake::default().on("cat f", &[(1, "id-1 none"), (1, "none"), (0, "there")]);
    let outcome = run(&good(text), &stage);
    assert_eq!(reports(&outcome.drifts), "");
    assert_eq!(outcome.seen[&0].steps[0].lines, ["there"]);
    assert!(outcome.fired.is_empty(), "what an earlier try printed gives no number away");
    let late = text.replace("5s", "5ms");
    let outcome = run(&good(&late), &Fake::default().on("cat f", &[(0, "never")]));
    assert_eq!(outcome.drifts.len(), 1);
}

#[test]
fn several_nodes_are_grouped_in_their_order() {
    let chapter = good("```console {node=all id=a}\n$ hostname\nh1:\nh1\nh2:\nh2\nh3:\nh3\n```\n");
    let outcome = run(&chapter, &Fake::default().on("hostname", &[(0, "NODE")]));
    assert_eq!(reports(&outcome.drifts), "");
}

#[test]
fn what_is_started_shows_its_first_lines_and_the_rest_when_it_is_stopped() {
    let chapter = good(
        "```console {node=h1 id=a bg=agent every=1ms}\n$ quorate run\nstarting\nready\n```\n\
         ```console {node=h1 id=b stop=agent signal=TERM exit=3}\nstopping\n```\n",
    );
    let stage = Fake::default()
        .on("kill -TERM", &[(0, "3\nstarting\nready\nstopping")])
        .on("cat /tmp/.book/agent.out", &[(0, "starting"), (0, "starting\nready\nmore")]);
    let outcome = run(&chapter, &stage);
    assert_eq!(reports(&outcome.drifts), "");
    let noted = stage.noted.lock().expect("not poisoned").join("\n");
    assert!(noted.contains("exec quorate run"), "{noted}");
}

#[test]
fn host_blocks_get_the_words_after_cargo_xtask_and_files_are_uploaded_in_local_terms() {
    let chapter = good(
        "```console {host id=a}\n$ cargo xtask cluster kill 'h 3'\nok\n```\n\
         ```yaml {file=x.yaml node=h2 to=/etc/x.yaml}\n```\n",
    );
    let stage = Fake::default().on("cluster|kill|h 3", &[(0, "ok")]);
    assert_eq!(reports(&run(&chapter, &stage).drifts), "");
    let noted = stage.noted.lock().expect("not poisoned").join("\n");
    assert!(noted.contains("h2: /etc/x.yaml = graph: x\nat: 10.91.7.11"), "{noted}");
}

const BLESSED: &str = "```console {node=h1 id=a}\n$ show\nhead [..]\n...\nlast\n```\n\
                       ```yaml {file=x.yaml node=h1 to=/x}\n```\n";

fn files() -> BTreeMap<String, FileRecord> {
    BTreeMap::from([("x.yaml".to_owned(), FileRecord::of("graph: x\n"))])
}

/// Runs a chapter and records it, as `bless` does when nothing differs.
fn recorded(chapter: &Chapter, output: &str, old: &ChapterRecord) -> ChapterRecord {
    let outcome = run(chapter, &Fake::default().on("show", &[(0, output)]));
    assert_eq!(bless::edits(chapter, &outcome.seen), Vec::new(), "nothing to change");
    bless::record(chapter, &outcome.seen, old, &files())
}

#[test]
fn blessing_what_matches_changes_no_byte() {
    let chapter = good(BLESSED);
    let first = recorded(&chapter, "head 1\nx\nlast", &ChapterRecord::default());
    let again = recorded(&chapter, "head 2\ny\nz\nlast", &first);
    assert_eq!(record::print(&first), record::print(&again));
    let read_back = record::parse(&record::print(&first)).expect("reads");
    assert_eq!(read_back, first);
}

#[test]
fn blessing_keeps_the_wildcards_that_still_match() {
    let chapter = good(BLESSED);
    let outcome = run(&chapter, &Fake::default().on("show", &[(0, "head 1\nx\nend")]));
    let edits = bless::edits(&chapter, &outcome.seen);
    let text = chapter.source.text();
    let text = bless::apply(&text, &edits.iter().collect::<Vec<_>>());
    assert!(text.contains("$ show\nhead [..]\n...\nend\n```"), "{text}");
}

#[test]
fn what_comes_with_another_exit_code_is_not_written_into_the_chapter() {
    let chapter = good(BLESSED);
    let outcome = run(&chapter, &Fake::default().on("show", &[(6, "error: not ready")]));
    assert_eq!(bless::edits(&chapter, &outcome.seen), Vec::new());
}

#[test]
fn a_record_that_does_not_fit_is_told_with_its_place() {
    let chapter = good(BLESSED);
    let record = recorded(&chapter, "head 1\nx\nlast", &ChapterRecord::default());
    let told = |record: &ChapterRecord, chapter: &Chapter, files: BTreeMap<String, FileRecord>| {
        reports(&judge::records(chapter, record, &files))
    };
    assert_eq!(told(&record, &chapter, files()), "");
    assert!(told(&ChapterRecord::default(), &chapter, files()).contains("block a  has no record"));
    let mut edited = record.clone();
    edited.blocks[0].steps[0].lines[1] = "y".into();
    assert!(
        told(&edited, &chapter, files()).contains("c.md:2  block a  has a record that was edited")
    );
    let other = good(&BLESSED.replace("last", "end"));
    let text = told(&record, &other, files());
    assert!(text.contains("was edited since") && text.contains("+ last"), "{text}");
    let changed = BTreeMap::from([("x.yaml".to_owned(), FileRecord::of("graph: y\n"))]);
    let text = told(&record, &chapter, changed);
    assert!(text.contains("x.yaml:1") && text.contains("-graph: x"), "{text}");
    let without = good("```yaml {file=x.yaml node=h1 to=/x}\n```\n");
    assert!(told(&record, &without, files()).contains("no longer in the chapter"));
}

#[test]
fn the_page_shows_the_recorded_lines_and_no_pattern() {
    let chapter = good(&format!("# Title\n{BLESSED}"));
    let record = recorded(&chapter, "head <1> id-9\n\nx\nlast", &ChapterRecord::default());
    let rules = Rules::parse(RULES).expect("good");
    let sources = Sources { record: &record, files: &files(), rules: &rules, stamp: None };
    let page = render::page(&chapter, &sources).expect("renders");
    assert!(page.contains("recorded, not re-run in this build"), "{page}");
    assert!(!page.contains("[..]") && !page.contains("\n...\n"), "{page}");
    let start = page.find("<code").and_then(|at| page[at..].find('>').map(|end| at + end + 1));
    let body = &page[start.expect("a block")..];
    let body = &body[..body.find("</code>").expect("closed")];
    let tags = regex::Regex::new("<[^>]*>").expect("good");
    let plain = tags.replace_all(body, "").replace("&lt;", "<").replace("&gt;", ">");
    assert_eq!(plain, "$ show\nhead <1> [ID1]\n\nx\nlast");
    let stale = Sources { record: &ChapterRecord::default(), ..sources };
    assert!(render::page(&chapter, &stale).is_err(), "a page without record is not built");
}

const MADE: &str = "# T\n```table {schema=rule node=h1 id=rule}\n```\n\
    ```diagram {graph=x.yaml node=h1 id=picture caption=\"all of it\"}\n```\n";

#[test]
fn what_the_agent_makes_is_recorded_and_shown_with_the_time_that_it_took() {
    let chapter = good(MADE);
    let schema = r##"{"$defs": {"rule": {"properties": {"as": {"type": "string"}}}}}"##;
    let stage = Fake::default()
        .on("quorate schema", &[(0, schema)])
        .on("cd /root && quorate graph x.yaml --format svg", &[(0, "<svg>10.91.7.11</svg>")]);
    let outcome = run(&chapter, &stage);
    assert_eq!(reports(&outcome.drifts), "");
    let record = bless::record(&chapter, &outcome.seen, &ChapterRecord::default(), &files());
    assert_eq!(record.blocks[0].steps[0].lines, ["as\ttext\t"]);
    assert_eq!(record.blocks[1].steps[0].lines, ["<svg>10.91.1.11</svg>"]);
    let elapsed = [("rule", 1.4), ("picture", 2.2), ("of another chapter", 50.0)];
    let elapsed = elapsed.map(|(id, seconds)| (id.to_owned(), seconds));
    let stamp = Stamp { elapsed: BTreeMap::from(elapsed), ..Stamp::default() };
    let rules = Rules::parse(RULES).expect("good");
    let (files, stamp) = (files(), Some(&stamp));
    let sources = Sources { record: &record, files: &files, rules: &rules, stamp };
    let page = render::page(&chapter, &sources).expect("renders");
    for part in ["<code>as</code>", "data:image/svg+xml;base64,", "its commands took 4 s"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let none = Fake::default().on("quorate", &[(1, "error: no such file")]);
    assert!(reports(&run(&chapter, &none).drifts).contains("block rule"));
}

proptest! {
    #[test]
    fn a_mutation_of_any_line_is_detected(
        lines in proptest::collection::vec("[a-z]{1,6}( [a-z]{1,6}){0,3}", 1..8),
        at in 0_usize..8,
        word in "[a-z]{1,6}",
    ) {
        let at = at % lines.len();
        let chapter = good(&format!("```console {{node=h1 id=a}}\n$ \
        show\n{}\n```\n", lines.join("\n")));
        let output = |lines: &[String]| {
            run(&chapter, &Fake::default().on("show", &[(0, &lines.join("\n"))]))
        };
        prop_assert_eq!(reports(&output(&lines).drifts), "");
        let mut other = lines.clone();
        other[at] = format!("{} {word}", other[at]);
        let outcome = output(&other);
        prop_assert_eq!(outcome.drifts.len(), 1);
        let expected = format!("c.md:{}", 4 + at);
        prop_assert_eq!(outcome.drifts[0].at.to_string(), expected);
        // What is blessed is what is then expected, and nothing more is left to bless.
        let edits = bless::edits(&chapter, &outcome.seen);
        let text = bless::apply(&chapter.source.text(), &edits.iter().collect::<Vec<_>>());
        let blessed = good(text.split_once('\n').map_or("", |(_, rest)| rest));
        prop_assert_eq!(bless::edits(&blessed, &outcome.seen), Vec::new());
    }
}

#[test]
fn a_captured_value_reaches_later_commands_and_the_record_has_its_name() {
    let text = "```console {node=h1 id=a capture='MEMBER:(id-[0-9]+)'}\n$ one\nthe member is \
                [ID1]\n```\n```console {node=h1 id=b}\n$ remove ${MEMBER} ${OTHER}\ngone\n```\n";
    let chapter = good(text);
    let stage = Fake::default()
        .on("one", &[(0, "the member is id-7")])
        .on("remove id-7 ${OTHER}", &[(0, "gone")]);
    let outcome = run(&chapter, &stage);
    assert_eq!(reports(&outcome.drifts), "");
    assert_eq!(outcome.seen[&1].steps[0].command, "remove ${MEMBER} ${OTHER}");
    let nothing = Fake::default().on("one", &[(0, "the member is [ID1]")]);
    let told = reports(&run(&chapter, &nothing).drifts);
    assert!(told.contains("nothing for `capture=MEMBER` in it"), "{told}");
    for (wrong, why) in [
        ("capture=x:(a)", "a name is upper-case letters"),
        ("capture=X:a", "needs exactly one group"),
        ("tty=80", "`tty` is WIDTHxHEIGHT"),
        ("tty=80x24 bg=x", "run to their end"),
    ] {
        let bad = text.replace("capture='MEMBER:(id-[0-9]+)'", wrong);
        let problems = chapter_problems(&bad);
        assert!(problems.iter().any(|one| one.contains(why)), "{wrong}: {problems:?}");
    }
}

fn chapter_problems(text: &str) -> Vec<String> {
    super::fence_tests::chapter(text).expect_err("refused")
}

#[test]
fn colours_of_a_terminal_are_on_record_beside_the_plain_text_that_is_compared() {
    let chapter = good("```console {node=h1 id=a tty=80x24}\n$ one\nerror: no\n```\n");
    let stage = Fake::default().on("one", &[(0, "\u{1b}[31merror\u{1b}[0m: no")]);
    let outcome = run(&chapter, &stage);
    assert_eq!(reports(&outcome.drifts), "");
    let step = &outcome.seen[&0].steps[0];
    assert_eq!(step.lines, ["error: no"]);
    assert_eq!(step.coloured, ["\u{1b}[31merror\u{1b}[0m: no"]);
}

#[test]
fn a_run_is_taken_up_again_after_the_blocks_that_stay() {
    let text = |last: &str| {
        format!(
            "```console {{node=h1 id=a}}\n$ one\nthe member is [ID1]\n```\n\
             ```console {{node=h1 id=b}}\n$ {last}\nof the members [ID1] is before [ID2]\n```\n"
        )
    };
    let stage = Fake::default()
        .on("one", &[(0, "the member is id-4")])
        .on("two", &[(0, "of the members id-4 is before id-9")]);
    let rules = Rules::parse(RULES).expect("good");
    let progress = |_: &Block| {};
    let run = run_of(&rules, &progress);
    let mut left = Vec::new();
    runner::resume(&good(&text("none")), &stage, &run, &mut left);
    assert_eq!(left.len(), 2);
    left.truncate(1);
    let outcome = runner::resume(&good(&text("two")), &stage, &run, &mut left);
    assert_eq!(reports(&outcome.drifts), "");
    assert_eq!(outcome.seen.keys().copied().collect::<Vec<_>>(), [1]);
    let asked = stage.noted.lock().expect("not poisoned").join("\n");
    assert_eq!(asked.matches("one").count() - asked.matches("none").count(), 1, "{asked}");
}

#[test]
fn blocks_before_the_first_wanted_one_are_run_and_not_judged() {
    let chapter = good(
        "```console {node=h1 id=a}\n$ one\nthe member is [ID1]\n```\n\
         ```console {node=h1 id=b}\n$ two\n[ID1] is left\n```\n",
    );
    let stage = Fake::default()
        .on("one", &[(1, "no: the member is id-4")])
        .on("two", &[(0, "id-4 is lost")]);
    let rules = Rules::parse(RULES).expect("good");
    let run = Run { first: Some("b"), ..run_of(&rules, &|_| {}) };
    let outcome = runner::chapter(&chapter, &stage, &run);
    let told = reports(&outcome.drifts);
    assert!(told.contains("block b") && told.contains("+ [ID1] is lost"), "{told}");
    assert_eq!((outcome.drifts.len(), outcome.seen.len()), (1, 1));
}

#[test]
fn the_second_stream_is_shown_apart_where_a_block_wants_it() {
    let text = "```console {node=h1 id=a stderr=split}\n$ one\nout\nstderr:\nerr\n```\n";
    let stage = Fake::default().on("2>$t/2", &[(0, "out\nstderr:\nerr")]);
    let outcome = run(&good(text), &stage);
    assert_eq!(reports(&outcome.drifts), "");
    let noted = stage.noted.lock().expect("not poisoned").join("\n");
    assert!(noted.contains("( cd /root && one\n) >$t/1"), "{noted}");
    // The same words in a shell of this machine: both streams, their order, and the exit code.
    let home = noted.trim_start_matches("h1: ").replace("cd /root", "cd /");
    for (command, exit, wanted) in [
        ("(echo err >&2; printf out)", 0, "out\nstderr:\nerr\n"),
        ("(echo out; exit 3)", 3, "out\n"),
        ("cat <<END >&2\nerr\nEND", 0, "stderr:\nerr\n"),
    ] {
        let script = home.replace("&& one\n", &format!("&& {command}\n"));
        let shell = std::process::Command::new("sh").arg("-c").arg(&script).output();
        let shell = shell.expect("a shell");
        assert_eq!(String::from_utf8_lossy(&shell.stdout), wanted, "{script}");
        assert_eq!(shell.status.code(), Some(exit), "{script}");
    }
}

#[test]
fn the_page_of_provenance_shows_all_that_the_last_full_run_noted() {
    let chapter = good("# How\n```table {provenance}\n```\n");
    let rules = Rules::parse(RULES).expect("good");
    let (record, files) = (ChapterRecord::default(), BTreeMap::new());
    let sources = Sources { record: &record, files: &files, rules: &rules, stamp: None };
    let page = render::page(&chapter, &sources).expect("renders");
    assert!(page.contains("recorded, not re-run in this build"), "{page}");
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let stamp = Stamp {
        commit: "0123456789abcdef".into(),
        versions: one("engine", "20.10.24, API 1.41"),
        digests: one("etcd", "aa11"),
        not_run: one("book/src/a.md:9", "needs <two> machines"),
        chapters: BTreeMap::from([("forming".to_owned(), 7.25)]),
        faults: vec!["partition (routes)".into()],
        ..Stamp::default()
    };
    let page = render::page(&chapter, &Sources { stamp: Some(&stamp), ..sources });
    let page = page.expect("renders");
    for part in [
        "<td><code>0123456789abcdef</code></td>",
        "<td>engine</td><td>20.10.24, API 1.41</td>",
        "<td>SHA-256 of etcd</td><td><code>aa11</code></td>",
        "<td>not run: book/src/a.md:9</td><td>needs &lt;two&gt; machines</td>",
        "<td>forming</td><td>7.2 s</td>",
        "partition (routes)",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let wrong = chapter_problems("```table {provenance}\nx\n```\n");
    assert!(wrong[0].contains("made by the build"), "{wrong:?}");
}
