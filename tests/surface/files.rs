//! Files and directories: made, left alone, healed, removed, swapped.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::support::{Agent, PROGRAM, Site, state_of, wait_for};
use super::{converged, refused};

/// Waits until a file of the site holds this.
fn holds(site: &Site, seconds: u64, name: &str, text: &str) {
    wait_for(seconds, &format!("{name} holds {text:?}"), || {
        site.read(name).filter(|found| found == text)
    });
}

/// Waits for the state of a resource; `DIR` in its id is the folder.
fn has_state(site: &Site, agent: &Agent, id: &str, state: &str) -> serde_json::Value {
    let id = site.fill(id);
    agent.status_where(10, &format!("{id} is {state}"), |one| state_of(one, &id) == state)
}

fn error_of(status: &serde_json::Value, id: &str) -> String {
    let all = status["resources"].as_array().expect("a list");
    let found = all.iter().find(|one| one["id"] == id).expect("it is there");
    found["error"].as_str().unwrap_or_default().to_owned()
}

/// How often resources ran, as the agent counts.
fn runs(site: &Site) -> u64 {
    let mut stream = UnixStream::connect(site.path("state/agent.sock")).expect("a socket");
    stream.write_all(b"{\"get\":\"metrics\"}\n").expect("a question");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let lines = text.lines().filter(|line| line.starts_with("quorate_runs_total{"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[test]
fn autoedges1_what_lies_in_a_managed_directory_comes_after_it() {
    let site = Site::new();
    let file = site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: deep\n    path: DIR/foo/bar/f1\n    content: \
         deep\n  - name: directory\n    path: DIR/foo/\n    state: exists\n  - name: inner\n    \
         path: DIR/foo/inner\n    content: inner\n",
    );
    let picture = Command::new(PROGRAM).arg("graph").arg(file).output().expect("it runs");
    let shown = String::from_utf8_lossy(&picture.stdout);
    assert!(shown.find("file[directory]") < shown.find("file[inner]"), "{shown}");
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    holds(&site, 10, "foo/inner", "inner");
    let status = has_state(&site, &agent, "file[deep]", "failed");
    assert!(error_of(&status, "file[deep]").contains(&site.fill("DIR/foo/bar")), "{status}");
    std::fs::create_dir(site.path("foo/bar")).expect("a directory");
    holds(&site, 5, "foo/bar/f1", "deep");
}

#[test]
fn deep_dirs_a_missing_parent_is_named_holds_up_nothing_else_and_is_taken_when_it_appears() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: deep\n    path: DIR/a/b/c/f\n    content: \
        deep\n  \
         - name: flat\n    path: DIR/f\n    content: flat\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let status = has_state(&site, &agent, "file[deep]", "failed");
    assert!(error_of(&status, "file[deep]").contains(&site.fill("DIR/a")), "{status}");
    holds(&site, 10, "f", "flat");
    std::fs::create_dir_all(site.path("a/b/c")).expect("directories");
    holds(&site, 5, "a/b/c/f", "deep");
    has_state(&site, &agent, "file[deep]", "ok");
}

#[test]
fn file0_and_file4_a_file_has_its_content_to_the_byte() {
    let site = converged(
        "graph: g\nresources:\n  file:\n  - name: first\n    path: DIR/f\n    content: |\n      \
         i am a file\n    state: exists\n  - name: second\n    path: DIR/hello\n    content: hi\n",
    );
    assert_eq!(site.read("f").as_deref(), Some("i am a file\n"));
    assert_eq!(site.read("hello").as_deref(), Some("hi"));
}

/// Three files in a row, and one that has to go.
const FOUR: &str = "graph: g\nresources:\n  file:\n  - {name: f1, path: DIR/f1, content: one}\n  - \
                    {name: f2, path: DIR/f2, content: two}\n  - {name: f3, path: DIR/f3, content: \
                    three}\n  - name: f4\n    path: DIR/f4\n    content: four\n    state: absent\n\
                    edges:\n- {from: {kind: file, name: f1}, to: {kind: file, name: f2}}\n- {from: \
                    {kind: file, name: f2}, to: {kind: file, name: f3}}\n";

#[test]
fn file1_content_for_what_has_to_be_absent_is_refused_and_without_it_all_four_are_right() {
    let said = refused(FOUR);
    assert!(said.contains("file[f4]") && said.contains("`state: absent`"), "{said}");
    let site = Site::new();
    std::fs::write(site.path("f4"), "old").expect("a file");
    site.write("site.yaml", &FOUR.replace("    content: four\n", ""));
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0), "{}", agent.log());
    let made = |name: &str| site.path(name).metadata().expect(name).mtime_nsec();
    let seconds = |name: &str| site.path(name).metadata().expect(name).mtime();
    let moments = ["f1", "f2", "f3"].map(|name| (seconds(name), made(name)));
    assert!(moments.is_sorted(), "{moments:?}");
    assert_eq!(site.read("f4"), None);
}

