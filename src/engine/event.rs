//! What the engine is told and what it answers, as plain values.
//!
//! Refuses to decide anything.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::graph::Graph;
use crate::ident::ResourceId;
use crate::kind::Outcome;
use crate::spec::Fields;

/// A moment, as the time since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub Duration);

impl Timestamp {
    /// This much later; the last possible moment when that is beyond it.
    pub fn after(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(wait))
    }
}

/// One life of a resource in the running graph. A resource that is changed gets a new generation;
/// events that carry an old one are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId {
    /// Kind and name.
    pub resource: ResourceId,
    /// The number of the graph that brought it.
    pub generation: u64,
}

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.resource, self.generation)
    }
}

/// One run of a vertex; never used twice by one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// This graph is wanted from now on.
    Graph(Arc<Graph>),
    /// The answer to [`Command::Watch`]: without an error the watch is armed, and whatever
    /// happens from now on is reported. Said again later, it means that the watch was lost (with
    /// an error) or replaced (without).
    Watching {
        /// Whose watch.
        vertex: VertexId,
        /// Why there is none.
        error: Option<String>,
    },
    /// Something happened to what the vertex manages.
    Touched(VertexId),
    /// The answer to [`Command::Run`], exactly one for each, cancelled ones included.
    Finished {
        /// Who ran.
        vertex: VertexId,
        /// Which run of it.
        run: RunId,
        /// What it did, or why it failed.
        result: Result<Outcome, String>,
        /// The values that it sends, by key. They count when it ended well.
        sent: Fields,
    },
    /// A time asked for with [`Command::WakeAt`] has come. Harmless when nothing is due.
    Due,
    /// Check everything that has failed again, as if something had happened to it.
    Revive,
    /// The graph is all that there is to do, or (`false`) more is to come from outside of it, and
    /// nothing counts as quiet. True at first.
    Complete(bool),
    /// Start no runs until [`Event::Resume`].
    Pause,
    /// Start runs again.
    Resume,
    /// End: start nothing more, let what runs finish.
    Stop,
    /// End now: as [`Event::Stop`], and cancel what runs.
    Hurry,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Arm the watch of this vertex and answer with [`Event::Watching`].
    Watch(VertexId),
    /// Drop the watch of this vertex. A run of it that is under way goes on and is still
    /// answered.
    Unwatch(VertexId),
    /// Run this vertex and answer with [`Event::Finished`].
    Run {
        /// Who runs.
        vertex: VertexId,
        /// To be named in the answer.
        run: RunId,
        /// A predecessor with a notifying edge changed since the last successful run.
        refresh: bool,
        /// The values to take for its fields, in place of what the graph says.
        received: Fields,
    },
    /// Give up this run soon. It is still answered.
    Cancel {
        /// Who runs.
        vertex: VertexId,
        /// Which run of it.
        run: RunId,
    },
    /// Send [`Event::Due`] at this time or a little later. Replaces the time asked for before.
    WakeAt(Timestamp),
    /// All has been quiet for long enough (`true`), or is no longer (`false`). Alternates,
    /// starting with `true`.
    Converged(bool),
    /// After [`Event::Stop`]: nothing runs any more. Said once.
    Stopped,
}

/// Settings that stay the same for the whole life of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long all must have been quiet to be called converged; `None` never calls it so.
    pub converged_after: Option<Duration>,
}
