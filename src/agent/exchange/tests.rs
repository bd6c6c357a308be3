//! Claims about exchanges over a store of this process. Time is virtual: it moves on only while
//! everything waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::collect::{Address, Content, keys};
use crate::spec::{Fields, Value};
use crate::store::memory::MemoryStore;
use crate::store::{Committed, LeaseId, Op, Snapshot, StoreError, Txn, Watched};

/// Longer than any lease.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store that can go away and come back, for all its users at once.
#[derive(Default)]
struct Switched {
    inner: MemoryStore,
    gone: watch::Sender<bool>,
    /// Every transaction that was tried.
    tried: Mutex<Vec<Txn>>,
    refreshed: AtomicUsize,
}

impl Switched {
    fn check(&self) -> Result<(), StoreError> {
        match *self.gone.borrow() {
            true => Err(StoreError::Unavailable("switched off".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Switched {
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.check()?;
        self.inner.range(prefix).await
    }

    async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError> {
        self.check()?;
        let mut inner = self.inner.watch(prefix, from).await?;
        let mut gone = self.gone.subscribe();
        let (to, watched) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    _ = gone.wait_for(|gone| *gone) => None,
                    message = inner.recv() => message,
                };
                let last = message.is_none();
                let message = message
                    .unwrap_or_else(|| Err(StoreError::Unavailable("switched off".to_owned())));
                if to.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(watched)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        self.check()?;
        self.tried.lock().unwrap().push(txn.clone());
        self.inner.txn(txn).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.check()?;
        self.inner.grant(ttl).await
    }

    async fn refresh(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check()?;
        self.refreshed.fetch_add(1, Ordering::Relaxed);
        self.inner.refresh(lease).await
    }

    fn leases_run_out(&self) -> bool {
        self.inner.leases_run_out()
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check()?;
        self.inner.revoke(lease).await
    }
}

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn published(name: &str, content: &str) -> Published {
    let fields = Fields::from([("content".to_owned(), Value::Str(content.to_owned()))]);
    Published::plain("default", "file", name, fields)
}

/// Store and state folders of one test.
struct Site {
    store: Arc<Switched>,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Site { store: Arc::default(), folder: tempfile::tempdir().unwrap() }
    }

    fn start_in(&self, folder: &str, name: &str, noop: bool) -> Exchange {
        let folder = self.folder.path().join(folder);
        // Nobody says anything about the site.
        let granted = watch::channel(Arc::default()).1;
        start(self.store.clone(), host(name), folder, noop, granted)
    }

    fn start(&self, name: &str, exports: &[Published]) -> Exchange {
        let exchange = self.start_in(name, name, false);
        exchange.publish.send_replace(Some(exports.to_vec()));
        exchange
    }

    async fn lease(&self, name: &str) -> Option<LeaseId> {
        let entries = self.store.inner.range(&keys::presence(&host(name))).await.unwrap().entries;
        entries.first()?.lease
    }

    async fn revision(&self) -> i64 {
        self.store.inner.range("/").await.unwrap().revision
    }
}

fn names(view: &ExportsView) -> Vec<String> {
    let name = |export: &Arc<crate::collect::Export>| {
        let Address { from, name, .. } = &export.address;
        let content = match &export.content {
            Content::Fields(fields) => match fields.get("content") {
                Some(Value::Str(text)) => text.clone(),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        };
        format!("{from} {name} {content}")
    };
    view.exports.iter().map(name).collect()
}

async fn shows(exchange: &Exchange, wanted: &[&str]) {
    let mut exports = exchange.exports.clone();
    let found = timeout(PATIENCE, exports.wait_for(|view| names(view) == wanted)).await;
    assert!(found.is_ok(), "wanted {wanted:?}, is {:?}", names(&exchange.exports.borrow()));
}

async fn says(exchange: &Exchange, wanted: &str) {
    let mut published = exchange.published.clone();
    let said = |view: &PublishView| view.messages.iter().any(|message| message.contains(wanted));
    let found = timeout(PATIENCE, published.wait_for(said)).await;
    assert!(found.is_ok(), "wanted {wanted:?}, is {:?}", exchange.published.borrow());
}

async fn is(exchange: &Exchange, state: StoreState) {
    let mut exports = exchange.exports.clone();
    let found = timeout(PATIENCE, exports.wait_for(|view| view.state == state)).await;
    assert!(found.is_ok(), "wanted {state:?}, is {:?}", exchange.exports.borrow().state);
}

#[tokio::test(start_paused = true)]
async fn each_host_sees_all_exports_its_own_included() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1"), published("/tmp/b", "2")]);
    let two = site.start("h2", &[published("a", "3")]);
    for exchange in [&one, &two] {
        shows(exchange, &["h1 /tmp/b 2", "h1 a 1", "h2 a 3"]).await;
        is(exchange, StoreState::Live).await;
    }
    one.publish.send_replace(Some(vec![published("a", "new")]));
    for exchange in [&one, &two] {
        shows(exchange, &["h1 a new", "h2 a 3"]).await;
    }
    two.publish.send_replace(Some(vec![]));
    shows(&one, &["h1 a new"]).await;
    assert_eq!(one.published.borrow().exports, 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_died_is_withdrawn_when_its_lease_ends() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    sleep(Duration::from_secs(600)).await;
    shows(&two, &["h1 a 1"]).await;
    let died = Instant::now();
    drop(one);
    shows(&two, &[]).await;
    let after = died.elapsed().as_secs();
    assert!((40..=61).contains(&after), "F1: {after} s after its death, 60 s after a refresh");
}

#[tokio::test(start_paused = true)]
async fn a_host_on_its_own_keeps_its_exports_without_waking_up_for_them() {
    let alone = Switched { inner: MemoryStore::alone(), ..Switched::default() };
    let site = Site { store: Arc::new(alone), ..Site::new() };
    let one = site.start("h1", &[published("a", "1")]);
    shows(&one, &["h1 a 1"]).await;
    sleep(Duration::from_secs(20)).await;
    let refreshed = || site.store.refreshed.load(Ordering::Relaxed);
    let (revision, before) = (site.revision().await, refreshed());
    sleep(Duration::from_secs(24 * 3600)).await;
    shows(&one, &["h1 a 1"]).await;
    assert_eq!((site.revision().await, refreshed()), (revision, before));
}

#[tokio::test(start_paused = true)]
async fn a_restart_within_the_lease_goes_unnoticed() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    one.stop().await;
    sleep(Duration::from_secs(30)).await;
    let revision = site.revision().await;
    let mut seen = two.exports.clone();
    seen.mark_unchanged();
    let one = site.start("h1", &[published("a", "1")]);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(site.revision().await, revision, "F2: nothing was written");
    assert!(!seen.has_changed().unwrap());
    shows(&two, &["h1 a 1"]).await;
    assert_eq!(one.published.borrow().exports, 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_graph_lost_while_the_agent_was_down_is_never_shown_again() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1"), published("b", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1", "h1 b 1"]).await;
    one.stop().await;
    shows(&two, &[]).await;
    let mut seen = two.exports.clone();
    seen.mark_unchanged();
    let _one = site.start("h1", &[published("b", "1")]);
    timeout(PATIENCE, seen.changed()).await.unwrap().unwrap();
    assert_eq!(names(&seen.borrow()), ["h1 b 1"], "F3");
}

#[tokio::test(start_paused = true)]
async fn a_noop_run_writes_nothing_and_says_what_it_would_do() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1"), published("b", "1")]);
    shows(&one, &["h1 a 1", "h1 b 1"]).await;
    one.stop().await;
    let revision = site.revision().await;
    let noop = site.start_in("h1", "h1", true);
    noop.publish.send_replace(Some(vec![]));
    says(&noop, "would withdraw 2 exports").await;
    noop.publish.send_replace(Some(vec![published("a", "2"), published("b", "1")]));
    says(&noop, "would publish 1 export").await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(site.revision().await, revision, "F4");
    shows(&noop, &["h1 a 1", "h1 b 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn two_agents_with_one_host_name_do_not_replace_each_others_exports() {
    let site = Site::new();
    let first = site.start("h1", &[published("a", "first")]);
    shows(&first, &["h1 a first"]).await;
    let second = site.start_in("copy", "h1", false);
    second.publish.send_replace(Some(vec![published("a", "second")]));
    says(&second, "XE05 host name h1 in use by instance ").await;
    let revision = site.revision().await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(site.revision().await, revision, "F7, D6");
    first.stop().await;
    shows(&second, &["h1 a second"]).await;
    assert_eq!(second.published.borrow().messages, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn two_agents_with_copies_of_one_state_folder_do_not_either() {
    let site = Site::new();
    let first = site.start("h1", &[published("a", "first")]);
    shows(&first, &["h1 a first"]).await;
    let second = site.start("h1", &[published("a", "second")]);
    says(&first, "XE05 host name h1 in use by another agent with a copy").await;
    let revision = site.revision().await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(site.revision().await, revision);
    shows(&first, &["h1 a second"]).await;
    second.stop().await;
    shows(&first, &["h1 a first"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_keeps_the_last_good_set() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    site.store.gone.send_replace(true);
    is(&two, StoreState::Stale).await;
    one.publish.send_replace(Some(vec![published("a", "2")]));
    sleep(Duration::from_secs(30)).await;
    shows(&two, &["h1 a 1"]).await;
    site.store.gone.send_replace(false);
    is(&two, StoreState::Live).await;
    shows(&two, &["h1 a 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shown_before_the_store_was_read_completely() {
    let site = Site::new();
    site.store.gone.send_replace(true);
    let one = site.start("h1", &[published("a", "1")]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(one.exports.borrow().state, StoreState::Syncing);
    site.store.gone.send_replace(false);
    shows(&one, &["h1 a 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_taken_again() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    let lost = site.lease("h1").await.unwrap();
    site.store.inner.revoke(lost).await.unwrap();
    assert_eq!(site.lease("h1").await, None);
    let again = async {
        while site.lease("h1").await.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    shows(&two, &["h1 a 1"]).await;
    sleep(Duration::from_secs(300)).await;
    shows(&two, &["h1 a 1"]).await;
    one.stop().await;
}

#[tokio::test(start_paused = true)]
async fn records_that_somebody_removed_or_damaged_are_put_back() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1"), published("b", "1")]);
    shows(&one, &["h1 a 1", "h1 b 1"]).await;
    let records = site.store.inner.range("/quorate/1/x/").await.unwrap().entries;
    let ops = vec![
        Op::Delete { key: records[0].key.clone() },
        Op::Put { key: records[1].key.clone(), value: b"garbage".to_vec(), lease: None },
        Op::Put { key: format!("{}x", records[1].key), value: b"{}".to_vec(), lease: None },
    ];
    site.store.inner.txn(Txn { when: vec![], then: ops }).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    shows(&one, &["h1 a 1", "h1 b 1"]).await;
    let repaired = site.store.inner.range("/quorate/1/x/").await.unwrap().entries;
    let keys = |entries: &[crate::store::Entry]| {
        entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&repaired), keys(&records));
}

#[tokio::test(start_paused = true)]
async fn a_large_set_is_seen_as_a_whole() {
    let site = Site::new();
    let two = site.start("h2", &[]);
    is(&two, StoreState::Live).await;
    let mut seen = two.exports.clone();
    let sizes = tokio::spawn(async move {
        let mut sizes = Vec::new();
        while sizes.last() != Some(&400) {
            seen.changed().await.unwrap();
            sizes.push(seen.borrow_and_update().exports.len());
        }
        sizes
    });
    let set = |count: usize| (0..count).map(|at| published(&format!("f{at}"), "1")).collect();
    let one = site.start_in("h1", "h1", false);
    for count in [300, 400] {
        one.publish.send_replace(Some(set(count)));
        let mut published = one.published.clone();
        timeout(PATIENCE, published.wait_for(|view| view.exports == count)).await.unwrap().unwrap();
        let mut own = one.exports.clone();
        timeout(PATIENCE, own.wait_for(|view| view.exports.len() == count)).await.unwrap().unwrap();
    }
    let sizes = timeout(PATIENCE, sizes).await.unwrap().unwrap();
    assert!(sizes.iter().all(|size| [0, 300, 400].contains(size)), "F10: {sizes:?}");
    let tried = site.store.tried.lock().unwrap();
    assert!(tried.iter().all(|txn| txn.then.len() <= 128), "etcd's limit");
}

#[tokio::test(start_paused = true)]
async fn a_host_is_not_present_before_its_graph_is_known() {
    let site = Site::new();
    let one = site.start_in("h1", "h1", false);
    is(&one, StoreState::Live).await;
    sleep(Duration::from_secs(60)).await;
    assert!(site.store.tried.lock().unwrap().is_empty());
    one.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_host_says_about_its_convergence_is_heard_as_long_as_it_is_there() {
    let site = Site::new();
    let one = site.start("h1", &[]);
    let two = site.start("h2", &[]);
    let hears = async |wanted: &[(&str, bool)]| {
        let matches = |said: &BTreeMap<HostName, Said>| {
            let said = said.iter().map(|(from, said)| (from.as_str(), said.converged));
            said.eq(wanted.iter().copied())
        };
        let mut said = one.said.clone();
        assert!(timeout(PATIENCE, said.wait_for(matches)).await.is_ok(), "wanted {wanted:?}");
    };
    one.say.send_replace(Some(Said::new(1, "e", true)));
    two.say.send_replace(Some(Said::new(1, "e", false)));
    hears(&[("h1", true), ("h2", false)]).await;
    two.say.send_replace(Some(Said::new(1, "e", true)));
    hears(&[("h1", true), ("h2", true)]).await;
    let both = ["h1", "h2"].map(host);
    assert_eq!(one.exports.borrow().hosts, both);
    two.stop().await;
    hears(&[("h1", true)]).await;
    let mut exports = one.exports.clone();
    assert!(timeout(PATIENCE, exports.wait_for(|view| view.hosts == both[..1])).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_wavers_says_so_at_most_twice_a_second() {
    let site = Site::new();
    let one = site.start("h1", &[]);
    for round in 0..100 {
        one.say.send_replace(Some(Said::new(round, "e", round % 2 == 0)));
        sleep(Duration::from_millis(50)).await;
    }
    let mut said = one.said.clone();
    let last = |said: &BTreeMap<HostName, Said>| said.values().any(|one| one.generation == 99);
    assert!(timeout(PATIENCE, said.wait_for(last)).await.is_ok(), "the last word counts");
    let key = keys::convergence(&host("h1"));
    let tried = site.store.tried.lock().unwrap();
    let ops = tried.iter().flat_map(|txn| &txn.then);
    let writes = ops.filter(|op| matches!(op, Op::Put { key: of, .. } if *of == key)).count();
    assert!((2..=12).contains(&writes), "{writes} in five seconds");
}
