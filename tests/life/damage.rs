//! Row A14: the data of a member are gone, cut, overwritten, or those of another.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::kit::{Host, LONG, Writer, healthy, three};

fn log_of(host: &Host) -> PathBuf {
    let folder = fs::read_dir(host.state().join("etcd/member/wal")).expect("a test's own file");
    let mut logs: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    logs.retain(|log| log.extension().is_some_and(|end| end == "wal"));
    logs.sort();
    logs.remove(0)
}

/// Overwrites every so many bytes of a file with their opposite, after the first `from`.
fn flip(file: &Path, from: u64, step: u64, end: u64) {
    let opened = OpenOptions::new().read(true).write(true).open(file).expect("a test's own file");
    let end = end.min(opened.metadata().expect("a test's own file").len());
    let mut at = from;
    while at < end {
        let mut byte = [0];
        opened.read_exact_at(&mut byte, at).expect("a test's own file");
        opened.write_all_at(&[!byte[0]], at).expect("a test's own file");
        at += step;
    }
}

/// Kills the third of three voters, lets `damage` have its folder, and starts it again: it must be
/// back as a voter with a new id, its data put aside, and no write lost.
fn comes_back_after(what: &str, damage: impl FnOnce(&[Host; 3])) {
    let (hosts, [first, second, mut third]) = three();
    let writer = Writer::start(&[&hosts[0], &hosts[1]]);
    let old = hosts[2].identity("member");
    // Long enough for the log to hold something.
    crate::kit::wait_for(
        LONG,
        || "the leader is seen".into(),
        || first.status().filter(|s| s["cluster"]["leader"].is_string()),
    );
    third.kill();
    damage(&hosts);
    let began = Instant::now();
    let third = hosts[2].start(&[&hosts[0]]);
    third.until(LONG, |s| s["role"] == "voter" && hosts[2].identity("member") != old);
    println!("{what}: back after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    healthy(&[&first, &second, &third], 3);
    writer.end();
    let archived = hosts[2].archived();
    let had_data = what != "deleted";
    assert_eq!(archived.contains(&"disk-lost".to_owned()), had_data, "{what}: {archived:?}");
}

/// Row A14.
#[test]
fn a_member_whose_data_were_deleted_is_back_as_a_new_one() {
    comes_back_after("deleted", |hosts| {
        fs::remove_dir_all(hosts[2].state().join("etcd")).expect("a test's own file");
    });
}

/// Row A14.
#[test]
fn a_member_whose_log_was_cut_to_nothing_is_back_as_a_new_one() {
    comes_back_after("cut", |hosts| {
        let log =
            OpenOptions::new().write(true).open(log_of(&hosts[2])).expect("a test's own file");
        log.set_len(200).expect("a test's own file");
    });
}

/// Row A14.
#[test]
fn a_member_whose_log_was_overwritten_is_back_as_a_new_one() {
    comes_back_after("log overwritten", |hosts| flip(&log_of(&hosts[2]), 300, 97, 4_000));
}

/// Row A14.
#[test]
fn a_member_whose_database_was_overwritten_is_back_as_a_new_one() {
    comes_back_after("database overwritten", |hosts| {
        flip(&hosts[2].state().join("etcd/member/snap/db"), 0, 13, u64::MAX);
    });
}

/// Row A14: worse than no data, as two members of one id would vote.
#[test]
fn a_member_with_the_data_of_another_is_back_as_a_new_one() {
    comes_back_after("exchanged", |hosts| {
        let [_, second, third] = hosts;
        let data = third.state().join("etcd");
        fs::remove_dir_all(&data).expect("a test's own file");
        copy(&second.state().join("etcd"), &data);
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a test's own file");
    for entry in fs::read_dir(from).expect("a test's own file").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a test's own file").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a test's own file");
        }
    }
}

/// Row A14: everything is gone, the identity too. The name is free once its claim has ended.
#[test]
fn a_host_whose_state_folder_was_deleted_is_back_as_a_new_one() {
    let (hosts, [first, second, mut third]) = three();
    let writer = Writer::start(&[&hosts[0], &hosts[1]]);
    third.kill();
    fs::remove_dir_all(hosts[2].state()).expect("a test's own file");
    let began = Instant::now();
    let taken = "another agent named h3 is alive (instance *, pid *, at *); host names must be \
                 unique";
    let third = loop {
        let mut third = hosts[2].start(&[&hosts[0]]);
        let answers = crate::kit::wait_for(
            LONG,
            || third.log(),
            || {
                let refused = third.log().contains("error: ");
                refused.then_some(false).or_else(|| third.status().map(|_| true))
            },
        );
        if answers {
            break third;
        }
        third.refused(3, taken);
        assert!(!hosts[2].state().exists(), "a refused start made a folder");
    };
    third.role(LONG, "voter");
    healthy(&[&first, &second, &third], 3);
    println!("back after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    writer.end();
}

/// Row A14, 4.4: nobody else has the data, so they stay where they are.
#[test]
fn the_only_member_keeps_its_damaged_data_and_says_where_they_are() {
    let host = Host::new("h1");
    let mut agent = host.start(&[]);
    healthy(&[&agent], 1);
    agent.kill();
    flip(&log_of(&host), 300, 97, 4_000);
    let damaged = fs::read(log_of(&host)).expect("a test's own file");
    let agent = host.start(&[]);
    let reason = format!(
        "etcd ended (*): * 5 times; the data stay where they are, see {}, and start the agent \
         again once it is mended",
        host.state().canonicalize().expect("a test's own file").join("etcd.log").display()
    );
    agent.blocked(LONG, &reason);
    assert_eq!(fs::read(log_of(&host)).expect("a test's own file"), damaged);
    assert!(host.archived().is_empty());
}

/// Row A22, 3.5: etcd was killed after it had made its log and before it wrote who votes. Such a
/// log never elects anybody, and nobody can have joined it.
#[test]
fn a_founder_killed_before_its_first_entry_founds_its_cluster_on_new_data() {
    let host = Host::new("h1");
    let mut agent = host.start(&[]);
    healthy(&[&agent], 1);
    agent.kill();
    let uuid = host.identity("cluster_uuid");
    // The checksum, the ids and the first snapshot's mark; then nothing.
    let log = OpenOptions::new().write(true).open(log_of(&host)).expect("a test's own file");
    log.write_all_at(&[0; 1 << 20], 0x50).expect("a test's own file");
    fs::remove_file(host.state().join("etcd/member/snap/db")).expect("a test's own file");
    let file = host.state().join("identity.json");
    let text = fs::read(&file).expect("a test's own file");
    let mut identity: serde_json::Value = serde_json::from_slice(&text).expect("an identity");
    identity["phase"] = "bootstrapping".into();
    identity["member"] = serde_json::Value::Null;
    identity["cluster_id"] = serde_json::Value::Null;
    fs::write(&file, identity.to_string()).expect("a test's own file");
    let agent = host.start(&[]);
    healthy(&[&agent], 1);
    assert_eq!(host.archived(), ["unfounded"]);
    assert_eq!(host.identity("cluster_uuid"), uuid);
}
