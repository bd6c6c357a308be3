//! The following half: changes of the store go through the roster, and views come out.
//!
//! Followed are what hosts say of themselves, the slots that rules of this host need, and this
//! host's own records. Refuses to show anything before the first of these were read completely, to
//! forget anything because the store is lost, and to believe a store that is older than what is
//! known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bodies::Fetching;
use super::{ExportsView, StoreState, unix_now};
use crate::collect::interest::Interest;
use crate::collect::keys::{self, Key};
use crate::collect::publish::{Own, Published};
use crate::collect::roster::{Present, Roster};
use crate::collect::{Exports, Grants, Slot};
use crate::ident::HostName;
use crate::store::follow::{Follow, follow};
use crate::store::{Change, LeaseId, Store};

/// How many messages of all parts wait: each part has a queue of its own behind it.
const QUEUE: usize = 16;

/// How long a collector waits for the rest of a set of a host that is gone: nobody will write it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the store holds of this host, for the publishing half.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnView {
    /// All parts were read completely at least once, and the store answers.
    pub(super) current: bool,
    /// The newest revision of publishers that is in here.
    pub(super) exports_revision: i64,
    /// The newest revision of presences that is in here.
    pub(super) presence_revision: i64,
    /// The slots in which own records are known, with the newest revision of each.
    pub(super) slots: BTreeMap<Slot, i64>,
    /// The records are those that the publisher sums up.
    pub(super) whole: bool,
    /// Records and publisher.
    pub(super) own: Own,
    /// The presence.
    pub(super) present: Option<Present>,
    /// Durations for which exports outlive the presence.
    pub(super) lifetimes: BTreeMap<u64, Option<LeaseId>>,
}

/// What a part is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Publishers,
    Presences,
    /// What all hosts export in a slot.
    Slot(Slot),
    /// What this host exports in a slot.
    Own(Slot),
}

/// One followed prefix.
struct Part {
    prefix: String,
    /// Tells this following of the prefix from an earlier one.
    number: u64,
    /// Read completely at least once.
    complete: bool,
    /// The store answers.
    answers: bool,
    revision: i64,
    /// What was known before it was asked for: parts are read side by side, so only an answer that
    /// is older than this is doubted.
    since: Option<Known>,
    _following: DropGuard,
}

/// Something that happened to a part.
pub(super) struct News {
    of: Of,
    number: u64,
    message: Follow,
}

/// What a store was known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) store: Option<u64>,
    pub(super) revision: i64,
}

/// What the follower is told and tells.
pub(super) struct Ends {
    pub(super) interest: watch::Receiver<Option<Interest>>,
    pub(super) wanted: watch::Receiver<Option<Vec<Published>>>,
    pub(super) views: watch::Sender<ExportsView>,
    pub(super) own: watch::Sender<OwnView>,
    /// Counts the times that a person took the store as it is.
    pub(super) accepted: watch::Receiver<u64>,
    /// What the site says of hosts, which is followed elsewhere.
    pub(super) granted: watch::Receiver<Arc<Grants>>,
}

pub(super) struct Follower {
    store: Arc<dyn Store>,
    host: HostName,
    ends: Ends,
    roster: Roster,
    /// This host's records, which it follows whether its rules want them or not.
    own: Roster,
    parts: BTreeMap<Of, Part>,
    followings: u64,
    to: mpsc::Sender<News>,
    interest: Option<Interest>,
    /// Everything that the rules want was known at least once.
    started: bool,
    /// What the store was when it was believed last.
    known: Option<Known>,
    /// Why it is not believed now.
    doubt: Option<String>,
    fetching: Fetching,
    /// Sets that are not whole, and since when.
    open: BTreeMap<HostName, Instant>,
    /// What is shown differs from the roster.
    behind: bool,
}

