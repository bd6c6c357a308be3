//! Claims about exchanges over a store of this process. Time is virtual: it moves on only while
//! everything waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::collect::publish::Sealing;
use crate::collect::{Address, Content, Export, Slot, keys};
use crate::matching::Me;
use crate::spec::{CollectRule, Fields, HostSelector, Value};
use crate::store::memory::MemoryStore;
use crate::store::{Committed, LeaseId, Op, Snapshot, StoreError, Txn, Watched};

/// Longer than any lease.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store that can go away and come back, for all its users at once.
#[derive(Default)]
struct Switched {
    inner: MemoryStore,
    gone: watch::Sender<bool>,
    /// Nothing may be written below this.
    refused: Mutex<Option<String>>,
    /// Every transaction that was tried.
    tried: Mutex<Vec<Txn>>,
    /// Every prefix that was read, with a star behind keys without values.
    read: Mutex<Vec<String>>,
    /// Every prefix that is or was watched, with the changes that were told.
    told: Arc<Mutex<Vec<(String, usize)>>>,
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
        self.read.lock().unwrap().push(prefix.to_owned());
        self.inner.range(prefix).await
    }

    async fn keys(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.check()?;
        self.read.lock().unwrap().push(format!("{prefix}*"));
        self.inner.keys(prefix).await
    }

    async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError> {
        self.check()?;
        let mut inner = self.inner.watch(prefix, from).await?;
        let mut gone = self.gone.subscribe();
        let (to, watched) = tokio::sync::mpsc::channel(4);
        let (told, about) = (self.told.clone(), prefix.to_owned());
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    _ = gone.wait_for(|gone| *gone) => None,
                    message = inner.recv() => message,
                };
                let last = message.is_none();
                if let Some(Ok(batch)) = &message {
                    told.lock().unwrap().push((about.clone(), batch.changes.len()));
                }
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
        if let Some(refused) = &*self.refused.lock().unwrap() {
            let is_below = |op: &Op| match op {
                Op::Put { key, .. } | Op::Delete { key } => key.starts_with(refused),
            };
            if txn.then.iter().any(is_below) {
                return Err(StoreError::Refused("permission denied".to_owned()));
            }
        }
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

/// That of a host with a rule for each of these kinds.
fn interest(name: &str, kinds: &[&str]) -> Interest {
    let rule = |kind: &&str| CollectRule::Legacy {
        kind: (*kind).to_owned(),
        pattern: None,
        span: Default::default(),
    };
    let rules: Vec<CollectRule> = kinds.iter().map(rule).collect();
    Interest::of(&rules, Me::new(host(name)))
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
        let store: Arc<dyn Store> = self.store.clone();
        let granted = crate::agent::grants::start(&store, None, &folder);
        let exchange = start(store, host(name), folder, noop, granted);
        exchange.reins.interest.send_replace(Some(interest(name, &["file"])));
        exchange
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
    // Each shows its key once it is there.
    sleep(Duration::from_secs(1)).await;
    one.stop(false).await;
    sleep(Duration::from_secs(30)).await;
    let revision = site.revision().await;
    let tried = site.store.tried.lock().unwrap().len();
    let mut seen = two.exports.clone();
    seen.mark_unchanged();
    let one = site.start("h1", &[published("a", "1")]);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(site.revision().await, revision, "F2: nothing was written");
    assert_eq!(site.store.tried.lock().unwrap().len(), tried, "nor tried");
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
    one.stop(false).await;
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
    one.stop(false).await;
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
    first.stop(false).await;
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
    second.stop(false).await;
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
async fn what_changed_of_others_while_the_store_was_lost_does_not_keep_a_host_from_publishing() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[published("b", "1")]);
    shows(&one, &["h1 a 1", "h2 b 1"]).await;
    for round in 2..8 {
        site.store.gone.send_replace(true);
        is(&one, StoreState::Stale).await;
        let ops = [keys::publisher(&host("h2")), keys::presence(&host("h2"))];
        let put = |key: String| Op::Put { key, value: format!("{round}").into(), lease: None };
        let then = ops.into_iter().map(put).collect();
        site.store.inner.txn(Txn { when: vec![], then }).await.unwrap();
        site.store.gone.send_replace(false);
        // Nothing of h1 itself changes meanwhile.
        sleep(Duration::from_secs(10)).await;
        let content = format!("{round}");
        one.publish.send_replace(Some(vec![published("a", &content)]));
        let wanted = format!("h1 a {content}");
        let mut exports = one.exports.clone();
        let told = exports.wait_for(|view| names(view).contains(&wanted));
        assert!(
            timeout(PATIENCE, told).await.is_ok(),
            "round {round}: {:?}",
            names(&one.exports.borrow())
        );
    }
    two.stop(false).await;
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
    one.stop(false).await;
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
    one.stop(false).await;
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
    two.stop(false).await;
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

