//! The exchange of resources with other hosts: publishes ours, follows theirs.
//!
//! Refuses to decide: what to write and what is live is decided in `collect`.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::follower::{Follower, OwnView};
use self::publisher::Publisher;
use crate::collect::Exports;
use crate::collect::presence::Me;
use crate::collect::publish::Published;
use crate::ident::HostName;
use crate::store::Store;

mod follower;
mod identity;
mod publisher;

/// How well this host knows what others export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StoreState {
    /// Never had a complete read; collected resources are neither added nor removed.
    #[default]
    Syncing,
    /// Following every change.
    Live,
    /// The store is lost; the last set is kept.
    Stale,
}

impl StoreState {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            StoreState::Syncing => "syncing",
            StoreState::Live => "live",
            StoreState::Stale => "stale",
        }
    }
}

/// What others (and this host) export, as this host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportsView {
    /// How far it can be trusted.
    pub state: StoreState,
    /// The revision of the store at the last difference.
    pub revision: i64,
    /// All live exports, sorted by address.
    pub exports: Exports,
}

impl Default for ExportsView {
    fn default() -> Self {
        ExportsView { state: StoreState::Syncing, revision: 0, exports: Arc::from([]) }
    }
}

/// What became of our own exports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PublishView {
    /// How many of them are in the store now.
    pub exports: usize,
    /// What stands in the way (`XE05 …`), or what a noop run would do.
    pub messages: Vec<String>,
}

/// A running exchange. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Exchange {
    /// The wanted exports; every new set is published. `None` until the first graph is known, so
    /// that nothing is withdrawn before.
    pub publish: watch::Sender<Option<Vec<Published>>>,
    /// What is live; changes only when it differs.
    pub exports: watch::Receiver<ExportsView>,
    /// What became of ours.
    pub published: watch::Receiver<PublishView>,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the exchange of `host` over `store`. `state_dir` keeps the identity that lets a restart
/// within 60 s go unnoticed. With `noop` nothing is written.
pub fn start(store: Arc<dyn Store>, host: HostName, state_dir: PathBuf, noop: bool) -> Exchange {
    let cancel = CancellationToken::new();
    let (publish, wanted) = watch::channel(None);
    let (views, exports) = watch::channel(ExportsView::default());
    let (view, published) = watch::channel(PublishView::default());
    let (own_views, own) = watch::channel(OwnView::default());
    let follower = Follower::new(host.clone(), views, own_views);
    let following = follower.run(Arc::clone(&store), cancel.clone());
    let stop = cancel.clone();
    let publishing = async move {
        let me = Me { instance: identity::instance(&state_dir).await, run: Uuid::new_v4().into() };
        let publisher = Publisher { store, host, me, noop, wanted, own, view };
        publisher.run(stop).await;
    };
    let tasks = vec![tokio::spawn(following), tokio::spawn(publishing)];
    Exchange { publish, exports, published, cancel, tasks }
}

impl Exchange {
    /// Ends the tasks. Presence is left to expire, so that a restart goes unnoticed.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task of the exchange ended early");
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[cfg(test)]
mod tests;
