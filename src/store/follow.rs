//! Following a part of the store: everything first, then each change, and everything again after a
//! gap.
//!
//! Refuses to hide a loss: the reader is told, keeps what it has, and gets a whole picture when the
//! store answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Batch, Snapshot, Store, StoreError};

/// How many messages wait for a slow reader. The store's own watch queue is behind it.
const QUEUE: usize = 16;

/// The first pause before the store is asked again: short, since a new leader takes about a second.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);

/// The longest pause: a store that was gone for minutes is noticed within these seconds.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// What a reader is told.
#[derive(Clone, Debug)]
pub enum Follow {
    /// This is all there is; forget what was known.
    Reset(Snapshot),
    /// These changes came after it, none left out.
    Changes(Batch),
    /// The store does not answer. What is known may be old; a `Reset` follows when it does.
    Lost(StoreError),
}

/// Follows everything below `prefix` until the receiver is dropped.
pub fn follow(store: Arc<dyn Store>, prefix: &str) -> mpsc::Receiver<Follow> {
    let (to, messages) = mpsc::channel(QUEUE);
    let prefix = prefix.to_owned();
    tokio::spawn(async move {
        tokio::select! {
            () = to.closed() => {}
            () = run(&*store, &prefix, &to) => {}
        }
    });
    messages
}

/// Returns only when the receiver is gone.
async fn run(store: &dyn Store, prefix: &str, to: &mpsc::Sender<Follow>) {
    let mut pause = BACK_OFF_MIN;
    loop {
        let (progress, end) = list_and_watch(store, prefix, to).await;
        if progress {
            pause = BACK_OFF_MIN;
        }
        let gone = match end {
            End::Reader => return,
            // Nothing is wrong with the store: the next list comes after a pause all the same, so
            // that a reader that is always too slow does not list all the time.
            End::Store(StoreError::Compacted) => Ok(()),
            End::Store(error) => to.send(Follow::Lost(error)).await,
        };
        if gone.is_err() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF_MAX);
    }
}

enum End {
    Reader,
    Store(StoreError),
}

