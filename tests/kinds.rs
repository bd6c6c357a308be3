//! Kinds in a real agent: what needs the agent's own watching, its state folder, or a restart.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Site, state_of, wait_for};

/// An exec that a command of its own triggers. That command notes its number, and prints a line for
/// each one that comes out of `pipe`.
const WATCHING: &str = "\
graph: g
resources:
  exec:
  - name: x
    cmd: echo run >> DIR/runs
    shell: /bin/sh
    watchcmd: echo $$ > DIR/pid; while read line; do echo; echo $line; done < DIR/pipe
    watchshell: /bin/sh
";

const FAILING: &str = "\
graph: g
resources:
  exec:
  - name: x
    cmd: 'true'
    watchcmd: test -e DIR/good && exec sleep 600; echo broken >&2; exit 3
    watchshell: /bin/sh
";

fn runs(site: &Site, wanted: usize) -> Option<()> {
    let lines = site.read("runs").unwrap_or_default().lines().count();
    assert!(lines <= wanted, "{lines} runs, {wanted} wanted");
    (lines == wanted).then_some(())
}

fn pid(site: &Site) -> Option<Pid> {
    site.read("pid")?.trim().parse().ok().map(Pid::from_raw)
}

#[test]
fn a_line_of_the_watched_command_runs_the_exec_and_a_swap_or_the_end_stops_the_command() {
    let site = Site::new();
    site.write("site.yaml", WATCHING);
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    // Opening it waits for the watched command, so from here on it is watching.
    let open = || std::fs::OpenOptions::new().write(true).open(site.path("pipe")).unwrap();
    let mut pipe = open();
    wait_for(5, "the exec runs at the start", || runs(&site, 1));
    for wanted in 2..5 {
        use std::io::Write;
        pipe.write_all(b"line\n").unwrap();
        wait_for(5, "the exec runs by a line", || runs(&site, wanted));
    }
    let first = pid(&site).unwrap();
    site.write("site.yaml", "graph: g\nresources:\n  noop:\n  - name: n\n");
    wait_for(5, "a swap ends the command", || kill(first, None).is_err().then_some(()));
    site.write("site.yaml", WATCHING);
    drop(pipe);
    drop(open());
    let second = wait_for(5, "it is started again", || pid(&site).filter(|pid| *pid != first));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end(10).code(), Some(0));
    assert!(kill(second, None).is_err(), "the end of the agent is the end of the command");
}

#[test]
fn a_watched_command_that_fails_is_a_failure_until_it_runs_again() {
    let site = Site::new();
    site.write("site.yaml", FAILING);
    let mut agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let status = agent.status_where(5, "it fails", |one| state_of(one, "exec[x]") == "failed");
    let error = status["resources"].to_string();
    assert!(error.contains("exited with code 3; its last output: broken"), "{error}");
    std::fs::write(site.path("good"), "").unwrap();
    agent.status_where(10, "it is well again", |one| state_of(one, "exec[x]") == "ok");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end(10).code(), Some(0), "nothing of it is left behind");
}

#[test]
fn a_kept_password_is_the_same_after_a_restart_and_in_no_log() {
    let site = Site::new();
    site.write("site.yaml", "graph: g\nresources:\n  password:\n  - name: p\n    length: 40\n");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let words = ["--converged-timeout", "0", "yaml", "DIR/site.yaml"];
        let mut agent = site.agent(&words);
        assert_eq!(agent.end(10).code(), Some(0));
        let kept = std::fs::read_dir(site.path("state/kinds/password")).unwrap();
        let files: Vec<_> = kept.map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        let password = std::fs::read_to_string(file).unwrap();
        assert_eq!(password.len(), 40);
        assert!(!agent.log().contains(&password));
        seen.push(password);
    }
    assert_eq!(seen[0], seen[1]);
}

/// The exec is kept from running while the file `made` is there, so it sends nothing.
const RECEIVING: &str = "\
graph: g
resources:
  exec:
  - name: x
    cmd: echo received; touch DIR/made
    shell: /bin/sh
    creates: DIR/made
  line:
  - name: DIR/lines
    recv:
      content: {kind: exec, name: x, key: stdout}
  kv:
  - name: k
    recv:
      value: {kind: exec, name: x, key: stdout}
";

#[test]
fn who_receives_waits_for_what_was_not_sent_and_does_nothing_until_then() {
    let site = Site::new();
    site.write("site.yaml", RECEIVING);
    std::fs::write(site.path("made"), "").unwrap();
    let agent = site.agent(&["yaml", "DIR/site.yaml"]);
    let line = site.fill("line[DIR/lines]");
    for id in [line.as_str(), "kv[k]"] {
        let status = agent.status_where(5, "it waits", |one| state_of(one, id) == "failed");
        assert!(status["resources"].to_string().contains("has not sent `stdout` yet"));
    }
    assert_eq!(site.read("lines"), None);
    std::fs::remove_file(site.path("made")).unwrap();
    for id in [line.as_str(), "kv[k]"] {
        agent.status_where(5, "it has it", |one| state_of(one, id) == "ok");
    }
    assert_eq!(site.read("lines").as_deref(), Some("received\n"));
}

const WATCHING_FILES: &str = "\
graph: g
resources:
  exec:
  - name: x
    cmd: echo run >> DIR/runs
    shell: /bin/sh
    watchfiles: [DIR/one, DIR/several/]
  tar:
  - name: DIR/tree.tar
    inputs: [DIR/several]
";

#[test]
fn a_watched_file_runs_an_exec_and_an_archive_follows_what_lies_deep_in_its_inputs() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("several/deep")).unwrap();
    std::fs::write(site.path("several/deep/f"), "old").unwrap();
    site.write("site.yaml", WATCHING_FILES);
    let _agent = site.agent(&["yaml", "DIR/site.yaml"]);
    wait_for(5, "the exec runs at the start", || runs(&site, 1));
    let archive = |text: &str| {
        let bytes = std::fs::read(site.path("tree.tar")).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes()).then_some(())
    };
    wait_for(5, "the archive is made", || archive("old"));
    std::fs::create_dir(site.path("one")).unwrap();
    wait_for(5, "the exec runs by a path that came", || runs(&site, 2));
    std::fs::remove_dir(site.path("one")).unwrap();
    wait_for(5, "the exec runs by a path that went", || runs(&site, 3));
    std::fs::create_dir(site.path("several/new")).unwrap();
    wait_for(5, "the exec runs by what came into a directory", || runs(&site, 4));
    std::fs::write(site.path("several/deep/f"), "fresh").unwrap();
    wait_for(5, "the archive follows", || archive("fresh"));
}