#[test]
fn file2_a_tree_is_mirrored_and_a_source_that_is_gone_empties_nothing() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("source/sub")).expect("directories");
    std::fs::write(site.path("source/a"), "a").expect("a file");
    std::fs::write(site.path("source/sub/b"), "b").expect("a file");
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - name: tree\n    path: DIR/tree/\n    source: \
         DIR/source/\n    recurse: true\n    force: true\n",
    );
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    holds(&site, 10, "tree/a", "a");
    holds(&site, 10, "tree/sub/b", "b");
    std::fs::write(site.path("tree/sub/b"), "edited").expect("a file");
    holds(&site, 5, "tree/sub/b", "b");
    std::fs::rename(site.path("source"), site.path("away")).expect("a move");
    // The sources are looked at with the next event of the tree, if their own is not seen.
    std::fs::remove_file(site.path("tree/a")).expect("it was there");
    let status = has_state(&site, &agent, "file[tree]", "failed");
    assert!(error_of(&status, "file[tree]").contains(&site.fill("DIR/source")), "{status}");
    assert_eq!(site.read("tree/sub/b").as_deref(), Some("b"), "nothing was emptied");
    std::fs::rename(site.path("away"), site.path("source")).expect("a move");
    holds(&site, 10, "tree/a", "a");
}

#[test]
fn graph0_a_file_after_a_noop_is_made_and_a_comment_is_ignored() {
    let site = converged(
        "---\ngraph: g\ncomment: {of: [any, form]}\nresources:\n  noop:\n  - name: n\n  file:\n  - \
         name: f\n    path: DIR/hello\n    content: world\n    state: exists\nedges:\n- name: e\n  \
         from: {kind: noop, name: n}\n  to: {kind: file, name: f}\n",
    );
    assert_eq!(site.read("hello").as_deref(), Some("world"));
}

#[test]
fn graph6_and_noop0_the_least_graph_converges() {
    converged("graph: g\nresources:\n  noop:\n  - name: n\n");
    converged("graph: g\nresources:\n  noop:\n  - name: n\n    comment: says nothing\nedges:\n");
}

/// A graph of two files and an exec, of which one file is in both halves of a swap.
fn half(file: &str) -> String {
    format!(
        "graph: g\nresources:\n  file:\n  - {{name: {file}, path: DIR/{file}, content: \
        {file}}}\n  - \
         {{name: kept, path: DIR/kept, content: kept}}\n  exec:\n  - name: once\n    shell: \
         /bin/sh\n    cmd: echo run >> DIR/runs\n"
    )
}

#[test]
fn graph1a_and_graph1b_a_swap_leaves_what_is_gone_on_disk_and_what_is_kept_untouched() {
    let site = Site::new();
    site.write("site.yaml", &half("old"));
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    holds(&site, 10, "old", "old");
    holds(&site, 10, "kept", "kept");
    holds(&site, 10, "runs", "run\n");
    let about = || site.path("kept").metadata().map(|of| (of.ino(), of.mtime(), of.mtime_nsec()));
    let before = about().expect("it is there");
    site.write("site.yaml", &half("new"));
    holds(&site, 10, "new", "new");
    agent.status_where(10, "old is gone", |one| state_of(one, "file[old]") == "absent");
    assert_eq!(site.read("old").as_deref(), Some("old"), "left on disk");
    std::fs::write(site.path("old"), "edited").expect("a file");
    std::fs::write(site.path("new"), "edited").expect("a file");
    holds(&site, 5, "new", "new");
    assert_eq!(site.read("old").as_deref(), Some("edited"), "not watched any more");
    assert_eq!(about().expect("it is there"), before);
    assert_eq!(site.read("runs").as_deref(), Some("run\n"), "what is kept is not run again");
}

#[test]
fn t2_files_and_a_directory_are_there_and_what_has_to_go_is_gone() {
    let site = Site::new();
    std::fs::write(site.path("f4"), "old").expect("a file");
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - {name: f1, path: DIR/f1, content: '', state: \
        exists}\n  \
         - {name: f2, path: DIR/f2, state: exists}\n  - {name: f3, path: DIR/f3, content: \
         three}\n  \
         - {name: f4, path: DIR/f4, state: absent}\n  - {name: dir1, path: DIR/dir1/, state: \
         exists}\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "1", "yaml", "DIR/site.yaml"]);
    assert_eq!(agent.end(20).code(), Some(0), "{}", agent.log());
    assert!(["f1", "f2", "f3"].iter().all(|name| site.path(name).is_file()));
    assert!(site.path("dir1").is_dir() && !site.path("f4").exists());
}

#[test]
fn t6_what_is_deleted_or_edited_is_right_again_within_a_second_and_an_interrupt_ends_with_0() {
    let site = Site::new();
    site.write("site.yaml", "graph: g\nresources:\n  file:\n  - {name: DIR/f, content: x}\n");
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    holds(&site, 10, "f", "x");
    for round in 0..4 {
        match round {
            2 => std::fs::write(site.path("f"), "edited").expect("a file"),
            _ => std::fs::remove_file(site.path("f")).expect("it was there"),
        }
        holds(&site, 1, "f", "x");
    }
    agent.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(agent.end(10).code(), Some(0));
}

