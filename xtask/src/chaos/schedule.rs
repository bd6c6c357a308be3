//! A number to a schedule of faults: the same number gives the same schedule. Pure.
//!
//! It only plans what can be done to nodes in the state that the plan itself has brought them to.
//! Whatever is broken at the end is repaired by whoever runs it.

use std::fmt;
use std::time::Duration;

/// The least and the most time from one fault to the next.
const GAP_MS: (u64, u64) = (700, 3500);
/// One step of so many is a power cut of all: nothing is answered for a while after it.
const KILL_ALL: u64 = 24;
/// Fewer nodes than this are not left.
const LEAST: usize = 4;
/// How many may be wanted to vote.
const SIZES: [u8; 3] = [1, 3, 5];

/// Something that is done to nodes, which are known by their numbers from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Its power fails.
    Kill(u8),
    /// They lose power at once.
    KillAll(Vec<u8>),
    /// It is shut down.
    Stop(u8),
    /// It comes back with its disk.
    Start(u8),
    /// It hangs.
    Pause(u8),
    /// It goes on.
    Unpause(u8),
    /// It leaves for good.
    Leave(u8),
    /// It joins, with an empty disk.
    Join(u8),
    /// These are cut off from all others.
    Cut(Vec<u8>),
    /// Every cut ends.
    Heal,
    /// A node is told how many are to vote. Without a quorum it refuses.
    Resize(u8, u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Kill(n) => write!(f, "kill h{n}"),
            Action::KillAll(nodes) => write!(f, "kill {}", hosts(nodes)),
            Action::Stop(n) => write!(f, "stop h{n}"),
            Action::Start(n) => write!(f, "start h{n}"),
            Action::Pause(n) => write!(f, "pause h{n}"),
            Action::Unpause(n) => write!(f, "unpause h{n}"),
            Action::Leave(n) => write!(f, "leave h{n}"),
            Action::Join(n) => write!(f, "join h{n}"),
            Action::Cut(nodes) => write!(f, "cut {}", hosts(nodes)),
            Action::Heal => f.write_str("heal"),
            Action::Resize(n, size) => write!(f, "size {size} by h{n}"),
        }
    }
}

/// `h1,h2`.
pub(super) fn hosts(nodes: &[u8]) -> String {
    let names: Vec<String> = nodes.iter().map(|n| format!("h{n}")).collect();
    names.join(",")
}

/// An action and when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// From the beginning.
    pub(super) at: Duration,
    /// What is done.
    pub(super) action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Up,
    Down,
    Paused,
    Gone,
}

/// What the plan has done so far.
struct World {
    nodes: Vec<Fate>,
    cut: bool,
    /// Only one may vote from here on: a later resize may be refused.
    alone: bool,
    /// Who joins needs a token, which only nodes with a quorum make.
    tokens: bool,
}

impl World {
    fn new(nodes: u8, tokens: bool) -> World {
        World { nodes: vec![Fate::Up; usize::from(nodes)], cut: false, alone: false, tokens }
    }

    fn of(&self, fate: Fate) -> Vec<u8> {
        (1u8..).zip(&self.nodes).filter(|(_, own)| **own == fate).map(|(n, _)| n).collect()
    }

    fn set(&mut self, node: u8, fate: Fate) {
        if let Some(own) = self.nodes.get_mut(usize::from(node).saturating_sub(1)) {
            *own = fate;
        }
    }

    /// All that can be done now; mostly repairs when much is broken, so that clients get answers
    /// that can be judged.
    fn choices(&self, dice: &mut Dice) -> Vec<Action> {
        let mut choices = Vec::new();
        let (up, down) = (self.of(Fate::Up), self.of(Fate::Down));
        let (paused, gone) = (self.of(Fate::Paused), self.of(Fate::Gone));
        let broken = down.len() + paused.len() + usize::from(self.cut);
        let calm = broken < 2 || dice.below(4) == 0;
        let mut one = |nodes: &[u8], make: fn(u8) -> Action| {
            choices.extend(dice.pick(nodes).map(|node| make(*node)));
        };
        one(&down, Action::Start);
        one(&paused, Action::Unpause);
        if broken == 0 || !self.tokens {
            one(&gone, Action::Join);
        }
        if calm && up.len() * 2 > self.nodes.len() {
            one(&up, Action::Kill);
            one(&up, Action::Stop);
            one(&up, Action::Pause);
            // Who leaves needs the others to let it go; the only voter may keep its data instead,
            // and its node would be removed with them.
            let whole = up.len() == self.nodes.len() - gone.len() && !self.cut;
            if whole && up.len() >= LEAST && !self.alone {
                one(&up, Action::Leave);
            }
        }
        if let (Some(node), Some(size)) = (dice.pick(&up), dice.pick(&SIZES)) {
            choices.push(Action::Resize(*node, *size));
        }
        if self.cut {
            choices.push(Action::Heal);
        } else if calm && up.len() > 2 {
            choices.push(Action::Cut(dice.some(&up)));
        }
        if dice.below(KILL_ALL) == 0 && paused.is_empty() && !up.is_empty() {
            choices = vec![Action::KillAll(up)];
        }
        choices
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Kill(n) | Action::Stop(n) => self.set(*n, Fate::Down),
            Action::KillAll(nodes) => nodes.iter().for_each(|n| self.set(*n, Fate::Down)),
            Action::Start(n) | Action::Unpause(n) | Action::Join(n) => self.set(*n, Fate::Up),
            Action::Pause(n) => self.set(*n, Fate::Paused),
            Action::Leave(n) => self.set(*n, Fate::Gone),
            Action::Cut(_) => self.cut = true,
            Action::Heal => self.cut = false,
            Action::Resize(_, size) => self.alone |= *size == 1,
        }
    }
}

