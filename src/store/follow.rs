//! Following a part of the store: everything first, then each change, and what was missed after a
//! gap: its keys, and the values of those that changed.
//!
//! Refuses to hide a loss: the reader is told, keeps what it has, and hears what it missed when the
//! store answers again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Batch, Change, Snapshot, Store, StoreError};

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
    /// These changes came after it, none left out. Possibly none: then the store answers again.
    Changes(Batch),
    /// The store does not answer. What is known may be old; something else follows when it does.
    Lost(StoreError),
}

/// Follows everything below `prefix` until the receiver is dropped.
pub fn follow(store: Arc<dyn Store>, prefix: &str) -> mpsc::Receiver<Follow> {
    let (to, messages) = mpsc::channel(QUEUE);
    let prefix = prefix.to_owned();
    tokio::spawn(async move {
        let mut follower = Follower { store: &*store, prefix: &prefix, to: &to, known: None };
        tokio::select! {
            () = to.closed() => {}
            () = follower.run() => {}
        }
    });
    messages
}

/// What the reader was told so far: enough to tell it only what differs after a gap.
struct Known {
    store: Option<u64>,
    revision: i64,
    keys: BTreeSet<String>,
}

struct Follower<'a> {
    store: &'a dyn Store,
    prefix: &'a str,
    to: &'a mpsc::Sender<Follow>,
    known: Option<Known>,
}

enum End {
    Reader,
    Store(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        End::Store(error)
    }
}

