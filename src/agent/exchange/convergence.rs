//! What the hosts of a cluster say about their convergence, followed.
//!
//! Refuses to judge it, and to forget what was said because the store is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::collect::convergence::Said;
use crate::collect::keys;
use crate::ident::HostName;
use crate::store::follow::{Follow, follow};
use crate::store::{Change, Store};

/// Follows until cancelled.
pub(super) async fn run(
    store: Arc<dyn Store>,
    said: watch::Sender<BTreeMap<HostName, Said>>,
    cancel: CancellationToken,
) {
    let mut news = follow(store, &keys::convergence_prefix());
    loop {
        let message = tokio::select! {
            () = cancel.cancelled() => return,
            message = news.recv() => message,
        };
        let Some(message) = message else { return };
        said.send_if_modified(|said| {
            let before = said.clone();
            take(said, message);
            *said != before
        });
    }
}

fn take(said: &mut BTreeMap<HostName, Said>, message: Follow) {
    let changes = match message {
        Follow::Lost(_) => return,
        Follow::Changes(batch) => batch.changes,
        Follow::Reset(snapshot) => {
            said.clear();
            snapshot.entries.into_iter().map(Change::Put).collect()
        }
    };
    for change in changes {
        let (key, value) = match change {
            Change::Put(entry) => (entry.key, Said::decode(&entry.value)),
            Change::Delete { key } => (key, None),
        };
        let Some(host) = keys::convergence_of(&key) else { continue };
        match value {
            Some(value) => drop(said.insert(host, value)),
            None => drop(said.remove(&host)),
        }
    }
}
