//! The table of the machine, and what holds on every way through it.

use super::*;
use crate::cluster::aftermath::TRIES;
use crate::cluster::logline::Class;

use Command::{Accept, Archive, Clear, Correct, Follow, Found, GiveUp, Kill, Offer, Readdress};
use Command::{Say, Seek, Spawn, Tell, UseOwn};
use Event::{ChildEnded, Claim, Done, Failed, Order, Refused, Time, Unlisted};
use Why::{Heard, NoEtcd, Nothing, Told};

const ALL_PHASES: [Phase; 4] =
    [Phase::Bootstrapping, Phase::Joining, Phase::Member, Phase::Leaving];
const STARTS: [Command; 2] = [Say(Role::Starting, Nothing), Spawn(Mode::Existing)];
const VOTES: [Command; 2] = [Say(Role::Voter, Nothing), UseOwn];

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn look(ours: bool, led: bool, learner: bool) -> Event {
    Event::Look { health: Some(Health { ours, led, learner }), quorum: true }
}

const LED: Event =
    Event::Look { health: Some(Health { ours: true, led: true, learner: false }), quorum: true };
const LEARNER: Event =
    Event::Look { health: Some(Health { ours: true, led: true, learner: true }), quorum: true };

fn mute(quorum: bool) -> Event {
    Event::Look { health: None, quorum }
}

fn ended(cause: Cause) -> Event {
    ChildEnded { cause, others: true }
}

fn ordered(seq: i64) -> Event {
    Order(Some(Nomination { seq, member: 70 + seq as u64 }))
}

fn begun(start: Start, phase: Phase) -> (Membership, Vec<Command>) {
    let mut one = Membership::new(true, false);
    let said = one.step(seconds(0), Event::Begin { start, phase, member: Some(70) });
    (one, said)
}

/// Tells it these one after the other; what it said to the last.
fn tell(one: &mut Membership, at: u64, events: &[Event]) -> Vec<Command> {
    events.iter().map(|event| one.step(seconds(at), *event)).last().unwrap_or_default()
}

/// A host whose offer is written.
fn volunteer() -> Membership {
    let (mut one, _) = begun(Start::Seek, Phase::None);
    tell(&mut one, 0, &[Done, Done]);
    one
}

/// A host whose etcd runs at second 0 and was not accepted yet.
fn starting(phase: Phase) -> Membership {
    let founds = phase == Phase::Bootstrapping;
    let (mut one, said) = begun(if founds { Start::FoundAgain } else { Start::Spawn }, phase);
    let asks = matches!(phase, Phase::Member | Phase::Leaving);
    assert_eq!(said == [Readdress], asks, "{phase:?} {said:?}");
    tell(&mut one, 0, if asks { &[Done, Done] } else { &[Done] });
    assert_eq!(one.looks(), Some(Pace::Starting), "{phase:?}");
    one
}

/// A voter since second 0.
fn voter() -> Membership {
    let mut one = starting(Phase::Member);
    tell(&mut one, 0, &[LED, Done, LED, Done]);
    assert_eq!((one.looks(), one.in_hand()), (Some(Pace::Voting), None));
    one
}

#[test]
fn a_founder_founds_starts_and_votes() {
    let (mut one, said) = begun(Start::Found, Phase::None);
    assert_eq!((said, one.in_hand()), (vec![Found], Some(Found)));
    let said = one.step(seconds(0), Done);
    assert_eq!(said, [Say(Role::Starting, Nothing), Spawn(Mode::New)]);
    assert_eq!(tell(&mut one, 1, &[Done, mute(false)]), []);
    let said = one.step(seconds(1), LED);
    assert_eq!(said, [Accept { mode: Mode::New, votes: true }]);
    assert_eq!((one.looks(), one.step(seconds(1), LED)), (None, vec![]), "one after the other");
    assert_eq!(one.step(seconds(1), Done), []);
    assert_eq!(one.step(seconds(1), LED), [&VOTES[..], &[Correct]].concat());
    // It is no longer founding when it starts again.
    let again = one.step(seconds(2), ended(Cause::Unknown));
    assert_eq!(again, [Say(Role::Starting, Heard)]);
    let until = one.until().expect("a pause");
    assert_eq!(one.step(until, Time), [Readdress]);
    assert_eq!(one.step(until, Done), STARTS);
}

