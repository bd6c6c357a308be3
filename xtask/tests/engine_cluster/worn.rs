//! Networks that are bad: measured when they are made, gone when healed or when their time is over,
//! refused where the kernel cannot have them.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::{meddle, until};
use super::{Named, engine_there};

fn address(demo: &Named, node: &str) -> String {
    demo.expect(0, &["exec", node, "--", "hostname -i"]).trim().to_owned()
}

#[test]
fn engine_a_bad_network_is_measured_lasts_over_a_restart_and_heals() {
    if !engine_there("loss and rate") {
        return;
    }
    let demo = Named::new("worn");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    let text = demo.expect(0, &["loss", "h3", "--pct", "30"]);
    assert!(text.contains("h3 loses 30 %") && text.contains("of 200 probe packets"), "{text}");
    let ping = "ping -c 1000 -i 0.005 -W 1 -q h1 || true";
    let text = meddle(&demo, "h3", &ping.replace("h1", &address(&demo, "h1")));
    let back = text.split(", ").find_map(|part| part.strip_suffix(" packets received"));
    let lost = 1000 - back.unwrap_or(&text).parse::<u32>().unwrap();
    eprintln!("{lost} of 1000 probes were lost");
    // Both ways: what h3 gets is its answers only.
    assert!((250..=350).contains(&lost), "{text}");
    let text = demo.expect(0, &["rate", "h2", "--kbit", "2048"]);
    assert!(text.contains("sends 2048 kbit/s at most") && text.contains("it sent "), "{text}");
    assert!(demo.run(&["status"]).stdout.windows(10).any(|part| part == b"loses 30 %"));

    demo.expect(0, &["restart", "h3"]);
    let faults: Value = serde_json::from_str(&demo.expect(0, &["faults", "--json"])).unwrap();
    let kinds: Vec<&str> =
        faults["faults"].as_array().unwrap().iter().filter_map(|f| f["fault"].as_str()).collect();
    assert_eq!(kinds, ["rate", "loss"]);
    assert_eq!(faults["faults"][1]["percent"], 30);

    let text = demo.expect(0, &["heal", "h3"]);
    assert_eq!(text.trim(), "healed    loss of h3");
    assert_eq!(demo.expect(0, &["heal"]).trim(), "healed    rate of h2");
    assert_eq!(demo.expect(0, &["faults"]), "no faults\n");
    until(&demo, 0, Duration::from_secs(20), &["status"]);
}

#[test]
fn engine_a_bad_network_ends_by_itself_and_what_the_kernel_lacks_is_refused() {
    if !engine_there("timed loss") {
        return;
    }
    let demo = Named::new("timed");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    let ask =
        "ETCDCTL_API=3 etcdctl --endpoints http://h2:2379 --command-timeout=2s endpoint health";
    let reach = ["exec", "h1", "--", ask];
    demo.expect(0, &reach);
    demo.expect(0, &["loss", "h2", "--pct", "100", "--for", "20s"]);
    let start = Instant::now();
    assert_ne!(demo.run(&reach).status.code(), Some(0), "nothing is lost");
    until(&demo, 0, Duration::from_secs(40), &reach);
    assert!(start.elapsed() > Duration::from_secs(2), "it ended after {:?}", start.elapsed());

    let done = demo.run(&["delay", "h2", "--ms", "50"]);
    let said = String::from_utf8_lossy(&done.stderr);
    match done.status.code() {
        Some(0) => demo.expect(0, &["heal"]),
        code => {
            assert_eq!(code, Some(7), "{said}");
            let wanted = "delay is not possible here: this kernel has no netem";
            assert!(said.contains(wanted), "{said}");
            demo.expect(0, &["faults"])
        }
    };
}
