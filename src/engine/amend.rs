//! Taking over a graph that says something else about single resources and nothing else about the
//! rest: the work is that of those few.
//!
//! Refuses a graph with other resources or other edges: that is `swap`'s.

use super::slot::Slot;
use super::view::Standing;
use super::{Command, Engine, State, Timestamp, VertexId};
use crate::graph::Graph;

impl Engine {
    /// The slots that have to begin anew for `new`, if all the others and all edges stay.
    pub(super) fn amended(&self, new: &Graph) -> Option<Vec<usize>> {
        let old = self.graph.as_ref()?;
        let alike = old.name == new.name && old.vertices.len() == new.vertices.len();
        if !alike || old.edges != new.edges {
            return None;
        }
        let mut changed = Vec::new();
        for (at, (old, new)) in old.vertices.iter().zip(&new.vertices).enumerate() {
            if old.0 != new.0 {
                return None;
            }
            if old.1 != new.1 {
                // Its edges notify, or no longer do.
                (new.1.resource.event_is_change() == self.slots[at].ticks).then_some(())?;
                changed.push(at);
            }
        }
        if !changed.is_empty() && self.tally.of(State::Failed) > 0 {
            let anew = |slot: &Slot| slot.meta().rewatch && slot.state == State::Failed;
            changed.extend((0..self.slots.len()).filter(|at| anew(&self.slots[*at])));
            changed.sort_unstable();
            changed.dedup();
        }
        Some(changed)
    }

    /// Has these slots begin anew, with what `new` says about them.
    pub(super) fn amend(&mut self, now: Timestamp, new: &Graph, changed: &[usize]) {
        let mut stood = Vec::with_capacity(changed.len());
        for at in changed {
            stood.push(self.slots[*at].state.standing());
            self.begin_anew(now, new, *at);
        }
        for (at, before) in changed.iter().zip(stood) {
            self.commands.push(Command::Watch(self.slots[*at].id.clone()));
            for from in std::mem::take(&mut self.slots[*at].predecessors) {
                let standing = self.slots[from].state.standing();
                self.slots[*at].link_predecessor(from, standing);
            }
            self.mark(*at);
            for k in 0..self.slots[*at].successors.len() {
                let to = self.slots[*at].successors[k].to;
                // Those of them that begin anew look at their predecessors by themselves.
                if before != Standing::Unsettled && changed.binary_search(&to).is_err() {
                    self.slots[to].predecessor_moved(before, Standing::Unsettled);
                    self.mark(to);
                }
            }
        }
    }

    /// Puts a new slot in the place of an old one, which is in no list any more then.
    fn begin_anew(&mut self, now: Timestamp, new: &Graph, at: usize) {
        let resource = self.slots[at].id.resource.clone();
        let Some(vertex) = new.vertices.get(&resource) else { return };
        let id = VertexId { resource, generation: self.generation };
        let mut old = std::mem::replace(&mut self.slots[at], Slot::new(id, vertex, now));
        self.commands.push(Command::Unwatch(old.id.clone()));
        self.drain(&old);
        self.ready.remove(&at);
        if let Some(ticket) = old.ticket {
            self.locks.leave(ticket, at, &old.meta().sema);
        }
        self.agenda.shift(at, &mut old.alarm, None);
        self.awaited -= usize::from(old.awaited);
        self.looking -= usize::from(old.looking);
        self.tally.shift(old.state, State::Pending);
        let slot = &mut self.slots[at];
        slot.held = self.draining.contains_key(&slot.id.resource);
        slot.inherit(&old);
        (slot.rank, slot.successors, slot.predecessors) =
            (old.rank, old.successors, old.predecessors);
    }
}
