//! Cuts again and again: nothing is left of them, and one with an end needs nobody to end it.

use std::process::Child;
use std::time::{Duration, Instant};

use super::faults::{PUT, meddle, routes, until};
use super::{Named, engine_there, rounds};

/// What the packet filters and the queues of each node hold.
pub(super) fn rules(demo: &Named) -> String {
    let script = "/usr/sbin/nft -s list ruleset; /usr/sbin/tc qdisc show";
    ["h1", "h2", "h3"].map(|node| meddle(demo, node, script)).concat()
}

#[test]
fn engine_cuts_again_and_again_leave_nothing_and_each_time_the_cluster_is_whole_again() {
    if !engine_there("rounds of cuts") {
        return;
    }
    let demo = Named::new("again");
    demo.expect(0, &["up", "--insecure", "--wait", "60s"]);
    // Makes the image of the tools, and takes back what it did.
    demo.expect(0, &["loss", "h3", "--pct", "50"]);
    demo.expect(0, &["heal"]);
    let before = (routes(&demo), rules(&demo));
    for round in 1..=rounds(2) {
        let text = demo.expect(0, &["partition", "h3", "--from", "h1,h2"]);
        assert!(text.contains("checked   4 of 4 probes were lost"), "{round}: {text}");
        // Nobody refuses: what is sent is lost.
        let silent = "nc -w 1 h1 2380 </dev/null 2>&1";
        let text = demo.expect(1, &["exec", "h3", "--", silent]);
        assert!(text.contains("timed out"), "{round}: {text}");
        demo.expect(1, &["exec", "h3", "--", &format!("{PUT} lost {round}")]);
        for node in ["h1", "h2", "h3"] {
            demo.expect(0, &["exec", node, "--", "true"]);
        }
        demo.expect(0, &["heal"]);
        let healed = Instant::now();
        until(&demo, 0, Duration::from_secs(15), &["status"]);
        eprintln!("round {round}: whole again after {:.1} s", healed.elapsed().as_secs_f64());
    }
    assert_eq!((routes(&demo), rules(&demo)), before);
    demo.expect(0, &["exec", "--all", "--", "for h in h1 h2 h3; do nslookup $h || exit 1; done"]);
}

#[test]
fn engine_a_timed_cut_ends_although_who_made_it_was_killed() {
    if !engine_there("a killed maker") {
        return;
    }
    let demo = Named::new("orphan");
    demo.expect(0, &["up", "--nodes", "2", "--voters", "1", "--wait", "60s"]);
    let before = routes(&demo);
    let start = Instant::now();
    let mut maker: Child = demo.spawn(&["isolate", "h2", "--for", "3s"]);
    while start.elapsed() < Duration::from_secs(1) && maker.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    assert_ne!(routes(&demo), before, "nothing was cut within a second");
    drop(maker.kill());
    maker.wait().unwrap();
    // The timer counts from when it was made, not from when the command was given.
    while routes(&demo) != before {
        assert!(start.elapsed() < Duration::from_secs(6), "{}", routes(&demo));
    }
    eprintln!("ended after {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(demo.expect(0, &["faults"]), "no faults\n");
}

#[test]
fn engine_who_is_rejected_knows_at_once() {
    if !engine_there("reject") {
        return;
    }
    let demo = Named::new("reject");
    demo.expect(0, &["up", "--nodes", "2", "--voters", "1", "--wait", "60s"]);
    demo.expect(0, &["partition", "h2", "--mode", "reject"]);
    let timed = "time nc -w 5 h1 2379 </dev/null";
    let text = demo.expect(1, &["exec", "h2", "--", timed]);
    assert!(text.contains("No route to host"), "{text}");
    let real = text.lines().find_map(|line| line.strip_prefix("real")).unwrap_or(&text);
    let seconds: f64 =
        real.trim().trim_start_matches("0m").trim_end_matches('s').trim().parse().unwrap();
    assert!(seconds < 0.05, "{text}");
}
