//! The hub on the real kernel, in temporary directories; every wait is for a condition.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ident::{HostName, ResourceId};
use crate::kind::{self, Context, Resource};
use crate::spec::Value;
use crate::store::memory::MemoryStore;

const PATIENCE: Duration = Duration::from_secs(10);

struct Scene {
    dir: TempDir,
    hub: HubHandle,
    touched: mpsc::Receiver<Touched>,
}

impl Scene {
    fn new() -> Self {
        let (hub, touched) = Hub::start().unwrap();
        Scene { dir: tempfile::tempdir().unwrap(), hub, touched }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    async fn add(&self, id: u64, name: &str) {
        self.hub.add(id, self.path(name).into(), Scope::Entry).await.unwrap();
    }

    /// Waits until the id is touched, whoever else is touched before.
    async fn expect(&mut self, id: u64) -> Touched {
        let next = async {
            loop {
                let touched = self.touched.recv().await.unwrap();
                if touched.id == id {
                    return touched;
                }
            }
        };
        timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("{id} was not touched"))
    }

    /// Takes all that was told up to now: a change of the marker comes behind it.
    async fn drain(&mut self, marker: u64, name: &str) -> BTreeSet<u64> {
        fs::write(self.path(name), "marker").unwrap();
        let mut seen = BTreeSet::new();
        let all = async {
            loop {
                let touched = self.touched.recv().await.unwrap();
                if touched.id == marker {
                    return;
                }
                seen.insert(touched.id);
            }
        };
        timeout(PATIENCE, all).await.unwrap();
        seen
    }
}

/// How many watches the instance has that watches this directory.
fn kernel_watches(dir: &std::path::Path) -> usize {
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir).unwrap());
    let mine = format!(" ino:{inode:x} ");
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    let watches = |text: String| text.lines().filter(|one| one.starts_with("inotify wd:")).count();
    texts.filter(|text| text.contains(&mine)).map(watches).sum()
}

#[tokio::test]
async fn a_link_that_takes_the_place_of_a_directory_in_a_tree_is_not_walked_through() {
    let mut scene = Scene::new();
    let far = tempfile::tempdir().unwrap();
    for round in 0..50 {
        fs::create_dir(far.path().join(round.to_string())).unwrap();
    }
    fs::create_dir(scene.path("t")).unwrap();
    scene.hub.add(1, scene.path("t").into(), Scope::Tree).await.unwrap();
    scene.add(2, "marker").await;
    let before = kernel_watches(&scene.path("t"));
    assert!(before >= 2, "{before}");
    // The hub reads all three events together: only the first says that it is a directory.
    for _ in 0..20 {
        fs::create_dir(scene.path("t/d")).unwrap();
        fs::remove_dir(scene.path("t/d")).unwrap();
        std::os::unix::fs::symlink(far.path(), scene.path("t/d")).unwrap();
        scene.drain(2, "marker").await;
        assert_eq!(kernel_watches(&scene.path("t")), before);
        fs::remove_file(scene.path("t/d")).unwrap();
    }
    assert_eq!(directories(&scene.path("t"), false), Vec::<OsString>::new());
    std::os::unix::fs::symlink(far.path(), scene.path("link")).unwrap();
    assert_eq!(directories(&scene.path("link"), false), Vec::<OsString>::new());
    assert_eq!(directories(&scene.path("link"), true).len(), 50, "a tree may be named by a link");
}

#[tokio::test]
async fn p18_a_path_that_finds_no_watch_left_is_polled_until_it_gets_one() {
    let (hub, touched) = Hub::with_room(0).unwrap();
    let mut scene = Scene { dir: tempfile::tempdir().unwrap(), hub, touched };
    let path = scene.path("f");
    let error = scene.hub.add(1, path.as_path().into(), Scope::Entry).await.unwrap_err();
    assert!(error.exhausted, "{}", error.message);
    scene.hub.add(2, scene.path("g").into(), Scope::Entry).await.unwrap_err();
    tokio::time::pause();
    let looks = tokio::time::timeout(10 * POLL, scene.touched.recv()).await;
    assert!(looks.is_err(), "nothing happened to it, so nobody is told: {looks:?}");
    fs::write(&path, "1").unwrap();
    let told = timeout(2 * POLL, scene.touched.recv()).await.unwrap().unwrap();
    assert_eq!((told.id, told.error.map(|error| error.exhausted)), (1, Some(true)));
}