#[test]
fn a_founder_whose_etcd_ends_before_the_records_are_written_goes_on_founding() {
    let mut one = starting(Phase::Bootstrapping);
    tell(&mut one, 1, &[LED, ended(Cause::Signal)]);
    assert_eq!(one.in_hand(), None, "the records are not written through an etcd that is gone");
    let until = one.until().expect("a pause");
    assert_eq!(one.step(until, Time), [Say(Role::Starting, Nothing), Spawn(Mode::New)]);
}

#[test]
fn a_volunteer_follows_an_order_once_and_becomes_learner_and_voter() {
    let (mut one, said) = begun(Start::Seek, Phase::None);
    assert_eq!(said, [Seek]);
    assert_eq!(one.step(seconds(1), Done), [Offer { since: seconds(0), not_before: 0 }]);
    assert!(!one.awaits_order() && !one.awaits_claim());
    assert_eq!(one.step(seconds(1), Done), [Say(Role::Volunteer, Nothing)]);
    assert!(one.awaits_order() && one.awaits_claim());
    assert_eq!(one.step(seconds(1), Order(None)), []);
    assert_eq!(one.step(seconds(1), ordered(7)), [Follow]);
    assert_eq!(one.step(seconds(1), Done), STARTS);
    assert_eq!(tell(&mut one, 1, &[Done, ordered(7)]), [], "that is the one which it follows");
    assert_eq!(one.step(seconds(2), LEARNER), [Accept { mode: Mode::Existing, votes: false }]);
    assert_eq!(tell(&mut one, 2, &[Done, LEARNER]), [Say(Role::Learner, Nothing)]);
    assert_eq!((one.looks(), one.awaits_order()), (Some(Pace::Waiting), false));
    assert_eq!(one.step(seconds(3), LED), [&VOTES[..], &[Correct]].concat());
    assert_eq!(one.step(seconds(3), LED), VOTES, "one correction at a time");
    assert_eq!(tell(&mut one, 3, &[Failed, LED]), [&VOTES[..], &[Correct]].concat());
    assert_eq!(tell(&mut one, 3, &[Done, LED]), VOTES);
}

#[test]
fn an_offer_is_written_again_with_every_claim_and_keeps_its_age() {
    let mut one = volunteer();
    assert_eq!(one.step(seconds(9), Claim), [Offer { since: seconds(0), not_before: 0 }]);
    assert!(!one.awaits_order(), "an order counts for an offer that is written");
    assert_eq!(tell(&mut one, 9, &[Done, ordered(3)]), [Follow]);
}

#[test]
fn an_etcd_that_is_of_no_use_is_ended_and_what_follows_depends_on_how_far_it_had_come() {
    let late = "its etcd found no leader in time";
    let back = "the nomination was taken back";
    for (phase, at, event, why, next) in [
        (Phase::Joining, 30, Time, Told(late), GiveUp("failed")),
        (Phase::Joining, 5, Order(None), Told(back), GiveUp("failed")),
        (Phase::Joining, 5, ordered(7), Told(back), GiveUp("failed")),
        (Phase::Joining, 5, look(false, true, false), Heard, GiveUp("failed")),
        (Phase::Bootstrapping, 15, Time, Told(late), Clear("unfounded")),
        (Phase::Bootstrapping, 5, look(false, true, false), Heard, Clear("unfounded")),
        // The data of a member are not put aside for a stranger at its port.
        (Phase::Member, 5, look(false, true, false), Heard, Readdress),
        (Phase::Leaving, 5, look(false, true, false), Heard, Readdress),
    ] {
        let mut one = starting(phase);
        assert_eq!(one.step(seconds(at - 1), Time), [], "{phase:?} too early");
        let said = one.step(seconds(at), event);
        let first = match next {
            GiveUp(_) => Tell(why, Follows::AskAgain),
            Clear(_) => Tell(why, Follows::FoundAnew),
            _ => Say(Role::Blocked, why),
        };
        assert_eq!(said, [first, Kill], "{phase:?} {event:?}");
        let mut said = one.step(seconds(at), ended(Cause::Signal));
        if next == Readdress {
            assert_eq!(said, [], "after a pause");
            said = one.step(one.until().expect("a pause"), Time);
        }
        assert_eq!(said, [next], "{phase:?} {event:?}");
    }
    for phase in [Phase::Member, Phase::Leaving] {
        let mut one = starting(phase);
        assert_eq!(one.until(), None, "a restart has no limit");
        assert_eq!(tell(&mut one, 9_000, &[Time, Order(None)]), [], "{phase:?}");
    }
    // A founder begins anew at once, with the same identity.
    let mut one = starting(Phase::Bootstrapping);
    tell(&mut one, 15, &[Time, ended(Cause::Signal), Done]);
    let until = one.until().expect("a pause");
    assert_eq!(one.step(until, Time), [Say(Role::Starting, Nothing), Spawn(Mode::New)]);
}

