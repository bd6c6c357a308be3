//! What the built program answers to a command line. Each test is one claim of the documents;
//! nothing here knows the library.

use std::path::Path;
use std::process::{Command, Output};

/// A graph with one mistake of each of six sorts, at six places.
const SIX_MISTAKES: &str = "\
graph: six
resources:
  file:
  - name: motd
    path: /tmp/motd
    contnet: hello
  fiel:
  - name: typo
  noop:
  - name: a
    meta:
      autoegde: true
  - name: b
  - name: b
edges:
- name: e1
  from: {kind: noop, name: a}
  to: {kind: noop, name: gone}
- name: e2
  from: {kind: noop, name: a}
  to: {kind: noop, name: b}
- name: e3
  from: {kind: noop, name: b}
  to: {kind: noop, name: a}
";

/// A graph that removes a folder.
const DESTROY: &str = "\
graph: g
resources:
  exec:
  - name: destroy
    shell: /bin/sh
    cmd: rm -rf DIR/precious
";

/// Shows that the graph that it is put behind has run.
const WITNESS: &str = "  file:
  - name: witness
    path: DIR/witness
    content: x
";

fn quorate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command.args(args).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a graph until it has converged or `--max-runtime` ends it. `DIR` in the graph is the
/// folder.
fn run_until_converged(folder: &Path, graph: &str) -> Output {
    let site = folder.join("site.yaml");
    std::fs::write(&site, graph.replace("DIR", &folder.display().to_string())).expect("a graph");
    let (site, state) = (site.display().to_string(), folder.join("state").display().to_string());
    let limits = ["--converged-timeout", "0", "--max-runtime", "20"];
    quorate(&[&["run", "--prefix", &state], &limits[..], &["yaml", &site]].concat())
}

#[test]
fn help_has_every_command_examples_and_exit_codes() {
    let output = quorate(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for word in
        ["run", "check", "status", "graph", "schema", "completions", "Examples:", "Exit codes:"]
    {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
}

#[test]
fn every_flag_of_run_has_its_variable() {
    let text = stdout(&quorate(&["run", "--help"]));
    for flag in [
        "hostname",
        "seeds",
        "client-urls",
        "server-urls",
        "advertise-client-urls",
        "advertise-server-urls",
        "ideal-cluster-size",
        "min-cluster-size",
        "allow-even",
        "zone",
        "etcd-strict",
        "etcd-quota",
        "etcd-heartbeat",
        "etcd-election",
        "no-server",
        "dead-after",
        "insecure-network",
        "prefix",
        "tmp-prefix",
        "converged-timeout",
        "converged-timeout-no-exit",
        "converger-timeout",
        "converged-exit",
        "max-runtime",
        "noop",
        "durable",
        "no-watch",
        "log-format",
        "prometheus-listen",
    ] {
        let variable = format!("QUORATE_{}", flag.replace('-', "_").to_uppercase());
        assert!(text.contains(&format!("--{flag}")), "no --{flag} in\n{text}");
        assert!(text.contains(&format!("[env: {variable}=")), "no {variable} in\n{text}");
    }
}

#[test]
fn bad_usage_exits_2_and_says_what_was_meant() {
    for (args, hint) in [
        (&["run", "--hostnam", "h1", "yaml", "x"][..], "--hostname"),
        (&["chekc", "x"], "check"),
        (&["run", "--ideal-cluster-size", "many", "yaml", "x"], "many"),
        (&["check"], "FILE"),
    ] {
        let output = quorate(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(hint), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_form_of_2020_is_answered_with_the_modern_line_and_2() {
    let args = ["run", "--file", "a.yaml", "--hostname", "h1", "--ideal-cluster-size", "3"];
    let output = quorate(&args);
    assert_eq!(output.status.code(), Some(2));
    let modern = "quorate run --hostname h1 --ideal-cluster-size 3 yaml a.yaml";
    assert!(stderr(&output).contains(modern), "{}", stderr(&output));
}

#[test]
fn completions_are_written_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = quorate(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("ideal-cluster-size"), "{shell}: no flag of run");
    }
}

#[test]
fn six_mistakes_at_six_places_are_six_diagnostics_and_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("six.yaml");
    std::fs::write(&site, SIX_MISTAKES).expect("a graph");
    let name = site.display().to_string();
    let output = quorate(&["check", &name]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let errors = text.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 6, "{text}");
    for (line, hint) in [
        (6, "`content`?"),
        (7, "`file`?"),
        (12, "`autoedge`"),
        (14, "noop[b] is declared twice"),
        (18, "gone"),
        (23, "noop[b]"),
    ] {
        assert!(text.contains(&format!("{name}:{line}:")), "nothing at line {line}:\n{text}");
        assert!(text.contains(hint), "no {hint} in\n{text}");
    }
}

#[test]
fn a_graph_with_a_mistake_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let graph = "graph: g\nresources:\n  file:\n  - name: f\n    path: DIR/f\n    content: x\n\
    \x20 nop:\n  - name: n\n";
    let output = run_until_converged(folder.path(), graph);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("noop"), "{}", stderr(&output));
    assert!(!folder.path().join("f").exists() && !folder.path().join("state").exists());
}

