//! Nodes that come and go while the cluster runs.

use std::time::Duration;

use serde_json::Value;

use super::faults::until;
use super::{Named, engine_there, rounds};

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
    for _ in 1..rounds(2) {
        demo.expect(0, &["node", "add", "--wait", "60s"]);
        demo.expect(0, &["node", "rm", "h4", "--wait", "60s"]);
        until(&demo, 0, Duration::from_secs(30), &["status"]);
        assert_eq!(hosts(&demo, "voter"), ["h1", "h2", "h3"]);
    }
    assert_eq!(demo.expect(0, &["exec", "h3", "--", &format!("{ctl} get kept")]), "kept\nyes\n");
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(demo.left()), sorted(before));
}

#[test]
fn engine_a_node_that_takes_more_memory_than_it_has_loses_it_and_the_status_tells() {
    if !engine_there("memory") {
        return;
    }
    let demo = Named::new("memory");
    demo.expect(0, &["up", "--nodes", "1", "--wait", "60s"]);
    // 300 MB in one line of text, of which a node has 256.
    let much = "head -c 300000000 /dev/zero | tr '\\0' x | sort";
    let text = demo.expect(137, &["exec", "h1", "--timeout", "30s", "--", much]);
    assert!(!text.contains("xxx"), "it was not killed");
    let status: Value = serde_json::from_slice(&demo.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["nodes"][0]["out_of_memory"], true, "{status:#}");
    assert!(demo.expect(0, &["status"]).contains("  ran out of memory\n"));
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