#[test]
fn a_member_that_the_others_do_not_list_puts_its_data_aside_once_and_joins_as_a_new_one() {
    let removed = Say(
        Role::Removed,
        Told("this member was removed from the cluster; data moved to archive/"),
    );
    for phase in [Phase::Member, Phase::Leaving] {
        // Its etcd waits for voters that are gone.
        let mut one = starting(phase);
        assert_eq!(tell(&mut one, 60, &[mute(true), Unlisted]), [removed, Kill]);
        assert_eq!(one.step(seconds(61), Unlisted), [removed], "it is ending already");
        assert_eq!(one.step(seconds(61), ended(Cause::Signal)), [Archive("removed")]);
        assert_eq!(one.step(seconds(62), Unlisted), [], "it is under way");
        assert_eq!(one.step(seconds(62), Done), [Seek], "and not the whole agent");
        assert_eq!(one.step(seconds(63), Unlisted), [], "it has no member any more");
        // It waits before it starts etcd again, or asks the others for a correction of the list.
        let mut one = starting(phase);
        tell(&mut one, 5, &[ended(Cause::Unknown)]);
        assert_eq!(one.step(seconds(5), Unlisted), [removed, Archive("removed")]);
        let (mut one, _) = begun(Start::Spawn, phase);
        assert_eq!(one.step(seconds(1), Unlisted), [removed, Archive("removed")]);
        assert_eq!(one.step(seconds(1), Done), [Seek], "what was in hand is let go");
        // etcd is about to start: the next look comes when it has.
        let (mut one, _) = begun(Start::Spawn, phase);
        assert_eq!(tell(&mut one, 1, &[Done, Unlisted]), []);
        assert_eq!(tell(&mut one, 2, &[Done, Unlisted]), [removed, Kill]);
    }
    // Who is no member yet is told by the order.
    for phase in [Phase::Bootstrapping, Phase::Joining] {
        assert_eq!(starting(phase).step(seconds(5), Unlisted), [], "{phase:?}");
    }
    assert_eq!(voter().step(seconds(5), Unlisted), [], "its own etcd knows better");
    let mut stays_out = Membership::new(true, true);
    let begin = Event::Begin { start: Start::Spawn, phase: Phase::Member, member: Some(70) };
    let said = tell(&mut stays_out, 1, &[begin, Unlisted, Done]);
    assert!(matches!(said[..], [Say(Role::Removed, Told(why))] if why.contains("--no-rejoin")));
}

