//! Watched commands as real processes, in temporary directories.

use std::fs;
use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Line {
    let args = vec!["-c".to_owned(), script.to_owned()];
    Line { program: "/bin/sh".to_owned(), args, ..Line::default() }
}

async fn next(touched: &mut CommandNews) -> Touched {
    timeout(PATIENCE, touched.recv()).await.unwrap()
}

/// What was told that was not taken.
fn left(touched: &CommandNews) -> usize {
    touched.board.lock().len()
}

const fn event(id: u64) -> Touched {
    Touched { id, happened: true, error: None }
}

/// It runs, and nothing happened.
const fn runs(id: u64) -> Touched {
    Touched { id, happened: false, error: None }
}

async fn condition(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn pid_in(note: &Path) -> Option<Pid> {
    fs::read_to_string(note).ok()?.trim().parse().ok().map(Pid::from_raw)
}

/// Waits until the process is gone, or only waits to be reaped by init.
async fn gone(pid: Pid) {
    condition("the process is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
        kill(pid, None).is_err() || state == Some('Z')
    })
    .await;
}

/// A shell with a child that notes the child's number and waits.
fn family(dir: &Path) -> (Line, std::path::PathBuf) {
    let note = dir.join("pid");
    (shell(&format!("sleep 600 & echo $! > {}; wait", note.display())), note)
}

#[test]
fn only_lines_that_hold_something_are_found() {
    let cases = [
        (&["a\n"][..], &[true][..]),
        (&["\n", " \r\n", "\n\n"], &[false, false, false]),
        (&["a", "b", "\n", "\n"], &[false, false, true, false]),
        (&["\n\nx\n\n"], &[true]),
        (&["x\ny", "\n"], &[true, true]),
        (&[""], &[false]),
    ];
    for (parts, expected) in cases {
        let mut scan = Scan::default();
        let found: Vec<bool> = parts.iter().map(|part| scan.take(part.as_bytes())).collect();
        assert_eq!(found, expected, "{parts:?}");
    }
}

#[test]
fn a_command_that_ends_at_once_is_started_less_and_less_often() {
    for clean in [true, false] {
        let mut pause = Duration::ZERO;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            pause = pause_after(pause, Duration::ZERO, clean);
            assert_eq!(pause, Duration::from_secs(expected));
        }
        assert_eq!(pause_after(pause, PAUSE_MAX, clean), PAUSE_MIN);
    }
}

#[test]
fn a_failure_after_a_while_does_not_shorten_the_pause_and_a_good_end_does() {
    let before = Duration::from_secs(8);
    assert_eq!(pause_after(before, PAUSE_MAX / 2, false), 2 * before);
    assert_eq!(pause_after(before, PAUSE_MAX / 2, true), PAUSE_MIN);
}

#[tokio::test]
async fn each_line_is_an_event_and_an_empty_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut commands, mut touched) = Commands::new();
    commands.add(7, shell(&format!("exec cat < {}", pipe.display())));
    assert_eq!(next(&mut touched).await, runs(7));
    let mut lines = tokio::fs::OpenOptions::new().write(true).open(&pipe).await.unwrap();
    for _ in 0..3 {
        use tokio::io::AsyncWriteExt;
        lines.write_all(b"\n\nline\n").await.unwrap();
        lines.flush().await.unwrap();
        assert_eq!(next(&mut touched).await, event(7));
    }
    assert_eq!(left(&touched), 0, "three lines that hold something are three events");
    commands.stop(false).await;
}

#[tokio::test]
async fn a_clean_end_is_an_event_and_the_command_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("starts");
    let (mut commands, mut touched) = Commands::new();
    commands.add(1, shell(&format!("echo x >> {}", note.display())));
    let mut events = 0;
    while events < 2 {
        events += usize::from(next(&mut touched).await.happened);
    }
    assert!(fs::read_to_string(&note).unwrap().lines().count() >= 2);
    commands.stop(false).await;
}

#[tokio::test]
async fn a_failure_is_told_once_is_no_event_and_told_again_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (good, starts) = (dir.path().join("good"), dir.path().join("starts"));
    let script = format!(
        "echo x >> {}; test -e {} || {{ echo broken >&2; exit 3; }}; sleep 600",
        starts.display(),
        good.display()
    );
    let (mut commands, mut touched) = Commands::new();
    commands.add(1, shell(&script));
    let failed = loop {
        let told = next(&mut touched).await;
        assert!(!told.happened);
        if told.error.is_some() {
            break told;
        }
    };
    let error = failed.error.unwrap().message;
    assert!(error.starts_with("watchcmd: `/bin/sh"), "{error}");
    assert!(error.ends_with("exited with code 3; its last output: broken"), "{error}");
    condition("it is started again", || {
        fs::read_to_string(&starts).unwrap_or_default().lines().count() >= 2
    })
    .await;
    assert_eq!(left(&touched), 0);
    fs::write(&good, "").unwrap();
    assert_eq!(next(&mut touched).await, runs(1), "that it is over is no event either");
    commands.stop(false).await;
}

#[tokio::test]
async fn what_a_failing_command_printed_is_an_event() {
    let (mut commands, mut touched) = Commands::new();
    commands.add(1, shell("echo line; exit 3"));
    let (mut happened, mut failed) = (false, false);
    while !(happened && failed) {
        let told = next(&mut touched).await;
        happened |= told.happened;
        failed |= told.error.is_some();
    }
    commands.stop(false).await;
}

#[tokio::test]
async fn what_cannot_be_started_is_said_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("later");
    let (mut commands, mut touched) = Commands::new();
    let line = Line { program: program.display().to_string(), ..Line::default() };
    commands.add(1, line);
    let error = next(&mut touched).await.error.unwrap().message;
    assert!(error.contains("is not found; install it"), "{error}");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    assert_eq!(next(&mut touched).await, event(1));
    commands.stop(true).await;
}

#[tokio::test]
async fn a_flood_of_lines_is_told_once_and_to_a_reader_only_now_and_then() {
    let (mut commands, mut touched) = Commands::new();
    commands.add(1, shell("exec yes"));
    let (begin, mut told) = (Instant::now(), 0);
    while told < 5 {
        told += u32::from(next(&mut touched).await.happened);
    }
    assert!(begin.elapsed() >= 4 * TELL_PAUSE, "{:?}", begin.elapsed());
    // Nobody reads any more.
    condition("there is more to tell", || left(&touched) == 1).await;
    commands.stop(false).await;
    assert_eq!(left(&touched), 1, "however much was printed");
}

#[tokio::test]
async fn a_removed_command_is_ended_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (line, note) = family(dir.path());
    let (mut commands, _touched) = Commands::new();
    commands.add(1, line);
    condition("it runs", || pid_in(&note).is_some()).await;
    commands.remove(1);
    gone(pid_in(&note).unwrap()).await;
}

#[tokio::test]
async fn stopping_ends_everything_in_good_order_or_at_once() {
    for at_once in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (line, note) = family(dir.path());
        let (mut commands, _touched) = Commands::new();
        commands.add(1, line);
        condition("it runs", || pid_in(&note).is_some()).await;
        commands.stop(at_once).await;
        gone(pid_in(&note).unwrap()).await;
    }
}
