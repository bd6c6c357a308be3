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

async fn next(touched: &mut mpsc::Receiver<Touched>) -> Touched {
    timeout(PATIENCE, touched.recv()).await.unwrap().unwrap()
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
    let mut pause = Duration::ZERO;
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        pause = pause_after(pause, Duration::ZERO);
        assert_eq!(pause, Duration::from_secs(expected));
    }
    assert_eq!(pause_after(pause, PAUSE_MIN), PAUSE_MIN);
}

#[tokio::test]
async fn each_line_is_an_event_and_an_empty_one_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut commands, mut touched) = Commands::new();
    commands.add(7, shell(&format!("exec cat < {}", pipe.display()))).await.unwrap();
    let mut lines = tokio::fs::OpenOptions::new().write(true).open(&pipe).await.unwrap();
    for _ in 0..3 {
        use tokio::io::AsyncWriteExt;
        lines.write_all(b"\n\nline\n").await.unwrap();
        lines.flush().await.unwrap();
        assert_eq!(next(&mut touched).await, Touched { id: 7, error: None });
    }
    assert!(touched.try_recv().is_err(), "three lines that hold something are three events");
    commands.stop(false).await;
}

#[tokio::test]
async fn a_clean_end_is_one_event_and_the_command_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("starts");
    let (mut commands, mut touched) = Commands::new();
    commands.add(1, shell(&format!("echo x >> {}", note.display()))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(next(&mut touched).await, Touched { id: 1, error: None });
    }
    assert!(fs::read_to_string(&note).unwrap().lines().count() >= 2);
    commands.stop(false).await;
}

#[tokio::test]
async fn a_failure_is_told_once_and_again_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (good, starts) = (dir.path().join("good"), dir.path().join("starts"));
    let script = format!(
        "echo x >> {}; test -e {} || {{ echo broken >&2; exit 3; }}; sleep 600",
        starts.display(),
        good.display()
    );
    let (mut commands, mut touched) = Commands::new();
    commands.add(1, shell(&script)).await.unwrap();
    let error = next(&mut touched).await.error.unwrap().message;
    assert!(error.starts_with("watchcmd: `/bin/sh"), "{error}");
    assert!(error.ends_with("exited with code 3; its last output: broken"), "{error}");
    condition("it is started again", || {
        fs::read_to_string(&starts).unwrap_or_default().lines().count() >= 2
    })
    .await;
    fs::write(&good, "").unwrap();
    assert_eq!(next(&mut touched).await, Touched { id: 1, error: None });
    commands.stop(false).await;
}

#[tokio::test]
async fn what_cannot_be_started_is_said_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("later");
    let (mut commands, mut touched) = Commands::new();
    let line = Line { program: program.display().to_string(), ..Line::default() };
    let error = commands.add(1, line).await.unwrap_err();
    assert!(error.contains("is not found; install it"), "{error}");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    assert_eq!(next(&mut touched).await, Touched { id: 1, error: None });
    commands.stop(true).await;
}

#[tokio::test]
async fn a_flood_of_lines_that_nobody_reads_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("done");
    let (mut commands, mut touched) = Commands::new();
    let flood = format!("yes | head -c 3000000; echo > {}; sleep 600", note.display());
    commands.add(1, shell(&flood)).await.unwrap();
    condition("all of it was read", || note.exists()).await;
    commands.stop(false).await;
    let mut told = 0;
    while touched.try_recv().is_ok() {
        told += 1;
    }
    assert!((1..=TOUCHED_QUEUE).contains(&told), "{told}");
}

#[tokio::test]
async fn a_removed_command_is_ended_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (line, note) = family(dir.path());
    let (mut commands, _touched) = Commands::new();
    commands.add(1, line).await.unwrap();
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
        commands.add(1, line).await.unwrap();
        condition("it runs", || pid_in(&note).is_some()).await;
        commands.stop(at_once).await;
        gone(pid_in(&note).unwrap()).await;
    }
}
