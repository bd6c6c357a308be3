//! How soon etcd's members miss their leader.
//!
//! Refuses times that etcd refuses, or by which members would elect for ever: better before the
//! start than in etcd's log.

use std::fmt;

/// How often the leader gives a sign of life, and after how long without one the others elect; in
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two signs of life.
    pub heartbeat: u32,
    /// Until an election.
    pub election: u32,
}

/// How many signs of life fit into the time to an election, when only one of both is given.
const USUAL: u32 = 10;
/// The fewest; etcd refuses less.
const FEWEST: u32 = 5;
/// The shortest time between signs of life: less than the delays of a busy machine would make
/// members elect while nothing is wrong.
const SHORTEST: u32 = 5;
/// The longest time to an election; etcd refuses more.
const LONGEST: u32 = 50_000;

impl Default for Timers {
    fn default() -> Self {
        Timers { heartbeat: 100, election: 1_000 }
    }
}

impl Timers {
    /// What is asked for; what is not given follows from the other one.
    ///
    /// # Errors
    /// One sentence: the times do not fit each other, or etcd.
    pub fn new(heartbeat: Option<u32>, election: Option<u32>) -> Result<Timers, TimersError> {
        let timers = match (heartbeat, election) {
            (None, None) => Timers::default(),
            (Some(heartbeat), None) => {
                Timers { heartbeat, election: heartbeat.saturating_mul(USUAL) }
            }
            (None, Some(election)) => Timers { heartbeat: election / USUAL, election },
            (Some(heartbeat), Some(election)) => Timers { heartbeat, election },
        };
        let fits = timers.heartbeat >= SHORTEST
            && timers.election >= timers.heartbeat.saturating_mul(FEWEST)
            && timers.election <= LONGEST;
        if fits { Ok(timers) } else { Err(TimersError(timers)) }
    }
}

/// Times that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimersError(Timers);

impl fmt::Display for TimersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timers { heartbeat, election } = self.0;
        write!(
            f,
            "a heartbeat of {heartbeat} ms and an election after {election} ms do not go together: \
             give --etcd-heartbeat at least {SHORTEST} and --etcd-election at least {FEWEST} times \
             that, at most {LONGEST}"
        )
    }
}

impl std::error::Error for TimersError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_follows_from_the_other() {
        let timers = |heartbeat, election| Ok(Timers { heartbeat, election });
        assert_eq!(Timers::new(None, None), timers(100, 1_000));
        assert_eq!(Timers::new(Some(20), None), timers(20, 200));
        assert_eq!(Timers::new(None, Some(500)), timers(50, 500));
        assert_eq!(Timers::new(Some(20), Some(100)), timers(20, 100));
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_taken() {
        for (heartbeat, election) in [
            (Some(0), None),
            (Some(4), Some(1_000)),
            (Some(100), Some(499)),
            (None, Some(49)),
            (None, Some(50_001)),
            (Some(u32::MAX), None),
        ] {
            let why = Timers::new(heartbeat, election).expect_err("refused").to_string();
            assert!(why.contains("--etcd-heartbeat at least 5"), "{why}");
            assert!(why.contains("--etcd-election at least 5 times"), "{why}");
        }
    }
}
