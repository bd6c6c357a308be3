//! The machine: from one stage to the next.

use std::time::Duration;

use super::{Command, Event, Nomination, Pace, Why};
use crate::cluster::aftermath::Streak;
use crate::cluster::flags::Mode;
use crate::cluster::identity::Phase;
use crate::cluster::start::Start;
use crate::cluster::status::Role;

mod child;

/// How long a new member may take until it has a leader; a hung peer would block it for ever.
const JOIN: Duration = Duration::from_secs(30);
/// How long a founder, which needs nobody, may take to lead. An etcd that was killed before it
/// wrote its first entries has a log without voters, and would wait for ever.
const FOUND: Duration = Duration::from_secs(15);
/// How long telling the others about another address may hold up the start.
const READDRESS: Duration = Duration::from_secs(2);
/// The pause before etcd is started again after it ended, at first and at most.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(10));
/// The pause before what the disk refused is tried again: somebody may clear it.
const REFUSED: Duration = Duration::from_secs(10);
/// For how many seconds a host that failed to join asks to be left alone, at first and at most.
const REST: (u64, u64) = (5, 300);

/// The reasons in the names of archives and in wishes.
const REMOVED: &str = "removed";
const FAILED: &str = "failed";
const DISK_LOST: &str = "disk-lost";

/// What is said, word for word.
const LATE: &str = "its etcd found no leader in time";
const TAKEN_BACK: &str = "the nomination was taken back";
const STAYS_OUT: &str = "this member was removed from the cluster and stays out (--no-rejoin); its \
                         data are in archive/, start the agent without the flag to join as a new \
                         one";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Seeking,
    Offering {
        since: Duration,
    },
    Offered {
        since: Duration,
    },
    Founding,
    Following,
    Readdressing {
        until: Duration,
    },
    Spawning,
    /// etcd runs and has not been accepted yet.
    Starting {
        since: Duration,
        /// When it was last judged for having no leader.
        judged: Duration,
    },
    Accepting {
        votes: bool,
    },
    Serving {
        /// When it last knew a leader.
        led: Duration,
        votes: bool,
        /// The list has our addresses.
        listed: bool,
    },
    /// Killed; this follows its end.
    Ending(Then),
    /// Waits before it starts etcd again.
    Pausing {
        until: Duration,
    },
    Clearing,
    Archiving(&'static str),
    GivingUp(&'static str),
    /// Nothing more happens until a person does something.
    Resting,
}

/// What follows the end of a child that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Again,
    /// The same, but the disk is to be cleared first.
    Later,
    FoundAnew,
    GiveUp,
    /// The others took it out.
    Removed,
}

/// The membership of a host.
#[derive(Clone, Debug)]
pub struct Membership {
    stage: Stage,
    /// It has an etcd program and may use it.
    serves: bool,
    /// A member that the others removed stays out.
    no_rejoin: bool,
    /// How far it has come, as the folder has it.
    phase: Phase,
    member: Option<u64>,
    /// What has an outcome and was commanded last.
    in_hand: Option<Command>,
    /// When what is in hand is commanded again, since the disk refused it.
    retry: Option<Duration>,
    /// The change that added the member which failed last; its order is not followed twice.
    failed: Option<i64>,
    /// How often in a row it could not become a member that lasts.
    fails: u32,
    /// How often in a row etcd ended in the same way.
    streak: Streak,
    pause: Duration,
    /// When etcd was started.
    started: Duration,
}

impl Membership {
    /// Nothing begun. A host that never `serves` is a client; with `no_rejoin` a member that was
    /// removed stays out.
    pub fn new(serves: bool, no_rejoin: bool) -> Self {
        Membership {
            stage: Stage::Idle,
            serves,
            no_rejoin,
            phase: Phase::None,
            member: None,
            in_hand: None,
            retry: None,
            failed: None,
            fails: 0,
            streak: Streak::default(),
            pause: BACKOFF.0,
            started: Duration::ZERO,
        }
    }

    /// When to come back with [`Event::Time`], unless something happens before.
    pub fn until(&self) -> Option<Duration> {
        self.retry.or(match self.stage {
            Stage::Starting { since, .. } => Some(since + self.patience()?),
            Stage::Pausing { until } | Stage::Readdressing { until } => Some(until),
            _ => None,
        })
    }

