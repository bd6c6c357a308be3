//! Clients of the nodes' stores, through the JSON gateway of each node's published port, and the
//! work that they do while nodes fail.
//!
//! A question has one answer or none; nothing is asked twice under the same name. Judging is
//! `history`'s.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::history::{Act, Op};
use super::secure;

/// How long an answer may take: shorter than an election, so that others are asked meanwhile.
const ANSWER: Duration = Duration::from_secs(1);
/// How long the last look may take.
const LAST: Duration = Duration::from_secs(10);
/// Time from one question of a client to its next.
const PACE: Duration = Duration::from_millis(100);
/// The counter that is swapped.
const COUNTER: &str = "chaos/counter";
/// What the writers write, by writer and number.
const WRITTEN: &str = "chaos/written/";
/// Writers, swappers and readers.
const CLIENTS: [Kind; 6] =
    [Kind::Writer(1), Kind::Writer(2), Kind::Swapper, Kind::Swapper, Kind::Reader, Kind::Reader];

#[derive(Clone, Copy)]
enum Kind {
    Writer(u8),
    Swapper,
    Reader,
}

/// Where the nodes' stores are reached from here, and what was answered.
pub(super) struct Store {
    /// `127.0.0.1:PORT` of h1, h2 and so on.
    endpoints: Vec<String>,
    /// With certificates.
    secure: Option<TlsConnector>,
    start: Instant,
    ops: Mutex<Vec<Op>>,
}

/// The clients at work.
pub(super) struct Work {
    stop: watch::Sender<bool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

/// An answer of the gateway.
struct Answer {
    body: Value,
    revision: u64,
    cluster: u64,
}

impl Store {
    /// A store whose nodes answer at these addresses.
    pub(super) fn new(endpoints: Vec<String>, secure: Option<TlsConnector>) -> Arc<Store> {
        Arc::new(Store { endpoints, secure, start: Instant::now(), ops: Mutex::default() })
    }

    /// Starts the clients; what they are told is kept.
    pub(super) fn work(self: &Arc<Store>) -> Work {
        let (stop, stopped) = watch::channel(false);
        let client = |(number, kind): (usize, &Kind)| {
            let (store, kind, stopped) = (self.clone(), *kind, stopped.clone());
            tokio::spawn(async move { store.client(number, kind, stopped).await })
        };
        Work { stop, clients: CLIENTS.iter().enumerate().map(client).collect() }
    }

    /// Everything that was answered so far.
    pub(super) fn ops(&self) -> Vec<Op> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn client(&self, first: usize, kind: Kind, stopped: watch::Receiver<bool>) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut node = first % self.endpoints.len().max(1);
        let mut number = 0;
        while !*stopped.borrow() {
            pace.tick().await;
            number += 1;
            let done = match kind {
                Kind::Writer(writer) => self.put(node, writer, number).await,
                Kind::Swapper => self.swap(node).await,
                Kind::Reader => self.read(node, ANSWER).await.map(|_| ()),
            };
            // Readers look everywhere; others stay where they are served.
            if done.is_err() || matches!(kind, Kind::Reader) {
                node = (node + 1) % self.endpoints.len().max(1);
            }
        }
    }

    async fn put(&self, node: usize, writer: u8, number: u64) -> anyhow::Result<()> {
        let key = format!("{WRITTEN}{writer}/{number:08}");
        let body = json!({"key": BASE64.encode(key), "value": BASE64.encode("x")});
        let begin = self.now();
        let answer = self.ask(node, "/v3/kv/put", &body, ANSWER).await?;
        self.note(node, begin, Act::Put { writer, number }, &answer);
        Ok(())
    }

