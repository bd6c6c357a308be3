//! How much longer than its critical path a graph of sleeping steps takes, from the start of the
//! agent to its end: the chains, diamonds and fans of mgmt's timing examples, scaled down.
//!
//! Refuses to look at the order of the steps: `tests/surface` does.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::spread::Spread;

/// What stands for ten seconds of the examples.
const TEN: Duration = Duration::from_millis(500);
/// The excess that we hold ourselves to.
const EXCESS_MAX: Duration = Duration::from_millis(300);
/// A graph takes seconds, so it is not run as often as others ask for.
const ROUNDS_MAX: u32 = 5;

/// One graph: its steps with the number of tens that each sleeps, and which comes before which.
struct Timing {
    name: &'static str,
    steps: &'static [(&'static str, f64)],
    edges: &'static [(&'static str, &'static str)],
    /// Only one step at a time.
    lock: bool,
    /// The critical path in tens.
    path: f64,
}

const ALL: [Timing; 5] = [
    Timing {
        name: "exec1",
        steps: &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("alone", 1.0)],
        edges: &[("a", "b"), ("b", "c")],
        lock: false,
        path: 3.0,
    },
    Timing {
        name: "exec2",
        steps: &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("alone", 1.5)],
        edges: &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")],
        lock: false,
        path: 3.0,
    },
    Timing {
        name: "graph9",
        steps: &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("alone", 1.0)],
        edges: &[("a", "d"), ("b", "d"), ("c", "d")],
        lock: false,
        path: 2.0,
    },
    Timing {
        name: "graph10",
        steps: &[
            ("a", 1.0),
            ("b", 1.0),
            ("c", 1.0),
            ("d", 1.0),
            ("e", 1.0),
            ("f", 1.0),
            ("g", 1.0),
            ("alone", 1.5),
        ],
        edges: &[("a", "d"), ("b", "d"), ("c", "d"), ("d", "e"), ("d", "f"), ("d", "g")],
        lock: false,
        path: 3.0,
    },
    Timing {
        name: "exec3-sema",
        steps: &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("alone", 1.5)],
        edges: &[("a", "b"), ("b", "c")],
        lock: true,
        path: 4.5,
    },
];

/// Measures each graph; exit code 1 when one did not end well.
pub(super) fn run(agent: &Path, rounds: u32) -> anyhow::Result<ExitCode> {
    println!("{:10} {:>7}    excess: min   median      p95      max  ms", "", "path ms");
    let mut worst = Duration::ZERO;
    for timing in &ALL {
        let mut excess = Vec::new();
        for _ in 0..rounds.min(ROUNDS_MAX) {
            excess.push(timing.measure(agent)?);
        }
        worst = worst.max(excess.iter().copied().max().unwrap_or_default());
        let path = TEN.mul_f64(timing.path).as_millis();
        let spread = Spread::of(excess).map_or_else(|| "nothing".into(), |it| it.to_string());
        println!("{:10} {path:7}          {spread}", timing.name);
    }
    let verdict = if worst < EXCESS_MAX { "under" } else { "NOT under" };
    println!("\nthe worst excess is {worst:.0?}, {verdict} {EXCESS_MAX:?}");
    Ok(ExitCode::SUCCESS)
}

impl Timing {
    /// The time beyond the critical path.
    fn measure(&self, agent: &Path) -> anyhow::Result<Duration> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let graph = folder.path().join("site.yaml");
        fs::write(&graph, self.graph()).context("cannot write the graph")?;
        let mut command = Command::new(agent);
        command.args(["run", "--hostname", "timing", "--converged-timeout", "0", "--prefix"]);
        command.arg(folder.path().join("state")).arg("yaml").arg(&graph);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status().context("cannot start the agent")?;
        let took = started.elapsed();
        if !status.success() {
            bail!("{}: the agent ended with {status}", self.name);
        }
        let path = TEN.mul_f64(self.path);
        took.checked_sub(path).with_context(|| format!("{}: {took:?} for {path:?}", self.name))
    }

    fn graph(&self) -> String {
        let mut text = format!("graph: {}\nresources:\n  exec:\n", self.name);
        for (name, tens) in self.steps {
            let seconds = TEN.mul_f64(*tens).as_secs_f64();
            text.push_str(&format!("  - name: {name}\n    cmd: sleep {seconds}\n"));
            if self.lock {
                text.push_str("    meta: {sema: ['lock:1']}\n");
            }
        }
        text.push_str("edges:\n");
        for (from, to) in self.edges {
            let ends =
                format!("from: {{kind: exec, name: {from}}}, to: {{kind: exec, name: {to}}}");
            text.push_str(&format!("- {{{ends}}}\n"));
        }
        text
    }
}
