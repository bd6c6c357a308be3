//! What many resources cost, counted and never timed: handles, wake-ups, memory, system calls. Each
//! bound holds on any machine, however busy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::support::{Agent, PROGRAM, Site, wait_for};

/// A graph of this many files in `DIR/target`.
fn files(n: usize) -> String {
    let mut text = "graph: cost\nresources:\n  file:\n".to_owned();
    for at in 0..n {
        let line = format!("{at:08} {}", "x".repeat(90));
        write!(
            text,
            "  - name: f{at}\n    path: DIR/target/f{at}\n    mode: '0644'\n    content: \
             \"{line}\\n\"\n"
        )
        .expect("a string takes everything");
    }
    text
}

/// An agent that keeps this many files and has nothing to do.
fn at_rest(site: &Site, n: usize) -> Agent {
    std::fs::create_dir(site.path("target")).expect("a folder");
    site.write("site.yaml", &files(n));
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    agent.status_where(60, "all is applied", |status| {
        let all = status["resources"].as_array();
        status["converged"] == json!(true) && all.is_some_and(|all| all.len() == n)
    });
    let mut before = None;
    wait_for(60, "the agent comes to rest", || {
        // Ten looks a second: what wakes a process at all wakes it within that, or is no load.
        std::thread::sleep(Duration::from_millis(100));
        let now = Some(switches(agent.id()));
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    agent
}

fn process(id: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{id}"))
}

/// The number behind a name in a file of `/proc`.
fn number(file: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let first = line.and_then(|line| line.split_whitespace().next());
    first.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// How often the threads of a process went to sleep by themselves.
fn switches(id: u32) -> u64 {
    let threads = std::fs::read_dir(process(id).join("task")).expect("a process");
    threads
        .map(|thread| thread.expect("a thread").path().join("status"))
        .map(|status| number(&status, "voluntary_ctxt_switches:"))
        .sum()
}

#[test]
fn a_thousand_files_need_one_inotify_instance_and_nothing_while_nothing_happens() {
    let site = Site::apart();
    let agent = at_rest(&site, 1000);
    let handles = std::fs::read_dir(process(agent.id()).join("fd")).expect("a process");
    let targets = handles.filter_map(|handle| std::fs::read_link(handle.ok()?.path()).ok());
    let instances = targets.filter(|to| to == Path::new("anon_inode:inotify")).count();
    assert_eq!(instances, 1);
    let before = switches(agent.id());
    std::thread::sleep(Duration::from_secs(3));
    let woken = switches(agent.id()) - before;
    // Other tests come and go in the same folder; who polls is woken far more often.
    assert!(woken <= 10, "woken {woken} times in three seconds although nothing happened");
}

#[test]
fn an_idle_resource_costs_a_few_kilobytes() {
    let resident = |n| {
        let site = Site::apart();
        let agent = at_rest(&site, n);
        number(&process(agent.id()).join("status"), "VmRSS:")
    };
    let (few, many) = (resident(500), resident(2500));
    let each = many.saturating_sub(few) as f64 / 2000.0;
    assert!(each <= 12.0, "{each:.1} KiB a resource: {few} KiB for 500, {many} KiB for 2500");
}

/// The system calls that name a file, change its mode or wait for a disk: how many others there are
/// depends on who was woken when.
const COUNTED: &str = "trace=%file,fchmod,fsync,fdatasync,syncfs";

/// Whether strace is there. The CI installs it; elsewhere it may be missing.
fn no_strace() -> bool {
    Command::new("strace").arg("-V").output().is_err() && std::env::var_os("CI").is_none()
}

/// An agent under strace with these options, which applies `site.yaml` once; what strace tells goes
/// into the file `told`.
fn traced(site: &Site, options: &[&str], told: &str, flags: &[&str]) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-q"]).args(options).arg("-o").arg(site.path(told)).arg(PROGRAM).arg("run");
    strace.args(["--hostname", "h1", "--no-watch", "--converged-timeout", "0"]).args(flags);
    strace.arg("--prefix").arg(site.path("state")).arg("yaml").arg(site.path("site.yaml"));
    strace.output().expect("strace runs")
}

/// The counted calls of one application of so many files, and of the next one that changes nothing.
fn calls(n: usize) -> [u64; 2] {
    let site = Site::apart();
    std::fs::create_dir(site.path("target")).expect("a folder");
    site.write("site.yaml", &files(n));
    ["apply", "again"].map(|phase| {
        let output = traced(&site, &["-c", "-e", COUNTED], phase, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = site.read(phase).expect("a summary");
        let total = text.lines().rev().find(|line| line.trim_end().ends_with(" total"));
        let calls = total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        calls.unwrap_or_else(|| panic!("no total in {text}"))
    })
}

#[test]
fn a_file_costs_a_handful_of_system_calls() {
    if no_strace() {
        return;
    }
    let (few, many) = (calls(100), calls(400));
    // To apply: open the directory, look, open, look at its mode, rename, and not look once more as
    // the kernel says that it changed; the next time: open the directory, look, open.
    for (phase, most, at) in [("apply", 5.2, 0), ("again", 3.2, 1)] {
        let each = (many[at] as f64 - few[at] as f64) / 300.0;
        assert!(each <= most, "{phase}: {each:.1} a file ({} then {})", few[at], many[at]);
    }
}

/// A site whose graph has so many files in each of two directories of one file system.
fn two_folders(n: usize) -> Site {
    let site = Site::apart();
    let mut text = "graph: durable\nresources:\n  file:\n".to_owned();
    for folder in ["one", "two"] {
        writeln!(text, "  - name: DIR/{folder}/\n    state: exists")
            .expect("a string takes everything");
        for at in 0..n {
            writeln!(text, "  - name: DIR/{folder}/f{at}\n    content: '{at}'")
                .expect("a string takes everything");
        }
    }
    site.write("site.yaml", &text);
    site
}

#[test]
fn many_files_are_brought_to_the_disk_by_one_call_and_by_none_unless_it_was_asked_for() {
    if no_strace() {
        return;
    }
    let site = two_folders(50);
    let edit = "graph: durable\nresources:\n  file:\n  - name: DIR/one/f0\n    content: new\n";
    for (flags, graph, calls) in [
        (&[][..], None, 0),
        // Whoever wrote what is found right may not have waited for the disk.
        (&["--durable"], None, 1),
        (&["--durable"], Some(edit), 1),
        (&["--durable", "--noop"], None, 0),
    ] {
        graph.map(|graph| site.write("site.yaml", graph));
        let output = traced(&site, &["-e", "trace=syncfs"], "told", flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = site.read("told").expect("a trace");
        let done = told.matches("syncfs(").count();
        assert_eq!(done, calls, "{flags:?}: {told}");
    }
    assert_eq!(site.read("one/f0").as_deref(), Some("new"));
}

#[test]
fn a_disk_that_fails_keeps_the_agent_from_being_converged() {
    if no_strace() {
        return;
    }
    let fails = ["-e", "trace=syncfs", "-e", "inject=syncfs:error=EIO"];
    let output = traced(&two_folders(2), &fails, "told", &["--durable"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("may not survive a power cut: "), "{said}");
    assert!(!said.contains(" converged\n"), "{said}");
}
