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

/// An etcd that does not say its version before a file is there: the agent has read its graph by
/// then, and runs nothing yet.
const SLOW_ETCD: &str = "#!/bin/sh
touch DIR/asked
while [ ! -e DIR/go ]; do sleep 0.02; done
echo 'etcd Version: 3.4.23'
";

#[test]
fn an_edit_while_the_agent_starts_is_not_lost() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    site.write("site.yaml", ONE_FILE);
    let etcd = site.write("etcd", SLOW_ETCD);
    std::fs::set_permissions(&etcd, std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["--client-urls", "http://127.0.0.1:1", "--server-urls", "http://127.0.0.1:2"];
    let words = [&words[..], &["yaml", "DIR/site.yaml"]].concat();
    let _agent = site.agent_with(Some(("QUORATE_ETCD", "DIR/etcd")), &words);
    wait_for(10, "the agent asks for etcd's version", || site.read("asked"));
    site.write("site.yaml", &ONE_FILE.replace("hello", "changed"));
    site.write("go", "");
    wait_for(10, "the edit", || site.read("f").filter(|text| text == "changed"));
}

#[test]
fn the_last_of_many_edits_wins_however_fast_they_come() {
    let site = Site::new();
    let text = |value: usize| {
        let one = |at| format!("  - name: n{at}\n    comment: {value}\n");
        let many: String = (0..3000).map(one).collect();
        let file = format!("  file:\n  - name: DIR/f\n    content: '{value}'\n");
        format!("graph: g\nresources:\n  noop:\n{many}{file}")
    };
    site.write("site.yaml", &text(0));
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(30, "the file is made", || site.read("f"));
    for value in 1..=20 {
        site.write("site.yaml", &text(value));
    }
    wait_for(30, "the last edit is applied", || site.read("f").filter(|text| text == "20"));
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

/// One exec with this command and these meta parameters.
fn exec(cmd: &str, meta: &str) -> String {
    format!(
        "graph: g\nresources:\n  exec:\n  - name: e\n    cmd: {cmd}\n    shell: /bin/sh\n    \
         meta: {meta}\n"
    )
}

#[test]
fn a_failed_command_is_tried_again_as_often_as_it_says_and_the_agent_waits_for_it() {
    let site = Site::new();
    site.write("site.yaml", &exec("echo x >> DIR/tries; false", "{retry: 3, delay: 100}"));
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(5), "{}", agent.log());
    assert_eq!(site.read("tries").map(|text| text.lines().count()), Some(4), "1 and 3 more");
}

#[test]
fn an_endless_retry_still_ends_as_a_failure_once_converged() {
    let site = Site::new();
    site.write("site.yaml", &exec("\"false\"", "{retry: -1}"));
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(10).code(), Some(5), "{}", agent.log());
}

#[test]
fn a_command_beyond_its_time_is_cancelled_and_has_failed() {
    let site = Site::new();
    site.write("site.yaml", &exec("sleep 600", "{timeout: 200}"));
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let status = agent.status_where(10, "it fails", |one| state_of(one, "exec[e]") == "failed");
    assert_eq!(status["resources"][0]["error"], "no result within 200 ms");
}

#[test]
fn a_polled_file_is_healed_in_time_although_nobody_watches_it() {
    let site = Site::new();
    site.write("site.yaml", &format!("{ONE_FILE}    meta: {{poll: 1}}\n"));
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let right = || site.read("f").filter(|text| text == "hello");
    wait_for(10, "the file is made", right);
    for _ in 0..2 {
        std::fs::write(site.path("f"), "vandalism").unwrap();
        wait_for(3, "the file is back", right);
    }
}

#[test]
fn edits_beyond_the_burst_are_healed_one_at_a_time() {
    let site = Site::new();
    site.write("site.yaml", &format!("{ONE_FILE}    meta: {{limit: 1, burst: 3}}\n"));
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let right = || site.read("f").filter(|text| text == "hello");
    wait_for(10, "the file is made", right);
    let started = std::time::Instant::now();
    for _ in 0..5 {
        std::fs::remove_file(site.path("f")).unwrap();
        wait_for(5, "the file is back", right);
    }
    let took = started.elapsed().as_secs_f64();
    // The first three cost the burst; the tokens of the others came one each second.
    assert!((0.8..5.0).contains(&took), "{took} s");
}

/// Four commands that note how many of them run; `DIR/most` has the largest number.
fn crowd(meta: &str) -> String {
    let mut text = String::from("graph: g\nresources:\n  exec:\n");
    for n in 0..4 {
        text.push_str(&format!(
            "  - name: e{n}\n    cmd: touch DIR/in{n}; ls DIR | grep -c '^in' >> DIR/seen; sleep \
             0.2; rm DIR/in{n}\n    shell: /bin/sh\n    meta: {meta}\n"
        ));
    }
    text
}

fn most(site: &Site) -> u32 {
    let seen = site.read("seen").expect("they ran");
    let numbers: Vec<u32> = seen.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(numbers.len(), 4);
    numbers.into_iter().max().expect("there are four")
}

#[test]
fn a_lock_lets_one_command_run_at_a_time_and_the_flag_bounds_all() {
    for (meta, flag, expected) in
        [("{sema: [a]}", "0", 1), ("{sema: ['a:2']}", "-1", 2), ("{}", "1", 1), ("{}", "2", 2)]
    {
        let site = Site::new();
        site.write("site.yaml", &crowd(meta));
        let words = ["--sema", flag, "--converged-timeout", "0", "yaml", "DIR/site.yaml"];
        assert_eq!(site.agent(&words).end(20).code(), Some(0));
        assert_eq!(most(&site), expected, "{meta} {flag}");
    }
}

