//! What a host is in the cluster and how it becomes something else, as a machine: seek, volunteer,
//! start etcd, serve, begin again (3.1).
//!
//! Refuses to act and to know the time of day: it is told what happened and says what is to be
//! done. The shell does the commands of one answer in their order; one that the disk refuses is
//! tried again before the next.

use std::time::Duration;

use super::aftermath::Next;
use super::flags::Mode;
use super::start::Start;
use super::status::Role;

/// How long a new member may take until it has a leader; a hung peer would block it for ever.
const JOIN: Duration = Duration::from_secs(30);
/// How long a member may be without a leader before that is said.
const LEADERLESS: Duration = Duration::from_secs(3);
/// The pause before etcd is started again after it ended, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// After this long in health the pauses begin anew.
const HEALTHY: Duration = Duration::from_secs(60);

/// What our own etcd says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// It has the cluster id and the member id that it should have.
    pub ours: bool,
    /// It knows a leader.
    pub led: bool,
    /// It has no vote.
    pub learner: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The start was decided; `joining` when the folder was about to join.
    Begin {
        /// What the table says.
        start: Start,
        /// The phase is `joining`.
        joining: bool,
    },
    /// The cluster answers and is ours.
    Settled,
    /// Another cluster answers.
    Foreign,
    /// The claim to the name, and with it the offer, is gone or new.
    Claim,
    /// There is an order to become a member, of this change.
    Order(i64),
    /// There is no order, or one for another member.
    NoOrder,
    /// What our etcd answered, if it did.
    Health(Option<Health>),
    /// The child has ended, and this follows from its last lines.
    ChildEnded(Next),
    /// The wish that our old member goes is written.
    Wished,
    /// Time has passed.
    Time,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tell this role from now on.
    Say(Role),
    /// Ask everybody known, until the cluster answers.
    Seek,
    /// Write the offer to serve, and watch for an order.
    Offer,
    /// Put old data aside, make uuid and token, store the phase `bootstrapping`.
    Found,
    /// Put old data aside, store what the order says and the phase `joining`.
    Follow,
    /// Start etcd.
    Spawn(Mode),
    /// Store the ids that etcd answered with and the phase `member`; a founder writes the cluster's
    /// records before that phase.
    Accept(Mode),
    /// KILL the child; its end comes as an event.
    Kill(&'static str),
    /// Put the data aside for this reason, forget the membership.
    Archive(&'static str),
    /// Write the wish that our old member goes, until the store takes it.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Seeking,
    Offering,
    /// etcd runs and has not been accepted yet.
    Starting {
        mode: Mode,
        joining: bool,
        since: Duration,
    },
    Serving {
        since: Duration,
        mode: Mode,
    },
    /// Killed; its end leads to a new start or to another try as a volunteer.
    Ending {
        joining: bool,
        mode: Mode,
    },
    /// Waits before it starts etcd again.
    Pausing {
        until: Duration,
        mode: Mode,
        joining: bool,
    },
    GivingUp,
    Resting,
}

/// The membership of a host.
#[derive(Clone, Debug)]
pub struct Membership {
    stage: Stage,
    role: Option<Role>,
    no_server: bool,
    /// The change that added the member which failed last; its order is not followed twice.
    failed: Option<i64>,
    pause: Duration,
    /// Since when our etcd has no leader.
    leaderless: Option<Duration>,
}

impl Membership {
    /// Nothing begun.
    pub fn new(no_server: bool) -> Self {
        Membership {
            stage: Stage::Idle,
            role: None,
            no_server,
            failed: None,
            pause: BACKOFF.0,
            leaderless: None,
        }
    }

    /// When to come back with [`Event::Time`], unless something happens before.
    pub fn until(&self) -> Option<Duration> {
        match self.stage {
            Stage::Starting { joining: true, since, .. } => Some(since + JOIN),
            Stage::Pausing { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Our etcd is to be asked for its health again and again.
    pub fn watches_etcd(&self) -> bool {
        matches!(self.stage, Stage::Starting { .. } | Stage::Serving { .. })
    }

    /// Goes on.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Command> {
        match (self.stage, event) {
            (Stage::Idle, Event::Begin { start, joining }) => self.begin(start, joining, now),
            (Stage::Seeking, Event::Settled) if self.no_server => self.say(Role::Client),
            (Stage::Seeking, Event::Settled) | (Stage::Offering, Event::Claim) => self.offer(),
            (Stage::Seeking, Event::Foreign) => self.say(Role::Blocked),
            (Stage::Offering, Event::Order(seq)) if self.failed != Some(seq) => {
                self.failed = Some(seq);
                let mut all = vec![Command::Follow];
                all.extend(self.spawn(Mode::Existing, true, now));
                all
            }
            (Stage::Starting { mode, joining: true, .. }, Event::NoOrder) => {
                self.kill("the order to join was taken back", mode, true)
            }
            (Stage::Starting { .. } | Stage::Serving { .. }, Event::Health(health)) => {
                self.health(health, now)
            }
            (Stage::Starting { mode, joining: true, since }, Event::Time)
                if now >= since + JOIN =>
            {
                self.kill("its etcd found no leader in time", mode, true)
            }
            (Stage::Pausing { until, mode, joining }, Event::Time) if now >= until => {
                self.spawn(mode, joining, now)
            }
            (_, Event::ChildEnded(ended)) => self.child_ended(ended, now),
            (Stage::GivingUp, Event::Wished) => {
                let mut all = vec![Command::Archive("disk-lost")];
                all.extend(self.seek());
                all
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, start: Start, joining: bool, now: Duration) -> Vec<Command> {
        let (mut all, next) = match start {
            Start::Found => (vec![Command::Found], self.spawn(Mode::New, false, now)),
            Start::FoundAgain => (Vec::new(), self.spawn(Mode::New, false, now)),
            Start::Spawn => (Vec::new(), self.spawn(Mode::Existing, joining, now)),
            Start::Archive => (vec![Command::Archive("removed")], self.seek()),
            Start::DiskLost | Start::FinishLeaving => (Vec::new(), self.give_up()),
            Start::Seek => (Vec::new(), self.seek()),
            Start::RefuseData | Start::RefuseLost | Start::RefuseForeign => {
                (Vec::new(), self.rest())
            }
        };
        all.extend(next);
        all
    }

    fn health(&mut self, health: Option<Health>, now: Duration) -> Vec<Command> {
        let led = health.is_some_and(|h| h.led);
        match (self.stage, health) {
            (Stage::Starting { mode, joining, .. }, Some(Health { led: true, ours, learner })) => {
                if !ours {
                    return self.kill("another etcd answers in its place", mode, joining);
                }
                self.stage = Stage::Serving { since: now, mode: Mode::Existing };
                self.leaderless = None;
                let mut all = vec![Command::Accept(mode)];
                all.extend(self.say(if learner { Role::Learner } else { Role::Voter }));
                all
            }
            (Stage::Serving { .. }, Some(Health { led: true, learner, .. })) => {
                self.leaderless = None;
                self.say(if learner { Role::Learner } else { Role::Voter })
            }
            _ if !led => {
                let since = *self.leaderless.get_or_insert(now);
                let long = now.saturating_sub(since) > LEADERLESS;
                // A start is waited for without a word, unless etcd answers that nobody leads.
                let serves = matches!(self.stage, Stage::Serving { .. });
                if long && (serves || health.is_some()) { self.say(Role::Waiting) } else { vec![] }
            }
            _ => Vec::new(),
        }
    }

    fn child_ended(&mut self, ended: Next, now: Duration) -> Vec<Command> {
        let (mode, joining, healthy) = match self.stage {
            Stage::Starting { mode, joining, .. } => (mode, joining, false),
            Stage::Serving { mode, since } => (mode, false, now.saturating_sub(since) > HEALTHY),
            // Only who is no member yet may start over: a stranger on our port is no reason to put
            // the data of a member aside.
            Stage::Ending { joining: true, .. } => return self.rejoin("failed"),
            Stage::Ending { mode, .. } => (mode, false, false),
            _ => return Vec::new(),
        };
        match ended {
            Next::Rejoin(reason) => self.rejoin(reason),
            Next::GiveUp => self.give_up(),
            Next::Rest => self.rest(),
            Next::Again => {
                if healthy {
                    self.pause = BACKOFF.0;
                }
                self.stage = Stage::Pausing { until: now + self.pause, mode, joining };
                self.pause = (self.pause * 2).min(BACKOFF.1);
                self.say(Role::Starting)
            }
        }
    }

    fn rejoin(&mut self, reason: &'static str) -> Vec<Command> {
        let mut all = Vec::new();
        if reason == "removed" {
            all.extend(self.say(Role::Removed));
        }
        all.push(Command::Archive(reason));
        all.extend(self.seek());
        all
    }

    fn seek(&mut self) -> Vec<Command> {
        self.stage = Stage::Seeking;
        let mut all = self.say(if self.no_server { Role::Client } else { Role::Volunteer });
        all.push(Command::Seek);
        all
    }

    fn offer(&mut self) -> Vec<Command> {
        self.stage = Stage::Offering;
        let mut all = vec![Command::Offer];
        all.extend(self.say(Role::Volunteer));
        all
    }

    fn spawn(&mut self, mode: Mode, joining: bool, now: Duration) -> Vec<Command> {
        self.stage = Stage::Starting { mode, joining, since: now };
        self.leaderless = None;
        let mut all = self.say(Role::Starting);
        all.push(Command::Spawn(mode));
        all
    }

    fn kill(&mut self, why: &'static str, mode: Mode, joining: bool) -> Vec<Command> {
        self.stage = Stage::Ending { joining, mode };
        vec![Command::Kill(why)]
    }

    fn give_up(&mut self) -> Vec<Command> {
        self.stage = Stage::GivingUp;
        let mut all = self.say(Role::Blocked);
        all.push(Command::GiveUp);
        all
    }

    fn rest(&mut self) -> Vec<Command> {
        self.stage = Stage::Resting;
        self.say(Role::Blocked)
    }

    fn say(&mut self, role: Role) -> Vec<Command> {
        if self.role.replace(role) == Some(role) {
            return Vec::new();
        }
        vec![Command::Say(role)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LED: Health = Health { ours: true, led: true, learner: false };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn begun(start: Start, joining: bool) -> (Membership, Vec<Command>) {
        let mut one = Membership::new(false);
        let said = one.step(seconds(0), Event::Begin { start, joining });
        (one, said)
    }

    /// A host that volunteers.
    fn volunteer() -> Membership {
        let (mut one, _) = begun(Start::Seek, false);
        assert_eq!(one.step(seconds(0), Event::Settled), [Command::Offer]);
        one
    }

    #[test]
    fn a_founder_founds_starts_and_votes() {
        let (mut one, said) = begun(Start::Found, false);
        let starts = [Command::Say(Role::Starting), Command::Spawn(Mode::New)];
        assert_eq!((said[0], &said[1..]), (Command::Found, &starts[..]));
        assert_eq!(one.step(seconds(1), Event::Health(None)), []);
        let said = one.step(seconds(1), Event::Health(Some(LED)));
        assert_eq!(said, [Command::Accept(Mode::New), Command::Say(Role::Voter)]);
        // It is no longer founding when it starts again.
        let again = one.step(seconds(2), Event::ChildEnded(Next::Again));
        assert_eq!(again, [Command::Say(Role::Starting)]);
        let until = one.until().expect("a pause");
        assert_eq!(one.step(until, Event::Time), [Command::Spawn(Mode::Existing)]);
    }

    #[test]
    fn a_volunteer_follows_an_order_once_and_becomes_learner_and_voter() {
        let mut one = volunteer();
        let said = one.step(seconds(1), Event::Order(7));
        let starts = [Command::Say(Role::Starting), Command::Spawn(Mode::Existing)];
        assert_eq!((said[0], &said[1..]), (Command::Follow, &starts[..]));
        let learner = Event::Health(Some(Health { learner: true, ..LED }));
        let said = one.step(seconds(2), learner);
        assert_eq!(said, [Command::Accept(Mode::Existing), Command::Say(Role::Learner)]);
        assert_eq!(one.step(seconds(2), learner), []);
        let said = one.step(seconds(3), Event::Health(Some(LED)));
        assert_eq!(said, [Command::Say(Role::Voter)]);
    }

    #[test]
    fn a_joiner_without_a_leader_or_without_its_order_volunteers_again_and_not_for_the_same() {
        for (event, at) in [(Event::Time, 31), (Event::NoOrder, 5)] {
            let mut one = volunteer();
            one.step(seconds(1), Event::Order(7));
            assert_eq!(one.step(seconds(4), Event::Time), [], "too early");
            assert_eq!(one.until(), Some(seconds(31)));
            assert!(matches!(one.step(seconds(at), event)[..], [Command::Kill(_)]));
            let said = one.step(seconds(at), Event::ChildEnded(Next::Again));
            assert_eq!(said[0], Command::Archive("failed"));
            assert_eq!(*said.last().unwrap(), Command::Seek);
            one.step(seconds(at), Event::Settled);
            assert_eq!(one.step(seconds(at), Event::Order(7)), [], "that order failed");
            assert_eq!(one.step(seconds(at), Event::Order(8))[0], Command::Follow);
        }
    }

    #[test]
    fn a_member_without_a_leader_waits_and_is_never_given_up_for_it() {
        let (mut one, _) = begun(Start::Spawn, false);
        assert_eq!(one.until(), None, "a restart has no limit");
        let alone = Event::Health(Some(Health { led: false, ..LED }));
        assert_eq!(one.step(seconds(1), alone), []);
        assert_eq!(one.step(seconds(5), alone), [Command::Say(Role::Waiting)]);
        let said = one.step(seconds(9_000), Event::Health(Some(LED)));
        assert_eq!(said, [Command::Accept(Mode::Existing), Command::Say(Role::Voter)]);
        assert_eq!(one.step(seconds(9_001), Event::Health(None)), []);
        assert_eq!(one.step(seconds(9_005), Event::Health(None)), [Command::Say(Role::Waiting)]);
    }

    #[test]
    fn what_follows_the_end_of_etcd() {
        let served = || {
            let (mut one, _) = begun(Start::Spawn, false);
            one.step(seconds(0), Event::Health(Some(LED)));
            one
        };
        let volunteers = [Command::Say(Role::Volunteer), Command::Seek];
        let mut one = served();
        let said = one.step(seconds(1), Event::ChildEnded(Next::Rejoin("removed")));
        assert_eq!(said[..2], [Command::Say(Role::Removed), Command::Archive("removed")]);
        assert_eq!(said[2..], volunteers);
        let mut one = served();
        let said = one.step(seconds(1), Event::ChildEnded(Next::GiveUp));
        assert_eq!(said, [Command::Say(Role::Blocked), Command::GiveUp]);
        let said = one.step(seconds(2), Event::Wished);
        assert_eq!((said[0], &said[1..]), (Command::Archive("disk-lost"), &volunteers[..]));
        let mut one = served();
        let said = one.step(seconds(1), Event::ChildEnded(Next::Rest));
        assert_eq!(said, [Command::Say(Role::Blocked)]);
        assert_eq!((one.until(), one.watches_etcd()), (None, false));
    }

    #[test]
    fn pauses_between_starts_double_and_health_makes_them_short_again() {
        let (mut one, _) = begun(Start::Spawn, false);
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            one.step(now, Event::ChildEnded(Next::Again));
            let until = one.until().expect("a pause");
            pauses.push((until - now).as_millis());
            now = until;
            one.step(now, Event::Time);
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        one.step(now, Event::Health(Some(LED)));
        now += seconds(61);
        one.step(now, Event::ChildEnded(Next::Again));
        assert_eq!(one.until(), Some(now + BACKOFF.0));
    }

    #[test]
    fn a_host_that_never_serves_is_a_client() {
        let mut one = Membership::new(true);
        let said = one.step(seconds(0), Event::Begin { start: Start::Seek, joining: false });
        assert_eq!(said, [Command::Say(Role::Client), Command::Seek]);
        assert_eq!(one.step(seconds(1), Event::Settled), []);
        assert_eq!(one.step(seconds(1), Event::Order(3)), []);
    }

    #[test]
    fn the_data_of_a_member_are_not_put_aside_for_a_stranger_at_its_port() {
        let (mut one, _) = begun(Start::Spawn, false);
        let stranger = Event::Health(Some(Health { ours: false, ..LED }));
        assert!(matches!(one.step(seconds(1), stranger)[..], [Command::Kill(_)]));
        assert_eq!(one.step(seconds(1), Event::ChildEnded(Next::Again)), []);
        let until = one.until().expect("a pause");
        assert_eq!(one.step(until, Event::Time), [Command::Spawn(Mode::Existing)]);
    }
}
