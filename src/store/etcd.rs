//! The store over etcd, through single-endpoint channels that [`Endpoints`] chooses between.
//!
//! Refuses to talk to a member of another cluster than the one that it is bound to, and to wait
//! without a bound.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, Error as EtcdError, GetOptions, KeyValue,
    PutOptions, ResponseHeader, Txn as EtcdTxn, TxnOp, TxnOpResponse,
};
use tokio::time::{Instant, timeout_at};

use super::{Committed, Compare, Entry, LeaseId, Op, Snapshot, Store, StoreError, Txn, Watched};

mod access;
mod endpoints;
mod watching;

pub use access::Access;
pub use endpoints::{Bound, Endpoints};

/// Entries of the first page of a range. Even if all were as large as the largest record it would
/// be one message of the usual 4 MiB.
const FIRST_PAGE: i64 = 60;
/// Entries of a page at most: a slow reader is not made to wait for one answer.
const LAST_PAGE: i64 = 4_000;
/// What a page should weigh, if its entries are like those of the one before.
const PAGE_BYTES: usize = 2 << 20;
/// How long a call may take before the store is called unavailable. Longer than an election and its
/// detection.
const CALL: Duration = Duration::from_secs(10);
/// How long one try may take before another endpoint is asked: a put sent to a survivor during an
/// election hangs for 7 s on the server's side.
const FIRST_TRY: Duration = Duration::from_millis(500);
/// So many tries are as short, until an election is over: a longer one begun just before its end
/// would outlast it. Later ones are doubled, for a store that is slow rather than dead.
const SHORT_TRIES: u32 = 4;
/// The largest answer that is accepted. The client's own limit of 4 MiB is less than a page may
/// hold.
const MESSAGE: usize = 256 << 20;
/// The pause between two tries that failed at once.
const PAUSE: Duration = Duration::from_millis(50);

/// A [`Store`] in an etcd cluster.
#[derive(Clone)]
pub struct EtcdStore {
    endpoints: Arc<Endpoints>,
}

/// What a failed try means.
pub(crate) enum Failure {
    /// This endpoint is of no use now; another may be.
    Switch(String),
    /// The answer is no.
    Final(StoreError),
}

impl EtcdStore {
    /// A store that asks these endpoints.
    pub fn new(endpoints: Arc<Endpoints>) -> Self {
        EtcdStore { endpoints }
    }

    /// The endpoints that it asks.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }

