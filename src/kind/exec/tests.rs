//! Commands as real processes, in temporary directories.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::super::trial::{Given, build, build_values, changed, context, mistakes, would_change};
use super::super::{Context, Kind, Outcome, Watch};
use super::OUTPUT_MAX;
use crate::spec::{Fields, Value};

const PATIENCE: Duration = Duration::from_secs(10);

fn text(text: &str) -> Value {
    Value::Str(text.to_owned())
}

async fn run(fields: &[(&str, Value)]) -> Result<Outcome, String> {
    build_values("exec", "x", fields).unwrap().run(&context()).await
}

async fn shell(cmd: &str) -> Result<Outcome, String> {
    run(&[("cmd", text(cmd)), ("shell", text("/bin/sh"))]).await
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
    let list = |one: &str| Value::List(vec![text(one)]);
    let cases: [(Given, &[&str]); 16] = [
        (&[], &[]),
        (&[("cmd", text("  "))], &["cmd"]),
        (&[("shell", text("/bin/sh")), ("args", Value::List(Vec::new()))], &["args"]),
        (&[("timeout", Value::Int(-1))], &["timeout"]),
        (&[("cwd", text("rel")), ("creates", text("rel"))], &["cwd", "creates"]),
        (&[("ifshell", text("/bin/sh"))], &["ifshell"]),
        (&[("ifcmd", text(" ")), ("ifcwd", text("rel"))], &["ifcwd", "ifcmd"]),
        (&[("env", Value::Map([("A=B".to_owned(), text(""))].into()))], &["env"]),
        (&[("watchcmd", text(" ")), ("watchcwd", text("rel"))], &["watchcwd", "watchcmd"]),
        (&[("watchshell", text("sh")), ("nifcwd", text("/"))], &["nifcwd", "watchshell"]),
        (&[("doneshell", text("sh")), ("ifequals", text("x"))], &["ifequals", "doneshell"]),
        (&[("mtimes", list("rel")), ("watchfiles", list("rel"))], &["mtimes", "watchfiles"]),
        (&[("sig", text("SIGNONE"))], &["sig"]),
        (&[("sig", text("INT")), ("send_output", text("")), ("user", text("x"))], &[]),
        (&[("ifcmd", text("x")), ("ifequals", text(&"x".repeat(OUTPUT_MAX)))], &["ifequals"]),
        (&[("watchcmd", text("")), ("watchshell", text("")), ("ifcmd", text(""))], &[]),
    ];
    for (fields, expected) in cases {
        assert_eq!(mistakes("exec", "x", fields), expected, "{fields:?}");
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
async fn neither_arguments_nor_what_was_received_is_told() {
    let secret = || text("hunter2 of mine");
    let told = |result: Result<Outcome, String>| match result {
        Ok(Outcome::Changed(what)) | Err(what) => what,
        other => panic!("{other:?}"),
    };
    let args = || Value::List(vec![secret()]);
    assert_eq!(told(run(&[("cmd", text("true")), ("args", args())]).await), "`true` run");
    let failed = told(run(&[("cmd", text("false")), ("args", args())]).await);
    assert_eq!(failed, "`false` exited with code 1; it printed nothing");
    let id = crate::ident::ResourceId::new("exec", "x");
    let given = [("cmd".to_owned(), text("false hunter2"))].into();
    let exec = super::ExecKind.build_received(&id, &given).unwrap();
    assert!(format!("{exec:?}").contains("hunter2"), "it is run with it");
    let failed = told(exec.run(&context()).await);
    assert_eq!(failed, "`false` exited with code 1; it printed nothing");
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
    assert_eq!(exec.watches(), [Watch::Path { path: path.as_path().into(), children: false }]);
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
async fn on_cancel_the_whole_group_has_the_time_to_clean_up_and_not_only_its_leader() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // The leader ends at once, its child needs a while.
    let child = format!(
        "trap 'sleep 0.3; echo > {}; exit' TERM; echo > {}; while :; do sleep 0.05; done",
        path("cleaned"),
        path("ready")
    );
    let script = format!("sh -c \"$CHILD\" > {} 2>&1 & wait", path("log"));
    let env = Value::Map([("CHILD".to_owned(), text(&child))].into());
    let fields = [("cmd", text(&script)), ("shell", text("/bin/sh")), ("env", env)];
    let exec = build_values("exec", "x", &fields).unwrap();
    let cx = context();
    let cancel = cx.cancel.clone();
    let run = tokio::spawn(async move { exec.run(&cx).await });
    let ready = dir.path().join("ready");
    let wait = async {
        while !ready.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    cancel.cancel();
    assert!(run.await.unwrap().unwrap_err().contains("cancelled"));
    assert!(dir.path().join("cleaned").exists(), "it was killed while it cleaned up");
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

/// One run of a resource with these fields; a file in the folder takes the place of `~`.
async fn run_in(dir: &TempDir, cx: &Context, fields: Given<'_>) -> Result<Outcome, String> {
    let tilde = |text: &str| text.replace('~', dir.path().to_str().unwrap());
    let place = |value: &Value| match value {
        Value::Str(one) => text(&tilde(one)),
        Value::List(items) => Value::List(
            items
                .iter()
                .map(
                    |item| {
                        if let Value::Str(one) = item { text(&tilde(one)) } else { item.clone() }
                    },
                )
                .collect(),
        ),
        other => other.clone(),
    };
    let fields: Vec<(&str, Value)> =
        fields.iter().map(|(key, value)| (*key, place(value))).collect();
    build_values("exec", "x", &fields).unwrap().run(cx).await
}

fn state_in(dir: &TempDir) -> Context {
    Context { state_dir: dir.path().join("state").into(), ..context() }
}

#[tokio::test]
async fn refresh_only_runs_by_a_refresh_and_by_nothing_else() {
    let fields = [("cmd", text("true")), ("refreshonly", Value::Bool(true))];
    let exec = build_values("exec", "x", &fields).unwrap();
    assert_eq!(exec.run(&context()).await, Ok(Outcome::Unchanged));
    let refreshed = Context { refresh: true, ..context() };
    changed(exec.run(&refreshed).await);
    would_change(exec.run(&Context { apply: false, ..refreshed }).await);
    assert_eq!(exec.run(&context()).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn a_reversed_guard_and_an_equal_output_keep_the_command_from_running() {
    let sh = || text("/bin/sh");
    let skipped: [Given; 3] = [
        &[("cmd", text("false")), ("nifcmd", text("true"))],
        &[
            ("cmd", text("false")),
            ("ifcmd", text("echo x; echo y >&2")),
            ("ifshell", sh()),
            ("ifequals_stdout", text("x")),
        ],
        &[("cmd", text("false")), ("ifcmd", text("echo x")), ("ifequals", text("x\n"))],
    ];
    for fields in skipped {
        assert_eq!(run(fields).await, Ok(Outcome::Unchanged), "{fields:?}");
    }
    let runs: [Given; 2] = [
        &[("cmd", text("true")), ("nifcmd", text("false"))],
        &[("cmd", text("true")), ("ifcmd", text("echo y")), ("ifequals", text("x"))],
    ];
    for fields in runs {
        changed(run(fields).await);
    }
}

#[tokio::test]
async fn what_follows_a_command_runs_after_its_success_and_has_to_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let sh = || text("/bin/sh");
    let done = |cmd: &str, after: &str| {
        vec![
            ("cmd", text(cmd)),
            ("shell", sh()),
            ("donecmd", text(after)),
            ("doneshell", sh()),
            ("donecwd", text("~")),
        ]
    };
    let cx = context();
    changed(run_in(&dir, &cx, &done("touch ~/first", "test -e first && touch second")).await);
    assert!(dir.path().join("second").exists());
    run_in(&dir, &cx, &done("exit 1", "touch third")).await.unwrap_err();
    assert!(!dir.path().join("third").exists());
    let error = run_in(&dir, &cx, &done("true", "exit 7")).await.unwrap_err();
    assert!(error.starts_with("done: ") && error.contains("exited with code 7"), "{error}");
}

#[tokio::test]
async fn a_file_newer_than_the_last_run_lets_it_run_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (input, cx) = (dir.path().join("in"), state_in(&dir));
    let fields = [("cmd", text("true")), ("mtimes", Value::List(vec![text("~/in")]))];
    let error = run_in(&dir, &cx, &fields).await.unwrap_err();
    assert!(error.ends_with("create it, or do not list it"), "{error}");
    let looking = Context { apply: false, ..cx.clone() };
    would_change(run_in(&dir, &looking, &fields).await);
    let touch = |seconds| {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::create(&input).unwrap().set_modified(time).unwrap();
    };
    touch(1000);
    changed(run_in(&dir, &cx, &fields).await);
    assert_eq!(run_in(&dir, &cx, &fields).await, Ok(Outcome::Unchanged));
    changed(run_in(&dir, &Context { refresh: true, ..cx.clone() }, &fields).await);
    touch(2000);
    let failing = [("cmd", text("false")), ("mtimes", Value::List(vec![text("~/in")]))];
    run_in(&dir, &cx, &failing).await.unwrap_err();
    changed(run_in(&dir, &cx, &fields).await);
    assert_eq!(run_in(&dir, &cx, &fields).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn a_newer_file_overrules_the_other_guards() {
    let dir = tempfile::tempdir().unwrap();
    let cx = state_in(&dir);
    let path = dir.path().join("in");
    fs::write(&path, "").unwrap();
    let mtimes = Value::List(vec![text("~/in")]);
    let fields = [("cmd", text("true")), ("mtimes", mtimes), ("creates", text("~/in"))];
    changed(run_in(&dir, &cx, &fields).await);
    assert_eq!(run_in(&dir, &cx, &fields).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn the_signal_that_was_asked_for_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let cmd = "trap 'echo got > ~/note; exit' INT; sleep 600 & wait";
    let fields = [
        ("cmd", text(cmd)),
        ("shell", text("/bin/sh")),
        ("sig", text("SIGINT")),
        ("timeout", Value::Int(1)),
    ];
    run_in(&dir, &context(), &fields).await.unwrap_err();
    assert_eq!(fs::read_to_string(dir.path().join("note")).unwrap(), "got\n");
}

#[tokio::test]
async fn a_user_is_taken_on_by_root_and_refused_to_others() {
    let cx = context();
    let fields = [
        ("cmd", text("id -u; id -g; echo $HOME")),
        ("shell", text("/bin/sh")),
        ("user", text("nobody")),
    ];
    let result = build_values("exec", "x", &fields).unwrap().run(&cx).await;
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    if nix::unistd::Uid::effective() == nobody.uid || nix::unistd::Uid::effective().is_root() {
        changed(result);
        let home = nobody.dir.display();
        let expected = format!("{}\n{}\n{home}\n", nobody.uid, nobody.gid);
        assert_eq!(cx.outbox.take().get("stdout"), Some(&text(&expected)));
    } else {
        assert!(result.unwrap_err().contains("`user` needs root"));
    }
}

#[tokio::test]
async fn what_a_command_prints_is_sent_and_a_fallback_while_it_is_kept_from_running() {
    let cx = context();
    let sent = |fields: Given<'_>| {
        let exec = build_values("exec", "x", fields).unwrap();
        let cx = cx.clone();
        async move {
            exec.run(&cx).await.unwrap();
            cx.outbox.take()
        }
    };
    let cmd = ("cmd", text("echo out; echo err >&2"));
    let sh = ("shell", text("/bin/sh"));
    let values = sent(&[cmd.clone(), sh.clone()]).await;
    assert_eq!(values.get("stdout"), Some(&text("out\n")));
    assert_eq!(values.get("stderr"), Some(&text("err\n")));
    assert!(matches!(values.get("output"), Some(Value::Str(both)) if both.len() == 8));
    let fallback =
        [cmd.clone(), sh.clone(), ("send_stdout", text("before")), ("ifcmd", text("false"))];
    assert_eq!(sent(&fallback).await, [("stdout".to_owned(), text("before"))].into());
    assert_eq!(sent(&[cmd, sh, ("ifcmd", text("false"))]).await, Fields::new());
}

#[tokio::test]
async fn a_fallback_does_not_replace_what_the_command_printed_before() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let cmd = format!("echo real; touch {}", made.display());
    let fields =
        [("shell", "/bin/sh"), ("creates", made.to_str().unwrap()), ("send_stdout", "before")];
    let exec = build("exec", &cmd, &fields).unwrap();
    let cx = context();
    changed(exec.run(&cx).await);
    assert_eq!(cx.outbox.take().get("stdout"), Some(&text("real\n")));
    assert_eq!(exec.run(&cx).await, Ok(Outcome::Unchanged));
    assert_eq!(cx.outbox.take(), Fields::new());
}

#[tokio::test]
async fn an_output_that_is_too_long_or_no_text_is_not_sent_in_part() {
    let cx = context();
    for (cmd, kept) in [
        (format!("head -c {OUTPUT_MAX} /dev/zero"), true),
        (format!("head -c {} /dev/zero", OUTPUT_MAX + 1), false),
        ("printf '\\377'".to_owned(), false),
    ] {
        let exec = build("exec", &cmd, &[("shell", "/bin/sh")]).unwrap();
        exec.run(&cx).await.unwrap();
        assert_eq!(cx.outbox.take().contains_key("stdout"), kept, "{cmd}");
    }
}

#[test]
fn it_watches_files_and_a_command() {
    let list = |one: &str| Value::List(vec![text(one)]);
    let fields = [
        ("mtimes", list("/m")),
        ("watchfiles", list("/w/")),
        ("watchcmd", text("tail -f /x")),
        ("watchcwd", text("/tmp")),
        ("env", Value::Map([("A".to_owned(), text("b"))].into())),
    ];
    let watches = build_values("exec", "true", &fields).unwrap().watches();
    let path =
        |path: &str, children| Watch::Path { path: std::path::Path::new(path).into(), children };
    let [first, second, Watch::Command(line)] = watches.as_slice() else { panic!("{watches:?}") };
    assert_eq!([first, second], [&path("/m", false), &path("/w", true)]);
    assert_eq!(line.to_string(), "tail -f /x");
    assert_eq!(line.cwd.as_deref(), Some(std::path::Path::new("/tmp")));
    assert_eq!(line.env.get("A").map(String::as_str), Some("b"));
}
