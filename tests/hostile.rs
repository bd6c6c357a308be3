//! Graph files that nobody means well with: each is answered with a diagnostic, in bounded time and
//! memory, whether it is checked, run, or put in the place of the file that a running agent
//! follows.
//!
//! Refuses to look inside: the memory is the kernel's count for the process.

mod support;

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use support::{PROGRAM, Site, state_of, wait_for};

/// What a process of the agent may have had in memory at its worst, in KiB. An agent with one file
/// has a tenth of it; a file of the largest size is copied a few times while it is understood.
const MEMORY_MAX_KIB: u64 = 256 << 10;

/// How long an answer may take on a busy machine, in seconds.
const ANSWER_MAX: u64 = 30;

/// What stands in the way of a file.
struct Hostile {
    name: &'static str,
    /// Puts it at this path, where nothing is.
    make: fn(&Path),
    /// Part of what is said about it.
    said: &'static str,
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).expect("a file");
}

/// Ten of ten of ten ... in thirty levels.
fn laughs(path: &Path) {
    let mut text = String::from("graph: g\ncomment:\n  l0: &l0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..30 {
        let below = vec![format!("*l{}", level - 1); 10].join(", ");
        text.push_str(&format!("  l{level}: &l{level} [{below}]\n"));
    }
    write(path, text);
}

/// Few values, of which each is a copy of a long text.
fn long_laughs(path: &Path) {
    let mut text = format!(
        "graph: g\nresources:\n  file:\n  - &a {{name: /x, content: {}}}\n",
        "x".repeat(1 << 20)
    );
    for number in 0..20_000 {
        text.push_str(&format!("  - {{<<: *a, name: /x{number}}}\n"));
    }
    write(path, text);
}

fn nested_with(path: &Path, open: &str, close: &str) {
    let depth = 10_000;
    write(path, format!("graph: g\ncomment: {}x{}\n", open.repeat(depth), close.repeat(depth)));
}

fn sparse(path: &Path) {
    File::create(path).and_then(|file| file.set_len(200 << 20)).expect("a file of holes");
}

fn link(path: &Path, target: &str) {
    std::os::unix::fs::symlink(target, path).expect("a link");
}

/// Names of a size that cannot be compared letter by letter.
fn long_names(path: &Path) {
    let long = "a".repeat(1 << 20);
    write(
        path,
        format!(
            "graph: g\nresources:\n  noop:\n  - name: {long}b\nedges:\n- from: {{kind: noop, name: \
            {long}c}}\n  to: {{kind: noop, name: {long}d}}\n"
        ),
    );
}

/// A chain of resources whose last one stands before the first.
fn long_ring(path: &Path) {
    let count = 20_000;
    let mut text = String::from("graph: g\nresources:\n  noop:\n");
    (0..count).for_each(|n| text.push_str(&format!("  - name: n{n}\n")));
    text.push_str("edges:\n");
    for from in 0..count {
        let to = (from + 1) % count;
        let ends = format!("from: {{kind: noop, name: n{from}}}, to: {{kind: noop, name: n{to}}}");
        text.push_str(&format!("- {{{ends}}}\n"));
    }
    write(path, text);
}

/// A path that no kernel takes, each part of which would have to be watched.
fn long_path(path: &Path) {
    let long = "/a".repeat(1 << 20);
    write(path, format!("graph: g\nresources:\n  exec:\n  - {{name: e, creates: {long}}}\n"));
}

const ALL: [Hostile; 21] = [
    Hostile { name: "billion laughs", make: laughs, said: "values, aliases followed" },
    Hostile { name: "copies of a text", make: long_laughs, said: "of text, aliases followed" },
    Hostile { name: "200 MB", make: sparse, said: "larger than 32 MiB" },
    Hostile {
        name: "10,000 lists in lists",
        make: |path| nested_with(path, "[", "]"),
        said: "nested deeper than 64",
    },
    Hostile {
        name: "10,000 maps in maps",
        make: |path| nested_with(path, "{a: ", "}"),
        said: "nested deeper than 64",
    },
    Hostile {
        name: "10,000 items in items",
        make: |path| write(path, format!("graph: g\ncomment:\n  {}x\n", "- ".repeat(10_000))),
        said: "nested deeper than 64",
    },
    Hostile {
        name: "10,000 lists that do not end",
        make: |path| nested_with(path, "[", ""),
        said: "nested deeper than 64",
    },
    Hostile {
        name: "not UTF-8",
        make: |path| write(path, b"graph: g\ncomment: \xff\xfe\n"),
        said: "line 2 is not UTF-8",
    },
    Hostile {
        name: "UTF-16",
        make: |path| write(path, b"\xff\xfeg\0r\0a\0p\0h\0:\0 \0g\0\n\0"),
        said: "line 1 is not UTF-8",
    },
    Hostile {
        name: "a pipe",
        make: |path| nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("a pipe"),
        said: "a pipe",
    },
    Hostile {
        name: "a directory",
        make: |path| std::fs::create_dir(path).expect("a directory"),
        said: "a directory",
    },
    Hostile {
        name: "a socket",
        make: |path| drop(UnixListener::bind(path).expect("a socket")),
        said: "a socket",
    },
    Hostile { name: "/dev/zero", make: |path| link(path, "/dev/zero"), said: "a device" },
    Hostile { name: "a link to itself", make: |path| link(path, "site.yaml"), said: "symbolic" },
    Hostile { name: "nothing", make: |path| link(path, "gone"), said: "No such file" },
    Hostile { name: "no text", make: |path| write(path, ""), said: "the file is empty" },
    Hostile {
        name: "16 MiB of line breaks",
        make: |path| write(path, "\n".repeat(16 << 20)),
        said: "the file is empty",
    },
    Hostile { name: "NUL bytes", make: |path| write(path, vec![0; 1 << 20]), said: "NUL byte" },
    Hostile { name: "names of a megabyte", make: long_names, said: "is not declared" },
    Hostile { name: "a path of 2 MiB", make: long_path, said: "at most 4095 are possible" },
    Hostile { name: "a ring of 20,000", make: long_ring, said: "wait for each other" },
];

