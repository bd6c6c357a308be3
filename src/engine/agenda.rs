//! What is due when, and the one time that was asked for.
//!
//! Refuses to know what is due: each slot has one time, that of its next thing.

use std::collections::BTreeSet;

use super::Timestamp;
use crate::ident::ResourceId;

/// All times that somebody waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    slots: BTreeSet<(Timestamp, usize)>,
    /// When runs of vertices that left the graph are given up.
    gone: BTreeSet<(Timestamp, ResourceId)>,
    /// The time that was asked for and has not come yet.
    asked: Option<Timestamp>,
}

impl Agenda {
    /// Moves a slot from its old time to another.
    pub(super) fn shift(
        &mut self,
        at: usize,
        alarm: &mut Option<Timestamp>,
        new: Option<Timestamp>,
    ) {
        if *alarm == new {
            return;
        }
        if let Some(old) = std::mem::replace(alarm, new) {
            self.slots.remove(&(old, at));
        }
        self.slots.extend(new.map(|new| (new, at)));
    }

    /// The slots have other numbers now.
    pub(super) fn forget_slots(&mut self) {
        self.slots.clear();
    }

    pub(super) fn add_gone(&mut self, due: Timestamp, resource: ResourceId) {
        self.gone.insert((due, resource));
    }

    pub(super) fn remove_gone(&mut self, due: Timestamp, resource: &ResourceId) {
        self.gone.remove(&(due, resource.clone()));
    }

    /// A time that was asked for has come; if it was an earlier one, the right one is asked for
    /// again.
    pub(super) fn woken(&mut self) {
        self.asked = None;
    }

    /// The next slot whose time has come; it has none then.
    pub(super) fn next_slot(&mut self, now: Timestamp) -> Option<usize> {
        let (due, at) = *self.slots.first()?;
        (due <= now).then(|| {
            self.slots.pop_first();
            at
        })
    }

    /// The next vertex that left and whose run is to be given up.
    pub(super) fn next_gone(&mut self, now: Timestamp) -> Option<ResourceId> {
        let due = self.gone.first().is_some_and(|(due, _)| *due <= now);
        due.then(|| self.gone.pop_first())?.map(|(_, resource)| resource)
    }

    /// The time to ask for, if it is not the one that was: the earliest of all and of `other`.
    pub(super) fn ask(&mut self, other: Option<Timestamp>) -> Option<Timestamp> {
        let slot = self.slots.first().map(|(due, _)| *due);
        let gone = self.gone.first().map(|(due, _)| *due);
        let earliest = [slot, gone, other].into_iter().flatten().min()?;
        (self.asked != Some(earliest)).then(|| *self.asked.insert(earliest))
    }
}
