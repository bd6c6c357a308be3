//! Stop and leave as a machine: steps in their order, each with a limit, and wishes that cut them
//! short (3.7).
//!
//! Refuses to act: it says what is to be done, and is told what became of it. The shell does one
//! command after the other, reports [`Event::Done`] or [`Event::Failed`] for those that have an
//! outcome, and [`Event::Time`] at [`Ladder::until`].

use std::time::Duration;

/// How long it may take to find out whether the others can take us out, and who they are.
const LOOK: Duration = Duration::from_secs(3);
/// How long a note to the others, or giving the claim back, may take.
const NOTE: Duration = Duration::from_secs(1);
/// How long handing over the leadership may take; 0.1 s is usual.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long the store may take to hear that we leave, and the others to remove us.
const REMOVAL: Duration = Duration::from_secs(10);
/// How long removing ourselves through another voter may take; etcd gives up after 7 s.
const SELF_REMOVAL: Duration = Duration::from_secs(8);
/// How long the child may take to end by itself once it is removed.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the child may take to end after TERM, and after TERM when in a hurry.
const TERM: Duration = Duration::from_secs(5);
const TERM_HURRY: Duration = Duration::from_secs(1);

/// How an agent goes; later ones are harder, and a wish never gets softer.
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
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Find out whether we are the only voter, and how many others answer.
    Look,
    /// Remember where the others are and store the phase `leaving`.
    Prepare,
    /// Write `leave/H`.
    Ask,
    /// Write `away/H`.
    Note,
    /// Give the leadership to another voter that answers, if we have it.
    HandOver,
    /// Remove our member through another one, if those that remain have a quorum of their own.
    RemoveSelf,
    /// Put the data aside and forget the membership.
    Archive,
    /// End what decides about the others and what keeps the claim: it would claim the name anew.
    Cease,
    /// Give the claim to the name back.
    Revoke,
    /// TERM to the child.
    Term,
    /// KILL to the child.
    Kill,
    /// Tell the log.
    Tell(Told),
    /// The child is gone and nothing is left to do.
    Exit,
}

/// What is told about a leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is the only voter, or too few answer to take it out.
    Stays,
    /// The others did not take it out; the next start finishes it.
    Unfinished,
    /// It has left.
    Left,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the look showed.
    Seen {
        /// We are the only voter.
        alone: bool,
        /// More than half of the voters answer.
        quorum: bool,
    },
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
    Look,
    Prepare,
    Ask,
    Wait,
    RemoveSelf,
    Settle,
    Archive,
    Cease,
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
    member: bool,
    /// Nobody lists our member any more; its data are to be put aside.
    left: bool,
}

impl Ladder {
    /// Sets out.
    pub fn begin(mode: Mode, standing: Standing, now: Duration) -> (Ladder, Vec<Command>) {
        let Standing { child, member } = standing;
        let mut ladder = Ladder { mode, step: Step::Over, until: now, child, member, left: false };
        let commands = match mode {
            Mode::Leave if member => ladder.enter(Step::Look, now),
            Mode::Stay | Mode::Leave => ladder.enter(Step::Cease, now),
            Mode::Hurry | Mode::Now => ladder.press(now),
        };
        (ladder, commands)
    }

    /// When to come back with [`Event::Time`], unless something happens before.
    pub fn until(&self) -> Option<Duration> {
        (self.step != Step::Over).then_some(self.until)
    }

