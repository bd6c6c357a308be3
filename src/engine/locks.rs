//! The locks that runs hold, and who waits for them.
//!
//! A run gets all of its locks at once or none, and nobody is overtaken by a later one that wants
//! the same lock. So nobody waits for ever: whoever waits longest is hindered only by runs, and
//! runs end. Refuses to know why somebody wants to run.

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::Semaphore;

/// A place in the queues: lower is earlier.
pub(super) type Ticket = u64;

/// One lock.
#[derive(Clone, Debug, Default)]
struct Lock {
    held: usize,
    /// Who waits, with their slots.
    queue: BTreeSet<(Ticket, usize)>,
}

/// All locks that somebody holds or wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks {
    all: BTreeMap<Semaphore, Lock>,
    /// Locks whose queue or holders changed since they were looked at.
    stirred: BTreeSet<Semaphore>,
    tickets: Ticket,
}

impl Locks {
    /// The next place.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// Waits for these locks; nothing happens when it already does.
    pub(super) fn join(&mut self, ticket: Ticket, at: usize, locks: &[Semaphore]) {
        for one in locks {
            if self.all.entry(one.clone()).or_default().queue.insert((ticket, at)) {
                self.stirred.insert(one.clone());
            }
        }
    }

    /// Waits no longer.
    pub(super) fn leave(&mut self, ticket: Ticket, at: usize, locks: &[Semaphore]) {
        for one in locks {
            self.change(one, |lock| {
                lock.queue.remove(&(ticket, at));
            });
        }
    }

    /// A run that held these locks has ended.
    pub(super) fn release(&mut self, locks: &[Semaphore]) {
        for one in locks {
            self.change(one, |lock| lock.held = lock.held.saturating_sub(1));
        }
    }

    /// Gives these locks to somebody who waits for them, if all are free for them now.
    pub(super) fn take(&mut self, ticket: Ticket, at: usize, locks: &[Semaphore]) -> bool {
        let first = |one: &Semaphore| self.first(one).any(|next| next == (ticket, at));
        if !locks.iter().all(first) {
            return false;
        }
        for one in locks {
            let Some(lock) = self.all.get_mut(one) else { continue };
            lock.queue.remove(&(ticket, at));
            lock.held += 1;
        }
        true
    }

    /// Those who may get a lock that changed, as far as that lock is concerned. Gives each lock
    /// once for each change.
    pub(super) fn candidates(&mut self) -> Option<Vec<(Ticket, usize)>> {
        let one = self.stirred.pop_first()?;
        Some(self.first(&one).collect())
    }

    /// Nobody waits any more: the slots have other numbers now.
    pub(super) fn forget_queues(&mut self) {
        self.all.retain(|_, lock| {
            lock.queue.clear();
            lock.held > 0
        });
    }

    /// Those at the head of a queue for whom it has room.
    fn first(&self, one: &Semaphore) -> impl Iterator<Item = (Ticket, usize)> {
        let lock = self.all.get(one);
        let count = usize::try_from(one.count()).unwrap_or(usize::MAX);
        let free = count - lock.map_or(0, |lock| lock.held).min(count);
        lock.into_iter().flat_map(|lock| &lock.queue).take(free).copied()
    }

    fn change(&mut self, one: &Semaphore, change: impl FnOnce(&mut Lock)) {
        let Some(lock) = self.all.get_mut(one) else { return };
        change(lock);
        if lock.held == 0 && lock.queue.is_empty() {
            self.all.remove(one);
        } else {
            self.stirred.insert(one.clone());
        }
    }
}
