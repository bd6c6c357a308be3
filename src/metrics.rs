//! What is measured of an agent, and its form in the text format of Prometheus.
//!
//! Pure. [`TABLE`] names every metric; the HELP and TYPE lines come from it. Refuses to listen, and
//! to know a clock.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

/// The type of the text that [`render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric as it is documented.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// One sentence for people.
    pub help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: "gauge", help }
}

/// Every metric. Names are only ever added.
pub const TABLE: &[Metric] = &[
    gauge("quorate_build_info", "Always 1; the label says which version runs."),
    gauge("quorate_resources", "Resources of the running graph by kind and state."),
    Metric {
        name: "quorate_runs_total",
        kind: "counter",
        help: "Runs that ended, by kind and result: unchanged, changed, would-change, failed.",
    },
    Metric { name: "quorate_run_seconds", kind: "histogram", help: "How long runs took, by kind." },
    gauge("quorate_graph_generation", "How many graphs have been taken since the start."),
    gauge("quorate_graph_start_time_seconds", "When the running graph was taken, in Unix time."),
    gauge("quorate_graph_refused", "1 while the graph file has mistakes and an older graph runs."),
    gauge("quorate_converged", "1 when nothing waits to be done."),
    gauge("quorate_exports", "Resources of this host that lie in the store for others."),
    gauge("quorate_collected", "Resources that are taken from exports."),
    gauge("quorate_cluster_role", "1 for the role of this host in the cluster."),
    gauge("quorate_cluster_members", "Members of the cluster by role and whether they answer."),
    gauge("quorate_cluster_voters_wanted", "How many voters the cluster should have."),
    gauge("quorate_cluster_quorum", "1 when more than half of the voters follow one leader."),
];

/// The upper bounds of the buckets of `quorate_run_seconds`, in milliseconds.
const BOUNDS_MS: [u32; 10] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 30_000, 120_000];

/// What is counted from the start of the agent on.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    runs: BTreeMap<(String, &'static str), u64>,
    took: BTreeMap<String, Histogram>,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    /// How many were at most so long, for each bound and not for those below it.
    buckets: [u64; BOUNDS_MS.len()],
    count: u64,
    sum: Duration,
}

impl Counters {
    /// Counts a run of a resource of this kind.
    pub fn ran(&mut self, kind: &str, result: &'static str, took: Duration) {
        *self.runs.entry((kind.to_owned(), result)).or_default() += 1;
        let histogram = self.took.entry(kind.to_owned()).or_default();
        histogram.count += 1;
        histogram.sum = histogram.sum.saturating_add(took);
        let bound = |ms: &u32| took <= Duration::from_millis(u64::from(*ms));
        if let Some(at) = BOUNDS_MS.iter().position(bound) {
            histogram.buckets[at] += 1;
        }
    }
}

/// What is read off the agent when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// How many resources there are by kind and state.
    pub resources: BTreeMap<(String, &'static str), u64>,
    /// How many graphs were taken.
    pub generation: u64,
    /// When the running one was, since the beginning of 1970.
    pub graph_since: Duration,
    /// The graph file has mistakes.
    pub refused: bool,
    /// Nothing waits to be done.
    pub converged: bool,
    /// How many resources are exported.
    pub exports: usize,
    /// How many are collected.
    pub collected: usize,
    /// Only in a cluster.
    pub cluster: Option<Cluster>,
}

/// What is read off the cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// What this host is.
    pub role: &'static str,
    /// How many members there are by role and whether they answer.
    pub members: BTreeMap<(&'static str, bool), u64>,
    /// How many voters are wanted, as far as it is known.
    pub voters_wanted: Option<u16>,
    /// More than half of the voters follow one leader.
    pub quorum: bool,
}

