//! The keys that hosts show for others to seal by, followed.
//!
//! Refuses to forget a key because the store is lost.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::collect::keys;
use crate::collect::sealing::Keys;
use crate::store::Store;
use crate::store::follow::{Follow, follow};

/// What is known of them; nothing before all of them were read once.
pub(super) type Known = Option<Arc<Keys>>;

/// Follows until cancelled.
pub(super) async fn run(
    store: Arc<dyn Store>,
    known: watch::Sender<Known>,
    cancel: CancellationToken,
) {
    let mut news = follow(store, &keys::seal_keys_prefix());
    loop {
        let message = tokio::select! {
            () = cancel.cancelled() => return,
            message = news.recv() => message,
        };
        let Some(message) = message else { return };
        known.send_if_modified(|known| {
            let next = match message {
                Follow::Lost(_) => return false,
                Follow::Reset(snapshot) => Keys::of(snapshot),
                Follow::Changes(batch) => {
                    let mut keys = known.as_deref().cloned().unwrap_or_default();
                    keys.apply(batch.changes);
                    keys
                }
            };
            let differs = known.as_deref() != Some(&next);
            *known = Some(Arc::new(next));
            differs
        });
    }
}