    /// What is below each of `prefixes`, all at one revision.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn read_many(
        &self,
        prefixes: &[String],
    ) -> Result<(Vec<Vec<Entry>>, i64), StoreError> {
        self.call(async |client: Client| {
            let gets: Vec<TxnOp> = prefixes
                .iter()
                .map(|p| TxnOp::get(p.as_str(), Some(GetOptions::new().with_prefix())))
                .collect();
            let mut kv = client.kv_client().max_decoding_message_size(MESSAGE);
            let answer = kv.txn(EtcdTxn::new().and_then(gets)).await?;
            let lists = answer
                .op_responses()
                .into_iter()
                .map(|response| match response {
                    TxnOpResponse::Get(get) => get.kvs().iter().map(entry).collect(),
                    _ => Vec::new(),
                })
                .collect();
            Ok((answer.header().cloned(), (lists, revision(answer.header()))))
        })
        .await
    }

    /// Everything below `prefix` in pages, all at the revision of the first.
    async fn pages(&self, prefix: &str, options: GetOptions) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        let end = prefix_end(prefix.as_bytes());
        // Without a sort order: keys come sorted anyway, and with one etcd reads all for each page.
        let options = options.with_range(end);
        let mut start = prefix.as_bytes().to_vec();
        let mut limit = FIRST_PAGE;
        loop {
            let options = options.clone().with_limit(limit).with_revision(snapshot.revision);
            let page = self.call(|client: Client| {
                let (from, options) = (start.clone(), options.clone());
                async move {
                    let mut kv = client.kv_client().max_decoding_message_size(MESSAGE);
                    let answer = kv.get(from, Some(options)).await?;
                    Ok((answer.header().cloned(), answer))
                }
            });
            let page = page.await?;
            if snapshot.revision == 0 {
                snapshot.revision = revision(page.header());
            }
            limit = next_page(page.kvs().iter().map(|kv| kv.key().len() + kv.value().len()));
            snapshot.entries.extend(page.kvs().iter().map(entry));
            match page.kvs().last() {
                Some(last) if page.more() => {
                    start = last.key().to_vec();
                    start.push(0);
                }
                _ => return Ok(snapshot),
            }
        }
    }

    /// Asks one endpoint after another until one answers or [`CALL`] is over. A write whose answer
    /// was lost is sent again: all of ours either compare or put the same value, so the caller sees
    /// at worst `applied: false` and reads.
    async fn call<T, F, R>(&self, request: F) -> Result<T, StoreError>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<(Option<ResponseHeader>, T), EtcdError>>,
    {
        let deadline = Instant::now() + CALL;
        let (mut limit, mut tries) = (FIRST_TRY, 0);
        let mut last = "no endpoint answers".to_owned();
        while Instant::now() < deadline {
            let Ok(bound) = timeout_at(deadline, self.endpoints.acquire()).await else { break };
            let until = deadline.min(Instant::now() + limit);
            let failure = match timeout_at(until, request(bound.client())).await {
                Ok(Ok((header, value))) if bound.owns(header.as_ref()) => return Ok(value),
                Ok(Ok(_)) => Failure::Switch("it belongs to another cluster".into()),
                Ok(Err(error)) => classify(&error),
                Err(_) => Failure::Switch("no answer in time".into()),
            };
            match failure {
                Failure::Final(error) => return Err(error),
                Failure::Switch(why) => {
                    last = format!("{}: {why}", bound.url());
                    tracing::debug!(endpoint = bound.url(), why, "store endpoint given up");
                    self.endpoints.fail(&bound);
                    tries += 1;
                    if tries >= SHORT_TRIES {
                        // A store that refuses at once is asked many times before the call is over.
                        limit = (limit * 2).min(CALL);
                    }
                    // Keeps a refusing endpoint, the only one left, from being asked in a tight
                    // loop.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        let listed = self.endpoints.urls();
        let among = if listed.is_empty() { "none known yet".into() } else { listed.join(", ") };
        Err(StoreError::Unavailable(format!("{last} (endpoints: {among})")))
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.pages(prefix, GetOptions::new()).await
    }

    async fn keys(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.pages(prefix, GetOptions::new().with_keys_only()).await
    }

    async fn changed(&self, prefix: &str, since: i64) -> Result<Snapshot, StoreError> {
        self.pages(prefix, GetOptions::new().with_min_mod_revision(since)).await
    }

    fn identity(&self) -> Option<u64> {
        self.endpoints.expected()
    }

    async fn watch(&self, prefix: &str, from: i64) -> Result<Watched, StoreError> {
        let deadline = Instant::now() + CALL;
        let mut last = StoreError::Unavailable("no endpoint answers".into());
        while Instant::now() < deadline {
            let Ok(bound) = timeout_at(deadline, self.endpoints.acquire()).await else { break };
            match watching::open(&self.endpoints, &bound, prefix, from).await {
                Ok(watched) => return Ok(watched),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Switch(why)) => {
                    last = StoreError::Unavailable(format!("{}: {why}", bound.url()));
                    self.endpoints.fail(&bound);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Err(last)
    }

    async fn txn(&self, txn: Txn) -> Result<Committed, StoreError> {
        let request = transaction(&txn);
        let tries = AtomicU32::new(0);
        self.call(|mut client: Client| {
            let request = request.clone();
            let repeated = tries.fetch_add(1, Ordering::Relaxed) > 0;
            async move {
                let answer = client.txn(request).await?;
                let revision = revision(answer.header());
                let committed = Committed { applied: answer.succeeded(), repeated, revision };
                Ok((answer.header().cloned(), committed))
            }
        })
        .await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // etcd counts whole seconds and never grants less than asked.
        let seconds = i64::try_from(ttl.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX).max(1);
        self.call(|mut client: Client| async move {
            let answer = client.lease_grant(seconds, None).await?;
            Ok((answer.header().cloned(), LeaseId(answer.id())))
        })
        .await
    }

    async fn refresh(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(|mut client: Client| async move {
            // Opening the stream sends one refresh and waits for its answer; the header is not
            // handed out.
            client.lease_keep_alive(lease.0).await?;
            Ok((None, ()))
        })
        .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(|mut client: Client| async move {
            let answer = client.lease_revoke(lease.0).await?;
            Ok((answer.header().cloned(), ()))
        })
        .await
    }
}

fn transaction(txn: &Txn) -> EtcdTxn {
    let when: Vec<EtcdCompare> = txn
        .when
        .iter()
        .map(|compare| match compare {
            Compare::Missing(key) => {
                EtcdCompare::create_revision(key.as_str(), CompareOp::Equal, 0)
            }
            Compare::Revision(key, revision) => {
                EtcdCompare::mod_revision(key.as_str(), CompareOp::Equal, *revision)
            }
        })
        .collect();
    let then: Vec<TxnOp> = txn
        .then
        .iter()
        .map(|op| match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(key.as_str(), value.clone(), options)
            }
            Op::Delete { key } => TxnOp::delete(key.as_str(), None),
        })
        .collect();
    EtcdTxn::new().when(when).and_then(then)
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, ResponseHeader::revision)
}

/// Keys of ours are text; one that is not is shown with replacement characters and matches nothing.
pub(crate) fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec(),
        revision: kv.mod_revision(),
        lease: (kv.lease() != 0).then_some(LeaseId(kv.lease())),
    }
}

