//! The agent's own interface: JSON over a socket in its state folder.
//!
//! A client writes one line, `{"get":"status"}`, and reads one JSON document; or
//! `{"watch":"status"}`, and reads one line now and one after each change, a few a second at most.
//! A slow client skips what was in between. `{"cluster":REQUEST}` is answered by the membership and
//! may change it, `{"site":REQUEST}` by what the store holds of the site, and `{"accept":WHAT}` has
//! the store or a rule's exports taken as they are; nothing else changes anything. Refuses clients
//! beyond a bound. The folder's mode
//! (0700) says who may ask.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::operate::Desk as Site;
use crate::cluster::request;
use crate::cluster::shell::Operator;
use crate::collect::request as site;

/// The socket's name in the state folder.
pub const NAME: &str = "agent.sock";
/// Requests that may wait for the loop; a client beyond it waits for its turn.
const REQUEST_QUEUE: usize = 16;
/// The longest request line, in bytes: a policy.
const REQUEST_BYTES_MAX: u64 = 256 << 10;
/// The longest answer that is read, in bytes: some hundred thousand resources.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// How long a client has for its line, and the agent for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many clients may follow changes at once: each may cost a status a few times a second.
const WATCHERS_MAX: usize = 16;
/// The pause between two lines for a client that follows changes.
const PUSH_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a client could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// The agent's status.
    Status,
    /// The running graph.
    Graph,
    /// The metrics, as text.
    Metrics,
    /// The live exports of all hosts.
    Exports,
    /// What became of each of them here.
    Collect,
    /// Not a question: the store is to be believed as it is. Never asked for by its name.
    #[serde(skip)]
    AcceptStore,
    /// Nor this: a rule is to take what is exported as it is.
    #[serde(skip)]
    AcceptRule,
}

/// What can be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// The store as it is, though it is older than what is known of it.
    Store,
    /// The exports that a rule takes, though they are far fewer than before.
    Rule(String),
}

/// A line of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    /// One answer.
    Get(Topic),
    /// One answer now, and one after each change.
    Watch(Topic),
    /// One answer of the membership.
    Cluster(request::Request),
    /// A person takes something as it is.
    Accept(Accept),
    /// One answer about the site.
    Site(site::Request),
}

/// A question that waits for the agent's answer.
pub struct Request {
    /// What is asked.
    pub topic: Topic,
    /// Which one, where there are several.
    pub name: Option<String>,
    /// Takes the JSON text.
    pub answer: oneshot::Sender<String>,
}

/// The listening side. Dropping it removes the socket.
pub struct Socket {
    path: PathBuf,
    /// Questions as they come.
    pub requests: mpsc::Receiver<Request>,
    /// For questions that come another way.
    pub sender: mpsc::Sender<Request>,
    task: AbortHandle,
}

impl Socket {
    /// Listens in `folder`, which is locked by this agent: a socket left by a killed one is
    /// replaced. `changes` moves whenever an answer may have changed; `operator` answers for the
    /// cluster, if there is one.
    pub(super) fn listen(
        folder: &Path,
        changes: watch::Receiver<u64>,
        (operator, site): (Option<Operator>, Site),
    ) -> std::io::Result<Socket> {
        let path = folder.join(NAME);
        if let Err(failure) = std::fs::remove_file(&path)
            && failure.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failure);
        }
        let listener = with_short_name(folder, |name| UnixListener::bind(name))?;
        let (sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let desk = Desk {
            sender: sender.clone(),
            changes,
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            operator,
            site,
        };
        let task = tokio::spawn(accept(listener, desk)).abort_handle();
        Ok(Socket { path, requests, sender, task })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(failure) = std::fs::remove_file(&self.path) {
            tracing::debug!("{}: {failure}", self.path.display());
        }
    }
}

/// What every client needs.
#[derive(Clone)]
struct Desk {
    sender: mpsc::Sender<Request>,
    changes: watch::Receiver<u64>,
    watchers: Arc<Semaphore>,
    operator: Option<Operator>,
    site: Site,
}

async fn accept(listener: UnixListener, desk: Desk) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(failure) => {
                // Out of descriptors: nothing tells when one is free again.
                tracing::warn!("agent socket: {failure}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Err(failure) = serve(stream, desk).await {
                tracing::debug!("agent socket: {failure}");
            }
        });
    }
}

