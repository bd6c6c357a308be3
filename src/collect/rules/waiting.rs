//! A rule that waits takes what changes for it once nothing has changed for a while: exporters that
//! change one after the other make one new graph instead of many.
//!
//! Refuses to read a clock, and to wait for what is known for the first time, or judged anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Rule, Rules, Verdict};
use crate::collect::Export;
use crate::spec::rule::Wait;

/// One export that a rule takes, with all that was said of it.
pub(super) type Taken = (Arc<Export>, Arc<[Verdict]>);

/// What each rule that waits took last, and since when it is something else.
#[derive(Default)]
pub(super) struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    now: Duration,
    /// All exports are known that the rules want.
    complete: bool,
    /// The circumstances under which all was judged.
    epoch: u64,
    rules: BTreeMap<Arc<str>, Turn>,
}

/// One rule.
#[derive(Default)]
struct Turn {
    /// What it took last.
    taken: Vec<Taken>,
    /// All was known then.
    complete: bool,
    change: Option<Change>,
}

/// What differs from what was taken.
struct Change {
    /// What there is now.
    seen: Vec<Taken>,
    /// When the first difference came, and when the last one.
    first: Duration,
    last: Duration,
    due: Duration,
}

impl Waiting {
    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is this time now; `complete` says that all is known that the rules want.
    pub(super) fn at(&self, now: Duration, complete: bool) {
        self.state(|state| (state.now, state.complete) = (now, complete));
    }

    /// All is known that the rules want.
    pub(super) fn is_complete(&self) -> bool {
        self.state(|state| state.complete)
    }

    /// When the first rule takes what has changed.
    pub(super) fn next(&self) -> Option<Duration> {
        self.state(|state| {
            state.rules.values().filter_map(|turn| Some(turn.change.as_ref()?.due)).min()
        })
    }

    /// What the rules that wait now, by their numbers, go on taking in the place of what there is.
    pub(super) fn of(
        &self,
        rules: &Rules<'_>,
        exports: &[Arc<Export>],
        verdicts: &[Arc<[Verdict]>],
        epoch: u64,
    ) -> BTreeMap<usize, Vec<Taken>> {
        let all = rules.all.iter().enumerate().filter_map(|(at, rule)| match rule {
            Rule::Full(ready) => Some((at, &ready.rule.id, ready.rule.wait?)),
            Rule::Legacy(_) => None,
        });
        let all: Vec<(usize, &Arc<str>, Wait)> = all.collect();
        if all.is_empty() {
            return BTreeMap::new();
        }
        self.state(|state| {
            let anew = std::mem::replace(&mut state.epoch, epoch) != epoch;
            let mut waiting = BTreeMap::new();
            for (at, id, wait) in all {
                let mine = |(_, verdicts): &(&Arc<Export>, &Arc<[Verdict]>)| {
                    verdicts.iter().any(|verdict| verdict.rule() == Some(at))
                };
                let seen = exports.iter().zip(verdicts).filter(mine);
                let seen = seen.map(|(export, said)| (export.clone(), said.clone())).collect();
                let (now, complete) = (state.now, state.complete);
                let turn = state.rules.entry(Arc::clone(id)).or_default();
                if anew || !turn.complete {
                    *turn = Turn { taken: seen, complete, change: None };
                } else if turn.waits(seen, now, wait) {
                    waiting.insert(at, turn.taken.clone());
                }
            }
            waiting
        })
    }
}

impl Turn {
    /// Takes note of what there is now; true as long as that is not taken.
    fn waits(&mut self, seen: Vec<Taken>, now: Duration, wait: Wait) -> bool {
        if same(&seen, &self.taken) {
            (self.taken, self.change) = (seen, None);
            return false;
        }
        let (first, last) = match &self.change {
            Some(before) if same(&before.seen, &seen) => (before.first, before.last),
            Some(before) => (before.first, now),
            None => (now, now),
        };
        let due = last.saturating_add(wait.quiet).min(first.saturating_add(wait.max));
        if now >= due {
            (self.taken, self.change) = (seen, None);
            return false;
        }
        self.change = Some(Change { seen, first, last, due });
        true
    }
}

/// Whether these say the same, whenever they were written.
fn same(one: &[Taken], other: &[Taken]) -> bool {
    let alike = |((a, _), (b, _)): (&Taken, &Taken)| {
        Arc::ptr_eq(a, b)
            || (&a.address, &a.content, &a.labels, &a.to)
                == (&b.address, &b.content, &b.labels, &b.to)
    };
    one.len() == other.len() && one.iter().zip(other).all(alike)
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("next", &self.next()).finish_non_exhaustive()
    }
}
