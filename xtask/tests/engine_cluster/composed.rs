//! The Compose files: Compose takes them, and what comes up with them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::engine_there;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("compose")
}

/// Compose, in the form that this machine has.
fn compose() -> Option<Vec<&'static str>> {
    let forms = [vec!["docker-compose"], vec!["docker", "compose"]];
    let there = |form: &Vec<&str>| {
        let mut command = Command::new(form[0]);
        command.args(&form[1..]).arg("version").output().is_ok_and(|done| done.status.success())
    };
    forms.into_iter().find(there)
}

fn run(form: &[&str], project: &str, file: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(form[0]);
    command.args(&form[1..]).args(["-p", project, "-f", file]).args(arguments);
    command.current_dir(folder()).output().unwrap()
}

#[test]
fn engine_compose_takes_the_files_and_three_nodes_get_healthy() {
    if !engine_there("compose") {
        return;
    }
    let Some(form) = compose() else {
        let needed = std::env::var_os("CI").is_some();
        assert!(!needed, "no Compose on this machine");
        eprintln!("skipped: no Compose on this machine");
        return;
    };
    let files = std::fs::read_dir(folder()).unwrap().flatten();
    let files = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let files: Vec<String> = files.filter(|name| name.ends_with(".yaml")).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in &files {
        let checked = run(&form, "quorate-test", file, &["config", "-q"]);
        assert!(checked.status.success(), "{file}: {checked:?}");
    }
    // Makes the image under the name that the files ask for.
    let mut image = Command::new(env!("CARGO_BIN_EXE_xtask"));
    assert!(image.args(["image", "build"]).status().unwrap().success());
    let start = Instant::now();
    let up = run(&form, "quorate-test", "3-node.yaml", &["up", "-d"]);
    let healthy = up.status.success() && all_healthy(start);
    let took = start.elapsed();
    let listed = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["cluster", "ls"]).output();
    let down = run(&form, "quorate-test", "3-node.yaml", &["down", "-v"]);
    assert!(healthy, "{up:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    eprintln!("healthy after {:.1} s", took.as_secs_f64());
    let listed = String::from_utf8_lossy(&listed.unwrap().stdout).into_owned();
    assert!(listed.contains("foreign (compose)"), "{listed}");
    assert!(down.status.success(), "{down:?}");
}

/// Whether all three say so themselves, in time.
fn all_healthy(start: Instant) -> bool {
    let filter = "%7B%22health%22%3A%5B%22healthy%22%5D%2C%22label%22%3A%5B%22com.docker.compose.\
        project%3Dquorate-test%22%5D%7D";
    let path = format!("/containers/json?filters={filter}");
    while start.elapsed() < Duration::from_secs(30) {
        let (_, seen) = super::ask("GET", &path, &serde_json::Value::Null).unwrap();
        if seen.as_array().is_some_and(|all| all.len() == 3) {
            return true;
        }
    }
    false
}