#[test]
fn who_fails_to_join_stands_behind_the_others_rests_and_does_not_follow_the_same_order() {
    let mut one = volunteer();
    for (seq, rest) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300)] {
        let at = 100 * seq as u64;
        assert_eq!(one.step(seconds(at), ordered(seq)), [Follow]);
        tell(&mut one, at, &[Done, Done]);
        tell(&mut one, at + 30, &[Time, ended(Cause::Signal)]);
        assert_eq!(one.in_hand(), Some(GiveUp("failed")));
        assert_eq!(tell(&mut one, at + 31, &[Done]), [Archive("failed")]);
        assert_eq!(tell(&mut one, at + 31, &[Done]), [Seek]);
        let said = one.step(seconds(at + 32), Done);
        assert_eq!(said, [Offer { since: seconds(at + 32), not_before: rest }]);
        assert_eq!(tell(&mut one, at + 33, &[Done, ordered(seq)]), [], "that order failed");
    }
    // A member that lasted is as good as any other again.
    tell(&mut one, 1_000, &[ordered(9), Done, Done, LED, Done, LED, Done]);
    tell(&mut one, 1_061, &[ended(Cause::Told(Class::Removed)), Done]);
    assert_eq!(one.step(seconds(1_062), Done), [Offer { since: seconds(0), not_before: 0 }]);
}

#[test]
fn a_member_without_a_leader_waits_and_is_never_given_up_for_it() {
    let waits = |text| vec![Say(Role::Waiting, Told(text))];
    let (few, none) = (
        "waiting for quorum: too few members answer",
        "waiting for quorum: this host's etcd knows no leader",
    );
    for (phase, event, said) in [
        (Phase::Member, look(true, false, false), waits(few)),
        (Phase::Joining, look(true, false, true), waits(few)),
        // What does not answer at all is judged by what the others say.
        (Phase::Member, mute(false), waits(few)),
        (Phase::Member, mute(true), vec![]),
        (Phase::Joining, mute(false), vec![]),
        (Phase::Bootstrapping, mute(false), vec![]),
    ] {
        let mut one = starting(phase);
        assert_eq!(one.step(seconds(3), event), [], "{phase:?} {event:?} too early");
        assert_eq!(one.step(seconds(4), event), said, "{phase:?} {event:?}");
        assert_eq!(one.step(seconds(5), event), [], "{phase:?} {event:?} was just judged");
        assert_eq!(one.step(seconds(8), event), said, "{phase:?} {event:?}");
    }
    let mut one = starting(Phase::Member);
    let said = one.step(seconds(9_000), LED);
    assert_eq!(said, [Accept { mode: Mode::Existing, votes: true }]);
    tell(&mut one, 9_000, &[Done, LED]);
    for event in [mute(true), look(true, false, false)] {
        assert_eq!(one.step(seconds(9_010), LED)[0], VOTES[0]);
        assert_eq!(one.step(seconds(9_013), event), [], "{event:?} too early");
        assert_eq!(one.looks(), Some(Pace::Waiting), "{event:?}");
        assert_eq!(one.step(seconds(9_014), event), waits(none), "{event:?}");
    }
}

