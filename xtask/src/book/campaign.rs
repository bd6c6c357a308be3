//! `verify` and `bless` over many chapters: makes clusters, runs, reports, writes. What is right is
//! decided in `judge` and `bless`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::block::{Action, Block};
use super::cache::{self, Cache};
use super::header::{Making, Need};
use super::judge::{self, Drift};
use super::library::{Library, Page};
use super::machine::{self, Machine};
use super::record::ChapterRecord;
use super::runner::{self, Outcome, Run};
use super::stage::{Real, Stage as _};
use super::{again, bless, crew, floors, junit, provenance, record, timeline, topology};
use crate::lab;
use crate::paths::Exit;

/// What to run, and how to tell.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only this chapter; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) chapter: Vec<String>,
    /// Only the chapter of this block, and nothing after the block
    #[arg(long, value_name = "ID")]
    pub(crate) block: Option<String>,
    /// Only the chapter of this block; what comes before the block is run and not compared
    #[arg(long, value_name = "ID")]
    pub(crate) from_block: Option<String>,
    /// Go on after a difference, and after a chapter that cannot be played
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Run a chapter that differed or could not be played once more, alone, after all others; what
    /// is fine then is fine
    #[arg(long)]
    pub(crate) again: bool,
    /// Run everything so many times
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// Run chapters too that were fine with the same text, files and programs
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// How many chapters at once
    #[arg(long, value_name = "N", default_value_t = crew::JOBS,
        value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) jobs: u8,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How `bless` accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Without asking.
    pub(crate) yes: bool,
    /// Records that still fit are replaced too.
    pub(crate) fresh: bool,
}

/// One chapter after its run.
pub(crate) struct Played {
    /// The chapter.
    pub(crate) page: Page,
    /// What came back.
    pub(crate) outcome: Outcome,
    /// All differences, to the text and to the records.
    pub(crate) drifts: Vec<Drift>,
    /// Whether it was fine before, and so was not run again.
    pub(crate) known: bool,
    /// Why it was not run on this machine, if it was not.
    pub(crate) lacking: Option<String>,
}

impl Played {
    /// A chapter that was not run.
    pub(crate) fn idle(page: &Page) -> Played {
        let (page, outcome) = (page.clone(), Outcome::default());
        Played { page, outcome, drifts: Vec::new(), known: false, lacking: None }
    }
}

/// The pages that the options choose. Unknown names are refused.
pub(crate) fn chosen(pages: &[Page], options: &Options) -> anyhow::Result<Vec<Page>> {
    let names: Vec<&str> = pages.iter().map(|page| page.chapter.name.as_str()).collect();
    for name in &options.chapter {
        if !names.contains(&name.as_str()) {
            return Err(unknown("chapter", name, &names));
        }
    }
    let has = |page: &Page, id: &str| {
        page.chapter.blocks.iter().any(|block| block.id.as_deref() == Some(id))
    };
    let named = || [&options.from_block, &options.block].into_iter().flatten();
    if let Some(id) = named().find(|id| !pages.iter().any(|page| has(page, id))) {
        let blocks = pages.iter().flat_map(|page| &page.chapter.blocks);
        let ids: Vec<&str> = blocks.filter_map(|block| block.id.as_deref()).collect();
        return Err(unknown("block", id, &ids));
    }
    let wanted = |page: &&Page| {
        let chapter = options.chapter.is_empty() || options.chapter.contains(&page.chapter.name);
        chapter && named().all(|id| has(page, id))
    };
    Ok(pages.iter().filter(wanted).cloned().collect())
}

fn unknown(what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let hint = super::problem::nearest(name, known).map_or_else(
        || format!("there are {}", known.join(", ")),
        |n| format!("did you mean {n}?"),
    );
    Exit::error(Exit::ABSENT, format!("no {what} {name}; {hint}"))
}

