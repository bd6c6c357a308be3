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
}

impl Quiet {
    pub(super) fn new(after: Option<Duration>) -> Self {
        Quiet { after, since: None, converged: false }
    }

    pub(super) fn is_converged(&self) -> bool {
        self.converged
    }

    /// When it is converged, if nothing happens until then.
    pub(super) fn due(&self) -> Option<Timestamp> {
        if self.converged { None } else { Some(self.since?.after(self.after?)) }
    }

    /// Something was done although all was quiet: the hold begins anew.
    pub(super) fn disturb(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        self.since = self.since.map(|_| now);
        if std::mem::take(&mut self.converged) {
            commands.push(Command::Converged(false));
        }
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
        if !self.converged && now >= due {
            self.converged = true;
            commands.push(Command::Converged(true));
        }
    }
}