#[test]
fn t7_an_empty_agent_ends_with_0_on_an_interrupt() {
    let site = Site::new();
    let mut agent = site.agent(&["empty"]);
    agent.status();
    agent.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(agent.end(10).code(), Some(0));
}

#[test]
fn file_mode_octal_digits_mean_the_same_with_and_without_quotes() {
    let site = converged(
        "graph: g\nresources:\n  file:\n  - {name: DIR/plain, content: x, mode: 0741}\n  - {name: \
         DIR/quoted, content: x, mode: '0614'}\n",
    );
    let mode = |name: &str| site.path(name).metadata().expect(name).permissions().mode() & 0o7777;
    assert_eq!((mode("plain"), mode("quoted")), (0o741, 0o614));
}

#[test]
fn file_owner_by_name_and_by_number() {
    let site = Site::new();
    site.write(
        "site.yaml",
        "graph: g\nresources:\n  file:\n  - {name: DIR/named, content: x, owner: root, group: \
         root}\n  - {name: DIR/numbered, content: x, owner: 1, group: 2}\n",
    );
    let mut agent = site.agent(&["--converged-timeout", "0", "yaml", "DIR/site.yaml"]);
    let code = agent.end(20).code();
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(code, Some(5), "only root gives files away: {}", agent.log());
        return;
    }
    assert_eq!(code, Some(0), "{}", agent.log());
    let owner = |name: &str| site.path(name).metadata().map(|of| (of.uid(), of.gid())).expect(name);
    assert_eq!((owner("named"), owner("numbered")), ((0, 0), (1, 2)));
}

#[test]
fn file_move_is_healed_and_the_moved_file_is_nobodys_business() {
    let site = Site::new();
    std::fs::create_dir(site.path("d")).expect("a directory");
    site.write("site.yaml", "graph: g\nresources:\n  file:\n  - {name: DIR/d/f1, content: x}\n");
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    has_state(&site, &agent, "file[DIR/d/f1]", "ok");
    std::fs::rename(site.path("d/f1"), site.path("d/f2")).expect("a move");
    holds(&site, 5, "d/f1", "x");
    // Its own write comes back as an event; when that was looked at, all is quiet.
    agent.status_where(10, "it is quiet", |one| one["converged"] == true);
    let before = wait_for(10, "the count stays", || {
        let first = runs(&site);
        (0..20).all(|_| runs(&site) == first).then_some(first)
    });
    for _ in 0..20 {
        std::fs::write(site.path("d/f2"), "written").expect("a file");
    }
    // An event of the managed file comes through the same queue, after those of the other.
    std::fs::remove_file(site.path("d/f1")).expect("it was there");
    holds(&site, 5, "d/f1", "x");
    let after = runs(&site) - before;
    assert!((1..10).contains(&after), "{after} runs for one event");
}

#[test]
fn file_move_upper_dir_a_moved_parent_is_seen_and_its_return_heals() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("a/b")).expect("directories");
    site.write("site.yaml", "graph: g\nresources:\n  file:\n  - {name: DIR/a/b/f, content: x}\n");
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    has_state(&site, &agent, "file[DIR/a/b/f]", "ok");
    std::fs::rename(site.path("a"), site.path("moved")).expect("a move");
    has_state(&site, &agent, "file[DIR/a/b/f]", "failed");
    std::fs::write(site.path("moved/b/f"), "edited meanwhile").expect("a file");
    std::fs::rename(site.path("moved"), site.path("a")).expect("a move");
    holds(&site, 5, "a/b/f", "x");
}

#[test]
fn one_of_ten_thousand_edited_in_the_graph_changes_that_inode_alone() {
    let site = Site::new();
    let count = 10_000;
    std::fs::create_dir(site.path("many")).expect("a directory");
    let graph = |changed: Option<usize>| {
        let mut text = String::from("graph: g\nresources:\n  file:\n");
        for number in 0..count {
            let content = if changed == Some(number) { "changed" } else { "same" };
            text.push_str(&format!("  - {{name: DIR/many/{number}, content: {content}}}\n"));
        }
        text
    };
    let about = || -> Vec<(u64, i64, i64, i64, i64)> {
        let of = |number: usize| site.path(&format!("many/{number}")).metadata();
        let of = |number| of(number).unwrap_or_else(|why| panic!("{number}: {why}"));
        let all = (0..count).map(of);
        all.map(|of| (of.ino(), of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec())).collect()
    };
    site.write("site.yaml", &graph(None));
    let agent = site.agent(&[
        "--converged-timeout",
        "0",
        "--converged-timeout-no-exit",
        "yaml",
        "DIR/site.yaml",
    ]);
    wait_for(60, "all are made", || Some(()).filter(|()| agent.log().contains("converged")));
    let before = about();
    site.write("site.yaml", &graph(Some(7_777)));
    holds(&site, 30, "many/7777", "changed");
    agent.status_where(30, "it is quiet", |one| one["converged"] == true);
    let after = about();
    let touched: Vec<usize> = (0..count).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(touched, [7_777]);
    assert_ne!(before[7_777].0, after[7_777].0, "written beside and renamed");
}
