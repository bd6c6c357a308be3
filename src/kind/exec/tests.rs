//! Commands as real processes, in temporary directories.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::super::trial::{build, build_values, changed, context, would_change};
use super::super::{Context, Outcome, Watch};
use crate::spec::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// Fields as they stand in a file.
type Given<'a> = &'a [(&'a str, Value)];

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

async fn run(fields: &[(&str, Value)]) -> Result<Outcome, String> {
    build_values("exec", "x", fields).unwrap().run(&context()).await
}

async fn shell(cmd: &str) -> Result<Outcome, String> {
    run(&[("cmd", text(cmd)), ("shell", text("/bin/sh"))]).await
}

fn mistakes(fields: &[(&str, Value)]) -> Vec<&'static str> {
    let errors = build_values("exec", "x", fields).err().unwrap_or_default();
    errors.iter().map(|error| error.field.unwrap_or("-")).collect()
}

/// Waits until the file holds a process number, then tells it.
async fn pid_in(path: &std::path::Path) -> Pid {
    let read = async {
        loop {
            if let Some(pid) = fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok()) {
                return Pid::from_raw(pid);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap()
}

/// Waits until the process is gone, or only waits to be reaped by init.
async fn gone(pid: Pid) {
    let running = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
        kill(pid, None).is_ok() && state != Some('Z')
    };
    let wait = async {
        while running() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{pid} still runs"));
}

/// A shell that starts a child, notes the number of the child, and waits for it.
fn family(dir: &TempDir) -> (String, PathBuf) {
    let note = dir.path().join("pid");
    (format!("sleep 600 & echo $! > {}; wait", note.display()), note)
}

#[test]
fn every_mistake_in_the_fields_is_reported() {
    let cases: [(Given, &[&str]); 10] = [
        (&[], &[]),
        (&[("cmd", text("  "))], &["cmd"]),
        (&[("shell", text("/bin/sh")), ("args", Value::List(Vec::new()))], &["args"]),
        (&[("timeout", Value::Int(-1))], &["timeout"]),
        (&[("cwd", text("rel")), ("creates", text("rel"))], &["cwd", "creates"]),
        (&[("ifshell", text("/bin/sh"))], &["ifshell"]),
        (&[("ifcmd", text(" ")), ("ifcwd", text("rel"))], &["ifcwd", "ifcmd"]),
        (&[("env", Value::Map([("A=B".to_owned(), text(""))].into()))], &["env"]),
        (&[("watchcmd", text("tail -f x"))], &["watchcmd"]),
        (&[("watchcmd", text("")), ("watchshell", text("")), ("ifcmd", text(""))], &[]),
    ];
    for (fields, expected) in cases {
        assert_eq!(mistakes(fields), expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_command_runs_split_shelled_or_with_arguments_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    assert_eq!(
        changed(run(&[("cmd", text(&format!("touch {}  {}", path("a"), path("b"))))]).await),
        format!("`touch {} {}` run", path("a"), path("b"))
    );
    changed(shell(&format!("echo one two > '{}'", path("c d"))).await);
    let args = Value::List(vec![text(&path("e f"))]);
    changed(run(&[("cmd", text("touch")), ("args", args)]).await);
    for name in ["a", "b", "c d", "e f"] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    assert_eq!(fs::read_to_string(path("c d")).unwrap(), "one two\n");
}

#[tokio::test]
async fn the_environment_is_extended_and_the_directory_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let env = Value::Map([("GREETING".to_owned(), text("hello"))].into());
    let cmd = "test -n \"$PATH\" && echo $GREETING > here";
    let cwd = text(dir.path().to_str().unwrap());
    changed(
        run(&[("cmd", text(cmd)), ("shell", text("/bin/sh")), ("env", env), ("cwd", cwd)]).await,
    );
    assert_eq!(fs::read_to_string(dir.path().join("here")).unwrap(), "hello\n");
}

#[tokio::test]
async fn a_failure_names_the_code_and_the_end_of_the_output() {
    let error = shell("echo first; echo broken >&2; exit 3").await.unwrap_err();
    assert!(error.contains("exited with code 3; its last output: "), "{error}");
    assert!(error.contains("broken"), "{error}");
    let error = shell("exit 4").await.unwrap_err();
    assert!(error.ends_with("exited with code 4; it printed nothing"), "{error}");
    let error = shell("kill -9 $$").await.unwrap_err();
    assert!(error.contains("was killed by signal 9"), "{error}");
    let error = shell("yes | head -c 1000000; echo end; exit 1").await.unwrap_err();
    assert!(error.len() < 3000 && error.ends_with("end"), "only the end is shown");
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let error = run(&[("cmd", text("/no/such/program"))]).await.unwrap_err();
    assert!(error.contains("the program `/no/such/program` is not found; install it"), "{error}");
    let error = run(&[("cmd", text("true")), ("cwd", text("/no/such"))]).await.unwrap_err();
    assert!(error.contains("the directory /no/such does not exist"), "{error}");
}

#[tokio::test]
async fn a_guard_that_fails_skips_and_one_that_cannot_run_is_an_error() {
    let guarded = |guard: &str| {
        let guard = text(guard);
        async move { run(&[("cmd", text("true")), ("ifcmd", guard)]).await }
    };
    assert_eq!(guarded("false").await, Ok(Outcome::Unchanged));
    changed(guarded("true").await);
    assert!(guarded("/no/such/guard").await.unwrap_err().starts_with("guard: cannot run"));
}

#[tokio::test]
async fn noop_runs_the_guard_but_not_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let cmd = format!("touch {}", path("command"));
    let guard = format!("touch {}", path("guard"));
    let exec = build("exec", &cmd, &[("ifcmd", &guard)]).unwrap();
    let cx = Context { apply: false, ..context() };
    assert_eq!(would_change(exec.run(&cx).await), format!("`{cmd}` run"));
    assert!(dir.path().join("guard").exists());
    assert!(!dir.path().join("command").exists());
}

#[tokio::test]
async fn what_it_creates_is_watched_and_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made");
    let cmd = format!("touch {}", path.display());
    let exec = build("exec", &cmd, &[("creates", path.to_str().unwrap())]).unwrap();
    assert_eq!(exec.watches(), [Watch::Path { path: path.clone(), children: false }]);
    changed(exec.run(&context()).await);
    assert_eq!(exec.run(&context()).await, Ok(Outcome::Unchanged));
    fs::remove_file(path).unwrap();
    changed(exec.run(&context()).await);
}

#[tokio::test]
async fn without_a_guard_every_run_runs() {
    let exec = build("exec", "true", &[]).unwrap();
    for refresh in [false, true, false] {
        changed(exec.run(&Context { refresh, ..context() }).await);
    }
}

#[tokio::test]
async fn too_slow_a_command_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (cmd, note) = family(&dir);
    let fields = [("cmd", text(&cmd)), ("shell", text("/bin/sh")), ("timeout", Value::Int(1))];
    let error = run(&fields).await.unwrap_err();
    assert!(error.contains("killed after its timeout of 1 s"), "{error}");
    gone(pid_in(&note).await).await;
}

#[tokio::test]
async fn a_group_that_ignores_the_polite_signal_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (cmd, note) = family(&dir);
    let cmd = text(&format!("trap '' TERM; {cmd}"));
    let fields = [("cmd", cmd), ("shell", text("/bin/sh")), ("timeout", Value::Int(1))];
    run(&fields).await.unwrap_err();
    gone(pid_in(&note).await).await;
}

