//! What clients did and what was answered, and whether that can be true of one register that never
//! forgets. Pure.
//!
//! Four things are checked. Every write that was acknowledged is there at the end. Of all swaps of
//! a counter from one number to the next, no two succeed to the same number. And no answer is older
//! than one that had been given before its question was asked: neither its value nor the revision
//! of the store that it carries. And no two members say of one term that different ones were
//! elected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A writer's next number, under a key of its own.
    Put { writer: u8, number: u64 },
    /// The counter from the number before to this one.
    Swap { to: u64 },
    /// The counter, linearizable: what was read.
    Read { value: u64 },
}

/// An answered question. Those that were not answered prove nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Op {
    /// Microseconds from the start until it was asked.
    pub(super) begin: u64,
    /// Microseconds from the start until it was answered.
    pub(super) end: u64,
    /// The node that answered.
    pub(super) node: u8,
    /// What it was.
    pub(super) act: Act,
    /// The store's revision in the answer.
    pub(super) revision: u64,
    /// The cluster's id in the answer.
    pub(super) cluster: u64,
}

impl Op {
    pub(super) fn json(&self) -> Value {
        let (what, value) = match self.act {
            Act::Put { writer, number } => (format!("put{writer}"), number),
            Act::Swap { to } => ("swap".to_owned(), to),
            Act::Read { value } => ("read".to_owned(), value),
        };
        json!([self.begin, self.end, format!("h{}", self.node), what, value, self.revision])
    }

    fn counter(&self) -> Option<u64> {
        match self.act {
            Act::Put { .. } => None,
            Act::Swap { to } => Some(to),
            Act::Read { value } => Some(value),
        }
    }
}

/// What is wrong, by kind; all empty when nothing is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged writes that are not there, as `writer/number`.
    pub(super) lost: Vec<String>,
    /// Numbers to which the counter was swapped more than once, or that it had passed.
    pub(super) twice: Vec<u64>,
    /// Answers that were older than one before them.
    pub(super) stale: Vec<String>,
    /// How many clusters answered, beyond one.
    pub(super) clusters: usize,
    /// Terms with more than one leader.
    pub(super) split: Vec<u64>,
}

impl Verdict {
    pub(super) fn fine(&self) -> bool {
        *self == Verdict::default()
    }
}

/// Judges a history by what was there at the end: the numbers of each writer, and the counter.
pub(super) fn judge(ops: &[Op], kept: &BTreeSet<(u8, u64)>, counter: u64) -> Verdict {
    let mut verdict = Verdict { stale: stale(ops), ..Verdict::default() };
    let mut swaps: BTreeMap<u64, usize> = BTreeMap::new();
    for op in ops {
        match op.act {
            Act::Put { writer, number } if !kept.contains(&(writer, number)) => {
                verdict.lost.push(format!("{writer}/{number}"));
            }
            Act::Swap { to } => *swaps.entry(to).or_default() += 1,
            _ => {}
        }
    }
    let wrong = |(to, count): (&u64, &usize)| (*count > 1 || *to > counter).then_some(*to);
    verdict.twice = swaps.iter().filter_map(wrong).collect();
    let clusters: BTreeSet<u64> = ops.iter().map(|op| op.cluster).collect();
    verdict.clusters = clusters.len().saturating_sub(1);
    verdict
}

/// What members' logs say of elections, each by its term: the leaders that somebody saw elected in
/// it. Other lines are not looked at.
pub(super) fn elections(log: &str) -> BTreeMap<u64, BTreeSet<String>> {
    let mut seen: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once(" elected leader ") else { continue };
        let Some((leader, rest)) = rest.split_once(" at term ") else { continue };
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        if let Ok(term) = digits.parse() {
            seen.entry(term).or_default().insert(leader.to_owned());
        }
    }
    seen
}

/// The terms in which more than one was elected.
pub(super) fn split(elections: &BTreeMap<u64, BTreeSet<String>>) -> Vec<u64> {
    elections.iter().filter(|(_, leaders)| leaders.len() > 1).map(|(term, _)| *term).collect()
}

