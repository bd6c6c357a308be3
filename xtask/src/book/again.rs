//! Chapters that could not be played, and the second try of what was not fine: on a busy machine a
//! cluster may be late, and a run of all chapters should not be lost for one.
//!
//! Refuses to hide anything: what needed a second try is named.

use std::path::Path;

use super::campaign::{Options, Played};
use super::judge::Drift;
use super::library::Page;

/// What came of playing a chapter. Where others are to be played all the same, one that could not
/// be played is a difference of that chapter, and of no other. What its nodes wrote is in `logs`.
pub(super) fn playable(
    page: &Page,
    logs: &Path,
    options: &Options,
    played: anyhow::Result<Played>,
) -> anyhow::Result<Played> {
    match played {
        Err(failure) if options.keep_going || options.again => {
            let drift = Drift {
                at: page.chapter.source.at(0),
                label: format!("chapter {}", page.chapter.name),
                what: "could not be played".to_owned(),
                diff: format!("{failure:#}").lines().map(|line| format!("  {line}")).collect(),
                next: format!("what its nodes wrote, if there were any, is in {}", logs.display()),
            };
            Ok(Played { drifts: vec![drift], ..Played::idle(page) })
        }
        played => played,
    }
}

/// Plays what was not fine once more, one chapter at a time; gives the names of those that are fine
/// then. What the last try says is what counts.
pub(super) fn once_more(
    round: &mut [Played],
    play: &dyn Fn(&Page) -> anyhow::Result<Played>,
) -> anyhow::Result<Vec<String>> {
    let mut fine = Vec::new();
    for played in round.iter_mut().filter(|played| !played.drifts.is_empty()) {
        *played = play(&played.page)?;
        if played.drifts.is_empty() {
            fine.push(played.page.chapter.name.clone());
        }
    }
    Ok(fine)
}

/// Says of which chapters the second try counts; nothing when there are none.
pub(super) fn told(second: &[String]) -> Option<String> {
    let chapters = match second.len() {
        0 => return None,
        1 => "1 chapter".to_owned(),
        many => format!("{many} chapters"),
    };
    Some(format!("{chapters} needed a second try: {}", second.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::fence_tests::chapter;
    use super::*;

    fn page(name: &str) -> Page {
        let text = "```console {node=h1 id=a}\n$ one\n1\n```\n";
        let mut chapter = chapter(text).expect("a chapter");
        chapter.name = name.to_owned();
        Page { path: format!("{name}.md"), chapter }
    }

    fn no_cluster() -> anyhow::Result<Played> {
        Err(anyhow::anyhow!("h2 is not well\nh2 | a line").context("not ready after 30 s"))
    }

    fn lost(page: &Page) -> Played {
        let options = Options { again: true, ..Options::default() };
        playable(page, Path::new("/logs"), &options, no_cluster()).expect("others go on")
    }

    #[test]
    fn a_chapter_without_its_cluster_is_one_difference_where_others_go_on() {
        let (page, logs) = (page("one"), Path::new("/logs/one"));
        let keep_going = Options { keep_going: true, ..Options::default() };
        let again = Options { again: true, ..Options::default() };
        for options in [keep_going, again] {
            let played = playable(&page, logs, &options, no_cluster()).expect("others go on");
            let [drift] = played.drifts.as_slice() else { panic!("{:?}", played.drifts) };
            assert_eq!(
                drift.report(),
                "drift  c.md:1  chapter one  could not be played\n  not ready after 30 s: h2 is \
                 not well\n  h2 | a line\n  what its nodes wrote, if there were any, is in \
                 /logs/one\n"
            );
        }
        let ends = playable(&page, logs, &Options::default(), no_cluster());
        assert!(ends.is_err(), "nobody said that others go on");
    }

    #[test]
    fn only_what_was_not_fine_is_tried_again_one_at_a_time_and_the_second_try_counts() {
        let mut round = vec![
            lost(&page("lost")),
            Played::idle(&page("fine")),
            lost(&page("shaky")),
            Played { known: true, ..Played::idle(&page("known")) },
        ];
        let tried = RefCell::new(Vec::new());
        let play = |page: &Page| {
            tried.borrow_mut().push(page.chapter.name.clone());
            Ok(if page.chapter.name == "shaky" { Played::idle(page) } else { lost(page) })
        };
        let fine = once_more(&mut round, &play).expect("others go on");
        assert_eq!(tried.into_inner(), ["lost", "shaky"]);
        assert_eq!(fine, ["shaky"]);
        let drifted: Vec<usize> = round.iter().map(|played| played.drifts.len()).collect();
        assert_eq!(drifted, [1, 0, 0, 0]);
    }

    #[test]
    fn who_needed_a_second_try_is_named() {
        let names = ["a", "b"].map(String::from);
        assert_eq!(told(&names[..1]).as_deref(), Some("1 chapter needed a second try: a"));
        assert_eq!(told(&names).as_deref(), Some("2 chapters needed a second try: a, b"));
        assert_eq!(told(&[]), None);
    }
}
