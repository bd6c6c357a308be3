//! How soon etcd's members miss their leader.
//!
//! Refuses times that etcd refuses, or by which members would elect for ever: better before the
//! start than in etcd's log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How often the leader gives a sign of life, and after how long without one the others elect; in
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What is asked for, if anything is; what is not given follows from the other one.
    ///
    /// # Errors
    /// One sentence: the times do not fit each other, or etcd.
    pub fn new(
        heartbeat: Option<u32>,
        election: Option<u32>,
    ) -> Result<Option<Timers>, TimersError> {
        let timers = match (heartbeat, election) {
            (None, None) => return Ok(None),
            (Some(heartbeat), None) => {
                Timers { heartbeat, election: heartbeat.saturating_mul(USUAL) }
            }
            (None, Some(election)) => Timers { heartbeat: election / USUAL, election },
            (Some(heartbeat), Some(election)) => Timers { heartbeat, election },
        };
        let fits = timers.heartbeat >= SHORTEST
            && timers.election >= timers.heartbeat.saturating_mul(FEWEST)
            && timers.election <= LONGEST;
        if fits { Ok(Some(timers)) } else { Err(TimersError(timers)) }
    }

    /// What a member goes by: the cluster's, which its founder chose, as soon as they are known.
    pub fn of(cluster: Option<Timers>, asked: Option<Timers>) -> Timers {
        cluster.or(asked).unwrap_or_default()
    }

    /// What to say to who asked for others than the cluster has: members with different ones elect
    /// each other away.
    pub fn disregarded(cluster: Option<Timers>, asked: Option<Timers>) -> Option<String> {
        let (cluster, asked) = (cluster?, asked?);
        (cluster != asked).then(|| {
            format!(
                "this cluster was founded with --etcd-heartbeat {} and --etcd-election {}, which \
                 this member takes in place of its own, {} and {}",
                cluster.heartbeat, cluster.election, asked.heartbeat, asked.election
            )
        })
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
        let timers = |heartbeat, election| Ok(Some(Timers { heartbeat, election }));
        assert_eq!(Timers::new(None, None), Ok(None));
        assert_eq!(Timers::new(Some(20), None), timers(20, 200));
        assert_eq!(Timers::new(None, Some(500)), timers(50, 500));
        assert_eq!(Timers::new(Some(20), Some(100)), timers(20, 100));
    }

    #[test]
    fn the_clusters_own_are_taken_and_whoever_asked_for_others_is_told() {
        let (usual, short) = (Timers::default(), Timers { heartbeat: 20, election: 200 });
        for (cluster, asked, taken, told) in [
            (None, None, usual, false),
            (None, Some(short), short, false),
            (Some(short), None, short, false),
            (Some(short), Some(short), short, false),
            (Some(short), Some(usual), short, true),
        ] {
            assert_eq!(Timers::of(cluster, asked), taken, "{cluster:?} {asked:?}");
            let said = Timers::disregarded(cluster, asked);
            assert_eq!(said.is_some(), told, "{cluster:?} {asked:?} {said:?}");
        }
        let said = Timers::disregarded(Some(short), Some(usual)).unwrap();
        assert_eq!(
            said,
            "this cluster was founded with --etcd-heartbeat 20 and --etcd-election 200, which this \
             member takes in place of its own, 100 and 1000"
        );
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