async fn serve(stream: tokio::net::UnixStream, desk: Desk) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut limited = tokio::io::BufReader::new((&mut reader).take(REQUEST_BYTES_MAX));
    patiently(limited.read_line(&mut line)).await?;
    let reply = match serde_json::from_str::<Question>(&line) {
        Ok(Question::Get(topic)) => from_loop(&desk.sender, topic).await?,
        Ok(Question::Accept(Accept::Store)) => from_loop(&desk.sender, Topic::AcceptStore).await?,
        Ok(Question::Accept(Accept::Rule(rule))) => {
            asked(&desk.sender, Topic::AcceptRule, Some(rule)).await?
        }
        Ok(Question::Watch(topic)) => match desk.watchers.clone().try_acquire_owned() {
            Ok(_place) => return follow(topic, &desk.sender, desk.changes, reader, writer).await,
            Err(_) => refusal(&format!("{WATCHERS_MAX} clients follow this agent already")),
        },
        Ok(Question::Cluster(request)) => {
            let answer = match &desk.operator {
                Some(operator) => operator.answer(request).await,
                None => request::Answer::Alone,
            };
            serde_json::to_string(&answer).map_err(std::io::Error::other)?
        }
        Ok(Question::Site(request)) => {
            let answer = desk.site.answer(request).await;
            serde_json::to_string(&answer).map_err(std::io::Error::other)?
        }
        Err(why) => refusal(&format!("not a question: {why}")),
    };
    write_line(&mut writer, &reply).await?;
    writer.shutdown().await
}

fn refusal(why: &str) -> String {
    serde_json::json!({"error": why}).to_string()
}

/// One line now and one after each change, until the client or the agent ends. A client that does
/// not read in time is dropped.
async fn follow(
    topic: Topic,
    sender: &mpsc::Sender<Request>,
    mut changes: watch::Receiver<u64>,
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut last = String::new();
    loop {
        changes.mark_unchanged();
        let reply = from_loop(sender, topic).await?;
        if reply != last {
            write_line(&mut writer, &reply).await?;
            last = reply;
        }
        let mut more = [0];
        tokio::select! {
            changed = changes.changed() => changed.map_err(std::io::Error::other)?,
            // Whatever else a client says, it says good bye.
            _ = reader.read(&mut more) => return Ok(()),
        }
        tokio::time::sleep(PUSH_PAUSE).await;
    }
}

/// What the loop answers.
pub(super) async fn from_loop(
    sender: &mpsc::Sender<Request>,
    topic: Topic,
) -> std::io::Result<String> {
    asked(sender, topic, None).await
}

async fn asked(
    sender: &mpsc::Sender<Request>,
    topic: Topic,
    name: Option<String>,
) -> std::io::Result<String> {
    let (answer, reply) = oneshot::channel();
    let asked = async {
        sender.send(Request { topic, name, answer }).await.map_err(std::io::Error::other)?;
        reply.await.map_err(std::io::Error::other)
    };
    patiently(asked).await
}

async fn write_line(writer: &mut OwnedWriteHalf, line: &str) -> std::io::Result<()> {
    let written = async {
        writer.write_all(line.as_bytes()).await?;
        writer.write_all(b"\n").await
    };
    patiently(written).await
}

async fn patiently<T>(act: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long");
    tokio::time::timeout(PATIENCE, act).await.map_err(|_| late())?
}

/// The line that asks for `topic`, once or after each change as well.
pub fn question(topic: Topic, follow: bool) -> String {
    line(&if follow { Question::Watch(topic) } else { Question::Get(topic) })
}

fn line(question: &Question) -> String {
    // Words and numbers, which no serialiser can refuse.
    serde_json::to_string(question).unwrap_or_default() + "\n"
}

/// Connects to the agent behind `folder`.
pub fn connect(folder: &Path) -> std::io::Result<UnixStream> {
    with_short_name(folder, |name| UnixStream::connect(name))
}

/// Asks the agent behind `folder`.
pub fn ask(folder: &Path, topic: Topic) -> std::io::Result<String> {
    exchange(folder, &question(topic, false), PATIENCE)
}

/// Has the agent behind `folder` take something as it is.
pub fn ask_to_accept(folder: &Path, what: Accept) -> std::io::Result<String> {
    exchange(folder, &line(&Question::Accept(what)), PATIENCE)
}