    /// Goes on.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Command> {
        if self.step == Step::Over {
            return Vec::new();
        }
        match event {
            Event::Wish(mode) if mode <= self.mode => Vec::new(),
            Event::Wish(mode) => {
                self.mode = mode;
                // Staying is under way, and leaving after all is for the next start.
                if mode < Mode::Hurry { Vec::new() } else { self.press(now) }
            }
            Event::ChildEnded { removed } => {
                self.child = false;
                self.child_ended(removed, now)
            }
            Event::Seen { alone, quorum } if self.step == Step::Look => {
                if quorum && !alone {
                    return self.enter(Step::Prepare, now);
                }
                self.stay(Told::Stays, now)
            }
            Event::Seen { .. } => Vec::new(),
            Event::Done => self.ended(true, now),
            Event::Failed => self.ended(false, now),
            Event::Time if now < self.until => Vec::new(),
            Event::Time => self.late(now),
        }
    }

    /// Goes in a hurry: whatever else was begun is left as it is.
    fn press(&mut self, now: Duration) -> Vec<Command> {
        let kills = self.mode == Mode::Now || self.step == Step::Kill;
        let mut all = vec![Command::Cease];
        all.extend(self.enter(if kills { Step::Kill } else { Step::Term }, now));
        all
    }

    fn child_ended(&mut self, removed: bool, now: Duration) -> Vec<Command> {
        match self.step {
            Step::Settle => self.archive(now),
            Step::Ask | Step::Wait | Step::RemoveSelf if removed => self.archive(now),
            // Nobody will end it any more, so there is nothing to wait for.
            Step::Wait => self.enter(Step::RemoveSelf, now),
            Step::Kill if self.left && self.mode < Mode::Hurry => self.enter(Step::Archive, now),
            Step::Term | Step::Kill => self.enter(Step::Over, now),
            _ => Vec::new(),
        }
    }

    fn archive(&mut self, now: Duration) -> Vec<Command> {
        self.left = true;
        self.enter(Step::Archive, now)
    }

    /// Stays a member after all.
    fn stay(&mut self, told: Told, now: Duration) -> Vec<Command> {
        let mut all = vec![Command::Tell(told)];
        all.extend(self.enter(Step::Cease, now));
        all
    }

    /// A command has ended, well or not.
    fn ended(&mut self, well: bool, now: Duration) -> Vec<Command> {
        let next = match (self.step, well) {
            (Step::Look | Step::Prepare, false) => Step::Cease,
            (Step::Prepare, true) => Step::Ask,
            (Step::Ask, true) if self.child => Step::Wait,
            (Step::Ask, _) => Step::RemoveSelf,
            (Step::RemoveSelf, true) if !self.child => return self.archive(now),
            (Step::RemoveSelf, true) => Step::Settle,
            (Step::RemoveSelf, false) => return self.stay(Told::Unfinished, now),
            (Step::Archive, _) => {
                let mut all = vec![Command::Tell(Told::Left)];
                all.extend(self.enter(Step::Cease, now));
                return all;
            }
            (Step::Cease, _) if self.member && !self.left => Step::Note,
            (Step::Note, _) => Step::HandOver,
            (Step::Cease | Step::HandOver, _) => Step::Revoke,
            (Step::Revoke, _) => Step::Term,
            _ => return Vec::new(),
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
            Step::Look => (LOOK, Some(Command::Look)),
            Step::Prepare => (LOOK, Some(Command::Prepare)),
            Step::Ask => (REMOVAL, Some(Command::Ask)),
            Step::Wait => (REMOVAL, None),
            Step::RemoveSelf => (SELF_REMOVAL, Some(Command::RemoveSelf)),
            Step::Settle => (SETTLE, None),
            Step::Archive => (TERM, Some(Command::Archive)),
            Step::Cease => (NOTE, Some(Command::Cease)),
            Step::Note => (NOTE, Some(Command::Note)),
            Step::HandOver => (HAND_OVER, Some(Command::HandOver)),
            Step::Revoke => (NOTE, Some(Command::Revoke)),
            Step::Term => (term, Some(Command::Term)),
            Step::Kill => (TERM, Some(Command::Kill)),
            Step::Over => (Duration::ZERO, Some(Command::Exit)),
        };
        self.step = step;
        self.until = now + limit;
        command.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: Event = Event::ChildEnded { removed: false };
    const REMOVED: Event = Event::ChildEnded { removed: true };
    const SEEN: Event = Event::Seen { alone: false, quorum: true };
    const VOTER: Standing = Standing { child: true, member: true };
    /// The end of every way on which the host stays a member.
    const STAYS: [Command; 6] = [
        Command::Cease,
        Command::Note,
        Command::HandOver,
        Command::Revoke,
        Command::Term,
        Command::Exit,
    ];

    /// The commands when each event comes at once, except that time passes to the step's end for
    /// [`Event::Time`]; and the seconds that passed.
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
        use Command::{Cease, Exit, HandOver, Kill, Note, Revoke, Term};
        use Event::{Done, Failed, Time};
        assert_eq!(way(Mode::Stay, VOTER, &[Done, Done, Done, Done, ENDED]).0, STAYS);
        // Whatever fails, the child ends; in 1 + 1 + 2 + 1 + 5 s at most.
        assert_eq!(way(Mode::Stay, VOTER, &[Failed, Failed, Failed, Failed, ENDED]).0, STAYS);
        let (said, seconds) = way(Mode::Stay, VOTER, &[Time, Time, Time, Time, Time, ENDED]);
        assert_eq!(said, [Cease, Note, HandOver, Revoke, Term, Kill, Exit]);
        assert_eq!(seconds, 10);
        // Without a member there is nothing but the claim.
        assert_eq!(way(Mode::Stay, Standing::default(), &[Done, Done]).0, [Cease, Revoke, Exit]);
    }

    #[test]
    fn leaving_waits_for_the_removal_and_takes_it_into_its_own_hand() {
        use Command::{Archive, Ask, Cease, Exit, Kill, Look, Prepare, RemoveSelf, Revoke, Tell};
        use Event::{Done, Failed, Time};
        let left = [Archive, Tell(Told::Left), Cease, Revoke, Exit];
        for (what, events, between, seconds) in [
            ("the others do it", vec![Done, REMOVED], vec![], 0),
            ("they do it before the wish is answered", vec![REMOVED], vec![], 0),
            ("they do not", vec![Done, Time, Done, ENDED], vec![RemoveSelf], 10),
            ("the wish is not heard", vec![Failed, Done, ENDED], vec![RemoveSelf], 0),
            (
                "etcd does not notice",
                vec![Done, Time, Done, Time, ENDED],
                vec![RemoveSelf, Kill],
                11,
            ),
            ("etcd has ended before", vec![Done, ENDED, Done], vec![RemoveSelf], 0),
        ] {
            let events = [vec![SEEN, Done], events, vec![Done, Done, Done]].concat();
            let want = [vec![Look, Prepare, Ask], between, left.to_vec()].concat();
            assert_eq!(way(Mode::Leave, VOTER, &events), (want, seconds), "{what}");
        }
    }

    #[test]
    fn who_cannot_leave_stays_and_keeps_its_data() {
        use Command::{Ask, Look, Prepare, RemoveSelf, Tell};
        use Event::{Done, Failed, Seen, Time};
        let (stays, unfinished) = (Tell(Told::Stays), Tell(Told::Unfinished));
        for (what, events, before) in [
            ("alone", vec![Seen { alone: true, quorum: true }], vec![stays]),
            ("too few answer", vec![Seen { alone: false, quorum: false }], vec![stays]),
            ("its etcd does not answer", vec![Failed], vec![]),
            ("nor in time", vec![Time], vec![]),
            ("the disk is full", vec![SEEN, Failed], vec![Prepare]),
            (
                "nobody takes it out",
                vec![SEEN, Done, Done, Time, Failed],
                vec![Prepare, Ask, RemoveSelf, unfinished],
            ),
            (
                "nobody hears it",
                vec![SEEN, Done, Failed, Failed],
                vec![Prepare, Ask, RemoveSelf, unfinished],
            ),
        ] {
            let events = [events, vec![Done, Done, Done, Done, ENDED]].concat();
            let want = [vec![Look], before, STAYS.to_vec()].concat();
            assert_eq!(way(Mode::Leave, VOTER, &events).0, want, "{what}");
        }
        // A child that ended for another reason is not missed twice.
        let killed = [SEEN, Done, Done, ENDED, Failed, Done, Done, Done, Done];
        let said = way(Mode::Leave, VOTER, &killed).0;
        assert!(!said.contains(&Command::Archive) && !said.contains(&Command::Term), "{said:?}");
        assert_eq!(said.last(), Some(&Command::Exit));
    }

    #[test]
    fn a_second_wish_skips_the_waits_and_a_third_kills() {
        use Command::{Cease, Exit, Kill, Look, Note, Term};
        use Event::{Done, Time, Wish};
        let hurried = [Wish(Mode::Hurry), ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &hurried).0, [Look, Cease, Term, Exit]);
        let (said, seconds) = way(Mode::Leave, VOTER, &[Wish(Mode::Hurry), Time, ENDED]);
        assert_eq!((said, seconds), (vec![Look, Cease, Term, Kill, Exit], 1));
        let third = [Wish(Mode::Hurry), Wish(Mode::Now), ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &third).0, [Look, Cease, Term, Cease, Kill, Exit]);
        assert_eq!(way(Mode::Now, VOTER, &[ENDED]).0, [Cease, Kill, Exit]);
        assert_eq!(way(Mode::Now, Standing::default(), &[]).0, [Cease, Exit]);
        // What the cut steps would have answered changes nothing any more.
        let late = [Wish(Mode::Hurry), SEEN, Done, Event::Failed, ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &late).0, [Look, Cease, Term, Exit]);
        // A softer wish changes nothing either, nor does leaving after all.
        let softer = [Wish(Mode::Now), Wish(Mode::Stay), ENDED];
        assert_eq!(way(Mode::Leave, VOTER, &softer).0, [Look, Cease, Kill, Exit]);
        assert_eq!(way(Mode::Stay, VOTER, &[Done, Wish(Mode::Leave)]).0, [Cease, Note]);
        // The wait for an end by itself is cut short too.
        let (said, seconds) =
            way(Mode::Stay, VOTER, &[Done, Done, Done, Done, Wish(Mode::Hurry), Time]);
        assert_eq!((said.last(), seconds), (Some(&Kill), 1));
    }

    #[test]
    fn every_way_ends_and_only_once_the_child_is_gone() {
        use Event::{Done, Failed, Time};
        let (hurry, now) = (Event::Wish(Mode::Hurry), Event::Wish(Mode::Now));
        let events = [Done, Failed, Time, SEEN, ENDED, REMOVED, hurry, now];
        for seed in 0..40_000_usize {
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
                let more = ladder.step(now, event);
                // Nothing is archived under a child that runs, or of a member that may be listed.
                assert!(!more.contains(&Command::Archive) || ended, "{mode:?} {seed} {said:?}");
                said.extend(more);
            }
            assert_eq!(said.iter().filter(|c| **c == Command::Exit).count(), 1, "{mode:?} {seed}");
            assert_eq!(said.last(), Some(&Command::Exit), "{mode:?} {seed} {said:?}");
            assert!(ended, "{mode:?} {seed} {said:?}");
        }
    }
}