#[test]
fn what_follows_the_end_of_etcd() {
    let taken_out = "this member was removed from the cluster; data moved to archive/";
    let mend = |version, times| Say(Role::Blocked, Why::Mend { version, times });
    let asks = Tell(Heard, Follows::AskAgain);
    let (member, joining) = (Phase::Member, Phase::Joining);
    for (class, phase, others, times, said) in [
        (
            Class::Removed,
            member,
            true,
            1,
            vec![Say(Role::Removed, Told(taken_out)), Archive("removed")],
        ),
        (Class::StaleList, joining, true, TRIES - 1, vec![Say(Role::Starting, Heard)]),
        (Class::StaleList, joining, true, TRIES, vec![asks, GiveUp("failed")]),
        (
            Class::StaleList,
            member,
            true,
            TRIES,
            vec![Tell(Heard, Follows::Volunteer), Archive("stale")],
        ),
        (Class::Disk, joining, true, 1, vec![asks, GiveUp("failed")]),
        (Class::Disk, member, true, 1, vec![Tell(Heard, Follows::GiveUp), GiveUp("disk-lost")]),
        (Class::Disk, member, false, 1, vec![Say(Role::Starting, Heard)]),
        (Class::Disk, member, false, TRIES, vec![mend(false, TRIES)]),
        (Class::Panic, joining, true, TRIES, vec![asks, GiveUp("failed")]),
        (Class::Port, member, true, TRIES - 1, vec![Say(Role::Starting, Heard)]),
        (Class::Port, member, true, TRIES, vec![mend(false, TRIES)]),
        (Class::Version, joining, true, 1, vec![mend(true, 1)]),
    ] {
        let mut one = starting(phase);
        let mut got = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..times {
            got = one.step(now, ChildEnded { cause: Cause::Told(class), others });
            now = one.until().unwrap_or(now);
            one.step(now, Time);
            // What is in hand before etcd runs again: the look at the list, and the start.
            while matches!(one.in_hand(), Some(Readdress | Spawn(_))) {
                one.step(now, Done);
            }
        }
        assert_eq!(got, said, "{class:?} {phase:?} {others} {times}");
        if matches!(said[..], [Say(Role::Blocked, _)]) {
            assert_eq!((one.until(), one.looks(), one.in_hand()), (None, None, None), "{class:?}");
        }
    }
    // The data stay until the wish is written; meanwhile it is said who does not hear it.
    let mut one = voter();
    tell(&mut one, 1, &[ended(Cause::Told(Class::Disk))]);
    assert_eq!(one.step(seconds(2), Event::Silent), [Say(Role::Blocked, Heard)]);
    assert_eq!(one.in_hand(), Some(GiveUp("disk-lost")));
    assert_eq!(one.step(seconds(3), Done), [Archive("disk-lost")]);
    assert_eq!(one.step(seconds(3), Done), [Seek]);
}

#[test]
fn the_start_that_the_table_names_is_made() {
    for (start, phase, said) in [
        (Start::Found, Phase::None, vec![Found]),
        (Start::FoundAgain, Phase::Bootstrapping, vec![STARTS[0], Spawn(Mode::New)]),
        (Start::Spawn, Phase::Joining, STARTS.to_vec()),
        (Start::Spawn, Phase::Member, vec![Readdress]),
        (Start::Spawn, Phase::Leaving, vec![Readdress]),
        (Start::Archive, Phase::Member, vec![Archive("removed")]),
        (Start::DiskLost, Phase::Member, vec![GiveUp("disk-lost")]),
        (Start::FinishLeaving, Phase::Leaving, vec![GiveUp("disk-lost")]),
        (Start::Seek, Phase::None, vec![Seek]),
    ] {
        assert_eq!(begun(start, phase).1, said, "{start:?}");
    }
}

#[test]
fn a_member_that_moved_is_not_kept_waiting_for_the_others() {
    let (mut one, said) = begun(Start::Spawn, Phase::Member);
    assert_eq!((said, one.until()), (vec![Readdress], Some(seconds(2))));
    assert_eq!(one.step(seconds(2), Time), STARTS);
    assert_eq!(one.in_hand(), Some(STARTS[1]));
}

#[test]
fn pauses_between_starts_double_and_health_makes_them_short_again() {
    let mut one = starting(Phase::Joining);
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for n in 0..8 {
        let cause = if n % 2 == 0 { Cause::Unknown } else { Cause::Signal };
        one.step(now, ended(cause));
        let until = one.until().expect("a pause");
        pauses.push((until - now).as_millis());
        now = until;
        one.step(now, Time);
        one.step(now, Done);
    }
    assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    for event in [LED, Done, LED] {
        one.step(now, event);
    }
    now += seconds(61);
    one.step(now, ended(Cause::Signal));
    assert_eq!(one.until(), Some(now + machine::BACKOFF.0));
}

