//! What a local node's main process wrote, with the stamps of the process that looks after it.

use std::fs;
use std::pin::Pin;
use std::process::Stdio;

use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::Local;
use crate::engine::logs::line;
use crate::engine::{Answer, LogLine, State};

impl Local {
    /// The log's lines not older than `since`, in seconds of Unix time; with `follow`, on until the
    /// node ends.
    pub(crate) fn logs(
        &self,
        id: &str,
        follow: bool,
        since: i32,
    ) -> Pin<Box<dyn Stream<Item = Answer<LogLine>> + Send>> {
        let node = self.node(id);
        let log = node.folder.join("log");
        let since = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(u64::try_from(since).unwrap_or_default());
        let since = humantime::format_rfc3339_seconds(since).to_string();
        let wanted = move |line: &LogLine| line.stamp.as_str() >= since.trim_end_matches('Z');
        let old = fs::read(log.with_extension("old")).unwrap_or_default();
        if !follow || node.state() != State::Running {
            let text = [old, fs::read(log).unwrap_or_default()].concat();
            return Box::pin(stream::iter(split(&text).into_iter().filter(wanted).map(Ok)));
        }
        // It is woken by the system when the file grows, and knows how to follow its name.
        let mut command = Command::new("tail");
        command.args(["-n", "+1", "-F"]).arg(log).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some((pid, _)) = node.supervisor() {
            command.arg(format!("--pid={pid}"));
        }
        let mut child = match command.kill_on_drop(true).spawn() {
            Ok(child) => child,
            Err(failure) => return Box::pin(stream::iter([Err(failure.into())])),
        };
        let Some(out) = child.stdout.take() else { return Box::pin(stream::empty()) };
        let lines = BufReader::new(out).lines();
        let new = stream::unfold((lines, child), |(mut lines, child)| async move {
            match lines.next_line().await {
                Ok(Some(text)) => Some((Ok(line(text.as_bytes())), (lines, child))),
                Ok(None) => None,
                Err(failure) => Some((Err(failure.into()), (lines, child))),
            }
        });
        let all = stream::iter(split(&old).into_iter().map(Ok)).chain(new);
        Box::pin(all.filter(move |line: &Answer<LogLine>| {
            let keep = line.as_ref().map_or(true, &wanted);
            async move { keep }
        }))
    }
}

fn split(text: &[u8]) -> Vec<LogLine> {
    let lines = text.split(|byte| *byte == b'\n').filter(|one| !one.is_empty());
    lines.map(line).collect()
}
