//! The following half: changes of the store go through the roster, and views come out.
//!
//! Refuses to show anything before both parts of the store were read completely, and to forget
//! anything because the store is lost.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{ExportsView, StoreState};
use crate::collect::keys::{self, Key};
use crate::collect::publish::Own;
use crate::collect::roster::{Present, Roster};
use crate::ident::HostName;
use crate::store::follow::{Follow, follow};
use crate::store::{Change, Store};

/// What the store holds of this host, for the publishing half.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnView {
    /// Both parts were read completely at least once, and the store answers.
    pub(super) current: bool,
    /// The newest revision of records and publisher that is in here.
    pub(super) exports_revision: i64,
    /// The newest revision of the presence that is in here.
    pub(super) presence_revision: i64,
    /// Records and publisher.
    pub(super) own: Own,
    /// The presence.
    pub(super) present: Option<Present>,
}

/// One followed prefix.
struct Part {
    prefix: String,
    /// Read completely at least once.
    complete: bool,
    /// The store answers.
    answers: bool,
    revision: i64,
}

impl Part {
    fn new(prefix: String) -> Self {
        Part { prefix, complete: false, answers: false, revision: 0 }
    }
}

pub(super) struct Follower {
    host: HostName,
    roster: Roster,
    exports: Part,
    presence: Part,
    views: watch::Sender<ExportsView>,
    own: watch::Sender<OwnView>,
}

impl Follower {
    pub(super) fn new(
        host: HostName,
        views: watch::Sender<ExportsView>,
        own: watch::Sender<OwnView>,
    ) -> Self {
        Follower {
            host,
            roster: Roster::default(),
            exports: Part::new(keys::exports_prefix()),
            presence: Part::new(keys::presence_prefix()),
            views,
            own,
        }
    }

    /// Follows until cancelled.
    pub(super) async fn run(mut self, store: Arc<dyn Store>, cancel: CancellationToken) {
        let mut exports = follow(Arc::clone(&store), &self.exports.prefix);
        let mut presence = follow(store, &self.presence.prefix);
        loop {
            let (message, is_presence) = tokio::select! {
                () = cancel.cancelled() => return,
                message = next(&mut exports) => (message, false),
                message = next(&mut presence) => (message, true),
            };
            let Some(message) = message else {
                tracing::warn!("the store is no longer followed");
                return;
            };
            self.take(message, is_presence);
        }
    }

    fn take(&mut self, message: Follow, is_presence: bool) {
        let part = if is_presence { &mut self.presence } else { &mut self.exports };
        let mut ours = true;
        let differs = match message {
            Follow::Reset(snapshot) => {
                (part.complete, part.answers, part.revision) = (true, true, snapshot.revision);
                self.roster.replace(&part.prefix, snapshot)
            }
            Follow::Changes(batch) => {
                part.revision = batch.revision;
                ours = batch.changes.iter().any(|change| is_of(change, &self.host));
                self.roster.apply(batch.changes)
            }
            Follow::Lost(error) => {
                tracing::debug!(%error, prefix = part.prefix, "the store is lost");
                part.answers = false;
                false
            }
        };
        if ours {
            self.tell_own();
        }
        self.tell(differs);
    }

    fn tell_own(&self) {
        self.own.send_replace(OwnView {
            current: self.state() == StoreState::Live,
            exports_revision: self.exports.revision,
            presence_revision: self.presence.revision,
            own: self.roster.own(&self.host),
            present: self.roster.present(&self.host).cloned(),
        });
    }

    fn tell(&self, differs: bool) {
        let state = self.state();
        if state == StoreState::Syncing {
            return;
        }
        let hosts = self.roster.present_hosts();
        self.views.send_if_modified(|view| {
            let first = view.state == StoreState::Syncing;
            if !differs && view.state == state && view.hosts == hosts {
                return false;
            }
            view.hosts = hosts;
            if differs || first {
                view.exports = self.roster.exports();
                view.revision = self.exports.revision.max(self.presence.revision);
            }
            view.state = state;
            true
        });
    }

    fn state(&self) -> StoreState {
        if !(self.exports.complete && self.presence.complete) {
            StoreState::Syncing
        } else if self.exports.answers && self.presence.answers {
            StoreState::Live
        } else {
            StoreState::Stale
        }
    }
}

async fn next(messages: &mut mpsc::Receiver<Follow>) -> Option<Follow> {
    messages.recv().await
}

fn is_of(change: &Change, host: &HostName) -> bool {
    let key = match change {
        Change::Put(entry) => &entry.key,
        Change::Delete { key } => key,
    };
    match keys::parse(key) {
        Some(Key::Record(address)) => address.from == *host,
        Some(Key::Publisher(from) | Key::Presence(from)) => from == *host,
        None => false,
    }
}
