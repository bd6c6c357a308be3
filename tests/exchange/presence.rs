//! Rows F1 to F4 and F7: what becomes of the exports of an agent that is killed, comes back, only
//! looks, or has another one's name.

use super::*;

/// How long exports live after the last sign of their host, as real agents have it.
const TTL: Duration = Duration::from_secs(60);

/// Two files that are exported, without their final `graph`.
pub(super) fn exports(names: &[&str]) -> String {
    let one = |name: &&str| {
        let path = format!("DIR/from/{name}");
        format!("  - name: \"@@{name}\"\n    path: {path}\n    content: \"{name}\\n\"\n")
    };
    let files: String = names.iter().map(one).collect();
    match names {
        [] => "graph: web\nresources: {}\n".to_owned(),
        _ => format!("graph: web\nresources:\n  file:\n{files}"),
    }
}

/// Takes the files of all hosts, and lists whose they are in another one.
const COLLECTS: &str = "graph: lb\nresources:\n  file:\n  - name: here\n    path: DIR/here/\n    \
    state: exists\ncollect:\n- rule: list\n  kind: file\n  final: false\n  within: DIR/\n  \
    gather:\n    kind: file\n    name: list\n    path: DIR/list\n    content: \"{% for e in \
    exports %}{{ e.name }}\\n{% endfor %}\"\n- rule: files\n  kind: file\n  into: DIR/here/\n";

/// One etcd, an agent `lb1` that collects, and `seen`, which counts what it hears as `lb1` does.
pub(super) struct Site {
    pub(super) etcd: Etcd,
    pub(super) folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    seen: Arc<Counted>,
    watching: Exchange,
    pub(super) lb1: Agent,
}

impl Site {
    fn new() -> Site {
        Site::of(COLLECTS)
    }

    /// With this graph of `lb1`.
    pub(super) fn of(graph: &str) -> Site {
        let (etcd, folder) = (Etcd::start(), tempfile::tempdir().expect("a folder"));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let seen = etcd.store();
        let watching =
            runtime.block_on(async { collector(seen.clone(), folder.path(), "seen", &["file"]) });
        let lb1 = Agent::start(folder.path(), &etcd, "lb1", graph);
        Site { etcd, folder, runtime, seen, watching, lb1 }
    }

    pub(super) fn web1(&self, names: &[&str], flags: &[&str]) -> Agent {
        Agent::start_with(self.folder.path(), &self.etcd, "web1", &exports(names), flags)
    }

    /// `web1` exports these, `lb1` has them, and `web1` is killed.
    fn ran(&self, names: &[&str]) {
        let web1 = self.web1(names, &[]);
        self.lists(names);
        drop(web1);
    }

