//! What came of a run: said in the log, counted, and told the engine.
//!
//! Refuses to decide what follows from it.

use super::body::Body;
use super::runs::Finished;
use crate::engine::{self, Event};
use crate::ident::ResourceId;
use crate::kind::Outcome;

impl Body {
    /// Says in the log what a run did.
    pub(super) fn say(&mut self, id: &ResourceId, result: &Result<Outcome, String>) {
        match result {
            Ok(Outcome::Unchanged) => {}
            Ok(Outcome::Changed(what)) => tracing::info!("{id}: {what}"),
            Ok(Outcome::WouldChange(what)) => tracing::info!("{id}: would be changed: {what}"),
            Err(why) if self.notes.said.get(id) != Some(why) => {
                tracing::error!("{id} failed: {why}")
            }
            Err(_) => {}
        }
        match result {
            Err(why) => self.notes.said.insert(id.clone(), why.clone()),
            Ok(_) => self.notes.said.remove(id).inspect(|_| tracing::info!("{id}: works again")),
        };
    }

    /// Takes what came of a run.
    pub(super) async fn finished(&mut self, mut finished: Finished) {
        if let Some(limit) = self.notes.late.remove(&finished.run) {
            finished.result = Err(engine::no_result_within(limit));
        }
        let id = &finished.vertex.resource;
        let result = match &finished.result {
            Ok(Outcome::Unchanged) => "unchanged",
            Ok(Outcome::Changed(_)) => "changed",
            Ok(Outcome::WouldChange(_)) => "would-change",
            Err(_) => "failed",
        };
        self.counters.ran(id.kind(), result, finished.took);
        finished.span.in_scope(|| self.say(id, &finished.result));
        if let Some(durable) = &mut self.durable {
            durable.note(&finished.result, &finished.resource.hints(), &self.state_dir);
        }
        let Finished { vertex, run, result, sent, .. } = finished;
        let removed = self.is_removed_by(&vertex, &result);
        self.feed(Event::Finished { vertex, run, result, sent }).await;
        if removed {
            self.rebuild().await;
        }
    }
}
