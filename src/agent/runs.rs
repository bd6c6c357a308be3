//! Running resources: one task for each run that is under way, none for idle resources.
//!
//! Refuses to decide what runs: the engine does.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{RunId, VertexId};
use crate::kind::{Context, Outcome, Resource};

/// The end of one run.
#[derive(Debug)]
pub(super) struct Finished {
    /// Whose run.
    pub(super) vertex: VertexId,
    /// Which run.
    pub(super) run: RunId,
    /// What came of it.
    pub(super) result: Result<Outcome, String>,
}

/// All runs under way.
#[derive(Default)]
pub(super) struct Runs {
    tasks: JoinSet<Finished>,
    tokens: HashMap<RunId, CancellationToken>,
}

impl Runs {
    /// Starts a run. The token of `context` is replaced by one that [`Runs::cancel`] reaches.
    pub(super) fn start(
        &mut self,
        vertex: VertexId,
        run: RunId,
        resource: Arc<dyn Resource>,
        mut context: Context,
    ) {
        let token = CancellationToken::new();
        self.tokens.insert(run, token.clone());
        context.cancel = token;
        self.tasks.spawn(async move {
            // A panic in a kind is that resource's failure, never the agent's.
            let result = AssertUnwindSafe(resource.run(&context)).catch_unwind().await;
            let result = result.unwrap_or_else(|_| Err("the resource's code panicked".to_owned()));
            Finished { vertex, run, result }
        });
    }

    /// Asks one run to give up.
    pub(super) fn cancel(&self, run: RunId) {
        if let Some(token) = self.tokens.get(&run) {
            token.cancel();
        }
    }

    /// The next run that ends; waits for ever when none is under way.
    pub(super) async fn next(&mut self) -> Finished {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(finished)) => {
                    self.tokens.remove(&finished.run);
                    return finished;
                }
                // A task that was aborted has no run any more.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Drops all runs at once; what they started is killed by its guards.
    pub(super) async fn kill(&mut self) {
        self.tasks.shutdown().await;
        self.tokens.clear();
    }
}