#[tokio::test(start_paused = true)]
async fn no_difference_is_no_call() {
    let site = Site::new();
    let all: Vec<Published> = (0..300).map(|at| published(&format!("f{at}"), "1")).collect();
    let one = site.start("h1", &all);
    let mut published = one.published.clone();
    timeout(PATIENCE, published.wait_for(|view| view.exports == 300)).await.unwrap().unwrap();
    sleep(Duration::from_secs(5)).await;
    let calls = || (site.store.tried.lock().unwrap().len(), site.store.read.lock().unwrap().len());
    let before = calls();
    one.publish.send_replace(Some(all.clone()));
    one.say.send_replace(None);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(calls(), before, "keepalives only");
    one.stop(false).await;
    let tried = site.store.tried.lock().unwrap().len();
    let one = site.start("h1", &all);
    shows_count(&one, 300).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(site.store.tried.lock().unwrap().len(), tried, "nor after a restart");
}

async fn shows_count(exchange: &Exchange, count: usize) {
    let mut exports = exchange.exports.clone();
    let found = timeout(PATIENCE, exports.wait_for(|view| view.exports.len() == count)).await;
    assert!(found.is_ok(), "wanted {count}, is {}", exchange.exports.borrow().exports.len());
}

fn of_kind(kind: &str, name: &str) -> Published {
    Published::plain("default", kind, name, Fields::new())
}

