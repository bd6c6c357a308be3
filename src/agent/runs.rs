//! Running resources: a place in the queue of a few threads for each run that only blocks, a task
//! for each other run, nothing for idle resources.
//!
//! Refuses to decide what runs: the engine does.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::later::Later;
use super::pool::Pool;
use super::relay::Turn;
use crate::engine::{RunId, VertexId};
use crate::ident::ResourceId;
use crate::kind::{Context, Outcome, Resource, Turns, Ways};
use crate::spec::Fields;

/// A run that starts so soon after one that did something is a resource that chases itself, or
/// another one: its command touches what it watches, or two resources want one file.
const SOON: Duration = Duration::from_millis(200);
/// How many such runs in a row are free: somebody who deletes a file again and again cannot be told
/// from a resource that does it to itself, and has to be answered at once for a while.
const FREE: u32 = 200;
/// The first pause of a resource that does not come to rest; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The end of one run.
#[derive(Debug)]
pub(super) struct Finished {
    /// Whose run.
    pub(super) vertex: VertexId,
    /// Which run.
    pub(super) run: RunId,
    /// Of what, as the graph may be another one by now.
    pub(super) resource: Arc<dyn Resource>,
    /// What came of it.
    pub(super) result: Result<Outcome, String>,
    /// What it sends.
    pub(super) sent: Fields,
    /// How long it took, without the pause before it.
    pub(super) took: Duration,
    /// What is logged of it is logged in here.
    pub(super) span: tracing::Span,
}

/// All runs under way, in maps that give back the room of those that ended.
pub(super) struct Runs {
    tasks: JoinSet<Finished>,
    /// Those that block.
    pool: Pool<Finished, Ways>,
    /// Runs for which there was no room yet.
    pub(super) later: Later,
    /// How many of those that block have not been told of.
    ready: usize,
    tokens: BTreeMap<RunId, CancellationToken>,
    /// When the last run that was not in vain ended, and how many followed one another at once.
    restless: BTreeMap<ResourceId, (Instant, u32)>,
}

impl Runs {
    pub(super) fn new() -> Self {
        let turns = Turns::default();
        let pool = Pool::new(move || Ways::keeping(&turns));
        Runs {
            tasks: JoinSet::new(),
            pool,
            later: Later::default(),
            ready: 0,
            tokens: BTreeMap::new(),
            restless: BTreeMap::new(),
        }
    }

    /// Has the threads that end runs poll what waits for [`Runs::next`].
    pub(super) fn turn_with(&self, turn: Weak<dyn Turn>) {
        self.pool.turn_with(turn);
    }

