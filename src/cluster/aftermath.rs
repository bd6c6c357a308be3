//! What follows when the etcd child has ended by itself (4.4).
//!
//! Refuses to give a member up while its data may be the only ones, and to try for ever what only a
//! person can mend.

use super::identity::Phase;
use super::logline::Class;

/// How often in a row the same may go wrong.
pub const TRIES: u32 = 5;

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its log says so.
    Told(Class),
    /// A signal that was not ours.
    Signal,
    /// It does not say.
    Unknown,
}

/// What is known about an end.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Why.
    pub cause: Cause,
    /// How far the membership had come.
    pub phase: Phase,
    /// The others have the data too and can decide without us.
    pub others: bool,
    /// How often in a row it ended like this, this time included.
    pub times: u32,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start it again after a pause.
    Again,
    /// Put the data aside, for this reason, and volunteer.
    Rejoin(&'static str),
    /// The member cannot come back: ask for its removal, then volunteer as a new one.
    GiveUp,
    /// Stop trying: the agent goes on as a client.
    Rest,
}

/// Decides.
pub fn next(end: End) -> Next {
    let member = matches!(end.phase, Phase::Member | Phase::Leaving);
    let last = end.times >= TRIES;
    match end.cause {
        Cause::Told(Class::Removed) => Next::Rejoin("removed"),
        // Whom it asked may have come back a moment ago, and tell the list that it last knew.
        Cause::Told(Class::StaleList) if !last => Next::Again,
        Cause::Told(Class::StaleList) if end.phase == Phase::Joining => Next::Rejoin("failed"),
        Cause::Told(Class::StaleList) => Next::Rejoin("stale"),
        Cause::Told(Class::Amnesia | Class::Disk) if end.phase == Phase::Joining => {
            Next::Rejoin("failed")
        }
        Cause::Told(Class::Amnesia | Class::Disk) if member && end.others => Next::GiveUp,
        // A panic may pass. One that comes back five times is in the data.
        Cause::Told(Class::Panic) if last && member && end.others => Next::GiveUp,
        Cause::Told(Class::Panic) if last && end.phase == Phase::Joining => Next::Rejoin("failed"),
        Cause::Told(Class::Version) => Next::Rest,
        _ if last => Next::Rest,
        _ => Next::Again,
    }
}

/// Counts ends of one kind in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streak {
    last: Option<Cause>,
    times: u32,
}

impl Streak {
    /// Another end; how many of its kind it makes in a row. `healthy` ends the row before it.
    pub fn count(&mut self, cause: Cause, healthy: bool) -> u32 {
        if healthy || self.last != Some(cause) {
            self.times = 0;
        }
        self.last = Some(cause);
        self.times = self.times.saturating_add(1);
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 4] =
        [Phase::Bootstrapping, Phase::Joining, Phase::Member, Phase::Leaving];
    const CAUSES: [Cause; 13] = [
        Cause::Told(Class::StaleList),
        Cause::Told(Class::Removed),
        Cause::Told(Class::Amnesia),
        Cause::Told(Class::Version),
        Cause::Told(Class::Port),
        Cause::Told(Class::Locked),
        Cause::Told(Class::Disk),
        Cause::Told(Class::Panic),
        Cause::Told(Class::Space),
        Cause::Told(Class::Slow),
        Cause::Told(Class::Usage),
        Cause::Signal,
        Cause::Unknown,
    ];

    fn all() -> impl Iterator<Item = End> {
        let times = 1..=TRIES + 1;
        times.flat_map(|times| {
            PHASES.into_iter().flat_map(move |phase| {
                CAUSES.into_iter().flat_map(move |cause| {
                    [false, true].map(|others| End { cause, phase, others, times })
                })
            })
        })
    }

    #[test]
    fn a_member_is_given_up_only_when_its_data_are_bad_and_others_have_them() {
        for end in all().filter(|end| next(*end) == Next::GiveUp) {
            assert!(end.others && end.phase != Phase::Bootstrapping, "{end:?}");
            let bad = [Class::Amnesia, Class::Disk, Class::Panic].map(Cause::Told);
            assert!(bad.contains(&end.cause), "{end:?}");
        }
    }

    #[test]
    fn nothing_is_tried_a_sixth_time() {
        for end in all().filter(|end| end.times >= TRIES) {
            assert_ne!(next(end), Next::Again, "{end:?}");
        }
    }

    #[test]
    fn the_table_of_the_design_holds() {
        use Phase::{Joining, Member};
        for (class, phase, others, times, want) in [
            (Class::Removed, Member, true, 1, Next::Rejoin("removed")),
            (Class::StaleList, Joining, true, 4, Next::Again),
            (Class::StaleList, Joining, true, 5, Next::Rejoin("failed")),
            (Class::StaleList, Member, true, 5, Next::Rejoin("stale")),
            (Class::Amnesia, Member, true, 1, Next::GiveUp),
            (Class::Disk, Member, true, 1, Next::GiveUp),
            (Class::Disk, Member, false, 1, Next::Again),
            (Class::Disk, Member, false, 5, Next::Rest),
            (Class::Panic, Member, true, 4, Next::Again),
            (Class::Panic, Member, true, 5, Next::GiveUp),
            (Class::Panic, Joining, true, 5, Next::Rejoin("failed")),
            (Class::Version, Joining, true, 1, Next::Rest),
            (Class::Port, Member, true, 4, Next::Again),
            (Class::Port, Member, true, 5, Next::Rest),
        ] {
            let end = End { cause: Cause::Told(class), phase, others, times };
            assert_eq!(next(end), want, "{end:?}");
        }
        let killed = End { cause: Cause::Signal, phase: Member, others: true, times: 5 };
        assert_eq!(next(killed), Next::Rest, "good data are not given up");
    }

    #[test]
    fn another_kind_of_end_or_a_healthy_life_begins_a_new_row() {
        let mut streak = Streak::default();
        let port = Cause::Told(Class::Port);
        let row = [(port, false), (port, false), (Cause::Unknown, false), (port, false)];
        assert_eq!(row.map(|(cause, healthy)| streak.count(cause, healthy)), [1, 2, 1, 1]);
        assert_eq!([false, true].map(|healthy| streak.count(port, healthy)), [2, 1]);
    }
}