fn kinds(exchange: &Exchange) -> Vec<String> {
    let kind = |export: &Arc<Export>| export.address.kind.clone();
    exchange.exports.borrow().exports.iter().map(kind).collect()
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_no_rule_wants_is_not_heard_of_g4() {
    let site = Site::new();
    let two = site.start("h2", &[]);
    is(&two, StoreState::Live).await;
    let one = site.start("h1", &[published("a", "1"), of_kind("kv", "k")]);
    shows(&two, &["h1 a 1"]).await;
    let slot = Slot::new("default", "kv");
    let to_two = |prefix: &str| {
        let told = site.store.told.lock().unwrap();
        told.iter().filter(|(about, _)| about == prefix).count()
    };
    assert_eq!(to_two(&keys::slot_prefix(&slot)), 0, "G4");
    assert_eq!(to_two(&keys::slot_prefix(&Slot::new("default", "file"))), 2, "one each");
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_follows_more_or_less_and_keeps_what_is_known() {
    let site = Site::new();
    let _one = site.start("h1", &[published("a", "1"), of_kind("kv", "k")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    let reads = |kind: &str| {
        let prefix = keys::slot_prefix(&Slot::new("default", kind));
        site.store.read.lock().unwrap().iter().filter(|read| **read == prefix).count()
    };
    let before = reads("file");
    let mut seen = two.exports.clone();
    let mut counts = vec![];
    two.reins.interest.send_replace(Some(interest("h2", &["file", "kv"])));
    while kinds(&two) != ["file", "kv"] {
        timeout(PATIENCE, seen.changed()).await.unwrap().unwrap();
        counts.push(seen.borrow_and_update().exports.len());
    }
    assert!(counts.iter().all(|count| *count >= 1), "what is known stays: {counts:?}");
    assert_eq!(reads("file"), before, "and is not read again");
    assert!(two.exports.borrow().slots.contains(&Slot::new("default", "kv")));
    two.reins.interest.send_replace(Some(interest("h2", &["kv"])));
    let only = |view: &ExportsView| view.exports.len() == 1 && view.slots.len() == 1;
    assert!(timeout(PATIENCE, seen.wait_for(only)).await.is_ok());
    assert_eq!(kinds(&two), ["kv"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_several_kinds_is_seen_as_a_whole() {
    let site = Site::new();
    let two = site.start("h2", &[]);
    two.reins.interest.send_replace(Some(interest("h2", &["file", "kv"])));
    let set = |content: &str| {
        let kv = Fields::from([("content".to_owned(), Value::Str(content.to_owned()))]);
        vec![published("a", content), Published::plain("default", "kv", "k", kv)]
    };
    let one = site.start("h1", &set("0"));
    shows(&two, &["h1 a 0", "h1 k 0"]).await;
    for round in 1..20 {
        one.publish.send_replace(Some(set(&round.to_string())));
        let mut seen = two.exports.clone();
        let wanted = [format!("h1 a {round}"), format!("h1 k {round}")];
        let done = async {
            loop {
                let now = names(&seen.borrow_and_update());
                if now == wanted {
                    return;
                }
                assert_eq!(now[0].replace('a', "k"), now[1], "a mix");
                seen.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, done).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_export_comes_in_pieces_only_to_whom_a_rule_matches() {
    let site = Site::new();
    let large = "x".repeat(3 << 20);
    let one = site.start("h1", &[published("big", &large), published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1", &format!("h1 big {large}")]).await;
    let none = site.start_in("h3", "h3", false);
    none.reins.interest.send_replace(Some(interest("h3", &["kv"])));
    is(&none, StoreState::Live).await;
    let pieces = |reads: &[String]| reads.iter().filter(|read| read.contains("/xb/h1/")).count();
    let read = site.store.read.lock().unwrap().clone();
    assert_eq!(pieces(&read), 7 * 2 + 1, "by two hosts whose rules take it, and looked up once");
    let mut seen = two.exports.clone();
    let shorter = "y".repeat(200_000);
    one.publish.send_replace(Some(vec![published("big", &shorter), published("a", "1")]));
    let gone = async {
        while names(&seen.borrow_and_update()) != ["h1 a 1", &format!("h1 big {shorter}")] {
            assert_eq!(names(&two.exports.borrow()).len(), 2, "the earlier one stays meanwhile");
            seen.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let left = site.store.inner.range("/quorate/1/xb/").await.unwrap().entries;
    assert_eq!(left.len(), 1, "pieces of the old one are removed");
    let tried = site.store.tried.lock().unwrap();
    let size = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    };
    let fits = |txn: &Txn| txn.then.iter().map(size).sum::<usize>() <= 1 << 20;
    assert!(tried.iter().all(fits));
}

#[tokio::test(start_paused = true)]
async fn an_export_that_is_too_large_is_held_at_its_host_and_the_rest_is_published() {
    let site = Site::new();
    let one = site.start("h1", &[published("big", &"x".repeat(20 << 20)), published("a", "1")]);
    shows(&one, &["h1 a 1"]).await;
    says(&one, "XE02 file[big]: it has 209715").await;
}

#[tokio::test(start_paused = true)]
async fn a_forged_record_that_names_too_much_is_held_where_it_is_read() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    shows(&one, &["h1 a 1"]).await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let forged = format!(
        "{{\"v\":3,\"schema\":\"file@1\",\"life\":\"permanent\",\"session\":\"x\",\"gen\":0,\
         \"body\":\"{digest}\",\"size\":99000000000,\"digest\":\"{digest}\"}}"
    );
    let address = Address {
        channel: "default".into(),
        kind: "file".into(),
        from: host("evil"),
        name: "f".into(),
    };
    let put = Op::Put { key: keys::record(&address), value: forged.into_bytes(), lease: None };
    let before = site.store.read.lock().unwrap().len();
    site.store.inner.txn(Txn { when: vec![], then: vec![put] }).await.unwrap();
    let held = |view: &ExportsView| {
        let broken = |one: &Arc<Export>| match &one.content {
            Content::Broken(why) => why.contains("at most 16777216 are read"),
            _ => false,
        };
        view.exports.iter().any(broken)
    };
    // A record that nobody can read lives as long as its host, which is not there.
    let lives = Op::Put {
        key: keys::presence(&host("evil")),
        value: crate::collect::record::Presence::new("i", "s").encode(),
        lease: None,
    };
    let session = crate::collect::publish::Session {
        instance: "i".into(),
        run: "r".into(),
        session: "s".into(),
        at: None,
    };
    let publisher = Op::Put {
        key: keys::publisher(&host("evil")),
        value: crate::collect::record::Publisher::new(&session, 1).encode(),
        lease: None,
    };
    let then = vec![lives, publisher];
    site.store.inner.txn(Txn { when: vec![], then }).await.unwrap();
    let mut seen = one.exports.clone();
    assert!(timeout(PATIENCE, seen.wait_for(held)).await.is_ok());
    assert_eq!(site.store.read.lock().unwrap().len(), before, "nothing is fetched");
}

#[tokio::test(start_paused = true)]
async fn a_decommissioned_host_is_gone_at_once_though_it_is_there_f8() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    let write = async |value: &[u8]| {
        let key = keys::host_info(&host("h1"));
        let put = Op::Put { key, value: value.to_vec(), lease: None };
        site.store.inner.txn(Txn { when: vec![], then: vec![put] }).await.unwrap();
    };
    let written = Instant::now();
    write(br#"{"v":1,"labels":{},"decommissioned":true}"#).await;
    shows(&two, &[]).await;
    assert!(written.elapsed().as_secs() < 1, "F8");
    says(&one, "XE03 exports of h1: the host is decommissioned").await;
    sleep(Duration::from_secs(300)).await;
    assert!(site.lease("h1").await.is_some(), "its lease is kept alive");
    shows(&two, &[]).await;
    write(br#"{"v":1,"labels":{}}"#).await;
    shows(&two, &["h1 a 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_export_with_a_duration_outlives_its_host_by_it() {
    let site = Site::new();
    let mut long = published("long", "1");
    long.life = crate::collect::record::Life::For(600);
    let one = site.start("h1", &[long.clone(), published("short", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 long 1", "h1 short 1"]).await;
    sleep(Duration::from_secs(1_800)).await;
    shows(&two, &["h1 long 1", "h1 short 1"]).await;
    let died = Instant::now();
    drop(one);
    shows(&two, &["h1 long 1"]).await;
    assert!(died.elapsed().as_secs() <= 61);
    let mut seen = two.exports.clone();
    let gone = timeout(Duration::from_secs(900), seen.wait_for(|view| view.exports.is_empty()));
    gone.await.unwrap().unwrap();
    let after = died.elapsed().as_secs();
    assert!((530..=601).contains(&after), "{after} s, refreshed at least once a minute");
    let one = site.start("h1", &[published("short", "1")]);
    shows(&two, &["h1 short 1"]).await;
    sleep(Duration::from_secs(5)).await;
    let left = site.store.inner.range("/quorate/1/s/h1/").await.unwrap().entries;
    assert_eq!(left, [], "no export needs it");
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn who_withdraws_at_the_end_is_gone_at_once() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    let stopped = Instant::now();
    one.stop(true).await;
    shows(&two, &[]).await;
    assert!(stopped.elapsed().as_secs() < 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_collected_survives_a_restart_without_the_store() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    sleep(Duration::from_secs(10)).await;
    two.stop(false).await;
    site.store.gone.send_replace(true);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    assert_eq!(two.exports.borrow().state, StoreState::Stale);
    assert!(two.exports.borrow().since.is_some(), "stale since");
    site.store.gone.send_replace(false);
    is(&two, StoreState::Live).await;
    shows(&two, &["h1 a 1"]).await;
    drop(one);
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_is_not_believed_until_a_person_does_f5() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    let two = site.start("h2", &[]);
    shows(&two, &["h1 a 1"]).await;
    sleep(Duration::from_secs(10)).await;
    let revision = two.exports.borrow().revision;
    two.stop(false).await;
    drop(one);
    let emptied = Site { store: Arc::default(), folder: site.folder };
    let two = emptied.start("h2", &[]);
    let doubted = |view: &ExportsView| view.doubt.is_some();
    let mut seen = two.exports.clone();
    let found = timeout(PATIENCE, seen.wait_for(doubted)).await.unwrap().unwrap().clone();
    let wanted = format!("stale: store revision 1 is older than {revision}; ");
    assert!(found.doubt.as_ref().unwrap().starts_with(&wanted), "{:?}", found.doubt);
    sleep(Duration::from_secs(300)).await;
    shows(&two, &["h1 a 1"]).await;
    assert_eq!(two.exports.borrow().state, StoreState::Stale, "F5");
    two.reins.accept.send_modify(|count| *count += 1);
    shows(&two, &[]).await;
    is(&two, StoreState::Live).await;
}

/// An export of which the content is for these hosts alone.
fn sealed_for(hosts: &[&str], content: &str) -> Published {
    let names = BTreeSet::from(["content".to_owned()]);
    Published {
        to: HostSelector::Names(hosts.iter().map(|name| (*name).to_owned()).collect()),
        sealing: Sealing::Wanted(names),
        ..published("a", content)
    }
}

/// What the store holds of the only export, when it is sealed to these hosts.
async fn sealed(site: &Site, hosts: &[&str]) -> Option<Vec<u8>> {
    let found = site.store.inner.range(&keys::records_prefix()).await.unwrap().entries;
    let [entry] = found.as_slice() else { return None };
    let seal = crate::collect::record::decode("file", &entry.value).seal?;
    seal.keys.keys().eq(hosts).then(|| entry.value.clone())
}

#[tokio::test(start_paused = true)]
async fn a_sealed_export_waits_for_keys_and_is_sealed_anew_for_another_key_and_not_at_a_restart() {
    let site = Site::new();
    let one = site.start("h1", &[sealed_for(&["h2"], "secret")]);
    says(&one, "XE06 file[a]: h2 has shown no key; held until it has one").await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(sealed(&site, &["h2"]).await, None);
    let began = Instant::now();
    let two = site.start("h2", &[]);
    shows_count(&two, 1).await;
    assert!(began.elapsed().as_secs() < 1, "the key is an event");
    let first = sealed(&site, &["h2"]).await.unwrap();
    one.publish.send_replace(Some(vec![sealed_for(&["h2", "h3"], "secret")]));
    says(&one, "h3 has shown no key").await;
    sleep(Duration::from_secs(30)).await;
    let stays = sealed(&site, &["h2"]).await;
    assert_eq!(stays, Some(first), "a third host takes nothing from the second");
    let three = site.start("h3", &[]);
    shows_count(&three, 1).await;
    sleep(Duration::from_secs(30)).await;
    let both = sealed(&site, &["h2", "h3"]).await.unwrap();
    one.stop(false).await;
    let (revision, tried) = (site.revision().await, site.store.tried.lock().unwrap().len());
    let one = site.start("h1", &[sealed_for(&["h2", "h3"], "secret")]);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(one.published.borrow().exports, 1);
    assert_eq!(site.revision().await, revision, "nothing is written");
    assert_eq!(site.store.tried.lock().unwrap().len(), tried, "nor tried");
    two.stop(false).await;
    std::fs::remove_file(site.folder.path().join("h2/seal.key")).unwrap();
    let _two = site.start("h2", &[]);
    sleep(Duration::from_secs(30)).await;
    assert_ne!(sealed(&site, &["h2", "h3"]).await.unwrap(), both, "for the new key");
    one.publish.send_replace(Some(vec![published("a", "open")]));
    shows(&one, &["h1 a open"]).await;
    one.publish.send_replace(Some(vec![sealed_for(&["h9"], "secret")]));
    shows(&one, &[]).await;
}

#[test]
fn an_export_that_waits_counts_once_whatever_the_store_has_of_it() {
    for (exports, stays, awaited, settled) in [
        (0, 0, 0, 0),
        (2, 0, 0, 2),
        (1, 0, 1, 2),
        (1, 1, 1, 1),
        (2, 1, 1, 2),
        // Its turn has come, and the store shows the old one still.
        (1, 1, 0, 0),
    ] {
        let view = PublishView { exports, stays, ..PublishView::default() };
        assert_eq!(view.settled(awaited), settled, "{exports} {stays} {awaited}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_site_says_of_hosts_is_followed_once_by_each_agent() {
    let site = Site::new();
    let one = site.start("h1", &[published("a", "1")]);
    shows(&one, &["h1 a 1"]).await;
    let hosts = keys::hosts_prefix();
    let reads = site.store.read.lock().unwrap().iter().filter(|read| **read == hosts).count();
    assert_eq!(reads, 1);
}

#[tokio::test(start_paused = true)]
async fn who_else_writes_the_key_of_a_host_is_overruled_without_being_driven_by_it() {
    let site = Site::new();
    let one = site.start("h1", &[]);
    let key = keys::seal_key(&host("h1"));
    let stored = async || {
        let found = site.store.inner.range(&key).await.unwrap().entries;
        found.first().map(|entry| entry.value.clone())
    };
    let ours = crate::collect::sealing::encode(&one.key.as_ref().unwrap().public());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stored().await, Some(ours.clone()));
    let before = site.store.tried.lock().unwrap().len();
    for _ in 0..100 {
        let put = Op::Put { key: key.clone(), value: b"{}".to_vec(), lease: None };
        site.store.inner.txn(Txn { when: vec![], then: vec![put] }).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    let tried = site.store.tried.lock().unwrap().len() - before;
    assert!((2..=8).contains(&tried), "{tried} times in five seconds");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stored().await, Some(ours));
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_key_the_store_does_not_take_publishes_and_shows_it_when_it_may() {
    let site = Site::new();
    let key = keys::seal_key(&host("h1"));
    *site.store.refused.lock().unwrap() = Some(key.clone());
    let one = site.start("h1", &[published("a", "1")]);
    for content in ["1", "2", "3"] {
        one.publish.send_replace(Some(vec![published("a", content)]));
        shows(&one, &[&format!("h1 a {content}")]).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(one.published.borrow().messages, [""; 0]);
    }
    *site.store.refused.lock().unwrap() = None;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(site.store.inner.range(&key).await.unwrap().entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_sealed_export_comes_in_pieces_which_stay_while_it_waits_for_a_key() {
    let site = Site::new();
    let large = "x".repeat(300_000);
    let two = site.start("h2", &[]);
    let one = site.start("h1", &[sealed_for(&["h2"], &large)]);
    let opened = |view: &ExportsView| {
        let export = view.exports.first()?;
        let Content::Sealed(content) = &export.content else { return None };
        let me = Me { key: two.key.clone(), ..Me::new(host("h2")) };
        let fields = crate::collect::sealing::open(export, content, &me).ok()?;
        fields.get("content").cloned()
    };
    let mut seen = two.exports.clone();
    let wanted = Some(Value::Str(large.clone()));
    let found = timeout(PATIENCE, seen.wait_for(|view| opened(view) == wanted)).await.is_ok();
    assert!(found, "{:?}", two.exports.borrow().exports.len());
    let pieces = async || site.store.inner.range("/quorate/1/xb/").await.unwrap().entries.len();
    let before = pieces().await;
    assert!(before >= 1);
    one.publish.send_replace(Some(vec![sealed_for(&["h2", "h9"], "another")]));
    says(&one, "h9 has shown no key").await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pieces().await, before);
    assert_eq!(opened(&two.exports.borrow()), wanted, "what is there stays");
    one.publish.send_replace(Some(vec![sealed_for(&["h2"], "small")]));
    let small = Some(Value::Str("small".to_owned()));
    timeout(PATIENCE, seen.wait_for(|view| opened(view) == small)).await.unwrap().unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(pieces().await, 0);
}
