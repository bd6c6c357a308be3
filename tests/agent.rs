//! One agent on one host, as its user sees it.

mod cost;
mod support;

use nix::sys::signal::Signal;
use support::{Site, state_of, wait_for};

const ONE_FILE: &str = "graph: one\nresources:\n  file:\n  - name: DIR/f\n    content: hello\n";

#[test]
fn a_graph_is_applied_and_the_agent_exits_once_converged() {
    let site = Site::new();
    site.write("site.yaml", ONE_FILE);
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(0));
    assert_eq!(site.read("f").as_deref(), Some("hello"));
}

#[test]
fn a_managed_file_deleted_or_edited_a_hundred_times_is_back_every_time() {
    let site = Site::new();
    site.write("site.yaml", ONE_FILE);
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let right = || site.read("f").filter(|text| text == "hello");
    wait_for(10, "the file is made", right);
    for round in 0..100 {
        if round % 2 == 0 {
            std::fs::remove_file(site.path("f")).unwrap();
        } else {
            std::fs::write(site.path("f"), "vandalism").unwrap();
        }
        wait_for(5, "the file is back", right);
    }
}

#[test]
fn a_missing_parent_fails_with_its_name_and_heals_within_a_second_of_mkdir() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: DIR/a/b/f\n    content: x\n  - name: DIR/g\n    \
        content: y\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let id = site.fill("file[DIR/a/b/f]");
    let status = agent.status_where(10, "the file fails", |one| state_of(one, &id) == "failed");
    let error = status["resources"].to_string();
    assert!(error.contains(&site.fill("DIR/a")), "names the directory: {error}");
    wait_for(5, "the other file is made", || site.read("g"));
    std::fs::create_dir_all(site.path("a/b")).unwrap();
    wait_for(1, "the file is made after mkdir", || site.read("a/b/f").filter(|text| text == "x"));
}

#[test]
fn a_local_directory_resource_is_made_before_what_lies_in_it() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: DIR/d/f\n    content: x\n  - name: dir\n    \
        path: DIR/d/\n    state: exists\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(0), "{}", agent.log());
    assert_eq!(site.read("d/f").as_deref(), Some("x"));
}

#[test]
fn an_edit_swaps_the_graph_and_a_broken_edit_keeps_it() {
    let site = Site::new();
    site.write("site.yaml", ONE_FILE);
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "the file is made", || site.read("f"));
    site.write("site.yaml", "graph: one\nresources:\n  file:\n  - nam: x\n");
    let status =
        agent.status_where(5, "the mistake is shown", |one| one["graph"]["error"].is_string());
    assert!(status["graph"]["error"].as_str().is_some_and(|why| why.contains("site.yaml:4:5")));
    std::fs::remove_file(site.path("f")).unwrap();
    wait_for(5, "the old graph still heals", || site.read("f"));
    site.write("site.yaml", &ONE_FILE.replace("hello", "good bye"));
    wait_for(5, "the mended file is taken", || site.read("f").filter(|text| text == "good bye"));
    agent.status_where(5, "the mistake is gone", |one| one["graph"]["error"].is_null());
}

#[test]
fn a_refused_graph_prints_every_mistake_and_exits_with_1_before_anything_starts() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  fil:\n  - name: a\n  noop:\n  - name: n\n    meta: {nop: true}\n",
    );
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(1));
    let log = agent.log();
    assert!(log.contains("site.yaml:3:3") && log.contains("site.yaml:7:12"), "{log}");
    assert!(!site.path("state").exists(), "no state folder was made");
}

#[test]
fn meta_noop_around_a_destructive_command_executes_nothing() {
    let site = Site::new();
    std::fs::write(site.path("precious"), "data").unwrap();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - name: destroy\n    cmd: rm -rf DIR/precious\n    \
        shell: /bin/sh\n    meta:\n      noop: true\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(0), "{}", agent.log());
    assert_eq!(site.read("precious").as_deref(), Some("data"));
}

#[test]
fn a_converged_end_with_a_failed_resource_exits_with_5() {
    let site = Site::new();
    site.write("site.yaml", "graph: g\nresources:\n  exec:\n  - name: e\n    cmd: \"false\"\n");
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(5), "{}", agent.log());
}

#[test]
fn max_runtime_ends_with_4() {
    let site = Site::new();
    let mut agent = site.agent(&["--max-runtime", "1", "empty"]);
    assert_eq!(agent.end(10).code(), Some(4));
}

#[test]
fn the_first_signal_lets_the_running_step_finish_and_starts_no_other() {
    let site = Site::new();
    site.write("site.yaml", TWO_STEPS);
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "the first step runs", || site.read("started"));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end(10).code(), Some(0));
    assert_eq!(site.read("first").as_deref(), Some("done\n"), "the running step was finished");
    assert_eq!(site.read("second"), None, "the next step was not started");
}

#[test]
fn a_second_interrupt_cancels_the_running_step_and_exits_with_130() {
    let site = Site::new();
    site.write("site.yaml", &TWO_STEPS.replace("sleep 1", "sleep 600"));
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "the first step runs", || site.read("started"));
    agent.signal(Signal::SIGINT);
    wait_for(5, "the first signal is seen", || {
        Some(()).filter(|()| agent.log().contains("stopping"))
    });
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.end(5).code(), Some(130));
    assert_eq!(site.read("first"), None);
}

const TWO_STEPS: &str = "\
graph: g
resources:
  exec:
  - name: one
    cmd: echo x > DIR/started; sleep 1; echo done > DIR/first
    shell: /bin/sh
  - name: two
    cmd: echo done > DIR/second
    shell: /bin/sh
edges:
- from: {kind: exec, name: one}
  to: {kind: exec, name: two}
";

#[test]
fn a_second_agent_on_the_same_state_folder_is_refused_in_one_sentence() {
    let site = Site::new();
    let first = site.agent(&["empty"]);
    first.status();
    let output = std::process::Command::new(support::PROGRAM)
        .args(["run", "--hostname", "h2", "--prefix"])
        .arg(site.path("state"))
        .arg("empty")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is in use by h1") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_timer_drives_an_exec_again_and_again() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  timer:\n  - name: t\n    interval: 1\n  exec:\n  - name: e\n    \
        cmd: echo tick >> DIR/ticks\n    shell: /bin/sh\n\
         edges:\n- from: {kind: timer, name: t}\n  to: {kind: exec, name: e}\n  notify: true\n",
    );
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "three ticks", || site.read("ticks").filter(|text| text.lines().count() >= 3));
}

#[test]
fn an_own_export_is_collected_back_under_the_legacy_path() {
    let site = Site::new();
    std::fs::create_dir(site.path("in")).unwrap();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: '@@/tmp/x'\n    content: mine\n  kv:\n  - name: \
        hello\n    value: world\n\
         collect:\n- kind: file\n  pattern: DIR/in/\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "the export is collected", || site.read("in/x").filter(|text| text == "mine"));
    agent.status_where(5, "all is well", |one| {
        ["kv[hello]", "file[/tmp/x]"].iter().all(|id| state_of(one, id) == "ok")
    });
}
