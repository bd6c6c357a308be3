//! The exchange of resources with other hosts: publishes ours, follows theirs.
//!
//! Refuses to decide: what to write and what is live is decided in `collect`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::follower::{Ends, Follower, OwnView};
use self::publisher::Publisher;
use self::sealer::Sealer;
use crate::collect::convergence::Said;
use crate::collect::interest::Interest;
use crate::collect::presence::Me;
use crate::collect::publish::Published;
use crate::collect::roster::Roster;
use crate::collect::{Exports, Grants, Slot, keys as names};
use crate::ident::HostName;
use crate::seal::PrivateKey;
use crate::store::{Store, StoreError};

mod bodies;
mod cache;
mod convergence;
mod follower;
mod identity;
mod keys;
mod lifetimes;
mod publisher;
mod sealer;
mod secret;

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
    /// All live exports in the slots that are followed, sorted by address.
    pub exports: Exports,
    /// All hosts that are present, in the order of their names.
    pub hosts: Vec<HostName>,
    /// The slots of which everything is in here.
    pub slots: BTreeSet<Slot>,
    /// The same on all hosts that have seen the same, whatever they follow.
    pub digest: String,
    /// Since when the store is lost or not believed, in seconds since 1970.
    pub since: Option<u64>,
    /// Why the store is not believed.
    pub doubt: Option<String>,
    /// The store was read in this run.
    pub known: bool,
    /// More of a host that is present is on its way: the rest of its set, or what stands beside its
    /// records.
    pub partial: bool,
}

impl Default for ExportsView {
    fn default() -> Self {
        ExportsView {
            state: StoreState::Syncing,
            revision: 0,
            exports: Arc::from([]),
            hosts: Vec::new(),
            slots: BTreeSet::new(),
            digest: String::new(),
            since: None,
            doubt: None,
            known: false,
            partial: false,
        }
    }
}

/// What became of our own exports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PublishView {
    /// How many of them are in the store now.
    pub exports: usize,
    /// How many of these are there as they were, since the turn of their resource has not come.
    pub stays: usize,
    /// What stands in the way (`XE05 …`), or what a noop run would do.
    pub messages: Vec<String>,
    /// What stands in the way may pass: it is tried again.
    pub retrying: bool,
}

impl PublishView {
    /// How many exports nothing is left to do for now, when so many of them wait for the turn of
    /// their resource: the store may have something of these, too, or nothing.
    pub fn settled(&self, awaited: usize) -> usize {
        (self.exports + awaited).saturating_sub(self.stays)
    }
}

/// What the following half is told.
#[derive(Clone, Debug)]
pub struct Reins {
    /// What this host wants to hear of; `None` until the first graph is known.
    pub interest: watch::Sender<Option<Interest>>,
    /// Counts the times that a person took the store as it is.
    pub accept: watch::Sender<u64>,
}

/// A running exchange. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Exchange {
    /// The wanted exports; every new set is published. `None` until the first graph is known, so
    /// that nothing is withdrawn before.
    pub publish: watch::Sender<Option<Vec<Published>>>,
    /// What it is told about following others.
    pub reins: Reins,
    /// What is live; changes only when it differs.
    pub exports: watch::Receiver<ExportsView>,
    /// What this host says about its convergence, once it is known.
    pub say: watch::Sender<Option<Said>>,
    /// What all hosts say about theirs.
    pub said: watch::Receiver<BTreeMap<HostName, Said>>,
    /// What became of ours.
    pub published: watch::Receiver<PublishView>,
    /// What opens the fields that others seal for this host.
    pub key: Option<Arc<PrivateKey>>,
    cancel: CancellationToken,
    withdraw: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the exchange of `host` over `store`. `state_dir` keeps the identity that lets a restart
