//! Forty changes of what the book is made of, each told with its file and line. The real chapters
//! and their records are taken; no cluster is needed, since what a run gives back is what is on
//! record.

use std::collections::BTreeMap;

use super::block::{Action, Block, Chapter, Console, Step};
use super::fence;
use super::judge::{self, Drift, Seen};
use super::library::{Library, Page};
use super::pattern::Match;
use super::record::{BlockRecord, ChapterRecord, FileRecord};
use crate::paths;

/// How many changes are tried.
const CHANGES: usize = 40;

/// A chapter that is as it was recorded.
struct Clean {
    page: Page,
    record: ChapterRecord,
    files: BTreeMap<String, FileRecord>,
}

/// A place where something can be changed.
struct Spot<'a> {
    clean: &'a Clean,
    block: usize,
    step: usize,
    line: usize,
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        &from[usize::try_from(self.0 >> 33).unwrap() % from.len()]
    }
}

impl Clean {
    fn chapter(&self) -> &Chapter {
        &self.page.chapter
    }

    fn record(&self, block: &Block) -> Option<&BlockRecord> {
        self.record.blocks.iter().find(|one| Some(&one.id) == block.id.as_ref())
    }

    fn seen(&self, block: &Block) -> Option<Seen> {
        Some(Seen { steps: self.record(block)?.steps.clone(), ..Seen::default() })
    }

    /// Whether a run that gives back what is on record is told to be fine.
    fn holds(&self) -> bool {
        let runs = |block: &Block| {
            self.seen(block).is_none_or(|seen| judge::run(self.chapter(), block, &seen).is_none())
        };
        self.chapter().blocks.iter().all(runs)
            && judge::records(self.chapter(), &self.record, &self.files).is_empty()
    }

    /// The chapter with one line of its text changed.
    fn edited(&self, line: usize, text: String) -> Chapter {
        let mut source = self.chapter().source.clone();
        source.lines[line] = text;
        fence::chapter(&self.chapter().name, source).expect("the change leaves a chapter")
    }

    /// Every command of every block, with what it gave.
    fn spots(&self) -> Vec<Spot<'_>> {
        let mut spots = Vec::new();
        for (index, block) in self.chapter().blocks.iter().enumerate() {
            let (Action::Console(console), Some(record)) = (&block.action, self.record(block))
            else {
                continue;
            };
            for step in 0..console.steps.len().min(record.steps.len()) {
                spots.push(Spot { clean: self, block: index, step, line: 0 });
            }
        }
        spots
    }
}

impl<'a> Spot<'a> {
    fn block(&self) -> &'a Block {
        &self.clean.chapter().blocks[self.block]
    }

    fn console(&self) -> &'a Console {
        match &self.block().action {
            Action::Console(console) => console,
            other => panic!("no console: {other:?}"),
        }
    }

    fn step(&self) -> &'a Step {
        &self.console().steps[self.step]
    }

    fn got(&self) -> &'a [String] {
        let record = self.clean.record(self.block()).expect("recorded");
        &record.steps[self.step].lines
    }

    /// The lines of what is expected that stand for themselves, as spots of their own.
    fn literal(self) -> Vec<Spot<'a>> {
        let plain = |line: &String| line != "..." && !line.contains("[..]") && !line.contains("{{");
        let exact = self.console().how == Match::Exact && self.step().expected == self.got();
        let fits = exact && self.step().expected.iter().all(plain);
        let Spot { clean, block, step, .. } = self;
        let count = if fits { self.got().len() } else { 0 };
        let full = |line: &usize| !self.got()[*line].trim().is_empty();
        (0..count).filter(full).map(|line| Spot { clean, block, step, line }).collect()
    }

    /// The lines of what is expected that stand for more than themselves, as spots of their own.
    fn wild(self) -> Vec<Spot<'a>> {
        let Spot { clean, block, step, .. } = self;
        let open = |line: &String| line == "..." || line.contains("[..]");
        let exact = self.console().how == Match::Exact;
        let lines = self.step().expected.iter().enumerate();
        let found = lines.filter(|(_, line)| exact && open(line)).map(|(line, _)| line);
        found.map(|line| Spot { clean, block, step, line }).collect()
    }

    /// What the judge says when this step gives back something else.
    fn judged(&self, change: impl Fn(&mut super::record::StepRecord)) -> Option<Drift> {
        let mut seen = self.clean.seen(self.block())?;
        change(&mut seen.steps[self.step]);
        judge::run(self.clean.chapter(), self.block(), &seen)
    }
}

fn library() -> Vec<Clean> {
    let library = Library::new(paths::root());
    let pages = library.pages().expect("the book is read");
    let clean = |page: Page| {
        let record = library.record(&page.chapter.name).expect("a record or none");
        let files = library.files(&page.chapter);
        Clean { page, record, files }
    };
    pages.into_iter().map(clean).filter(|one| !one.record.blocks.is_empty()).collect()
}

