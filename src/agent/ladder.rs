//! The shutdown ladder: what the first, second and third signal mean.
//!
//! Pure. Refuses to know signals of the system, processes or time.

/// A signal that asks the agent to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// INT: leave the cluster.
    Interrupt,
    /// TERM: stop, but stay a member.
    Terminate,
}

/// How far the agent is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// Working.
    #[default]
    Running,
    /// Finishing the steps that run. `leave` gives up the membership.
    Stopping {
        /// Leave the cluster.
        leave: bool,
    },
    /// Steps are cancelled, waits are skipped.
    Hurrying {
        /// The exit code that the hurry earns.
        code: u8,
    },
    /// Everything is killed.
    Killed,
}

impl Stage {
    /// The next stage after a signal.
    #[must_use]
    pub(super) fn after(self, signal: Signal) -> Stage {
        match self {
            Stage::Running => Stage::Stopping { leave: signal == Signal::Interrupt },
            Stage::Stopping { .. } => {
                Stage::Hurrying { code: if signal == Signal::Interrupt { 130 } else { 143 } }
            }
            Stage::Hurrying { .. } | Stage::Killed => Stage::Killed,
        }
    }

    /// The exit code when the agent ends in this stage and would have ended with `wanted`.
    pub(super) fn exit_code(self, wanted: u8) -> u8 {
        match self {
            Stage::Running | Stage::Stopping { .. } => wanted,
            Stage::Hurrying { code } => code,
            Stage::Killed => 137,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Signal::{Interrupt, Terminate};
    use super::*;

    #[test]
    fn term_stays_a_member_and_int_leaves() {
        assert_eq!(Stage::Running.after(Terminate), Stage::Stopping { leave: false });
        assert_eq!(Stage::Running.after(Interrupt), Stage::Stopping { leave: true });
    }

    #[test]
    fn each_further_signal_is_harder_and_shows_in_the_exit_code() {
        let table: [(&[Signal], u8); 6] = [
            (&[Interrupt], 0),
            (&[Terminate], 0),
            (&[Interrupt, Interrupt], 130),
            (&[Interrupt, Terminate], 143),
            (&[Terminate, Interrupt, Interrupt], 137),
            (&[Terminate, Terminate, Terminate, Terminate], 137),
        ];
        for (signals, code) in table {
            let stage = signals.iter().fold(Stage::Running, |stage, &signal| stage.after(signal));
            assert_eq!(stage.exit_code(0), code, "{signals:?}");
        }
    }
}
