//! What the tool's own work takes. The bounds are those of a quiet machine with two processors
//! where `QUORATE_QUIET=1`, and twice as much elsewhere.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Named, ask, engine_there};

/// What it took, which is printed and must be within the bound.
fn bounded<T>(what: &str, seconds: f64, work: impl FnOnce() -> T) -> T {
    let quiet = std::env::var("QUORATE_QUIET").is_ok_and(|value| value == "1");
    let bound = if quiet { seconds } else { 2.0 * seconds };
    let start = Instant::now();
    let done = work();
    let took = start.elapsed();
    eprintln!("{what}: {:.2} s of {bound} s", took.as_secs_f64());
    assert!(took < Duration::from_secs_f64(bound), "{what} took {took:?}, more than {bound} s");
    done
}

#[test]
fn engine_clusters_of_each_size_come_up_and_go_in_time() {
    if !engine_there("figures of up") {
        return;
    }
    let demo = Named::new("size");
    demo.expect(0, &["up", "--nodes", "1", "--no-wait"]);
    demo.expect(0, &["down"]);
    for (nodes, seconds, gone) in [("3", 5.0, 2.0), ("10", 10.0, 3.0), ("30", 25.0, 6.0)] {
        let up = ["up", "--nodes", nodes, "--voters", "3", "--wait", "90s"];
        let text = bounded(&format!("{nodes} nodes up"), seconds, || demo.expect(0, &up));
        assert!(text.contains("3 of 3 voters, leader h"), "{text}");
        let text = bounded(&format!("{nodes} nodes again"), 1.0, || demo.expect(0, &up));
        assert_eq!(text, format!("unchanged  {nodes} nodes, image and spec match\n"));
        bounded(&format!("{nodes} nodes down"), gone, || demo.expect(0, &["down"]));
        assert_eq!(demo.left(), Vec::<String>::new());
    }
}

#[test]
fn engine_what_a_cluster_holds_is_saved_in_time() {
    if !engine_there("figures of snapshot") {
        return;
    }
    let demo = Named::new("saved");
    demo.expect(0, &["up", "--wait", "60s"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.db");
    bounded("snapshot save", 1.0, || {
        demo.expect(0, &["snapshot", "save", file.to_str().unwrap()]);
    });
    assert!(file.metadata().unwrap().len() < 5_000_000);
}

/// Builds the image with this agent; its tag.
fn build(agent: &std::path::Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.args(["image", "build", "--agent"]).arg(agent).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).unwrap().to_owned()
}

/// An image's id and size.
fn image(tag: &str) -> (String, u64) {
    let (status, seen) = ask("GET", &format!("/images/{tag}/json"), &Value::Null).unwrap();
    assert_eq!(status, 200, "{tag}");
    (seen["Id"].as_str().unwrap().to_owned(), seen["Size"].as_u64().unwrap())
}

/// What all layers of all images take.
fn disk() -> u64 {
    let (_, seen) = ask("GET", "/system/df", &Value::Null).unwrap();
    seen["LayersSize"].as_u64().unwrap()
}

/// With all of its tags.
fn forget(id: &str) {
    let path = format!("/images/{id}?force=1");
    assert_eq!(ask("DELETE", &path, &Value::Null).unwrap().0, 200);
}

#[test]
fn engine_the_image_is_small_and_the_same_each_time_and_a_changed_agent_costs_its_layer() {
    if !engine_there("figures of the image") {
        return;
    }
    // The programs, and the agent, are there then.
    let demo = Named::new("image");
    demo.expect(0, &["up", "--no-wait", "--nodes", "1"]);
    let (_, seen) =
        ask("GET", &format!("/containers/quorate-{}-h1/json", demo.0), &Value::Null).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("quorate");
    let back = folder.path().to_str().unwrap();
    demo.expect(0, &["cp", "h1:/usr/bin/quorate", back]);
    demo.expect(0, &["down"]);
    let (first, size) = image(seen["Image"].as_str().unwrap());
    eprintln!("image {:.1} MB", size as f64 / 1e6);
    assert!(size < 61_000_000, "{size}");

    // Other bytes at the end of a program change nothing that it does.
    let mut bytes = std::fs::read(&agent).unwrap();
    bytes.extend_from_slice(&std::process::id().to_le_bytes());
    std::fs::write(&agent, &bytes).unwrap();
    let before = disk();
    let tag = bounded("image build, cold", 2.0, || build(&agent));
    let grown = disk() - before;
    eprintln!("a changed agent of {} bytes cost {grown} bytes of disk", bytes.len());
    assert!(grown < bytes.len() as u64 + 2_000_000, "{grown}");
    let (changed, _) = image(&tag);
    assert_ne!(changed, first);
    assert_eq!(bounded("image build, present", 0.3, || build(&agent)), tag);
    forget(&changed);
    assert_eq!(build(&agent), tag);
    assert_eq!(image(&tag).0, changed, "the same inputs give the same image");
    forget(&changed);
}
