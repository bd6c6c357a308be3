//! Cuts between nodes: made, shown, kept over a restart, healed without a trace.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Named, ask, ask_text, engine_there};

pub(super) const PUT: &str = "ETCDCTL_API=3 etcdctl --endpoints http://$(hostname):2379 \
                   --command-timeout=2s put";

/// Waits until a command ends with this code; gives what it printed then.
pub(super) fn until(demo: &Named, code: i32, within: Duration, arguments: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let output = demo.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(code) {
            return text;
        }
        assert!(start.elapsed() < within, "{arguments:?}: {} {text}", output.status);
    }
}

pub(super) fn routes(demo: &Named) -> String {
    demo.expect(0, &["exec", "--all", "--", "ip route"])
}

#[test]
fn engine_a_cut_is_shown_to_be_one_and_survives_a_restart_and_heals_without_a_trace() {
    if !engine_there("partition") {
        return;
    }
    let demo = Named::new("cut");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    let before = routes(&demo);
    let text = demo.expect(0, &["partition", "h3", "--from", "h1,h2"]);
    assert!(text.contains("cut       h3 from h1, h2\nchecked   4 of 4 probes were lost"), "{text}");

    until(&demo, 0, Duration::from_secs(15), &["exec", "h1", "--", &format!("{PUT} a 1")]);
    demo.expect(1, &["exec", "h3", "--", &format!("{PUT} a 2")]);
    let status = demo.expect(1, &["status"]);
    assert!(status.contains("cut from h3") && status.contains("cut from h1, h2"), "{status}");
    let status: Value = serde_json::from_str(&demo.expect(1, &["status", "--json"])).unwrap();
    assert_eq!(status["nodes"][2]["unreached"], serde_json::json!(["h1", "h2"]));
    // The host still reaches a node that is cut off.
    TcpStream::connect(status["nodes"][2]["client"].as_str().unwrap()).unwrap();

    demo.expect(0, &["restart", "h3"]);
    let faults = demo.expect(0, &["faults"]);
    assert_eq!(faults.matches(" in force ").count(), 4, "{faults}");
    demo.expect(0, &["kill", "h1"]);
    let faults = demo.expect(0, &["faults"]);
    assert_eq!(faults.matches(" when it starts ").count(), 1, "{faults}");
    demo.expect(0, &["up", "--insecure", "--no-wait"]);
    assert_eq!(demo.expect(0, &["faults"]).matches(" in force ").count(), 4);

    let healed = demo.expect(0, &["heal"]);
    assert_eq!(healed, "healed    h1 and h3\nhealed    h2 and h3\n");
    until(&demo, 0, Duration::from_secs(15), &["status"]);
    assert_eq!(routes(&demo), before);
    assert_eq!(demo.expect(0, &["faults"]), "no faults\n");
    assert_eq!(demo.expect(0, &["heal"]).trim(), "nothing to heal");
    assert!(!demo.left().iter().any(|name| name.contains("-cut-h")), "{:?}", demo.left());
    let data = "ETCDCTL_API=3 etcdctl --endpoints http://$(hostname):2379 get a --print-value-only";
    assert_eq!(demo.expect(0, &["exec", "h3", "--", data]), "1\n");
}

#[test]
fn engine_a_timed_cut_ends_by_itself_and_one_that_rejects_fails_at_once() {
    if !engine_there("timed cuts") {
        return;
    }
    let demo = Named::new("timed");
    demo.expect(0, &["up", "--nodes", "3", "--voters", "1", "--wait", "60s"]);
    let before = routes(&demo);
    let text = demo.expect(0, &["isolate", "h2", "--mode", "reject", "--for", "6s"]);
    assert!(text.contains("cut       h2 from h1, h3, with an error, for 6s"), "{text}");
    // Another cut of the same node has its own time.
    demo.expect(0, &["partition", "h2", "--from", "h3", "--one-way"]);
    let text = demo.expect(1, &["exec", "h2", "--", "nc -w 1 h1 2379 </dev/null"]);
    assert!(text.contains("No route to host"), "{text}");
    let start = Instant::now();
    while demo.expect(0, &["faults"]).contains("h1") || routes(&demo).contains("unreachable") {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", routes(&demo));
    }
    let faults = demo.expect(0, &["faults", "--json"]);
    let faults: Value = serde_json::from_str(&faults).unwrap();
    assert_eq!(faults["faults"].as_array().map(Vec::len), Some(1), "{faults}");
    let kept = &faults["faults"][0];
    assert_eq!(
        (&kept["node"], &kept["peer"], &kept["state"]),
        (&"h2".into(), &"h3".into(), &"in force".into(),)
    );
    demo.expect(0, &["heal", "h3"]);
    assert_eq!(routes(&demo), before);

    let text = demo.expect(2, &["partition", "h1,h2", "--from", "h2"]);
    assert!(text.contains("h2 is on both sides of the cut"), "{text}");
    let text = demo.expect(4, &["isolate", "h7"]);
    assert!(text.contains("has no node h7. It has h1, h2, h3"), "{text}");
}