/// Runs chapters and compares with text and records. With `full`, every redaction rule must have
/// fired.
pub(crate) fn verify(
    library: &Library,
    pages: &[Page],
    options: &Options,
    full: bool,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let stamp = Mutex::new(provenance::begin(library));
    let whole = options.block.is_none() && options.from_block.is_none();
    let remembers = options.repeat == 1 && whole;
    let memory = Mutex::new(Memory::new(library, remembers, !options.no_cache)?);
    let needy = pages.iter().any(|page| !page.chapter.header.needs.is_empty());
    let machine = if needy { machine::ask()? } else { Machine::default() };
    let one = |page: &Page| {
        if held(&memory).knows(library, page) {
            note(options, &format!("chapter {}  as it was in its last run", page.chapter.name));
            return Ok(Played { known: true, ..Played::idle(page) });
        }
        if let Some(why) = lacking(page, &machine) {
            note(options, &format!("chapter {}  not run here: {why}", page.chapter.name));
            return Ok(Played { lacking: Some(why), ..Played::idle(page) });
        }
        let tried = play(library, page, options, Some(&stamp));
        let logs = failed(library, &page.chapter.name);
        let mut played = again::playable(page, &logs, options, tried)?;
        let record = library.record(&page.chapter.name)?;
        played.drifts.extend(stored(library, &played, &record));
        if !library.is_own() {
            played.drifts.iter_mut().for_each(|drift| drift.next = elsewhere(library, &drift.next));
        }
        if !options.json {
            // In one piece: another chapter may be writing, too.
            eprint!("{}", played.drifts.iter().map(Drift::report).collect::<String>());
        }
        held(&memory).note(library, &played);
        Ok(played)
    };
    let (all, second) = rounds(pages, options, &one)?;
    if let Some(file) = &options.junit {
        fs::write(file, junit::report(&all))?;
    }
    let mut good = summary(&all, &second, options, started);
    let memory = memory.into_inner().unwrap_or_else(PoisonError::into_inner);
    memory.cache.save(library);
    let here = all.iter().all(|played| played.lacking.is_none());
    // Where machines are chosen for it, a chapter that is not run is a mistake of that choice.
    if !here && std::env::var_os("CI").is_some() {
        eprintln!("error: chapters were not run on this machine, and CI is set");
        good = false;
    }
    if full && whole && here {
        let wrong = overall(library, pages, &all, &memory)?;
        wrong.iter().for_each(|wrong| eprintln!("error: {wrong}"));
        good &= wrong.is_empty();
        if good && memory.passed == 0 {
            let stamp = stamp.into_inner().unwrap_or_else(PoisonError::into_inner);
            provenance::finish(library, stamp, &all)?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(Exit::FAILED) })
}

/// Plays all pages as often as is wanted; gives what came of each, and the names of those that
/// needed a second try.
fn rounds(
    pages: &[Page],
    options: &Options,
    one: &(dyn Fn(&Page) -> anyhow::Result<Played> + Sync),
) -> anyhow::Result<(Vec<Played>, Vec<String>)> {
    let alone = |page: &Page| {
        note(options, &format!("chapter {}  once more, alone", page.chapter.name));
        one(page)
    };
    let (mut all, mut second) = (Vec::new(), Vec::new());
    for _round in 0..options.repeat {
        let mut round = crew::each(pages, options.jobs, one)?;
        if options.again {
            second.extend(again::once_more(&mut round, &alone)?);
        }
        all.extend(round);
        if !options.keep_going && all.iter().any(|played: &Played| !played.drifts.is_empty()) {
            break;
        }
    }
    Ok((all, second))
}

/// Commands for our own book, as they are for another one.
fn elsewhere(library: &Library, text: &str) -> String {
    let book = format!("cargo xtask book --book {}", library.folder().display());
    text.replace("cargo xtask book", &book)
}

/// What is wrong with a book as a whole: rules that are of no use, and too little in it.
fn overall(
    library: &Library,
    pages: &[Page],
    all: &[Played],
    memory: &Memory,
) -> anyhow::Result<Vec<String>> {
    let fired: BTreeSet<&String> =
        all.iter().flat_map(|one| &one.outcome.fired).chain(&memory.fired).collect();
    let mut wrong = Vec::new();
    if library.has_rules() {
        let rules = library.rules()?;
        let idle = rules.general().filter(|name| !fired.contains(&(*name).to_owned()));
        wrong.extend(idle.map(|name| {
            format!("redaction rule `{name}` fired nowhere; remove it or limit its scope")
        }));
    }
    let chapters: Vec<_> = pages.iter().map(|page| &page.chapter).collect();
    let bounds = if library.is_own() { floors::OURS } else { floors::ANY };
    wrong.extend(floors::missed(&chapters, &bounds));
    Ok(wrong)
}

