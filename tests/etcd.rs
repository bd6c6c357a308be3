//! Clustering over real etcd processes on loopback: agents in this process, their etcd as children.
//!
//! Needs the etcd program: `QUORATE_ETCD`, or on PATH, or fetched below the target folder.
//! Without one the tests fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::cluster::shell::{ClusterSettings, Config, Handle, StopMode, start};
use quorate::cluster::{ClusterStatus, Role, StartError};
use quorate::ident::HostName;
use quorate::store::contract::store_contract;
use quorate::store::etcd::{Endpoints, EtcdStore};
use quorate::store::{Op, Store, Txn};

#[path = "support/etcd.rs"]
mod program;

use program::{etcd, ports};

/// Longer than anything here takes on a loaded machine with two cores.
const LONG: Duration = Duration::from_secs(40);
/// A silent voter is replaced after this; without a flag it is a minute.
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// A host with its folder and its ports, started any number of times.
struct Site {
    name: String,
    dir: tempfile::TempDir,
    client: u16,
    peer: u16,
}

impl Site {
    fn new(name: &str) -> Site {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Site { name: name.into(), dir, client: ports(1), peer: ports(1) }
    }

    fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    fn config(&self, ideal: u16, seeds: &[&Site]) -> Config {
        Config {
            host: HostName::parse(&self.name).expect("a host name"),
            state_dir: self.dir.path().join("state"),
            flags: ClusterSettings {
                seeds: seeds.iter().map(|s| s.client_url()).collect(),
                client_urls: vec![self.client_url()],
                server_urls: vec![format!("http://127.0.0.1:{}", self.peer)],
                ideal_size: Some(ideal),
                dead_after: Some(DEAD_AFTER),
                ..ClusterSettings::default()
            },
            etcd_path: Some(etcd()),
            child_program: Some(env!("CARGO_BIN_EXE_quorate").into()),
        }
    }

    async fn start(&self, ideal: u16, seeds: &[&Site]) -> Handle {
        match start(self.config(ideal, seeds)).await {
            Ok(handle) => handle,
            Err(error) => panic!("{}: {error}", self.name),
        }
    }

    fn data_dir(&self) -> String {
        let folder = self.dir.path().canonicalize().expect("the folder is there");
        format!("--data-dir={}/state/etcd", folder.display())
    }

    /// The processes that run etcd on this host's data.
    fn etcd_pids(&self) -> Vec<i32> {
        let wanted = self.data_dir();
        let mut found = Vec::new();
        for process in std::fs::read_dir("/proc").expect("Linux").flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let named = arguments.split(|b| *b == 0).any(|a| a == wanted.as_bytes());
            if let (true, Some(name)) = (named, process.file_name().to_str()) {
                found.extend(name.parse::<i32>());
            }
        }
        found
    }
}

/// Waits until the status is as wanted, or fails with the last one.
async fn until(handle: &Handle, what: &str, wanted: impl Fn(&ClusterStatus) -> bool) {
    let mut status = handle.status.clone();
    let reached = tokio::time::timeout(LONG, status.wait_for(|s| wanted(s))).await;
    assert!(reached.is_ok(), "{what}: {:#?}", handle.status.borrow());
}

fn voters(status: &ClusterStatus) -> usize {
    let members = status.cluster.iter().flat_map(|c| &c.members);
    members.filter(|m| m.role == Role::Voter && m.up).count()
}

async fn healthy(handles: &[&Handle], size: usize) {
    for handle in handles {
        until(handle, "voters", |s| {
            voters(s) == size && s.cluster.as_ref().is_some_and(|c| c.quorum && c.leader.is_some())
        })
        .await;
    }
}

async fn put(store: &Arc<dyn Store>, key: &str, value: &str) -> bool {
    let put = Op::Put { key: key.into(), value: value.into(), lease: None };
    store.txn(Txn { when: Vec::new(), then: vec![put] }).await.is_ok_and(|c| c.applied)
}

async fn get(store: &Arc<dyn Store>, key: &str) -> Option<String> {
    let snapshot = store.range(key).await.ok()?;
    let entry = snapshot.entries.into_iter().find(|e| e.key == key)?;
    String::from_utf8(entry.value).ok()
}

/// Three sites that have formed a cluster of three voters.
async fn three() -> ([Site; 3], [Handle; 3]) {
    let sites = [Site::new("h1"), Site::new("h2"), Site::new("h3")];
    let [s1, s2, s3] = &sites;
    let seeds = [s1];
    let handles = tokio::join!(s1.start(3, &[]), s2.start(3, &seeds), s3.start(3, &seeds));
    let handles = [handles.0, handles.1, handles.2];
    healthy(&handles.each_ref(), 3).await;
    (sites, handles)
}