    /// Our etcd is to be asked for its health again and again, this often.
    pub fn looks(&self) -> Option<Pace> {
        match self.stage {
            Stage::Starting { .. } => Some(Pace::Starting),
            Stage::Serving { votes: true, .. } => Some(Pace::Voting),
            Stage::Serving { .. } => Some(Pace::Waiting),
            _ => None,
        }
    }

    /// The order for this host is to be told, now and whenever it changes.
    pub fn awaits_order(&self) -> bool {
        match self.stage {
            Stage::Offered { .. } => true,
            Stage::Starting { .. } => self.phase == Phase::Joining,
            _ => false,
        }
    }

    /// It is to be told when the claim to the name changes that the offer was written with.
    pub fn awaits_claim(&self) -> bool {
        matches!(self.stage, Stage::Offered { .. })
    }

    /// The command whose outcome is awaited.
    pub fn in_hand(&self) -> Option<Command> {
        self.in_hand
    }

    /// Goes on.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Command> {
        let before = self.stage;
        let commands = match event {
            Event::Begin { start, phase, member } => self.begin(start, phase, member, now),
            Event::Done => self.done(now),
            Event::Failed => Vec::new(),
            Event::Refused => self.refused(now),
            Event::Silent => self.silent(),
            Event::Barred => vec![Command::Say(Role::Blocked, Why::Heard)],
            Event::Claim => match self.stage {
                Stage::Offered { since } => self.offer(since),
                _ => Vec::new(),
            },
            Event::Order(order) => self.order(order),
            Event::Look { health, quorum } => self.looked(health, quorum, now),
            Event::ChildEnded { cause, others } => self.child_ended(cause, others, now),
            Event::Unlisted => self.unlisted(),
            Event::Time if self.until().is_some_and(|until| now >= until) => self.time(now),
            Event::Time => Vec::new(),
        };
        // An outcome was all that there was to it, or nobody waits for it any more.
        let outcome = matches!(event, Event::Done | Event::Failed);
        if outcome || std::mem::discriminant(&before) != std::mem::discriminant(&self.stage) {
            (self.in_hand, self.retry) = (None, None);
        }
        self.in_hand = commands.iter().copied().rfind(|c| c.has_outcome()).or(self.in_hand);
        commands
    }

    fn begin(
        &mut self,
        start: Start,
        phase: Phase,
        member: Option<u64>,
        now: Duration,
    ) -> Vec<Command> {
        (self.phase, self.member) = (phase, member);
        match start {
            Start::Found => self.hand(Stage::Founding, Command::Found),
            Start::FoundAgain | Start::Spawn => self.run(now),
            Start::Archive => self.archive(REMOVED),
            Start::DiskLost | Start::FinishLeaving => self.give_up(DISK_LOST),
            // The refusals never come here.
            _ => self.seek(),
        }
    }

    fn done(&mut self, now: Duration) -> Vec<Command> {
        match self.stage {
            Stage::Founding | Stage::Following => {
                let founds = self.stage == Stage::Founding;
                self.phase = if founds { Phase::Bootstrapping } else { Phase::Joining };
                self.run(now)
            }
            Stage::Seeking if self.serves => {
                // Who failed stands behind those who have not tried yet.
                self.offer(if self.fails == 0 { Duration::ZERO } else { now })
            }
            Stage::Seeking => self.rest(Role::Client, Why::NoEtcd),
            Stage::Offering { since } => {
                self.stage = Stage::Offered { since };
                vec![Command::Say(Role::Volunteer, Why::Nothing)]
            }
            Stage::Readdressing { .. } => self.spawn(now),
            Stage::Spawning => {
                self.stage = Stage::Starting { since: now, judged: now };
                Vec::new()
            }
            Stage::Accepting { votes } => {
                self.phase = Phase::Member;
                self.stage = Stage::Serving { led: now, votes, listed: false };
                Vec::new()
            }
            Stage::Serving { led, votes, .. } => {
                self.stage = Stage::Serving { led, votes, listed: true };
                Vec::new()
            }
            Stage::Clearing => self.pause(now),
            Stage::Archiving(reason) => {
                (self.phase, self.member) = (Phase::None, None);
                if reason == REMOVED && self.no_rejoin {
                    return self.rest(Role::Removed, Why::Told(STAYS_OUT));
                }
                self.seek()
            }
            Stage::GivingUp(reason) => self.archive(reason),
            _ => Vec::new(),
        }
    }

    fn refused(&mut self, now: Duration) -> Vec<Command> {
        let mut all = vec![Command::Say(Role::Blocked, Why::Heard)];
        match self.stage {
            Stage::Spawning => self.stage = Stage::Pausing { until: now + REFUSED },
            // What it is could not be stored, so it must not go on being it.
            Stage::Accepting { .. } => all.extend(self.kill(Then::Later)),
            _ => self.retry = Some(now + REFUSED),
        }
        all
    }

    fn silent(&self) -> Vec<Command> {
        let role = match self.stage {
            Stage::GivingUp(_) => Role::Blocked,
            _ if self.serves => Role::Volunteer,
            _ => Role::Client,
        };
        vec![Command::Say(role, Why::Heard)]
    }

    fn order(&mut self, order: Option<Nomination>) -> Vec<Command> {
        match (self.stage, order) {
            (Stage::Offered { .. }, Some(order)) if self.failed != Some(order.seq) => {
                (self.failed, self.member) = (Some(order.seq), Some(order.member));
                // Another list and another folder: what went wrong before says nothing about these.
                (self.streak, self.pause) = (Streak::default(), BACKOFF.0);
                self.hand(Stage::Following, Command::Follow)
            }
            (Stage::Starting { .. }, _) if self.phase == Phase::Joining => {
                let ours = order.map(|o| o.member) == self.member;
                if ours { Vec::new() } else { self.cut(Why::Told(TAKEN_BACK)) }
            }
            _ => Vec::new(),
        }
    }

    /// A limit is over.
    fn time(&mut self, now: Duration) -> Vec<Command> {
        if self.retry.take().is_some() {
            return self.in_hand.into_iter().collect();
        }
        match self.stage {
            Stage::Starting { .. } => self.cut(Why::Told(LATE)),
            Stage::Pausing { .. } => self.run(now),
            // Refused or not, it starts: it dials the others, who need not know where it is for
            // that.
            Stage::Readdressing { .. } => self.spawn(now),
            _ => Vec::new(),
        }
    }

    /// How long a starting etcd may be without a leader; a member, which was one before, for ever.
    fn patience(&self) -> Option<Duration> {
        match self.phase {
            Phase::Joining => Some(JOIN),
            Phase::Bootstrapping => Some(FOUND),
            _ => None,
        }
    }

    fn mode(&self) -> Mode {
        if self.phase == Phase::Bootstrapping { Mode::New } else { Mode::Existing }
    }

    /// Starts etcd. Only who was a member may be listed where it no longer is.
    fn run(&mut self, now: Duration) -> Vec<Command> {
        match self.phase {
            Phase::Member | Phase::Leaving => {
                self.hand(Stage::Readdressing { until: now + READDRESS }, Command::Readdress)
            }
            _ => self.spawn(now),
        }
    }

    fn spawn(&mut self, now: Duration) -> Vec<Command> {
        (self.stage, self.started) = (Stage::Spawning, now);
        vec![Command::Say(Role::Starting, Why::Nothing), Command::Spawn(self.mode())]
    }

    fn pause(&mut self, now: Duration) -> Vec<Command> {
        self.stage = Stage::Pausing { until: now + self.pause };
        self.pause = (self.pause * 2).min(BACKOFF.1);
        Vec::new()
    }

    fn offer(&mut self, since: Duration) -> Vec<Command> {
        let tries = |n: u32| REST.0.saturating_mul(1 << n.min(16)).min(REST.1);
        let not_before = self.fails.checked_sub(1).map_or(0, tries);
        self.hand(Stage::Offering { since }, Command::Offer { since, not_before })
    }

    fn give_up(&mut self, reason: &'static str) -> Vec<Command> {
        self.fails = self.fails.saturating_add(1);
        self.hand(Stage::GivingUp(reason), Command::GiveUp(reason))
    }

    fn archive(&mut self, reason: &'static str) -> Vec<Command> {
        self.hand(Stage::Archiving(reason), Command::Archive(reason))
    }

    fn seek(&mut self) -> Vec<Command> {
        self.hand(Stage::Seeking, Command::Seek)
    }

    fn rest(&mut self, role: Role, why: Why) -> Vec<Command> {
        self.stage = Stage::Resting;
        vec![Command::Say(role, why)]
    }

    fn hand(&mut self, stage: Stage, command: Command) -> Vec<Command> {
        self.stage = stage;
        vec![command]
    }
}