/// What the machine cannot do that a chapter needs.
fn lacking(page: &Page, machine: &Machine) -> Option<String> {
    let needs = &page.chapter.header.needs;
    let why = |need: &Need| machine.lacks(*need).map(|why| format!("{}: {why}", need.name()));
    needs.iter().find_map(why)
}

fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was fine before, and so is not run again.
struct Memory {
    cache: Cache,
    rules: String,
    /// The key of the nodes' image; none when nothing is remembered.
    image: Option<String>,
    /// Whether what is known is trusted.
    trusted: bool,
    /// Rules that fired in chapters that were not run again.
    fired: Vec<String>,
    /// How many those are.
    passed: usize,
}

impl Memory {
    fn new(library: &Library, remembers: bool, trusted: bool) -> anyhow::Result<Memory> {
        Ok(Memory {
            cache: Cache::load(library),
            rules: library.rules_text()?,
            image: if remembers { Some(lab::image_key()?) } else { None },
            trusted,
            fired: Vec::new(),
            passed: 0,
        })
    }

    fn key(&self, library: &Library, page: &Page) -> Option<String> {
        let files = library.files(&page.chapter);
        Some(cache::key(&page.chapter, &files, &self.rules, self.image.as_deref()?))
    }

    /// Whether a chapter was fine as it is, and its record is of it.
    fn knows(&mut self, library: &Library, page: &Page) -> bool {
        let chapter = &page.chapter;
        let key = if self.trusted { self.key(library, page) } else { None };
        let Some(key) = key else { return false };
        let Some(known) = self.cache.of(&chapter.name, &key).cloned() else { return false };
        let recorded = library.record(&chapter.name).is_ok_and(|record| {
            judge::records(chapter, &record, &library.files(chapter)).is_empty()
        });
        if recorded {
            self.fired.extend(known.fired);
            self.passed += 1;
        }
        recorded
    }

    fn note(&mut self, library: &Library, played: &Played) {
        let name = &played.page.chapter.name;
        match self.key(library, &played.page).filter(|_| played.drifts.is_empty()) {
            Some(key) => {
                let fired = played.outcome.fired.iter().cloned().collect();
                self.cache.keep(name, key, fired);
            }
            None => self.cache.forget(name),
        }
    }
}

/// Whether two recorded pictures show the same.
type Same = fn(&[String], &[String]) -> bool;
/// What the agent makes is the same to the letter.
const MADE: Same = |now, then| now == then;

/// Differences to the records, without those that the run reported already.
fn stored(library: &Library, played: &Played, record: &ChapterRecord) -> Vec<Drift> {
    let chapter = &played.page.chapter;
    let mut drifts = judge::records(chapter, record, &library.files(chapter));
    for (index, seen) in &played.outcome.seen {
        let block = &chapter.blocks[*index];
        let recorded = record.blocks.iter().find(|one| Some(&one.id) == block.id.as_ref());
        let (same, what): (Same, _) = match &block.action {
            Action::Topology { .. } => {
                (topology::same, "shows another cluster than the recorded one")
            }
            Action::Timeline { .. } => {
                (timeline::same, "shows another timeline than the recorded one")
            }
            Action::Made { .. } => (MADE, "is not what was recorded"),
            Action::Console(_) | Action::File(_) | Action::NotRun(_) | Action::Provenance => {
                continue;
            }
        };
        let Some(recorded) = recorded else { continue };
        let (Some(now), Some(then)) = (seen.steps.first(), recorded.steps.first()) else {
            continue;
        };
        if !same(&then.lines, &now.lines) {
            drifts.push(Drift {
                at: block.at.clone(),
                label: format!("block {}", block.label()),
                what: what.into(),
                diff: judge::unified(&then.lines, &now.lines),
                next: format!("accept with: cargo xtask book bless --block {}", block.label()),
            });
        }
    }
    drifts.retain(|drift| played.drifts.iter().all(|known| known.label != drift.label));
    drifts
}