impl Follower {
    /// `known` is what an earlier run knew of the store.
    pub(super) fn new(
        store: Arc<dyn Store>,
        host: HostName,
        ends: Ends,
        known: Option<Known>,
    ) -> (Self, mpsc::Receiver<News>) {
        let (to, news) = mpsc::channel(QUEUE);
        let mut own = Roster::default();
        own.follow(BTreeSet::new());
        let follower = Follower {
            fetching: Fetching::new(store.clone()),
            store,
            host,
            ends,
            roster: Roster::default(),
            own,
            parts: BTreeMap::new(),
            followings: 0,
            to,
            interest: None,
            started: false,
            known,
            doubt: None,
            open: BTreeMap::new(),
            behind: false,
        };
        (follower, news)
    }

    /// Follows until cancelled.
    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>, cancel: CancellationToken) {
        for of in [Of::Publishers, Of::Presences] {
            self.follow(of);
        }
        self.granted();
        self.interested();
        self.follow_own();
        loop {
            let patience = self.open.values().min().map(|since| *since + PATIENCE);
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(news) = news.recv() => self.take(news),
                Ok(()) = self.ends.interest.changed() => self.interested(),
                Ok(()) = self.ends.wanted.changed() => self.follow_own(),
                Ok(()) = self.ends.granted.changed() => {
                    self.granted();
                    self.tell();
                }
                Ok(()) = self.ends.accepted.changed() => {
                    (self.known, self.doubt) = (None, None);
                    self.parts.values_mut().for_each(|part| part.since = None);
                    self.tell();
                }
                (digest, content) = self.fetching.next() => {
                    self.behind |= self.roster.fetched(&digest, content);
                    self.look_for_bodies();
                    self.tell();
                }
                () = until(patience) => self.out_of_patience(),
            }
        }
    }

    /// Follows a part that is not followed yet.
    fn follow(&mut self, of: Of) {
        if self.parts.contains_key(&of) {
            return;
        }
        let prefix = match &of {
            Of::Publishers => keys::publishers_prefix(),
            Of::Presences => keys::presence_prefix(),
            Of::Slot(slot) => keys::slot_prefix(slot),
            Of::Own(slot) => keys::own_prefix(slot, &self.host),
        };
        self.followings += 1;
        let (number, to) = (self.followings, self.to.clone());
        let mut messages = follow(self.store.clone(), &prefix);
        let cancel = CancellationToken::new();
        let _following = cancel.clone().drop_guard();
        let about = of.clone();
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    () = cancel.cancelled() => return,
                    message = messages.recv() => message,
                };
                let Some(message) = message else { return };
                let news = News { of: about.clone(), number, message };
                if to.send(news).await.is_err() {
                    return;
                }
            }
        });
        let part = Part {
            prefix,
            number,
            complete: false,
            answers: false,
            revision: 0,
            since: self.known,
            _following,
        };
        self.parts.insert(of, part);
    }

    /// Takes out of service the hosts of which the site says so.
    fn granted(&mut self) {
        let grants = Arc::clone(&self.ends.granted.borrow_and_update());
        let gone = grants.decommissioned();
        self.behind |= self.roster.decommission(&gone);
    }

    /// Follows the slots that the rules need now, and no others.
    fn interested(&mut self) {
        let Some(interest) = self.ends.interest.borrow_and_update().clone() else { return };
        if self.interest.as_ref() == Some(&interest) {
            return;
        }
        let slots = interest.slots();
        self.parts.retain(|of, _| !matches!(of, Of::Slot(slot) if !slots.contains(slot)));
        for slot in &slots {
            self.follow(Of::Slot(slot.clone()));
        }
        self.behind |= self.roster.follow(slots);
        self.behind |= self.roster.want(interest.wanting());
        self.interest = Some(interest);
        self.look_for_bodies();
        self.tell();
    }

    /// Follows this host's own records where it has some or wants some.
    fn follow_own(&mut self) {
        let mut slots = self.own.slots(&self.host);
        if let Some(wanted) = &*self.ends.wanted.borrow_and_update() {
            slots.extend(wanted.iter().map(Published::slot));
        }
        let followed = |of: &Of| matches!(of, Of::Own(slot) if !slots.contains(slot));
        let before = self.parts.len();
        self.parts.retain(|of, _| !followed(of));
        let fewer = self.parts.len() != before;
        let mut more = false;
        for slot in &slots {
            more |= !self.parts.contains_key(&Of::Own(slot.clone()));
            self.follow(Of::Own(slot.clone()));
        }
        if more || fewer {
            self.own.follow(slots);
            self.tell_own();
        }
    }

    fn take(&mut self, news: News) {
        let News { of, number, message } = news;
        let Some(part) = self.parts.get_mut(&of).filter(|part| part.number == number) else {
            return;
        };
        let prefix = part.prefix.clone();
        // Whether the store answers is about this host even when all that changed is of others.
        let answered = part.answers;
        match &message {
            Follow::Reset(snapshot) => {
                (part.complete, part.answers, part.revision) = (true, true, snapshot.revision);
                let now = Known { store: self.store.identity(), revision: snapshot.revision };
                let doubt = part.since.and_then(|known| doubt(known, now));
                self.doubt = self.doubt.take().or(doubt);
            }
            Follow::Changes(batch) => {
                part.answers = true;
                part.revision = part.revision.max(batch.revision);
            }
            Follow::Lost(error) => {
                tracing::debug!(%error, prefix, "the store is lost");
                (part.answers, part.since) = (false, self.known);
            }
        }
        let turned = answered != part.answers;
        let ours = !matches!(of, Of::Slot(_)) && (self.take_own(&prefix, &message) || turned);
        if !matches!(of, Of::Own(_)) {
            self.behind |= match message {
                Follow::Reset(snapshot) => self.roster.replace(&prefix, snapshot),
                Follow::Changes(batch) => self.roster.apply(batch.changes),
                Follow::Lost(_) => false,
            };
        }
        if ours {
            self.follow_own();
            self.tell_own();
        }
        self.look_for_bodies();
        self.look_for_open();
        self.tell();
    }

    /// What a message says of this host; false when that is nothing.
    fn take_own(&mut self, prefix: &str, message: &Follow) -> bool {
        match message {
            Follow::Reset(snapshot) => {
                let mut own = snapshot.clone();
                own.entries.retain(|entry| is_of(&entry.key, &self.host));
                self.own.replace(prefix, own);
                true
            }
            Follow::Changes(batch) => {
                let key = |change: &Change| match change {
                    Change::Put(entry) => is_of(&entry.key, &self.host),
                    Change::Delete { key } => is_of(key, &self.host),
                };
                let own: Vec<Change> =
                    batch.changes.iter().filter(|change| key(change)).cloned().collect();
                let any = !own.is_empty() || batch.changes.is_empty();
                self.own.apply(own);
                any
            }
            Follow::Lost(_) => true,
        }
    }

    fn look_for_bodies(&mut self) {
        self.fetching.want(self.roster.missing());
    }

    fn look_for_open(&mut self) {
        let gone = |(name, present): (&HostName, bool)| (!present).then(|| name.clone());
        let open: BTreeSet<HostName> = self.roster.incomplete().filter_map(gone).collect();
        self.open.retain(|name, _| open.contains(name));
        for name in open {
            self.open.entry(name).or_insert_with(Instant::now);
        }
    }

    /// Nobody completes the set of a host that is gone.
    fn out_of_patience(&mut self) {
        let over = |since: &Instant| *since + PATIENCE <= Instant::now();
        let all: Vec<HostName> = self
            .open
            .iter()
            .filter(|(_, since)| over(since))
            .map(|(name, _)| name.clone())
            .collect();
        for name in all {
            self.open.remove(&name);
            // Slots that are not read yet are not missing for ever.
            if self.all_read() {
                self.behind |= self.roster.accept(&name);
            }
        }
        self.look_for_open();
        self.tell();
    }

    fn tell_own(&self) {
        let parts = |of: &Of| !matches!(of, Of::Slot(_));
        let mut followed = self.parts.iter().filter(|(of, _)| parts(of));
        let revision = |of: Of| self.parts.get(&of).map_or(0, |part| part.revision);
        let slots = self.parts.iter().filter_map(|(of, part)| match of {
            Of::Own(slot) => Some((slot.clone(), part.revision)),
            _ => None,
        });
        self.ends.own.send_replace(OwnView {
            current: followed.all(|(_, part)| part.complete && part.answers),
            exports_revision: revision(Of::Publishers),
            presence_revision: revision(Of::Presences),
            slots: slots.collect(),
            whole: self.own.is_complete(&self.host),
            own: self.own.own(&self.host),
            present: self.own.present(&self.host).cloned(),
            lifetimes: self.own.lifetimes(&self.host),
        });
    }

    /// The parts that what is shown depends on.
    fn shown_parts(&self) -> impl Iterator<Item = (&Of, &Part)> {
        self.parts.iter().filter(|(of, _)| !matches!(of, Of::Own(_)))
    }

    fn all_read(&self) -> bool {
        self.interest.is_some() && self.shown_parts().all(|(_, part)| part.complete)
    }

    fn tell(&mut self) {
        self.started |= self.all_read();
        if !self.started {
            return;
        }
        let answers = self.shown_parts().all(|(_, part)| part.answers || !part.complete);
        let doubt = self.doubt.clone();
        let revision = self.parts.values().map(|part| part.revision).max().unwrap_or_default();
        let state = if answers && doubt.is_none() { StoreState::Live } else { StoreState::Stale };
        if state == StoreState::Live {
            self.known = Some(Known { store: self.store.identity(), revision });
        }
        let read = |(of, part): (&Of, &Part)| match of {
            Of::Slot(slot) if part.complete => Some(slot.clone()),
            _ => None,
        };
        let slots: BTreeSet<Slot> = self.shown_parts().filter_map(read).collect();
        let news = (self.behind && doubt.is_none()).then(|| self.roster.exports());
        self.behind &= doubt.is_some();
        let partial = self.roster.incomplete().any(|(_, present)| present);
        let told = Told { state, revision, slots, doubt, partial };
        self.show(told, news);
    }

    fn show(&self, told: Told, news: Option<Exports>) {
        let Told { state, revision, slots, doubt, partial } = told;
        let (hosts, digest) = match &doubt {
            None => (self.roster.present_hosts(), self.roster.digest()),
            Some(_) => (Vec::new(), String::new()),
        };
        self.ends.views.send_if_modified(|view| {
            let first = !view.known && doubt.is_none();
            let same = (&view.slots, view.partial) == (&slots, partial)
                && (doubt.is_some() || (&view.hosts, &view.digest) == (&hosts, &digest));
            if news.is_none() && !first && same && view.state == state && view.doubt == doubt {
                return false;
            }
            if state == StoreState::Stale && view.since.is_none() {
                view.since = Some(unix_now());
            }
            if state == StoreState::Live {
                view.since = None;
            }
            if doubt.is_none() {
                (view.hosts, view.digest, view.known) = (hosts, digest, true);
                view.revision = revision;
            }
            (view.slots, view.doubt, view.state, view.partial) = (slots, doubt, state, partial);
            if let Some(exports) = news {
                view.exports = exports;
            } else if first {
                view.exports = self.roster.exports();
            }
            true
        });
    }
}

/// What there is to say beside the exports.
struct Told {
    state: StoreState,
    revision: i64,
    slots: BTreeSet<Slot>,
    doubt: Option<String>,
    partial: bool,
}

/// Why a store is not the one that was known.
fn doubt(known: Known, now: Known) -> Option<String> {
    let next =
        "what was collected stays; `quorate collect accept --store` takes the store as it is";
    if known.store.is_some() && now.store.is_some() && known.store != now.store {
        return Some(format!("stale: the store is another one than before; {next}"));
    }
    let (new, old) = (now.revision, known.revision);
    (new < old).then(|| format!("stale: store revision {new} is older than {old}; {next}"))
}

fn is_of(key: &str, host: &HostName) -> bool {
    match keys::parse(key) {
        Some(Key::Record(address)) => address.from == *host,
        Some(
            Key::Publisher(from) | Key::Presence(from) | Key::Lifetime(from, _) | Key::Host(from),
        ) => from == *host,
        None => false,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