/// One list with its watch; tells whether the watch yielded anything, and why it ended.
async fn list_and_watch(store: &dyn Store, prefix: &str, to: &mpsc::Sender<Follow>) -> (bool, End) {
    let snapshot = match store.range(prefix).await {
        Ok(snapshot) => snapshot,
        Err(error) => return (false, End::Store(error)),
    };
    let next = snapshot.revision + 1;
    if to.send(Follow::Reset(snapshot)).await.is_err() {
        return (false, End::Reader);
    }
    let mut watched = match store.watch(prefix, next).await {
        Ok(watched) => watched,
        Err(error) => return (false, End::Store(error)),
    };
    let mut progress = false;
    loop {
        match watched.recv().await {
            Some(Ok(batch)) => {
                progress = true;
                if to.send(Follow::Changes(batch)).await.is_err() {
                    return (progress, End::Reader);
                }
            }
            Some(Err(error)) => return (progress, End::Store(error)),
            None => {
                let why = StoreError::Unavailable("the watch ended".to_owned());
                return (progress, End::Store(why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::time::timeout;

    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::{Change, Committed, LeaseId, Op, Txn, Watched};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A store whose next calls fail, or end early, as scripted.
    #[derive(Default)]
    struct Flaky {
        inner: MemoryStore,
        ranges: Mutex<Vec<StoreError>>,
        watches: Mutex<Vec<StoreError>>,
        /// Every watch ends with this error behind its first batch.
        short: Option<StoreError>,
    }

    fn fail(script: &Mutex<Vec<StoreError>>) -> Result<(), StoreError> {
        script.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    #[async_trait]
    impl Store for Flaky {
        async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
            fail(&self.ranges)?;
            self.inner.range(prefix).await
        }

        async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError> {
            fail(&self.watches)?;
            let mut all = self.inner.watch(prefix, from).await?;
            let Some(end) = self.short.clone() else { return Ok(all) };
            let (to, first) = mpsc::channel(2);
            tokio::spawn(async move {
                if let Some(batch) = all.recv().await {
                    to.send(batch).await.ok();
                    to.send(Err(end)).await.ok();
                }
            });
            Ok(first)
        }

        async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
            self.inner.txn(txn).await
        }

        async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
            self.inner.grant(ttl).await
        }

        async fn refresh(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.inner.refresh(lease).await
        }

        async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.inner.revoke(lease).await
        }
    }

    async fn put(store: &Flaky, key: &str, value: &str) {
        let op = Op::Put { key: key.to_owned(), value: value.into(), lease: None };
        store.inner.txn(Txn { when: Vec::new(), then: vec![op] }).await.unwrap();
    }

    async fn next(messages: &mut mpsc::Receiver<Follow>) -> String {
        let message = timeout(PATIENCE, messages.recv()).await.unwrap().unwrap();
        match message {
            Follow::Reset(snapshot) => format!("reset {}", snapshot.entries.len()),
            Follow::Changes(batch) => format!("changes {}", batch.changes.len()),
            Follow::Lost(error) => format!("lost {error}"),
        }
    }

    #[tokio::test]
    async fn what_is_there_comes_first_and_changes_after_it() {
        let store = Arc::new(Flaky::default());
        put(&store, "/a/1", "").await;
        let mut messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        assert_eq!(next(&mut messages).await, "reset 1");
        put(&store, "/a/2", "").await;
        assert_eq!(next(&mut messages).await, "changes 1");
    }

    #[tokio::test]
    async fn a_compacted_revision_is_read_again_without_alarm() {
        let watches = Mutex::new(vec![StoreError::Compacted]);
        let store = Arc::new(Flaky { watches, ..Flaky::default() });
        let mut messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        assert_eq!(next(&mut messages).await, "reset 0");
        assert_eq!(next(&mut messages).await, "reset 0");
    }

    #[tokio::test]
    async fn a_silent_store_is_reported_and_asked_until_it_answers() {
        let down = || StoreError::Unavailable("down".to_owned());
        let ranges = Mutex::new(vec![down(), down()]);
        let store = Arc::new(Flaky { ranges, ..Flaky::default() });
        let mut messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        for expected in ["lost the store does not answer: down"; 2] {
            assert_eq!(next(&mut messages).await, expected);
        }
        assert_eq!(next(&mut messages).await, "reset 0");
    }

    #[tokio::test]
    async fn nobody_follows_for_a_reader_that_is_gone() {
        let store = Arc::new(Flaky::default());
        let messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        drop(messages);
        let alone = async {
            while Arc::strong_count(&store) > 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, alone).await.unwrap();
    }

    #[tokio::test]
    async fn no_change_is_lost_over_many_broken_watches() {
        let short = Some(StoreError::Unavailable("broken".to_owned()));
        let store = Arc::new(Flaky { short, ..Flaky::default() });
        let mut messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        let mut known: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut resets = 0;
        let mut written = 0;
        let last = (b"9".to_vec(), "/a/6");
        while known.get(last.1) != Some(&last.0) {
            if written < 10 {
                put(&store, &format!("/a/{}", written * 4 % 10), &written.to_string()).await;
                written += 1;
            }
            match timeout(PATIENCE, messages.recv()).await.unwrap().unwrap() {
                Follow::Reset(snapshot) => {
                    resets += 1;
                    known = snapshot.entries.into_iter().map(|e| (e.key, e.value)).collect();
                }
                Follow::Changes(batch) => known.extend(batch.changes.into_iter().filter_map(|c| {
                    let Change::Put(entry) = c else { return None };
                    Some((entry.key, entry.value))
                })),
                Follow::Lost(_) => {}
            }
        }
        let all = store.inner.range("/a/").await.unwrap().entries;
        assert_eq!(known, all.into_iter().map(|e| (e.key, e.value)).collect());
        assert!(resets > 1, "the watch broke");
    }
}
