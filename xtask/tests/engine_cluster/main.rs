//! `cargo xtask cluster` against a real container engine: up, again, broken, interrupted, killed,
//! down.
//!
//! What is left behind is asked of the engine itself over its socket, not of the tool under test.
//! Without an engine these tests are skipped and say so, and fail where `CI` is set or
//! `QUORATE_REQUIRE_ENGINE=1`.

#![expect(clippy::unwrap_used, reason = "all of this is test, the helpers included")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod apart;
mod chaos;
mod composed;
mod faults;
mod figures;
mod kept;
mod local;
mod logged;
mod nodes;
mod power;
mod refused;
mod screen;
mod snapshots;
mod stuck;
mod wire;
mod worn;

/// One request to the engine; its status and body.
fn ask(method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
    let (status, text) = ask_text(method, path, body)?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// The same with a body that is no JSON.
fn ask_text(method: &str, path: &str, body: &Value) -> std::io::Result<(u16, String)> {
    let socket = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = socket.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
    let mut stream = UnixStream::connect(socket)?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// Whether to go on. Counts those that do not.
fn engine_there(test: &str) -> bool {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    if matches!(ask("GET", "/version", &Value::Null), Ok((200, _))) {
        return true;
    }
    let required = std::env::var_os("CI").is_some()
        || std::env::var("QUORATE_REQUIRE_ENGINE").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs a container engine, and none answers");
    let count = SKIPPED.fetch_add(1, Ordering::SeqCst) + 1;
    eprintln!("skipped: {test} needs a container engine ({count} skipped so far)");
    false
}

/// How often something is done: as often as here, unless `QUORATE_ROUNDS` says more.
fn rounds(usual: u64) -> u64 {
    let said = std::env::var("QUORATE_ROUNDS").ok().and_then(|text| text.parse().ok());
    said.map_or(usual, |said: u64| said.max(usual))
}

/// A cluster's name that no other test has; what is left of it is removed at the end. Its commands
/// go to the engine past a proxy.
struct Named(String, wire::Proxy);

impl Named {
    fn new(test: &str) -> Named {
        Named(format!("t-{test}-{:04x}", std::process::id() & 0xffff), wire::Proxy::new())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("cluster").args(arguments).env("QUORATE_CLUSTER", &self.0);
        command.env("DOCKER_HOST", self.1.host());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must end with this code, and gives what it printed.
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{text}\n{said}");
        if code == 0 { text } else { format!("{text}{said}") }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        // A group of its own, as a terminal would give it.
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Names of everything of this cluster that the engine has.
    fn left(&self) -> Vec<String> {
        let prefix = format!("quorate-{}", self.0);
        let (_, containers) = ask("GET", "/containers/json?all=1", &Value::Null).unwrap();
        let (_, networks) = ask("GET", "/networks", &Value::Null).unwrap();
        let (_, volumes) = ask("GET", "/volumes", &Value::Null).unwrap();
        let containers = containers.as_array().into_iter().flatten();
        let names = containers.filter_map(|c| c["Names"][0].as_str());
        let networks = networks.as_array().into_iter().flatten().filter_map(|n| n["Name"].as_str());
        let volumes = volumes["Volumes"].as_array().into_iter().flatten();
        let volumes = volumes.filter_map(|v| v["Name"].as_str());
        names
            .chain(networks)
            .chain(volumes)
            .map(|name| name.trim_start_matches('/').to_owned())
            .filter(|name| name.starts_with(&prefix))
            .collect()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let done = self.run(&["down", "--volumes"]);
        if !done.status.success() && !std::thread::panicking() {
            panic!("down failed: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

#[test]
fn engine_a_cluster_comes_up_is_unchanged_is_repaired_and_goes_without_a_trace() {
    if !engine_there("up and down") {
        return;
    }
    let demo = Named::new("up");
    let text = demo.expect(0, &["up", "--wait", "60s"]);
    for part in ["network   quorate-", "3 of 3 voters, leader h", "NAME  ROLE", "h3    voter"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let start = Instant::now();
    assert_eq!(demo.expect(0, &["up"]), "unchanged  3 nodes, image and spec match\n");
    assert!(start.elapsed() < Duration::from_secs(1), "unchanged took {:?}", start.elapsed());

    let text = demo.expect(0, &["status", "--json"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["healthy"], true);
    let mut check = demo.command(&["schema", "status", "--check"]);
    let mut check = check.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(check.wait_with_output().unwrap().status.success(), "{text} is not as its schema");
    demo.expect(0, &["pause", "h2"]);
    assert!(demo.expect(1, &["status"]).contains("paused"));
    demo.expect(0, &["unpause", "h2"]);

    demo.expect(0, &["kill", "h3"]);
    assert!(demo.expect(0, &["up", "--plan"]).contains("would start container"));
    demo.expect(0, &["up", "--wait", "60s"]);
    let text = demo.expect(5, &["up", "--nodes", "2", "--voters", "3"]);
    assert!(text.contains("it has h3 too") && text.contains("--recreate"), "{text}");

    demo.expect(0, &["down"]);
    assert_eq!(demo.left(), Vec::<String>::new());
    assert_eq!(demo.expect(0, &["down"]).trim(), "nothing to remove");
    assert!(demo.expect(4, &["status"]).contains("there is no cluster t-up-"));
}

/// A shell has the size of this terminal, takes what is typed and ends as it ends; without a
/// terminal there is none.
fn shells(demo: &Named) {
    let shell = format!(
        "stty rows 33 cols 101; {} cluster --name {} shell h2",
        env!("CARGO_BIN_EXE_xtask"),
        demo.0
    );
    let mut script = Command::new("script");
    script.args(["-qec", &shell, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = script.spawn().unwrap();
    terminal.stdin.take().unwrap().write_all(b"hostname; stty size\nexit 7\n").unwrap();
    let output = terminal.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("\nh2\n33 101\n"), "{text}");
    let text = demo.expect(2, &["shell", "h2"]);
    assert!(text.contains("a shell needs a terminal. Without one: cargo xtask"), "{text}");
}

#[test]
fn engine_commands_files_and_logs_reach_the_nodes() {
    if !engine_there("exec and cp") {
        return;
    }
    let demo = Named::new("exec");
    let small = ["--memory", "128m", "--cpus", "0.5", "--subnet", "192.168.213.0/24"];
    let mut up = vec!["up", "--nodes", "2", "--voters", "1", "--wait", "60s"];
    up.extend(small);
    let text = demo.expect(0, &up);
    assert!(text.contains("192.168.213.12"), "{text}");
    assert!(demo.expect(0, &up).starts_with("unchanged"), "the second time");
    let text = demo.expect(5, &["up", "--nodes", "2", "--voters", "1"]);
    assert!(text.contains("h1, h2: made with other options"), "{text}");
    let cgroup = "cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    let memory = demo.expect(0, &["exec", "h2", "--", cgroup]);
    assert!(memory.contains("134217728"), "{memory}");
    shells(&demo);
    assert_eq!(demo.expect(0, &["exec", "h2", "--", "hostname"]), "h2\n");
    assert_eq!(demo.expect(0, &["exec", "h1", "--", "echo", "a b", "$HOME"]), "a b $HOME\n");
    assert_eq!(
        demo.expect(7, &["exec", "h1", "--", "echo out; echo err >&2; exit 7"]),
        "out\nerr\n"
    );
    let all = demo.expect(0, &["exec", "--all", "--", "hostname"]);
    assert_eq!(all, "h1 (exit 0)\n  h1\nh2 (exit 0)\n  h2\n");
    let text = demo.expect(4, &["exec", "h9", "--", "true"]);
    assert!(text.contains("has no node h9. It has h1, h2"), "{text}");

    let endless = "sleep 4242 & while true; do sleep 1; done";
    let text = demo.expect(6, &["exec", "h1", "--timeout", "1s", "--", endless]);
    assert!(text.contains("timed out after 1 s"), "{text}");
    let still = demo.run(&["exec", "h1", "--", "ps | grep -v grep | grep 'sleep 4242'"]);
    assert_eq!(still.status.code(), Some(1), "{}", String::from_utf8_lossy(&still.stdout));

    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("a file");
    std::fs::write(&here, "content\n").unwrap();
    let here = here.to_str().unwrap();
    demo.expect(0, &["cp", here, "all:/srv/new/x"]);
    assert_eq!(demo.expect(0, &["exec", "h2", "--", "cat /srv/new/x"]), "content\n");
    let back = folder.path().join("back");
    demo.expect(0, &["cp", "h1:/srv/new/x", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "content\n");

    let capabilities = demo.expect(0, &["exec", "h1", "--", "grep CapEff /proc/1/status"]);
    assert_eq!(capabilities.trim(), "CapEff:\t0000000000000000");
    assert!(demo.expect(0, &["logs", "--node", "h1"]).starts_with("h1 | "));
}

#[test]
fn engine_an_interrupt_at_any_moment_of_up_leaves_nothing() {
    if !engine_there("SIGINT") {
        return;
    }
    let demo = Named::new("int");
    // Once, so that what is interrupted below is the making of the cluster and not of the image.
    demo.expect(0, &["up", "--no-wait"]);
    demo.expect(0, &["down"]);
    for delay in delays(rounds(10), 2500) {
        let mut up = demo.spawn(&["up"]);
        std::thread::sleep(delay);
        kill(Pid::from_raw(up.id() as i32), Signal::SIGINT).unwrap();
        let status = up.wait().unwrap();
        if status.code() == Some(0) {
            // It had been done already.
            demo.expect(0, &["down"]);
        } else {
            // In its first moments the program does not listen to signals yet, and makes nothing.
            let early = status.signal() == Some(Signal::SIGINT as i32);
            assert!(early || status.code() == Some(130), "after {delay:?}: {status}");
        }
        assert_eq!(demo.left(), Vec::<String>::new(), "after {delay:?}");
    }
}

#[test]
fn engine_what_a_killed_up_leaves_goes_with_gc_and_nothing_else_does() {
    if !engine_there("SIGKILL") {
        return;
    }
    let demo = Named::new("kill");
    demo.expect(0, &["up", "--no-wait"]);
    let (_, seen) = ask("GET", "/containers/json", &Value::Null).unwrap();
    let mine = format!("/quorate-{}-h1", demo.0);
    let all = seen.as_array().into_iter().flatten();
    let image = all.filter(|c| c["Names"][0] == mine.as_str()).find_map(|c| c["Image"].as_str());
    let body = serde_json::json!({"Image": image.unwrap(), "Cmd": ["true"]});
    demo.expect(0, &["down"]);
    // Of a similar name, and not ours.
    let other = format!("quorate-{}x-h1", demo.0);
    let path = format!("/containers/create?name={other}");
    assert_eq!(ask("POST", &path, &body).unwrap().0, 201);
    for delay in delays(rounds(10), 2500) {
        let mut up = demo.spawn(&["up"]);
        std::thread::sleep(delay);
        up.kill().unwrap();
        let done = up.wait().unwrap().success();
        // The engine finishes what it was asked for last.
        std::thread::sleep(Duration::from_millis(500));
        demo.expect(0, &[if done { "down" } else { "gc" }]);
        assert_eq!(demo.left(), std::slice::from_ref(&other), "after {delay:?}");
    }
    assert_eq!(ask("DELETE", &format!("/containers/{other}"), &Value::Null).unwrap().0, 204);
}

#[test]
fn engine_what_has_our_name_and_not_our_label_is_refused_and_untouched() {
    if !engine_there("foreign network") {
        return;
    }
    let demo = Named::new("alien");
    let name = format!("quorate-{}", demo.0);
    let body = serde_json::json!({"Name": name});
    let (status, made) = ask("POST", "/networks/create", &body).unwrap();
    assert_eq!(status, 201);
    let text = demo.expect(5, &["up", "--no-wait"]);
    let wanted = format!(
        "error: network {name} exists but carries no quorate label; it is not ours. \
         Remove it or pick --name."
    );
    assert_eq!(text.lines().last(), Some(wanted.as_str()));
    assert_eq!(demo.left(), [name]);
    let id = made["Id"].as_str().unwrap();
    assert_eq!(ask("DELETE", &format!("/networks/{id}"), &Value::Null).unwrap().0, 204);
}

#[test]
fn engine_a_node_that_was_removed_by_hand_is_made_anew_and_the_others_are_left_alone() {
    if !engine_there("repair") {
        return;
    }
    let demo = Named::new("hand");
    demo.expect(0, &["up", "--wait", "60s"]);
    let started = |node: &str| {
        let path = format!("/containers/quorate-{}-{node}/json", demo.0);
        let (_, seen) = ask("GET", &path, &Value::Null).unwrap();
        (seen["Id"].clone(), seen["State"]["StartedAt"].clone())
    };
    let before = ["h1", "h2", "h3"].map(started);
    let path = format!("/containers/quorate-{}-h2?force=1", demo.0);
    assert_eq!(ask("DELETE", &path, &Value::Null).unwrap().0, 204);
    let plan = demo.expect(0, &["up", "--plan"]);
    assert_eq!(plan.lines().count(), 1, "{plan}");
    // The member that was there is dead first, and a dead one is replaced after its time.
    demo.expect(0, &["up", "--no-wait"]);
    let after = ["h1", "h2", "h3"].map(started);
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_ne!(after[1].0, before[1].0);
}

#[test]
fn engine_of_two_who_make_one_cluster_one_wins_and_two_clusters_come_up_side_by_side() {
    if !engine_there("two at once") {
        return;
    }
    let demo = Named::new("twice");
    let mut first = demo.spawn(&["up", "--wait", "60s"]);
    // It has the lock as soon as it has made something.
    let begun = Instant::now();
    while demo.left().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first one makes nothing");
    }
    let start = Instant::now();
    let text = demo.expect(5, &["up"]);
    assert!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
    let wanted = [
        format!("error: another xtask (pid {}) is working on cluster {}", first.id(), demo.0),
        " s. Wait, or use another --name.\n".to_owned(),
    ];
    assert!(text.starts_with(&wanted[0]) && text.ends_with(&wanted[1]), "{text}");
    assert!(first.wait().unwrap().success());
    demo.expect(0, &["status"]);
    let networks =
        demo.left().iter().filter(|name| **name == format!("quorate-{}", demo.0)).count();
    assert_eq!(networks, 1);

    let (one, two) = (Named::new("side"), Named::new("side2"));
    let mut ups = [&one, &two].map(|named| named.spawn(&["up", "--wait", "60s"]));
    assert!(ups.iter_mut().all(|up| up.wait().unwrap().success()));
    let places = [&one, &two].map(|named| {
        let text = named.expect(0, &["status", "--json"]);
        let status: Value = serde_json::from_str(&text).unwrap();
        let place = |key: &str| status["nodes"][0][key].as_str().unwrap().to_owned();
        (place("address"), place("client"))
    });
    assert_ne!(places[0].0, places[1].0);
    assert_ne!(places[0].1, places[1].1);
}

#[test]
fn without_an_engine_every_verb_says_so_at_once() {
    let verbs: [&[&str]; 24] = [
        &["ls"],
        &["up", "--engine", "docker"],
        &["down"],
        &["down", "--all"],
        &["status"],
        &["logs"],
        &["exec", "h1", "--", "true"],
        &["cp", "h1:/x", "x"],
        &["kill", "h1"],
        &["stop", "h1"],
        &["start", "h1"],
        &["restart", "h1"],
        &["pause", "h1"],
        &["unpause", "h1"],
        &["node", "add"],
        &["node", "rm", "h1"],
        &["partition", "h1"],
        &["isolate", "h1"],
        &["loss", "h1", "--pct", "1"],
        &["delay", "h1", "--ms", "1"],
        &["rate", "h1", "--kbit", "64"],
        &["heal"],
        &["faults"],
        &["gc"],
    ];
    for verb in verbs {
        let start = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("cluster")
            .args(verb)
            .env("DOCKER_HOST", "unix:///nowhere/engine.sock")
            .env("QUORATE_LOCAL", "/nowhere/either")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{verb:?} {output:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "error: no container engine answered at unix:///nowhere/engine.sock \
             (no socket at /nowhere/engine.sock). \
             Start Docker, or set DOCKER_HOST. Details: cargo xtask doctor\n",
            "{verb:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(1), "{verb:?} {:?}", start.elapsed());
    }
}

#[test]
fn who_stops_reading_stops_nothing_and_is_told_nothing() {
    for arguments in [&["doctor", "--help"][..], &["cluster", "schema"], &["doctor"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).env("DOCKER_HOST", "unix:///nowhere/engine.sock");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("pipe"), "{arguments:?} {said}");
        assert_ne!(output.status.code(), Some(101), "{arguments:?}");
    }
}

/// Moments spread over a run; different each time, so that many runs see many moments.
fn delays(count: u64, most: u64) -> Vec<Duration> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut seed = now.subsec_nanos().into();
    let mut next = || {
        seed = u64::wrapping_add(u64::wrapping_mul(seed, 6_364_136_223_846_793_005), 1);
        (seed >> 33) % (most / count)
    };
    (0..count).map(|n| Duration::from_millis(n * most / count + next())).collect()
}
