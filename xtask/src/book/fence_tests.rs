//! Tables and properties of the fence reader.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::attributes;
use super::block::{Action, Chapter, Mode, Place};
use super::fence;
use super::header;
use super::made::Made;
use super::problem::{At, Problem};
use super::record;
use super::source::Source;
use crate::paths;

const HEAD: &str = "<!-- quorate: nodes = 3 -->";

/// A chapter of these lines under a good header; the first given line is line 2.
pub(super) fn chapter(text: &str) -> Result<Chapter, Vec<String>> {
    let lines: Vec<String> = [HEAD].into_iter().chain(text.lines()).map(str::to_owned).collect();
    let file: Arc<str> = Arc::from("c.md");
    let origins = (1..=lines.len()).map(|line| At { file: file.clone(), line }).collect();
    fence::chapter("c", Source { lines, origins })
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

#[test]
fn a_console_block_is_read_whole() {
    let text = "Words.\n\n```console {node=h1,h2 id=two exit=1 eventually=15s}\n$ cat <<EOF\n\
                > text\n> EOF\ntext\n...\n```\n";
    let chapter = chapter(text).expect("good");
    let block = &chapter.blocks[0];
    assert_eq!(block.place, Place::Nodes(vec!["h1".into(), "h2".into()]));
    assert_eq!((block.at.line, block.id.as_deref()), (4, Some("two")));
    let Action::Console(console) = &block.action else { panic!("no console: {block:?}") };
    assert_eq!(console.eventually, Some(Duration::from_secs(15)));
    assert_eq!(console.steps.len(), 1);
    assert_eq!(console.steps[0].command, "cat <<EOF\ntext\nEOF");
    assert_eq!(console.steps[0].expected, ["text", "..."]);
    assert_eq!(console.steps[0].exit, Some(1));
    assert_eq!(chapter.source.lines[console.steps[0].first], "text");
}

#[test]
fn each_command_may_state_its_exit_code_and_the_attribute_is_for_the_last() {
    let text = "```console {node=h1 id=x exit=any}\n$ false\n? 1\n$ true\n$ ls\nfile\n```\n";
    let chapter = chapter(text).expect("good");
    let Action::Console(console) = &chapter.blocks[0].action else { panic!("no console") };
    let exits: Vec<Option<i64>> = console.steps.iter().map(|step| step.exit).collect();
    assert_eq!(exits, [Some(1), Some(0), None]);
}

#[test]
fn a_block_shows_a_part_of_the_schema_or_a_graph() {
    let text = "```table {schema=rule node=h1 id=a}\n```\n\
                ```diagram {graph=site.yaml node=h1 id=b caption=\"all\"}\n```\n";
    let chapter = chapter(text).expect("good");
    let Action::Made { made, .. } = &chapter.blocks[0].action else { panic!("nothing made") };
    assert_eq!(*made, Made::Fields("rule".into()));
    let Action::Made { made, caption } = &chapter.blocks[1].action else { panic!("no picture") };
    assert_eq!((made, caption.as_str()), (&Made::Graph("site.yaml".into()), "all"));
}

#[test]
fn what_is_started_can_be_stopped() {
    let text = "```console {node=h1 id=a bg=agent}\n$ quorate run empty\nstarted\n```\n\
                ```console {node=h1 id=b stop=agent signal=TERM exit=any}\nstopped\n```\n";
    let chapter = chapter(text).expect("good");
    let Action::Console(console) = &chapter.blocks[1].action else { panic!("no console") };
    assert_eq!(console.mode, Mode::Stop { name: "agent".into(), signal: "TERM".into() });
    assert_eq!(console.steps[0].expected, ["stopped"]);
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let block = |head: &str, body: &str| format!("```console {{{head}}}\n{body}\n```\n");
    for (text, expected) in [
        (
            block("node=h1 id=a ext=1", "$ ls"),
            "c.md:2: unknown attribute `ext`; did you mean `exit`",
        ),
        (block("node=h1", "$ ls"), "c.md:2: the block has no id"),
        (block("id=a", "$ ls"), "c.md:2: the block says neither `host` nor `node=`"),
        (block("host node=h1 id=a", "$ cargo xtask x"), "both `host` and `node=`"),
        (block("host id=a", "$ rm -r /"), "a host block holds nothing but `cargo xtask ...`"),
        (block("node=h4 id=a", "$ ls"), "c.md:2: no node `h4`: the chapter has h1 to h3"),
        (block("node=h1 id=A", "$ ls"), "id `A`: only a-z, 0-9 and - are allowed"),
        (block("node=h1 id=a", "ls"), "must start with `$ `"),
        (block("node=h1 id=a exit=x", "$ ls"), "`exit=x` is neither a number nor `any`"),
        (block("node=h1 id=a timeout=5", "$ ls"), "attribute `timeout`: "),
        (block("node=h1 id=a match=exakt", "$ ls"), "`exakt`; did you mean `exact`?"),
        (block("node=h1 id=a eventually=5s exit=any", "$ ls"), "would match at once"),
        (block("node=h1 id=a eventually=5s", "$ ls\n$ ls"), "need a block of one command"),
        (block("node=h1 id=a", "$ ls\nx\n{{re: ( }}"), "c.md:5: bad regular expression"),
        (block("node=h1 id=a stop=x", "out"), "unknown bg name `x`"),
        (block("host id=a stderr=drop", "$ cargo xtask x"), "`stderr` and `tty` are for commands"),
        (block("node=h1 id=a stderr=split tty=80x24", "$ ls"), "to their end, without `tty`"),
        (block("node=h1 id=a bg=x stderr=split", "$ ls"), "to their end, without `tty`"),
        (block("node=h1 id=a caption=x", "$ ls"), "`caption` has no meaning in this block"),
        (block("norun", "$ ls"), "`norun` needs `reason="),
        ("```console\n$ ls\n```\n".into(), "c.md:2: a console block needs `{node="),
        ("```console {node=h1 id=a}\n$ ls\n".into(), "c.md:2: the fence is not closed"),
        ("- x\n  ```console {node=h1 id=a}\n  $ ls\n  ```\n".into(), "in the first column"),
        ("```yaml {file=a.yaml}\nx: 1\n```\n".into(), "the body of a `file` block must be empty"),
        ("```yaml {file=a.yaml to=/x}\n```\n".into(), "`to` without `node=`"),
        ("```yaml {file=../a.yaml}\n```\n".into(), "without `..`"),
        ("```yaml {file=a.yaml lines=3..1}\n```\n".into(), "`lines` is FIRST..LAST"),
        ("<!-- quorate: nodes = 1 -->\n".into(), "c.md:2: a chapter header must be on the first"),
        ("x\n<!-- quorate: nodes = 1 -->\n".into(), "c.md:3: a chapter header must be on the"),
    ] {
        let problems = chapter(&text).expect_err(&text);
        assert!(problems.iter().any(|p| p.contains(expected)), "{text}{problems:?}");
    }
}

#[test]
fn a_chapter_may_show_how_a_chapter_is_written() {
    let text = "````text\n<!-- quorate: nodes = 1 -->\n```console {node=h9}\n$ ls\n```\n````\n";
    assert!(chapter(text).expect("good").blocks.is_empty());
}

#[test]
fn an_id_is_unique_in_the_book() {
    let text = "```console {node=h1 id=a}\n$ ls\n```\n";
    let one = chapter(text).expect("good");
    let problems = fence::duplicate_ids(&[one.clone(), one]);
    assert_eq!(problems[0].to_string(), "c.md:2: duplicate id `a`, first at c.md:2");
}

#[test]
fn a_file_block_states_what_is_shown_and_where_it_goes() {
    let text = "```yaml {file=examples/a/b.yaml node=h1 to=/etc/x.yaml lines=2..5}\n```\n";
    let chapter = chapter(text).expect("good");
    let Action::File(shown) = &chapter.blocks[0].action else { panic!("no file") };
    assert_eq!(shown.lines, Some((2, 5)));
    assert_eq!(shown.to.as_deref(), Some("/etc/x.yaml"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_text_makes_the_reader_panic(
        text in "(```|~~~|console|yaml| |\\{|\\}|node=h1|id=a|bg=b|stop=b|file=x|exit=1|\"|\n|\\$ \
        ls|> x|\\? 1|\\.\\.\\.|\\{\\{re:|é|- |\t){0,40}"
    ) {
        let _any = chapter(&text);
    }

    #[test]
    fn any_change_inside_a_fence_changes_its_digest(word in "[a-z]{1,8}", other in "[a-z]{1,8}") {
        prop_assume!(word != other);
        let digest = |word: &str| {
            let text = format!("```console {{node=h1 id=a}}\n$ echo {word}\n{word}\n```\n");
            chapter(&text).expect("good").blocks[0].digest.clone()
        };
        prop_assert_ne!(digest(&word), digest(&other));
    }
}

#[test]
fn the_reference_page_has_every_word_of_the_language_and_its_version() {
    let page = std::fs::read_to_string(paths::root().join("book/src/writing.md"));
    let page = page.expect("the page is there");
    let mut first = page.lines().filter_map(|line| line.strip_prefix("| "));
    let named: Vec<&str> = first.by_ref().filter_map(|row| row.split(" | ").next()).collect();
    let has = |word: &str| {
        let forms = [format!("`{word}`"), format!("`{word}=")];
        named.iter().any(|cell| forms.iter().any(|form| cell.contains(form)))
    };
    // `reason` stands with `norun`, in its row.
    let words = attributes::KNOWN.iter().filter(|word| **word != "reason");
    for word in words.chain(&header::KEYS) {
        assert!(has(word), "`{word}` has no row");
    }
    let known = |cell: &&&str| {
        let word = cell.trim_start_matches('`').split(['=', '`']).next().unwrap_or_default();
        attributes::KNOWN.contains(&word) || header::KEYS.contains(&word)
    };
    assert!(named.iter().filter(known).count() >= 35, "{named:?}");
    let versions = format!(
        "version {} of the language of chapters, and version {} of the store",
        header::LANGUAGE,
        record::SCHEMA
    );
    assert!(page.contains(&versions), "{versions}");
}
