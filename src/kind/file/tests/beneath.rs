//! Row E7: what another host named stays below the directory that a rule permits.

use super::*;

/// A run of a resource that must stay below `srv` of the scene, in which `web1` leads to `out`.
struct Fenced {
    scene: Scene,
    out: PathBuf,
}

impl Fenced {
    fn new() -> Self {
        let mut scene = Scene::new();
        let top = scene.dir.path().canonicalize().unwrap();
        let (srv, out) = (top.join("srv"), top.join("out"));
        fs::create_dir_all(srv.join("real")).unwrap();
        fs::create_dir_all(out.join("sub")).unwrap();
        fs::write(out.join("vhost"), "ours").unwrap();
        symlink(&out, srv.join("web1")).unwrap();
        symlink("../out", srv.join("relative")).unwrap();
        symlink(srv.join("real"), srv.join("inside")).unwrap();
        scene.cx.within = Some(srv.into());
        Fenced { scene, out }
    }

    async fn run(&self, name: &str, fields: Texts<'_>) -> Result<Outcome, String> {
        self.scene.run(&format!("srv/{name}"), fields).await
    }

    fn unchanged_outside(&self) {
        assert_eq!(fs::read_to_string(self.out.join("vhost")).unwrap(), "ours");
        let mut names: Vec<_> = fs::read_dir(&self.out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["sub", "vhost"]);
        assert_eq!(fs::metadata(self.out.join("vhost")).unwrap().mode() & 0o777, 0o644);
    }
}

#[tokio::test]
async fn e7_a_planted_link_leads_neither_a_write_nor_a_removal_nor_a_look_outside() {
    let mut fenced = Fenced::new();
    fs::set_permissions(fenced.out.join("vhost"), fs::Permissions::from_mode(0o644)).unwrap();
    for apply in [true, false] {
        fenced.scene.cx.apply = apply;
        for name in ["web1/vhost", "relative/vhost", "web1/sub/deep/vhost"] {
            for fields in [
                &[("content", "theirs")][..],
                &[("content", "theirs"), ("parents", "true")],
                &[("state", "absent")],
                &[("state", "exists"), ("mode", "0777")],
                &[("content", "theirs"), ("force", "true"), ("recurse", "true")],
            ] {
                let refused = fenced.run(name, fields).await.unwrap_err();
                assert!(
                    refused.contains("cannot look at it: XC04: the way to it leaves"),
                    "{refused}"
                );
                assert!(refused.contains("by the symbolic link"), "{refused}");
            }
        }
        let tree = fenced.run("web1/sub/", &[("state", "absent"), ("recurse", "true")]).await;
        assert!(tree.unwrap_err().contains("XC04"));
        fenced.unchanged_outside();
    }
}

#[tokio::test]
async fn e7_what_stays_inside_is_written_and_its_parents_are_made_there() {
    let fenced = Fenced::new();
    for (name, real) in [
        ("real/a", "real/a"),
        ("inside/b", "real/b"),
        ("new/deep/c", "new/deep/c"),
        ("inside/new/d", "real/new/d"),
    ] {
        let fields = [("content", "x"), ("parents", "true")];
        changed(fenced.run(name, &fields).await);
        assert_eq!(fenced.run(name, &fields).await, Ok(Outcome::Unchanged), "{name}");
        let real = fenced.scene.path("srv").join(real);
        assert_eq!(fs::read_to_string(real).unwrap(), "x", "{name}");
        changed(fenced.run(name, &[("state", "absent")]).await);
    }
    fenced.unchanged_outside();
}

#[tokio::test]
async fn e7_a_directory_that_was_opened_for_a_local_file_is_not_lent_to_another_host_s() {
    let mut fenced = Fenced::new();
    fenced.scene.cx.ways = Ways::keeping(&crate::kind::Turns::default());
    let mut local = fenced.scene.cx.clone();
    local.within = None;
    let path = fenced.scene.path("srv/web1/vhost");
    let ours = build(path.to_str().unwrap(), &[("content", "ours")]).unwrap();
    assert_eq!(ours.run(&local).await, Ok(Outcome::Unchanged));
    let refused = fenced.run("web1/vhost", &[("content", "theirs")]).await.unwrap_err();
    assert!(refused.contains("XC04"), "{refused}");
    assert_eq!(fs::read_to_string(path).unwrap(), "ours");
}

#[tokio::test]
async fn e7_the_directory_itself_is_made_when_it_is_missing() {
    let mut scene = Scene::new();
    let top = scene.dir.path().canonicalize().unwrap();
    scene.cx.within = Some(top.join("a/srv").into());
    changed(scene.run("a/srv/b/f", &[("content", "x"), ("parents", "true")]).await);
    assert_eq!(fs::read_to_string(top.join("a/srv/b/f")).unwrap(), "x");
    let refused = scene.run("a/other", &[("content", "x")]).await.unwrap_err();
    assert!(refused.contains("permits nothing outside"), "{refused}");
}
