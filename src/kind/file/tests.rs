//! Files and directories on a real file system, in temporary directories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::super::trial::{build_values, changed, context, would_change};
use super::super::{Context, FieldError, FieldType, Managed, Outcome, Resource, Turns, Ways};
use super::FIELDS;
use crate::spec::Value;

mod beneath;
mod sources;

/// Text fields as they stand in a file.
type Texts<'a> = &'a [(&'a str, &'a str)];

/// A file resource of fields that are written as text; the items of a list are separated by commas.
fn build(name: &str, fields: &[(&str, &str)]) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
    let values: Vec<(&str, Value)> = fields
        .iter()
        .map(|(key, text)| {
            let known = FIELDS.iter().find(|field| field.name == *key).unwrap();
            let value = match known.ty {
                FieldType::Bool => Value::Bool(*text == "true"),
                FieldType::StrList => Value::List(
                    text.split_terminator(',').map(|item| Value::Str(item.to_owned())).collect(),
                ),
                _ => Value::Str((*text).to_owned()),
            };
            (*key, value)
        })
        .collect();
    build_values("file", name, &values)
}

struct Scene {
    dir: TempDir,
    cx: Context,
}

impl Scene {
    fn new() -> Self {
        Scene { dir: tempfile::tempdir().unwrap(), cx: context() }
    }