fn stale(ops: &[Op]) -> Vec<String> {
    let mut by_begin: Vec<&Op> = ops.iter().collect();
    by_begin.sort_by_key(|op| op.begin);
    let mut by_end: Vec<&Op> = ops.iter().collect();
    by_end.sort_by_key(|op| op.end);
    let mut ended = by_end.into_iter().peekable();
    let (mut counter, mut revision) = (0, 0);
    let mut stale = Vec::new();
    for op in by_begin {
        while let Some(before) = ended.next_if(|before| before.end < op.begin) {
            counter = before.counter().unwrap_or(0).max(counter);
            revision = before.revision.max(revision);
        }
        if op.counter().is_some_and(|seen| seen < counter) {
            let seen = op.counter().unwrap_or(0);
            stale.push(format!("h{} said {seen} at {} us, after {counter}", op.node, op.begin));
        } else if op.revision < revision {
            let seen = op.revision;
            let text = format!("h{} said revision {seen} at {} us", op.node, op.begin);
            stale.push(format!("{text}, after {revision}"));
        }
    }
    stale
}

/// The longest time between two acknowledged writes.
pub(super) fn largest_gap(ops: &[Op]) -> u64 {
    let writes = ops.iter().filter(|op| !matches!(op.act, Act::Read { .. }));
    let mut ends: Vec<u64> = writes.map(|op| op.end).collect();
    ends.sort_unstable();
    ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(begin: u64, end: u64, act: Act, revision: u64) -> Op {
        Op { begin, end, node: 1, act, revision, cluster: 9 }
    }

    fn read(begin: u64, end: u64, value: u64) -> Op {
        op(begin, end, Act::Read { value }, 5)
    }

    fn swap(begin: u64, end: u64, to: u64) -> Op {
        op(begin, end, Act::Swap { to }, 5)
    }

    #[test]
    fn answers_that_overlap_may_be_of_any_order_and_later_ones_must_not_be_older() {
        for (ops, stale) in [
            (vec![swap(0, 10, 1), read(11, 12, 1)], 0),
            (vec![swap(0, 10, 1), read(11, 12, 0)], 1),
            (vec![swap(0, 10, 1), read(10, 12, 0)], 0),
            (vec![read(0, 5, 2), read(6, 7, 1), read(6, 9, 2)], 1),
            (vec![swap(0, 30, 2), read(5, 6, 2), read(7, 8, 1)], 1),
            (vec![op(0, 1, Act::Put { writer: 1, number: 1 }, 9), read(2, 3, 0)], 1),
            (vec![read(2, 3, 0), op(2, 4, Act::Put { writer: 1, number: 1 }, 9)], 0),
        ] {
            assert_eq!(super::stale(&ops).len(), stale, "{ops:?}");
        }
    }

    #[test]
    fn a_write_that_was_acknowledged_and_is_gone_is_lost() {
        let put = |number| op(0, 1, Act::Put { writer: 2, number }, 5);
        let ops = [put(1), put(2), put(3)];
        let kept = BTreeSet::from([(2, 1), (2, 3), (1, 2), (2, 4)]);
        assert_eq!(judge(&ops, &kept, 0).lost, ["2/2"]);
        assert!(judge(&ops[..1], &kept, 0).fine());
    }

    #[test]
    fn two_swaps_to_one_number_or_beyond_the_end_and_two_clusters_are_wrong() {
        let none = BTreeSet::new();
        let ops = [swap(0, 1, 1), swap(2, 3, 2), swap(2, 4, 2), swap(5, 6, 3)];
        assert_eq!(judge(&ops, &none, 3).twice, [2]);
        assert_eq!(judge(&ops, &none, 2).twice, [2, 3]);
        let other = Op { cluster: 8, ..swap(7, 8, 4) };
        assert_eq!(judge(&[swap(5, 6, 3), other], &none, 4).clusters, 1);
    }

    #[test]
    fn a_term_with_two_leaders_is_split_and_one_that_many_tell_of_is_not() {
        let line = |leader: &str, term: u64| {
            let text = format!("raft.node: b1 elected leader {leader} at term {term}");
            format!("{{\"level\":\"info\",\"msg\":\"{text}\"}}\n")
        };
        let log = [line("a1", 2), line("a1", 2), line("b1", 3), line("a1", 14), line("c1", 14)];
        let seen = elections(&format!("{}other text at term 3\n", log.concat()));
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [2, 3, 14]);
        assert_eq!(split(&seen), [14]);
    }

    #[test]
    fn the_largest_gap_is_between_acknowledged_writes_only() {
        let ops = [swap(0, 10, 1), read(11, 50, 1), swap(20, 90, 2), swap(1, 30, 3)];
        assert_eq!(largest_gap(&ops), 60);
        assert_eq!(largest_gap(&ops[..1]), 0);
    }
}
