//! The results of a run as JUnit XML: one case per block. Pure.

use super::campaign::Played;
use super::topology::escape;

/// The report.
pub(crate) fn report(all: &[Played]) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures) = (0, 0);
    for played in all {
        let chapter = &played.page.chapter;
        let (mut cases, mut own, mut failed) = (String::new(), 0, 0);
        let mut case = |name: &str, seconds: f64, failure: Option<String>| {
            own += 1;
            failed += usize::from(failure.is_some());
            let body = failure.map_or_else(String::new, |text| {
                let head = text.lines().next().unwrap_or_default();
                let (head, text) = (escape(head), escape(&text));
                format!("<failure message=\"{head}\">{text}</failure>")
            });
            cases.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"{}\" \
                time=\"{seconds:.3}\">{body}</testcase>\n",
                escape(&chapter.name),
                escape(name)
            ));
        };
        let mut told: Vec<&str> = Vec::new();
        for (index, seen) in &played.outcome.seen {
            let block = &chapter.blocks[*index];
            let label = format!("block {}", block.label());
            let drift = played.drifts.iter().find(|drift| drift.label == label);
            told.extend(drift.map(|drift| drift.label.as_str()));
            case(&block.label(), seen.elapsed.as_secs_f64(), drift.map(|drift| drift.report()));
        }
        for drift in played.drifts.iter().filter(|drift| !told.contains(&drift.label.as_str())) {
            case(&drift.label, 0.0, Some(drift.report()));
        }
        tests += own;
        failures += failed;
        suites.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{own}\" failures=\"{failed}\">\n{cases}  \
            </testsuite>\n",
            escape(&chapter.name)
        ));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites tests=\"{tests}\" failures=\"{failures}\">\n{suites}</testsuites>\n"
    )
}
