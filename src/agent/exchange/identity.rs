//! The identity of a state folder towards the exchange: who continues a presence after a restart.
//!
//! Refuses to be the cluster's identity: a host without a cluster has this one too.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The file in the state folder.
const FILE: &str = "exchange.json";

#[derive(Serialize, Deserialize)]
struct Identity {
    v: u64,
    instance: String,
}

/// The instance that `state_dir` holds; makes one if there is none or it cannot be read.
///
/// An instance that cannot be kept is good for one run: a restart then waits until its own former
/// presence expires.
pub(super) async fn instance(state_dir: &Path) -> String {
    let path = state_dir.join(FILE);
    match tokio::fs::read(&path).await {
        Ok(bytes) => match serde_json::from_slice::<Identity>(&bytes) {
            Ok(identity) if identity.v == 1 && !identity.instance.is_empty() => {
                return identity.instance;
            }
            _ => {
                tracing::warn!(path = %path.display(), "exchange identity damaged, replaced")
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the exchange's identity")
        }
    }
    let instance = Uuid::new_v4().to_string();
    if let Err(error) = keep(state_dir, &path, &instance).await {
        tracing::warn!(path = %path.display(), %error, "cannot keep the exchange's identity");
    }
    instance
}

async fn keep(state_dir: &Path, path: &Path, instance: &str) -> io::Result<()> {
    let identity = Identity { v: 1, instance: instance.to_owned() };
    let bytes = serde_json::to_vec(&identity)?;
    tokio::fs::create_dir_all(state_dir).await?;
    let draft = path.with_extension("json.new");
    tokio::fs::write(&draft, bytes).await?;
    tokio::fs::rename(&draft, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_instance_survives_restarts_and_damage_makes_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = instance(&state).await;
        assert_eq!(instance(&state).await, first);
        tokio::fs::write(state.join(FILE), b"{\"v\":1").await.unwrap();
        let second = instance(&state).await;
        assert_ne!(second, first);
        assert_eq!(instance(&state).await, second);
    }
}
