//! The end of a run: what it means for its vertex, and whom it concerns.
//!
//! Refuses to start anything.

use std::time::Duration;

use super::slot::{Phase, Run};
use super::{Engine, RunId, Timestamp, VertexId};
use crate::kind::Outcome;
use crate::spec::{Fields, Semaphore};

/// A run of a vertex that left the graph.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub(super) vertex: VertexId,
    pub(super) run: RunId,
    pub(super) locks: Vec<Semaphore>,
    /// When it is given up; `None` also when that was said.
    pub(super) deadline: Option<Timestamp>,
    pub(super) cancelled: bool,
}

/// What came of a run.
pub(super) struct End {
    pub(super) vertex: VertexId,
    pub(super) run: RunId,
    pub(super) result: Result<Outcome, String>,
    pub(super) sent: Fields,
}

/// What is wrong with a run that took longer than this.
pub fn no_result_within(limit: Duration) -> String {
    format!("no result within {} ms", limit.as_millis())
}

impl Engine {
    pub(super) fn finished(&mut self, now: Timestamp, end: End) {
        if self.drained(&end) {
            return;
        }
        let Some(at) = self.find(&end.vertex) else { return };
        let slot = &mut self.slots[at];
        let ended = match &slot.phase {
            Phase::Running(current) if current.id == end.run => **current,
            _ => return,
        };
        self.locks.release(&slot.vertex.meta.sema);
        slot.phase = Phase::Idle;
        slot.seen = ended.seen;
        let looked = std::mem::take(&mut slot.looks);
        let as_before = matches!(end.result, Ok(Outcome::Unchanged | Outcome::WouldChange(_)));
        self.disturbed |= looked && (ended.late || !as_before);
        let in_vain = matches!(end.result, Ok(Outcome::Unchanged));
        if let (true, Some(bucket)) = (ended.echo && !in_vain, &mut slot.bucket) {
            // It was no echo, or not only that.
            bucket.owe(now);
        }
        match end.result {
            Ok(outcome) if ended.late => self.late(now, at, &ended, &outcome),
            Err(_) if ended.late => self.late(now, at, &ended, &Outcome::Unchanged),
            Ok(outcome) => self.succeeded(now, at, &ended, outcome, end.sent),
            Err(why) => self.failed(now, at, &ended, why),
        }
        self.mark(at);
    }

    fn succeeded(
        &mut self,
        now: Timestamp,
        at: usize,
        ended: &Run,
        outcome: Outcome,
        sent: Fields,
    ) {
        let slot = &mut self.slots[at];
        slot.refreshes.retain(|_, event| *event > ended.seen);
        let changed = slot.counts_as_change(ended, &outcome);
        let recovered = std::mem::take(&mut slot.troubled);
        // Who only looks every so often hears no echo of itself, and an echo has none.
        slot.echo = matches!(outcome, Outcome::Changed(_)) && slot.poll.is_none() && !ended.echo;
        slot.last = Some(Ok(outcome));
        if slot.vertex.meta.retryreset {
            slot.retries.used = 0;
        }
        if slot.stirred {
            slot.admit(now);
        }
        self.deliver(at, sent);
        self.tell_successors(at, changed, recovered);
    }

    fn failed(&mut self, now: Timestamp, at: usize, ended: &Run, why: String) {
        let slot = &mut self.slots[at];
        slot.troubled = true;
        slot.tick |= ended.tick;
        slot.echo = false;
        slot.last = Some(Err(why));
        if ended.overtaken {
            // What it needed was made right while it looked, perhaps too late for it to see.
            slot.prompt();
        }
        if slot.stirred {
            slot.admit(now);
        }
        if !slot.is_dirty() {
            slot.retries.failed(&slot.vertex.meta, now);
        } else if slot.poll.is_none() {
            slot.retries.used = 0;
        }
    }

    /// It was given up. What it did all the same is passed on by the next good run.
    fn late(&mut self, now: Timestamp, at: usize, ended: &Run, outcome: &Outcome) {
        let slot = &mut self.slots[at];
        slot.tick |= slot.counts_as_change(ended, outcome);
        let limit = slot.vertex.meta.timeout.unwrap_or_default();
        self.failed(now, at, ended, no_result_within(limit));
    }

    /// Ends the wait for a run of a vertex that left the graph. Its result concerns nobody, but
    /// what it changed is passed on by the next good run of the same resource.
    fn drained(&mut self, end: &End) -> bool {
        let resource = &end.vertex.resource;
        match self.draining.get(resource) {
            Some(gone) if gone.vertex == end.vertex && gone.run == end.run => {}
            _ => return false,
        }
        let Some(gone) = self.draining.remove(resource) else { return false };
        self.locks.release(&gone.locks);
        if let Some(due) = gone.deadline {
            self.agenda.remove_gone(due, resource);
        }
        if let Some(at) = self.position(resource) {
            self.slots[at].tick |= matches!(end.result, Ok(Outcome::Changed(_)));
            self.slots[at].held = false;
            self.mark(at);
        }
        true
    }

    /// Keeps what was sent. Whoever receives a value that is another one than before has a reason
    /// to run.
    fn deliver(&mut self, at: usize, sent: Fields) {
        let slot = &mut self.slots[at];
        let mut new = Vec::new();
        for (key, value) in sent {
            if slot.sent.get(&key) != Some(&value) {
                slot.sent.insert(key.clone(), value);
                new.push(key);
            }
        }
        if new.is_empty() {
            return;
        }
        for k in 0..self.slots[at].successors.len() {
            let to = self.slots[at].successors[k].to;
            let from = &self.slots[at].id.resource;
            let mut receives = self.slots[to].vertex.receives.values();
            if receives.any(|one| one.from == *from && new.iter().any(|key| *key == one.key)) {
                self.slots[to].prompt();
                self.mark(to);
            }
        }
    }

    /// What a vertex receives, as far as it was sent.
    pub(super) fn received(&self, at: usize) -> Fields {
        let value = |from, key: &String| self.slots[self.position(from)?].sent.get(key).cloned();
        let receives = self.slots[at].vertex.receives.iter();
        receives
            .filter_map(|(field, one)| Some((field.clone(), value(&one.from, &one.key)?)))
            .collect()
    }

    /// Passes a good result on: a refresh along notifying edges, and another chance to those that
    /// failed.
    fn tell_successors(&mut self, at: usize, changed: bool, recovered: bool) {
        if !changed && !recovered {
            return;
        }
        for k in 0..self.slots[at].successors.len() {
            let edge = self.slots[at].successors[k];
            let from = (changed && edge.notify).then(|| self.slots[at].id.resource.clone());
            let slot = &mut self.slots[edge.to];
            if let Some(from) = from {
                slot.prompt();
                slot.refreshes.insert(from, slot.events);
            } else if let Phase::Running(run) = &mut slot.phase {
                run.overtaken = true;
            } else if matches!(slot.last, Some(Err(_))) {
                slot.prompt();
            }
            self.mark(edge.to);
        }
    }
}
