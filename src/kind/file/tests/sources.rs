//! Copies, trees, fragments, links and what they refuse, on a real file system.

use super::*;

const TREE: Texts = &[("source", "~/src/"), ("recurse", "true")];

impl Scene {
    /// The fields with `~` as the temporary directory.
    fn here<'a>(&self, fields: Texts<'a>) -> Vec<(&'a str, String)> {
        let dir = self.dir.path().to_str().unwrap();
        fields.iter().map(|(key, text)| (*key, text.replace('~', dir))).collect()
    }

    async fn go(&self, name: &str, fields: Texts<'_>) -> Result<Outcome, String> {
        let fields = self.here(fields);
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let shown = |error: String| error.replace(self.dir.path().to_str().unwrap(), "~");
        self.run(name, &fields).await.map_err(shown)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn manage(&mut self, names: &[&str]) {
        let paths = names.iter().map(|name| self.path(name)).collect();
        self.cx.managed = Managed::new(move || paths);
    }

    /// A source with a script, a directory, and a link.
    fn source(&self) {
        self.write("src/f", "one");
        self.write("src/sub/script", "#!/bin/sh\n");
        fs::set_permissions(self.path("src/sub/script"), fs::Permissions::from_mode(0o755))
            .unwrap();
        symlink("sub/script", self.path("src/link")).unwrap();
        fs::create_dir(self.path("src/empty")).unwrap();
    }
}

#[tokio::test]
async fn a_source_tree_is_mirrored_and_kept_so() {
    let scene = Scene::new();
    scene.source();
    let words = changed(scene.go("dst/", TREE).await);
    assert!(words.starts_with("directory created, 2 directories created, 2 files"), "{words}");
    assert_eq!((scene.read("dst/f"), mode(&scene.path("dst/sub/script"))), ("one".into(), 0o755));
    assert_eq!(fs::read_link(scene.path("dst/link")).unwrap(), Path::new("sub/script"));
    assert!(scene.path("dst/empty").is_dir());
    assert_eq!(scene.go("dst/", TREE).await, Ok(Outcome::Unchanged));
    scene.write("dst/f", "two");
    scene.write("dst/mine", "not ours");
    fs::remove_file(scene.path("dst/link")).unwrap();
    assert_eq!(changed(scene.go("dst/", TREE).await), "f written, link created");
    assert_eq!(scene.go("dst/", TREE).await, Ok(Outcome::Unchanged));
    fs::remove_file(scene.path("src/f")).unwrap();
    assert_eq!(scene.go("dst/", TREE).await, Ok(Outcome::Unchanged), "nothing goes unasked");
    assert_eq!((scene.read("dst/f"), scene.read("dst/mine")), ("one".into(), "not ours".into()));
}

#[tokio::test]
async fn p19_a_missing_source_is_named_and_the_destination_is_not_emptied() {
    let scene = Scene::new();
    scene.write("dst/f", "kept");
    let fields = [TREE, &[("purge", "true")]].concat();
    let error = scene.go("dst/", &fields).await.unwrap_err();
    assert_eq!(
        error,
        "~/dst/: the source ~/src/ does not exist; create it, or name another `source`"
    );
    assert_eq!(scene.read("dst/f"), "kept");
    let error = scene.go("f", &[("source", "~/none")]).await.unwrap_err();
    assert_eq!(error, "~/f: the source ~/none does not exist; create it, or name another one");
    assert!(!scene.path("f").exists(), "no empty file is made");
    fs::create_dir(scene.path("src")).unwrap();
    let error = scene.go("dst/", &fields).await.unwrap_err();
    assert!(error.contains("is empty, and `purge` would remove everything"), "{error}");
    assert_eq!(scene.read("dst/f"), "kept");
}

