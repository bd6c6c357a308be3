//! What was said of all exports, by what becomes of it.
//!
//! Refuses to look at two of them together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::waiting::Taken;
use super::{Candidate, Verdict};
use crate::collect::{Export, Held};

/// Verdicts, sorted.
pub(super) struct Sorted<'a> {
    pub(super) candidates: Vec<Candidate>,
    pub(super) held: Vec<Held>,
    /// How many exports each rule takes.
    pub(super) counts: Vec<usize>,
    /// What each rule gathers.
    pub(super) gathered: Vec<Vec<&'a Export>>,
}

impl<'a> Sorted<'a> {
    /// Of so many rules. Those that wait go on taking what they took.
    pub(super) fn of(
        rules: usize,
        exports: &'a [Arc<Export>],
        verdicts: &[Arc<[Verdict]>],
        waiting: &'a BTreeMap<usize, Vec<Taken>>,
    ) -> Self {
        let mut sorted = Sorted {
            candidates: Vec::new(),
            held: Vec::new(),
            counts: vec![0; rules],
            gathered: vec![Vec::new(); rules],
        };
        for (export, verdicts) in exports.iter().zip(verdicts) {
            let now = |one: &&Verdict| one.rule().is_none_or(|at| !waiting.contains_key(&at));
            verdicts.iter().filter(now).for_each(|verdict| sorted.take(export, verdict));
        }
        for (rule, taken) in waiting {
            for (export, verdicts) in taken {
                let mine = |one: &&Verdict| one.rule() == Some(*rule);
                verdicts.iter().filter(mine).for_each(|verdict| sorted.take(export, verdict));
            }
        }
        sorted
    }

    fn take(&mut self, export: &'a Export, verdict: &Verdict) {
        match verdict {
            Verdict::Taken(at, candidate) => {
                self.counts[*at] += 1;
                self.candidates.push(candidate.clone());
            }
            Verdict::Gathered(at) => {
                self.counts[*at] += 1;
                self.gathered[*at].push(export);
            }
            Verdict::Held(reason) => self.held.push(reason.clone()),
        }
    }
}