/// Runs a script in a node's network with the right to change it, and with the tools for that;
/// gives what it printed.
pub(super) fn meddle(demo: &Named, node: &str, script: &str) -> String {
    let name = format!("/quorate-{}-{node}", demo.0);
    let (_, seen) = ask("GET", "/containers/json", &Value::Null).unwrap();
    let all = seen.as_array().into_iter().flatten();
    let mut all = all.filter(|c| c["Names"][0] == name.as_str());
    let own = all.next().unwrap();
    let (_, images) = ask("GET", "/images/json", &Value::Null).unwrap();
    let tools = (images.as_array().into_iter().flatten())
        .filter_map(|image| image["RepoTags"][0].as_str())
        .find(|tag| tag.starts_with("localhost/quorate-tools:"));
    let body = serde_json::json!({
        "Image": tools.map_or(own["Image"].clone(), Into::into),
        "Tty": true,
        "Cmd": ["sh", "-c", script],
        "HostConfig": {"NetworkMode": format!("container:{}", own["Id"].as_str().unwrap()),
                       "CapAdd": ["NET_ADMIN"]},
    });
    let (status, made) = ask("POST", "/containers/create", &body).unwrap();
    assert_eq!(status, 201, "{made}");
    let helper = format!("/containers/{}", made["Id"].as_str().unwrap());
    assert_eq!(ask("POST", &format!("{helper}/start"), &Value::Null).unwrap().0, 204);
    let (_, ended) = ask("POST", &format!("{helper}/wait"), &Value::Null).unwrap();
    let (_, said) = ask_text("GET", &format!("{helper}/logs?stdout=1"), &Value::Null).unwrap();
    assert_eq!(ask("DELETE", &helper, &Value::Null).unwrap().0, 204);
    assert_eq!(ended["StatusCode"], 0, "{ended} {said}");
    said.replace('\r', "")
}

#[test]
fn engine_a_cut_that_something_comes_through_is_undone_and_ends_with_7() {
    if !engine_there("a cut without effect") {
        return;
    }
    let demo = Named::new("leak");
    demo.expect(0, &["up", "--nodes", "2", "--voters", "1", "--wait", "60s"]);
    let before = routes(&demo);
    let address = demo.expect(0, &["exec", "h2", "--", "hostname -i"]);
    // What h1 sends to that address is answered by h1 itself then, whatever its routes say.
    meddle(&demo, "h1", &format!("ip addr add {}/32 dev lo", address.trim()));
    let text = demo.expect(7, &["partition", "h1", "--from", "h2", "--one-way"]);
    assert!(text.contains("the cut had no effect: h1 reached h2; undone"), "{text}");
    assert_eq!(routes(&demo), before);
    assert_eq!(demo.expect(0, &["faults"]), "no faults\n");
}

#[test]
fn engine_a_ring_and_a_bridge_cut_off_those_who_are_not_next_to_each_other() {
    if !engine_there("ring and bridge") {
        return;
    }
    let demo = Named::new("ring");
    demo.expect(0, &["up", "--nodes", "4", "--voters", "1", "--wait", "60s"]);
    let before = routes(&demo);
    let text = demo.expect(0, &["ring"]);
    assert!(text.contains("cut       h1 from h3\ncut       h2 from h4\n"), "{text}");
    assert!(text.contains("checked   4 of 4 probes were lost"), "{text}");
    demo.expect(0, &["heal"]);
    let text = demo.expect(0, &["bridge", "h1"]);
    assert!(text.contains("cut       h2, h3 from h4\nchecked   4 of 4 probes"), "{text}");
    demo.expect(0, &["heal"]);
    assert_eq!(routes(&demo), before);
    let text = demo.expect(4, &["bridge", "h9"]);
    assert!(text.contains("has no node h9"), "{text}");
}
