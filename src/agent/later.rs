//! Runs that were commanded and have not begun: what a run needs is put together when a thread will
//! soon have it, so ten thousand that may begin at once do not cost memory at once.
//!
//! Refuses to change their order, and to hold back a run that no thread is needed for.

use std::collections::VecDeque;
use std::time::Duration;

use super::body::Body;
use crate::engine::{self, Event, RunId, VertexId};
use crate::kind::Outcome;
use crate::spec::Fields;

/// How many runs are ready for the threads: enough that none of them finds nothing to do before the
/// loop has put more together.
pub(super) const READY: usize = 256;

/// A run as it was commanded.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) vertex: VertexId,
    pub(super) run: RunId,
    pub(super) refresh: bool,
    pub(super) received: Fields,
}

/// Those that wait, in the order of their numbers. Bounded by the graph: a resource has one run at
/// a time.
#[derive(Debug, Default)]
pub(super) struct Later(VecDeque<Waiting>);

impl Later {
    /// Takes out the run of this number, if it waits.
    fn take(&mut self, run: RunId) -> Option<Waiting> {
        let at = self.0.binary_search_by_key(&run, |waiting| waiting.run).ok()?;
        self.0.remove(at)
    }

    fn next(&mut self) -> Option<Waiting> {
        let next = self.0.pop_front();
        if self.0.is_empty() {
            // All resources of a graph may have waited at once, and hardly will again.
            self.0.shrink_to(READY);
        }
        next
    }
}

impl Body {
    /// Starts a run now or when there is a thread for it; gives what that leads to at once.
    pub(super) async fn start_in_turn(&mut self, waiting: Waiting) -> Option<Event> {
        let found = self.engine.vertex(&waiting.vertex);
        let blocks = found.is_some_and(|found| found.resource.blocks());
        let full = !self.runs.later.0.is_empty() || self.runs.ready() >= READY;
        if blocks && full {
            self.runs.later.0.push_back(waiting);
            return None;
        }
        self.start(waiting).await
    }

    /// Some have ended: others may begin.
    pub(super) async fn start_more(&mut self) {
        while self.runs.ready() < READY
            && let Some(waiting) = self.runs.later.next()
        {
            let event = match self.engine.vertex(&waiting.vertex) {
                Some(_) => self.start(waiting).await,
                None => Some(self.never_began(waiting)),
            };
            if let Some(event) = event {
                self.feed(event).await;
            }
        }
    }

    /// Has a run end soon; gives its end if it had not begun.
    pub(super) fn cancel(&mut self, run: RunId) -> Option<Event> {
        match self.runs.later.take(run) {
            Some(waiting) => Some(self.never_began(waiting)),
            None => {
                self.runs.cancel(run);
                None
            }
        }
    }

    /// The end of a run that never began; one that was given up since it took too long has failed.
    fn never_began(&mut self, waiting: Waiting) -> Event {
        let late = self.notes.late.remove(&waiting.run);
        let (result, failed) = given_up(late);
        if failed {
            self.say(&waiting.vertex.resource, &result);
        }
        let Waiting { vertex, run, .. } = waiting;
        Event::Finished { vertex, run, result, sent: Fields::new() }
    }
}

/// What comes of a run that did not begin, and whether it failed by that: who stopped it, or took
/// its resource out of the graph, wanted that.
fn given_up(late: Option<Duration>) -> (Result<Outcome, String>, bool) {
    match late {
        Some(limit) => (Err(engine::no_result_within(limit)), true),
        None => (Err("cancelled".to_owned()), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::ResourceId;

    fn waiting(number: u64) -> Waiting {
        let resource = ResourceId::new("noop", format!("n{number}"));
        let vertex = VertexId { resource, generation: 1 };
        Waiting { vertex, run: RunId(number), refresh: false, received: Fields::new() }
    }

    #[test]
    fn only_a_run_that_took_too_long_has_failed_by_being_given_up_before_it_began() {
        assert_eq!(given_up(None), (Err("cancelled".to_owned()), false));
        let (result, failed) = given_up(Some(Duration::from_secs(3)));
        assert!(failed && result.is_err_and(|why| why.contains('3')));
    }

    #[test]
    fn they_begin_in_their_order_and_one_that_is_cancelled_does_not() {
        let mut later = Later((1..=5).map(waiting).collect());
        assert_eq!(later.take(RunId(3)).map(|one| one.run), Some(RunId(3)));
        assert!(later.take(RunId(3)).is_none() && later.take(RunId(9)).is_none());
        let order: Vec<u64> = std::iter::from_fn(|| later.next()).map(|one| one.run.0).collect();
        assert_eq!(order, [1, 2, 4, 5]);
    }
}