impl Follower<'_> {
    /// Returns only when the receiver is gone.
    async fn run(&mut self) {
        let mut pause = BACK_OFF_MIN;
        loop {
            let (progress, end) = self.read_and_watch().await;
            if progress {
                pause = BACK_OFF_MIN;
            }
            let gone = match end {
                End::Reader => return,
                // Nothing is wrong with the store: the next list comes after a pause all the same,
                // so that a reader that is always too slow does not list all the time.
                End::Store(StoreError::Compacted) => Ok(()),
                End::Store(error) => self.to.send(Follow::Lost(error)).await,
            };
            if gone.is_err() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// One read with its watch; tells whether the watch yielded anything, and why it ended.
    async fn read_and_watch(&mut self) -> (bool, End) {
        let mut progress = false;
        let Err(end) = self.watch(&mut progress).await;
        (progress, end)
    }

    async fn watch(&mut self, progress: &mut bool) -> Result<Infallible, End> {
        let from = self.read().await?;
        let mut watched = self.store.watch(self.prefix, from).await?;
        while let Some(batch) = watched.recv().await {
            let batch = batch?;
            *progress = true;
            self.note(&batch);
            self.tell(Follow::Changes(batch)).await?;
        }
        Err(StoreError::Unavailable("the watch ended".to_owned()).into())
    }

    /// Brings the reader up to date; the revision to watch from.
    async fn read(&mut self) -> Result<i64, End> {
        let missed = match &self.known {
            Some(known) => self.missed(known).await?,
            None => None,
        };
        let (revision, message) = match missed {
            Some(batch) => (batch.revision, Follow::Changes(batch)),
            None => {
                let snapshot = self.store.range(self.prefix).await?;
                (snapshot.revision, Follow::Reset(snapshot))
            }
        };
        match &message {
            Follow::Reset(snapshot) => {
                let keys = snapshot.entries.iter().map(|entry| entry.key.clone()).collect();
                self.known = Some(Known { store: self.store.identity(), revision, keys });
            }
            Follow::Changes(batch) => self.note(batch),
            Follow::Lost(_) => {}
        }
        self.tell(message).await?;
        Ok(revision + 1)
    }

    /// What happened since the reader was told something: keys without their values, and the
    /// values that changed. Nothing when this is another store, or the same one at an earlier time.
    async fn missed(&self, known: &Known) -> Result<Option<Batch>, StoreError> {
        let there = self.store.keys(self.prefix).await?;
        if there.revision < known.revision || self.store.identity() != known.store {
            return Ok(None);
        }
        let next = known.revision + 1;
        let mut revision = there.revision;
        let mut changes = Vec::new();
        if there.entries.iter().any(|entry| entry.revision >= next) {
            let changed = self.store.changed(self.prefix, next).await?;
            // What was put between the two reads is told by the watch as well.
            revision = revision.min(changed.revision);
            changes.extend(changed.entries.into_iter().map(Change::Put));
        }
        let there: BTreeSet<String> = there.entries.into_iter().map(|entry| entry.key).collect();
        let gone = known.keys.difference(&there).cloned();
        changes.extend(gone.map(|key| Change::Delete { key }));
        Ok(Some(Batch { revision, changes }))
    }

    fn note(&mut self, batch: &Batch) {
        let Some(known) = &mut self.known else { return };
        known.revision = batch.revision;
        for change in &batch.changes {
            match change {
                Change::Put(entry) => known.keys.insert(entry.key.clone()),
                Change::Delete { key } => known.keys.remove(key),
            };
        }
    }

    async fn tell(&self, message: Follow) -> Result<(), End> {
        self.to.send(message).await.map_err(|_| End::Reader)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::time::timeout;

    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::{Committed, LeaseId, Op, Txn, Watched};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A store whose next calls fail, or end early, as scripted.
    #[derive(Default)]
    struct Flaky {
        inner: MemoryStore,
        ranges: Mutex<Vec<StoreError>>,
        watches: Mutex<Vec<StoreError>>,
        /// Every watch ends with this error behind its first batch.
        short: Option<StoreError>,
        /// Whole reads.
        reads: AtomicUsize,
        /// Keys are told at an earlier revision than before.
        back: AtomicBool,
    }

    fn fail(script: &Mutex<Vec<StoreError>>) -> Result<(), StoreError> {
        script.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    #[async_trait]
    impl Store for Flaky {
        async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
            fail(&self.ranges)?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.inner.range(prefix).await
        }

        async fn keys(&self, prefix: &str) -> Result<Snapshot, StoreError> {
            let mut keys = self.inner.keys(prefix).await?;
            if self.back.load(Ordering::Relaxed) {
                keys.revision = 0;
            }
            Ok(keys)
        }

        async fn changed(&self, prefix: &str, since: i64) -> Result<Snapshot, StoreError> {
            self.inner.changed(prefix, since).await
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
        assert_eq!(next(&mut messages).await, "changes 0");
    }

    #[tokio::test]
    async fn after_a_gap_only_what_changed_meanwhile_is_read_f9() {
        let watches = Mutex::new(vec![StoreError::Compacted]);
        let store = Arc::new(Flaky { watches, ..Flaky::default() });
        for name in ["gone", "kept", "put"] {
            put(&store, &format!("/a/{name}"), "old").await;
        }
        let mut messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        assert_eq!(next(&mut messages).await, "reset 3");
        // The watch was refused; both are missed.
        put(&store, "/a/put", "new").await;
        let delete = vec![Op::Delete { key: "/a/gone".to_owned() }];
        store.inner.txn(Txn { when: Vec::new(), then: delete }).await.unwrap();
        let Follow::Changes(batch) = timeout(PATIENCE, messages.recv()).await.unwrap().unwrap()
        else {
            panic!("everything was read again");
        };
        let shown: Vec<String> = batch
            .changes
            .iter()
            .map(|change| match change {
                Change::Put(one) => format!("{} {}", one.key, String::from_utf8_lossy(&one.value)),
                Change::Delete { key } => format!("-{key}"),
            })
            .collect();
        assert_eq!(shown, ["/a/put new", "-/a/gone"]);
        assert_eq!(store.reads.load(Ordering::Relaxed), 1, "whole reads");
        put(&store, "/a/kept", "later").await;
        assert_eq!(next(&mut messages).await, "changes 1");
    }

    #[tokio::test]
    async fn a_store_that_went_back_in_time_is_read_as_a_whole() {
        let short = Some(StoreError::Unavailable("broken".to_owned()));
        let store = Arc::new(Flaky { short, ..Flaky::default() });
        let mut messages = follow(Arc::clone(&store) as Arc<dyn Store>, "/a/");
        assert_eq!(next(&mut messages).await, "reset 0");
        put(&store, "/a/1", "").await;
        assert_eq!(next(&mut messages).await, "changes 1");
        store.back.store(true, Ordering::Relaxed);
        assert_eq!(next(&mut messages).await, "lost the store does not answer: broken");
        assert_eq!(next(&mut messages).await, "reset 1");
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
        let mut gaps = 0;
        let mut written = 0;
        let last = (b"9".to_vec(), "/a/6");
        while known.get(last.1) != Some(&last.0) {
            if written < 10 {
                put(&store, &format!("/a/{}", written * 4 % 10), &written.to_string()).await;
                written += 1;
            }
            match timeout(PATIENCE, messages.recv()).await.unwrap().unwrap() {
                Follow::Reset(snapshot) => {
                    known = snapshot.entries.into_iter().map(|e| (e.key, e.value)).collect();
                }
                Follow::Changes(batch) => known.extend(batch.changes.into_iter().filter_map(|c| {
                    let Change::Put(entry) = c else { return None };
                    Some((entry.key, entry.value))
                })),
                Follow::Lost(_) => gaps += 1,
            }
        }
        let all = store.inner.range("/a/").await.unwrap().entries;
        assert_eq!(known, all.into_iter().map(|e| (e.key, e.value)).collect());
        assert!(gaps > 1, "the watch broke");
    }
}