/// A changed message of the agent.
fn message(spots: &[Spot<'_>], dice: &mut Dice) -> String {
    let spot = dice.pick(spots);
    let told = spot.judged(|step| {
        let line = &mut step.lines[spot.line];
        *line = format!("{line} indeed");
    });
    let wanted = spot.clean.chapter().source.at(spot.step().first + spot.line);
    let told = told.unwrap_or_else(|| panic!("{wanted}: a changed message is not told"));
    assert_eq!(told.at, wanted, "{}", told.report());
    format!("message {wanted}")
}

/// Another exit code.
fn exit(spots: &[Spot<'_>], dice: &mut Dice) -> String {
    let spot = dice.pick(spots);
    let told = spot.judged(|step| step.exit += 1);
    let wanted = spot.clean.chapter().source.at(spot.step().line);
    let told = told.unwrap_or_else(|| panic!("{wanted}: another exit code is not told"));
    assert_eq!(told.at, wanted, "{}", told.report());
    format!("exit code {wanted}")
}

/// A flag of another name in a command.
fn flag(spots: &[Spot<'_>], dice: &mut Dice) -> String {
    let spot = dice.pick(spots);
    let (clean, block) = (spot.clean, spot.block());
    let old = &clean.chapter().source.lines[spot.step().line];
    let chapter = clean.edited(spot.step().line, old.replacen(" --", " --un", 1));
    let told = judge::records(&chapter, &clean.record, &clean.files);
    let found = told.iter().find(|drift| drift.at == block.at);
    assert!(found.is_some(), "{}: a renamed flag is not told", block.at);
    format!("flag {}", block.at)
}

/// A line of a file that is shown.
fn file(spots: &[(&Clean, String, usize)], dice: &mut Dice) -> String {
    let (clean, path, line) = dice.pick(spots);
    let mut files = clean.files.clone();
    let mut text = files[path].lines.clone();
    text[*line].push_str(" # changed");
    files.insert(path.clone(), FileRecord::of(&text.join("\n")));
    let told = judge::records(clean.chapter(), &clean.record, &files);
    let at = |drift: &&Drift| &*drift.at.file == path && drift.at.line == line + 1;
    assert!(told.iter().any(|drift| at(&drift)), "{path}:{}: a changed file is not told", line + 1);
    format!("file {path}:{}", line + 1)
}

/// A rule that gives its placeholders another name.
fn rule(spots: &[Spot<'_>], dice: &mut Dice) -> String {
    let spot = dice.pick(spots);
    let told = spot.judged(|step| {
        let line = &mut step.lines[spot.line];
        *line = line.replacen('[', "[OTHER", 1);
    });
    let wanted = spot.clean.chapter().source.at(spot.step().first + spot.line);
    let told = told.unwrap_or_else(|| panic!("{wanted}: another placeholder is not told"));
    assert_eq!(told.at, wanted, "{}", told.report());
    format!("rule {wanted}")
}

/// A wildcard that is none any more: the text differs from what was recorded, and from what a run
/// gives back.
fn wildcard(spots: &[Spot<'_>], dice: &mut Dice) -> String {
    let spot = dice.pick(spots);
    let (clean, at) = (spot.clean, spot.step().first + spot.line);
    let old = &clean.chapter().source.lines[at];
    let new = if old == "..." { "and more".to_owned() } else { old.replacen("[..]", "&", 1) };
    let chapter = clean.edited(at, new);
    let block = &chapter.blocks[spot.block];
    let told = judge::records(&chapter, &clean.record, &clean.files);
    assert!(told.iter().any(|drift| drift.at == block.at), "{}: not told by a build", block.at);
    let told = judge::run(&chapter, block, &clean.seen(block).expect("recorded"));
    let told = told.unwrap_or_else(|| panic!("{}: a lost wildcard is not told", block.at));
    let lines = block.span.0..=block.span.1;
    assert!(lines.map(|line| chapter.source.at(line)).any(|at| at == told.at), "{:?}", told.at);
    format!("wildcard {}", chapter.source.at(at))
}

#[test]
fn each_of_forty_changes_of_the_book_is_told_with_its_file_and_line() {
    let all = library();
    let clean: Vec<&Clean> = all.iter().filter(|one| one.holds()).collect();
    assert!(clean.len() >= 5, "only {} chapters are as they were recorded", clean.len());
    let spots = || clean.iter().flat_map(|one| one.spots());
    let literal: Vec<Spot<'_>> = spots().flat_map(Spot::literal).collect();
    let exits: Vec<Spot<'_>> = spots().filter(|spot| spot.step().exit.is_some()).collect();
    let named =
        |spot: &Spot<'_>| spot.clean.chapter().source.lines[spot.step().line].contains(" --");
    let flags: Vec<Spot<'_>> = spots().filter(named).collect();
    let marked = regex::Regex::new(r"\[[A-Z]+[0-9]*\]").expect("an expression");
    let holds = |spot: &Spot<'_>| {
        marked.find(&spot.got()[spot.line]).is_some_and(|found| {
            // The first bracket of the line is the placeholder's.
            spot.got()[spot.line].find('[') == Some(found.start())
        })
    };
    let rules: Vec<Spot<'_>> = spots().flat_map(Spot::literal).filter(holds).collect();
    let wildcards: Vec<Spot<'_>> = spots().flat_map(Spot::wild).collect();
    let files: Vec<(&Clean, String, usize)> = clean
        .iter()
        .flat_map(|one| one.files.iter().map(move |(path, file)| (*one, path, file)))
        .flat_map(|(one, path, file)| (0..file.lines.len()).map(move |n| (one, path.clone(), n)))
        .collect();
    let mut dice = Dice(31);
    let told: Vec<String> = (0..CHANGES)
        .map(|change| match change % 6 {
            0 => message(&literal, &mut dice),
            1 => exit(&exits, &mut dice),
            2 => flag(&flags, &mut dice),
            3 => file(&files, &mut dice),
            4 => rule(&rules, &mut dice),
            _ => wildcard(&wildcards, &mut dice),
        })
        .collect();
    eprintln!("{} of {CHANGES} changes were told:\n{}", told.len(), told.join("\n"));
    assert_eq!(told.len(), CHANGES);
}