    async fn swap(&self, node: usize) -> anyhow::Result<()> {
        let (value, modified) = self.read(node, ANSWER).await?;
        let to = value + 1;
        let key = BASE64.encode(COUNTER);
        let put = json!({"request_put": {"key": key, "value": BASE64.encode(to.to_string())}});
        let same = json!({"key": key, "target": "MOD", "result": "EQUAL",
                          "mod_revision": modified.to_string()});
        let body = json!({"compare": [same], "success": [put]});
        let begin = self.now();
        let answer = self.ask(node, "/v3/kv/txn", &body, ANSWER).await?;
        if answer.body["succeeded"] == true {
            self.note(node, begin, Act::Swap { to }, &answer);
        }
        Ok(())
    }

    /// The counter and the revision of its last change.
    async fn read(&self, node: usize, within: Duration) -> anyhow::Result<(u64, u64)> {
        let begin = self.now();
        let body = json!({"key": BASE64.encode(COUNTER)});
        let answer = self.ask(node, "/v3/kv/range", &body, within).await?;
        let pair = &answer.body["kvs"][0];
        let value = match pair["value"].as_str() {
            Some(text) => String::from_utf8(BASE64.decode(text)?)?.parse()?,
            None => 0,
        };
        let modified = number(&pair["mod_revision"]).unwrap_or(0);
        self.note(node, begin, Act::Read { value }, &answer);
        Ok((value, modified))
    }

    /// What is there now: the numbers of each writer, and the counter. Not every node serves.
    pub(super) async fn kept(&self) -> anyhow::Result<(BTreeSet<(u8, u64)>, u64)> {
        let mut answer = Err(anyhow::anyhow!("there are no nodes"));
        for node in 0..self.endpoints.len() {
            answer = self.kept_by(node).await;
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    async fn kept_by(&self, node: usize) -> anyhow::Result<(BTreeSet<(u8, u64)>, u64)> {
        let (counter, _) = self.read(node, LAST).await?;
        // A range from the prefix to the next one that is not it: the last byte plus one.
        let end = format!("{}0", WRITTEN.trim_end_matches('/'));
        let body = json!({"key": BASE64.encode(WRITTEN), "range_end": BASE64.encode(end),
                          "keys_only": true});
        let answer = self.ask(node, "/v3/kv/range", &body, LAST).await?;
        let pairs = answer.body["kvs"].as_array().into_iter().flatten();
        let read = |pair: &Value| -> Option<(u8, u64)> {
            let key = String::from_utf8(BASE64.decode(pair["key"].as_str()?).ok()?).ok()?;
            let (writer, number) = key.strip_prefix(WRITTEN)?.split_once('/')?;
            Some((writer.parse().ok()?, number.parse().ok()?))
        };
        Ok((pairs.filter_map(read).collect(), counter))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn note(&self, node: usize, begin: u64, act: Act, answer: &Answer) {
        let node = u8::try_from(node + 1).unwrap_or(u8::MAX);
        let (revision, cluster) = (answer.revision, answer.cluster);
        let op = Op { begin, end: self.now(), node, act, revision, cluster };
        self.ops.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    async fn ask(
        &self,
        node: usize,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> anyhow::Result<Answer> {
        let endpoint = self.endpoints.get(node).context("no such node")?;
        let host = format!("h{}", node + 1);
        let connect = secure::connect(endpoint, &host, self.secure.as_ref());
        let asked = async { ask(connect.await?, endpoint, path, body).await };
        tokio::time::timeout(within, asked).await?
    }
}

impl Work {
    /// Stops the clients when each has its last answer.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for client in self.clients {
            // One that panicked has said so.
            drop(client.await);
        }
    }
}

/// One request on a connection of its own, closed by the answer's end.
async fn ask(
    mut stream: Box<dyn secure::Stream>,
    endpoint: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<Answer> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {endpoint}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.flush().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no whole answer")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{body}");
    }
    let body: Value = serde_json::from_str(body)?;
    let header = &body["header"];
    let revision = number(&header["revision"]).context("an answer without a revision")?;
    let cluster = number(&header["cluster_id"]).context("an answer without a cluster")?;
    Ok(Answer { revision, cluster, body })
}

/// The gateway writes large numbers as text.
fn number(value: &Value) -> Option<u64> {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64())
}
