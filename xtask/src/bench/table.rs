//! What was measured as rows, the goals, and both as a table or as lines of JSON. Pure.
//!
//! Refuses to let a goal decide an exit code: it is only said whether it was met.

use serde_json::{Value, json};

/// One line of the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// For instance `S1 apply`.
    pub(super) scenario: &'static str,
    /// How many resources.
    pub(super) n: usize,
    /// Of all numbers of this row.
    pub(super) unit: &'static str,
    pub(super) ours: f64,
    /// By name of the tool.
    pub(super) peers: Vec<(&'static str, f64)>,
    /// What the machine can do at best.
    pub(super) limit: Option<f64>,
    /// CPU, memory and the like of ours.
    pub(super) also: String,
}

/// What a row should reach: a number of its unit on the machine of reference, and how many times
/// the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Goal {
    name: &'static str,
    most: f64,
    ratio: Option<f64>,
}

/// Scenario, size, goal: `docs/performance.md`. What is exported has no peer, and its limit is that
/// of etcd.
const GOALS: [(&str, usize, Goal); 31] = [
    ("S1 apply", 10_000, goal("G1", 1200.0, Some(2.1))),
    ("S1 apply", 100_000, goal("G4", 12_000.0, Some(2.1))),
    ("S1 durable", 10_000, goal("G2", 1500.0, Some(1.7))),
    ("S1 peak", 100_000, goal("G4", 250.0, None)),
    ("S1 calls", 2500, goal("G10", 8.0, None)),
    ("S2 no-op", 10_000, goal("G3", 250.0, Some(4.0))),
    ("S2 no-op", 100_000, goal("G4", 2500.0, Some(4.0))),
    ("S2 calls", 2500, goal("G10", 5.0, None)),
    ("S3 chain", 1000, goal("G5", 120.0, Some(2.0))),
    ("S3 chain/flat", 1000, goal("G5", 1.3, None)),
    ("S6 first", 1, goal("G6", 20.0, None)),
    ("S6 first", 1000, goal("G6", 20.0, None)),
    ("S7 p50", 10_000, goal("G7", 0.5, Some(3.0))),
    ("S7 p99", 10_000, goal("G7", 3.0, Some(4.0))),
    ("S8 edit p50", 10_000, goal("G8", 10.0, None)),
    ("S8 export p50", 10_000, goal("G8", 10.0, None)),
    ("S8 recv p50", 10_000, goal("G8", 10.0, None)),
    ("S8 repair p50", 10_000, goal("G8", 10.0, None)),
    ("S9 wake-ups", 10_000, goal("G9", 0.0, None)),
    ("S9 memory", 10_000, goal("G9", 45.0, None)),
    ("S9 each", 10_000, goal("G9", 2.0, None)),
    ("S9 instances", 10_000, goal("G9", 1.0, None)),
    ("S11 p50", 3, goal("G13", 4.0, Some(2.0))),
    ("S11 p99", 3, goal("G13", 15.0, None)),
    ("S12 publish", 10_000, goal("G15", 1000.0, Some(2.3))),
    ("S12 unchanged", 10_000, goal("G15", 200.0, Some(3.0))),
    ("G14 last p50", 100, goal("G14", 15.0, Some(3.0))),
    ("G14 cold", ANY, goal("cold", 2000.0, None)),
    ("G14 reads", ANY, goal("G3", 0.0, None)),
    ("G14 judged", ANY, goal("G3", 1.0, None)),
    ("G14 idle", ANY, goal("G3", 0.0, None)),
];

/// A goal at every size.
const ANY: usize = 0;

const fn goal(name: &'static str, most: f64, ratio: Option<f64>) -> Goal {
    Goal { name, most, ratio }
}

impl Row {
    fn goal(&self) -> Option<Goal> {
        let here = |n: usize| n == self.n || n == ANY;
        let found = GOALS.iter().find(|(name, n, _)| *name == self.scenario && here(*n))?;
        Some(found.2)
    }

    fn best_peer(&self) -> Option<f64> {
        self.peers.iter().map(|(_, value)| *value).min_by(f64::total_cmp)
    }

    fn times_limit(&self) -> Option<f64> {
        self.limit.filter(|limit| *limit > 0.0).map(|limit| self.ours / limit)
    }