#[tokio::test]
async fn cancelling_kills_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let (cmd, note) = family(&dir);
    let exec = build("exec", &cmd, &[("shell", "/bin/sh")]).unwrap();
    let cx = context();
    let cancel = cx.cancel.clone();
    let (result, pid) = tokio::join!(exec.run(&cx), async {
        let pid = pid_in(&note).await;
        cancel.cancel();
        pid
    });
    assert!(result.unwrap_err().contains("cancelled"));
    gone(pid).await;
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (cmd, note) = family(&dir);
    let exec = build("exec", &cmd, &[("shell", "/bin/sh")]).unwrap();
    let cx = context();
    let pid = tokio::select! {
        result = exec.run(&cx) => panic!("it ended: {result:?}"),
        pid = pid_in(&note) => pid,
    };
    gone(pid).await;
}

#[tokio::test]
async fn a_daemon_that_inherits_the_output_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("pid");
    let cmd = format!("sleep 600 & echo $! > {}", note.display());
    let begin = Instant::now();
    changed(shell(&cmd).await);
    assert!(begin.elapsed() < PATIENCE);
    let daemon = pid_in(&note).await;
    assert!(kill(daemon, None).is_ok(), "what was left in the background stays");
    kill(daemon, nix::sys::signal::Signal::SIGKILL).unwrap();
}
