//! The shell of the agent: one loop that turns sources into events, feeds the engine, and runs its
//! commands.
//!
//! Only data moves here; what runs when is the engine's, what a host takes from others is the
//! collector's, who is a member is the cluster's decision. Refuses to keep a task for a resource
//! that is idle.

mod again;
mod body;
mod desired;
mod durable;
pub mod exchange;
mod grants;
mod ladder;
mod last_resort;
mod later;
mod lines;
mod metrics;
mod operate;
mod outcome;
mod owed;
mod pieces;
mod pool;
mod receivers;
mod recollect;
mod relay;
mod reload;
mod report;
mod runs;
mod settings;
mod settled;
pub mod socket;
pub mod source;
mod start;
pub mod watch;
mod watches;

pub use lines::Lines;
pub use settings::{ClusterSettings, Converged, Input, MetricsSettings, Settings, Surroundings};

/// The target of the span around each run, for filters of the log.
pub const RUN_TARGET: &str = "quorate::run";

/// Everything is done.
pub const EXIT_DONE: u8 = 0;
/// The graph is refused, or something went wrong while running.
pub const EXIT_FAILED: u8 = 1;
/// Refused at start: folder in use, host name taken, port in use, foreign or damaged state.
pub const EXIT_REFUSED: u8 = 3;
/// Not reached in time.
pub const EXIT_TIME: u8 = 4;
/// Converged, but some resources failed or are blocked.
pub const EXIT_PARTIAL: u8 = 5;

/// How long a thread for blocking calls waits for the next one: it then wakes up only to end, long
/// after the agent came to rest if that is long.
const IDLE_THREAD: std::time::Duration = std::time::Duration::from_millis(100);
/// How long tasks that hang may keep an agent from its new start.
const LEFT_OVER: std::time::Duration = std::time::Duration::from_secs(10);

/// Says something on standard error. That nobody reads it is no failure.
pub(crate) fn tell(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // In one piece, so that it is not torn by what others say.
    let written = std::io::stderr().write_all(text.to_string().as_bytes());
    drop(written);
}

/// Runs an agent until it ends; gives its exit code. Prints what was refused.
pub fn run(settings: Settings) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(failure) => {
            tell(format_args!("error: the agent's threads could not be started: {failure}\n"));
            return EXIT_FAILED;
        }
    };
    // As a task, the loop shares a thread with what wakes it more often than not.
    let agent = runtime.spawn(start::run(settings));
    let end = runtime.block_on(agent).unwrap_or_else(|failure| {
        tell(format_args!("error: the agent's loop ended: {failure}\n"));
        start::End::Exit(EXIT_FAILED)
    });
    match end {
        start::End::Exit(code) => {
            // A blocking call that hangs (a dead network file system) must not keep the agent from
            // ending.
            runtime.shutdown_background();
            code
        }
        start::End::Again { order, folder, host } => {
            // What comes next locks the state folder: the last task that has it open has to be
            // gone.
            runtime.shutdown_timeout(LEFT_OVER);
            again::start(&order, &folder, &host)
        }
    }
}