/// within 60 s go unnoticed, and what was collected from. With `noop` nothing is written. `granted`
/// tells since when the store knows who writes: what is older is written again.
pub fn start(
    store: Arc<dyn Store>,
    host: HostName,
    state_dir: PathBuf,
    noop: bool,
    granted: watch::Receiver<Arc<Grants>>,
) -> Exchange {
    let cancel = CancellationToken::new();
    let withdraw = Arc::new(AtomicBool::new(false));
    let (publish, wanted) = watch::channel(None);
    let (interest, interests) = watch::channel(None);
    let (accept, accepted) = watch::channel(0);
    let (views, exports) = watch::channel(ExportsView::default());
    let (view, published) = watch::channel(PublishView::default());
    let (own_views, own) = watch::channel(OwnView::default());
    let (say, saying) = watch::channel(None);
    let (hearing, said) = watch::channel(BTreeMap::new());
    let (keys_told, keys) = watch::channel(None);
    let key = secret::key(&state_dir);
    let following = {
        let (store, host, cancel, folder) =
            (store.clone(), host.clone(), cancel.clone(), state_dir.clone());
        let (wanted, seen, granted) = (wanted.clone(), exports.clone(), granted.clone());
        async move {
            // A store that ends with its only user knows nothing of an earlier run.
            let lasts = store.leases_run_out();
            let cached = if lasts { cache::read(&folder).await } else { None };
            let known = cached.as_ref().map(|cached| cached.known);
            if let Some(cached) = cached {
                views.send_replace(cached.view);
            }
            let own = own_views;
            let ends = Ends { interest: interests, wanted, views, own, accepted, granted };
            let (follower, news) = Follower::new(store.clone(), host, ends, known);
            let keeping = async {
                if lasts {
                    cache::run(folder, store, seen, cancel.clone()).await;
                }
            };
            tokio::join!(follower.run(news, cancel.clone()), keeping);
        }
    };
    let listening = convergence::run(Arc::clone(&store), hearing, cancel.clone());
    let unlocking = keys::run(Arc::clone(&store), keys_told, cancel.clone());
    let sealer = Sealer::new(host.clone(), key.clone(), keys);
    let (stop, leave) = (cancel.clone(), withdraw.clone());
    let publishing = async move {
        let me = Me { instance: identity::instance(&state_dir).await, run: Uuid::new_v4().into() };
        let publisher = Publisher { store, host, me, noop, wanted, own, saying, granted, view };
        publisher.run(sealer, stop, &leave).await;
    };
    let mut tasks = vec![tokio::spawn(following), tokio::spawn(publishing)];
    tasks.extend([tokio::spawn(listening), tokio::spawn(unlocking)]);
    let reins = Reins { interest, accept };
    Exchange { publish, reins, exports, say, said, published, key, cancel, withdraw, tasks }
}

impl Exchange {
    /// Ends the tasks. Presence is left to expire, so that a restart goes unnoticed, unless what
    /// lives with it has to go at once.
    pub async fn stop(mut self, withdraw: bool) {
        self.withdraw.store(withdraw, Ordering::Release);
        self.cancel.cancel();
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task of the exchange ended early");
            }
        }
    }
}

/// All live exports of all hosts, whether this host's rules want them or not, read now.
///
/// # Errors
/// The store does not answer, or refuses.
pub async fn read_all(store: &dyn Store) -> Result<Exports, StoreError> {
    let mut roster = Roster::default();
    let prefixes = [
        names::records_prefix(),
        names::publishers_prefix(),
        names::presence_prefix(),
        names::hosts_prefix(),
    ];
    for prefix in prefixes {
        let snapshot = store.range(&prefix).await?;
        roster.replace(&prefix, snapshot);
    }
    // Who publishes in this moment is shown as far as it got.
    let open: Vec<HostName> = roster.incomplete().map(|(host, _)| host.clone()).collect();
    for host in open {
        roster.accept(&host);
    }
    Ok(roster.exports())
}

/// Seconds since 1970, by this machine's clock.
fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[cfg(test)]
mod tests;
