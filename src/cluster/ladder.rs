//! Stop and leave as a machine: steps in their order, each with a limit, and wishes that cut them
//! short (3.7).
//!
//! Refuses to act: it says what is to be done, and is told what became of it. The shell does one
//! command after the other, reports [`Event::Done`] or [`Event::Failed`] for those that have an
//! outcome, and [`Event::Time`] at [`Ladder::until`].

use std::time::Duration;

/// How long a note to the others, or giving the claim back, may take.
const NOTE: Duration = Duration::from_secs(1);
/// How long handing over the leadership may take; 0.1 s is usual.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long the others may take to remove us.
const REMOVAL: Duration = Duration::from_secs(10);
/// How long removing ourselves through another voter may take; etcd gives up after 7 s.
const SELF_REMOVAL: Duration = Duration::from_secs(8);
/// How long the child may take to end by itself once it is removed.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the child may take to end after TERM, and after TERM when in a hurry.
const TERM: Duration = Duration::from_secs(5);
const TERM_HURRY: Duration = Duration::from_secs(1);

/// How an agent goes; later ones are harder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Stop and stay a member (TERM).
    Stay,
    /// Leave the cluster (INT).
    Leave,
    /// Skip waits (second signal).
    Hurry,
    /// Kill the child (third signal).
    Now,
}

/// What this host is when it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An etcd of ours runs.
    pub child: bool,
    /// It is a member that serves.
    pub member: bool,
    /// It is the only voter.
    pub alone: bool,
    /// More than half of the voters answer.
    pub quorum: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store the phase `leaving`, then write `leave/H`.
    Ask,
    /// Write `away/H`.
    Note,
    /// Give the leadership to another voter that answers, if we have it.
    HandOver,
    /// Remove our member through another one, if those that remain have a quorum of their own.
    RemoveSelf,
    /// Put the data aside and forget the membership.
    Archive,
    /// Give the claim to the name back.
    Revoke,
    /// TERM to the child.
    Term,
    /// KILL to the child.
    Kill,
    /// The child is gone and nothing is left to do.
    Exit(u8),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last command was carried out.
    Done,
    /// It was not.
    Failed,
    /// The child has ended; `removed` when its last lines say that its member was taken out. Any
    /// other end says nothing about that, and the data may still be needed.
    ChildEnded {
        /// Its member is no longer in the cluster.
        removed: bool,
    },
    /// A further wish.
    Wish(Mode),
    /// Time has passed.
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask,
    Part,
    Wait,
    RemoveSelf,
    Settle,
    Archive,
    Note,
    HandOver,
    Revoke,
    Term,
    Kill,
    Over,
}

/// The way out, as far as it has been gone.
#[derive(Clone, Debug)]
pub struct Ladder {
    mode: Mode,
    step: Step,
    /// When the step has taken too long.
    until: Duration,
    child: bool,
    /// Nobody lists our member any more; its data are to be put aside.
    left: bool,
}

impl Ladder {
    /// Sets out.
    pub fn begin(mode: Mode, standing: Standing, now: Duration) -> (Ladder, Vec<Command>) {
        let mut ladder =
            Ladder { mode, step: Step::Over, until: now, child: standing.child, left: false };
        let leaves = standing.member && !standing.alone && standing.quorum;
        let first = match mode {
            Mode::Leave if leaves => Step::Ask,
            Mode::Stay | Mode::Leave if standing.member => Step::Note,
            Mode::Stay | Mode::Leave => Step::Revoke,
            Mode::Hurry => Step::Term,
            Mode::Now => Step::Kill,
        };
        let commands = ladder.enter(first, now);
        (ladder, commands)
    }

    /// When to come back with [`Event::Time`], unless something happens before.
    pub fn until(&self) -> Option<Duration> {
        (self.step != Step::Over).then_some(self.until)
    }

