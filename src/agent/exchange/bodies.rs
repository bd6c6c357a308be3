//! Fetches the bodies that rules of this host want, piece by piece.
//!
//! Refuses to fetch more than the record names, and to hand on what is not what it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::collect::record::{Body, content_of};
use crate::collect::{Content, keys};
use crate::ident::HostName;
use crate::store::{Store, StoreError};

/// How many are fetched at once: each may be 16 MiB in memory twice.
const AT_ONCE: usize = 4;
/// The pause before a store that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Fetching {
    store: Arc<dyn Store>,
    wanted: BTreeMap<String, (HostName, Body)>,
    under_way: BTreeSet<String>,
    tasks: JoinSet<(String, Content)>,
}

impl Fetching {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (wanted, under_way) = (BTreeMap::new(), BTreeSet::new());
        Fetching { store, wanted, under_way, tasks: JoinSet::new() }
    }

    /// These are wanted now, and no others.
    pub(super) fn want(&mut self, wanted: BTreeMap<String, (HostName, Body)>) {
        self.wanted = wanted;
        self.begin();
    }

    fn begin(&mut self) {
        let next = self.wanted.iter().filter(|(digest, _)| !self.under_way.contains(*digest));
        let free = AT_ONCE.saturating_sub(self.under_way.len());
        let next: Vec<(HostName, Body)> = next.take(free).map(|(_, one)| one.clone()).collect();
        for (from, body) in next {
            self.under_way.insert(body.digest.clone());
            let store = self.store.clone();
            self.tasks.spawn(async move {
                let content = fetch(&*store, &from, &body).await;
                (body.digest, content)
            });
        }
    }

    /// The next one that was fetched; waits for ever when none is under way.
    pub(super) async fn next(&mut self) -> (String, Content) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((digest, content))) => {
                    self.under_way.remove(&digest);
                    self.wanted.remove(&digest);
                    self.begin();
                    return (digest, content);
                }
                Some(Err(error)) => tracing::error!(%error, "fetching a body ended early"),
                None => std::future::pending().await,
            }
        }
    }
}

async fn fetch(store: &dyn Store, from: &HostName, body: &Body) -> Content {
    let mut bytes = Vec::with_capacity(body.size);
    for number in 0..body.chunks() {
        let key = keys::chunk(from, &body.digest, number);
        let piece = loop {
            match store.range(&key).await {
                Ok(found) => break found.entries.into_iter().find(|entry| entry.key == key),
                Err(StoreError::Refused(why)) => {
                    return Content::Broken(format!("its body cannot be read: {why}"));
                }
                Err(error) => tracing::debug!(%error, key, "a body has to wait"),
            }
            sleep(RETRY).await;
        };
        let wanted = body.bytes_of(number);
        match piece {
            Some(entry) if entry.value.len() == wanted => bytes.extend(entry.value),
            Some(entry) => {
                let found = entry.value.len();
                let text = format!("piece {number} of its body has {found} bytes, not {wanted}");
                return Content::Broken(text);
            }
            None => return Content::Broken(format!("piece {number} of its body is missing")),
        }
    }
    content_of(body, &bytes)
}
