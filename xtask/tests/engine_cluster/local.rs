//! Clusters of plain processes: the verbs that work on containers work on them, and what needs a
//! network of a node's own is refused.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A cluster in a folder of its own; removed at the end.
struct Local {
    folder: TempDir,
}

impl Local {
    fn run(&self, engine: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("cluster").args(arguments).env("QUORATE_CLUSTER", "plain");
        command.env("QUORATE_LOCAL", self.folder.path()).env("QUORATE_ENGINE", engine);
        // No engine is there, so that `auto` has to do without.
        command.env("DOCKER_HOST", "unix:///nowhere/engine.sock").output().unwrap()
    }

    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run("local", arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{text}\n{said}");
        if code == 0 { text } else { format!("{text}{said}") }
    }

    /// Waits until a command ends well.
    fn until(&self, arguments: &[&str]) -> String {
        let start = std::time::Instant::now();
        loop {
            let output = self.run("local", arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() {
                return text;
            }
            assert!(start.elapsed() < Duration::from_secs(40), "{arguments:?} {text}");
        }
    }

    /// Processes that carry the mark of a node of this folder.
    fn processes(&self) -> usize {
        let mark = format!("QUORATE_LAB_NODE={}", self.folder.path().display());
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let marked = |path: &Path| {
            let text = std::fs::read(path.join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(&mark)
        };
        all.filter(|entry| marked(&entry.path())).count()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let done = self.run("local", &["down", "--volumes"]);
        if !done.status.success() && !std::thread::panicking() {
            panic!("down failed: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

#[test]
fn engine_plain_processes_are_a_cluster_where_no_engine_answers() {
    let demo = Local { folder: tempfile::Builder::new().prefix("q").tempdir_in("/tmp").unwrap() };
    let output = demo.run("auto", &["up", "--wait", "60s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("notice: no container engine answered at unix:///nowhere"), "{said}");
    assert!(said.contains("plain processes of this machine (--engine local)"), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["127.0.", ".11:2379", "3 of 3 voters, leader h", "h3    voter"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(demo.expect(0, &["up"]), "unchanged  3 nodes, image and spec match\n");
    let ls = demo.run("auto", &["ls"]);
    assert!(String::from_utf8_lossy(&ls.stdout).contains("plain  3/3"), "{ls:?}");

    commands_and_files(&demo);
    power(&demo);
    for fault in [
        &["partition", "h3"][..],
        &["isolate", "h3"],
        &["loss", "h3", "--pct", "10"],
        &["rate", "h3", "--kbit", "512"],
    ] {
        let text = demo.expect(7, fault);
        assert!(text.contains("this machine") && text.contains("Try pause or kill"), "{text}");
    }
    assert_eq!(demo.expect(0, &["faults"]), "no faults\n");

    demo.expect(0, &["node", "add", "--wait", "60s"]);
    let status: Value = serde_json::from_str(&demo.until(&["status", "--json"])).unwrap();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(4), "{status:#}");
    demo.expect(0, &["node", "rm", "h4", "--wait", "60s"]);

    demo.expect(0, &["down"]);
    assert_eq!(demo.processes(), 0, "processes are left");
    assert_eq!(std::fs::read_dir(demo.folder.path().join("nodes")).unwrap().count(), 0);
    assert_eq!(demo.expect(0, &["down"]).trim(), "nothing to remove");
    let text = demo.run("auto", &["status"]);
    assert_eq!(text.status.code(), Some(3), "{text:?}");
}

fn commands_and_files(demo: &Local) {
    let status = demo.expect(0, &["exec", "h2", "--", "quorate status"]);
    assert!(status.contains("h2"), "{status}");
    let both = demo.expect(3, &["exec", "h1", "--", "echo out; echo err >&2; exit 3"]);
    assert_eq!(both, "out\nerr\n");
    let text = demo.expect(6, &["exec", "h1", "--timeout", "1s", "--", "sleep 4343"]);
    assert!(text.contains("timed out after 1 s"), "{text}");

    let here = demo.folder.path().join("site.yaml");
    let made = demo.folder.path().join("made");
    let graph = format!(
        "graph: site\nresources:\n  file:\n  - name: made\n    path: {}\n    content: it is\n    \
         state: exists\n",
        made.display()
    );
    std::fs::write(&here, graph).unwrap();
    demo.expect(0, &["cp", here.to_str().unwrap(), "h1:/etc/quorate/site.yaml"]);
    let start = std::time::Instant::now();
    while std::fs::read_to_string(&made).ok().as_deref() != Some("it is") {
        assert!(start.elapsed() < Duration::from_secs(20), "the graph is not applied");
        std::thread::yield_now();
    }
    let back = demo.folder.path().join("back");
    demo.expect(0, &["cp", "h1:/etc/quorate/site.yaml", back.to_str().unwrap()]);
    assert!(std::fs::read_to_string(back).unwrap().starts_with("graph: site\n"));
    assert!(demo.expect(0, &["logs", "--node", "h1", "--utc"]).contains("Z h1 | "));
}

fn power(demo: &Local) {
    demo.expect(0, &["pause", "h3"]);
    assert!(demo.expect(1, &["status"]).contains("paused"));
    demo.expect(0, &["unpause", "h3"]);
    demo.until(&["status"]);
    demo.expect(0, &["kill", "h2"]);
    assert!(demo.expect(1, &["status"]).contains("exited with 137"));
    demo.expect(0, &["start", "h2"]);
    demo.until(&["status"]);
    demo.expect(0, &["stop", "h2"]);
    assert!(demo.expect(1, &["status"]).contains("exited with"));
    demo.expect(0, &["restart", "h2"]);
    demo.until(&["status"]);
}
