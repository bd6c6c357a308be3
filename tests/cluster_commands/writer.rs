//! Somebody who writes all the time, as fast as he is answered.
//!
//! Refuses to forget a write that was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate::store::etcd::{Endpoints, EtcdStore};
use quorate::store::{Op, Store, Txn};

use super::hosts::Host;

const KEY: &str = "/quorate/1/kv/sequence";

/// What came of it.
#[derive(Debug)]
pub(crate) struct Written {
    /// Acknowledged writes.
    pub(crate) count: u64,
    /// The longest time from one acknowledgement to the next.
    pub(crate) gap: Duration,
    /// Writes that failed for good.
    pub(crate) failed: u64,
}

/// A writer that goes on until it is asked what came of it.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

impl Writer {
    pub(crate) fn start(hosts: &[Host]) -> Writer {
        let urls: Vec<String> = hosts.iter().map(Host::url).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let endpoints = Endpoints::new(urls, None, true);
                let reviewed = Arc::clone(&endpoints);
                let review = tokio::spawn(async move { reviewed.review().await });
                let written = write(&EtcdStore::new(endpoints), &stopped).await;
                review.abort();
                written
            })
        });
        Writer { stop, thread }
    }

    /// Ends it; all that was acknowledged is still there.
    pub(crate) fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer ends")
    }
}

async fn write(store: &EtcdStore, stop: &AtomicBool) -> Written {
    let mut written = Written { count: 0, gap: Duration::ZERO, failed: 0 };
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let value = (written.count + 1).to_string().into_bytes();
        let put = Op::Put { key: KEY.into(), value, lease: None };
        match store.txn(Txn { when: Vec::new(), then: vec![put] }).await {
            Ok(_) => {
                written.count += 1;
                if written.count > 1 {
                    written.gap = written.gap.max(last.elapsed());
                }
                last = Instant::now();
            }
            Err(_) => written.failed += 1,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let found = store.range(KEY).await.expect("the store answers");
    let value = found.entries.first().map(|entry| entry.value.clone()).unwrap_or_default();
    let value: u64 = String::from_utf8_lossy(&value).parse().expect("a number");
    assert_eq!(value, written.count, "an acknowledged write is lost");
    written
}
