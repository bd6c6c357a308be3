//! How much a whole book must hold, so that a run of nothing is no success. Pure.

use super::block::{Action, Chapter};

/// Chapters that run something.
const CHAPTERS: usize = 15;
/// Blocks that run commands.
const RUN: usize = 120;
/// Blocks that expect a failure.
const FAILURES: usize = 10;
/// Blocks that wait for something.
const WAITS: usize = 10;
/// Of a hundred blocks, those that may be shown without being run.
const NOT_RUN_PERCENT: usize = 2;
/// Of a hundred blocks, those that may be hidden.
const HIDDEN_PERCENT: usize = 10;

/// What there is too little or too much of.
pub(crate) fn missed(chapters: &[&Chapter]) -> Vec<String> {
    let blocks = || chapters.iter().flat_map(|chapter| &chapter.blocks);
    let consoles = || {
        blocks().filter_map(|block| match &block.action {
            Action::Console(console) => Some(console),
            _ => None,
        })
    };
    let fails = |exit: Option<i64>| exit.is_some_and(|exit| exit != 0);
    let running = chapters.iter().filter(|chapter| !chapter.blocks.is_empty()).count();
    let failures = consoles().filter(|one| one.steps.iter().any(|step| fails(step.exit))).count();
    let waits = consoles().filter(|one| one.eventually.is_some()).count();
    let mut missed = Vec::new();
    for (what, there, least) in [
        ("chapters that run something", running, CHAPTERS),
        ("blocks that run commands", consoles().count(), RUN),
        ("blocks that expect a failure", failures, FAILURES),
        ("blocks that wait for something", waits, WAITS),
    ] {
        if there < least {
            missed.push(format!("the book has {there} {what}; {least} are the least"));
        }
    }
    let total = blocks().count();
    let not_run = blocks().filter(|b| matches!(b.action, Action::NotRun(_))).count();
    let hidden = blocks().filter(|block| block.hide).count();
    for (what, there, percent) in
        [("are not run", not_run, NOT_RUN_PERCENT), ("are hidden", hidden, HIDDEN_PERCENT)]
    {
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
        assert_eq!(missed(&[]).len(), 4);
        let hidden = chapter("```console {node=h1 hide}\n$ true\n```\n").expect("a chapter");
        let shown = chapter("```console {node=h1 id=a exit=1}\n$ false\n```\n").expect("a chapter");
        let all: Vec<&Chapter> = std::iter::repeat_n(&shown, 150).collect();
        assert_eq!(
            missed(&all),
            ["the book has 0 blocks that wait for something; 10 are the least"]
        );
        let more: Vec<&Chapter> = all.into_iter().chain(std::iter::repeat_n(&hidden, 20)).collect();
        let last = missed(&more).pop();
        assert_eq!(last.as_deref(), Some("20 of 170 blocks are hidden; 10 % are the most"));
    }
}
