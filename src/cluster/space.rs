//! What is to be done so that the store does not fill its quota, and when it has (4.6).
//!
//! Refuses to act, to look at a clock, and to cure a third time in a row what two cures, the second
//! of which leaves no history, did not mend.

use std::time::Duration;

/// How full the store may be before that is said, in percent of the quota.
const WARN_PERCENT: u64 = 80;
/// With at most so much of the quota on every disk, in percent, an alarm is about what is over.
const ROOM_PERCENT: u64 = 97;
/// Less than this is not worth the pause of a member.
const WORTH: u64 = 128 << 20;
/// How often members are looked at for that.
const LOOK: Duration = Duration::from_secs(30);
/// So long after a cure the next one is harder, and the third is none: what fills the store has to
/// be found.
const CURED: Duration = Duration::from_secs(600);
/// The pause before a cure that failed is tried again: each makes the members deaf for a moment.
const AGAIN: Duration = Duration::from_secs(5);
/// How many revisions a cure leaves for those who watch, if there are twice as many.
const KEPT: i64 = 1_000;

/// A member, as far as space is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its id.
    pub id: u64,
    /// It answers and votes.
    pub voter: bool,
    /// The bytes of its data on the disk.
    pub bytes: u64,
    /// Those of them that hold something.
    pub used: u64,
}

/// What the deciding host knows about space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// How many bytes a member may have.
    pub quota: u64,
    /// The members that answer.
    pub members: Vec<Usage>,
    /// The id of the leader.
    pub leader: u64,
    /// How many voters may fail before writes stop.
    pub slack: usize,
    /// The members that have raised the alarm that they are full. Nothing is written meanwhile.
    pub full: Vec<u64>,
    /// The store's revision.
    pub revision: i64,
}

impl Sight {
    /// No member is so full that its alarm would come again at once.
    fn has_room(&self) -> bool {
        let limit = self.quota.saturating_mul(ROOM_PERCENT);
        !self.members.is_empty()
            && self.members.iter().all(|one| one.bytes.saturating_mul(100) <= limit)
    }
}

/// One thing to do. All can be done again without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Drop what was overwritten before this revision.
    Compact(i64),
    /// Give the free space of this member back.
    Defragment(u64),
    /// End the alarm of this member.
    Disarm(u64),
    /// Hand the leadership to this voter, so that the leader's turn can come.
    MoveLeader(u64),
}

/// What to do, and what people should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// In this order; one that fails ends the row.
    pub steps: Vec<Step>,
    /// Said when it is new.
    pub warning: Option<String>,
}

/// What is remembered from one look to the next.
#[derive(Clone, Debug, Default)]
pub struct Keeper {
    looked: Option<Duration>,
    cured: Option<Duration>,
    /// The last cure left no history.
    drained: bool,
    /// The same before the last cure, and when one of its steps failed.
    before: (Option<Duration>, bool),
    failed: Option<Duration>,
    warned: Option<String>,
}

impl Keeper {
    /// Looks; `now` is from a monotonic clock.
    pub fn look(&mut self, sight: &Sight, now: Duration) -> Care {
        let mut care =
            if sight.full.is_empty() { self.keep(sight, now) } else { self.cure(sight, now) };
        if care.warning == self.warned {
            care.warning = None;
        } else {
            self.warned.clone_from(&care.warning);
        }
        care
    }

    /// A step of the last [`Care`] failed, so none after it was done: what was no cure does not
    /// count as one.
    pub fn failed(&mut self, now: Duration) {
        (self.cured, self.drained) = self.before;
        self.failed = Some(now);
    }

    /// The store is full: history goes, each member gives its free space back, and the alarms end.
    fn cure(&mut self, sight: &Sight, now: Duration) -> Care {
        if self.failed.is_some_and(|failed| now.saturating_sub(failed) < AGAIN) {
            return Care { steps: Vec::new(), warning: self.warned.clone() };
        }
        self.before = (self.cured, self.drained);
        let again = self.cured.is_some_and(|cured| now.saturating_sub(cured) < CURED);
        if again && sight.has_room() {
            // Each member raises its own alarm, and some do while others are cured already.
            let steps = sight.full.iter().map(|id| Step::Disarm(*id)).collect();
            return Care { steps, warning: None };
        }
        if again && self.drained {
            let warning = "the store is full again and takes no writes; find out what fills it, \
                and delete what is not needed";
            return Care { steps: Vec::new(), warning: Some(warning.into()) };
        }
        // What was left of the history may be what fills it.
        let kept = if again { 0 } else { KEPT.min(sight.revision / 2) };
        (self.cured, self.drained) = (Some(now), again);
        let mut steps = vec![Step::Compact(sight.revision - kept)];
        steps.extend(leader_last(sight).into_iter().map(|m| Step::Defragment(m.id)));
        steps.extend(sight.full.iter().map(|id| Step::Disarm(*id)));
        let warning = "the store is full and takes no writes: its history is dropped to make room";
        Care { steps, warning: Some(warning.into()) }
    }