    /// Starts a run, which may take that long. The token of `context` is replaced by one that
    /// [`Runs::cancel`] reaches.
    pub(super) fn start(
        &mut self,
        vertex: VertexId,
        run: RunId,
        resource: Arc<dyn Resource>,
        mut context: Context,
        timeout: Option<Duration>,
    ) {
        let token = CancellationToken::new();
        self.tokens.insert(run, token.clone());
        context.cancel = token;
        let pause = bounded(self.pause(&vertex.resource), timeout);
        let span = span(&vertex.resource, run);
        if pause.is_zero() && resource.blocks() {
            let spare = (vertex.clone(), resource.clone(), span.clone());
            let job = move |ways: &Ways| {
                context.ways = ways.clone();
                span.in_scope(|| block(vertex, run, resource, &context))
            };
            let submitted = self.pool.submit(run.0, job);
            self.ready += usize::from(submitted.is_ok());
            if let Err(error) = submitted {
                let why = format!("no thread can be started: {error}; raise the limits");
                let (vertex, resource, span) = spare;
                let (sent, took) = (Fields::new(), Duration::ZERO);
                let result = Err(why);
                let failed = Finished { vertex, run, resource, result, sent, took, span };
                self.tasks.spawn(std::future::ready(failed));
            }
            return;
        }
        let task = async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = context.cancel.cancelled() => {}
            }
            if resource.blocks() {
                return tokio::task::block_in_place(|| block(vertex, run, resource, &context));
            }
            let start = Instant::now();
            if context.cancel.is_cancelled() {
                return finish(vertex, run, resource, cancelled(), start, &context);
            }
            let result = AssertUnwindSafe(resource.run(&context)).catch_unwind().await;
            finish(vertex, run, resource, result, start, &context)
        };
        self.tasks.spawn(task.instrument(span));
    }

    /// How long the next run of this resource has to wait: not at all, unless it does not come to
    /// rest.
    fn pause(&mut self, resource: &ResourceId) -> Duration {
        let Some((ended, soon)) = self.restless.get_mut(resource) else { return Duration::ZERO };
        *soon = if ended.elapsed() < memory(*soon) { soon.saturating_add(1) } else { 0 };
        if *soon == FREE + 1 {
            tracing::warn!("{resource} does not come to rest: its runs are slowed down");
        }
        pause_of(*soon)
    }

    /// Forgets a resource that left the graph.
    pub(super) fn forget(&mut self, resource: &ResourceId) {
        self.restless.remove(resource);
    }

    /// How many runs wait for a thread or have one.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Asks one run to give up.
    pub(super) fn cancel(&self, run: RunId) {
        if let Some(token) = self.tokens.get(&run) {
            token.cancel();
            self.pool.hasten(run.0);
        }
    }

    /// The next runs that end; waits for ever when none is under way.
    pub(super) async fn next(&mut self) -> Vec<Finished> {
        let ended = loop {
            tokio::select! {
                all = self.pool.finished() => {
                    self.ready = self.ready.saturating_sub(all.len());
                    break all;
                }
                // A task that was aborted has no run any more.
                one = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Some(Ok(one)) = one {
                        break vec![one];
                    }
                }
            }
        };
        ended.iter().for_each(|finished| self.note(finished));
        ended
    }

    /// Keeps who has changed something just now.
    fn note(&mut self, finished: &Finished) {
        self.tokens.remove(&finished.run);
        let resource = &finished.vertex.resource;
        match &finished.result {
            Ok(Outcome::Unchanged) => drop(self.restless.remove(resource)),
            _ => {
                let now = Instant::now();
                // Now and then those that came to rest are let go: the work of it is shared.
                if self.restless.len().is_power_of_two() {
                    self.restless.retain(|_, (ended, soon)| ended.elapsed() < memory(*soon));
                }
                self.restless.entry(resource.clone()).or_insert((now, 0)).0 = now;
            }
        }
    }

    /// The loop is going to be busy for a while: what waits is for other threads.
    pub(super) fn hand_over(&self) {
        self.pool.hand_over();
    }

    /// Drops all runs at once; what they started is killed by its guards.
    pub(super) async fn kill(&mut self) {
        self.pool.clear();
        self.later = Later::default();
        self.ready = 0;
        self.tasks.shutdown().await;
        self.tokens.clear();
    }
}

/// A run that blocks, from its start to its end.
fn block(vertex: VertexId, run: RunId, resource: Arc<dyn Resource>, context: &Context) -> Finished {
    let start = Instant::now();
    if context.cancel.is_cancelled() {
        return finish(vertex, run, resource, cancelled(), start, context);
    }
    let whole = || resource.run(context).now_or_never();
    let result = std::panic::catch_unwind(AssertUnwindSafe(whole));
    let waits = || Err("the resource's code waits although it says that it blocks".to_owned());
    let result = result.map(|result| result.unwrap_or_else(waits));
    finish(vertex, run, resource, result, start, context)
}

/// What was given up before it began does not begin.
fn cancelled() -> std::thread::Result<Result<Outcome, String>> {
    Ok(Err("cancelled".to_owned()))
}

/// The end of a run, seen from inside it. A panic in a kind is that resource's failure, never the
/// agent's.
fn finish(
    vertex: VertexId,
    run: RunId,
    resource: Arc<dyn Resource>,
    result: std::thread::Result<Result<Outcome, String>>,
    start: Instant,
    context: &Context,
) -> Finished {
    let result = result.unwrap_or_else(|_| Err("the resource's code panicked".to_owned()));
    let (sent, took) = (context.outbox.take(), start.elapsed());
    let span = tracing::Span::current();
    Finished { vertex, run, resource, result, sent, took, span }
}

