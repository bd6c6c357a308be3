//! Which member is asked (3.10): one channel per URL, bound to a cluster id, one sticky active.
//!
//! The client crate does no failover: with three URLs and one refused, a quarter of its calls fail.
//! Refuses to forget its last URL, to use a learner, and to use a member of another cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, ResponseHeader};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Access;

/// How long a member may take to say what it is.
const PROBE: Duration = Duration::from_millis(500);
/// How long to wait between two rounds of asking everybody, at least and at most.
const ROUND: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Which part of the silence so far the next pause is: who comes back is found by a sixteenth late,
/// and nobody is asked often who stays away.
const PART: u32 = 16;
/// How often the active endpoint is checked and the members are listed again.
const REVIEW: Duration = Duration::from_secs(2);
/// HTTP/2 pings of channels with open streams, so that a hung member is noticed. etcd ends
/// connections that are pinged more often than every 5 s unless it was told otherwise, as our
/// children are.
const PING_OTHERS: Duration = Duration::from_secs(5);
const PING_OURS: Duration = Duration::from_secs(2);
const PING_ANSWER: Duration = Duration::from_secs(2);

/// A channel to one member that has proved what it is.
#[derive(Clone)]
pub struct Bound {
    url: Arc<str>,
    client: Client,
    cluster: u64,
    /// Tells a channel from its successor at the same URL.
    serial: u64,
}

impl Bound {
    /// The client. Every request of it demands a leader.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where it leads.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The cluster that it belongs to.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// Whether an answer came from our cluster. A missing header, as some answers have, counts as
    /// ours.
    pub fn owns(&self, header: Option<&ResponseHeader>) -> bool {
        header.is_none_or(|h| h.cluster_id() == self.cluster)
    }
}

#[derive(Default)]
struct Inner {
    urls: Vec<String>,
    /// Asked too when none of the others is fit: the voters may all have changed while nobody
    /// looked.
    initial: Vec<String>,
    expected: Option<u64>,
    active: Option<Bound>,
    /// Since when nobody was fit, while that is so.
    silent: Option<Instant>,
    serial: u64,
    /// Clusters other than ours that answered, for people.
    foreign: Option<(String, u64)>,
}

/// The members that a client may ask.
pub struct Endpoints {
    inner: Mutex<Inner>,
    changed: Notify,
    /// One choice at a time: callers that find no active endpoint wait for the same answer.
    choosing: tokio::sync::Mutex<()>,
    ping: Duration,
    access: Arc<Access>,
}

impl Endpoints {
    /// Endpoints at these URLs. `ours` says that their etcd is started by agents. `expected` is the
    /// cluster's id, when it is known; else the first that answers is believed.
    pub fn new(urls: Vec<String>, expected: Option<u64>, ours: bool) -> Arc<Self> {
        Endpoints::reached(urls, expected, ours, Arc::default())
    }

    /// The same, with certificates or a password.
    pub fn reached(
        urls: Vec<String>,
        expected: Option<u64>,
        ours: bool,
        access: Arc<Access>,
    ) -> Arc<Self> {
        Arc::new(Endpoints {
            inner: Mutex::new(Inner { initial: urls.clone(), urls, expected, ..Inner::default() }),
            changed: Notify::new(),
            choosing: tokio::sync::Mutex::new(()),
            ping: if ours { PING_OURS } else { PING_OTHERS },
            access,
        })
    }

    /// The URLs at present.
    pub fn urls(&self) -> Vec<String> {
        self.guard().urls.clone()
    }

    /// The cluster that answers are taken from, once known.
    pub fn expected(&self) -> Option<u64> {
        self.guard().expected
    }

    /// The last stranger that answered at one of the present URLs, with its cluster's id.
    pub fn foreign(&self) -> Option<(String, u64)> {
        let inner = self.guard();
        inner.foreign.clone().filter(|(url, _)| inner.urls.contains(url))
    }

