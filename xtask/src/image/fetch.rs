//! Gets etcd and busybox from the distribution into the target folder: no root, nothing installed.
//!
//! Works with a private copy of the package lists, so that neither their absence nor their age
//! matters.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::sources::{self, fetched};

/// The packages; Debian 11 to 13 and Ubuntu from 20.04 have them under these names.
const PACKAGES: [&str; 3] = ["etcd-server", "etcd-client", "busybox-static"];

/// Fetches the packages and unpacks them.
///
/// # Errors
/// This machine has no apt-get, or it failed: then what to install, and its last words.
pub(crate) async fn programs() -> anyhow::Result<()> {
    let arch = arch();
    let missing = |why: String| sources::missing_program("etcd", arch, &why);
    let home = fetched();
    let parent = home.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    // Removed when dropped, so an interrupted fetch leaves nothing.
    let work = tempfile::Builder::new().prefix("node.").tempdir_in(parent)?;
    for folder in ["lists/partial", "cache/archives/partial", "debs", "root"] {
        std::fs::create_dir_all(work.path().join(folder))?;
    }
    apt(work.path(), &["update"]).await.map_err(missing)?;
    let mut download = vec!["download"];
    download.extend(PACKAGES);
    apt(work.path(), &download).await.map_err(missing)?;
    let root = work.path().join("root");
    for deb in std::fs::read_dir(work.path().join("debs"))? {
        let mut command = Command::new("dpkg-deb");
        command.arg("-x").arg(deb?.path()).arg(&root);
        finish(command).await.map_err(missing)?;
    }
    // Another xtask may have been faster; its result is as good.
    if std::fs::rename(&root, &home).is_err() && !home.join("usr/bin/etcd").is_file() {
        std::fs::remove_dir_all(&home).or_else(gone)?;
        std::fs::rename(&root, &home)?;
    }
    Ok(())
}

/// This machine's architecture as the distribution and the engine call it.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

fn gone(failure: std::io::Error) -> std::io::Result<()> {
    match failure.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(failure),
    }
}

async fn apt(work: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command
        .arg("-q")
        .args(["-o", &format!("Dir::State::Lists={}", work.join("lists").display())])
        .args(["-o", &format!("Dir::Cache={}", work.join("cache").display())])
        // Its own user cannot read our folder; there is nothing to protect in it.
        .args(["-o", "APT::Sandbox::User="])
        .args(arguments)
        .current_dir(work.join("debs"));
    finish(command).await
}

async fn finish(mut command: Command) -> Result<(), String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = ended.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("this machine has no {name}"),
        _ => format!("{name}: {e}"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", said.trim().lines().last().unwrap_or("it said nothing")))
}

/// Whether this machine can fetch packages.
pub(crate) fn possible() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has =
        |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    has("apt-get") && has("dpkg-deb")
}
