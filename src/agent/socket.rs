//! The agent's own interface: JSON over a socket in its state folder.
//!
//! A client writes one line, `{"get":"status"}`, and reads one JSON document. Refuses to change
//! anything. The folder's mode (0700) says who may ask.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// The socket's name in the state folder.
pub const NAME: &str = "agent.sock";
/// Requests that may wait for the loop; a client beyond it waits for its turn.
const REQUEST_QUEUE: usize = 16;
/// The longest request line, in bytes.
const REQUEST_BYTES_MAX: u64 = 4096;
/// The longest answer that is read, in bytes: some hundred thousand resources.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// How long a client has for its line, and the agent for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a client could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// The agent's status.
    Status,
}

#[derive(Serialize, Deserialize)]
struct Question {
    get: Topic,
}

/// A question that waits for the agent's answer.
pub struct Request {
    /// What is asked.
    pub topic: Topic,
    /// Takes the JSON text.
    pub answer: oneshot::Sender<String>,
}

/// The listening side. Dropping it removes the socket.
pub struct Socket {
    path: PathBuf,
    /// Questions as they come.
    pub requests: mpsc::Receiver<Request>,
    task: AbortHandle,
}

impl Socket {
    /// Listens in `folder`, which is locked by this agent: a socket left by a killed one is
    /// replaced.
    pub fn listen(folder: &Path) -> std::io::Result<Socket> {
        let path = folder.join(NAME);
        if let Err(failure) = std::fs::remove_file(&path)
            && failure.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failure);
        }
        let listener = with_short_name(folder, |name| UnixListener::bind(name))?;
        let (sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let task = tokio::spawn(accept(listener, sender)).abort_handle();
        Ok(Socket { path, requests, task })
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

async fn accept(listener: UnixListener, sender: mpsc::Sender<Request>) {
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
        let sender = sender.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, serve(stream, sender)).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => tracing::debug!("agent socket: {failure}"),
                Err(_) => tracing::debug!("agent socket: a client took too long"),
            }
        });
    }
}

async fn serve(
    stream: tokio::net::UnixStream,
    sender: mpsc::Sender<Request>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Question>(&line) {
        Ok(question) => {
            let (answer, reply) = oneshot::channel();
            let request = Request { topic: question.get, answer };
            sender.send(request).await.map_err(std::io::Error::other)?;
            reply.await.map_err(std::io::Error::other)?
        }
        Err(why) => serde_json::json!({"error": format!("not a question: {why}")}).to_string(),
    };
    writer.write_all(reply.as_bytes()).await?;
    writer.write_all(b"\n").await?;
    writer.shutdown().await
}

/// Asks the agent behind `folder`.
pub fn ask(folder: &Path, topic: Topic) -> std::io::Result<String> {
    let mut stream = with_short_name(folder, |name| UnixStream::connect(name))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = serde_json::to_string(&Question { get: topic })?;
    stream.write_all(format!("{question}\n").as_bytes())?;
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_is_answered_also_in_a_folder_with_a_very_long_name() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("x".repeat(200));
        std::fs::create_dir(&folder).unwrap();
        let mut socket = Socket::listen(&folder).unwrap();
        let client = tokio::task::spawn_blocking(move || ask(&folder, Topic::Status));
        let request = socket.requests.recv().await.unwrap();
        request.answer.send("{\"v\":1}".to_owned()).unwrap();
        assert_eq!(client.await.unwrap().unwrap(), "{\"v\":1}\n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nonsense_is_answered_with_an_error_and_hurts_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::listen(folder.path()).unwrap();
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
}