/// Asks the membership of the agent behind `folder`.
pub fn ask_cluster(folder: &Path, request: &request::Request) -> std::io::Result<request::Answer> {
    let patience = request.patience() + PATIENCE;
    let reply = exchange(folder, &line(&Question::Cluster(request.clone())), patience)?;
    serde_json::from_str(&reply).map_err(std::io::Error::other)
}

/// Asks the agent behind `folder` about the site.
pub fn ask_site(folder: &Path, request: &site::Request) -> std::io::Result<site::Answer> {
    let patience = site::PATIENCE + PATIENCE;
    let reply = exchange(folder, &line(&Question::Site(request.clone())), patience)?;
    serde_json::from_str(&reply).map_err(std::io::Error::other)
}

fn exchange(folder: &Path, question: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = connect(folder)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(question.as_bytes())?;
    let mut reply = String::new();
    stream.take(REPLY_BYTES_MAX).read_to_string(&mut reply)?;
    Ok(reply)
}

/// Socket addresses hold 107 bytes; a folder of any length is reached through its descriptor.
fn with_short_name<T>(
    folder: &Path,
    act: impl FnOnce(&Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let opened = std::fs::File::open(folder)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::store::memory::MemoryStore;

    fn site() -> Site {
        let granted = watch::channel(Arc::default()).1;
        Site { store: Arc::new(MemoryStore::new()), cluster: None, granted }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_is_answered_also_in_a_folder_with_a_very_long_name() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("x".repeat(200));
        std::fs::create_dir(&folder).unwrap();
        let (_changed, changes) = watch::channel(0);
        let mut socket = Socket::listen(&folder, changes, (None, site())).unwrap();
        let client = tokio::task::spawn_blocking(move || ask(&folder, Topic::Status));
        let request = socket.requests.recv().await.unwrap();
        request.answer.send("{\"v\":1}".to_owned()).unwrap();
        assert_eq!(client.await.unwrap().unwrap(), "{\"v\":1}\n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nonsense_is_answered_with_an_error_and_hurts_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (_changed, changes) = watch::channel(0);
        let socket = Socket::listen(folder.path(), changes, (None, site())).unwrap();
        let path = folder.path().to_owned();
        let reply = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(path.join(NAME)).unwrap();
            stream.write_all(b"{\"get\":\"everything\"}\n").unwrap();
            let mut reply = String::new();
            BufReader::new(stream).read_line(&mut reply).unwrap();
            reply
        });
        assert!(reply.await.unwrap().contains("not a question"));
        drop(socket);
        assert!(!folder.path().join(NAME).exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_follows_gets_a_line_at_once_and_one_for_each_change_that_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let (changed, changes) = watch::channel(0);
        let mut socket = Socket::listen(folder.path(), changes, (None, site())).unwrap();
        let path = folder.path().to_owned();
        let client = tokio::task::spawn_blocking(move || {
            let mut stream = connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(question(Topic::Status, true).as_bytes()).unwrap();
            let lines = BufReader::new(stream).lines().take(2);
            lines.collect::<Result<Vec<String>, _>>().unwrap()
        });
        for (state, next) in [("a", true), ("a", true), ("b", false)] {
            let request = socket.requests.recv().await.unwrap();
            request.answer.send(state.to_owned()).unwrap();
            if next {
                changed.send_modify(|n| *n += 1);
            }
        }
        assert_eq!(client.await.unwrap(), ["a", "b"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_follows_sees_the_end_of_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let (changed, changes) = watch::channel(0);
        let mut socket = Socket::listen(folder.path(), changes, (None, site())).unwrap();
        let path = folder.path().to_owned();
        let client = tokio::task::spawn_blocking(move || {
            let mut stream = connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(question(Topic::Status, true).as_bytes()).unwrap();
            BufReader::new(stream).lines().count()
        });
        socket.requests.recv().await.unwrap().answer.send("a".to_owned()).unwrap();
        drop((socket, changed));
        assert_eq!(client.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_and_does_not_read_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (_changed, changes) = watch::channel(0);
        let mut socket = Socket::listen(folder.path(), changes, (None, site())).unwrap();
        let mut client = connect(folder.path()).unwrap();
        client.write_all(question(Topic::Status, true).as_bytes()).unwrap();
        let long = "x".repeat(8 << 20);
        socket.requests.recv().await.unwrap().answer.send(long.clone()).unwrap();
        tokio::time::sleep(PATIENCE * 2).await;
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got.len() < long.len(), "all of it was taken");
    }
}
