//! A watch on one endpoint: whole revisions, in order, until the reader goes or the endpoint fails.
//!
//! Refuses to resume by itself: after an error the reader lists again, since only it knows what it
//! has seen.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::endpoints::{Bound, Endpoints};
use super::{Failure, MESSAGE, classify, entry};
use crate::store::{Batch, Change, StoreError, WATCH_QUEUE, Watched};

/// How long etcd may take to confirm a watch.
const CREATE: Duration = Duration::from_secs(2);
/// How often a quiet watch is asked whether it lives. Answers are not forwarded: up to 3.4.24 they
/// may run ahead of events that were not sent yet (etcd-io/etcd#15220).
const PROGRESS: Duration = Duration::from_secs(10);

/// Opens a watch and forwards it to a bounded queue.
pub(super) async fn open(
    endpoints: &Arc<Endpoints>,
    bound: &Bound,
    prefix: &str,
    from: i64,
) -> Result<Watched, Failure> {
    // Not in fragments: the client does not show which of them belong to one revision.
    let options =
        WatchOptions::new().with_prefix().with_start_revision(from).with_progress_notify();
    let mut client = bound.client().watch_client().max_decoding_message_size(MESSAGE);
    let created = async {
        let mut stream = client.watch(prefix, Some(options)).await?;
        let first = stream.message().await?;
        Ok((stream, first))
    };
    let (stream, first) = match timeout(CREATE, created).await {
        Ok(Ok((stream, Some(first)))) => (stream, first),
        Ok(Ok((_, None))) => return Err(Failure::Switch("the watch ended at once".into())),
        Ok(Err(error)) => return Err(classify(&error)),
        Err(_) => return Err(Failure::Switch("the watch was not confirmed in time".into())),
    };
    if !bound.owns(first.header()) {
        return Err(Failure::Switch("it belongs to another cluster".into()));
    }
    if first.canceled() {
        return Err(ended(&first));
    }
    let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
    let (endpoints, bound) = (Arc::clone(endpoints), bound.clone());
    tokio::spawn(async move {
        let error = tokio::select! {
            error = forward(stream, first, &bound, &sender) => error,
            () = sender.closed() => return,
        };
        let error = match error {
            Failure::Final(error) => error,
            Failure::Switch(why) => {
                endpoints.fail(&bound);
                StoreError::Unavailable(format!("{}: {why}", bound.url()))
            }
        };
        // The reader may have gone in the meantime.
        drop(sender.send(Err(error)).await);
    });
    Ok(receiver)
}

/// Forwards until something ends the watch.
async fn forward(
    mut stream: WatchStream,
    first: WatchResponse,
    bound: &Bound,
    sender: &mpsc::Sender<Result<Batch, StoreError>>,
) -> Failure {
    let mut next = Some(first);
    let mut asked = false;
    loop {
        if let Some(response) = next.take() {
            if !bound.owns(response.header()) {
                return Failure::Switch("it belongs to another cluster".into());
            }
            if response.canceled() {
                return ended(&response);
            }
            if let Some(batch) = batch(&response)
                && sender.send(Ok(batch)).await.is_err()
            {
                return Failure::Switch("nobody reads".into());
            }
        }
        match timeout(PROGRESS, stream.message()).await {
            Ok(Ok(Some(response))) => {
                asked = false;
                next = Some(response);
            }
            Ok(Ok(None)) => return Failure::Switch("the watch ended".into()),
            Ok(Err(error)) => return classify(&error),
            Err(_) if asked => return Failure::Switch("the watch does not answer".into()),
            Err(_) => {
                asked = true;
                if let Err(error) = stream.request_progress().await {
                    return classify(&error);
                }
            }
        }
    }
}

fn ended(response: &WatchResponse) -> Failure {
    if response.compact_revision() > 0 {
        return Failure::Final(StoreError::Compacted);
    }
    Failure::Switch(format!("the watch was cancelled: {}", response.cancel_reason()))
}

/// The changes of a response; `None` for confirmations and signs of life.
fn batch(response: &WatchResponse) -> Option<Batch> {
    let changes: Vec<Change> = response
        .events()
        .iter()
        .filter_map(|event| {
            let entry = entry(event.kv()?);
            Some(match event.event_type() {
                EventType::Put => Change::Put(entry),
                EventType::Delete => Change::Delete { key: entry.key },
            })
        })
        .collect();
    let newest = response.events().iter().filter_map(|e| e.kv()).map(|kv| kv.mod_revision()).max();
    Some(Batch { revision: newest?, changes })
}
