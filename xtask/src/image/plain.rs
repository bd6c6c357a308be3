//! The programs of nodes that are plain processes: the agent and etcd as this machine has them,
//! kept beside the nodes under a key of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Given, Loaded, Prepared, agent, fetch, sources, stamp};
use crate::engine::{Engine, Labels};
use crate::ui::Ui;

/// As a repository would be called.
const NAME: &str = "local/quorate-node";

/// Finds the programs, fetches or builds those that are missing, and gives them a key: how they
/// look from outside, so that it costs nothing while they stay as they are.
pub(super) async fn prepare(given: &Given, ui: &Ui) -> anyhow::Result<Prepared> {
    let mut given = given.clone();
    let etcd = super::etcd_of(&given, ui).await?;
    let found = sources::find(&given, fetch::arch())?;
    let agent = match agent::fresh(&given) {
        Some(path) => path,
        None => {
            ui.line("agent", &format!("building: {}", agent::COMMAND));
            agent::build().await?
        }
    };
    given.etcd = Some(etcd);
    given.etcdctl = found.etcdctl;
    given.agent = Some(agent);
    let seen: Vec<_> = programs(&given).values().filter_map(|path| stamp::look(path)).collect();
    let digest = Sha256::digest(serde_json::to_vec(&seen)?);
    let key: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Prepared { tag: format!("{NAME}:{key}"), key, given, archive: None })
}

/// Stores the programs where nodes take them from.
pub(super) async fn ensure(engine: &Engine, image: &Prepared) -> anyhow::Result<Loaded> {
    let labels = Labels::from([("dev.quorate.image-key".to_owned(), image.key.clone())]);
    engine.store_programs(&image.tag, labels, &programs(&image.given))?;
    let size = engine.image_size(&image.tag).await?.unwrap_or_default();
    Ok(Loaded { size, fresh: true })
}

fn programs(given: &Given) -> BTreeMap<&'static str, PathBuf> {
    let all = [("quorate", &given.agent), ("etcd", &given.etcd), ("etcdctl", &given.etcdctl)];
    all.into_iter().filter_map(|(name, path)| Some((name, path.clone()?))).collect()
}