#[test]
fn meta_noop_around_a_destructive_command_executes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("precious")).expect("a folder in it");
    let graph = format!("{DESTROY}    meta:\n      noop: true\n{WITNESS}");
    let output = run_until_converged(folder.path(), &graph);
    assert!(folder.path().join("witness").exists(), "the graph ran: {}", stderr(&output));
    assert!(folder.path().join("precious").exists(), "{}", stderr(&output));
}

#[test]
fn the_same_command_without_noop_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("precious")).expect("a folder in it");
    let output = run_until_converged(folder.path(), DESTROY);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!folder.path().join("precious").exists());
}

#[test]
fn meta_parameters_that_are_unknown_or_not_built_are_refused_by_name() {
    for name in ["retyr", "realize", "reverse"] {
        let folder = tempfile::tempdir().expect("a folder");
        let graph = format!(
            "graph: g\nresources:\n  file:\n  - name: f\n    path: DIR/f\n    content: x\n    \
            meta:\n      {name}: true\n"
        );
        let output = run_until_converged(folder.path(), &graph);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
        assert!(!folder.path().join("f").exists(), "{name}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let output = quorate(&["check", "/nonexistent/site.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("/nonexistent/site.yaml") && text.contains("No such file"), "{text}");
}

#[test]
fn what_rules_make_of_exports_is_explained_from_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let graph = write(
        "site.yaml",
        "graph: site\ncollect:\n- rule: vhosts\n  kind: file\n  where: {labels: {role: web}}\n  \
         set: {path: \"/srv/{{ host }}/{{ name }}\"}\n  as: {name: \"{{ host }}-{{ name }}\"}\n",
    );
    let exports = write(
        "exports.json",
        r#"{"v":1,"exports":[
        {"from":"web1","kind":"file","name":"v","labels":{"role":"web"},"fields":{"content":"x"}},
        {"from":"web2","kind":"file","name":"../v","labels":{"role":"web"},"fields":{}},
        {"from":"db1","kind":"file","name":"d","labels":{"role":"db"},"fields":{}}]}"#,
    );
    let of_files = ["--exports", &exports, "--graph", &graph, "--on", "lb1"];
    let all = quorate(&[&["collect", "explain"][..], &of_files].concat());
    let wanted = "\
file[d] from db1: unmatched: nearest rule vhosts failed at labels.role
file[v] from web1: claimed: file[web1-v]
file[../v] from web2: held: XC04 file[web2-../v] from web2: \"../v\" is not one path segment; \
refused, rule vhosts
";
    assert_eq!((stdout(&all).as_str(), all.status.code()), (wanted, Some(0)), "{}", stderr(&all));
    let one = quorate(&[&["collect", "explain", "file[d]"][..], &of_files].concat());
    let wanted = "\
file[d] from db1: revision 0, channel default, auth no
  policy       allow (no rule is about it)
  to           everybody
  rule vhosts  no: labels.role is \"db\", wanted \"web\"
  unmatched    nearest rule vhosts failed at labels.role
";
    assert_eq!(stdout(&one), wanted);
    let json = quorate(&[&["collect", "explain", "--json"][..], &of_files].concat());
    let said: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(said["exports"][1]["state"], "claimed");
    let none = quorate(&[&["collect", "explain", "file[x]"][..], &of_files].concat());
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("file[x] is not exported"), "{}", stderr(&none));
}

#[test]
fn who_stops_reading_is_told_nothing_and_no_command_panics() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, SIX_MISTAKES).expect("a file");
    let wrong = wrong.to_str().expect("a path");
    let good = folder.path().join("good.yaml");
    std::fs::write(&good, "graph: g\n").expect("a file");
    let good = good.to_str().expect("a path");
    for (args, code) in [
        (&["completions", "bash"][..], 0),
        (&["completions", "zsh"], 0),
        (&["check", good], 0),
        (&["check", wrong], 1),
        (&["check", "--json", wrong], 1),
        (&["schema"], 0),
        (&["graph", good], 0),
        (&["--help"], 0),
        (&["status", "--prefix", "/nowhere"], 1),
        (&["cluster", "status", "--prefix", "/nowhere"], 1),
        (&["run", "--tmp-prefix", "yaml", wrong], 1),
        (&["run", "--tmp-prefix", "yaml", "/nowhere"], 1),
    ] {
        // Pipes whose other end is closed already: each write fails.
        let closed = || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            writer
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(args).stdout(closed()).stderr(closed());
        let status = command.status().expect("the program starts");
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}