/// All metrics as text. One without a sample is left out.
pub fn render(version: &str, counters: &Counters, now: &Reading) -> String {
    let mut samples: Vec<(&'static str, String)> = Vec::new();
    let mut one = |name: &'static str, labels: &[(&str, &str)], value: &dyn fmt::Display| {
        samples.push((name, sample(name, labels, value)));
    };
    one("quorate_build_info", &[("version", version)], &1);
    for ((kind, state), n) in &now.resources {
        one("quorate_resources", &[("kind", kind), ("state", state)], n);
    }
    for ((kind, result), n) in &counters.runs {
        one("quorate_runs_total", &[("kind", kind), ("result", result)], n);
    }
    one("quorate_graph_generation", &[], &now.generation);
    one("quorate_graph_start_time_seconds", &[], &now.graph_since.as_secs_f64());
    one("quorate_graph_refused", &[], &u8::from(now.refused));
    one("quorate_converged", &[], &u8::from(now.converged));
    one("quorate_exports", &[], &now.exports);
    one("quorate_collected", &[], &now.collected);
    if let Some(cluster) = &now.cluster {
        one("quorate_cluster_role", &[("role", cluster.role)], &1);
        for ((role, up), n) in &cluster.members {
            let up = if *up { "true" } else { "false" };
            one("quorate_cluster_members", &[("role", role), ("up", up)], n);
        }
        if let Some(wanted) = &cluster.voters_wanted {
            one("quorate_cluster_voters_wanted", &[], wanted);
        }
        one("quorate_cluster_quorum", &[], &u8::from(cluster.quorum));
    }
    for (kind, histogram) in &counters.took {
        samples.push(("quorate_run_seconds", histogram.samples("quorate_run_seconds", kind)));
    }
    let mut out = String::new();
    for metric in TABLE {
        let mut of_it = samples.iter().filter(|(name, _)| *name == metric.name).peekable();
        if of_it.peek().is_some() {
            let Metric { name, kind, help } = metric;
            // Writing to a string cannot fail.
            let _written = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        of_it.for_each(|(_, text)| out.push_str(text));
    }
    out
}

impl Histogram {
    fn samples(&self, name: &str, kind: &str) -> String {
        let mut out = String::new();
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (ms, n) in BOUNDS_MS.iter().zip(self.buckets) {
            below += n;
            let bound = (f64::from(*ms) / 1000.0).to_string();
            out.push_str(&sample(&bucket, &[("kind", kind), ("le", &bound)], &below));
        }
        out.push_str(&sample(&bucket, &[("kind", kind), ("le", "+Inf")], &self.count));
        let kind = [("kind", kind)];
        out.push_str(&sample(&format!("{name}_sum"), &kind, &self.sum.as_secs_f64()));
        out.push_str(&sample(&format!("{name}_count"), &kind, &self.count));
        out
    }
}

fn sample(name: &str, labels: &[(&str, &str)], value: &dyn fmt::Display) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    let labels =
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    format!("{name}{labels} {value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> String {
        let mut counters = Counters::default();
        counters.ran("file", "changed", Duration::from_millis(3));
        counters.ran("file", "failed", Duration::from_secs(600));
        let now = Reading {
            resources: [(("file".to_owned(), "ok"), 2)].into(),
            generation: 3,
            graph_since: Duration::from_millis(1_500),
            converged: true,
            cluster: Some(Cluster {
                role: "voter",
                members: [(("voter", true), 3)].into(),
                voters_wanted: Some(5),
                quorum: true,
            }),
            ..Reading::default()
        };
        render("1.2.3", &counters, &now)
    }

    #[test]
    fn every_metric_of_the_table_is_written_with_its_help_and_type_and_no_other() {
        let text = everything();
        for metric in TABLE {
            let head = format!("# TYPE {} {}\n{}", metric.name, metric.kind, metric.name);
            assert!(text.contains(&head), "{head} is not in\n{text}");
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)));
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = |name: &str| TABLE.iter().any(|metric| metric.name == name);
            assert!(known(name) || stem.is_some_and(known), "{line}");
        }
    }

    #[test]
    fn buckets_add_up_and_what_is_longer_than_all_is_in_the_last() {
        let text = everything();
        for line in [
            "quorate_run_seconds_bucket{kind=\"file\",le=\"0.001\"} 0",
            "quorate_run_seconds_bucket{kind=\"file\",le=\"0.005\"} 1",
            "quorate_run_seconds_bucket{kind=\"file\",le=\"120\"} 1",
            "quorate_run_seconds_bucket{kind=\"file\",le=\"+Inf\"} 2",
            "quorate_run_seconds_sum{kind=\"file\"} 600.003",
            "quorate_run_seconds_count{kind=\"file\"} 2",
            "quorate_runs_total{kind=\"file\",result=\"failed\"} 1",
            "quorate_graph_start_time_seconds 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_label_with_quotes_and_lines_stays_one_label() {
        assert_eq!(sample("m", &[("k", "a\"b\\c\nd")], &1), "m{k=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
