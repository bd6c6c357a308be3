//! What rules that remove made, kept in the state folder: the next run undoes what is gone by then.
//!
//! Refuses to matter where the store ends with the agent, to be read by other users, and to be
//! written by a run that changes nothing.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio::io::AsyncWriteExt;

use super::body::Body;
use crate::collect::{Local, read_owed, write_owed};
use crate::spec::Collected;
use crate::store::Store;

/// The file in the state folder.
const FILE: &str = "removes.json";

/// What a program starts with that knows what an earlier run kept, and that.
pub(super) fn recall(store: &dyn Store, state_dir: &Path) -> (Local, Vec<Collected>) {
    let (local, path) = (Local::default(), state_dir.join(FILE));
    if !store.leases_run_out() {
        return (local, Vec::new());
    }
    let Ok(bytes) = std::fs::read(&path) else { return (local, Vec::new()) };
    let Some(owed) = read_owed(&bytes) else {
        tracing::warn!(path = %path.display(), "what is to be removed when it is gone is damaged");
        return (local, Vec::new());
    };
    local.owe(owed.clone());
    (local, owed)
}

impl Body {
    /// Keeps what the next run has to remove if it is gone by then.
    pub(super) async fn keep_owed(&mut self) {
        if self.settings.noop || !self.store.leases_run_out() {
            return;
        }
        let rules = &self.source.program.collect;
        let owed = self.local.owing(rules, &self.collected, &self.settings.host);
        if owed == self.owed {
            return;
        }
        match write(&self.state_dir.join(FILE), &write_owed(&owed)).await {
            Ok(()) => self.owed = owed,
            Err(error) => {
                tracing::warn!(%error, "what is to be removed when it is gone cannot be kept");
            }
        }
    }
}

async fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = tokio::fs::OpenOptions::from(options).open(&draft).await?;
    file.write_all(bytes).await?;
    file.flush().await?;
    tokio::fs::rename(&draft, path).await
}