#[tokio::test]
async fn who_is_only_looked_at_is_told_when_a_watch_is_given_to_it() {
    let dir = tempfile::tempdir().unwrap();
    // One directory in it, and the way there.
    let room = 1 + dir.path().canonicalize().unwrap().ancestors().count();
    let (hub, touched) = Hub::with_room(room).unwrap();
    let mut scene = Scene { dir, hub, touched };
    fs::create_dir(scene.path("a")).unwrap();
    fs::create_dir(scene.path("b")).unwrap();
    scene.add(1, "a/f").await;
    let error = scene.hub.add(2, scene.path("b/f").into(), Scope::Entry).await.unwrap_err();
    assert!(error.exhausted, "{}", error.message);
    scene.hub.remove(1).await;
    assert_eq!(scene.expect(2).await, Touched { id: 2, happened: true, error: None });
}

#[tokio::test]
async fn every_kind_of_change_of_a_file_is_noticed() {
    let mut scene = Scene::new();
    let file = scene.path("f");
    scene.add(1, "f").await;
    fs::write(&file, "1").unwrap();
    scene.expect(1).await;
    fs::write(&file, "2").unwrap();
    scene.expect(1).await;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, mode).unwrap();
    scene.expect(1).await;
    fs::rename(&file, scene.path("g")).unwrap();
    scene.expect(1).await;
    fs::write(scene.path("h"), "3").unwrap();
    fs::rename(scene.path("h"), &file).unwrap();
    scene.expect(1).await;
    fs::remove_file(&file).unwrap();
    scene.expect(1).await;
}

#[tokio::test]
async fn p35_a_file_that_is_being_written_is_told_when_its_writer_is_done() {
    let mut scene = Scene::new();
    fs::write(scene.path("f"), "old").unwrap();
    scene.add(1, "f").await;
    scene.add(2, "marker").await;
    let mut writer = fs::OpenOptions::new().write(true).open(scene.path("f")).unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(scene.drain(2, "marker").await, BTreeSet::new());
    writer.write_all(b" and half").unwrap();
    drop(writer);
    scene.expect(1).await;
}

#[tokio::test]
async fn an_announced_move_is_news_to_all_but_who_made_it_and_the_next_one_to_all() {
    let mut scene = Scene::new();
    scene.add(1, "f").await;
    scene.add(2, "f").await;
    scene.add(3, "marker").await;
    let (temporary, mover) = (scene.path(".quorate-1"), scene.hub.mover(1));
    let (file, elsewhere) = (scene.path("f"), scene.path("elsewhere"));
    let put = || {
        fs::write(&temporary, "new").unwrap();
        fs::rename(&temporary, &file)
    };
    mover.announced(Path::new(".quorate-1"), put).unwrap();
    assert_eq!(scene.drain(3, "marker").await, BTreeSet::from([2]));
    put().unwrap();
    assert_eq!(scene.drain(3, "marker").await, BTreeSet::from([1, 2]), "the same name again");
    // Somebody else takes the announced name elsewhere and puts another file in its place.
    let stolen = || {
        fs::write(&temporary, "ours").unwrap();
        fs::rename(&temporary, &elsewhere).unwrap();
        fs::write(&temporary, "theirs").unwrap();
        fs::rename(&temporary, &file)
    };
    mover.announced(Path::new(".quorate-1"), stolen).unwrap();
    assert_eq!(scene.drain(3, "marker").await, BTreeSet::from([1, 2]));
    mover.announced(Path::new(".quorate-1"), put).unwrap();
    fs::write(&file, "changed at once").unwrap();
    assert_eq!(scene.drain(3, "marker").await, BTreeSet::from([1, 2]));
}

#[tokio::test]
async fn others_in_the_same_directory_touch_nobody() {
    let mut scene = Scene::new();
    scene.add(1, "mine").await;
    scene.add(2, "marker").await;
    fs::write(scene.path("other"), "").unwrap();
    assert_eq!(scene.drain(2, "marker").await, BTreeSet::new());
}

#[tokio::test]
async fn a_missing_directory_is_noticed_however_deep() {
    let mut scene = Scene::new();
    scene.add(1, "a/b/c/f").await;
    fs::create_dir_all(scene.path("a/b/c")).unwrap();
    scene.expect(1).await;
    scene.add(2, "marker").await;
    scene.drain(2, "marker").await;
    fs::write(scene.path("a/b/c/f"), "").unwrap();
    scene.expect(1).await;
}

#[tokio::test]
async fn p16_a_moved_ancestor_is_noticed_and_its_new_place_is_not() {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.path("a/b")).unwrap();
    fs::write(scene.path("a/b/f"), "").unwrap();
    scene.add(1, "a/b/f").await;
    scene.add(2, "marker").await;
    fs::rename(scene.path("a"), scene.path("z")).unwrap();
    scene.expect(1).await;
    scene.drain(2, "marker").await;
    fs::write(scene.path("z/b/f"), "elsewhere").unwrap();
    assert_eq!(scene.drain(2, "marker").await, BTreeSet::new());
    fs::rename(scene.path("z"), scene.path("a")).unwrap();
    scene.expect(1).await;
    scene.drain(2, "marker").await;
    fs::write(scene.path("a/b/f"), "here").unwrap();
    scene.expect(1).await;
}