async fn stop(handle: Handle, mode: StopMode) {
    handle.stop(tokio::sync::watch::channel(mode).1).await;
}

async fn stop_all(handles: impl IntoIterator<Item = Handle>) {
    let stops = handles.into_iter().map(|h| stop(h, StopMode::Stay));
    futures_util::future::join_all(stops).await;
}

fn refusal(result: Result<Handle, StartError>) -> (u8, String) {
    match result {
        Ok(_) => panic!("the start was not refused"),
        Err(error) => (error.exit_code(), error.to_string()),
    }
}

/// Row A1; `cargo xtask bench cluster --rows A1` measures all sizes.
#[tokio::test(flavor = "multi_thread")]
async fn three_agents_started_together_form_a_cluster_within_five_seconds() {
    let started = Instant::now();
    let (sites, handles) = three().await;
    let took = started.elapsed();
    println!("three voters after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let view = handles[2].status.borrow().cluster.clone().unwrap();
    let names: Vec<_> = view.members.iter().map(|m| m.host.as_str()).collect();
    assert_eq!((names, view.desired), (vec!["h1", "h2", "h3"], Some(3)));
    assert!(put(&handles[1].store, "/quorate/1/kv/a", "1").await);
    assert_eq!(get(&handles[2].store, "/quorate/1/kv/a").await.as_deref(), Some("1"));
    store_contract(handles[0].store.as_ref(), "/contract/").await.unwrap();
    stop_all(handles).await;
    for site in &sites {
        assert_eq!(site.etcd_pids(), [0; 0], "{} left an etcd", site.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_started_again_has_its_members_and_its_data() {
    let (sites, handles) = three().await;
    let ids = |s: &ClusterStatus| -> Vec<String> {
        s.cluster.iter().flat_map(|c| &c.members).map(|m| m.id.clone()).collect()
    };
    let before = ids(&handles[0].status.borrow());
    assert!(put(&handles[0].store, "/quorate/1/kv/a", "kept").await);
    stop_all(handles).await;
    let [s1, s2, s3] = &sites;
    let seeds = [s1];
    let third = s3.start(3, &seeds).await;
    let second = s2.start(3, &seeds).await;
    healthy(&[&third], 2).await;
    let first = s1.start(3, &[]).await;
    healthy(&[&first, &second, &third], 3).await;
    assert_eq!(ids(&first.status.borrow()), before);
    assert_eq!(get(&first.store, "/quorate/1/kv/a").await.as_deref(), Some("kept"));
    stop_all([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_three_endpoints_dead_a_hundred_of_a_hundred_puts_succeed() {
    let (sites, handles) = three().await;
    let urls: Vec<String> = sites.iter().map(Site::client_url).collect();
    let client: Arc<dyn Store> = Arc::new(EtcdStore::new(Endpoints::new(urls, None, true)));
    assert!(put(&client, "/quorate/1/kv/0", "").await);
    let [first, second, third] = handles;
    // The founder leads most of the time: the hardest case, an election included.
    stop(first, StopMode::Now).await;
    let mut good = 0;
    for n in 0..100 {
        good += usize::from(put(&client, &format!("/quorate/1/kv/{n}"), "x").await);
    }
    assert_eq!(good, 100);
    stop_all([second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_ideal_size_others_stay_volunteers_and_replace_one_that_leaves() {
    let (sites, handles) = three().await;
    let fourth = Site::new("h4");
    let spare = fourth.start(3, &[&sites[0]]).await;
    until(&spare, "volunteer", |s| s.role == Role::Volunteer && s.reason.is_none()).await;
    healthy(&[&spare], 3).await;
    assert_eq!(fourth.etcd_pids(), [0; 0]);
    assert!(put(&spare.store, "/quorate/1/kv/a", "1").await, "a volunteer writes like anybody");
    let [first, second, third] = handles;
    stop(first, StopMode::Leave).await;
    until(&spare, "voter", |s| s.role == Role::Voter).await;
    healthy(&[&spare, &second, &third], 3).await;
    assert_eq!(get(&spare.store, "/quorate/1/kv/a").await.as_deref(), Some("1"));
    // The one that left comes back by its old command, as a volunteer of the same cluster.
    let first = sites[0].start(3, &[]).await;
    until(&first, "volunteer", |s| s.role == Role::Volunteer && s.reason.is_none()).await;
    healthy(&[&first], 3).await;
    stop_all([first, second, third, spare]).await;
}

/// Row A9, with a spare.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_replaced_by_a_waiting_host_and_its_member_is_gone() {
    let (sites, handles) = three().await;
    let fourth = Site::new("h4");
    let spare = fourth.start(3, &[&sites[0]]).await;
    until(&spare, "volunteer", |s| s.role == Role::Volunteer && s.reason.is_none()).await;
    assert!(put(&spare.store, "/quorate/1/kv/a", "1").await);
    let [first, second, third] = handles;
    // No word of farewell: etcd is killed, and the claim to the name runs out by itself.
    stop(third, StopMode::Now).await;
    until(&spare, "voter", |s| s.role == Role::Voter).await;
    healthy(&[&spare, &first, &second], 3).await;
    for handle in [&spare, &first, &second] {
        until(handle, "three members", |s| {
            s.cluster
                .as_ref()
                .is_some_and(|c| c.members.len() == 3 && c.members.iter().all(|m| m.host != "h3"))
        })
        .await;
    }
    assert_eq!(get(&spare.store, "/quorate/1/kv/a").await.as_deref(), Some("1"));
    // Its old member was removed: it comes back as a volunteer with its data put aside.
    let third = sites[2].start(3, &[&sites[0]]).await;
    until(&third, "volunteer", |s| s.role == Role::Volunteer && s.reason.is_none()).await;
    stop_all([first, second, third, spare]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_seed_founds_another_cluster_that_never_mixes_with_the_old_one() {
    let (sites, handles) = three().await;
    let uuid = |h: &Handle| h.status.borrow().cluster.as_ref().map(|c| c.uuid.clone());
    let old = uuid(&handles[1]);
    let [first, second, third] = handles;
    assert!(put(&second.store, "/quorate/1/kv/a", "old").await);
    stop(first, StopMode::Now).await;
    std::fs::remove_dir_all(sites[0].dir.path().join("state")).unwrap();
    let first = sites[0].start(3, &[]).await;
    healthy(&[&first], 1).await;
    assert_ne!(uuid(&first), old);
    assert_eq!(get(&first.store, "/quorate/1/kv/a").await, None);
    // Both go on by themselves: the new one alone, the old one with two of three voters.
    assert!(put(&first.store, "/quorate/1/kv/a", "new").await);
    for _ in 0..20 {
        assert!(put(&second.store, "/quorate/1/kv/b", "old").await);
        assert_eq!(get(&third.store, "/quorate/1/kv/a").await.as_deref(), Some("old"));
    }
    healthy(&[&second, &third], 2).await;
    assert_eq!(uuid(&second), old);
    assert_eq!(get(&first.store, "/quorate/1/kv/b").await, None);
    // An old member that is started again finds its own cluster behind the stranger at its seed.
    stop(second, StopMode::Stay).await;
    let second = sites[1].start(3, &[&sites[0]]).await;
    healthy(&[&second, &third], 2).await;
    assert_eq!(uuid(&second), old);
    stop_all([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_impossible_start_is_refused_in_one_sentence() {
    let site = Site::new("h1");
    let handle = site.start(3, &[]).await;
    healthy(&[&handle], 1).await;

    let same_folder = refusal(start(site.config(3, &[])).await);
    assert_eq!(same_folder.0, 3);
    assert!(same_folder.1.contains("is in use by h1 (pid "), "{}", same_folder.1);

    let twin = Site::new("h1");
    let before = Instant::now();
    let same_name = refusal(start(twin.config(3, &[&site])).await);
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert_eq!(same_name.0, 3);
    assert!(same_name.1.starts_with("another agent named h1 is alive (instance"), "{same_name:?}");

    let other = Site::new("h2");
    let mut config = other.config(3, &[&site]);
    config.flags.server_urls = vec![format!("http://127.0.0.1:{}", site.peer)];
    let port = refusal(start(config).await);
    assert_eq!(port.0, 3);
    assert!(port.1.contains(&format!("port {} on 127.0.0.1 is taken", site.peer)), "{port:?}");

    let mut config = other.config(3, &[]);
    config.flags.seeds = vec![format!("http://127.0.0.1:{}", site.peer)];
    let peer = refusal(start(config).await);
    assert_eq!(peer.0, 3);
    let advice = format!("is the peer port of h1; pass --seeds {}", site.client_url());
    assert!(peer.1.contains(&advice), "{peer:?}");
    let mut config = other.config(3, &[]);
    config.flags.seeds = vec![format!("http://localhost:{}", site.peer)];
    let named = refusal(start(config).await);
    assert!(named.1.contains(&advice), "a name for the same address: {named:?}");

    assert!(put(&handle.store, "/quorate/1/kv/a", "1").await, "the first is undisturbed");
    stop_all([handle]).await;
}

/// Runs twice: as the test, and, in a process that the test starts, as the agent that is killed.
#[test]
fn a_killed_agent_leaves_no_etcd_and_rejoins_when_it_is_started_again() {
    const NAME: &str = "a_killed_agent_leaves_no_etcd_and_rejoins_when_it_is_started_again";
    const VARIABLE: &str = "QUORATE_TEST_AGENT";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(spec) = std::env::var_os(VARIABLE) {
        // The agent must not outlive the test, should that be ended.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
        let spec = spec.into_string().unwrap();
        let parts: Vec<&str> = spec.split('|').collect();
        let mut config = Site::new("h2").config(3, &[]);
        config.state_dir = parts[0].into();
        config.flags.seeds = vec![parts[1].into()];
        config.flags.client_urls = vec![parts[2].into()];
        config.flags.server_urls = vec![parts[3].into()];
        runtime.block_on(async {
            let _agent = start(config).await.unwrap();
            std::future::pending::<()>().await;
        });
    }
    runtime.block_on(async {
        let (sites, handles) = three().await;
        let [first, second, third] = handles;
        stop(second, StopMode::Stay).await;
        healthy(&[&first, &third], 2).await;
        let spec = format!(
            "{}|{}|{}|http://127.0.0.1:{}",
            sites[1].dir.path().join("state").display(),
            sites[0].client_url(),
            sites[1].client_url(),
            sites[1].peer
        );
        let mut agent = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(VARIABLE, spec)
            .spawn()
            .unwrap();
        healthy(&[&first, &third], 3).await;
        assert!(!sites[1].etcd_pids().is_empty());
        agent.kill().unwrap();
        agent.wait().unwrap();
        let killed = Instant::now();
        while !sites[1].etcd_pids().is_empty() {
            assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", sites[1].etcd_pids());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("no etcd {:?} after the agent was killed", killed.elapsed());
        // The claim of the killed one still lives; the same folder takes it over at once.
        let second = sites[1].start(3, &[&sites[0]]).await;
        until(&second, "voter", |s| s.role == Role::Voter).await;
        healthy(&[&first, &second, &third], 3).await;
        stop_all([first, second, third]).await;
    });
}

/// Row A20.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_takes_writes_again_within_five_seconds_and_nobody_loses_its_name() {
    let sites = [Site::new("h1"), Site::new("h2"), Site::new("h3")];
    let config = |site: &Site, seeds: &[&Site]| {
        let mut config = site.config(3, seeds);
        config.flags.quota_bytes = Some(4 << 20);
        config
    };
    let [s1, s2, s3] = &sites;
    let founder = start(config(s1, &[])).await.expect("a founder");
    let second = start(config(s2, &[s1])).await.expect("a second host");
    let third = start(config(s3, &[s1])).await.expect("a third host");
    healthy(&[&founder, &second, &third], 3).await;
    let store = Arc::clone(&second.store);
    let names = async || {
        let hosts = store.range("/quorate/1/host/").await.expect("the hosts").entries;
        hosts.into_iter().map(|e| (e.key, e.lease, e.revision)).collect::<Vec<_>>()
    };
    let before = names().await;
    assert_eq!(before.len(), 3);

    // Nearly full: every host's status says so, not only the decider's log.
    let large = "x".repeat(100_000);
    for n in 0..34 {
        assert!(put(&store, &format!("/quorate/1/kv/large{n}"), &large).await, "{n}");
    }
    for host in [&founder, &second, &third] {
        let says = |s: &ClusterStatus| {
            let note = s.cluster.as_ref().and_then(|c| c.note.as_deref()).unwrap_or_default();
            note.starts_with("the store holds more than ") && note.contains("of the 4 MiB")
        };
        until(host, "the warning", says).await;
    }

    let text = "x".repeat(20_000);
    let mut puts = 0;
    while put(&store, "/quorate/1/kv/a", &text).await {
        puts += 1;
        assert!(puts < 1_000, "the quota is not kept");
    }
    let full = Instant::now();
    while !put(&store, "/quorate/1/kv/a", "after").await {
        assert!(full.elapsed() < LONG, "nothing is written any more");
    }
    let took = full.elapsed();
    println!("full after {puts} writes, writable again after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Longer than a name lasts without a refresh.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(names().await, before);
    assert_eq!(get(&store, "/quorate/1/kv/a").await.as_deref(), Some("after"));
    stop_all([founder, second, third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_endpoints_follows_the_voters() {
    let (sites, handles) = three().await;
    let listed = async |store: &Arc<dyn Store>| {
        let text = get(store, "/quorate/1/endpoints").await.unwrap_or_default();
        sites.iter().filter(|site| text.contains(&site.client_url())).count()
    };
    let deadline = Instant::now() + LONG;
    while listed(&handles[1].store).await != 3 {
        assert!(Instant::now() < deadline, "not all voters are listed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let [first, second, third] = handles;
    stop(first, StopMode::Leave).await;
    while listed(&second.store).await != 2 {
        assert!(Instant::now() < deadline, "who left is still listed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop_all([second, third]).await;
}
