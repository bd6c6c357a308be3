//! When all has been quiet for long enough.
//!
//! Refuses to know what quiet means: it is told.

use std::time::Duration;

use super::{Command, Timestamp};

/// The hold timer of convergence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    after: Option<Duration>,
    /// When it became quiet.
    since: Option<Timestamp>,
    /// What was said last.
    converged: bool,
    /// The time that was asked for and has not come yet.
    wake: Option<Timestamp>,
}

impl Quiet {
    pub(super) fn new(after: Option<Duration>) -> Self {
        Quiet { after, since: None, converged: false, wake: None }
    }

    pub(super) fn is_converged(&self) -> bool {
        self.converged
    }

    /// A time that was asked for has come; if it was an earlier one, the right one is asked for
    /// again.
    pub(super) fn woken(&mut self) {
        self.wake = None;
    }

    pub(super) fn update(&mut self, now: Timestamp, quiet: bool, commands: &mut Vec<Command>) {
        let Some(after) = self.after else { return };
        if !quiet {
            self.since = None;
            if std::mem::take(&mut self.converged) {
                commands.push(Command::Converged(false));
            }
            return;
        }
        let due = self.since.get_or_insert(now).after(after);
        if self.converged {
            return;
        }
        if now >= due {
            self.converged = true;
            commands.push(Command::Converged(true));
        } else if self.wake != Some(due) {
            self.wake = Some(due);
            commands.push(Command::WakeAt(due));
        }
    }
}