#[test]
fn who_was_removed_stays_out_when_a_person_wants_that() {
    let said_of = |mut one: Membership, event| {
        one.step(seconds(1), event);
        assert_eq!(one.in_hand(), Some(Archive("removed")));
        (one.step(seconds(1), Done), one.in_hand())
    };
    for (no_rejoin, in_hand) in [(false, Some(Seek)), (true, None)] {
        let begin = |start| Event::Begin { start, phase: Phase::Member, member: Some(70) };
        let (said, next) = said_of(Membership::new(true, no_rejoin), begin(Start::Archive));
        assert_eq!(next, in_hand, "{said:?}");
        let mut served = Membership::new(true, no_rejoin);
        tell(&mut served, 0, &[begin(Start::Spawn), Done, Done, LED, Done, LED]);
        let (said, next) = said_of(served, ended(Cause::Told(Class::Removed)));
        assert_eq!(next, in_hand, "{said:?}");
        assert_eq!(matches!(said[..], [Say(Role::Removed, Told(_))]), no_rejoin, "{said:?}");
    }
}

#[test]
fn a_host_that_never_serves_is_a_client() {
    let mut one = Membership::new(false, false);
    let begin = Event::Begin { start: Start::Seek, phase: Phase::None, member: None };
    assert_eq!(one.step(seconds(0), begin), [Seek]);
    assert_eq!(one.step(seconds(1), Event::Silent), [Say(Role::Client, Heard)]);
    assert_eq!(one.step(seconds(1), Event::Barred), [Say(Role::Blocked, Heard)]);
    assert_eq!(one.in_hand(), Some(Seek), "it goes on asking");
    assert_eq!(one.step(seconds(2), Done), [Say(Role::Client, NoEtcd)]);
    assert_eq!(one.step(seconds(3), ordered(3)), []);
    let (mut one, _) = begun(Start::Seek, Phase::None);
    assert_eq!(one.step(seconds(1), Event::Silent), [Say(Role::Volunteer, Heard)]);
}

#[test]
fn what_the_disk_refuses_is_tried_again_before_anything_else() {
    let blocked = Say(Role::Blocked, Heard);
    let found = begun(Start::Found, Phase::None).0;
    let archive = begun(Start::Archive, Phase::Member).0;
    let mut follow = volunteer();
    follow.step(seconds(0), ordered(7));
    let mut clear = starting(Phase::Bootstrapping);
    clear.step(seconds(0), look(false, true, false));
    clear.step(seconds(0), ended(Cause::Signal));
    for mut one in [found, archive, follow, clear] {
        let refused = one.in_hand().expect("something that the disk may refuse");
        assert_eq!(one.step(seconds(1), Refused), [blocked], "{refused:?}");
        assert_eq!(one.until(), Some(seconds(11)), "{refused:?}");
        assert_eq!(one.step(seconds(10), Time), [], "{refused:?}");
        assert_eq!(one.step(seconds(11), Time), [refused]);
        assert_eq!(one.step(seconds(11), Refused), [blocked], "{refused:?}");
        assert_eq!(one.step(seconds(21), Time), [refused]);
        assert_ne!(one.step(seconds(21), Done), [refused]);
        assert_ne!(one.step(seconds(31), Time), [refused]);
    }
    let (mut one, _) = begun(Start::Spawn, Phase::Joining);
    assert_eq!(one.step(seconds(1), Refused), [blocked]);
    assert_eq!(one.step(seconds(11), Time), STARTS);
    // An etcd whose ids could not be stored does not go on.
    let mut one = starting(Phase::Joining);
    assert_eq!(tell(&mut one, 1, &[LED, Refused]), [blocked, Kill]);
    assert_eq!(one.step(seconds(2), ended(Cause::Signal)), []);
    assert_eq!(one.until(), Some(seconds(12)));
    assert_eq!(one.step(seconds(12), Time), STARTS);
}

/// A world that the machine may meet: what can happen next, by what runs.
struct Walk {
    one: Membership,
    child: bool,
    killed: bool,
    rests: bool,
    accepted: bool,
    dice: u64,
}

