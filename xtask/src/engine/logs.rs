//! What a container's main process wrote, with the engine's time stamps.

use std::pin::Pin;

use bollard::query_parameters as query;
use futures_util::{Stream, StreamExt, stream};

use super::{Answer, Backend, Engine, EngineError};

/// A line of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// When the engine read it: RFC 3339 in UTC with nanoseconds, so that text order is time order.
    pub(crate) stamp: String,
    /// The line without its end.
    pub(crate) text: String,
}

impl Engine {
    /// The log's lines, of both streams; with `follow`, on until the container ends. `since` is
    /// Unix time in seconds, 0 for all.
    pub(crate) fn logs(
        &self,
        id: &str,
        follow: bool,
        since: i32,
    ) -> Pin<Box<dyn Stream<Item = Answer<LogLine>> + Send>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker.clone(),
            Backend::Local(local) => return local.logs(id, follow, since),
        };
        let options = query::LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(follow)
            .since(since)
            .build();
        let id = id.to_owned();
        let pieces = stream::once(async move { docker.logs(&id, Some(options)).boxed() });
        Box::pin(
            pieces.flatten().map(|piece| {
                piece.map(|bytes| line(&bytes.into_bytes())).map_err(EngineError::from)
            }),
        )
    }
}

pub(super) fn line(bytes: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    match text.split_once(' ') {
        Some((stamp, rest)) => LogLine { stamp: stamp.to_owned(), text: rest.to_owned() },
        None => LogLine { stamp: text.to_owned(), text: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_log_line_is_split_from_its_time_stamp() {
        for (raw, stamp, text) in [
            ("2026-11-22T13:00:00.1Z agent started\n", "2026-11-22T13:00:00.1Z", "agent started"),
            ("2026-11-22T13:00:00.1Z \n", "2026-11-22T13:00:00.1Z", ""),
            ("2026-11-22T13:00:00.1Z   indented\r\n", "2026-11-22T13:00:00.1Z", "  indented"),
        ] {
            let seen = line(raw.as_bytes());
            assert_eq!((seen.stamp.as_str(), seen.text.as_str()), (stamp, text));
        }
    }
}