/// Makes the cluster of a chapter, runs it, keeps the logs if something was wrong, and removes the
/// cluster.
fn play(
    library: &Library,
    page: &Page,
    options: &Options,
    stamp: Option<&Mutex<provenance::Stamp>>,
) -> anyhow::Result<Played> {
    let chapter = &page.chapter;
    let played = |outcome: Outcome| {
        let drifts = outcome.drifts.clone();
        Played { outcome, drifts, ..Played::idle(page) }
    };
    if chapter.header.making == Making::Nothing {
        return Ok(Played::idle(page));
    }
    let started = Instant::now();
    note(options, &format!("chapter {}", chapter.name));
    let stage = Real::up(chapter, library.root(), failed(library, &chapter.name))?;
    if let Some(stamp) = stamp {
        held(stamp).versions(&stage);
    }
    let rules = library.rules()?;
    // With several chapters at once each line says to which it belongs.
    let whose = if options.jobs > 1 { format!("{}: ", chapter.name) } else { String::new() };
    let progress = |block: &Block| {
        note(options, &format!("  {whose}{:<28} {}", block.label(), block.place_name()));
    };
    let run = Run {
        rules: &rules,
        read: &|path| library.read(path),
        keep_going: options.keep_going,
        first: options.from_block.as_deref(),
        last: options.block.as_deref(),
        progress: &progress,
    };
    // A panic must not leave a cluster: it is caught here, the cluster removed, and only then goes
    // on.
    let result = catch_unwind(AssertUnwindSafe(|| runner::chapter(chapter, &stage, &run)));
    lab::wait_if_ending();
    if result.as_ref().map_or(true, |outcome| !outcome.drifts.is_empty()) {
        keep_logs(library, &chapter.name, &stage, options);
    }
    let down = stage.down();
    let outcome = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    down?;
    note(options, &format!("  {whose}done in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(played(outcome))
}

fn note(options: &Options, text: &str) {
    if !options.json {
        eprintln!("{text}");
    }
}

/// Where the logs of a failed chapter's nodes are kept.
pub(crate) fn failed(library: &Library, name: &str) -> PathBuf {
    library.work().join("failed").join(name)
}

/// Saves what the nodes of a failed chapter wrote.
fn keep_logs(library: &Library, name: &str, stage: &Real, options: &Options) {
    let folder = failed(library, name);
    let mut kept = 0;
    for node in stage.nodes() {
        let lines = stage.logs(&node).unwrap_or_default();
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let written = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(format!("{node}.log")), text));
        kept += usize::from(written.is_ok());
    }
    note(options, &format!("  logs of {kept} nodes are in {}", folder.display()));
}

/// The last lines, or the JSON; says whether all was well.
fn summary(all: &[Played], second: &[String], options: &Options, started: Instant) -> bool {
    let drifted: Vec<&Drift> = all.iter().flat_map(|one| &one.drifts).collect();
    let blocks = || all.iter().flat_map(|one| &one.page.chapter.blocks);
    let hidden = blocks().filter(|block| block.hide).count();
    let not_run = blocks().filter(|block| matches!(block.action, Action::NotRun(_))).count();
    let ran: usize = all.iter().map(|one| one.outcome.seen.len()).sum();
    let made = |block: &&Block| !matches!(block.action, Action::Provenance);
    let total = blocks().filter(made).count();
    let absent: Vec<_> = all
        .iter()
        .filter_map(|one| Some((one.page.chapter.name.as_str(), one.lacking.as_ref()?)))
        .collect();
    let known = all.iter().filter(|one| one.known).count();
    let some = |count: usize, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    if options.json {
        let entry = |drift: &&Drift| {
            serde_json::json!({"file": &*drift.at.file, "line": drift.at.line, "what": drift.what,
                "label": drift.label, "diff": drift.diff, "next": drift.next})
        };
        let report = serde_json::json!({"v": 1, "blocks": total, "ran": ran, "hidden": hidden,
            "not_run": not_run, "lacking": BTreeMap::from_iter(absent), "second_try": second,
            "drifted": drifted.iter().map(entry).collect::<Vec<_>>()});
        println!("{report}");
    } else {
        let differed: usize = all.iter().map(|one| one.outcome.drifts.len()).sum();
        let matched = ran.saturating_sub(differed);
        let known = some(known, "chapters as in their last run");
        let absent = some(absent.len(), "chapters impossible here");
        if let Some(line) = again::told(second) {
            println!("{line}");
        }
        println!(
            "{} of {total} blocks drifted, {matched} matched, {hidden} hidden, {not_run} not \
             run{known}{absent}, {:.0} s",
            drifted.len(),
            started.elapsed().as_secs_f64(),
        );
    }
    drifted.is_empty()
}