/// Plans a schedule for so many nodes over this time; `tokens` are needed to join or not.
pub(super) fn plan(seed: u64, nodes: u8, over: Duration, tokens: bool) -> Vec<Event> {
    let mut dice = Dice(seed);
    let mut world = World::new(nodes, tokens);
    let mut events = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(GAP_MS.0 + dice.below(GAP_MS.1 - GAP_MS.0));
        if at >= over {
            return events;
        }
        let choices = world.choices(&mut dice);
        let Some(action) = dice.pick(&choices).cloned() else { continue };
        world.apply(&action);
        events.push(Event { at, action });
    }
}

/// Numbers that look random and follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len() as u64);
        from.get(usize::try_from(index).unwrap_or(0))
    }

    /// At least one of them, and not all.
    fn some(&mut self, from: &[u8]) -> Vec<u8> {
        let count = 1 + self.below(from.len().saturating_sub(1) as u64);
        let mut left = from.to_vec();
        let mut some = Vec::new();
        for _ in 0..count {
            if let Some(node) = self.pick(&left).copied() {
                left.retain(|other| *other != node);
                some.push(node);
            }
        }
        some.sort_unstable();
        some
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OVER: Duration = Duration::from_secs(30);

    #[test]
    fn a_seed_gives_the_same_schedule_each_time_and_another_one_another() {
        assert_eq!(plan(7, 5, OVER, false), plan(7, 5, OVER, false));
        assert_ne!(plan(7, 5, OVER, false), plan(8, 5, OVER, false));
    }

    #[test]
    fn two_hundred_schedules_hold_every_kind_of_fault_and_nothing_that_cannot_be_done() {
        let mut kinds = BTreeSet::new();
        for seed in 1..=200 {
            let tokens = seed % 2 == 0;
            let mut world = World::new(5, tokens);
            let events = plan(seed, 5, OVER, tokens);
            assert!((8..=42).contains(&events.len()), "{seed}: {}", events.len());
            for Event { at, action } in events {
                assert!(at < OVER);
                let text = action.to_string();
                kinds.insert(text.split(' ').next().unwrap_or_default().to_owned());
                let fate = |n: &u8| world.nodes[usize::from(*n) - 1];
                let fits = match &action {
                    Action::Kill(n) | Action::Stop(n) | Action::Pause(n) => fate(n) == Fate::Up,
                    Action::Leave(n) => fate(n) == Fate::Up && !world.cut && !world.alone,
                    Action::Resize(n, size) => fate(n) == Fate::Up && SIZES.contains(size),
                    Action::Start(n) => fate(n) == Fate::Down,
                    Action::Unpause(n) => fate(n) == Fate::Paused,
                    Action::Join(n) => {
                        let whole = world.of(Fate::Down).len() + world.of(Fate::Paused).len() == 0;
                        fate(n) == Fate::Gone && (!tokens || (whole && !world.cut))
                    }
                    Action::KillAll(all) => *all == world.of(Fate::Up),
                    Action::Cut(some) => {
                        !world.cut && some.len() < world.of(Fate::Up).len() && !some.is_empty()
                    }
                    Action::Heal => world.cut,
                };
                assert!(fits, "{seed}: {text}");
                world.apply(&action);
                assert!(5 - world.of(Fate::Gone).len() >= LEAST - 1, "{seed}: {text}");
            }
        }
        let all =
            ["cut", "heal", "join", "kill", "leave", "pause", "size", "start", "stop", "unpause"];
        assert!(all.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    }
}
