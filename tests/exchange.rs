//! What hosts give each other, over a real etcd: what a collector hears and reads, what survives
//! the end of a store, and several real agents that exchange files.
//!
//! Needs the etcd program: `QUORATE_ETCD`, or on PATH, or fetched below the target folder.
//! Without one the tests fail.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use quorate::agent::exchange::{Exchange, ExportsView, StoreState, start};
use quorate::collect::interest::Interest;
use quorate::collect::publish::{Own, Published, Session, plan};
use quorate::collect::record::Presence;
use quorate::collect::{Slot, keys};
use quorate::ident::HostName;
use quorate::matching::Me;
use quorate::spec::{CollectRule, Fields, Value};
use quorate::store::etcd::{Endpoints, EtcdStore};
use quorate::store::{
    Committed, LeaseId, Op, Snapshot, Store, StoreError, Txn, WATCH_QUEUE, Watched,
};
use tokio::sync::watch;
use tokio::time::timeout;

#[path = "exchange/coming.rs"]
mod coming;
#[path = "exchange/presence.rs"]
mod presence;
#[path = "support/etcd.rs"]
mod program;
#[path = "exchange/sealed.rs"]
mod sealed;

use program::{etcd, ports};

/// Longer than anything here takes on a loaded machine with two cores.
const LONG: Duration = Duration::from_secs(60);