    fn keep(&mut self, sight: &Sight, now: Duration) -> Care {
        let warning = crowded(sight.quota, &sight.members);
        self.before = (self.cured, self.drained);
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK) {
            return Care { steps: Vec::new(), warning };
        }
        self.looked = Some(now);
        let step = wasteful(sight).and_then(|member| give_back(sight, member));
        Care { steps: step.into_iter().collect(), warning }
    }
}

/// What any host's status says about space: the decider's warnings reach only its own log.
pub fn notice(quota: u64, members: &[Usage], full: bool) -> Option<String> {
    let said = "the store is full and takes no writes until there is room again; delete what is \
        not needed if this lasts";
    full.then(|| said.to_owned()).or_else(|| crowded(quota, members))
}

/// The fullest member, when it is close to the quota.
fn crowded(quota: u64, members: &[Usage]) -> Option<String> {
    let fullest = members.iter().map(|m| m.used).max()?;
    let crowded = fullest.saturating_mul(100) > quota.saturating_mul(WARN_PERCENT);
    // In steps of ten, so that it is not said again with each write.
    let tens = fullest.saturating_mul(10).checked_div(quota)?.min(10) * 10;
    let quota = quota >> 20;
    crowded.then(|| {
        format!(
            "the store holds more than {tens} % of the {quota} MiB that it may; nothing can \
            be written when it is full"
        )
    })
}

/// A member with much free space on its disk: one at a time, the leader last.
fn wasteful(sight: &Sight) -> Option<Usage> {
    let wastes = |m: &Usage| {
        let free = m.bytes.saturating_sub(m.used);
        free > WORTH && free.saturating_mul(2) > m.bytes
    };
    leader_last(sight).into_iter().find(wastes)
}

/// A member is deaf while it gives space back, so another one must be able to fail meanwhile.
fn give_back(sight: &Sight, member: Usage) -> Option<Step> {
    if sight.slack < 1 {
        return None;
    }
    if member.id != sight.leader {
        return Some(Step::Defragment(member.id));
    }
    let heir = sight.members.iter().filter(|m| m.voter && m.id != member.id).map(|m| m.id).max();
    heir.map(Step::MoveLeader)
}

