//! What this host does with keys: it seals what it exports, anew when a key differs, and shows its
//! own for others to seal by.
//!
//! Refuses to seal before the keys of others were read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::keys::Known;
use crate::collect::keys;
use crate::collect::publish::{Published, Sealing};
use crate::collect::sealing::{self, Keys};
use crate::ident::HostName;
use crate::seal::{PrivateKey, PublicKey};
use crate::spec::HostSelector;
use crate::store::Op;

/// The least time from one writing of our key to the next: who else writes it must not drive us.
const PAUSE: Duration = Duration::from_secs(1);

/// The keys that a set of exports is sealed by.
type Recipients = BTreeMap<HostName, Option<PublicKey>>;

pub(super) struct Sealer {
    host: HostName,
    key: Option<Arc<PrivateKey>>,
    keys: watch::Receiver<Known>,
    /// What was sealed last: of what, by which keys, and what it became.
    last: Option<(Vec<Published>, Recipients, Arc<[Published]>)>,
    /// When our key was written last, and until when that is not repeated.
    shown: Option<Instant>,
}

impl Sealer {
    pub(super) fn new(
        host: HostName,
        key: Option<Arc<PrivateKey>>,
        keys: watch::Receiver<Known>,
    ) -> Self {
        Sealer { host, key, keys, last: None, shown: None }
    }

    /// Waits until the keys differ; for ever when nobody follows them any more.
    pub(super) async fn changed(&mut self) {
        if self.keys.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Something that was wanted last had to be sealed.
    pub(super) fn seals(&self) -> bool {
        self.last.is_some()
    }

    /// What was sealed last may have to be sealed anew.
    pub(super) fn differs(&self) -> bool {
        self.seals() && self.keys.has_changed().unwrap_or(false)
    }

    /// What is wanted, sealed as far as it can be; nothing before the keys are known. `since` is
    /// since when the store knows who writes.
    pub(super) fn seal(
        &mut self,
        wanted: Vec<Published>,
        since: Option<i64>,
    ) -> Option<Arc<[Published]>> {
        let known = self.keys.borrow_and_update().clone();
        if wanted.iter().all(|one| one.sealing == Sealing::Open) {
            self.last = None;
            return Some(wanted.into());
        }
        let (keys, key) = (known?, self.key.clone()?);
        let recipients = recipients(&wanted, &keys, since);
        if let Some((of, by, made)) = &self.last
            && (of, by) == (&wanted, &recipients)
        {
            return Some(Arc::clone(made));
        }
        let sealer = sealing::Sealer { host: &self.host, key: &key, keys: &keys, since };
        let made: Arc<[Published]> = wanted.iter().map(|one| sealer.seal(one)).collect();
        self.last = Some((wanted, recipients, Arc::clone(&made)));
        Some(made)
    }

    /// What has to be written so that others know our key, and when to look again if that is not
    /// now. Nothing once the store holds it.
    pub(super) fn show(&mut self, since: Option<i64>) -> (Option<Op>, Option<Instant>) {
        let (Some(keys), Some(key)) = (self.keys.borrow().clone(), &self.key) else {
            return (None, None);
        };
        let public = key.public();
        if keys.get(&self.host, since) == Some(&public) {
            return (None, None);
        }
        let now = Instant::now();
        if let Some(again) = self.shown.map(|at| at + PAUSE).filter(|again| *again > now) {
            return (None, Some(again));
        }
        self.shown = Some(now);
        let (key, value) = (keys::seal_key(&self.host), sealing::encode(&public));
        (Some(Op::Put { key, value, lease: None }), Some(now + PAUSE))
    }
}

fn recipients(wanted: &[Published], keys: &Keys, since: Option<i64>) -> Recipients {
    let sealed = wanted.iter().filter(|one| one.sealing != Sealing::Open);
    let names = sealed.flat_map(|one| match &one.to {
        HostSelector::Names(names) => names.as_slice(),
        HostSelector::Labels(_) => &[],
    });
    let hosts = names.filter_map(|name| HostName::parse(name).ok());
    hosts.map(|host| (host.clone(), keys.get(&host, since).copied())).collect()
}
