//! What other hosts export, taken into the running graph, and what the file exports, handed to who
//! publishes it.
//!
//! Refuses to compile everything where only values differ: each resource of the file would be built
//! again for each of them.

use tokio::time::Instant;

use super::body::Body;
use super::desired::{self, Everywhere, Here, Recollected};
use super::exchange::{ExportsView, StoreState};
use crate::collect::interest::Interest;
use crate::engine::VertexId;
use crate::ident::ResourceId;
use crate::kind::Outcome;
use crate::spec::Collected;

impl Body {
    /// The program that runs, for what is made of it.
    pub(super) fn here<'a>(&'a self, everywhere: &'a Everywhere) -> Here<'a> {
        Here { program: &self.source.program, local: &self.local, site: self.site(), everywhere }
    }

    /// Others export something else, or it is known differently. Who collects nothing only notes
    /// it.
    pub(super) async fn exported(&mut self) {
        let view = self.known_exports();
        self.tell_time(&view);
        if self.source.program.collect.is_empty() {
            (self.store_state, self.seen) = (view.state, view.digest);
            return;
        }
        let everywhere = self.settings.everywhere();
        let here = self.here(&everywhere);
        // After a refusal the graph that runs is not one of this program.
        let again = (self.generation > 0 && self.graph_error.is_none())
            .then(|| desired::recollect(here, &view.exports, &self.collected, &self.graph));
        let Some(Recollected { graph, messages, collected }) = again.flatten() else {
            return self.rebuild().await;
        };
        self.note_collected(&view, messages, collected).await;
        self.look_outside().await;
        if !std::sync::Arc::ptr_eq(&graph, &self.graph) {
            self.run_graph(graph).await;
        }
    }

    /// Has what the file exports published.
    pub(super) fn publish_own(&mut self) {
        let mut own = desired::exports(&self.source.program, &self.site());
        self.to_export = own.len();
        self.notes.awaited.clear();
        for (at, one) in own.iter_mut().enumerate() {
            one.awaits = one.awaits.take().filter(|id| !self.engine.had_its_turn(id));
            self.notes.awaited.extend(one.awaits.clone().map(|id| (id, at)));
        }
        // What may not be exported must not be seen for a moment, either.
        let own = self.grants.complete.then_some(own);
        self.publish.send_if_modified(|before| {
            let changed = *before != own;
            *before = own;
            changed
        });
        self.hear();
    }

    /// Has nothing published by a turn that comes while the graph becomes another one: what was
    /// handed over last is what the graph before it said, perhaps in the open what is to be sealed
    /// from now on. [`Body::publish_own`] follows.
    pub(super) fn forget_awaited(&mut self) {
        self.notes.awaited.clear();
    }

    /// Has what waited for the turn of this resource published.
    pub(super) fn turn_came(&mut self, id: &ResourceId) {
        let Some(at) = self.notes.awaited.remove(id) else { return };
        self.publish.send_if_modified(|own| {
            let one = own.as_mut().and_then(|own| own.get_mut(at));
            one.is_some_and(|one| one.awaits.take().is_some())
        });
    }

    /// Whether this run has removed what nobody exports any more, which is done once.
    pub(super) fn is_removed_by(
        &mut self,
        vertex: &VertexId,
        result: &Result<Outcome, String>,
    ) -> bool {
        let done = matches!(result, Ok(Outcome::Unchanged | Outcome::Changed(_)));
        let now = done && !self.notes.leaving.is_empty() && self.engine.vertex(vertex).is_some();
        if !now || !self.notes.leaving.remove(&vertex.resource) {
            return false;
        }
        self.collected.retain(|one| one.id != vertex.resource);
        self.local.removed(&vertex.resource);
        true
    }

    /// Tells the rules what time it is, and whether all is known that they want.
    pub(super) fn tell_time(&self, view: &ExportsView) {
        let complete = view.state == StoreState::Live && self.hears_all();
        self.local.at(self.born.elapsed(), complete);
    }

    /// Has the store followed where the rules of the file need it.
    pub(super) fn hear(&self) {
        let interest = Some(Interest::of(&self.source.program.collect, self.me.clone()));
        self.reins.interest.send_if_modified(|before| {
            let changed = *before != interest;
            *before = interest;
            changed
        });
    }

    /// When what is exported has to be looked at though nothing has changed.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.born.checked_add(self.local.next_look()?)
    }

    /// Takes note of what was made of these exports.
    pub(super) async fn note_collected(
        &mut self,
        view: &ExportsView,
        messages: Vec<String>,
        collected: Vec<Collected>,
    ) {
        for message in messages.iter().filter(|one| !self.messages.contains(one)) {
            tracing::warn!("{message}");
        }
        let gone = collected.iter().filter(|one| one.gone);
        self.notes.leaving = gone.map(|one| one.id.clone()).collect();
        (self.messages, self.collected) = (messages, collected);
        (self.store_state, self.seen) = (view.state, view.digest.clone());
        self.keep_owed().await;
    }
}
