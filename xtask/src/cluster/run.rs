//! A command in a node: its envelope, and what came back.
//!
//! Runs under a timeout inside the node with both streams joined there. A client that goes away
//! leaves its command running, and streams that are joined outside come back in another order each
//! time.

use std::time::{Duration, Instant};

use crate::engine::{Answer, Engine, ExecRequest};

/// How much longer than the timeout inside the answer may take, before the node is thought dead.
const GRACE: Duration = Duration::from_secs(5);
/// Marks a command and all that it starts, so that a timeout leaves nothing.
const MARK: &str = "QUORATE_EXEC";

/// What a command in a node gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// The exit code; 137 when it was killed, which a timeout does as well.
    pub(crate) exit: i64,
    /// Both streams in the order in which they were written, as lines without their ends.
    pub(crate) lines: Vec<String>,
    /// Whether the time ran out. Nothing that the command started is left then.
    pub(crate) timed_out: bool,
    /// From the request to the last byte.
    pub(crate) elapsed: Duration,
}

/// Runs a shell command.
pub(crate) async fn shell(
    engine: &Engine,
    id: &str,
    command: &str,
    timeout: Duration,
) -> Answer<Output> {
    let script = format!("exec 2>&1; {command}");
    run(engine, id, vec!["sh".to_owned(), "-c".to_owned(), script], timeout).await
}

/// Runs a program with arguments, as they are.
pub(crate) async fn program(
    engine: &Engine,
    id: &str,
    argv: &[String],
    timeout: Duration,
) -> Answer<Output> {
    let mut all: Vec<String> =
        ["sh", "-c", "exec 2>&1; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    all.extend(argv.iter().cloned());
    run(engine, id, all, timeout).await
}

async fn run(engine: &Engine, id: &str, command: Vec<String>, timeout: Duration) -> Answer<Output> {
    let start = Instant::now();
    let mark = format!("{MARK}={}.{}", std::process::id(), token());
    let request = ExecRequest {
        argv: envelope(command, timeout),
        env: vec!["COLUMNS=80".to_owned(), mark.clone()],
    };
    let (exit, bytes, late) =
        match tokio::time::timeout(timeout + GRACE, engine.exec(id, request)).await {
            Ok(done) => {
                let (exit, bytes) = done?;
                (exit, bytes, false)
            }
            Err(_) => (137, Vec::new(), true),
        };
    let elapsed = start.elapsed();
    let timed_out = late || (exit == 137 && elapsed >= timeout);
    if timed_out {
        engine.exec(id, sweep(&mark)).await?;
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::to_owned).collect();
    Ok(Output { exit, lines, timed_out, elapsed })
}

fn envelope(command: Vec<String>, timeout: Duration) -> Vec<String> {
    // Whole seconds: that is what every busybox understands.
    let seconds = timeout.as_secs_f64().ceil().max(1.0);
    let mut argv: Vec<String> =
        ["timeout", "-s", "KILL", &format!("{seconds}")].map(str::to_owned).to_vec();
    argv.extend(command);
    argv
}

/// Kills what a command left: `timeout` only kills the process that it started.
fn sweep(mark: &str) -> ExecRequest {
    let script = format!(
        "for p in /proc/[0-9]*; do grep -qs '{mark}' $p/environ && kill -9 ${{p#/proc/}}; done"
    );
    ExecRequest { argv: vec!["sh".to_owned(), "-c".to_owned(), script], env: vec![] }
}

/// A number that no other command of this process has.
fn token() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_inside_is_in_whole_seconds_and_never_none() {
        for (timeout, seconds) in [(0, "1"), (999, "1"), (1000, "1"), (1500, "2"), (10_000, "10")] {
            let argv = envelope(vec!["sh".to_owned()], Duration::from_millis(timeout));
            assert_eq!(argv, ["timeout", "-s", "KILL", seconds, "sh"], "{timeout}");
        }
    }
}
