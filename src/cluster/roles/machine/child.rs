//! What the answers of our etcd and its end lead to.

use std::time::Duration;

use super::{BACKOFF, DISK_LOST, FAILED, Membership, REFUSED, REMOVED, Stage, Then};
use crate::cluster::aftermath::{self, Cause, Next};
use crate::cluster::identity::Phase;
use crate::cluster::logline::Class;
use crate::cluster::roles::{Command, Follows, Health, Why};
use crate::cluster::status::Role;

/// How long a member may be without a leader before that is said.
const LEADERLESS: Duration = Duration::from_secs(3);
/// After this long in health the pauses begin anew.
const HEALTHY: Duration = Duration::from_secs(60);

/// The reason in the name of an archive whose cluster nobody could join.
const UNFOUNDED: &str = "unfounded";

/// What is said, word for word.
const TOO_FEW: &str = "waiting for quorum: too few members answer";
const NO_LEADER: &str = "waiting for quorum: this host's etcd knows no leader";
const TAKEN_OUT: &str = "this member was removed from the cluster; data moved to archive/";

impl Membership {
    pub(super) fn looked(
        &mut self,
        health: Option<Health>,
        quorum: bool,
        now: Duration,
    ) -> Vec<Command> {
        let leads = health.filter(|h| h.led);
        match (self.stage, leads) {
            (Stage::Starting { .. }, Some(health)) if !health.ours => self.cut(Why::Heard),
            (Stage::Starting { .. }, Some(health)) => {
                let votes = !health.learner;
                let accept = Command::Accept { mode: self.mode(), votes };
                self.hand(Stage::Accepting { votes }, accept)
            }
            (Stage::Starting { since, judged }, None)
                if now.saturating_sub(judged) > LEADERLESS =>
            {
                self.stage = Stage::Starting { since, judged: now };
                // A member that starts without a quorum serves nobody before there is one, so its
                // silence is judged by what the others say.
                let alone = self.phase == Phase::Member && !quorum;
                if health.is_none() && !alone {
                    return Vec::new();
                }
                vec![Command::Say(Role::Waiting, Why::Told(TOO_FEW))]
            }
            (Stage::Serving { listed, .. }, Some(health)) => {
                self.stage = Stage::Serving { led: now, votes: !health.learner, listed };
                if health.learner {
                    return vec![Command::Say(Role::Learner, Why::Nothing)];
                }
                let mut all = vec![Command::Say(Role::Voter, Why::Nothing), Command::UseOwn];
                if !listed && self.in_hand.is_none() {
                    all.push(Command::Correct);
                }
                all
            }
            (Stage::Serving { led, listed, .. }, None) => {
                self.stage = Stage::Serving { led, votes: false, listed };
                let long = now.saturating_sub(led) > LEADERLESS;
                let say = Command::Say(Role::Waiting, Why::Told(NO_LEADER));
                long.then_some(say).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Makes an end of an etcd that was not accepted.
    pub(super) fn cut(&mut self, why: Why) -> Vec<Command> {
        let (said, then) = match self.phase {
            // Nobody can have joined: the record that joining rests on comes after this phase.
            Phase::Bootstrapping => (Command::Tell(why, Follows::FoundAnew), Then::FoundAnew),
            Phase::Joining => (Command::Tell(why, Follows::AskAgain), Then::GiveUp),
            // Only who is no member yet may start over: a stranger on our port is no reason to put
            // the data of a member aside.
            _ => (Command::Say(Role::Blocked, why), Then::Again),
        };
        let mut all = vec![said];
        all.extend(self.kill(then));
        all
    }

    pub(super) fn kill(&mut self, then: Then) -> Vec<Command> {
        self.stage = Stage::Ending(then);
        vec![Command::Kill]
    }

    pub(super) fn child_ended(
        &mut self,
        cause: Cause,
        others: bool,
        now: Duration,
    ) -> Vec<Command> {
        let then = match self.stage {
            Stage::Starting { .. } | Stage::Accepting { .. } | Stage::Serving { .. } => None,
            Stage::Ending(then) => Some(then),
            _ => return Vec::new(),
        };
        let healthy = now.saturating_sub(self.started) > HEALTHY;
        if healthy {
            (self.pause, self.fails) = (BACKOFF.0, 0);
        }
        match then {
            None => self.after(cause, others, healthy, now),
            Some(Then::Again) => self.pause(now),
            Some(Then::Later) => {
                self.stage = Stage::Pausing { until: now + REFUSED };
                Vec::new()
            }
            Some(Then::FoundAnew) => self.hand(Stage::Clearing, Command::Clear(UNFOUNDED)),
            Some(Then::GiveUp) => self.give_up(FAILED),
            Some(Then::Removed) => self.archive(REMOVED),
        }
    }

    /// The others took this member out, and nobody is left who could tell its etcd so.
    pub(super) fn unlisted(&mut self) -> Vec<Command> {
        if !matches!(self.phase, Phase::Member | Phase::Leaving) {
            return Vec::new();
        }
        let mut all = vec![Command::Say(Role::Removed, Why::Told(TAKEN_OUT))];
        match self.stage {
            Stage::Starting { .. } => all.extend(self.kill(Then::Removed)),
            Stage::Ending(_) => self.stage = Stage::Ending(Then::Removed),
            // A person was asked to mend the data of a member that is no more.
            Stage::Readdressing { .. } | Stage::Pausing { .. } | Stage::Resting => {
                all.extend(self.archive(REMOVED));
            }
            // The next look tells the same.
            _ => return Vec::new(),
        }
        all
    }

    /// What follows the end of etcd by itself.
    fn after(&mut self, cause: Cause, others: bool, healthy: bool, now: Duration) -> Vec<Command> {
        let times = self.streak.count(cause, healthy);
        let end = aftermath::End { cause, phase: self.phase, others, times };
        let (said, next) = match aftermath::next(end) {
            Next::Again => (Command::Say(Role::Starting, Why::Heard), self.pause(now)),
            Next::Rejoin(REMOVED) => {
                (Command::Say(Role::Removed, Why::Told(TAKEN_OUT)), self.archive(REMOVED))
            }
            // The others need not wait until the place of this member has run out of time.
            Next::Rejoin(FAILED) => {
                (Command::Tell(Why::Heard, Follows::AskAgain), self.give_up(FAILED))
            }
            Next::Rejoin(reason) => {
                (Command::Tell(Why::Heard, Follows::Volunteer), self.archive(reason))
            }
            Next::GiveUp => (Command::Tell(Why::Heard, Follows::GiveUp), self.give_up(DISK_LOST)),
            Next::Rest => {
                let version = cause == Cause::Told(Class::Version);
                return self.rest(Role::Blocked, Why::Mend { version, times });
            }
        };
        [vec![said], next].concat()
    }
}
