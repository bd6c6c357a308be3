//! One question to an etcd over its JSON gateway, and those that the measurements ask.
//!
//! Keys and values are fixed, so their base64 is written down; nothing here encodes. Asked at the
//! socket in its working directory, where nobody needs a certificate.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// `key` in base64.
const KEY: &str = "a2V5";
/// Between two looks at something that cannot tell by itself; small beside what is measured.
const LOOK: Duration = Duration::from_millis(3);

/// Asks; what came back as JSON.
pub(super) fn ask(
    socket: &Path,
    path: &str,
    body: &Value,
    within: Duration,
) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(within))?;
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no whole answer")?;
    if head.split(' ').nth(1) != Some("200") {
        bail!("{body}");
    }
    Ok(serde_json::from_str(body)?)
}

/// Whether it answers a linearizable read.
pub(super) fn serves(socket: &Path, within: Duration) -> bool {
    ask(socket, "/v3/kv/range", &json!({"key": KEY}), within).is_ok()
}

/// Whether it takes a write.
pub(super) fn writes(socket: &Path, within: Duration) -> bool {
    ask(socket, "/v3/kv/put", &json!({"key": KEY, "value": KEY}), within).is_ok()
}

/// Whether it leads.
pub(super) fn leads(socket: &Path) -> bool {
    let status = ask(socket, "/v3/maintenance/status", &json!({}), Duration::from_secs(1));
    status.is_ok_and(|it| !it["leader"].is_null() && it["leader"] == it["header"]["member_id"])
}

/// How many members vote, as it knows.
pub(super) fn voters(socket: &Path) -> usize {
    let list = ask(socket, "/v3/cluster/member/list", &json!({}), Duration::from_secs(1));
    let members = list.map(|it| it["members"].clone()).unwrap_or_default();
    let votes = |member: &&Value| member["isLearner"] != true;
    members.as_array().into_iter().flatten().filter(votes).count()
}

/// Waits until something holds; how long it took since `start`.
pub(super) fn until(
    what: &str,
    start: Instant,
    within: Duration,
    mut holds: impl FnMut() -> bool,
) -> anyhow::Result<Duration> {
    loop {
        if holds() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > within {
            bail!("{what}: not within {} s", within.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}
