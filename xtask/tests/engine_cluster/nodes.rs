//! Nodes that come and go while the cluster runs.

use std::time::Duration;

use serde_json::Value;

use super::faults::until;
use super::{Named, engine_there};

fn hosts(demo: &Named, role: &str) -> Vec<String> {
    let text = demo.run(&["status", "--json"]).stdout;
    let status: Value = serde_json::from_slice(&text).unwrap();
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let of = nodes.filter(|node| node["role"] == role);
    of.filter_map(|node| node["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn engine_a_node_is_added_takes_the_seat_of_one_that_leaves_and_nothing_is_lost() {
    if !engine_there("node add and rm") {
        return;
    }
    let demo = Named::new("node");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    let ctl = "ETCDCTL_API=3 etcdctl --endpoints http://h3:2379";
    demo.expect(0, &["exec", "h3", "--", &format!("{ctl} put kept yes")]);
    let before = demo.left();

    assert!(demo.expect(0, &["node", "add", "--plan"]).contains("would make container quorate-"));
    let text = demo.expect(0, &["node", "add", "--wait", "60s"]);
    assert!(text.ends_with("added     h4\n"), "{text}");
    assert_eq!(demo.expect(0, &["node", "add", "h4"]), "unchanged  h4 is there\n");
    assert_eq!(hosts(&demo, "volunteer"), ["h4"]);

    demo.expect(0, &["partition", "h2", "--from", "h4"]);
    let text = demo.expect(0, &["node", "rm", "h2", "--wait", "60s"]);
    assert!(text.starts_with("removed   h2\n"), "{text}");
    assert_eq!(demo.expect(0, &["faults"]), "no faults\n");
    until(&demo, 0, Duration::from_secs(30), &["status"]);
    assert_eq!(hosts(&demo, "voter"), ["h1", "h3", "h4"]);
    assert_eq!(demo.expect(0, &["node", "rm", "h2"]), "unchanged  there is no h2\n");

    demo.expect(0, &["kill", "h4"]);
    let text = demo.expect(5, &["node", "rm", "h4"]);
    assert!(text.contains("h4 does not run, so it cannot leave"), "{text}");
    demo.expect(0, &["start", "h4"]);
    demo.expect(0, &["node", "add", "--wait", "60s"]);
    until(&demo, 0, Duration::from_secs(30), &["status"]);
    assert_eq!(hosts(&demo, "volunteer"), ["h2"]);
    demo.expect(0, &["node", "rm", "h4", "--wait", "60s"]);
    until(&demo, 0, Duration::from_secs(30), &["status"]);
    assert_eq!(hosts(&demo, "voter"), ["h1", "h2", "h3"]);
    assert_eq!(demo.expect(0, &["exec", "h3", "--", &format!("{ctl} get kept")]), "kept\nyes\n");
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(demo.left()), sorted(before));
}

#[test]
fn engine_a_cluster_shrinks_to_one_node_that_can_not_be_removed() {
    if !engine_there("node rm") {
        return;
    }
    let demo = Named::new("shrink");
    demo.expect(0, &["up", "--wait", "60s"]);
    demo.expect(0, &["node", "rm", "h1", "--wait", "60s"]);
    until(&demo, 0, Duration::from_secs(30), &["status"]);
    assert_eq!(hosts(&demo, "voter"), ["h2", "h3"]);
    demo.expect(0, &["node", "rm", "h2", "--wait", "60s"]);
    until(&demo, 0, Duration::from_secs(30), &["status"]);
    assert_eq!(hosts(&demo, "voter"), ["h3"]);
    let text = demo.expect(5, &["node", "rm", "h3", "--force"]);
    assert!(text.contains("h3 is the only node. Remove the cluster:"), "{text}");
}