#[tokio::test]
async fn changes_of_direct_entries_are_told_to_who_wants_children() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("d")).unwrap();
    scene.hub.add(1, scene.path("d").into(), Scope::Children).await.unwrap();
    fs::write(scene.path("d/any"), "").unwrap();
    scene.expect(1).await;
}

#[tokio::test]
async fn a_change_anywhere_in_a_tree_is_told_also_in_directories_that_are_made_at_once() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("t")).unwrap();
    scene.hub.add(1, scene.path("t").into(), Scope::Tree).await.unwrap();
    scene.add(2, "marker").await;
    for round in 0..20 {
        let deep = scene.path(&format!("t/{round}/b/c"));
        fs::create_dir_all(&deep).unwrap();
        scene.expect(1).await;
        scene.drain(2, "marker").await;
        fs::write(deep.join("f"), "").unwrap();
        scene.expect(1).await;
        scene.drain(2, "marker").await;
    }
    fs::rename(scene.path("t"), scene.path("z")).unwrap();
    scene.expect(1).await;
    scene.drain(2, "marker").await;
    fs::write(scene.path("z/0/b/c/f"), "elsewhere").unwrap();
    assert_eq!(scene.drain(2, "marker").await, BTreeSet::new(), "it is no part of it any more");
}

#[tokio::test]
async fn who_was_removed_is_not_touched() {
    let mut scene = Scene::new();
    scene.add(1, "f").await;
    scene.add(2, "marker").await;
    scene.hub.remove(1).await;
    fs::write(scene.path("f"), "").unwrap();
    assert_eq!(scene.drain(2, "marker").await, BTreeSet::new());
}

#[tokio::test]
async fn a_reader_that_is_slow_misses_nobody() {
    let mut scene = Scene::new();
    let count = 2 * TOUCHED_QUEUE as u64;
    for id in 0..count {
        scene.add(id, &format!("f{id}")).await;
    }
    for round in 0..20 {
        for id in 0..count {
            // Not truncated: some file systems write such a file to the disk when it is closed.
            let mut file =
                fs::File::options().create(true).append(true).open(scene.path(&format!("f{id}")));
            writeln!(file.as_mut().unwrap(), "{round}").unwrap();
        }
    }
    let mut missing: BTreeSet<u64> = (0..count).collect();
    while !missing.is_empty() {
        let touched = timeout(PATIENCE, scene.touched.recv()).await.unwrap().unwrap();
        missing.remove(&touched.id);
    }
}

#[tokio::test]
async fn the_hub_ends_with_its_last_handle() {
    let Scene { dir, hub, mut touched } = Scene::new();
    hub.add(1, dir.path().join("f").into(), Scope::Entry).await.unwrap();
    drop(hub);
    assert_eq!(timeout(PATIENCE, touched.recv()).await.unwrap(), None);
}

fn context() -> Context {
    Context {
        store: Arc::new(MemoryStore::new()),
        host: HostName::parse("h1").unwrap(),
        state_dir: std::path::Path::new("/nonexistent").into(),
        apply: true,
        refresh: false,
        outbox: crate::kind::Outbox::default(),
        managed: crate::kind::Managed::default(),
        mover: crate::kind::Mover::default(),
        ways: crate::kind::Ways::default(),
        within: None,
        cancel: CancellationToken::new(),
    }
}