fn leader_last(sight: &Sight) -> Vec<Usage> {
    let mut members = sight.members.clone();
    members.sort_by_key(|m| (m.id == sight.leader, m.id));
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn usage(id: u64, bytes: u64, used: u64) -> Usage {
        Usage { id, voter: true, bytes: bytes * MIB, used: used * MIB }
    }

    fn sight(members: &[Usage]) -> Sight {
        Sight {
            quota: 2_048 * MIB,
            members: members.to_vec(),
            leader: 1,
            slack: 1,
            full: Vec::new(),
            revision: 50_000,
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_full_store_is_cured_in_order_then_without_history_and_not_a_third_time() {
        let mut keeper = Keeper::default();
        let members = [1, 2, 3].map(|id| usage(id, 2_040, 2_040));
        let full = Sight { full: vec![3, 1], ..sight(&members) };
        let care = keeper.look(&full, seconds(0));
        assert_eq!(
            care.steps,
            [
                Step::Compact(49_000),
                Step::Defragment(2),
                Step::Defragment(3),
                Step::Defragment(1),
                Step::Disarm(3),
                Step::Disarm(1),
            ]
        );
        assert!(care.warning.is_some_and(|text| text.contains("takes no writes")));
        let harder = keeper.look(&full, seconds(1)).steps;
        assert_eq!(harder[0], Step::Compact(50_000), "the history that was left goes, too");
        assert_eq!(harder.len(), 6);
        let again = keeper.look(&full, seconds(600));
        assert_eq!(again.steps, []);
        assert!(again.warning.is_some_and(|text| text.contains("full again")));
        assert_eq!(keeper.look(&full, seconds(600)).warning, None, "it is said once");
        assert_eq!(keeper.look(&full, seconds(601)).steps.len(), 6);
    }

    #[test]
    fn an_alarm_that_was_raised_during_the_cure_ends_once_there_is_room() {
        let mut keeper = Keeper::default();
        let before = [usage(1, 2_048, 2_048), usage(2, 2_048, 2_048)];
        let full = Sight { full: vec![1], ..sight(&before) };
        assert_eq!(keeper.look(&full, seconds(0)).steps.last(), Some(&Step::Disarm(1)));
        let after = [usage(1, 1_700, 1_700), usage(2, 1_700, 1_700)];
        let late = Sight { full: vec![2], ..sight(&after) };
        assert_eq!(
            keeper.look(&late, seconds(1)),
            Care { steps: vec![Step::Disarm(2)], warning: None }
        );
    }

    #[test]
    fn a_cure_that_failed_is_none_and_is_tried_again_after_a_pause() {
        let mut keeper = Keeper::default();
        let members = [usage(1, 2_040, 2_040), usage(2, 2_040, 2_040)];
        let full = Sight { full: vec![1], ..sight(&members) };
        let first =
            |keeper: &mut Keeper, at| keeper.look(&full, seconds(at)).steps.first().copied();
        let kept = Some(Step::Compact(49_000));
        assert_eq!(first(&mut keeper, 0), kept);
        keeper.failed(seconds(2));
        let pause = keeper.look(&full, seconds(6));
        assert_eq!(pause, Care::default(), "and nothing is said twice");
        assert_eq!(
            first(&mut keeper, 7),
            kept,
            "the history is kept: this is the first cure still"
        );
        assert_eq!(first(&mut keeper, 8), Some(Step::Compact(50_000)), "now it is the second");
        keeper.failed(seconds(9));
        assert_eq!(first(&mut keeper, 14), Some(Step::Compact(50_000)), "which is owed, too");
        assert_eq!(first(&mut keeper, 20), None, "a third one is none");
    }

    #[test]
    fn what_else_fails_takes_back_no_cure() {
        let mut keeper = Keeper::default();
        let full = Sight { full: vec![1], ..sight(&[usage(1, 2_040, 2_040)]) };
        keeper.look(&full, seconds(0));
        let waste = sight(&[usage(1, 300, 100), usage(2, 300, 100)]);
        assert_eq!(keeper.look(&waste, seconds(1)).steps, [Step::Defragment(2)]);
        keeper.failed(seconds(2));
        let harder = keeper.look(&full, seconds(10)).steps;
        assert_eq!(harder.first(), Some(&Step::Compact(50_000)));
    }

    #[test]
    fn a_short_history_is_halved_rather_than_kept() {
        let full = Sight { full: vec![1], revision: 210, ..sight(&[usage(1, 4, 4)]) };
        let care = Keeper::default().look(&full, seconds(0));
        assert_eq!(care.steps[0], Step::Compact(105));
    }

    #[test]
    fn free_space_is_given_back_one_member_at_a_time_and_the_leader_hands_over_first() {
        let mut keeper = Keeper::default();
        let all = [usage(1, 300, 100), usage(2, 300, 100), usage(3, 300, 100)];
        assert_eq!(keeper.look(&sight(&all), seconds(0)).steps, [Step::Defragment(2)]);
        let rest = [usage(1, 300, 100), usage(2, 100, 100), usage(3, 300, 100)];
        assert_eq!(keeper.look(&sight(&rest), seconds(29)).steps, [], "not yet");
        assert_eq!(keeper.look(&sight(&rest), seconds(30)).steps, [Step::Defragment(3)]);
        let last = [usage(1, 300, 100), usage(2, 100, 100), usage(3, 100, 100)];
        assert_eq!(keeper.look(&sight(&last), seconds(60)).steps, [Step::MoveLeader(3)]);
    }

    #[test]
    fn nobody_is_made_deaf_for_little_or_when_nobody_else_may_fail() {
        for (members, slack) in [
            ([usage(1, 300, 100), usage(2, 300, 100)], 0),
            // Little in bytes, then little of the whole.
            ([usage(1, 128, 1), usage(2, 128, 1)], 1),
            ([usage(1, 1_000, 500), usage(2, 1_000, 600)], 1),
        ] {
            let seen = Sight { slack, ..sight(&members) };
            assert_eq!(Keeper::default().look(&seen, seconds(0)).steps, [], "{members:?}");
        }
    }

    #[test]
    fn a_status_says_that_the_store_is_full_or_nearly_so() {
        let said = |used, full| notice(2_048 * MIB, &[usage(1, 2_000, used)], full);
        assert_eq!(said(1_600, false), None);
        assert!(said(1_700, false).is_some_and(|text| text.contains("more than 80 %")));
        assert!(said(1_600, true).is_some_and(|text| text.contains("takes no writes")));
    }

    #[test]
    fn a_store_that_fills_up_is_warned_of_in_steps() {
        let mut keeper = Keeper::default();
        let mut warned =
            |used| keeper.look(&sight(&[usage(1, 2_000, used)]), seconds(0)).warning.is_some();
        let said = [1_600, 1_700, 1_710, 1_900, 1_900].map(&mut warned);
        assert_eq!(said, [false, true, false, true, false]);
    }
}
