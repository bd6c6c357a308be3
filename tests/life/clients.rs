//! Agents that never serve: by choice, without an etcd program, and cut off (4.1, row A24).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::kit::{Host, LONG, healthy, wait_for};

/// 4.1.
#[test]
fn a_host_without_etcd_is_a_client_and_says_what_to_install() {
    let (seed, host) = (Host::new("h1"), Host::new("h2"));
    let first = seed.start(&[]);
    healthy(&[&first], 1);
    let without = |words: &[String]| {
        let mut command = host.command(words);
        command.env("PATH", "/nowhere").env_remove("QUORATE_ETCD");
        command
    };
    let advice = "install it (Debian, Ubuntu: apt install etcd-server) or name it with \
                  QUORATE_ETCD";
    let sentence = format!("no etcd program was found on PATH; {advice}");
    host.refused_as(without(&host.words(&[])), 3, &sentence);
    assert!(!host.state().exists(), "a refused start made a folder");
    let agent = host.spawn(without(&host.words(&[&seed])));
    let status = agent.role(LONG, "client");
    let status = if status["reason"] == sentence.as_str() {
        status
    } else {
        agent.until(LONG, |s| s["role"] == "client" && s["reason"] == sentence.as_str())
    };
    assert_eq!(status["etcd"], serde_json::Value::Null);
    healthy(&[&first, &agent], 1);
}

/// 4.1 and row A19: a program that was named must be one, and new enough.
#[test]
fn an_etcd_that_is_named_must_exist_and_know_learners() {
    let host = Host::new("h1");
    let old = host.folder().join("old-etcd");
    fs::write(&old, "#!/bin/sh\necho 'etcd Version: 3.3.27'\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let mute = host.folder().join("mute-etcd");
    fs::write(&mute, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&mute, fs::Permissions::from_mode(0o755)).unwrap();
    let advice = "install it (Debian, Ubuntu: apt install etcd-server) or name it with \
                  QUORATE_ETCD";
    for (program, why) in [
        (old, "is 3.3.27, and 3.4.0 is the oldest that knows learners"),
        (mute, "does not say its version"),
        ("/nowhere/etcd".into(), "does not start: *"),
    ] {
        let mut command = host.command(&host.words(&[]));
        command.env("QUORATE_ETCD", &program);
        let sentence = format!("{} {why}; {advice}", program.display());
        host.refused_as(command, 3, &sentence);
        assert!(!host.state().exists(), "a refused start made a folder");
    }
}

/// Row A24.
#[test]
fn a_client_that_is_cut_off_keeps_its_files_and_collects_again_in_time() {
    let (seed, host) = (Host::new("h1"), Host::new("c1"));
    let exports = seed.folder().join("a.yaml");
    let export = |content: &str| {
        let text = format!(
            "graph: a\nresources:\n  file:\n  - name: \"@@x\"\n    path: /nowhere/x\n    \
             content: {content}\n"
        );
        let draft = seed.folder().join("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, &exports).unwrap();
    };
    export("one");
    let graph = host.folder().join("c.yaml");
    let dir = host.folder().display();
    let text = format!(
        "graph: c\nresources:\n  file:\n  - name: {dir}/own\n    content: kept\n  - name: d\n    \
         path: {dir}/got/\n    state: exists\ncollect:\n- kind: file\n  pattern: {dir}/got/\n"
    );
    fs::write(&graph, text).unwrap();
    let first = seed.start_with(&seed.words_for(&[], &["yaml", exports.to_str().unwrap()]));
    healthy(&[&first], 1);
    let client = host.client(&[&seed], &["yaml", graph.to_str().unwrap()]);
    let read = |name: &str| fs::read_to_string(host.folder().join(name)).ok();
    let collected = |text: &str, seconds| {
        let what = || format!("`{text}` is collected: {:?}\n{}", read("got/x"), client.log());
        let is = || read("got/x").filter(|got| got.trim() == text);
        wait_for(seconds, what, is)
    };
    collected("one", LONG);
    // Cut off: whom it asks does not answer any more.
    seed.signal_etcd(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(6));
    fs::remove_file(host.folder().join("own")).unwrap();
    wait_for(5, || format!("the file is back\n{}", client.log()), || read("own"));
    assert_eq!(read("got/x").as_deref().map(str::trim), Some("one"), "what was collected stays");
    seed.signal_etcd(Signal::SIGCONT);
    let healed = std::time::Instant::now();
    export("two");
    collected("two", 4);
    println!("collected again after {:?}", healed.elapsed());
}

/// 3.1: a member that was removed stays out when it is told to.
#[test]
fn a_removed_member_stays_out_when_it_was_told_to() {
    let (hosts, [first, second, mut third]) = crate::kit::three();
    let fourth = Host::new("h4");
    let spare = fourth.start(&[&hosts[0]]);
    spare.role(LONG, "volunteer");
    third.kill();
    spare.role(LONG * 2, "voter");
    healthy(&[&first, &second, &spare], 3);
    let mut words = hosts[2].words(&[&hosts[0]]);
    words.insert(0, "--no-rejoin".into());
    let third = hosts[2].start_with(&words);
    let reason = "this member was removed from the cluster and stays out (--no-rejoin); its data \
                  are in archive/, start the agent without the flag to join as a new one";
    third.until(LONG, |s| s["role"] == "removed" && s["reason"] == reason);
    assert_eq!(hosts[2].archived(), ["removed"]);
    assert!(hosts[2].etcds().is_empty());
}
