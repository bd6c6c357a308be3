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
    let library = Library::own();
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

/// Ten changes of other kinds than the forty, thought of when all else was written: each says what
/// it was, and panics when it is not told.
mod afterwards {
    use super::super::links;
    use super::super::redact::{Memory, Rules};
    use super::*;

    /// What is told of a step that gives back other lines, and must be.
    fn told(spot: &Spot<'_>, lines: Vec<String>) -> Drift {
        let found = spot.judged(|step| step.lines.clone_from(&lines));
        found.unwrap_or_else(|| panic!("{}: not told", spot.block().at))
    }

    /// The line of the chapter at which line `at` of what a step gives back is expected.
    fn line(spot: &Spot<'_>, at: usize) -> String {
        spot.clean.chapter().source.at(spot.step().first + at).to_string()
    }

    /// Spots of blocks that show at least so many lines, each like no other.
    fn long<'a>(literal: &'a [Spot<'a>], least: usize) -> Vec<&'a Spot<'a>> {
        let many = |spot: &&Spot<'_>| {
            let distinct: std::collections::BTreeSet<&String> = spot.got().iter().collect();
            distinct.len() == spot.got().len() && spot.got().len() >= least && spot.line == 0
        };
        literal.iter().filter(many).collect()
    }

    /// A line that is no longer printed.
    pub(super) fn dropped(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let spot = *dice.pick(&long(literal, 3));
        let mut lines = spot.got().to_vec();
        lines.remove(1);
        let drift = told(spot, lines);
        assert_eq!(drift.at.to_string(), line(spot, 1), "{}", drift.report());
        format!("a line dropped {}", drift.at)
    }

    /// A line more, at the end.
    pub(super) fn added(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let spot = *dice.pick(&long(literal, 2));
        let mut lines = spot.got().to_vec();
        lines.push("deprecated".to_owned());
        let drift = told(spot, lines);
        assert!(drift.report().contains("+ deprecated"), "{}", drift.report());
        format!("a line added {}", drift.at)
    }

    /// Two lines in the other order.
    pub(super) fn swapped(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let spot = *dice.pick(&long(literal, 4));
        let mut lines = spot.got().to_vec();
        lines.swap(1, 2);
        let drift = told(spot, lines);
        assert!([line(spot, 1), line(spot, 2)].contains(&drift.at.to_string()));
        format!("two lines swapped {}", drift.at)
    }

    /// One letter of the other case.
    pub(super) fn capital(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let small = |spot: &&Spot<'_>| spot.got()[spot.line].contains(char::is_lowercase);
        let spots: Vec<&Spot<'_>> = literal.iter().filter(small).collect();
        let spot = *dice.pick(&spots);
        let mut lines = spot.got().to_vec();
        let at = lines[spot.line].find(char::is_lowercase).expect("one");
        let letter = lines[spot.line][at..].chars().next().expect("one");
        let upper = letter.to_uppercase().to_string();
        lines[spot.line].replace_range(at..at + letter.len_utf8(), &upper);
        let drift = told(spot, lines);
        assert_eq!(drift.at.to_string(), line(spot, spot.line));
        format!("a capital {}", drift.at)
    }

    /// Two values that were different are one, or the other way round.
    pub(super) fn relation(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let numbered = regex::Regex::new(r"\[[A-Z]+1\]").expect("an expression");
        let has = |spot: &&Spot<'_>| numbered.is_match(&spot.got()[spot.line]);
        let spots: Vec<&Spot<'_>> = literal.iter().filter(has).collect();
        let spot = *dice.pick(&spots);
        let mut lines = spot.got().to_vec();
        lines[spot.line] = lines[spot.line].replacen("1]", "2]", 1);
        let drift = told(spot, lines);
        assert_eq!(drift.at.to_string(), line(spot, spot.line));
        format!("another value of the same kind {}", drift.at)
    }

    /// A record that was improved by hand.
    pub(super) fn forged(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let spot = dice.pick(literal);
        let mut record = spot.clean.record.clone();
        let block = spot.block();
        let own = record.blocks.iter_mut().find(|one| Some(&one.id) == block.id.as_ref());
        own.expect("recorded").steps[spot.step].lines[spot.line].push('!');
        let told = judge::records(spot.clean.chapter(), &record, &spot.clean.files);
        let found =
            told.iter().find(|drift| drift.at == block.at && drift.what.contains("by hand"));
        format!("a record edited {}", found.expect("told").at)
    }

    /// Two blocks that got the records of each other.
    pub(super) fn exchanged(clean: &[&Clean], dice: &mut Dice) -> String {
        let two: Vec<&&Clean> = clean.iter().filter(|one| one.record.blocks.len() > 1).collect();
        let one = *dice.pick(&two);
        let mut record = one.record.clone();
        let (first, second) = (record.blocks[0].id.clone(), record.blocks[1].id.clone());
        (record.blocks[0].id, record.blocks[1].id) = (second, first);
        let told = judge::records(one.chapter(), &record, &one.files);
        assert!(told.len() >= 2, "{}: not told", one.chapter().name);
        format!("records exchanged {}", told[0].at)
    }

    /// A fence that is gone, with all that it showed.
    pub(super) fn deleted(clean: &[&Clean], dice: &mut Dice) -> String {
        let alone = |one: &&&Clean| {
            // One whose absence leaves a chapter: nothing is started or stopped in it.
            !one.chapter().source.text().contains(" bg=")
        };
        let some: Vec<&&Clean> = clean.iter().filter(alone).collect();
        let one = *dice.pick(&some);
        let block = one.chapter().blocks.iter().rfind(|block| judge::recorded(block));
        let block = block.expect("a recorded block");
        let mut source = one.chapter().source.clone();
        source.lines.drain(block.span.0..=block.span.1);
        source.origins.drain(block.span.0..=block.span.1);
        let chapter = fence::chapter(&one.chapter().name, source).expect("still a chapter");
        let told = judge::records(&chapter, &one.record, &one.files);
        let label = format!("block {}", block.label());
        let found = told.iter().find(|drift| drift.label == label).expect("told");
        assert!(found.what.contains("no longer in the chapter"));
        format!("a fence deleted {}, {label}", found.at)
    }

    /// A rule that no longer finds what it found: the value itself comes back.
    pub(super) fn loosened(literal: &[Spot<'_>], dice: &mut Dice) -> String {
        let timed = |spot: &&Spot<'_>| spot.got()[spot.line].starts_with("[TIME]");
        let spots: Vec<&Spot<'_>> = literal.iter().filter(timed).collect();
        let spot = *dice.pick(&spots);
        let text = Library::own().rules_text().expect("rules");
        let rules = Rules::parse(&text.replace("[T ]", "[_]")).expect("still rules");
        let mut lines = spot.got().to_vec();
        lines[spot.line] = lines[spot.line].replacen("[TIME]", "2026-11-23T06:20:00Z", 1);
        let line_now = rules.line(&lines[spot.line], &[], &mut Memory::default());
        lines[spot.line] = line_now;
        let drift = told(spot, lines);
        assert_eq!(drift.at.to_string(), line(spot, spot.line));
        format!("a rule that finds less {}", drift.at)
    }

    /// A link of a chapter to a heading of another one that was renamed.
    pub(super) fn unlinked() -> String {
        let pages = |heading: &str| {
            BTreeMap::from([
                ("a.html".to_owned(), "<a href=\"b.html#how-many-vote\">x</a>".to_owned()),
                ("b.html".to_owned(), format!("<h2 id=\"{heading}\">x</h2>")),
            ])
        };
        let check = |heading: &str| {
            let pages = pages(heading);
            links::check(&pages, &pages.keys().cloned().collect())
        };
        assert_eq!(check("how-many-vote"), Vec::<String>::new());
        let told = check("how-many-may-vote");
        assert!(told[0].contains("a.html links to b.html#how-many-vote"), "{told:?}");
        format!("a heading renamed: {}", told[0])
    }
}

#[test]
fn each_of_ten_more_changes_that_were_thought_of_afterwards_is_told() {
    let all = library();
    let clean: Vec<&Clean> = all.iter().filter(|one| one.holds()).collect();
    let literal: Vec<Spot<'_>> =
        clean.iter().flat_map(|one| one.spots()).flat_map(Spot::literal).collect();
    let mut dice = Dice(2_026);
    let told = [
        afterwards::dropped(&literal, &mut dice),
        afterwards::added(&literal, &mut dice),
        afterwards::swapped(&literal, &mut dice),
        afterwards::capital(&literal, &mut dice),
        afterwards::relation(&literal, &mut dice),
        afterwards::forged(&literal, &mut dice),
        afterwards::exchanged(&clean, &mut dice),
        afterwards::deleted(&clean, &mut dice),
        afterwards::loosened(&literal, &mut dice),
        afterwards::unlinked(),
    ];
    eprintln!("{} of 10 changes were told:\n{}", told.len(), told.join("\n"));
}