    /// Whether the number is met, and whether the ratio to the limit of the same run is.
    fn met(&self, goal: Goal) -> String {
        let yes = |met: bool| if met { "yes" } else { "no" };
        let number = yes(self.ours <= goal.most);
        match (goal.ratio, self.times_limit()) {
            (Some(most), Some(times)) => format!("{number}, ratio {}", yes(times <= most)),
            _ => number.to_owned(),
        }
    }

    fn cells(&self, tools: &[&str]) -> Vec<String> {
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let times =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
        let mut cells = vec![self.scenario.to_owned(), self.n.to_string(), self.unit.to_owned()];
        cells.push(number(self.ours));
        for tool in tools {
            let found = self.peers.iter().find(|(name, _)| name == tool);
            cells.push(show(found.map(|(_, value)| *value)));
        }
        cells.push(show(self.limit));
        if !tools.is_empty() {
            cells.push(times(self.best_peer().map(|peer| self.ours / peer)));
        }
        cells.push(times(self.times_limit()));
        let goal = self.goal();
        cells.push(goal.map_or_else(|| "-".to_owned(), |it| it.text()));
        cells.push(goal.map_or_else(|| "-".to_owned(), |it| self.met(it)));
        cells.push(self.also.clone());
        cells
    }

    /// As one JSON object.
    pub(super) fn json(&self) -> Value {
        let peers: serde_json::Map<String, Value> =
            self.peers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let goal = self.goal();
        json!({"scenario": self.scenario, "n": self.n, "unit": self.unit, "ours": self.ours,
            "peers": peers, "limit": self.limit, "ours_by_limit": self.times_limit(),
            "goal": goal.map(|it| it.name), "goal_number": goal.map(|it| it.most),
            "goal_ratio": goal.and_then(|it| it.ratio),
            "met": goal.map(|it| self.met(it)), "also": self.also})
    }
}

impl Goal {
    fn text(self) -> String {
        let ratio = self.ratio.map_or_else(String::new, |it| format!(", {it} x"));
        format!("{} <= {}{ratio}", self.name, number(self.most))
    }
}

/// All rows with a heading; `tools` names the peers that were there.
pub(super) fn lines(rows: &[Row], tools: &[&str]) -> Vec<String> {
    let mut heading = vec!["scenario", "n", "unit", "ours"];
    heading.extend(tools);
    heading.push("limit");
    heading.extend((!tools.is_empty()).then_some("ours/peer"));
    heading.extend(["ours/limit", "goal", "met?", "also"]);
    let mut table: Vec<Vec<String>> = vec![heading.into_iter().map(str::to_owned).collect()];
    table.extend(rows.iter().map(|row| row.cells(tools)));
    crate::ui::table(&table)
}

/// Three digits at least, none that mean nothing.
pub(super) fn number(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.0}"),
        _ if value.abs() >= 10.0 => format!("{value:.1}"),
        _ if value.abs() >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// In milliseconds.
pub(super) fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// How the time grows with the size: 1 is proportional.
pub(super) fn exponent(small: (usize, f64), large: (usize, f64)) -> f64 {
    (large.1 / small.1).ln() / (large.0 as f64 / small.0 as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_which_half_of_its_goal_is_met() {
        let row = |ours, limit| Row {
            scenario: "S1 apply",
            n: 10_000,
            unit: "ms",
            ours,
            peers: vec![("cfengine", 5600.0), ("puppet", 70_000.0)],
            limit: Some(limit),
            also: String::new(),
        };
        for (ours, limit, met) in [
            (1000.0, 570.0, "yes, ratio yes"),
            (1000.0, 400.0, "yes, ratio no"),
            (2000.0, 1000.0, "no, ratio yes"),
        ] {
            assert_eq!(row(ours, limit).json()["met"], met);
        }
        let lines = lines(&[row(1400.0, 1000.0)], &["cfengine", "puppet"]);
        assert!(lines[0].starts_with("scenario  n      unit  ours  cfengine  puppet  limit"));
        assert!(lines[1].contains("0.25       1.40        G1 <= 1200, 2.1 x"), "{}", lines[1]);
    }

    #[test]
    fn twice_the_work_in_four_times_the_time_is_exponent_two() {
        assert!((exponent((100, 1.0), (200, 4.0)) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(8.0, "8"), (1234.4, "1234"), (12.34, "12.3"), (0.1234, "0.123")] {
            assert_eq!(number(value), text);
        }
    }
}