    /// Takes answers only from this cluster from now on.
    pub fn bind(&self, cluster: u64) {
        let mut inner = self.guard();
        inner.expected = Some(cluster);
        if inner.active.as_ref().is_some_and(|a| a.cluster != cluster) {
            inner.active = None;
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Replaces the URLs, unless there are none in the new list.
    pub fn set(&self, urls: Vec<String>) {
        let mut inner = self.guard();
        if urls.is_empty() || inner.urls == urls {
            return;
        }
        inner.urls = urls;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Adds a URL, first in order.
    pub fn add(&self, url: &str) {
        let mut urls = self.urls();
        urls.retain(|u| u != url);
        urls.insert(0, url.to_owned());
        self.set(urls);
    }

    /// This channel is of no use now. Does nothing when another has taken its place.
    pub fn fail(&self, bound: &Bound) {
        let mut inner = self.guard();
        if inner.active.as_ref().is_some_and(|a| a.serial == bound.serial) {
            inner.active = None;
        }
    }

    /// Has the next call open a channel of its own, with what is shown to servers by now.
    pub fn renew(&self) {
        self.guard().active = None;
        self.changed.notify_waiters();
    }

    /// The active endpoint; waits until there is one. One search goes on at a time, its pauses
    /// included, however many wait: each try costs a handshake where certificates are shown.
    pub async fn acquire(&self) -> Bound {
        loop {
            if let Some(active) = self.guard().active.clone() {
                return active;
            }
            let _choosing = self.choosing.lock().await;
            if self.guard().active.is_some() {
                continue;
            }
            let changed = self.changed.notified();
            if let Some(chosen) = self.choose().await {
                // At once: the only seed may be gone before the next review.
                self.learn(&chosen).await;
                continue;
            }
            let since = *self.guard().silent.get_or_insert_with(Instant::now);
            // No answer and nothing new: the members themselves cannot tell us when they are back.
            timeout(pause(since.elapsed()), changed).await.ok();
        }
    }

    /// Asks everybody at once and takes the first that is fit.
    async fn choose(&self) -> Option<Bound> {
        let (urls, expected) = {
            let inner = self.guard();
            let mut urls = inner.urls.clone();
            urls.extend(inner.initial.iter().filter(|url| !inner.urls.contains(url)).cloned());
            (urls, inner.expected)
        };
        let mut asked: FuturesUnordered<_> =
            urls.iter().map(|url| self.examine(url, expected)).collect();
        while let Some(answer) = asked.next().await {
            let mut inner = self.guard();
            match answer {
                Examined::Fit(client, cluster, url) => {
                    if inner.expected.is_some_and(|expected| expected != cluster) {
                        continue;
                    }
                    inner.expected = Some(cluster);
                    inner.serial += 1;
                    let serial = inner.serial;
                    tracing::debug!(endpoint = url, "store endpoint chosen");
                    let bound = Bound { url: url.into(), client: *client, cluster, serial };
                    inner.active = Some(bound.clone());
                    inner.silent = None;
                    return Some(bound);
                }
                Examined::Foreign(cluster, url) => inner.foreign = Some((url, cluster)),
                Examined::Unfit => {}
            }
        }
        None
    }

    /// Takes the voters' URLs from the member that this channel leads to.
    async fn learn(&self, bound: &Bound) {
        let mut client = bound.client();
        if let Ok(Ok(list)) = timeout(PROBE, client.member_list()).await
            && bound.owns(list.header())
        {
            let voters = list.members().iter().filter(|m| !m.is_learner());
            let urls = voters.flat_map(|m| m.client_urls().iter().cloned()).collect();
            self.set(in_stable_order(&self.urls(), urls));
        }
    }

    /// What is at a URL.
    async fn examine(&self, url: &str, expected: Option<u64>) -> Examined {
        let Ok(mut client) = self.connect(url).await else { return Examined::Unfit };
        let Ok(Ok(status)) = timeout(PROBE, client.status()).await else { return Examined::Unfit };
        let Some(cluster) = status.header().map(ResponseHeader::cluster_id) else {
            return Examined::Unfit;
        };
        if expected.is_some_and(|expected| expected != cluster) {
            return Examined::Foreign(cluster, url.to_owned());
        }
        if status.leader() == 0 || status.is_learner() {
            return Examined::Unfit;
        }
        Examined::Fit(Box::new(client), cluster, url.to_owned())
    }

    async fn connect(&self, url: &str) -> Result<Client, etcd_client::Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(PROBE)
            .with_keep_alive(self.ping, PING_ANSWER)
            // Pings without a stream would make etcd end the connection.
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        self.access.connect(url, options, PROBE).await
    }

    /// Checks the active endpoint and learns the voters' URLs from it, for as long as it is polled.
    /// Finds a replaced member behind the same URL even when no call is made.
    pub async fn review(&self) {
        loop {
            tokio::time::sleep(REVIEW).await;
            let Some(active) = self.guard().active.clone() else { continue };
            let mut client = active.client();
            let healthy = match timeout(PROBE * 2, client.status()).await {
                Ok(Ok(s)) => active.owns(s.header()) && s.leader() != 0 && !s.is_learner(),
                _ => false,
            };
            if !healthy {
                self.fail(&active);
                continue;
            }
            self.learn(&active).await;
        }
    }

    fn guard(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Examined {
    Fit(Box<Client>, u64, String),
    Foreign(u64, String),
    Unfit,
}

/// The next pause of who has waited so long.
fn pause(waited: Duration) -> Duration {
    (waited / PART).clamp(ROUND.0, ROUND.1)
}

/// The new URLs, those known before first and in their order.
fn in_stable_order(known: &[String], mut new: Vec<String>) -> Vec<String> {
    new.sort();
    new.dedup();
    let place = |url: &String| known.iter().position(|k| k == url).unwrap_or(usize::MAX);
    new.sort_by_key(place);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn the_list_never_becomes_empty() {
        let endpoints = Endpoints::new(texts(&["http://a", "http://b"]), None, true);
        endpoints.set(Vec::new());
        assert_eq!(endpoints.urls(), ["http://a", "http://b"]);
        endpoints.set(texts(&["http://c"]));
        endpoints.add("http://own");
        endpoints.add("http://own");
        assert_eq!(endpoints.urls(), ["http://own", "http://c"]);
    }

    #[test]
    fn who_comes_back_is_found_by_a_sixteenth_late_and_who_stays_away_is_asked_seldom() {
        let (mut waited, mut rounds) = (Duration::ZERO, 0);
        while waited < Duration::from_secs(60) {
            let next = pause(waited);
            assert!(next <= ROUND.0.max(waited / PART), "{waited:?}: {next:?}");
            waited += next;
            rounds += 1;
        }
        assert!(rounds < 200, "{rounds} rounds in a minute");
    }

    #[tokio::test]
    async fn many_who_wait_for_an_endpoint_search_as_often_as_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let endpoints = Endpoints::new(vec![url], None, true);
        let waiting = futures_util::future::join_all((0..20).map(|_| endpoints.acquire()));
        let mut tries = 0;
        let counting = async {
            // Each is turned away at once.
            while listener.accept().await.is_ok() {
                tries += 1;
            }
        };
        let both = async { tokio::join!(waiting, counting) };
        assert!(timeout(Duration::from_secs(1), both).await.is_err(), "nobody serves there");
        assert!((2..100).contains(&tries), "{tries} tries of twenty who wait");
    }

    #[test]
    fn known_urls_keep_their_order() {
        let known = texts(&["http://own", "http://c"]);
        let new = texts(&["http://a", "http://c", "http://own", "http://a"]);
        assert_eq!(in_stable_order(&known, new), ["http://own", "http://c", "http://a"]);
    }
}
