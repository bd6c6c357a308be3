//! What other hosts export, taken into the running graph.
//!
//! Refuses to compile everything where only values differ: each resource of the file would be built
//! again for each of them.

use super::body::Body;
use super::desired::{self, Everywhere, Here, Recollected};
use super::exchange::StoreState;
use crate::collect::{Exports, convergence};
use crate::spec::Collected;

impl Body {
    /// The program that runs, for what is made of it.
    pub(super) fn here<'a>(&'a self, everywhere: &'a Everywhere) -> Here<'a> {
        Here { program: &self.source.program, local: &self.local, site: self.site(), everywhere }
    }

    /// Others export something else, or it is known differently. Who collects nothing only notes
    /// it.
    pub(super) async fn exported(&mut self) {
        let (exports, state) = self.known_exports();
        if self.source.program.collect.is_empty() {
            self.store_state = state;
            self.seen = convergence::digest(&exports);
            return;
        }
        let everywhere = self.settings.everywhere();
        let here = self.here(&everywhere);
        // After a refusal the graph that runs is not one of this program.
        let again = (self.generation > 0 && self.graph_error.is_none())
            .then(|| desired::recollect(here, &exports, &self.collected, &self.graph));
        let Some(Recollected { graph, messages, collected }) = again.flatten() else {
            return self.rebuild().await;
        };
        self.note_collected(&exports, state, messages, collected);
        self.look_outside().await;
        if !std::sync::Arc::ptr_eq(&graph, &self.graph) {
            self.run_graph(graph).await;
        }
    }

    /// Takes note of what was made of these exports.
    pub(super) fn note_collected(
        &mut self,
        exports: &Exports,
        state: StoreState,
        messages: Vec<String>,
        collected: Vec<Collected>,
    ) {
        for message in messages.iter().filter(|one| !self.messages.contains(one)) {
            tracing::warn!("{message}");
        }
        (self.messages, self.collected) = (messages, collected);
        self.store_state = state;
        self.seen = convergence::digest(exports);
    }
}