/// Runs chapters and writes what came back into chapters and records, after showing the difference.
pub(crate) fn bless(
    library: &Library,
    pages: &[Page],
    reload: &(dyn Fn() -> anyhow::Result<Vec<Page>> + Sync),
    options: &Options,
    manner: Manner,
) -> anyhow::Result<ExitCode> {
    if !manner.yes && provenance::dirty(library, "examples") {
        let text = "examples/ has changes that are not committed; commit them, or give --yes";
        return Err(Exit::error(Exit::FAILED, text));
    }
    // Who is asked is asked about one chapter at a time.
    let jobs = if manner.yes { options.jobs } else { 1 };
    let options = Options { keep_going: true, jobs, ..options.clone() };
    let writing = Mutex::new(());
    let one = |page: &Page| {
        let mut played = play(library, page, &options, None)?;
        if let Some(id) = &options.block {
            let blocks = &page.chapter.blocks;
            played.outcome.seen.retain(|at, _| blocks[*at].id.as_ref() == Some(id));
        }
        let _alone = held(&writing);
        accept(library, &mut played, reload, manner)
    };
    let good = crew::each(pages, jobs, &one)?.into_iter().all(|good| good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(Exit::FAILED) })
}

/// Writes one chapter; says whether all of it could be accepted.
pub(crate) fn accept(
    library: &Library,
    played: &mut Played,
    reload: &dyn Fn() -> anyhow::Result<Vec<Page>>,
    manner: Manner,
) -> anyhow::Result<bool> {
    let chapter = &played.page.chapter;
    if !reload()?.iter().any(|page| page.chapter.source == chapter.source) {
        eprintln!("error: chapter {} was edited while it ran; bless it again", chapter.name);
        return Ok(false);
    }
    let edits = bless::edits(chapter, &played.outcome.seen);
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for edit in &edits {
        let path = edit.at.file.to_string();
        let own: Vec<&bless::Edit> =
            edits.iter().filter(|other| other.at.file == edit.at.file).collect();
        let old = library.read(&path)?;
        texts.insert(path, bless::apply(&old, &own));
    }
    for (path, new) in &texts {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        println!("{path}");
        for line in judge::unified(&lines(&library.read(path)?), &lines(new)) {
            println!("{line}");
        }
    }
    if !texts.is_empty() && !manner.yes && !confirmed()? {
        println!("nothing written");
        return Ok(false);
    }
    for (path, new) in &texts {
        library.write(path, new)?;
    }
    // The edits moved lines and changed digests: judge and record against the text as it is now.
    let pages = reload()?;
    let Some(page) = pages.iter().find(|page| page.chapter.name == chapter.name) else {
        return Ok(false);
    };
    let mut good = true;
    played.outcome.seen.retain(|index, seen| {
        let drift = judge::run(&page.chapter, &page.chapter.blocks[*index], seen);
        if let Some(drift) = &drift {
            eprint!("cannot be accepted: {}", drift.report());
            good = false;
        }
        drift.is_none()
    });
    let mut old = library.record(&page.chapter.name).unwrap_or_default();
    if manner.fresh {
        let chapter = &page.chapter;
        let rerun = |id: &str| {
            played.outcome.seen.keys().any(|at| chapter.blocks[*at].id.as_deref() == Some(id))
        };
        old.blocks.retain(|block| !rerun(&block.id));
    }
    let files = library.files(&page.chapter);
    let new = bless::record(&page.chapter, &played.outcome.seen, &old, &files);
    if !(new.blocks.is_empty() && new.files.is_empty()) {
        let path = library.record_path(&page.chapter.name);
        library.write(&path, &record::print(&new))?;
        println!("recorded {path}");
    }
    Ok(good)
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Exit::error(Exit::FAILED, "nobody to ask; give --yes to accept"));
    }
    print!("accept? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}