fn put(site: &Site, hostile: &Hostile) {
    let draft = site.path("draft");
    (hostile.make)(&draft);
    std::fs::rename(&draft, site.path("site.yaml")).expect("it takes the file's place");
}

/// Runs the program to its end, within the time for an answer.
fn answer(hostile: &Hostile, words: &[&str]) -> Output {
    let started = Instant::now();
    let mut command = Command::new(PROGRAM);
    let output = command.args(words).stdin(Stdio::null()).output().expect("the program starts");
    let limit = Duration::from_secs(ANSWER_MAX);
    assert!(started.elapsed() < limit, "{}: {:?}", hostile.name, started.elapsed());
    output
}

fn is_refused(hostile: &Hostile, output: &Output) {
    let name = hostile.name;
    let said = String::from_utf8_lossy(&output.stderr);
    let shown: String = said.chars().take(2_000).collect();
    assert_eq!(output.status.code(), Some(1), "{name}: {shown}");
    assert!(said.contains("site.yaml") && said.contains(hostile.said), "{name}: {shown}");
    assert!(!said.contains("panicked"), "{name}: {shown}");
    assert!(said.len() < 200_000, "{name}: {} bytes are said", said.len());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let kib = u64::try_from(usage.max_rss()).expect("a size");
    println!("{name}: at most {kib} KiB so far");
    assert!(kib < MEMORY_MAX_KIB, "{name}: {kib} KiB");
}

#[test]
fn check_refuses_each_with_a_diagnostic_and_1_in_bounded_memory() {
    for hostile in &ALL {
        let site = Site::new();
        put(&site, hostile);
        let output = answer(hostile, &["check", &site.fill("DIR/site.yaml")]);
        is_refused(hostile, &output);
    }
}

#[test]
fn run_refuses_each_with_a_diagnostic_and_1_before_anything_starts() {
    for hostile in &ALL {
        let site = Site::new();
        put(&site, hostile);
        let (state, file) = (site.fill("DIR/state"), site.fill("DIR/site.yaml"));
        let words = ["run", "--hostname", "h1", "--prefix", &state, "yaml", &file];
        is_refused(hostile, &answer(hostile, &words));
        assert!(!site.path("state").exists(), "{}", hostile.name);
    }
}

const GOOD: &str = "graph: good\nresources:\n  file:\n  - name: DIR/f\n    content: x\n";

#[test]
fn an_agent_that_each_is_put_before_keeps_its_graph_and_goes_on_in_bounded_memory() {
    let site = Site::new();
    site.write("site.yaml", GOOD);
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let right = || site.read("f").filter(|text| text == "x");
    wait_for(10, "the file is made", right);
    for hostile in &ALL {
        let name = hostile.name;
        // A directory takes the place of nothing but another one.
        std::fs::remove_file(site.path("site.yaml")).expect("the file goes");
        put(&site, hostile);
        let error = |status: &serde_json::Value| {
            let error = status["graph"]["error"].as_str().unwrap_or_default();
            error.contains("site.yaml") && error.contains(hostile.said)
        };
        let status = agent.status_where(ANSWER_MAX, &format!("{name}: it is refused"), error);
        assert_eq!(status["graph"]["name"], "good", "{name}");
        std::fs::remove_file(site.path("f")).expect("the managed file goes");
        wait_for(5, &format!("{name}: the old graph still heals"), right);
        if std::fs::remove_dir(site.path("site.yaml")).is_err() {
            std::fs::remove_file(site.path("site.yaml")).expect("it goes");
        }
        site.write("site.yaml", GOOD);
        agent.status_where(10, &format!("{name}: the good file is back"), |one| {
            one["graph"]["error"].is_null() && state_of(one, &site.fill("file[DIR/f]")) == "ok"
        });
    }
    let pid = agent.status()["pid"].as_u64().expect("a process id");
    let about = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let peak =
        about.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high water mark");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("the agent: {kib} KiB");
    assert!(kib < MEMORY_MAX_KIB, "{kib} KiB");
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end(10).code(), Some(0));
}

#[test]
fn a_chain_as_long_as_the_file_allows_is_no_cycle_and_overflows_nothing() {
    let site = Site::new();
    let count = 50_000;
    let mut text = String::from("graph: g\nedges:\n");
    for from in 1..count {
        let to = from + 1;
        let ends = format!("from: {{kind: noop, name: {from}}}, to: {{kind: noop, name: {to}}}");
        text.push_str(&format!("- {{{ends}}}\n"));
    }
    text.push_str("resources:\n  noop:\n");
    (1..=count).for_each(|number| text.push_str(&format!("  - {{name: {number}}}\n")));
    site.write("site.yaml", &text);
    let output = Command::new(PROGRAM).args(["check", &site.fill("DIR/site.yaml")]).output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    // More values than a file may have would be refused, and show nothing about chains.
    assert_eq!(output.status.code(), Some(0), "{said:.2000}");
}