/// The loop of the agent without its engine: whoever is touched is checked.
async fn heal(resource: Arc<dyn Resource>, cx: Context, mut touched: mpsc::Receiver<Touched>) {
    resource.run(&cx).await.unwrap();
    while touched.recv().await.is_some() {
        resource.run(&cx).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_deleted_or_edited_a_hundred_times_is_back_each_time() {
    let Scene { dir, hub, touched } = Scene::new();
    let path = dir.path().canonicalize().unwrap().join("f");
    let fields = [("content".to_owned(), Value::Str("right".to_owned()))].into();
    let id = ResourceId::new("file", path.to_str().unwrap());
    let file = kind::find("file").unwrap().build(&id, &fields).unwrap();
    let cx = context();
    hub.add(1, path.as_path().into(), Scope::Entry).await.unwrap();
    let healing = tokio::spawn(heal(file, cx, touched));
    let mut latencies = Vec::new();
    for round in 0..=100 {
        let begin = Instant::now();
        // A thread of its own waits for the file, as a person would: by looking at it again and
        // again.
        let looked = path.clone();
        let back = tokio::task::spawn_blocking(move || {
            while fs::read_to_string(&looked).ok().as_deref() != Some("right") {
                assert!(begin.elapsed() < PATIENCE, "the file did not come back");
                std::thread::yield_now();
            }
            begin.elapsed()
        });
        latencies.push(back.await.unwrap());
        if round % 2 == 0 {
            fs::remove_file(&path).unwrap()
        } else {
            fs::write(&path, "wrong").unwrap()
        }
    }
    healing.abort();
    let mut healed = latencies.split_off(1);
    healed.sort();
    println!("healed: median {:?}, 95th {:?}, worst {:?}", healed[50], healed[95], healed[99]);
}

/// Watches all that the resource wants, runs it whenever one is touched, and waits until `done`.
async fn healed(scene: &mut Scene, resource: &dyn Resource, done: impl Fn() -> bool) {
    let heal = async {
        while !done() {
            resource.run(&context()).await.ok();
            if !done() {
                scene.touched.recv().await.unwrap();
            }
        }
    };
    timeout(PATIENCE, heal).await.expect("it was not healed");
}

async fn watched(scene: &Scene, name: &str, fields: &[(&str, Value)]) -> Arc<dyn Resource> {
    let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let path = format!("{}/{name}", scene.path("").display()).replace("//", "/");
    let resource =
        kind::find("file").unwrap().build(&ResourceId::new("file", path), &fields).unwrap();
    for (id, watch) in (1..).zip(resource.watches()) {
        let (path, scope) = match watch {
            kind::Watch::Path { path, children: true } => (path, Scope::Children),
            kind::Watch::Path { path, .. } => (path, Scope::Entry),
            kind::Watch::Tree(path) => (path, Scope::Tree),
            other => panic!("{other:?}"),
        };
        scene.hub.add(id, path, scope).await.unwrap();
    }
    resource
}

#[tokio::test]
async fn a_change_in_the_source_tree_or_in_its_copy_heals_the_copy() {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.path("src/a")).unwrap();
    let source = format!("{}/src/", scene.path("").display()).replace("//", "/");
    let fields = [("source", Value::Str(source)), ("recurse", Value::Bool(true))];
    let tree = watched(&scene, "dst/", &fields).await;
    let (from, to) = (scene.path("src/a/b/f"), scene.path("dst/a/b/f"));
    healed(&mut scene, &*tree, || to.parent().unwrap().parent().unwrap().is_dir()).await;
    fs::create_dir(from.parent().unwrap()).unwrap();
    fs::write(&from, "one").unwrap();
    let holds = |text: &str| fs::read_to_string(&to).is_ok_and(|content| content == text);
    healed(&mut scene, &*tree, || holds("one")).await;
    fs::write(&from, "two").unwrap();
    healed(&mut scene, &*tree, || holds("two")).await;
    fs::write(&to, "wrong").unwrap();
    healed(&mut scene, &*tree, || holds("two")).await;
    fs::remove_dir_all(to.parent().unwrap()).unwrap();
    healed(&mut scene, &*tree, || holds("two")).await;
    fs::rename(scene.path("dst"), scene.path("moved")).unwrap();
    healed(&mut scene, &*tree, || holds("two")).await;
}

#[tokio::test]
async fn a_change_in_a_source_file_or_in_a_fragment_heals_the_file() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("parts")).unwrap();
    fs::write(scene.path("head"), "h").unwrap();
    let at = |name: &str| Value::Str(scene.path(name).display().to_string());
    let parts =
        Value::List(vec![at("head"), Value::Str(format!("{}/", scene.path("parts").display()))]);
    let file = watched(&scene, "f", &[("fragments", parts)]).await;
    let target = scene.path("f");
    let holds = |text: &str| fs::read_to_string(&target).is_ok_and(|content| content == text);
    healed(&mut scene, &*file, || holds("h")).await;
    fs::write(scene.path("parts/a"), "a").unwrap();
    healed(&mut scene, &*file, || holds("ha")).await;
    fs::write(scene.path("head"), "H").unwrap();
    healed(&mut scene, &*file, || holds("Ha")).await;

    let mut scene = Scene::new();
    let fields = [("source", Value::Str(scene.path("s").display().to_string()))];
    let copy = watched(&scene, "f", &fields).await;
    let (source, target) = (scene.path("s"), scene.path("f"));
    let holds = |text: &str| fs::read_to_string(&target).is_ok_and(|content| content == text);
    copy.run(&context()).await.expect_err("there is no source yet");
    fs::write(&source, "one").unwrap();
    healed(&mut scene, &*copy, || holds("one")).await;
    fs::rename(&source, scene.path("t")).unwrap();
    fs::write(&source, "two").unwrap();
    healed(&mut scene, &*copy, || holds("two")).await;
}
