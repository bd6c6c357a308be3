//! When there is nothing left to do: the engine is at rest, what is exchanged with other hosts is
//! complete, and what has to be on the disks is.
//!
//! Refuses to wait: each question is answered from what is known now.

use super::body::Body;
use super::durable::Durable;
use super::exchange::StoreState;
use super::grants::minds_labels;
use super::{EXIT_DONE, EXIT_PARTIAL};
use crate::collect::convergence::Said;
use crate::collect::interest::Interest;
use crate::engine::{Event, State};
use crate::ident::counted;

impl Body {
    /// Tells the engine whether more is to come from outside of its graph, whenever that changes:
    /// the time for which all has to be quiet begins only then.
    pub(super) async fn look_outside(&mut self) {
        let complete = self.exchanged() && self.durable.as_ref().is_none_or(Durable::is_done);
        if complete != self.complete {
            self.complete = complete;
            self.feed(Event::Complete(complete)).await;
        }
    }

    /// What others export was known when the graph was built, and what we export is in the store,
    /// or it is said why it will not be.
    fn exchanged(&self) -> bool {
        let program = &self.source.program;
        if !self.grants.complete && minds_labels(program) {
            return false;
        }
        if self.to_export == 0 && program.collect.is_empty() {
            return true;
        }
        let ours = self.published.borrow();
        let refused = !ours.messages.is_empty() && !ours.retrying;
        let published = ours.settled(self.notes.awaited.len());
        self.store_state == StoreState::Live
            && self.hears_all()
            && !self.local.is_waiting()
            && (self.settings.noop || published >= self.to_export || refused)
    }

    /// All that the rules take exports from was read, and every set of it is whole.
    pub(super) fn hears_all(&self) -> bool {
        let wanted = self.reins.interest.borrow().as_ref().map(Interest::slots);
        let view = self.exports.borrow();
        wanted.is_some_and(|slots| slots.is_subset(&view.slots)) && !view.partial
    }

    /// Exports of ours that are not in the store and are not tried again.
    fn unpublished(&self) -> usize {
        let published = self.published.borrow().settled(self.notes.awaited.len());
        if self.settings.noop { 0 } else { self.to_export.saturating_sub(published) }
    }

    /// Nothing waits to be done: what `converged` in the status says when no timeout was asked for.
    pub(super) fn settled(&self) -> bool {
        self.complete && self.engine.is_quiescent() && !self.exports.has_changed().unwrap_or(false)
    }

    /// Tells the cluster how far this host is.
    pub(super) fn tell_convergence(&self) {
        if self.cluster.is_none() {
            return;
        }
        let said = Some(Said::new(self.generation, &self.seen, self.settled()));
        self.say.send_if_modified(|before| {
            let differs = *before != said;
            *before = said;
            differs
        });
    }

    /// Says that all has been quiet for long enough, or is no longer; gives what the engine has to
    /// be told when that is the end.
    pub(super) fn converged_changed(&mut self) -> Option<Event> {
        if self.quiet == self.converged {
            return None;
        }
        self.converged = self.quiet;
        if !self.converged {
            return None;
        }
        let bad = self.engine.count(State::Failed) + self.engine.count(State::Blocked);
        let unpublished = self.unpublished();
        if bad + unpublished == 0 {
            tracing::info!("converged");
        }
        if bad > 0 {
            tracing::warn!("converged, {} failed or blocked", counted(bad, "resource"));
        }
        if unpublished > 0 {
            tracing::warn!("converged, {} not published", counted(unpublished, "export"));
        }
        if self.settings.converged.is_some_and(|one| one.exit) {
            return self.end(if bad + unpublished == 0 { EXIT_DONE } else { EXIT_PARTIAL });
        }
        None
    }
}
