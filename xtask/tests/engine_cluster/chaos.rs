//! Schedules of faults under clients that write.

use std::process::Command;

use serde_json::Value;

use super::engine_there;

#[test]
fn engine_a_schedule_of_faults_loses_no_write_gives_no_stale_answer_and_the_cluster_recovers() {
    if !engine_there("chaos") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["chaos", "--seeds", "2", "--for", "15s", "--history"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{said}");
    assert!(text.ends_with("1 of 1 schedules recovered and lost nothing\n"), "{text}");
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&line["seed"], &line["fine"]), (&2.into(), &true.into()), "{line}");
    assert!(line["answers"].as_u64() > Some(100), "{line}");
    assert!(!line["schedule"].as_str().unwrap_or_default().is_empty(), "{line}");
}

#[test]
fn a_seed_has_the_same_schedule_each_time() {
    let plan = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["chaos", "--plan", "--seeds", "5..6"]).output().unwrap()
    };
    let text = String::from_utf8_lossy(&plan().stdout).into_owned();
    assert_eq!(text, String::from_utf8_lossy(&plan().stdout));
    assert!(text.starts_with("seed 5: ") && text.contains("\nseed 6: "), "{text}");
}
