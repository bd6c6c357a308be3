//! What a cluster holds: saved into a file here, and another cluster that begins with it.

use super::{Named, engine_there};

const ETCDCTL: &str = "ETCDCTL_API=3 etcdctl --endpoints http://$(hostname):2379";

#[test]
fn engine_what_a_cluster_holds_is_saved_and_another_one_beside_it_begins_with_it() {
    if !engine_there("snapshot") {
        return;
    }
    let (one, two) = (Named::new("save"), Named::new("back"));
    one.expect(0, &["up", "--insecure", "--nodes", "1", "--wait", "60s"]);
    one.expect(0, &["exec", "h1", "--", &format!("{ETCDCTL} put kept yes")]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.db");
    let path = file.to_str().unwrap();
    let text = one.expect(0, &["snapshot", "save", path]);
    assert!(text.starts_with(&format!("saved     {path}  ")) && text.contains("from h1"), "{text}");
    assert!(file.metadata().unwrap().len() < 5 << 20);
    one.expect(0, &["exec", "h1", "--", &format!("{ETCDCTL} put kept changed")]);

    let text = two.expect(0, &["snapshot", "restore", path, "--insecure", "--nodes", "2"]);
    assert!(text.contains("restored  h1 from"), "{text}");
    let get = format!("{ETCDCTL} get kept --print-value-only");
    assert_eq!(two.expect(0, &["exec", "h1", "--", &get]), "yes\n");
    two.expect(0, &["status"]);
    one.expect(0, &["status"]);
    let text = two.expect(5, &["snapshot", "restore", path]);
    assert!(text.contains("Pick another one: --name NAME"), "{text}");

    let other = Named::new("none");
    std::fs::write(&file, "no snapshot").unwrap();
    let text = other.expect(1, &["snapshot", "restore", path, "--insecure", "--nodes", "1"]);
    assert!(text.contains("is no whole snapshot"), "{text}");
    assert_eq!(other.left(), Vec::<String>::new());
}
