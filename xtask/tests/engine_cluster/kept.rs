//! What nodes hold beyond their cluster: there again after `down` and `up`, gone when it is asked.

use super::{Named, engine_there};

#[test]
fn engine_what_nodes_hold_outlives_their_cluster_until_it_is_removed() {
    if !engine_there("up --persist") {
        return;
    }
    let demo = Named::new("kept");
    let put = "etcdctl --endpoints http://$(hostname):2379 put kept yes";
    let get = "etcdctl --endpoints http://$(hostname):2379 get kept --print-value-only";
    let up = ["up", "--insecure", "--persist", "--wait", "60s"];
    demo.expect(0, &up);
    demo.expect(0, &["exec", "h1", "--", &format!("ETCDCTL_API=3 {put}")]);
    let text = demo.expect(0, &["down"]);
    assert!(text.contains("kept") && text.contains("3 volumes"), "{text}");
    assert_eq!(demo.left().len(), 3, "{:?}", demo.left());
    assert!(demo.expect(0, &["ls"]).contains("stored"));

    let text = demo.expect(5, &["up", "--insecure"]);
    assert!(text.contains("h1, h2, h3 left what they hold, which needs --persist"), "{text}");
    demo.expect(0, &["gc"]);
    demo.expect(0, &up);
    let seen = demo.expect(0, &["exec", "h3", "--", &format!("ETCDCTL_API=3 {get}")]);
    assert_eq!(seen.trim(), "yes");
    demo.expect(0, &["down", "--volumes"]);
    assert_eq!(demo.left(), Vec::<String>::new());
}