impl Walk {
    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }

    fn event(&mut self) -> Event {
        let classes = [
            Class::Removed,
            Class::StaleList,
            Class::Disk,
            Class::Panic,
            Class::Version,
            Class::Port,
        ];
        loop {
            let others = self.roll(2) == 0;
            let flag = self.roll(3) > 0;
            match self.roll(13) {
                0..=3 if self.one.in_hand().is_some() => return Done,
                4 if self.one.in_hand() == Some(Correct) => return Failed,
                4 if matches!(self.one.in_hand(), Some(Seek | GiveUp(_))) => return Event::Silent,
                4 if self.one.in_hand().is_some_and(Self::on_disk) => return Refused,
                5 if self.one.awaits_claim() => return Claim,
                6 if self.one.awaits_order() => {
                    return if flag { ordered(self.roll(9) as i64) } else { Order(None) };
                }
                7 | 8 if self.one.looks().is_some() => {
                    let learner = self.roll(3) == 0;
                    return if flag {
                        look(self.roll(9) > 0, others, learner)
                    } else {
                        mute(others)
                    };
                }
                9 if self.child && (self.killed || self.roll(3) == 0) => {
                    let cause = match self.roll(8) as usize {
                        n @ 0..6 => Cause::Told(classes[n]),
                        6 => Cause::Unknown,
                        _ => Cause::Signal,
                    };
                    return ChildEnded { cause, others };
                }
                10 | 11 => return Time,
                12 => return Unlisted,
                _ => {}
            }
        }
    }

    fn on_disk(command: Command) -> bool {
        matches!(command, Found | Follow | Spawn(_) | Accept { .. } | Clear(_) | Archive(_))
    }

    /// Lets it happen; what was commanded must suit what runs.
    fn happen(&mut self, now: Duration, event: Event) {
        let before = self.one.in_hand();
        match (event, before) {
            (Done, Some(Spawn(_))) => (self.child, self.killed) = (true, false),
            (Done, Some(Accept { .. })) => self.accepted = true,
            (ChildEnded { .. }, _) => self.child = false,
            _ => {}
        }
        let commands = self.one.step(now, event);
        let started = commands.iter().filter(|c| c.has_outcome()).count();
        assert!(started <= 1, "{commands:?} at once");
        for command in commands {
            match command {
                Spawn(mode) => {
                    assert!(!self.child, "a second child");
                    assert!(mode == Mode::Existing || !self.accepted, "a second founding");
                }
                Found | Follow | Clear(_) | Archive(_) => {
                    assert!(!self.child, "{command:?} under a child that runs");
                    self.accepted &= command != Found;
                }
                Accept { .. } | Correct => assert!(self.child, "{command:?} without a child"),
                Kill => {
                    assert!(self.child && !self.killed, "nothing to kill");
                    self.killed = true;
                }
                Say(Role::Blocked, Why::Mend { .. }) | Say(Role::Client, _) => self.rests = true,
                _ => {}
            }
        }
        // Something is always on its way, unless a person is asked for.
        let one = &self.one;
        let waits = one.in_hand().is_some() || one.until().is_some() || one.looks().is_some();
        assert!(waits || one.awaits_order() || self.killed || self.rests, "stuck: {one:?}");
    }
}

#[test]
fn on_every_way_there_is_one_child_one_founding_and_never_a_dead_end() {
    for seed in 1..4_000_u64 {
        let phase = ALL_PHASES[seed as usize % 4];
        let start = match (phase, seed % 3) {
            (Phase::Bootstrapping, 0) => Start::FoundAgain,
            (Phase::Bootstrapping, _) => Start::Found,
            (Phase::Member, 0) => Start::DiskLost,
            (Phase::Member, 1) => Start::Archive,
            _ => Start::Spawn,
        };
        let phase = if start == Start::Found { Phase::None } else { phase };
        let accepted = matches!(phase, Phase::Member | Phase::Leaving | Phase::Joining);
        let dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let one = Membership::new(true, false);
        let mut walk = Walk { one, child: false, killed: false, rests: false, accepted, dice };
        let mut now = Duration::ZERO;
        walk.happen(now, Event::Begin { start, phase, member: Some(70) });
        for _ in 0..200 {
            if walk.rests {
                break;
            }
            let event = walk.event();
            let due = walk.one.until().filter(|_| event == Time);
            now = due.unwrap_or(now + Duration::from_millis(walk.roll(3_000))).max(now);
            walk.happen(now, event);
        }
    }
}