    /// Waits until `lb1` lists these exports.
    fn lists(&self, names: &[&str]) {
        let wanted: String = names.iter().map(|name| format!("{name}\n")).collect();
        let list = self.folder.path().join("list");
        let found = || std::fs::read_to_string(&list).unwrap_or_default();
        let deadline = Instant::now() + LONG + TTL;
        while found() != wanted {
            assert!(Instant::now() < deadline, "{wanted:?}, is {:?}: {}", found(), self.lb1.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Key and revision of everything that `web1` has in the store, but what it says of its state.
    fn keys(&self) -> Vec<(String, i64)> {
        let mut all = Vec::new();
        for prefix in ["/quorate/1/x/", "/quorate/1/xo/web1", "/quorate/1/s/web1"] {
            let found = self.runtime.block_on(self.seen.inner.range(prefix)).expect("etcd answers");
            let mine = found.entries.into_iter().filter(|one| one.key.contains("/web1"));
            all.extend(mine.map(|one| (one.key, one.revision)));
        }
        all
    }

    fn presence(&self) -> quorate::store::Entry {
        let key = keys::presence(&host("web1"));
        let found = self.runtime.block_on(self.seen.inner.range(&key)).expect("etcd answers");
        found.entries.into_iter().next().expect("web1 is present")
    }

    fn lease(&self) -> LeaseId {
        self.presence().lease.expect("presences have leases")
    }

    fn instance(&self) -> String {
        Presence::decode(&self.presence().value).expect("ours").instance
    }

    /// Counts from here on what is told, once it was told that all three hosts are there: `lb1` may
    /// take exports before it has said that it is there.
    fn forget(&self) {
        let there = || self.watching.exports.borrow().hosts.len();
        wait_for("all are there", &[], || there() == 3);
        self.seen.forget();
    }

    /// How many changes were told since the last `forget`: of presences, and of exports.
    fn told(&self) -> [usize; 2] {
        let files = self.seen.told_below(&keys::slot_prefix(&Slot::new("default", "file")));
        let closing = self.seen.told_below(&keys::publishers_prefix());
        [self.seen.told_below(&keys::presence_prefix()), files + closing]
    }

    /// A fact of the status of `name`.
    pub(super) fn status(&self, name: &str, key: &str) -> serde_json::Value {
        let out = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["status", "--json", "--prefix"])
            .arg(self.folder.path().join(format!("state-{name}")))
            .output()
            .expect("the program runs");
        let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        status[key].clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.status("lb1", "graph")["generation"].as_u64().expect("lb1 runs")
    }
}

/// The lease is ended by hand, as etcd does when its time is over; with `QUORATE_LEASES=whole` it
/// is waited for, which takes a minute more.
#[test]
fn exports_of_a_killed_host_go_with_its_lease_in_one_event_and_what_they_made_stays_f1() {
    let site = Site::new();
    let web1 = site.web1(&["a", "b"], &[]);
    site.lists(&["a", "b"]);
    let here = ["here/a", "here/b"].map(|name| site.folder.path().join(name));
    wait_for("the files", &[], || here.iter().all(|path| path.is_file()));
    site.forget();
    drop(web1);
    let killed = Instant::now();
    if std::env::var("QUORATE_LEASES").is_ok_and(|how| how == "whole") {
        site.lists(&[]);
        // It was refreshed at most a third of its time ago.
        let took = killed.elapsed();
        assert!((TTL * 2 / 3..TTL + Duration::from_secs(5)).contains(&took), "F1: {took:?}");
    } else {
        let lease = site.lease();
        site.runtime.block_on(site.seen.revoke(lease)).expect("etcd answers");
        site.lists(&[]);
    }
    assert_eq!(site.told(), [1, 0], "F1: one event, and none about the exports");
    assert!(here.iter().all(|path| path.is_file()), "F1: forgotten, not removed");
}

#[test]
fn an_exporter_that_is_back_within_half_a_minute_is_no_event_for_anybody_f2() {
    let site = Site::new();
    site.ran(&["a", "b"]);
    wait_for("rest", &[], || site.status("lb1", "converged") == true);
    let (before, generation) = (site.keys(), site.generation());
    site.forget();
    let _web1 = site.web1(&["a", "b"], &[]);
    wait_for("it runs", &[], || site.status("web1", "exports") == 2);
    // What it would write comes before this, which everybody hears in the same order.
    let third = Agent::start(site.folder.path(), &site.etcd, "web3", &exports(&["c"]));
    site.lists(&["a", "b", "c"]);
    drop(third);
    assert_eq!(site.keys(), before, "F2: nothing was written");
    assert_eq!(site.told(), [1, 2], "F2: only the third host was heard of");
    assert_eq!(site.generation(), generation + 1, "F2: one graph, for the third host");
}

#[test]
fn what_the_graph_lost_while_its_host_was_down_is_gone_when_it_is_back_f3() {
    let site = Site::new();
    site.ran(&["a", "b"]);
    assert_eq!(site.keys().iter().filter(|(key, _)| key.ends_with("/a")).count(), 1);
    let _web1 = site.web1(&["b"], &[]);
    site.lists(&["b"]);
    assert_eq!(site.keys().iter().filter(|(key, _)| key.ends_with("/a")).count(), 0, "F3");
}

#[test]
fn a_run_that_only_looks_writes_nothing_and_says_what_it_would_withdraw_f4() {
    let site = Site::new();
    site.ran(&["a", "b"]);
    let before = site.keys();
    assert_eq!(before.len(), 4, "two records, what closes them and the presence: {before:?}");
    let looks = [site.web1(&[], &["--noop"])];
    wait_for("F4", &looks, || looks[0].log().contains("would withdraw 2 exports"));
    drop(looks);
    let more = [site.web1(&["a", "c"], &["--noop"])];
    wait_for("F4", &more, || more[0].log().contains("would publish 1 export"));
    wait_for("F4", &more, || more[0].log().contains("would withdraw 1 export"));
    assert_eq!(site.keys(), before, "F4");
    site.lists(&["a", "b"]);
}

#[test]
fn of_two_agents_with_one_host_name_the_second_publishes_nothing_f7() {
    let site = Site::new();
    let first = site.web1(&["a"], &[]);
    site.lists(&["a"]);
    let before = site.keys();
    // The name itself is refused when an agent starts; under it, so is a foreign session.
    let second = site.runtime.block_on(async {
        let folder = site.folder.path().join("second");
        let second =
            exporter(site.etcd.store(), &folder, "web1", &[published("file", "other", "1")]);
        let mut views = second.published.clone();
        let refused = timeout(LONG, views.wait_for(|view| !view.messages.is_empty())).await;
        assert!(refused.is_ok_and(|refused| refused.is_ok()), "F7: it says so");
        second
    });
    let view = second.published.borrow().clone();
    let why = format!("XE05 host name web1 in use by instance {} (live)", site.instance());
    assert_eq!(view.exports, 0);
    assert!(view.messages[0].starts_with(&why), "{:?}", view.messages);
    assert_eq!(site.keys(), before, "F7");
    let other = site.folder.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    let mut third = Agent::start(&other, &site.etcd, "web1", &exports(&["z"]));
    let code = third.child.wait().expect("it ends").code();
    assert_eq!(code, Some(3), "{}", third.log());
    assert!(third.log().contains("web1"), "{}", third.log());
    assert_eq!(site.keys(), before, "F7: an agent of that name does not even start");
    drop(first);
}

#[test]
fn a_host_that_leaves_takes_its_exports_along_and_does_not_keep_others_waiting() {
    let site = Site::new();
    let web1 = site.web1(&["a", "b"], &[]);
    site.lists(&["a", "b"]);
    let pid = nix::unistd::Pid::from_raw(web1.child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it is ours");
    let left = Instant::now();
    site.lists(&[]);
    assert!(left.elapsed() < TTL / 3, "{:?}, not when its lease ends", left.elapsed());
}
