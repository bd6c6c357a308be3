//! Taking over a new graph as a difference: what is equal goes on untouched.
//!
//! Refuses to pause anything: only what left, came or changed is told so.

use std::sync::Arc;

use super::end::Gone;
use super::slot::{Phase, Slot, Successor};
use super::view::Tally;
use super::{Command, Engine, Mode, State, Timestamp, VertexId};
use crate::graph::{self, Graph};
use crate::ident::ResourceId;

impl Engine {
    /// Makes `new` the graph that is wanted. After a stop there is no use for one.
    pub(super) fn swap(&mut self, now: Timestamp, new: Arc<Graph>) {
        if matches!(self.mode, Mode::Stopping { .. } | Mode::Stopped) {
            return;
        }
        self.generation += 1;
        if let Some(changed) = self.amended(&new) {
            self.amend(now, &new, &changed);
            self.graph = Some(new);
            return;
        }
        let (kept, removed) = self.part(&new);
        for slot in &removed {
            self.commands.push(Command::Unwatch(slot.id.clone()));
            self.drain(slot);
        }
        self.take_over(now, &new, kept, removed);
        self.link(&new);
        self.rank();
        self.graph = Some(new);
        self.recount();
    }

    /// A run of a vertex that leaves goes on: with its locks, and to its deadline.
    pub(super) fn drain(&mut self, slot: &Slot) {
        let Phase::Running(run) = &slot.phase else { return };
        let resource = &slot.id.resource;
        let deadline = run.deadline.filter(|_| !run.cancelled);
        if let Some(due) = deadline {
            self.agenda.add_gone(due, resource.clone());
        }
        let (vertex, locks) = (slot.id.clone(), slot.vertex.meta.sema.clone());
        let gone = Gone { vertex, run: run.id, locks, deadline, cancelled: run.cancelled };
        self.draining.insert(resource.clone(), gone);
    }

    /// Splits the slots into those that the new graph says the same about and the rest, both in
    /// the order of ids. A failed one that wants it is among the rest when anything is different.
    fn part(&mut self, new: &Graph) -> (Vec<Slot>, Vec<Slot>) {
        let slots = std::mem::take(&mut self.slots);
        let Some(old) = &self.graph else { return (slots, Vec::new()) };
        let anew = |slot: &Slot| slot.vertex.meta.rewatch && slot.state == State::Failed;
        let different = slots.iter().any(anew) && **old != *new;
        slots.into_iter().partition(|slot| {
            let equal = new.vertices.get(&slot.id.resource) == Some(&slot.vertex);
            equal && !(different && anew(slot))
        })
    }

    /// One slot for each vertex of the new graph, in the order of ids.
    fn take_over(&mut self, now: Timestamp, new: &Graph, kept: Vec<Slot>, removed: Vec<Slot>) {
        let mut kept = kept.into_iter().peekable();
        let mut removed = removed.into_iter().peekable();
        self.slots.reserve(new.vertices.len());
        for (id, vertex) in &new.vertices {
            if let Some(mut slot) = kept.next_if(|slot| slot.id.resource == *id) {
                // The old graph is not kept alive by what is the same in both.
                slot.vertex = Arc::clone(vertex);
                self.slots.push(slot);
                continue;
            }
            let vertex_id = VertexId { resource: id.clone(), generation: self.generation };
            let mut slot = Slot::new(vertex_id, vertex, now);
            slot.held = self.draining.contains_key(id);
            while let Some(old) = removed.next_if(|old| old.id.resource <= *id) {
                if old.id.resource == *id {
                    slot.inherit(&old);
                }
            }
            self.commands.push(Command::Watch(slot.id.clone()));
            self.slots.push(slot);
        }
    }

    /// Links the slots as the edges say, and drops the refreshes whose edge is gone.
    fn link(&mut self, new: &Graph) {
        for slot in &mut self.slots {
            slot.unlink();
        }
        for ((from, to), edge) in &new.edges {
            // The compiler lets no edge name a missing vertex; one that does orders nothing.
            let (from, to) = (self.position_near(from), self.position_near(to));
            let (Some(from), Some(to)) = (from, to) else { continue };
            let notify = edge.notify || self.slots[from].ticks;
            self.slots[from].successors.push(Successor { to, notify });
            let standing = self.slots[from].state.standing();
            self.slots[to].link_predecessor(from, standing);
        }
        for at in 0..self.slots.len() {
            if self.slots[at].refreshes.is_empty() {
                continue;
            }
            let mut refreshes = std::mem::take(&mut self.slots[at].refreshes);
            refreshes.retain(|from, _| self.notifies(from, at));
            self.slots[at].refreshes = refreshes;
        }
    }

    fn notifies(&self, from: &ResourceId, to: usize) -> bool {
        self.position(from).is_some_and(|from| {
            self.slots[from].successors.iter().any(|edge| edge.to == to && edge.notify)
        })
    }

    /// Gives every slot a rank above those of its predecessors. Slots on a cycle, which the
    /// compiler lets nobody build, would keep rank 0 and wait for each other for ever.
    fn rank(&mut self) {
        let edges = self.slots.iter().enumerate().flat_map(|(from, slot)| {
            slot.successors.iter().map(move |successor| (from, successor.to))
        });
        let ranks = graph::ranks(self.slots.len(), edges);
        for (slot, rank) in self.slots.iter_mut().zip(ranks) {
            slot.rank = rank;
        }
    }

    /// Counts the states anew and has every slot looked at: its predecessors may be others than
    /// before.
    fn recount(&mut self) {
        self.tally = Tally::default();
        for slot in &self.slots {
            self.tally.enter(slot.state);
        }
        self.ready.clear();
        self.locks.forget_queues();
        self.agenda.forget_slots();
        (self.awaited, self.looking) = (0, 0);
        for slot in &mut self.slots {
            (slot.alarm, slot.awaited, slot.looking) = (None, false, false);
        }
        self.stale = self.slots.iter().enumerate().map(|(at, slot)| (slot.rank, at)).collect();
    }
}
