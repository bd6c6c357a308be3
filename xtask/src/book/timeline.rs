//! The picture of a convergence: when each resource of each node came to be as it is, and what was
//! done to the cluster in between. From statuses to lines on record, and from those to SVG. Pure.
//!
//! The times are those of the recorded run. Another run is compared without them: the same nodes,
//! the same resources in the same states, the same events.

use std::fmt::Write as _;

use serde_json::Value;

use super::topology::escape;

/// Width of the picture, in its own units; the names of the lanes take the first part.
const WIDTH: f64 = 640.0;
const NAMES: f64 = 60.0;
/// Height of a lane.
const LANE: f64 = 34.0;

/// What each node said, and what was done to the cluster when (milliseconds of Unix time), as lines
/// for the record. Times are milliseconds since the first of them.
pub(crate) fn describe(
    statuses: &[(String, Option<Value>)],
    events: &[(u64, String)],
) -> Vec<String> {
    let mut marks: Vec<(u64, usize, String)> = Vec::new();
    for (lane, (_, status)) in statuses.iter().enumerate() {
        let resources = status.as_ref().and_then(|status| status["resources"].as_array());
        for one in resources.into_iter().flatten() {
            let text = |name: &str| one[name].as_str().unwrap_or("unknown").to_owned();
            let since = one["since_ms"].as_u64().unwrap_or_default();
            marks.push((since, lane, format!("{} {}", text("state"), text("id"))));
        }
    }
    marks.sort();
    let times = marks.iter().map(|mark| mark.0).chain(events.iter().map(|event| event.0));
    let first = times.min().unwrap_or_default();
    let mut lines: Vec<String> = statuses.iter().map(|(host, _)| format!("lane {host}")).collect();
    lines.extend(events.iter().map(|(at, what)| format!("event {} {what}", at - first)));
    lines.extend(
        marks
            .iter()
            .map(|(at, lane, what)| format!("mark {} {} {what}", statuses[*lane].0, at - first)),
    );
    lines
}

/// Whether two descriptions show the same, apart from their times.
pub(crate) fn same(one: &[String], other: &[String]) -> bool {
    let plain = |lines: &[String]| {
        let mut plain: Vec<String> = lines.iter().map(|line| timeless(line)).collect();
        plain.sort();
        plain
    };
    plain(one) == plain(other)
}

fn timeless(line: &str) -> String {
    let is_time = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let at = usize::from(line.starts_with("mark ")) + 1;
    let words = line.split(' ').enumerate().filter(|(n, word)| *n != at || !is_time(word));
    words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

/// A mark or an event as it is drawn.
struct Drawn<'a> {
    lane: Option<usize>,
    at: f64,
    state: &'a str,
    name: &'a str,
}

fn read<'a>(lines: &'a [String], lanes: &[&str]) -> Vec<Drawn<'a>> {
    let drawn = |line: &'a String| {
        if let Some(rest) = line.strip_prefix("event ") {
            let (at, name) = rest.split_once(' ')?;
            return Some(Drawn { lane: None, at: at.parse().ok()?, state: "event", name });
        }
        let mut words = line.strip_prefix("mark ")?.splitn(4, ' ');
        let (host, at) = (words.next()?, words.next()?);
        let (state, name) = (words.next()?, words.next()?);
        let lane = lanes.iter().position(|lane| *lane == host);
        Some(Drawn { lane, at: at.parse().ok()?, state, name })
    };
    lines.iter().filter_map(drawn).collect()
}

/// The picture, coloured by the page's style sheet. The same lines give the same bytes.
pub(crate) fn svg(lines: &[String], caption: &str) -> String {
    let lanes: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("lane ")).collect();
    let drawn = read(lines, &lanes);
    let last = drawn.iter().map(|one| one.at).fold(1.0, f64::max);
    let x = |at: f64| NAMES + (WIDTH - NAMES - 20.0) * at / last;
    let y = |lane: usize| LANE * (lane as f64 + 1.0);
    let bottom = y(lanes.len());
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" class=\"timeline\">",
        bottom + LANE
    );
    // Writing to a string cannot fail.
    let _ok = write!(svg, "<title>{}</title>", escape(caption));
    for (lane, host) in lanes.iter().enumerate() {
        let (host, y) = (escape(host), y(lane));
        let _ok = write!(
            svg,
            "<g data-lane=\"{host}\"><text x=\"4\" y=\"{y:.1}\">{host}</text>\
             <line class=\"lane\" x1=\"{NAMES}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/></g>"
        );
    }
    for one in &drawn {
        let (x, name, state) = (x(one.at), escape(one.name), escape(one.state));
        let seconds = one.at / 1000.0;
        let _ok = match one.lane {
            Some(lane) => write!(
                svg,
                "<circle class=\"mark {state}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"5\">\
                 <title>{name} {state} after {seconds:.1} s</title></circle>",
                y(lane)
            ),
            None => write!(
                svg,
                "<line class=\"event\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"8\" y2=\"{bottom:.1}\"/>\
                 <text class=\"event\" x=\"{x:.1}\" y=\"10\">{name}</text>"
            ),
        };
    }
    let _ok = write!(
        svg,
        "<text class=\"time\" x=\"{NAMES}\" y=\"{:.1}\">0 s</text>\
         <text class=\"time\" x=\"{:.1}\" y=\"{:.1}\">{:.1} s in the recorded run</text></svg>",
        bottom + 10.0,
        WIDTH - 170.0,
        bottom + 10.0,
        last / 1000.0
    );
    svg
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(shift: u64) -> Vec<String> {
        let status = |state: &str, at: u64| {
            let since = at + shift;
            Some(json!({"resources": [{"id": "file[a]", "state": state, "since_ms": since}]}))
        };
        let statuses = vec![
            ("h1".to_owned(), status("ok", 1000)),
            ("h2".to_owned(), status("failed", 3000)),
            ("h3".to_owned(), None),
        ];
        describe(&statuses, &[(2000, "cut".to_owned())])
    }

    #[test]
    fn a_timeline_has_a_lane_for_each_node_and_times_from_the_first_mark_on() {
        let wanted = [
            "lane h1",
            "lane h2",
            "lane h3",
            "event 1000 cut",
            "mark h1 0 ok file[a]",
            "mark h2 2000 failed file[a]",
        ];
        assert_eq!(lines(0), wanted);
        let svg = svg(&lines(0), "after a <cut>");
        for part in [
            "<title>after a &lt;cut&gt;</title>",
            "data-lane=\"h3\"",
            "file[a] failed after 2.0 s",
            ">cut</text>",
            "2.0 s in the recorded run",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }

    #[test]
    fn other_times_are_the_same_picture_and_other_states_are_another() {
        assert!(same(&lines(0), &lines(7)));
        let other: Vec<String> = lines(0).iter().map(|line| line.replace("failed", "ok")).collect();
        assert!(!same(&lines(0), &other));
        assert_eq!(timeless("mark h2 2000 ok exec[1 2]"), "mark h2 ok exec[1 2]");
    }
}