/// How many entries the page after one with these may have.
fn next_page(sizes: impl Iterator<Item = usize>) -> i64 {
    let largest = sizes.max().unwrap_or(0).max(1);
    i64::try_from(PAGE_BYTES / largest).unwrap_or(LAST_PAGE).clamp(1, LAST_PAGE)
}

/// The first key after all keys that begin with `prefix`; `\0`, which etcd reads as "to the end",
/// when there is none.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// What an error of the client means for the endpoint that it came from.
pub(crate) fn classify(error: &EtcdError) -> Failure {
    match error {
        EtcdError::GRpcStatus(status) => by_code(status.code() as i32, status.message()),
        EtcdError::LeaseKeepAliveError(why) if why.contains("not found") => {
            Failure::Final(StoreError::LeaseGone)
        }
        EtcdError::InvalidArgs(why) => Failure::Final(StoreError::Refused(why.clone())),
        other => Failure::Switch(other.to_string()),
    }
}

fn by_code(code: i32, message: &str) -> Failure {
    const INVALID_ARGUMENT: i32 = 3;
    const NOT_FOUND: i32 = 5;
    const PERMISSION_DENIED: i32 = 7;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const OUT_OF_RANGE: i32 = 11;
    const UNAUTHENTICATED: i32 = 16;
    match code {
        // What the password was exchanged for has run out; a new channel gets a new one.
        UNAUTHENTICATED if message.contains("invalid auth token") => {
            Failure::Switch(message.to_owned())
        }
        NOT_FOUND if message.contains("lease") => Failure::Final(StoreError::LeaseGone),
        OUT_OF_RANGE if message.contains("compacted") => Failure::Final(StoreError::Compacted),
        INVALID_ARGUMENT | NOT_FOUND | PERMISSION_DENIED | OUT_OF_RANGE | UNAUTHENTICATED => {
            Failure::Final(StoreError::Refused(message.to_owned()))
        }
        RESOURCE_EXHAUSTED if message.contains("space") => {
            Failure::Final(StoreError::Refused(message.to_owned()))
        }
        _ => Failure::Switch(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_after_it() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(&[1, 255]), [2]);
        assert_eq!(prefix_end(&[255, 255]), [0]);
        assert_eq!(prefix_end(b""), [0]);
    }

    #[test]
    fn a_page_weighs_two_mebibytes_if_its_entries_are_like_those_before() {
        assert_eq!(next_page([1_024, 200].into_iter()), 2_048);
        assert_eq!(next_page([64 << 10; 60].into_iter()), 32);
        assert_eq!(next_page([3 << 20].into_iter()), 1);
        assert_eq!(next_page(std::iter::empty()), LAST_PAGE);
        assert!(FIRST_PAGE as usize * (64 << 10) < 4 << 20);
    }

    #[test]
    fn only_answers_end_a_call_and_trouble_changes_the_endpoint() {
        for (code, message, is_final) in [
            (14, "tcp connect error", false),
            (14, "etcdserver: no leader", false),
            (4, "context deadline exceeded", false),
            (2, "transport error", false),
            (8, "etcdserver: too many requests", false),
            (8, "etcdserver: mvcc: database space exceeded", true),
            (5, "etcdserver: requested lease not found", true),
            (11, "etcdserver: mvcc: required revision has been compacted", true),
            (3, "etcdserver: duplicate key given in txn request", true),
            (16, "etcdserver: invalid auth token", false),
            (16, "etcdserver: user name is empty", true),
        ] {
            let said = matches!(by_code(code, message), Failure::Final(_));
            assert_eq!(said, is_final, "{code} {message}");
        }
    }
}
