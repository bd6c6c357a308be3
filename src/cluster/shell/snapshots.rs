//! Snapshots of the store in the state folder: saved through a member, checked, a few kept.
//!
//! Refuses to keep one whose hash is wrong, and to drop a file that is none of ours.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Agent, now_seconds};
use crate::cluster::snapshot::{self, Check, Snapshot};
use crate::cluster::status::Role;

/// The folder below the state folder.
const FOLDER: &str = "snapshots";
/// The pause before a snapshot that was due and could not be saved is tried again.
const AGAIN: Duration = Duration::from_secs(600);

/// Saves one every so often, for as long as it is polled. The leader has enough to do: only a voter
/// that follows saves, or the only one.
pub(super) async fn run(agent: Arc<Agent>) {
    loop {
        let wait = snapshot::due_in(&names(agent.folder.path()), now_seconds());
        tokio::time::sleep(Duration::from_secs(wait)).await;
        if !is_ours(&agent) {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        match save(&agent, &agent.own_url, "scheduled").await {
            Ok(saved) => tracing::info!("snapshot saved: {}", saved.file),
            Err(why) => {
                tracing::warn!("no snapshot could be saved: {why}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn is_ours(agent: &Agent) -> bool {
    let status = agent.status.borrow();
    let voters = status.cluster.iter().flat_map(|view| view.voters()).count();
    let leads = status.cluster.as_ref().and_then(|view| view.leader.as_ref()) == Some(&agent.host);
    status.role == Role::Voter && (voters == 1 || !leads)
}

/// Saves one from a voter: our own, else one that follows, else the leader.
pub(super) async fn save_from_any(agent: &Agent, why: &str) -> Result<Snapshot, String> {
    let view = agent.status.borrow().cluster.clone().unwrap_or_default();
    let mut voters: Vec<_> = view.voters().filter(|one| one.answers).collect();
    voters.sort_by_key(|one| (one.host != agent.host, one.leader));
    let urls = voters.iter().filter_map(|one| one.client.first());
    let mut last = "no voter answers".to_owned();
    for url in urls {
        match save(agent, url, why).await {
            Ok(saved) => return Ok(saved),
            Err(why) => last = format!("{url}: {why}"),
        }
    }
    Err(last)
}

/// Saves one from the member at `url`.
async fn save(agent: &Agent, url: &str, why: &str) -> Result<Snapshot, String> {
    let folder = folder(agent.folder.path()).map_err(|e| e.to_string())?;
    let at = now_seconds();
    let path = folder.join(snapshot::name(at, why));
    let mut draft = tempfile::NamedTempFile::new_in(&folder).map_err(|e| e.to_string())?;
    let mut check = Check::default();
    agent
        .rpc
        .snapshot(url, |piece| {
            check.take(piece);
            draft.write_all(piece)
        })
        .await?;
    let bytes = check.bytes();
    if !check.whole() {
        return Err("what came is not whole: its hash is another".into());
    }
    let kept = || {
        draft.as_file().sync_all()?;
        draft.persist(&path).map_err(|e| e.error)?;
        File::open(&folder)?.sync_all()?;
        prune(&folder)
    };
    kept().map_err(|e: io::Error| format!("{}: {e}", path.display()))?;
    Ok(Snapshot { file: path.display().to_string(), at, why: why.into(), bytes, whole: true })
}

fn folder(state: &Path) -> io::Result<PathBuf> {
    let folder = state.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    Ok(folder)
}

fn prune(folder: &Path) -> io::Result<()> {
    for name in snapshot::surplus(&names_in(folder)) {
        fs::remove_file(folder.join(name))?;
    }
    Ok(())
}

fn names(state: &Path) -> Vec<String> {
    names_in(&state.join(FOLDER))
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The snapshots in a state folder, the oldest first, each read and checked.
///
/// # Errors
/// The file system refused.
pub fn list(state: &Path) -> io::Result<Vec<Snapshot>> {
    let mut names: Vec<(u64, String, String)> = names(state)
        .into_iter()
        .filter_map(|name| snapshot::parse(&name).map(|(at, why)| (at, why, name)))
        .collect();
    names.sort();
    let folder = state.join(FOLDER);
    let one = |(at, why, name): (u64, String, String)| {
        let path = folder.join(name);
        let (bytes, whole) = check(&path)?;
        Ok(Snapshot { file: path.display().to_string(), at, why, bytes, whole })
    };
    names.into_iter().map(one).collect()
}

/// The size of a snapshot's file, and whether it is whole.
///
/// # Errors
/// The file system refused.
pub fn check(path: &Path) -> io::Result<(u64, bool)> {
    let mut file = File::open(path)?;
    let mut check = Check::default();
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok((check.bytes(), check.whole()));
        }
        check.take(&piece[..n]);
    }
}
