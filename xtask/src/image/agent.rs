//! The agent that goes into the image: the ordinary release binary.
//!
//! cargo is asked only when something changed since it was asked last: its dependency file names
//! every source, and a new source is reached from a changed one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::sources::Given;
use super::stamp::{self, Seen};
use crate::paths::{self, Exit};

/// How it is built.
pub(crate) const COMMAND: &str = "cargo build --release --bin quorate";
const MEMORY: &str = "agent.json";

/// The agent, if it is given or nothing it is built from has changed.
pub(crate) fn fresh(given: &Given) -> Option<PathBuf> {
    if let Some(path) = &given.agent {
        return Some(path.clone());
    }
    let seen: Vec<Seen> = stamp::read(MEMORY)?;
    stamp::unchanged(&seen).then(binary)
}

/// Builds it. cargo's own words go to the terminal.
///
/// # Errors
/// cargo is missing or failed; what it said is on the screen.
pub(crate) async fn build() -> anyhow::Result<PathBuf> {
    let status = tokio::process::Command::from(paths::cargo())
        .args(COMMAND.split(' ').skip(1))
        .current_dir(paths::root())
        .env("CARGO_TARGET_DIR", paths::target())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(|e| Exit::error(Exit::MISSING, format!("cargo could not be started: {e}")))?;
    if !status.success() {
        return Err(Exit::error(
            Exit::FAILED,
            format!("the agent does not build: {COMMAND} failed"),
        ));
    }
    let seen: Vec<Seen> = inputs().iter().filter_map(|path| stamp::look(path)).collect();
    stamp::write(MEMORY, &seen);
    Ok(binary())
}

fn binary() -> PathBuf {
    paths::target().join("release/quorate")
}

fn inputs() -> Vec<PathBuf> {
    let listed = std::fs::read_to_string(binary().with_extension("d")).unwrap_or_default();
    let mut inputs = sources(&listed);
    let shared = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];
    inputs.extend(shared.map(|name| paths::root().join(name)));
    inputs.push(binary());
    inputs
}

/// The sources that a dependency file of cargo names: `target: source source`, blanks escaped.
fn sources(listed: &str) -> Vec<PathBuf> {
    let Some((_, list)) = listed.lines().next().unwrap_or_default().split_once(": ") else {
        return Vec::new();
    };
    let marked = list.replace("\\ ", "\u{0}");
    marked
        .split(' ')
        .filter(|s| !s.is_empty())
        .map(|s| Path::new(&s.replace('\u{0}', " ")).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::sources;
    use std::path::PathBuf;

    #[test]
    fn a_dependency_file_gives_its_sources_with_blanks_in_their_names() {
        let wanted = ["/a/src/main.rs", "/a/my src/lib.rs"].map(PathBuf::from);
        assert_eq!(sources("/t/quorate: /a/src/main.rs /a/my\\ src/lib.rs\n"), wanted);
        assert_eq!(sources(""), Vec::<PathBuf>::new());
    }
}