    fn looking() -> Self {
        let cx = Context { apply: false, ..context() };
        Scene { cx, ..Scene::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&self, name: &str, fields: &[(&str, &str)]) -> Result<Outcome, String> {
        let path = self.dir.path().join(name);
        build(path.to_str().unwrap(), fields).unwrap().run(&self.cx).await
    }

    /// The error, with the temporary directory shown as `~`.
    async fn refused(&self, name: &str, fields: &[(&str, &str)]) -> String {
        let error = self.run(name, fields).await.unwrap_err();
        error.replace(self.dir.path().to_str().unwrap(), "~")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// The fields that are at fault.
fn mistakes(name: &str, fields: &[(&str, &str)]) -> Vec<&'static str> {
    let errors = build(name, fields).err().unwrap_or_default();
    errors.iter().map(|error| error.field.unwrap_or("-")).collect()
}

#[test]
fn every_mistake_in_the_fields_is_reported() {
    let cases: [(&str, Texts, &[&str]); 40] = [
        ("/f", &[], &[]),
        ("rel/f", &[], &["-"]),
        ("rel/f", &[("dirname", "/d/")], &[]),
        ("f", &[("path", "rel/f")], &["path"]),
        ("/f", &[("dirname", "/d")], &["dirname"]),
        ("/f", &[("dirname", "d/")], &["dirname"]),
        ("/f", &[("basename", "/b"), ("mode", "0999")], &["basename", "mode"]),
        ("/f", &[("state", "present"), ("mode", "010000")], &["state", "mode"]),
        ("/f/", &[("content", "")], &["content"]),
        ("/f", &[("content", ""), ("state", "absent")], &["content"]),
        (
            "/f/",
            &[("content", ""), ("state", "absent"), ("mode", "x")],
            &["mode", "content", "content"],
        ),
        ("/f", &[("owner", "a\0b"), ("mode", "+7")], &["owner", "mode"]),
        ("/f", &[("source", "/s")], &[]),
        ("/f", &[("source", "s")], &["source"]),
        ("/f", &[("source", "/f")], &["source"]),
        ("/f", &[("source", "/d/")], &["source"]),
        ("/f/", &[("source", "/s")], &["source"]),
        ("/f/", &[("source", "/dev/null")], &["source"]),
        ("/f/", &[("source", "/s/")], &["source"]),
        ("/f/", &[("source", "/s/"), ("recurse", "true")], &[]),
        ("/f/", &[("source", "/f/s/"), ("recurse", "true")], &["source"]),
        ("/f/s/", &[("source", "/f/"), ("recurse", "true")], &["source"]),
        ("/f", &[("source", "/s"), ("content", "")], &["source"]),
        ("/f", &[("source", "/s"), ("fragments", "/p")], &["fragments"]),
        ("/f", &[("content", "x"), ("fragments", "/p")], &["fragments"]),
        ("/f", &[("source", "/s"), ("state", "absent")], &["source"]),
        ("/f", &[("fragments", "/p"), ("state", "absent")], &["fragments"]),
        ("/f", &[("fragments", "/p,/q/")], &[]),
        ("/f", &[("fragments", "")], &["fragments"]),
        ("/f", &[("fragments", "p")], &["fragments"]),
        ("/d/f", &[("fragments", "/d/")], &["fragments"]),
        ("/f/", &[("fragments", "/p")], &["fragments"]),
        ("/f", &[("recurse", "true")], &["recurse"]),
        ("/f/", &[("recurse", "true")], &["recurse"]),
        ("/f/", &[("recurse", "true"), ("state", "absent")], &[]),
        ("/f/", &[("purge", "true")], &["purge"]),
        ("/f/", &[("purge", "true"), ("recurse", "true")], &[]),
        ("/f/", &[("purge", "true"), ("recurse", "true"), ("state", "absent")], &["purge"]),
        ("/f", &[("symlink", "true"), ("mode", "0644")], &["symlink", "mode"]),
        ("/", &[("recurse", "true"), ("state", "absent")], &["path"]),
    ];
    for (name, fields, expected) in cases {
        assert_eq!(mistakes(name, fields), expected, "{name} {fields:?}");
    }
}

#[tokio::test]
async fn a_file_is_made_with_its_content_and_mode_and_then_left_alone() {
    let scene = Scene::new();
    let fields = [("content", "i am fA\n"), ("mode", "4741")];
    assert_eq!(changed(scene.run("f", &fields).await), "created");
    assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "i am fA\n");
    assert_eq!(mode(&scene.path("f")), 0o4741);
    let before = fs::metadata(scene.path("f")).unwrap().ino();
    assert_eq!(scene.run("f", &fields).await, Ok(Outcome::Unchanged));
    assert_eq!(fs::metadata(scene.path("f")).unwrap().ino(), before);
    assert_eq!(scene.names(), ["f"], "no temporary file is left");
}

#[tokio::test]
async fn drift_of_content_and_mode_is_repaired() {
    let scene = Scene::new();
    let fields = [("content", "right"), ("mode", "0600")];
    scene.run("f", &fields).await.unwrap();
    fs::write(scene.path("f"), "wrong").unwrap();
    assert_eq!(changed(scene.run("f", &fields).await), "content written");
    fs::set_permissions(scene.path("f"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(changed(scene.run("f", &fields).await), "mode set to 0600 (was 0644)");
    assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "right");
    assert_eq!(mode(&scene.path("f")), 0o600);
}

#[tokio::test]
async fn new_content_keeps_a_mode_that_nobody_declared() {
    let scene = Scene::new();
    fs::write(scene.path("f"), "old").unwrap();
    fs::set_permissions(scene.path("f"), fs::Permissions::from_mode(0o2751)).unwrap();
    scene.run("f", &[("content", "new")]).await.unwrap();
    assert_eq!(mode(&scene.path("f")), 0o2751);
}

#[tokio::test]
async fn new_content_keeps_the_access_list_and_the_notes_of_a_file() {
    use super::super::extras::tests::{get, list, set};
    let scene = Scene::new();
    let (path, access) = (scene.path("f"), "system.posix_acl_access");
    fs::write(&path, "old").unwrap();
    if !set(&path, access, &list()) {
        return;
    }
    assert!(set(&path, "user.note", b"n"));
    scene.run("f", &[("content", "new")]).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!((get(&path, access), mode(&path)), (Some(list()), 0o640));
    assert_eq!(get(&path, "user.note").as_deref(), Some(&b"n"[..]));
    let write = |file: &mut fs::File| std::io::Write::write_all(file, b"newer");
    super::super::replace::replace(&path, 0o600, write).unwrap();
    assert_eq!((get(&path, access), mode(&path)), (Some(list()), 0o640));
    assert_eq!(scene.names(), ["f"]);
}

#[tokio::test]
async fn a_new_file_has_its_mode_whatever_its_directory_gives() {
    use super::super::extras::tests::{list, set};
    for gives in [false, true] {
        let scene = Scene::new();
        if gives && !set(scene.dir.path(), "system.posix_acl_default", &list()) {
            return;
        }
        for bits in [0o600, 0o640, 0o644, 0o664, 0o755, 0o2755] {
            let text = format!("{bits:04o}");
            for (name, field) in [("f", ("content", "new")), ("e", ("state", "exists"))] {
                let name = format!("{name}{text}");
                scene.run(&name, &[field, ("mode", &text)]).await.unwrap();
                assert_eq!(mode(&scene.path(&name)), bits, "{name}, {gives}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_only_exists_is_made_empty_and_its_content_is_never_touched() {
    let scene = Scene::new();
    let fields = [("state", "exists"), ("mode", "0640")];
    assert_eq!(changed(scene.run("f", &fields).await), "created");
    assert_eq!(mode(&scene.path("f")), 0o640);
    fs::write(scene.path("f"), "someone else's").unwrap();
    assert_eq!(scene.run("f", &fields).await, Ok(Outcome::Unchanged));
    assert_eq!(changed(scene.run("f", &[("content", "")]).await), "content written");
    assert_eq!(fs::read(scene.path("f")).unwrap(), b"");
}

#[tokio::test]
async fn a_directory_is_made_but_its_parents_are_not() {
    let scene = Scene::new();
    let fields = [("state", "exists"), ("mode", "1777")];
    assert_eq!(changed(scene.run("d/", &fields).await), "directory created");
    assert_eq!(mode(&scene.path("d")), 0o1777);
    assert_eq!(scene.run("d/", &fields).await, Ok(Outcome::Unchanged));
    let hint = "directory ~/x/ does not exist; declare it as a file resource (name: ~/x/) or \
                create it";
    assert_eq!(scene.refused("x/y/", &[("state", "exists")]).await, format!("~/x/y/: {hint}"));
    assert_eq!(scene.refused("x/y/f", &[("content", "")]).await, format!("~/x/y/f: {hint}"));
    let empty = [("state", "exists")];
    assert_eq!(scene.refused("x/y/f", &empty).await, format!("~/x/y/f: {hint}"));
    fs::write(scene.path("x"), "").unwrap();
    let hint = "~/x is not a directory; remove it or choose another path";
    assert_eq!(scene.refused("x/y/f", &empty).await, format!("~/x/y/f: {hint}"));
}

#[tokio::test]
async fn what_nothing_creates_is_named_when_it_is_missing() {
    let scene = Scene::new();
    let error = scene.refused("f", &[("mode", "0600")]).await;
    assert!(error.starts_with("~/f: does not exist, and nothing says to create it"), "{error}");
}

#[tokio::test]
async fn absent_removes_a_link_and_not_its_target() {
    let scene = Scene::new();
    let absent = [("state", "absent")];
    fs::write(scene.path("target"), "").unwrap();
    symlink(scene.path("target"), scene.path("link")).unwrap();
    fs::create_dir_all(scene.path("full/inner")).unwrap();
    assert_eq!(changed(scene.run("link", &absent).await), "removed");
    assert!(scene.path("target").exists());
    assert!(scene.refused("full/", &absent).await.contains("add `recurse: true`"));
    assert!(scene.path("full/inner").exists());
    assert_eq!(changed(scene.run("full/inner/", &absent).await), "removed");
    assert_eq!(changed(scene.run("full/", &absent).await), "removed");
    assert_eq!(scene.run("full/", &absent).await, Ok(Outcome::Unchanged));
    assert_eq!(scene.run("none/none/f", &absent).await, Ok(Outcome::Unchanged));
}

#[tokio::test]
async fn a_planted_link_is_never_followed() {
    let scene = Scene::new();
    fs::write(scene.path("secret"), "untouched").unwrap();
    fs::set_permissions(scene.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink(scene.path("secret"), scene.path("f")).unwrap();
    for fields in [&[("mode", "0666")][..], &[("state", "exists")]] {
        assert!(scene.refused("f", fields).await.contains("is a symbolic link"));
    }
    let fields = [("content", "mine"), ("mode", "0666")];
    assert_eq!(changed(scene.run("f", &fields).await), "content written");
    assert!(fs::symlink_metadata(scene.path("f")).unwrap().is_file());
    assert_eq!(fs::read_to_string(scene.path("secret")).unwrap(), "untouched");
    assert_eq!(mode(&scene.path("secret")), 0o600);
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_holds_nobody_up() {
    let scene = Scene::new();
    nix::unistd::mkfifo(&scene.path("f"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = scene.refused("f", &[("content", "x")]).await;
    assert!(error.contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn looking_changes_nothing_and_bears_what_is_missing() {
    let scene = Scene::looking();
    let owner = [("state", "exists"), ("owner", "nobody-of-that-name")];
    let cases: [(&str, Texts, &str); 5] = [
        ("f", &[("content", "x")], "created"),
        ("d/", &[("state", "exists")], "directory created"),
        ("none/none/f", &[("content", "x")], "created"),
        (
            "f",
            &[("mode", "0600")],
            "does not exist, and nothing says to create it; add `state: exists`",
        ),
        (
            "f",
            &owner,
            "the user `nobody-of-that-name` does not exist; create it, or name another `owner`",
        ),
    ];
    for (name, fields, words) in cases {
        assert_eq!(would_change(scene.run(name, fields).await), words);
    }
    assert_eq!(scene.names(), Vec::<String>::new());
    fs::write(scene.path("f"), "y").unwrap();
    would_change(scene.run("f", &[("content", "x")]).await);
    would_change(scene.run("f", &[("state", "absent")]).await);
    assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "y");
}

#[tokio::test]
async fn an_owner_that_does_not_exist_is_named() {
    let scene = Scene::new();
    let error = scene.refused("f", &[("content", "x"), ("group", "no-such-group")]).await;
    assert!(error.starts_with("~/f: the group `no-such-group` does not exist"), "{error}");
    assert!(!scene.path("f").exists(), "nothing is half done");
}

/// Needs a user who may give files away; anybody else sees the refusal.
#[tokio::test]
async fn owner_and_group_are_set_by_number_or_refused_in_words() {
    let scene = Scene::new();
    let fields = [("content", "x"), ("owner", "1"), ("group", "2")];
    if nix::unistd::geteuid().is_root() {
        assert_eq!(changed(scene.run("f", &fields).await), "created");
        assert_eq!(changed(scene.run("f", &[("owner", "3")]).await), "owner set to 3");
        let found = fs::metadata(scene.path("f")).unwrap();
        assert_eq!((found.uid(), found.gid()), (3, 2));
        assert_eq!(changed(scene.run("f", &[("content", "y")]).await), "content written");
        let found = fs::metadata(scene.path("f")).unwrap();
        assert_eq!((found.uid(), found.gid()), (3, 2), "new content keeps the owner");
    } else {
        assert!(scene.refused("f", &fields).await.contains("run the agent as a user who may"));
    }
}

#[tokio::test]
async fn p19_readers_see_the_old_or_the_new_content_and_nothing_between() {
    let scene = Scene::new();
    let (old, new) = ("a".repeat(1 << 20), "b".repeat(1 << 20));
    let path = scene.path("f");
    scene.run("f", &[("content", &old)]).await.unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (path, done) = (path.clone(), std::sync::Arc::clone(&done));
        move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let text = fs::read(&path).unwrap();
                assert_eq!(text.len(), 1 << 20);
                assert!(text.iter().all(|byte| *byte == text[0]), "two contents mixed");
            }
        }
    });
    for round in 0..20 {
        let content = if round % 2 == 0 { &new } else { &old };
        scene.run("f", &[("content", content)]).await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    reader.join().unwrap();
}

#[tokio::test]
async fn a_cancelled_run_does_nothing() {
    let scene = Scene::new();
    scene.cx.cancel.cancel();
    scene.run("f", &[("content", "x")]).await.unwrap_err();
    assert!(!scene.path("f").exists());
}

#[tokio::test]
async fn a_file_that_comes_and_goes_while_it_is_looked_at_is_no_error() {
    let scene = Scene::new();
    let path = scene.path("f");
    let vandal = std::thread::spawn(move || {
        for _ in 0..500 {
            fs::remove_file(&path).ok();
            fs::write(&path, "other").unwrap();
        }
    });
    while !vandal.is_finished() {
        scene.run("f", &[("content", "right")]).await.unwrap();
    }
    vandal.join().unwrap();
    scene.run("f", &[("content", "right")]).await.unwrap();
    assert_eq!(fs::read_to_string(scene.path("f")).unwrap(), "right");
}

#[tokio::test]
async fn runs_that_share_their_ways_open_a_directory_once_and_anew_when_it_is_gone() {
    let mut scene = Scene::new();
    scene.cx.ways = Ways::keeping(&Turns::default());
    let content = [("content", "x")];
    fs::create_dir(scene.path("d")).unwrap();
    changed(scene.run("d/a", &content).await);
    fs::rename(scene.path("d"), scene.path("moved")).unwrap();
    changed(scene.run("d/b", &content).await);
    assert!(scene.path("moved/b").exists(), "it is the directory that was opened for the first");
    fs::remove_dir_all(scene.path("moved")).unwrap();
    fs::create_dir(scene.path("d")).unwrap();
    changed(scene.run("d/c", &content).await);
    assert!(scene.path("d/c").exists(), "nothing can be written where it was");
    fs::remove_dir_all(scene.path("d")).unwrap();
    let why = scene.refused("d/e", &content).await;
    assert!(why.contains("directory ~/d/ does not exist"), "{why}");
}