#[test]
fn hup_has_what_failed_looked_at_again() {
    let site = Site::new();
    site.write("site.yaml", &exec("test -e DIR/there", "{}"));
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    agent.status_where(10, "it fails", |one| state_of(one, "exec[e]") == "failed");
    std::fs::write(site.path("there"), "").unwrap();
    agent.signal(Signal::SIGHUP);
    agent.status_where(5, "it is well", |one| state_of(one, "exec[e]") == "ok");
}

/// Chains, forks and joins of commands take as long as the longest way through them: of eight
/// steps of a second each, at most three come after one another. `cargo xtask bench` has the
/// figures below a second.
#[test]
fn a_graph_of_steps_takes_as_long_as_its_longest_path() {
    let graphs = [
        ("chain", &["1 2", "2 3"][..], 3.0),
        ("diamond", &["1 2", "1 3", "2 4", "3 4"][..], 3.0),
        ("join", &["1 4", "2 4", "3 4"][..], 2.0),
        ("fork and join", &["1 4", "2 4", "3 4", "4 5", "4 6", "4 7"][..], 3.0),
    ];
    std::thread::scope(|scope| {
        for (name, edges, path) in graphs {
            scope.spawn(move || {
                let took = seconds_of_steps(edges);
                assert!((path..path + 3.0).contains(&took), "{name}: {took} s, not {path}");
            });
        }
    });
}

/// How long an agent takes for eight steps of a second with these edges.
fn seconds_of_steps(edges: &[&str]) -> f64 {
    let site = Site::new();
    let mut text = String::from("graph: g\nresources:\n  exec:\n");
    for n in 1..=8 {
        text.push_str(&format!("  - name: e{n}\n    cmd: sleep 1\n    shell: /bin/sh\n"));
    }
    text.push_str("edges:\n");
    for (from, to) in edges.iter().filter_map(|edge| edge.split_once(' ')) {
        text.push_str(&format!(
            "- from: {{kind: exec, name: e{from}}}\n  to: {{kind: exec, name: e{to}}}\n"
        ));
    }
    site.write("site.yaml", &text);
    let started = std::time::Instant::now();
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0));
    started.elapsed().as_secs_f64()
}

#[test]
fn a_source_tree_is_mirrored_and_a_change_in_either_is_healed() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: DIR/dst/\n    source: DIR/src/\n    \
        recurse: true\n    force: true\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let id = site.fill("file[DIR/dst/]");
    let status = agent.status_where(10, "no source fails", |one| state_of(one, &id) == "failed");
    let error = status["resources"].to_string();
    assert!(error.contains(&site.fill("the source DIR/src/ does not exist")), "{error}");
    std::fs::create_dir_all(site.path("src/a/b")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(site.path(name), text).unwrap();
    let holds = |text: &str| site.read("dst/a/b/f").filter(|found| found == text);
    write("src/a/b/f", "one");
    wait_for(5, "the tree is copied", || holds("one"));
    write("src/a/b/f", "two");
    wait_for(5, "the source's change is copied", || holds("two"));
    write("dst/a/b/f", "vandalism");
    wait_for(5, "the copy is healed", || holds("two"));
    std::fs::rename(site.path("dst"), site.path("elsewhere")).unwrap();
    wait_for(5, "a moved copy is made again", || holds("two"));
}

#[test]
fn what_leaves_the_graph_is_purged_from_a_purged_directory() {
    let site = Site::new();
    let purged = "graph: g\nresources:\n  file:\n  - name: DIR/d/\n    state: exists\n    \
        recurse: true\n    purge: true\n";
    let files = "  - name: DIR/d/a\n    content: a\n  - name: DIR/d/b\n    content: b\n";
    site.write("site.yaml", &format!("{purged}{files}"));
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(10, "both are made", || site.read("d/a").and(site.read("d/b")));
    std::fs::write(site.path("d/stray"), "").unwrap();
    wait_for(5, "a stray goes", || site.read("d/stray").is_none().then_some(()));
    let (kept, _) = files.split_at(files.find("  - name: DIR/d/b").unwrap());
    site.write("site.yaml", &format!("{purged}{kept}"));
    wait_for(5, "what left the graph goes", || site.read("d/b").is_none().then_some(()));
    assert_eq!(site.read("d/a").as_deref(), Some("a"));
}

/// A number goes from a command through a value that is received into a file's content.
#[test]
fn what_one_resource_sends_is_written_by_the_one_that_receives_it() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  exec:\n  - name: e\n    cmd: cat DIR/source\n    shell: /bin/sh\n\
         \x20   watchfiles: [DIR/source]\n  file:\n  - name: DIR/f\n    content: as written\n\
         \x20   recv:\n      content: {kind: exec, name: e, key: stdout}\n",
    );
    std::fs::write(site.path("source"), "one").unwrap();
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    for value in ["one", "two"] {
        site.write("source", value);
        wait_for(10, "the value arrives", || site.read("f").filter(|text| text.trim() == value));
    }
    agent.status_where(5, "all is well", |one| state_of(one, &site.fill("file[DIR/f]")) == "ok");
}

#[test]
fn status_says_when_a_failed_resource_is_tried_again() {
    let site = Site::new();
    site.write("site.yaml", &exec("\"false\"", "{retry: 2, delay: 60000}"));
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let status = agent.status_where(10, "it fails", |one| state_of(one, "exec[e]") == "failed");
    let one = &status["resources"][0];
    assert_eq!(one["retries_left"], 2);
    assert!(one["next_retry_ms"].as_u64() > one["since_ms"].as_u64(), "{one}");
    assert_eq!(status["converged"], false, "another attempt comes");
}
