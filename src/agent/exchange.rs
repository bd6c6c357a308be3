//! The exchange of resources with other hosts: publishes ours, follows theirs.
//!
//! Refuses to decide: what to write and what is live is decided in `collect`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::follower::{Follower, OwnView};
use self::publisher::Publisher;
use crate::collect::convergence::Said;
use crate::collect::presence::Me;
use crate::collect::publish::Published;
use crate::collect::{Exports, Grants};
use crate::ident::HostName;
use crate::store::Store;

mod convergence;
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
    /// All hosts that are present, in the order of their names.
    pub hosts: Vec<HostName>,
}

impl Default for ExportsView {
    fn default() -> Self {
        let (exports, hosts) = (Arc::from([]), Vec::new());
        ExportsView { state: StoreState::Syncing, revision: 0, exports, hosts }
    }
}

/// What became of our own exports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PublishView {
    /// How many of them are in the store now.
    pub exports: usize,
    /// What stands in the way (`XE05 …`), or what a noop run would do.
    pub messages: Vec<String>,
    /// What stands in the way may pass: it is tried again.
    pub retrying: bool,
}

/// A running exchange. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Exchange {
    /// The wanted exports; every new set is published. `None` until the first graph is known, so
    /// that nothing is withdrawn before.
    pub publish: watch::Sender<Option<Vec<Published>>>,
    /// What is live; changes only when it differs.
    pub exports: watch::Receiver<ExportsView>,
    /// What this host says about its convergence, once it is known.
    pub say: watch::Sender<Option<Said>>,
    /// What all hosts say about theirs.
    pub said: watch::Receiver<BTreeMap<HostName, Said>>,
    /// What became of ours.
    pub published: watch::Receiver<PublishView>,
    cancel: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the exchange of `host` over `store`. `state_dir` keeps the identity that lets a restart
/// within 60 s go unnoticed. With `noop` nothing is written. `granted` tells since when the store
/// knows who writes: what is older is written again.
pub fn start(
    store: Arc<dyn Store>,
    host: HostName,
    state_dir: PathBuf,
    noop: bool,
    granted: watch::Receiver<Arc<Grants>>,
) -> Exchange {
    let cancel = CancellationToken::new();
    let (publish, wanted) = watch::channel(None);
    let (views, exports) = watch::channel(ExportsView::default());
    let (view, published) = watch::channel(PublishView::default());
    let (own_views, own) = watch::channel(OwnView::default());
    let (say, saying) = watch::channel(None);
    let (hearing, said) = watch::channel(BTreeMap::new());
    let follower = Follower::new(host.clone(), views, own_views);
    let following = follower.run(Arc::clone(&store), cancel.clone());
    let listening = convergence::run(Arc::clone(&store), hearing, cancel.clone());
    let stop = cancel.clone();
    let publishing = async move {
        let me = Me { instance: identity::instance(&state_dir).await, run: Uuid::new_v4().into() };
        let publisher = Publisher { store, host, me, noop, wanted, own, saying, granted, view };
        publisher.run(stop).await;
    };
    let tasks = vec![tokio::spawn(following), tokio::spawn(publishing), tokio::spawn(listening)];
    Exchange { publish, exports, say, said, published, cancel, tasks }
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