/// One span for each run. It is of the highest level, so that whatever is logged of a run carries
/// its fields; a log for people leaves it out by its target.
fn span(resource: &ResourceId, run: RunId) -> tracing::Span {
    tracing::error_span!(
        target: super::RUN_TARGET,
        "run",
        %resource,
        kind = resource.kind(),
        run = run.0,
    )
}

/// The pause of a resource whose runs followed one another at once so often.
fn pause_of(soon: u32) -> Duration {
    match soon.saturating_sub(FREE) {
        0 => Duration::ZERO,
        over => (PAUSE_MIN * (1 << over.min(6))).min(PAUSE_MAX),
    }
}

/// For how long it matters that a run of such a resource ended.
fn memory(soon: u32) -> Duration {
    SOON.max(pause_of(soon))
}

/// The pause before a run that may take that long: most of its time is left to the run itself.
fn bounded(pause: Duration, timeout: Option<Duration>) -> Duration {
    timeout.map_or(pause, |timeout| pause.min(timeout / 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::HostName;
    use crate::kind::{Outbox, Watch};
    use crate::store::memory::MemoryStore;

    #[derive(Debug)]
    struct Panics;

    #[async_trait::async_trait]
    impl Resource for Panics {
        fn watches(&self) -> Vec<Watch> {
            Vec::new()
        }

        async fn run(&self, _: &Context) -> Result<Outcome, String> {
            panic!("as a defect in a kind would");
        }
    }

    fn context() -> Context {
        Context {
            store: Arc::new(MemoryStore::new()),
            host: HostName::parse("h1").unwrap(),
            state_dir: std::path::Path::new("/nonexistent").into(),
            managed: crate::kind::Managed::default(),
            mover: crate::kind::Mover::default(),
            ways: Ways::default(),
            within: None,
            apply: true,
            refresh: false,
            outbox: Outbox::default(),
            cancel: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn p33_a_panic_in_a_kind_is_the_failure_of_that_resource_alone() {
        let mut runs = Runs::new();
        let vertex = VertexId { resource: ResourceId::new("noop", "n"), generation: 1 };
        runs.start(vertex.clone(), RunId(7), Arc::new(Panics), context(), None);
        let finished = runs.next().await.remove(0);
        assert_eq!((finished.vertex, finished.run), (vertex, RunId(7)));
        assert_eq!(finished.result, Err("the resource's code panicked".to_owned()));
    }

    /// Must never run.
    #[derive(Debug)]
    struct Never {
        blocks: bool,
    }

    #[async_trait::async_trait]
    impl Resource for Never {
        fn watches(&self) -> Vec<Watch> {
            Vec::new()
        }

        fn blocks(&self) -> bool {
            self.blocks
        }

        async fn run(&self, _: &Context) -> Result<Outcome, String> {
            Ok(Outcome::Changed("what was given up was done".to_owned()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_that_is_cancelled_in_its_pause_does_not_start() {
        for blocks in [false, true] {
            let mut runs = Runs::new();
            let vertex = VertexId { resource: ResourceId::new("noop", "n"), generation: 1 };
            runs.restless.insert(vertex.resource.clone(), (Instant::now(), FREE + 50));
            runs.start(vertex, RunId(7), Arc::new(Never { blocks }), context(), None);
            runs.cancel(RunId(7));
            let finished = runs.next().await.remove(0);
            assert_eq!(finished.result, Err("cancelled".to_owned()), "blocks: {blocks}");
        }
    }

    #[test]
    fn the_pause_of_a_restless_resource_leaves_most_of_its_timeout_to_the_run() {
        let seconds = Duration::from_secs;
        assert_eq!(bounded(PAUSE_MAX, None), PAUSE_MAX);
        assert_eq!(bounded(PAUSE_MAX, Some(seconds(4))), seconds(1));
        assert_eq!(bounded(PAUSE_MAX, Some(seconds(3600))), PAUSE_MAX);
    }

    #[test]
    fn a_burst_is_free_and_a_restless_resource_is_slowed_down_to_a_bound() {
        assert!((0..=FREE).all(|soon| pause_of(soon) == Duration::ZERO));
        assert!(pause_of(FREE + 1) >= PAUSE_MIN);
        assert!((0..400).all(|soon| pause_of(soon) <= pause_of(soon + 1)));
        assert_eq!(pause_of(u32::MAX), PAUSE_MAX);
    }
}
