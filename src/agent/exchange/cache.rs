//! What was collected from, kept in the state folder: a host that starts while the store is gone
//! goes on with it, and knows a store that was emptied or replaced.
//!
//! Refuses to be read by other users, to hold anything that was sealed in another form, and to
//! matter when it is damaged: then there is none.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::follower::Known;
use super::{ExportsView, StoreState};
use crate::collect::record::{self, Life, Record};
use crate::collect::{Address, Content, Export};
use crate::ident::HostName;

/// The file in the state folder.
const FILE: &str = "collected.json";
/// A busy store is written down this often at most.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
struct Written {
    v: u64,
    store: Option<u64>,
    revision: i64,
    since: u64,
    exports: Vec<One>,
}

#[derive(Serialize, Deserialize)]
struct One {
    channel: String,
    kind: String,
    from: String,
    name: String,
    revision: i64,
    record: String,
}

/// What an earlier run knew.
pub(super) struct Cached {
    pub(super) known: Known,
    pub(super) view: ExportsView,
}

/// What `state_dir` keeps of an earlier run.
pub(super) async fn read(state_dir: &Path) -> Option<Cached> {
    let path = state_dir.join(FILE);
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read what was collected");
            return None;
        }
    };
    let written = serde_json::from_slice::<Written>(&bytes).ok().filter(|one| one.v == 1);
    let Some(written) = written else {
        tracing::warn!(path = %path.display(), "what was collected is damaged; not used");
        return None;
    };
    let exports: Vec<Arc<Export>> = written.exports.iter().filter_map(export).collect();
    let view = ExportsView {
        state: StoreState::Stale,
        revision: written.revision,
        since: Some(written.since),
        exports: exports.into(),
        ..ExportsView::default()
    };
    let known = Known { store: written.store, revision: written.revision };
    Some(Cached { known, view })
}

fn export(one: &One) -> Option<Arc<Export>> {
    let from = HostName::parse(&one.from).ok()?;
    let decoded = record::decode_any(&one.kind, one.record.as_bytes());
    let (channel, kind, name) = (one.channel.clone(), one.kind.clone(), one.name.clone());
    Some(Arc::new(Export {
        address: Address { channel, kind, from, name },
        content: decoded.content,
        revision: one.revision,
        labels: decoded.labels,
        to: decoded.to,
    }))
}

fn written(view: &ExportsView, store: Option<u64>) -> Written {
    let one = |export: &Arc<Export>| {
        let (fields, seal) = match &export.content {
            Content::Fields(fields) => (fields.clone(), None),
            Content::Sealed(sealed) => (sealed.fields(), Some(sealed.seal.clone())),
            Content::Unknown(_) | Content::Broken(_) => return None,
        };
        let record = Record {
            generation: 0,
            session: String::new(),
            life: Life::Session,
            fields,
            labels: export.labels.clone(),
            to: export.to.clone(),
            seal,
        };
        let address = &export.address;
        Some(One {
            channel: address.channel.clone(),
            kind: address.kind.clone(),
            from: address.from.to_string(),
            name: address.name.clone(),
            revision: export.revision,
            record: String::from_utf8(record::encode(&address.kind, &record)).ok()?,
        })
    };
    let exports = view.exports.iter().filter_map(one).collect();
    Written { v: 1, store, revision: view.revision, since: super::unix_now(), exports }
}

/// Writes down what is live, until cancelled and once then.
pub(super) async fn run(
    state_dir: PathBuf,
    store: Arc<dyn crate::store::Store>,
    mut views: watch::Receiver<ExportsView>,
    cancel: CancellationToken,
) {
    let mut last = None;
    loop {
        let ending = tokio::select! {
            () = cancel.cancelled() => true,
            changed = views.changed() => changed.is_err(),
        };
        let view = views.borrow_and_update().clone();
        if view.state == StoreState::Live && last.as_ref() != Some(&view) {
            let written = written(&view, store.identity());
            if let Err(error) = keep(&state_dir, &written).await {
                tracing::warn!(%error, "cannot write down what was collected");
            }
            last = Some(view);
        }
        if ending {
            return;
        }
        // Cancelled or not, the next round sees it.
        timeout(PAUSE, cancel.cancelled()).await.ok();
    }
}

async fn keep(state_dir: &Path, written: &Written) -> io::Result<()> {
    let bytes = serde_json::to_vec(written)?;
    tokio::fs::create_dir_all(state_dir).await?;
    let path = state_dir.join(FILE);
    let draft = path.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = tokio::fs::OpenOptions::from(options).open(&draft).await?;
    file.write_all(&bytes).await?;
    file.sync_all().await?;
    tokio::fs::rename(&draft, &path).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::spec::{Fields, HostSelector, Value};

    fn view() -> ExportsView {
        let address = Address {
            channel: "default".into(),
            kind: "file".into(),
            from: HostName::parse("web1").unwrap(),
            name: "/a".into(),
        };
        let large = "x".repeat(200_000);
        let fields = Fields::from([("content".to_owned(), Value::Str(large))]);
        let export = Export {
            address,
            content: Content::Fields(fields),
            revision: 7,
            labels: [("role".to_owned(), "web".to_owned())].into(),
            to: HostSelector::Names(vec!["lb*".into()]),
        };
        let exports = Arc::from([Arc::new(export)]);
        ExportsView { state: StoreState::Live, revision: 9, exports, ..ExportsView::default() }
    }

    #[tokio::test]
    async fn what_was_collected_comes_back_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert!(read(&state).await.is_none());
        keep(&state, &written(&view(), Some(5))).await.unwrap();
        let mode = std::fs::metadata(state.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let cached = read(&state).await.unwrap();
        assert_eq!(cached.known, Known { store: Some(5), revision: 9 });
        assert_eq!(cached.view.exports, view().exports);
        assert_eq!(cached.view.state, StoreState::Stale);
        std::fs::write(state.join(FILE), b"{\"v\":1").unwrap();
        assert!(read(&state).await.is_none());
    }
}
