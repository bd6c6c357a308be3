//! Three etcd members on loopback, asked over their JSON gateway, watched and counted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How many members.
const MEMBERS: usize = 3;
/// How long a start and an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that cannot tell by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Members that are killed when dropped.
pub(super) struct Members {
    children: Vec<Child>,
    ports: Vec<u16>,
}

/// A port that nobody uses, below those of outgoing connections.
fn port(next: &mut u16) -> u16 {
    loop {
        *next += 1;
        if TcpListener::bind(("127.0.0.1", *next)).is_ok() {
            return *next;
        }
    }
}

impl Members {
    /// Starts them below `folder` and waits until they answer.
    pub(super) fn start(etcd: &Path, folder: &Path) -> anyhow::Result<Members> {
        let mut next = 10_000 + (std::process::id() % 1_000) as u16 * 20;
        let pairs: Vec<(u16, u16)> =
            (0..MEMBERS).map(|_| (port(&mut next), port(&mut next))).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let list: Vec<String> =
            pairs.iter().enumerate().map(|(n, (_, peer))| format!("m{n}={}", url(*peer))).collect();
        let mut members = Members { children: Vec::new(), ports: Vec::new() };
        for (n, (client, peer)) in pairs.iter().enumerate() {
            let log = File::create(folder.join(format!("etcd-{n}.log")))?;
            let child = Command::new(etcd)
                .args(["--name", &format!("m{n}"), "--data-dir"])
                .arg(folder.join(format!("data-{n}")))
                .args(["--listen-client-urls", &url(*client)])
                .args(["--advertise-client-urls", &url(*client)])
                .args(["--listen-peer-urls", &url(*peer)])
                .args(["--initial-advertise-peer-urls", &url(*peer)])
                .args(["--initial-cluster", &list.join(",")])
                .args(["--quota-backend-bytes", "4294967296"])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("cannot start {}", etcd.display()))?;
            members.children.push(child);
            members.ports.push(*client);
        }
        let began = Instant::now();
        for at in 0..MEMBERS {
            let client = members.client(at);
            while client.ask("/v3/kv/range", &json!({"key": encode("a")})).is_err() {
                if began.elapsed() > PATIENCE {
                    bail!("etcd does not answer; its log is in {}", folder.display());
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(members)
    }

    /// The URLs for clients, with commas between them.
    pub(super) fn urls(&self) -> String {
        let urls = self.ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
        urls.collect::<Vec<_>>().join(",")
    }

    /// One of them as its clients see it.
    pub(super) fn client(&self, at: usize) -> Client {
        Client::at((Ipv4Addr::LOCALHOST, self.ports[at % MEMBERS]).into())
    }

    /// Bytes that all of them have sent to their clients.
    pub(super) fn sent(&self) -> anyhow::Result<f64> {
        self.counted("etcd_network_client_grpc_sent_bytes_total")
    }

    /// Bytes that all of them have received from their clients.
    pub(super) fn received(&self) -> anyhow::Result<f64> {
        self.counted("etcd_network_client_grpc_received_bytes_total")
    }

    fn counted(&self, name: &str) -> anyhow::Result<f64> {
        Ok(self.by_method(name)?.values().sum())
    }

    /// How many messages all of them have received, by the method that was called.
    pub(super) fn messages(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        self.by_method("grpc_server_msg_received_total")
    }

    /// What all members have counted under this name, by method where there are methods.
    fn by_method(&self, name: &str) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut sums = BTreeMap::new();
        for at in 0..MEMBERS {
            let text = self.client(at).metrics()?;
            for line in text.lines().filter(|line| line.starts_with(name)) {
                let method = line.split_once("grpc_method=\"").and_then(|it| it.1.split_once('"'));
                let method = method.map_or("", |(method, _)| method).to_owned();
                let value = line.rsplit_once(' ').and_then(|it| it.1.parse::<f64>().ok());
                *sums.entry(method).or_default() += value.unwrap_or(0.0);
            }
        }
        Ok(sums)
    }

    /// Time of processors that all of them have used.
    pub(super) fn used(&self) -> Duration {
        self.children.iter().map(|child| used(child.id())).sum()
    }
}

/// Time of processors that a process has used; none when it is gone.
pub(super) fn used(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name, which may hold anything: the state, ten numbers, user and system.
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: Vec<u64> =
        rest.split(' ').skip(11).take(2).filter_map(|it| it.parse().ok()).collect();
    // The kernel tells these in hundredths of a second on every architecture that we run on.
    Duration::from_millis(ticks.iter().sum::<u64>() * 10)
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A client of one member.
#[derive(Clone, Copy)]
pub(super) struct Client {
    address: SocketAddr,
}

/// A put of a transaction.
pub(super) fn put(key: &str, value: &[u8]) -> Value {
    json!({"requestPut": {"key": encode(key), "value": STANDARD.encode(value)}})
}

fn encode(text: &str) -> String {
    STANDARD.encode(text)
}

impl Client {
    /// Of the member that serves clients there.
    pub(super) fn at(address: SocketAddr) -> Client {
        Client { address }
    }

    fn send(self, head: &str, body: &str) -> anyhow::Result<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(stream, "{head} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let good = line.split(' ').nth(1) == Some("200");
        while !line.trim().is_empty() {
            line.clear();
            reader.read_line(&mut line)?;
        }
        if !good {
            let mut why = String::new();
            reader.read_to_string(&mut why)?;
            bail!("etcd refuses: {why}");
        }
        Ok(reader)
    }

    /// Asks; what came back.
    pub(super) fn ask(self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut reader = self.send(&format!("POST {path}"), &body.to_string())?;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    fn metrics(self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.send("GET /metrics", "")?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes all of these at once.
    pub(super) fn write(self, puts: &[Value]) -> anyhow::Result<()> {
        self.ask("/v3/kv/txn", &json!({"success": puts})).map(drop)
    }

    /// The moments at which something below `prefix` was told to a plain watch, which puts a file
    /// into its place first if it is to have one.
    pub(super) fn watch(
        self,
        prefix: &str,
        file: Option<PathBuf>,
    ) -> anyhow::Result<mpsc::Receiver<Instant>> {
        let body = json!({"create_request": range(prefix)});
        let mut reader = self.send("POST /v3/watch", &body.to_string())?;
        let mut line = String::new();
        // That the watch was made.
        reader.read_line(&mut line)?;
        reader.get_ref().set_read_timeout(None)?;
        let (to, moments) = mpsc::channel();
        std::thread::spawn(move || {
            loop {
                line.clear();
                match reader.read_line(&mut line) {
                    Ok(read) if read > 0 => {}
                    _ => return,
                }
                if !line.contains("\"events\"") {
                    continue;
                }
                let placed = file.as_ref().is_none_or(|file| place(file, &line).is_ok());
                if !placed || to.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        Ok(moments)
    }

    /// Reads all below `prefix`, in pages of so many keys; how many there were.
    pub(super) fn read(self, prefix: &str, page: usize) -> anyhow::Result<usize> {
        let (mut body, mut count) = (range(prefix), 0);
        body["limit"] = json!(page);
        loop {
            let answer = self.ask("/v3/kv/range", &body)?;
            let all = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
            count += all.len();
            let last = all.last().and_then(|one| one["key"].as_str());
            let Some(last) = last.filter(|_| answer["more"] == true) else { return Ok(count) };
            // The next key is the last one and a zero.
            let next = [STANDARD.decode(last)?, vec![0]].concat();
            body["key"] = json!(STANDARD.encode(next));
        }
    }
}

/// All keys with this prefix.
fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({"key": encode(prefix), "range_end": STANDARD.encode(end)})
}

/// The least that changes a file so that nobody sees half of it.
fn place(file: &Path, text: &str) -> std::io::Result<()> {
    let draft = file.with_extension("new");
    fs::write(&draft, text)?;
    fs::rename(draft, file)
}
