//! What runs after what, and how long it takes: chains, diamonds and fans of steps that sleep.
//!
//! Ten seconds of mgmt's examples are [`TEN`] milliseconds here.

use std::time::{Duration, Instant};

use super::support::Site;

/// What stands for ten seconds, in milliseconds.
const TEN: u32 = 500;

/// How much longer than its critical path a graph may take, in seconds: enough for a machine that
/// is busy with something else. `cargo xtask bench timing` measures the excess.
const EXCESS_MAX: u64 = 5;

/// Steps that note when they start and end.
pub(crate) struct Steps<'a> {
    /// Names, and how long each sleeps in milliseconds.
    pub(crate) steps: &'a [(&'a str, u32)],
    /// Which comes before which.
    pub(crate) edges: &'a [(&'a str, &'a str)],
    /// More keys for each step, indented by four.
    pub(crate) more: &'a str,
}

/// What a graph of steps did.
pub(crate) struct Done {
    site: Site,
    took: Duration,
}

impl Steps<'_> {
    pub(crate) fn graph(&self) -> String {
        let mut text = String::from("graph: steps\nresources:\n  exec:\n");
        for (name, millis) in self.steps {
            let seconds = f64::from(*millis) / 1_000.0;
            text.push_str(&format!(
                "  - name: {name}\n    shell: /bin/sh\n    cmd: date +%s%N > DIR/{name}.start; \
                 sleep {seconds}; date +%s%N > DIR/{name}.end\n{}",
                self.more
            ));
        }
        text.push_str("edges:\n");
        for (from, to) in self.edges {
            text.push_str(&format!(
                "- {{from: {{kind: exec, name: {from}}}, to: {{kind: exec, name: {to}}}}}\n"
            ));
        }
        text
    }

    /// Runs them until all is done; the order has to be that of the edges.
    pub(crate) fn run(&self, flags: &[&str]) -> Done {
        let site = Site::new();
        site.write("site.yaml", &self.graph());
        let started = Instant::now();
        let words = [&["--converged-timeout", "0"], flags, &["yaml", "DIR/site.yaml"]].concat();
        let mut agent = site.agent(&words);
        assert_eq!(agent.end(60).code(), Some(0), "{}", agent.log());
        let done = Done { site, took: started.elapsed() };
        for (from, to) in self.edges {
            assert!(done.end(from) <= done.start(to), "{from} before {to}");
        }
        done
    }

    /// The most that slept at one moment.
    pub(crate) fn at_once(&self, done: &Done) -> usize {
        let sleeping = |at: u128| {
            let all = self.steps.iter();
            all.filter(|(name, _)| done.start(name) <= at && at < done.end(name)).count()
        };
        let starts = self.steps.iter().map(|(name, _)| done.start(name));
        starts.map(sleeping).max().unwrap_or(0)
    }
}

impl Done {
    fn moment(&self, file: &str) -> u128 {
        let text = self.site.read(file).unwrap_or_else(|| panic!("{file} was not written"));
        text.trim().parse().expect("nanoseconds")
    }

    fn start(&self, name: &str) -> u128 {
        self.moment(&format!("{name}.start"))
    }

    fn end(&self, name: &str) -> u128 {
        self.moment(&format!("{name}.end"))
    }

    /// They slept at the same time.
    fn beside(&self, one: &str, other: &str) {
        let both = self.start(one) < self.end(other) && self.start(other) < self.end(one);
        assert!(both, "{one} and {other} are not held up by each other");
    }

    /// It took the critical path, and not much more.
    pub(crate) fn took(&self, row: &str, path_millis: u32) {
        let path = Duration::from_millis(path_millis.into());
        assert!(self.took >= path, "{row}: {:?} for {path:?}", self.took);
        let excess = self.took.saturating_sub(path);
        println!("{row}: {path:?} and {excess:?}");
        assert!(excess < Duration::from_secs(EXCESS_MAX), "{row}: {path:?} and {excess:?}");
    }
}

#[test]
fn exec1_a_chain_of_three_takes_three_sleeps_beside_one_that_starts_at_once() {
    let steps = Steps {
        steps: &[("one", TEN), ("two", TEN), ("three", TEN), ("alone", TEN)],
        edges: &[("one", "two"), ("two", "three")],
        more: "",
    };
    let done = steps.run(&[]);
    done.beside("one", "alone");
    done.took("exec1", 3 * TEN);
}

