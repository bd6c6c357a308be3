//! How much a whole book must hold, so that a run of nothing is no success. Pure.

use super::block::{Action, Chapter};
use super::judge::recorded;

/// What a book holds at least, and of what at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Chapters that run something.
    chapters: usize,
    /// Blocks that run commands.
    run: usize,
    /// Blocks that expect a failure.
    failures: usize,
    /// Blocks that wait for something.
    waits: usize,
    /// Of a hundred blocks, those that may be shown without being run.
    not_run_percent: usize,
    /// Of a hundred blocks, those that may be hidden.
    hidden_percent: usize,
}

/// Our own book.
pub(crate) const OURS: Bounds = Bounds {
    chapters: 15,
    run: 120,
    failures: 10,
    waits: 10,
    not_run_percent: 2,
    hidden_percent: 10,
};
/// Any other one: a run of nothing is no success.
pub(crate) const ANY: Bounds = Bounds {
    chapters: 1,
    run: 1,
    failures: 0,
    waits: 0,
    not_run_percent: 100,
    hidden_percent: 100,
};

/// What there is too little or too much of.
pub(crate) fn missed(chapters: &[&Chapter], bounds: &Bounds) -> Vec<String> {
    let blocks = || chapters.iter().flat_map(|chapter| &chapter.blocks);
    let consoles = || {
        blocks().filter_map(|block| match &block.action {
            Action::Console(console) => Some(console),
            _ => None,
        })
    };
    let fails = |exit: Option<i64>| exit.is_some_and(|exit| exit != 0);
    let running = chapters.iter().filter(|chapter| chapter.blocks.iter().any(recorded)).count();
    let failures = consoles().filter(|one| one.steps.iter().any(|step| fails(step.exit))).count();
    let waits = consoles().filter(|one| one.eventually.is_some()).count();
    let mut missed = Vec::new();
    for (what, there, least) in [
        ("chapters that run something", running, bounds.chapters),
        ("blocks that run commands", consoles().count(), bounds.run),
        ("blocks that expect a failure", failures, bounds.failures),
        ("blocks that wait for something", waits, bounds.waits),
    ] {
        if there < least {
            missed.push(format!("the book has {there} {what}; {least} are the least"));
        }
    }
    let total = blocks().count();
    let not_run = blocks().filter(|b| matches!(b.action, Action::NotRun(_))).count();
    let hidden = blocks().filter(|block| block.hide).count();
    for (what, there, percent) in [
        ("are not run", not_run, bounds.not_run_percent),
        ("are hidden", hidden, bounds.hidden_percent),
    ] {
        if there * 100 > total * percent {
            missed.push(format!("{there} of {total} blocks {what}; {percent} % are the most"));
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::super::fence_tests::chapter;
    use super::*;

    #[test]
    fn an_empty_book_and_one_that_hides_much_are_told() {
        assert_eq!(missed(&[], &OURS).len(), 4);
        assert_eq!(missed(&[], &ANY).len(), 2);
        let hidden = chapter("```console {node=h1 hide}\n$ true\n```\n").expect("a chapter");
        let shown = chapter("```console {node=h1 id=a exit=1}\n$ false\n```\n").expect("a chapter");
        let all: Vec<&Chapter> = std::iter::repeat_n(&shown, 150).collect();
        assert_eq!(
            missed(&all, &OURS),
            ["the book has 0 blocks that wait for something; 10 are the least"]
        );
        let more: Vec<&Chapter> = all.into_iter().chain(std::iter::repeat_n(&hidden, 20)).collect();
        let last = missed(&more, &OURS).pop();
        assert_eq!(last.as_deref(), Some("20 of 170 blocks are hidden; 10 % are the most"));
    }
}
