//! The third signal ends the process even when the loop hears none: it may wait for a file system
//! that does not answer.
//!
//! Refuses to end an agent that is on its way out by itself within a bound.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::ladder::Stage;
use super::start::{Heard, Signals};
use super::tell;

/// How long the loop has for its own end after the third signal: it has children to kill.
const LIMIT: Duration = Duration::from_secs(5);

/// Listens from now on, on a thread of its own: those of the loop may all hang.
pub(super) fn start() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let thread = std::thread::Builder::new().name("quorate-signals".to_owned());
    let listen = move || {
        let stage = runtime.block_on(killed(signals));
        tell("error: the agent does not end by itself; ending it\n");
        std::process::exit(i32::from(stage.exit_code(0)));
    };
    thread.spawn(listen).map(drop)
}

/// Waits until an agent that hears its signals would have ended.
async fn killed(mut signals: Signals) -> Stage {
    let mut stage = Stage::Running;
    while stage != Stage::Killed {
        if let Heard::End(signal) = signals.next().await {
            stage = stage.after(signal);
        }
    }
    sleep(LIMIT).await;
    stage
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_third_signal_ends_an_agent_whose_loop_hangs_and_two_do_not() {
        let signals = Signals::new().unwrap();
        // One at a time: signals that come together count as one.
        let mut echo = Signals::new().unwrap();
        let listening = tokio::spawn(killed(signals));
        for _ in 0..2 {
            raise(Signal::SIGTERM).unwrap();
            echo.next().await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        assert!(!listening.is_finished());
        raise(Signal::SIGTERM).unwrap();
        let stage = timeout(4 * LIMIT, listening).await.unwrap().unwrap();
        assert_eq!(stage.exit_code(0), 137);
    }
}
