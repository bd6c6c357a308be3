//! The results of a run as JUnit XML: one case per block. Pure.

use super::block::Action;
use super::campaign::Played;
use super::topology::escape;

/// What a chapter that needed no run says of its blocks.
const KNOWN: &str = "as it was in its last run";

/// How a case ended.
enum Ending {
    Good,
    Failed(String),
    Skipped(String),
}

/// The cases of one chapter.
#[derive(Default)]
struct Suite {
    cases: String,
    tests: usize,
    failures: usize,
    skipped: usize,
}

impl Suite {
    fn case(&mut self, chapter: &str, name: &str, seconds: f64, ending: Ending) {
        self.tests += 1;
        let body = match ending {
            Ending::Good => String::new(),
            Ending::Failed(text) => {
                self.failures += 1;
                let head = escaped(text.lines().next().unwrap_or_default());
                format!("<failure message=\"{head}\">{}</failure>", escaped(&text))
            }
            Ending::Skipped(why) => {
                self.skipped += 1;
                format!("<skipped message=\"{}\"/>", escaped(&why))
            }
        };
        self.cases.push_str(&format!(
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">{body}</testcase>\n",
            escaped(chapter),
            escaped(name)
        ));
    }
}

/// Text that XML may hold: without the control characters that it may not.
fn escaped(text: &str) -> String {
    escape(&text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}"))
}

/// The report.
pub(crate) fn report(all: &[Played]) -> String {
    let mut text = String::new();
    let (mut tests, mut failures, mut skipped) = (0, 0, 0);
    for played in all {
        let suite = suite(played);
        let (own, failed, left) = (suite.tests, suite.failures, suite.skipped);
        (tests, failures, skipped) = (tests + own, failures + failed, skipped + left);
        text.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{own}\" failures=\"{failed}\" errors=\"0\" \
            skipped=\"{left}\">\n{}  </testsuite>\n",
            escaped(&played.page.chapter.name),
            suite.cases
        ));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">\n{text}</testsuites>\n"
    )
}

fn suite(played: &Played) -> Suite {
    let chapter = &played.page.chapter;
    let mut suite = Suite::default();
    let mut told: Vec<&str> = Vec::new();
    for (index, block) in chapter.blocks.iter().enumerate() {
        let label = format!("block {}", block.label());
        let drift = played.drifts.iter().find(|drift| drift.label == label);
        told.extend(drift.map(|drift| drift.label.as_str()));
        let seen = played.outcome.seen.get(&index);
        let seconds = seen.map_or(0.0, |seen| seen.elapsed.as_secs_f64());
        let ending = match (drift, seen, &block.action) {
            (Some(drift), ..) => Ending::Failed(drift.report()),
            (None, Some(_), _) => Ending::Good,
            (None, None, Action::Provenance) => continue,
            (None, None, Action::NotRun(reason)) => Ending::Skipped(reason.clone()),
            _ if played.known => Ending::Skipped(KNOWN.to_owned()),
            _ => Ending::Skipped(played.lacking.clone().unwrap_or_else(|| "not reached".into())),
        };
        suite.case(&chapter.name, &block.label(), seconds, ending);
    }
    for drift in played.drifts.iter().filter(|drift| !told.contains(&drift.label.as_str())) {
        suite.case(&chapter.name, &drift.label, 0.0, Ending::Failed(drift.report()));
    }
    suite
}

#[cfg(test)]
mod tests {
    use super::super::fence_tests::chapter;
    use super::super::judge::{self, Seen};
    use super::super::library::Page;
    use super::super::record::StepRecord;
    use super::*;

    #[test]
    fn each_block_is_a_case_and_a_failed_one_holds_its_difference() {
        let text = "```console {node=h1 id=a}\n$ one\n1 < 2\n```\n\
                    ```console {node=h1 id=b}\n$ two\nsame\n```\n\
                    ```console {norun reason=\"it is \\\"slow\\\"\"}\n$ three\n```\n\
                    ```console {node=h1 id=d}\n$ four\n```\n";
        let chapter = chapter(&text.replace("\\\"", "'")).expect("a chapter");
        let page = Page { path: "c.md".into(), chapter };
        let mut played = Played::idle(&page);
        let step = |command: &str, line: &str| StepRecord {
            command: command.into(),
            lines: vec![line.into()],
            ..StepRecord::default()
        };
        let seen = |step| Seen { steps: vec![step], ..Seen::default() };
        let (one, two) = (seen(step("one", "2 > 1 \u{1b}[1m")), seen(step("two", "same")));
        played.drifts.extend(judge::run(&page.chapter, &page.chapter.blocks[0], &one));
        played.outcome.seen.extend([(0, one), (1, two)]);
        let report = report(&[played]);
        for part in [
            "<testsuites tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"2\">",
            "<testsuite name=\"c\" tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"2\">",
            "name=\"a\" time=\"0.000\"><failure message=\"drift  c.md:4  block a  on h1",
            "    4 - 1 &lt; 2\n      + 2 &gt; 1 \u{fffd}[1m\n",
            "name=\"b\" time=\"0.000\"></testcase>",
            "<skipped message=\"it is 'slow'\"/>",
            "name=\"d\" time=\"0.000\"><skipped message=\"not reached\"/>",
        ] {
            assert!(report.contains(part), "{part} is not in {report}");
        }
    }
}