    /// The member has been taken out of the cluster.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Goes on.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Command> {
        if self.step == Step::Over {
            return Vec::new();
        }
        match event {
            Event::Wish(mode) => self.wish(mode, now),
            Event::ChildEnded { removed } => {
                self.child = false;
                self.child_ended(removed, now)
            }
            Event::Done => self.ended(true, now),
            Event::Failed => self.ended(false, now),
            Event::Time if now < self.until => Vec::new(),
            Event::Time => self.late(now),
        }
    }

    fn wish(&mut self, mode: Mode, now: Duration) -> Vec<Command> {
        if mode <= self.mode {
            return Vec::new();
        }
        self.mode = mode;
        match mode {
            Mode::Now => self.enter(Step::Kill, now),
            Mode::Hurry if self.step != Step::Kill => self.enter(Step::Term, now),
            // Staying is under way, and leaving after all is for the next start.
            _ => Vec::new(),
        }
    }

    fn child_ended(&mut self, removed: bool, now: Duration) -> Vec<Command> {
        match self.step {
            Step::Settle => self.archive(now),
            Step::Part | Step::Wait | Step::RemoveSelf if removed => self.archive(now),
            Step::Kill if self.left && self.mode < Mode::Hurry => self.enter(Step::Archive, now),
            Step::Term | Step::Kill => self.enter(Step::Over, now),
            _ => Vec::new(),
        }
    }

    fn archive(&mut self, now: Duration) -> Vec<Command> {
        self.left = true;
        self.enter(Step::Archive, now)
    }

    /// A command has ended, well or not.
    fn ended(&mut self, well: bool, now: Duration) -> Vec<Command> {
        let next = match (self.step, well) {
            (Step::Ask, true) => Step::Part,
            (Step::Part, _) => Step::Wait,
            (Step::RemoveSelf, true) if !self.child => return self.archive(now),
            (Step::RemoveSelf, true) => Step::Settle,
            // The next start finishes it.
            (Step::Ask | Step::RemoveSelf, false) => Step::Note,
            (Step::Archive, _) => Step::Revoke,
            (Step::Note, _) => Step::HandOver,
            (Step::HandOver, _) => Step::Revoke,
            (Step::Revoke, _) => Step::Term,
            (Step::Wait | Step::Settle | Step::Term | Step::Kill | Step::Over, _) => {
                return Vec::new();
            }
        };
        self.enter(next, now)
    }

    fn late(&mut self, now: Duration) -> Vec<Command> {
        match self.step {
            Step::Wait => self.enter(Step::RemoveSelf, now),
            Step::Settle => {
                self.left = true;
                self.enter(Step::Kill, now)
            }
            Step::Term => self.enter(Step::Kill, now),
            // KILL takes as long as it takes; there is nothing harder.
            Step::Kill => {
                self.until = now + TERM;
                vec![Command::Kill]
            }
            _ => self.ended(false, now),
        }
    }

    fn enter(&mut self, step: Step, now: Duration) -> Vec<Command> {
        let ends_child = matches!(step, Step::Term | Step::Kill);
        let step = if ends_child && !self.child { Step::Over } else { step };
        let term = if self.mode < Mode::Hurry { TERM } else { TERM_HURRY };
        let (limit, command) = match step {
            Step::Ask => (NOTE, Some(Command::Ask)),
            Step::Part | Step::HandOver => (HAND_OVER, Some(Command::HandOver)),
            Step::Wait => (REMOVAL, None),
            Step::RemoveSelf => (SELF_REMOVAL, Some(Command::RemoveSelf)),
            Step::Settle => (SETTLE, None),
            Step::Archive => (TERM, Some(Command::Archive)),
            Step::Note => (NOTE, Some(Command::Note)),
            Step::Revoke => (NOTE, Some(Command::Revoke)),
            Step::Term => (term, Some(Command::Term)),
            Step::Kill => (TERM, Some(Command::Kill)),
            Step::Over => (Duration::ZERO, Some(Command::Exit(self.code()))),
        };
        self.step = step;
        self.until = now + limit;
        command.into_iter().collect()
    }

    fn code(&self) -> u8 {
        match self.mode {
            Mode::Stay | Mode::Leave => 0,
            Mode::Hurry => 130,
            Mode::Now => 137,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: Event = Event::ChildEnded { removed: false };
    const REMOVED: Event = Event::ChildEnded { removed: true };
    const VOTER: Standing = Standing { child: true, member: true, alone: false, quorum: true };

    /// The commands when each event comes a second after the last, except that time passes to the
    /// step's end for [`Event::Time`].
    fn way(mode: Mode, standing: Standing, events: &[Event]) -> (Vec<Command>, u64) {
        let mut now = Duration::ZERO;
        let (mut ladder, mut said) = Ladder::begin(mode, standing, now);
        for event in events {
            if *event == Event::Time {
                now = ladder.until().unwrap_or(now);
            }
            said.extend(ladder.step(now, *event));
        }
        (said, now.as_secs())
    }

    #[test]
    fn staying_notes_hands_over_gives_back_and_ends_the_child() {
        use Command::{Exit, HandOver, Kill, Note, Revoke, Term};
        use Event::{Done, Failed, Time};
        let all = [Done, Done, Done, ENDED];
        assert_eq!(way(Mode::Stay, VOTER, &all).0, [Note, HandOver, Revoke, Term, Exit(0)]);
        // Whatever fails, the child ends; in 1 + 2 + 1 + 5 s at most.
        let none = [Failed, Failed, Failed, ENDED];
        assert_eq!(way(Mode::Stay, VOTER, &none).0, [Note, HandOver, Revoke, Term, Exit(0)]);
        let late = [Time, Time, Time, Time, ENDED];
        let (said, seconds) = way(Mode::Stay, VOTER, &late);
        assert_eq!(said, [Note, HandOver, Revoke, Term, Kill, Exit(0)]);
        assert_eq!(seconds, 9);
    }

    #[test]
    fn leaving_waits_for_the_removal_and_takes_it_into_its_own_hand() {
        use Command::{Archive, Ask, Exit, HandOver, Kill, RemoveSelf, Revoke};
        use Event::{Done, Time};
        let removed = [Done, Done, REMOVED, Done, Done];
        let said = way(Mode::Leave, VOTER, &removed).0;
        assert_eq!(said, [Ask, HandOver, Archive, Revoke, Exit(0)]);
        let by_itself = [Done, Done, Time, Done, Time, ENDED, Done, Done];
        let (said, seconds) = way(Mode::Leave, VOTER, &by_itself);
        assert_eq!(said, [Ask, HandOver, RemoveSelf, Kill, Archive, Revoke, Exit(0)]);
        assert_eq!(seconds, 11);
    }

    #[test]
    fn who_cannot_leave_stays_and_keeps_its_data() {
        use Command::{Ask, Exit, HandOver, Note, RemoveSelf, Revoke, Term};
        use Event::{Done, Failed, Time};
        let stays = [Note, HandOver, Revoke, Term, Exit(0)];
        let all = [Done, Done, Done, ENDED];
        let alone = Standing { alone: true, ..VOTER };
        assert_eq!(way(Mode::Leave, alone, &all).0, stays);
        let lost = Standing { quorum: false, ..VOTER };
        assert_eq!(way(Mode::Leave, lost, &all).0, stays);
        let refused = [Done, Done, Time, Failed, Done, Done, Done, ENDED];
        let said = way(Mode::Leave, VOTER, &refused).0;
        assert_eq!(said[..3], [Ask, HandOver, RemoveSelf]);
        assert_eq!(said[3..], stays);
        // Without a member there is nothing but the claim.
        let client = Standing::default();
        assert_eq!(way(Mode::Leave, client, &[Done]).0, [Revoke, Exit(0)]);
    }

    #[test]
    fn who_leaves_keeps_the_data_when_etcd_ends_for_another_reason() {
        use Command::{Archive, Ask, Exit, HandOver, Note, RemoveSelf, Revoke};
        use Event::{Done, Failed, Time};
        let killed = [Done, Done, ENDED, Time, Failed, Done, Done, Done];
        let said = way(Mode::Leave, VOTER, &killed).0;
        assert_eq!(said, [Ask, HandOver, RemoveSelf, Note, HandOver, Revoke, Exit(0)]);
        let removed = [Done, Done, ENDED, Time, Done, Done, Done];
        let said = way(Mode::Leave, VOTER, &removed).0;
        assert_eq!(said, [Ask, HandOver, RemoveSelf, Archive, Revoke, Exit(0)]);
    }

    #[test]
    fn a_second_wish_skips_the_waits_and_a_third_kills() {
        use Command::{Ask, Exit, Kill, Term};
        use Event::{Time, Wish};
        let hurried = [Wish(Mode::Hurry), ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &hurried).0, [Ask, Term, Exit(130)]);
        let (said, seconds) = way(Mode::Leave, VOTER, &[Wish(Mode::Hurry), Time, ENDED]);
        assert_eq!((said, seconds), (vec![Ask, Term, Kill, Exit(130)], 1));
        let third = [Wish(Mode::Hurry), Wish(Mode::Now), ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &third).0, [Ask, Term, Kill, Exit(137)]);
        assert_eq!(way(Mode::Now, VOTER, &[ENDED]).0, [Kill, Exit(137)]);
        // A softer wish changes nothing.
        let softer = [Wish(Mode::Now), Wish(Mode::Stay), ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &softer).0, [Ask, Kill, Exit(137)]);
    }

    #[test]
    fn every_way_ends_and_only_once_the_child_is_gone() {
        use Event::{Done, Failed, Time};
        let events = [Done, Failed, Time, ENDED, REMOVED, Event::Wish(Mode::Hurry)];
        for seed in 0..20_000_usize {
            let mode = [Mode::Stay, Mode::Leave, Mode::Hurry, Mode::Now][seed % 4];
            let mut now = Duration::ZERO;
            let (mut ladder, mut said) = Ladder::begin(mode, VOTER, now);
            let (mut ended, mut dice) = (false, seed / 4);
            for n in 0..30 {
                let mut event = if n < 6 { events[dice % events.len()] } else { Time };
                dice /= events.len();
                if said.last() == Some(&Command::Kill) {
                    event = ENDED;
                }
                ended |= matches!(event, Event::ChildEnded { .. });
                now = ladder.until().unwrap_or(now);
                said.extend(ladder.step(now, event));
            }
            assert!(matches!(said.last(), Some(Command::Exit(_))), "{mode:?} {seed} {said:?}");
            assert!(ended, "{mode:?} {seed} {said:?}");
        }
    }
}