/// A member of its own on loopback.
struct Etcd {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Etcd {
    fn start() -> Etcd {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), ports(2));
        let child = Etcd::spawn(folder.path(), port);
        Etcd { folder, port, child }
    }

    fn spawn(folder: &Path, port: u16) -> Child {
        let (client, peer) =
            (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", port + 1));
        Command::new(etcd())
            .args(["--name", "one", "--data-dir"])
            .arg(folder.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts")
    }

    fn kill(&mut self) {
        self.child.kill().expect("etcd is ours to kill");
        self.child.wait().expect("etcd is ours to wait for");
    }

    /// Again, with another folder if it lost its data.
    fn again(&mut self, emptied: bool) {
        if emptied {
            std::fs::remove_dir_all(self.folder.path().join("data")).expect("its data");
        }
        self.child = Etcd::spawn(self.folder.path(), self.port);
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn store(&self) -> Arc<Counted> {
        let endpoints = Endpoints::new(vec![self.url()], None, false);
        Arc::new(Counted { inner: EtcdStore::new(endpoints), ..Counted::new() })
    }

    /// Forgets all revisions before this one.
    fn compact(&self, revision: i64) {
        let body = format!("{{\"revision\":{revision},\"physical\":true}}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("etcd listens");
        let head = "POST /v3/kv/compaction HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A store that counts what is asked of it, and can be cut off.
struct Counted {
    inner: EtcdStore,
    gone: watch::Sender<bool>,
    /// Whole reads.
    ranges: AtomicUsize,
    /// Entries that came back by reads of what had changed.
    changed: AtomicUsize,
    txns: AtomicUsize,
    /// Changes that were told, by prefix.
    told: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Counted {
    fn new() -> Counted {
        Counted {
            inner: EtcdStore::new(Endpoints::new(Vec::new(), None, false)),
            gone: watch::Sender::new(false),
            ranges: AtomicUsize::new(0),
            changed: AtomicUsize::new(0),
            txns: AtomicUsize::new(0),
            told: Arc::default(),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match *self.gone.borrow() {
            true => Err(StoreError::Unavailable("cut off".to_owned())),
            false => Ok(()),
        }
    }

    fn told_below(&self, prefix: &str) -> usize {
        let told = self.told.lock().expect("nobody panicked");
        told.iter().filter(|(about, _)| about == prefix).map(|(_, count)| count).sum()
    }

    fn forget(&self) {
        self.told.lock().expect("nobody panicked").clear();
        for count in [&self.ranges, &self.changed, &self.txns] {
            count.store(0, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Store for Counted {
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.check()?;
        self.ranges.fetch_add(1, Ordering::SeqCst);
        self.inner.range(prefix).await
    }

    async fn keys(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.check()?;
        let keys = self.inner.keys(prefix).await?;
        assert!(keys.entries.iter().all(|entry| entry.value.is_empty()), "keys only");
        Ok(keys)
    }

    async fn changed(&self, prefix: &str, since: i64) -> Result<Snapshot, StoreError> {
        self.check()?;
        let found = self.inner.changed(prefix, since).await?;
        self.changed.fetch_add(found.entries.len(), Ordering::SeqCst);
        Ok(found)
    }

    async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError> {
        self.check()?;
        let mut inner = self.inner.watch(prefix, from).await?;
        let mut gone = self.gone.subscribe();
        let (told, about) = (self.told.clone(), prefix.to_owned());
        let (to, watched) = tokio::sync::mpsc::channel(WATCH_QUEUE);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    _ = gone.wait_for(|gone| *gone) => {
                        Err(StoreError::Unavailable("cut off".to_owned()))
                    }
                    message = inner.recv() => match message {
                        Some(message) => message,
                        None => return,
                    },
                };
                if let Ok(batch) = &message {
                    let count = (about.clone(), batch.changes.len());
                    told.lock().expect("nobody panicked").push(count);
                }
                let last = message.is_err();
                if to.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(watched)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        self.check()?;
        self.txns.fetch_add(1, Ordering::SeqCst);
        self.inner.txn(txn).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.check()?;
        self.inner.grant(ttl).await
    }

    async fn refresh(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check()?;
        self.inner.refresh(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check()?;
        self.inner.revoke(lease).await
    }

    fn identity(&self) -> Option<u64> {
        self.inner.identity()
    }
}

fn host(name: &str) -> HostName {
    HostName::parse(name).expect("a host name")
}

fn published(kind: &str, name: &str, content: &str) -> Published {
    let fields = Fields::from([("content".to_owned(), Value::Str(content.to_owned()))]);
    Published::plain("default", kind, name, fields)
}

/// A host that collects these kinds.
fn collector(store: Arc<Counted>, folder: &Path, name: &str, kinds: &[&str]) -> Exchange {
    let rule = |kind: &&str| CollectRule::Legacy {
        kind: (*kind).to_owned(),
        pattern: None,
        span: Default::default(),
    };
    let rules: Vec<CollectRule> = kinds.iter().map(rule).collect();
    // Nobody says anything about the site.
    let granted = watch::channel(Arc::default()).1;
    let exchange = start(store, host(name), folder.join(name), false, granted);
    exchange.reins.interest.send_replace(Some(Interest::of(&rules, Me::new(host(name)))));
    exchange.publish.send_replace(Some(Vec::new()));
    exchange
}

/// A host that exports this and collects nothing.
fn exporter(store: Arc<Counted>, folder: &Path, name: &str, all: &[Published]) -> Exchange {
    let exchange = collector(store, folder, name, &[]);
    exchange.publish.send_replace(Some(all.to_vec()));
    exchange
}

async fn until(exchange: &Exchange, what: &str, good: impl Fn(&ExportsView) -> bool) {
    let mut views = exchange.exports.clone();
    let found = timeout(LONG, views.wait_for(|view| good(view))).await;
    let view = exchange.exports.borrow();
    assert!(found.is_ok(), "{what}: {} exports, {:?}", view.exports.len(), view.state);
}

fn content(view: &ExportsView, name: &str) -> Option<String> {
    let one = view.exports.iter().find(|one| one.address.name == name)?;
    match &one.content {
        quorate::collect::Content::Fields(fields) => match fields.get("content") {
            Some(Value::Str(text)) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Hosts that are only keys: `count` exports in all, ten of each host.
async fn thousand(store: &dyn Store, count: usize) {
    for number in 0..count / 10 {
        let me = host(&format!("n{number}"));
        let all: Vec<Published> = (0..10)
            .map(|at| published("file", &format!("f{number}-{at}"), &"x".repeat(1_000)))
            .collect();
        let session = Session {
            instance: "i".into(),
            run: "r".into(),
            session: number.to_string(),
            at: None,
        };
        let mut txns = plan(&me, &Own::default(), &all, &session).txns;
        let value = Presence::new("i", &number.to_string()).encode();
        txns[0].then.push(Op::Put { key: keys::presence(&me), value, lease: None });
        for txn in txns {
            // Not applied is what a write is told that had to be sent again.
            store.txn(txn).await.expect("etcd answers");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_exports_are_read_once_and_then_only_their_changes_g3_g4_g5() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let writing = etcd.store();
    thousand(&*writing, 10_000).await;
    let one = exporter(etcd.store(), folder.path(), "one", &[published("file", "a", "1")]);
    let (store, idle) = (etcd.store(), etcd.store());
    let began = Instant::now();
    let two = collector(store.clone(), folder.path(), "two", &["file"]);
    let none = collector(idle.clone(), folder.path(), "none", &["kv"]);
    until(&two, "all", |view| view.exports.len() == 10_001).await;
    eprintln!("10,001 exports are known after {} ms", began.elapsed().as_millis());
    until(&none, "nothing of it", |view| view.state == StoreState::Live).await;
    store.forget();
    idle.forget();
    one.publish.send_replace(Some(vec![published("file", "a", "2")]));
    until(&two, "the change", |view| content(view, "a").as_deref() == Some("2")).await;
    let files = keys::slot_prefix(&Slot::new("default", "file"));
    assert_eq!(store.ranges.load(Ordering::SeqCst), 0, "G3: nothing is read again");
    assert_eq!(store.told_below(&files), 1, "G3: one record");
    assert_eq!(store.told_below(&keys::publishers_prefix()), 1, "and what closes its set");
    assert_eq!(idle.told_below(&files), 0, "G4");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_a_collector_was_cut_off_is_caught_up_past_a_compaction_f9() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let all: Vec<Published> = (0..50).map(|at| published("file", &format!("f{at}"), "1")).collect();
    let one = exporter(etcd.store(), folder.path(), "one", &all);
    let store = etcd.store();
    let two = collector(store.clone(), folder.path(), "two", &["file"]);
    until(&two, "all", |view| view.exports.len() == 50).await;
    store.gone.send_replace(true);
    until(&two, "the loss", |view| view.state == StoreState::Stale).await;
    let mut changed = all[1..].to_vec();
    changed[7] = published("file", "f8", "2");
    one.publish.send_replace(Some(changed));
    let mut seen = one.published.clone();
    timeout(LONG, seen.wait_for(|view| view.exports == 49)).await.expect("in time").expect("runs");
    let now = etcd.store().range("/quorate/1/xo/").await.expect("etcd answers").revision;
    etcd.compact(now);
    store.forget();
    store.gone.send_replace(false);
    until(&two, "both", |view| {
        view.exports.len() == 49 && content(view, "f8").as_deref() == Some("2")
    })
    .await;
    assert_eq!(store.ranges.load(Ordering::SeqCst), 0, "nothing is read as a whole");
    let read = store.changed.load(Ordering::SeqCst);
    // Its own presence and key may have been written when it was cut off.
    assert!((2..=4).contains(&read), "F9: {read} values, the record and what closes its set");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_changes_are_seen_at_once_f10() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let set = |content: &str| {
        let one = |at: usize| published(["file", "kv"][at % 2], &format!("f{at}"), content);
        (0..200).map(one).collect::<Vec<_>>()
    };
    let publishing = etcd.store();
    let one = exporter(publishing.clone(), folder.path(), "one", &set("0"));
    let two = collector(etcd.store(), folder.path(), "two", &["file", "kv"]);
    until(&two, "all", |view| view.exports.len() == 200).await;
    let mut views = two.exports.clone();
    let watching = tokio::spawn(async move {
        loop {
            let contents: BTreeSet<Option<String>> = {
                let view = views.borrow_and_update();
                let names = view.exports.iter().map(|one| one.address.name.clone());
                names.map(|name| content(&view, &name)).collect()
            };
            assert_eq!(contents.len(), 1, "a mix of old and new");
            if contents.contains(&Some("5".to_owned())) {
                return;
            }
            views.changed().await.expect("it runs");
        }
    });
    publishing.forget();
    for round in 1..=5 {
        one.publish.send_replace(Some(set(&round.to_string())));
        let mut seen = one.published.clone();
        timeout(LONG, seen.wait_for(|view| view.exports == 200))
            .await
            .expect("time")
            .expect("runs");
        let late = collector(etcd.store(), folder.path(), &format!("late{round}"), &["file", "kv"]);
        until(&late, "a whole set", |view| view.exports.len() == 200).await;
    }
    timeout(LONG, watching).await.expect("in time").expect("no mix");
    assert!(publishing.txns.load(Ordering::SeqCst) >= 2, "F10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_mebibytes_arrives_and_its_pieces_go_with_it() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let large = "0123456789abcdef".repeat((4 << 20) / 16);
    let one = exporter(etcd.store(), folder.path(), "one", &[published("file", "a", &large)]);
    let two = collector(etcd.store(), folder.path(), "two", &["file"]);
    until(&two, "the body", |view| content(view, "a").as_deref() == Some(&*large)).await;
    one.publish.send_replace(Some(vec![published("file", "a", "small")]));
    until(&two, "the small one", |view| content(view, "a").as_deref() == Some("small")).await;
    let store = etcd.store();
    let deadline = Instant::now() + LONG;
    while !store.keys("/quorate/1/xb/").await.expect("etcd answers").entries.is_empty() {
        assert!(Instant::now() < deadline, "its pieces are removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_came_back_empty_takes_nothing_away_f5() {
    let mut etcd = Etcd::start();
    let folder = tempfile::tempdir().expect("a folder");
    let one = exporter(etcd.store(), folder.path(), "one", &[published("file", "a", "1")]);
    let two = collector(etcd.store(), folder.path(), "two", &["file"]);
    until(&two, "the export", |view| view.exports.len() == 1).await;
    let revision = two.exports.borrow().revision;
    two.stop(false).await;
    one.stop(false).await;
    etcd.kill();
    let two = collector(etcd.store(), folder.path(), "two", &["file"]);
    until(&two, "what was collected", |view| {
        view.exports.len() == 1 && view.state == StoreState::Stale
    })
    .await;
    etcd.again(true);
    until(&two, "the doubt", |view| view.doubt.is_some()).await;
    let doubt = two.exports.borrow().doubt.clone().unwrap_or_default();
    assert!(doubt.starts_with("stale: "), "{doubt}");
    assert!(doubt.contains("older than") || doubt.contains("another one"), "{revision}: {doubt}");
    assert_eq!(two.exports.borrow().exports.len(), 1, "F5");
    two.reins.accept.send_modify(|count| *count += 1);
    until(&two, "the empty store", |view| {
        view.exports.is_empty() && view.state == StoreState::Live
    })
    .await;
}

/// A real agent that uses an etcd that is there.
struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    fn start(folder: &Path, etcd: &Etcd, name: &str, graph: &str) -> Agent {
        Agent::start_with(folder, etcd, name, graph, &[])
    }

    fn start_with(folder: &Path, etcd: &Etcd, name: &str, graph: &str, flags: &[&str]) -> Agent {
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, graph.replace("DIR", &folder.display().to_string())).expect("a file");
        let log = folder.join(format!("{name}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["run", "--hostname", name, "--no-server", "--seeds", &etcd.url(), "--prefix"])
            .arg(folder.join(format!("state-{name}")))
            .args(flags)
            .arg("yaml")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the agent starts");
        Agent { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn wait_for(what: &str, agents: &[Agent], condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        let logs: Vec<String> = agents.iter().map(Agent::log).collect();
        assert!(Instant::now() < deadline, "{what}:\n{}", logs.join("\n--\n"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn three_agents_have_their_own_files_and_those_of_all_a16() {
    let (etcd, folder) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
    let graph = |name: &str| {
        let files: String = [1, 2]
            .map(|n| {
                format!(
                    "  - name: local{n}\n    path: DIR/{name}/f{n}{name}\n    content: local\n  \
                     - name: \"@@file{n}{name}\"\n    path: DIR/{name}/ff{n}{name}\n    \
                     content: from {name}\n"
                )
            })
            .concat();
        format!(
            "graph: g\nresources:\n  file:\n{files}collect:\n- kind: file\n  pattern: DIR/{name}/\n"
        )
    };
    let names = ["A", "B", "C"];
    for name in names {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    let began = Instant::now();
    let agents = names.map(|name| Agent::start(folder.path(), &etcd, name, &graph(name)));
    let right = || {
        names.iter().all(|at| {
            let path = |name: String| folder.path().join(at).join(name);
            let own = [1, 2].iter().all(|n| path(format!("f{n}{at}")).is_file());
            let mut all = names.iter().flat_map(|from| [1, 2].map(|n| (n, from)));
            own && all.all(|(n, from)| {
                let text = std::fs::read_to_string(path(format!("ff{n}{from}")));
                text.is_ok_and(|text| text == format!("from {from}"))
            })
        })
    };
    wait_for("S8", &agents, right);
    eprintln!("A16: {} ms after the start of the first of three", began.elapsed().as_millis());
    let count = |at: &str| std::fs::read_dir(folder.path().join(at)).expect("a folder").count();
    assert_eq!(names.map(count), [8; 3], "and nothing else");
}

#[test]
fn six_exports_of_directories_keep_failing_alone_until_there_is_one_a10b() {
    let (etcd, folder) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
    let dirs: String = ["A", "B", "C", "D", "E"]
        .map(|n| format!("  - name: \"@@dir_{n}\"\n    path: /tmp/mgmt{n}/\n    state: exists\n"))
        .concat();
    let graph = format!(
        "graph: g\nresources:\n  file:\n  - name: \"@@filea\"\n    path: /tmp/mgmtA/fA\n    \
         content: x\n{dirs}collect:\n- kind: file\n  pattern: DIR/mgmtA/\n"
    );
    let agents = [Agent::start(folder.path(), &etcd, "A", &graph)];
    let failed = || agents[0].log().matches(" failed: ").count() >= 6;
    wait_for("six errors", &agents, failed);
    let made = folder.path().join("mgmtA");
    std::fs::create_dir(&made).expect("a folder");
    let began = Instant::now();
    let names = ["mgmtA", "mgmtB", "mgmtC", "mgmtD", "mgmtE"];
    wait_for("all six", &agents, || {
        made.join("fA").is_file() && names.iter().all(|name| made.join(name).is_dir())
    });
    assert!(began.elapsed() < Duration::from_secs(20), "within one retry");
}

#[test]
fn an_export_comes_over_within_seconds_of_its_edit_and_goes_with_withdraw_f8() {
    let (etcd, folder) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
    let one = |content: &str| {
        format!(
            "graph: g\nresources:\n  kv:\n  - name: \"@@k\"\n    key: k\n    value: {content}\n"
        )
    };
    let gather = "graph: g\nresources: {}\ncollect:\n- rule: up\n  kind: kv\n  gather:\n    kind: \
        file\n    name: up\n    path: DIR/up\n    content: \"{% for e in exports %}{{ e.host }} {{ \
        e.fields.value }}\\n{% endfor %}\"\n  within: DIR/\n";
    let mut agents = vec![
        Agent::start(folder.path(), &etcd, "two", gather),
        Agent::start(folder.path(), &etcd, "one", &one("1")),
    ];
    let holds = |text: &str| {
        std::fs::read_to_string(folder.path().join("up")).is_ok_and(|found| found == text)
    };
    wait_for("the first", &agents, || holds("one 1\n"));
    std::fs::write(folder.path().join("one.yaml"), one("2")).expect("an edit");
    wait_for("the edit", &agents, || holds("one 2\n"));
    drop(agents.pop());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let put = Op::Put {
            key: "/quorate/1/h/one".to_owned(),
            value: br#"{"v":1,"labels":{},"decommissioned":true}"#.to_vec(),
            lease: None,
        };
        etcd.store().txn(Txn { when: vec![], then: vec![put] }).await.expect("etcd answers");
    });
    let began = Instant::now();
    wait_for("F8: nothing is left of it", &agents, || holds(""));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn who_asks_a_client_of_a_foreign_etcd_to_change_members_is_told_that_no_agent_looks_after_them() {
    let (etcd, folder) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
    let agents = [Agent::start(folder.path(), &etcd, "h1", "graph: empty\n")];
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.args(["cluster"]).args(words).arg("--prefix");
        command.arg(folder.path().join("state-h1")).output().expect("the program starts")
    };
    let seen = || String::from_utf8_lossy(&ask(&["status"]).stdout).contains("leader ");
    wait_for("the client sees the cluster", &agents, seen);
    for words in [&["size"][..], &["size", "5"], &["remove", "h9"]] {
        let said = ask(words);
        assert_eq!(said.status.code(), Some(3), "{words:?} {said:?}");
        assert_eq!(
            String::from_utf8_lossy(&said.stderr),
            "error: no agent founded this etcd cluster (--no-server uses it as it is), so none \
             looks after its members; change them with etcdctl member\n"
        );
    }
}