#[tokio::test]
async fn purge_removes_the_rest_but_what_others_manage_and_what_links_lead_to() {
    let mut scene = Scene::new();
    scene.source();
    scene.write("out/precious", "untouched");
    scene.write("dst/old/deep/file", "");
    scene.write("dst/managed/by/another", "kept");
    scene.write("dst/managed/not", "");
    symlink(scene.path("out"), scene.path("dst/way-out")).unwrap();
    symlink(scene.path("dst/managed/by"), scene.path("door")).unwrap();
    scene.write("dst/managed/by/link", "kept");
    scene.manage(&["dst/managed/by/another", "door/link", "dst"]);
    let fields = [TREE, &[("purge", "true")]].concat();
    scene.go("dst/", &fields).await.unwrap();
    assert_eq!(scene.read("out/precious"), "untouched");
    assert_eq!(scene.read("dst/managed/by/another"), "kept");
    assert_eq!(scene.read("dst/managed/by/link"), "kept", "declared through a link");
    for gone in ["dst/old", "dst/way-out", "dst/managed/not"] {
        assert!(fs::symlink_metadata(scene.path(gone)).is_err(), "{gone}");
    }
    assert_eq!(scene.go("dst/", &fields).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn purge_without_a_source_removes_all_that_nobody_manages() {
    let mut scene = Scene::new();
    scene.write("d/a", "");
    scene.write("d/b/c", "");
    scene.manage(&["d/a"]);
    let fields = [("recurse", "true"), ("purge", "true"), ("state", "exists")];
    assert_eq!(changed(scene.go("d/", &fields).await), "b removed");
    assert!(scene.path("d/a").exists());
}

#[tokio::test]
async fn a_link_planted_in_the_destination_is_never_passed() {
    let scene = Scene::new();
    scene.source();
    scene.write("out/script", "untouched");
    fs::create_dir(scene.path("dst")).unwrap();
    symlink(scene.path("out"), scene.path("dst/sub")).unwrap();
    symlink(scene.path("out/script"), scene.path("dst/f")).unwrap();
    let error = scene.go("dst/", TREE).await.unwrap_err();
    assert!(error.starts_with("~/dst/sub: is not a directory"), "{error}");
    let fields = [TREE, &[("force", "true")]].concat();
    scene.go("dst/", &fields).await.unwrap();
    assert_eq!(scene.read("out/script"), "untouched");
    assert_eq!(scene.names().len(), 3, "nothing else came");
    assert_eq!(
        (scene.read("dst/f"), scene.read("dst/sub/script")),
        ("one".into(), "#!/bin/sh\n".into())
    );
    // The directory itself, too.
    fs::rename(scene.path("dst"), scene.path("away")).unwrap();
    symlink(scene.path("out"), scene.path("dst")).unwrap();
    let error = scene.go("dst/", TREE).await.unwrap_err();
    assert!(error.starts_with("~/dst/: is a symbolic link"), "{error}");
    assert!(!scene.path("out/f").exists());
}

#[tokio::test]
async fn a_directory_and_a_file_replace_each_other_only_with_force() {
    let scene = Scene::new();
    scene.write("d/in/it", "");
    let content = [("content", "x")];
    let error = scene.go("d", &content).await.unwrap_err();
    assert!(error.contains("add `force: true` to replace it"), "{error}");
    let forced = [("content", "x"), ("force", "true")];
    let error = scene.go("d", &forced).await.unwrap_err();
    assert!(error.contains("add `recurse: true` to `force` to replace it"), "{error}");
    let absent = [("state", "absent"), ("force", "true")];
    let error = scene.go("d", &absent).await.unwrap_err();
    assert!(error.contains("add `recurse: true`"), "{error}");
    assert!(scene.path("d/in/it").exists());
    let forced = [("content", "x"), ("force", "true"), ("recurse", "true")];
    assert_eq!(changed(scene.go("d", &forced).await), "removed with all that was in it, created");
    assert_eq!(scene.read("d"), "x");
    let directory = [("state", "exists")];
    assert!(scene.go("d/", &directory).await.unwrap_err().contains("add `force: true`"));
    let forced = [("state", "exists"), ("force", "true")];
    assert_eq!(changed(scene.go("d/", &forced).await), "removed, directory created");
    assert!(scene.path("d").is_dir());
}

#[tokio::test]
async fn a_directory_stays_until_what_takes_its_place_is_written() {
    let mut scene = Scene::new();
    scene.write("d/in/it", "kept");
    // It has a size, and not that one.
    let source = "/sys/kernel/mm/transparent_hugepage/enabled";
    let forced = [("source", source), ("force", "true"), ("recurse", "true")];
    if Path::new(source).exists() {
        assert!(scene.go("d", &forced).await.unwrap_err().contains("than its size says"));
        assert_eq!(scene.read("d/in/it"), "kept");
    }
    scene.manage(&["d", "d/in/it"]);
    let forced = [("content", "x"), ("force", "true"), ("recurse", "true")];
    let error = scene.go("d", &forced).await.unwrap_err();
    assert!(error.contains("another resource manages in/it in it"), "{error}");
    assert_eq!(scene.read("d/in/it"), "kept");
    scene.manage(&["d"]);
    assert_eq!(changed(scene.go("d", &forced).await), "removed with all that was in it, created");
    fs::remove_file(scene.path("d")).unwrap();
    fs::create_dir(scene.path("d")).unwrap();
    let forced = [("content", "x"), ("force", "true")];
    assert_eq!(changed(scene.go("d", &forced).await), "removed, created", "an empty one");
}

#[tokio::test]
async fn absent_with_recurse_removes_a_tree_and_no_link_s_target() {
    let scene = Scene::new();
    scene.write("out/precious", "untouched");
    scene.write("d/a/b/c", "");
    symlink(scene.path("out"), scene.path("d/a/way-out")).unwrap();
    scene.write("d/.quorate-left", "");
    let fields = [("state", "absent"), ("recurse", "true")];
    assert_eq!(changed(scene.go("d/", &fields).await), "removed with all that was in it");
    assert_eq!(scene.read("out/precious"), "untouched");
    assert_eq!(scene.names(), ["out"]);
}

#[tokio::test]
async fn a_copy_has_the_content_and_permissions_of_its_source() {
    let scene = Scene::new();
    scene.write("s", &"long ".repeat(50_000));
    fs::set_permissions(scene.path("s"), fs::Permissions::from_mode(0o4750)).unwrap();
    let fields = [("source", "~/s")];
    assert_eq!(changed(scene.go("f", &fields).await), "created");
    assert_eq!((scene.read("f"), mode(&scene.path("f"))), (scene.read("s"), 0o750));
    assert_eq!(scene.go("f", &fields).await, Ok(Outcome::Unchanged));
    let mut wrong = scene.read("s");
    wrong.replace_range(200_000..200_001, "?");
    scene.write("f", &wrong);
    assert_eq!(changed(scene.go("f", &fields).await), "content written", "the same length");
    assert_eq!(scene.read("f"), scene.read("s"));
    let declared = [("source", "~/s"), ("mode", "0600")];
    assert_eq!(changed(scene.go("f", &declared).await), "mode set to 0600 (was 0750)");
}

#[tokio::test]
async fn fragments_are_joined_in_order_and_a_missing_one_is_named() {
    let scene = Scene::new();
    scene.write("head", "h\n");
    scene.write("parts/20", "b\n");
    scene.write("parts/10", "a\n");
    scene.write("parts/.10.swp", "x\n");
    scene.write("parts/sub/30", "x\n");
    let fields = [("fragments", "~/head,~/parts/,~/tail")];
    let error = scene.go("f", &fields).await.unwrap_err();
    assert_eq!(error, "~/f: the fragment ~/tail does not exist; create it, or name another one");
    assert!(!scene.path("f").exists());
    scene.write("tail", "t\n");
    assert_eq!(changed(scene.go("f", &fields).await), "created");
    assert_eq!(scene.read("f"), "h\na\nb\nt\n");
    assert_eq!(scene.go("f", &fields).await, Ok(Outcome::Unchanged));
    let error = scene.go("f", &[("fragments", "~/parts")]).await.unwrap_err();
    assert!(error.contains("is a directory; end it with a slash"), "{error}");
}

#[tokio::test]
async fn what_is_made_of_secret_fragments_is_as_secret_unless_a_mode_is_declared() {
    let scene = Scene::new();
    let set = |name: &str, mode| {
        fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    scene.write("open", "a");
    scene.write("parts/secret", "b");
    set("open", 0o644);
    set("parts/secret", 0o640);
    let fields = [("fragments", "~/open,~/parts/")];
    changed(scene.go("f", &fields).await);
    assert_eq!(mode(&scene.path("f")), 0o640);
    set("f", 0o664);
    assert_eq!(changed(scene.go("f", &fields).await), "mode set to 0660 (was 0664)");
    assert_eq!(scene.go("f", &fields).await, Ok(Outcome::Unchanged));
    set("f", 0o600);
    assert_eq!(scene.go("f", &fields).await, Ok(Outcome::Unchanged), "it is never widened");
    let declared = [("fragments", "~/open,~/parts/"), ("mode", "0644")];
    assert_eq!(changed(scene.go("f", &declared).await), "mode set to 0644 (was 0600)");
    symlink(scene.path("open"), scene.path("parts/zlink")).unwrap();
    changed(scene.go("f", &fields).await);
    assert_eq!(scene.read("f"), "aba", "our own link is a fragment");
    if nix::unistd::geteuid().is_root() {
        for path in ["parts", "parts/zlink"] {
            std::os::unix::fs::lchown(scene.path(path), Some(1000), Some(1000)).unwrap();
        }
        let error = scene.go("f", &fields).await.unwrap_err();
        assert!(error.contains("~/parts/zlink on the way is a symbolic link"), "{error}");
    }
}

#[tokio::test]
async fn a_source_that_tells_no_true_size_is_copied_once_or_refused() {
    let scene = Scene::new();
    let version = [("source", "/proc/version")];
    assert_eq!(changed(scene.go("v", &version).await), "created");
    assert_eq!(scene.read("v"), fs::read_to_string("/proc/version").unwrap());
    assert_eq!(scene.go("v", &version).await, Ok(Outcome::Unchanged), "it comes to rest");
    fs::write(scene.path("v"), "").unwrap();
    changed(scene.go("v", &version).await);
    // Its size is a page, whatever it holds.
    let page = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    if page.exists() {
        let error = scene.go("s", &[("source", page.to_str().unwrap())]).await.unwrap_err();
        assert!(error.contains("holds more or less than its size says"), "{error}");
        assert!(!scene.path("s").exists());
    }
}

#[tokio::test]
async fn the_number_that_stands_for_no_change_is_no_owner() {
    let scene = Scene::new();
    for field in ["owner", "group"] {
        let error = scene.refused("f", &[("content", ""), (field, "4294967295")]).await;
        assert!(error.ends_with(&format!("name another `{field}`")), "{error}");
    }
    assert_eq!(scene.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_link_is_made_and_pointed_anew() {
    let scene = Scene::new();
    let fields = [("source", "../etc"), ("symlink", "true")];
    assert_eq!(changed(scene.go("l", &fields).await), "link created");
    assert_eq!(fs::read_link(scene.path("l")).unwrap(), Path::new("../etc"));
    assert_eq!(scene.go("l", &fields).await, Ok(Outcome::Unchanged));
    let fields = [("source", "/"), ("symlink", "true")];
    assert_eq!(changed(scene.go("l", &fields).await), "link set");
    assert_eq!(
        (scene.names(), fs::read_link(scene.path("l")).unwrap()),
        (vec!["l".to_owned()], PathBuf::from("/"))
    );
}

#[tokio::test]
async fn p15_missing_parents_are_an_error_unless_they_are_asked_for() {
    let scene = Scene::new();
    let error = scene.go("a/b/f", &[("content", "x")]).await.unwrap_err();
    assert!(error.contains("directory ~/a/ does not exist"), "{error}");
    let fields = [("content", "x"), ("parents", "true")];
    assert_eq!(changed(scene.go("a/b/f", &fields).await), "parents created, created");
    assert_eq!((scene.read("a/b/f"), mode(&scene.path("a"))), ("x".into(), 0o755));
    assert_eq!(mode(&scene.path("a/b")), 0o755);
    assert_eq!(scene.go("a/b/f", &fields).await, Ok(Outcome::Unchanged));
    scene.write("file", "");
    assert!(scene.go("file/x/f", &fields).await.unwrap_err().contains("not a directory"));
}

#[tokio::test]
async fn p21_looking_bears_what_is_missing_and_makes_nothing() {
    let scene = Scene::looking();
    let lacking = would_change(scene.go("dst/", TREE).await);
    assert!(lacking.contains("does not exist"), "{lacking}");
    scene.source();
    let before = scene.names();
    let words = would_change(scene.go("dst/", TREE).await);
    assert!(words.starts_with("directory created, 2 directories created"), "{words}");
    let owned = [("content", "x"), ("owner", "nobody-of-that-name"), ("mode", "0600")];
    would_change(scene.go("f", &owned).await);
    would_change(scene.go("a/b/f", &[("content", "x"), ("parents", "true")]).await);
    would_change(scene.go("f", &[("fragments", "~/none")]).await);
    would_change(scene.go("src/", &[("state", "absent"), ("recurse", "true")]).await);
    assert_eq!(scene.names(), before);
}

#[tokio::test]
async fn p20_special_bits_are_set_and_compared_without_the_type() {
    let scene = Scene::new();
    for (name, mode_text, bits) in [("f", "4711", 0o4711), ("g", "02755", 0o2755)] {
        let fields = [("content", "x"), ("mode", mode_text)];
        changed(scene.go(name, &fields).await);
        assert_eq!(mode(&scene.path(name)), bits);
        assert_eq!(scene.go(name, &fields).await, Ok(Outcome::Unchanged));
    }
    let fields = [("state", "exists"), ("mode", "1777")];
    changed(scene.go("d/", &fields).await);
    assert_eq!(mode(&scene.path("d")), 0o1777);
    assert_eq!(scene.go("d/", &fields).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn a_source_that_reaches_its_own_copy_through_a_link_is_refused() {
    let scene = Scene::new();
    scene.write("real/sub/f", "");
    symlink(scene.path("real"), scene.path("src")).unwrap();
    let error = scene.go("real/sub/", TREE).await.unwrap_err();
    assert!(error.contains("lie in each other"), "{error}");
    fs::create_dir(scene.path("src/pipe")).unwrap();
    nix::unistd::mkfifo(&scene.path("src/pipe/p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = scene.go("dst/", TREE).await.unwrap_err();
    assert!(error.contains("src/pipe/p is a device, socket or pipe"), "{error}");
}

#[tokio::test]
async fn a_tree_that_others_change_at_the_same_time_ends_right_and_leaves_nothing_behind() {
    let scene = Scene::new();
    scene.source();
    scene.write("out/script", "untouched");
    let (dst, out) = (scene.path("dst"), scene.path("out"));
    fs::create_dir(&dst).unwrap();
    let vandal = std::thread::spawn(move || {
        for _ in 0..300 {
            fs::remove_dir_all(dst.join("sub")).ok();
            fs::remove_file(dst.join("sub")).ok();
            symlink(&out, dst.join("sub")).ok();
            fs::remove_file(dst.join("f")).ok();
        }
    });
    let fields = [TREE, &[("force", "true"), ("purge", "true")]].concat();
    while !vandal.is_finished() {
        // Whether it is in time is chance; what it may touch is not.
        scene.go("dst/", &fields).await.ok();
        assert_eq!(scene.read("out/script"), "untouched");
        assert_eq!(fs::read_dir(scene.path("out")).unwrap().count(), 1);
    }
    vandal.join().unwrap();
    scene.go("dst/", &fields).await.unwrap();
    assert_eq!(scene.go("dst/", &fields).await, Ok(Outcome::Unchanged));
    assert_eq!(scene.read("dst/sub/script"), "#!/bin/sh\n");
    assert_eq!(fs::read_dir(scene.path("dst")).unwrap().count(), 4);
}

/// Needs a user who may give files away.
#[tokio::test]
async fn nobody_sends_root_s_writes_elsewhere_with_a_link_on_the_way() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let scene = Scene::new();
    scene.write("root/authorized_keys", "root's");
    scene.write("root/full/precious", "untouched");
    fs::create_dir(scene.path("ann")).unwrap();
    symlink(scene.path("root"), scene.path("ann/.ssh")).unwrap();
    for path in ["ann", "ann/.ssh"] {
        std::os::unix::fs::lchown(scene.path(path), Some(1000), Some(1000)).unwrap();
    }
    let before = fs::metadata(scene.path("root/authorized_keys")).unwrap();
    let cases: [(&str, Texts); 7] = [
        ("ann/.ssh/authorized_keys", &[("content", "ann's"), ("owner", "1000")]),
        ("ann/.ssh/authorized_keys", &[("owner", "1000"), ("mode", "0666")]),
        ("ann/.ssh/authorized_keys", &[("state", "absent")]),
        ("ann/.ssh/new/deep/f", &[("content", "x"), ("parents", "true")]),
        ("ann/.ssh/full/", &[("state", "absent"), ("recurse", "true")]),
        ("ann/.ssh/full/", &[("recurse", "true"), ("purge", "true"), ("state", "exists")]),
        ("ann/.ssh/link", &[("source", "/etc"), ("symlink", "true")]),
    ];
    for (path, fields) in cases {
        let error = scene.go(path, fields).await.unwrap_err();
        let said = "~/ann/.ssh on the way is a symbolic link to ~/root and belongs to user 1000";
        assert!(error.contains(said), "{path} {fields:?}: {error}");
        assert!(error.ends_with("with `chown -h root ~/ann/.ssh`"), "{error}");
    }
    let error = super::super::super::replace::replace(
        &scene.path("ann/.ssh/authorized_keys"),
        0o600,
        |_| Ok(()),
    );
    assert!(error.unwrap_err().contains("belongs to user 1000"));
    assert_eq!(scene.read("root/authorized_keys"), "root's");
    assert_eq!(scene.read("root/full/precious"), "untouched");
    let after = fs::metadata(scene.path("root/authorized_keys")).unwrap();
    assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
    assert_eq!(fs::read_dir(scene.path("root")).unwrap().count(), 2, "nothing came");
}

#[tokio::test]
async fn links_of_the_agent_s_own_user_on_the_way_are_passed() {
    let scene = Scene::new();
    fs::create_dir(scene.path("run")).unwrap();
    symlink("run", scene.path("var")).unwrap();
    let fields = [("content", "x"), ("parents", "true")];
    assert_eq!(changed(scene.go("var/a/b/f", &fields).await), "parents created, created");
    assert_eq!(scene.go("var/a/b/f", &fields).await, Ok(Outcome::Unchanged));
    assert_eq!(scene.read("run/a/b/f"), "x");
    let gone = [("state", "absent"), ("recurse", "true")];
    assert_eq!(changed(scene.go("var/a/", &gone).await), "removed with all that was in it");
    assert!(!scene.path("run/a").exists());
}