#[test]
fn exec1a_a_chain_of_two_takes_two_sleeps() {
    let steps = Steps { steps: &[("one", TEN), ("two", TEN)], edges: &[("one", "two")], more: "" };
    steps.run(&[]).took("exec1a", 2 * TEN);
}

#[test]
fn exec1b_a_guard_that_allows_runs_before_its_command() {
    let guard = "    ifshell: /bin/sh\n    ifcmd: date +%s%N > DIR/guard\n";
    let steps =
        Steps { steps: &[("one", TEN), ("two", TEN)], edges: &[("one", "two")], more: guard };
    let done = steps.run(&[]);
    assert!(done.moment("guard") <= done.start("two"), "the guard ran first");
    done.took("exec1b", 2 * TEN);
}

#[test]
fn exec2_both_sides_of_a_diamond_run_at_once() {
    let steps = Steps {
        steps: &[("top", TEN), ("left", TEN), ("right", TEN), ("end", TEN), ("alone", TEN * 3 / 2)],
        edges: &[("top", "left"), ("top", "right"), ("left", "end"), ("right", "end")],
        more: "",
    };
    let done = steps.run(&[]);
    done.beside("left", "right");
    done.beside("top", "alone");
    done.took("exec2", 3 * TEN);
}

/// A chain of three and one for itself, with names that other kinds have.
const NAMED: Steps<'_> = Steps {
    steps: &[("pkg10", TEN), ("svc10", TEN), ("exec10", TEN), ("pkg15", TEN * 3 / 2)],
    edges: &[("pkg10", "svc10"), ("svc10", "exec10")],
    more: "",
};

#[test]
fn exec3_names_like_those_of_packages_mean_nothing() {
    let done = NAMED.run(&[]);
    done.beside("pkg10", "pkg15");
    done.took("exec3", 3 * TEN);
}

#[test]
fn exec3_sema_a_lock_for_one_lets_one_run_at_a_time() {
    let steps = Steps { more: "    meta: {sema: ['mylock:1']}\n", ..NAMED };
    let done = steps.run(&[]);
    assert_eq!(steps.at_once(&done), 1);
    done.took("exec3-sema", 3 * TEN + TEN * 3 / 2);
}

#[test]
fn graph7_a_resource_without_edges_changes_nothing_for_others() {
    let site = Site::new();
    let graph = "graph: g\nresources:\n  noop:\n  - name: aside\n  exec:\n  - name: e\n    \
                 shell: /bin/sh\n    cmd: sleep 0.5; echo done > DIR/done\n";
    site.write("site.yaml", graph);
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0), "{}", agent.log());
    assert!(site.read("done").is_some(), "the end was waited for");
}

#[test]
fn graph9_one_after_three_waits_for_all_of_them() {
    let steps = Steps {
        steps: &[("a", TEN), ("b", TEN), ("c", TEN), ("end", TEN), ("alone", TEN)],
        edges: &[("a", "end"), ("b", "end"), ("c", "end")],
        more: "",
    };
    let done = steps.run(&[]);
    assert!(steps.at_once(&done) >= 4, "three and the one for itself run at once");
    done.took("graph9", 2 * TEN);
}

/// Three, then one, then three; and one for itself.
const FANS: Steps<'_> = Steps {
    steps: &[
        ("a", TEN),
        ("b", TEN),
        ("c", TEN),
        ("middle", TEN),
        ("x", TEN),
        ("y", TEN),
        ("z", TEN),
        ("alone", TEN * 3 / 2),
    ],
    edges: &[
        ("a", "middle"),
        ("b", "middle"),
        ("c", "middle"),
        ("middle", "x"),
        ("middle", "y"),
        ("middle", "z"),
    ],
    more: "",
};

#[test]
fn graph10_three_then_one_then_three_takes_three_sleeps() {
    let done = FANS.run(&[]);
    done.beside("x", "y");
    done.beside("y", "z");
    done.took("graph10", 3 * TEN);
}

#[test]
fn sema_1_a_bound_for_all_resources_is_held() {
    let done = FANS.run(&["--sema", "2"]);
    assert_eq!(FANS.at_once(&done), 2);
    done.took("sema-1", 4 * TEN);
}
