//! Waiting for what was asked for: the agent says when something changed, and only then it is
//! asked how things are.
//!
//! Refuses to ask again and again, and to wait beyond its time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{End, ask_in};
use crate::agent::socket::{self, Topic};
use crate::agent::{EXIT_TIME, tell};
use crate::cluster::report::Report;
use crate::cluster::request::{Answer, Request};
use crate::ident::counted;

/// How a wait ended.
pub(super) enum Waited {
    /// It is as wanted.
    Reached,
    /// The agent that was asked has ended.
    AgentEnded,
}

/// Waits until a report of the agent in `folder` is as wanted. What is under way is told on
/// standard error when `progress` is wanted.
pub(super) fn until(
    folder: &Path,
    timeout: Duration,
    progress: bool,
    wanted: impl Fn(&Report) -> bool,
) -> Result<Waited, End> {
    let deadline = Instant::now() + timeout;
    let Ok(mut stream) = socket::connect(folder) else { return Ok(Waited::AgentEnded) };
    let asked = stream.write_all(socket::question(Topic::Status, true).as_bytes());
    asked.map_err(|why| End::failed(why.to_string()))?;
    let mut lines = BufReader::new(stream);
    let mut said = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late(timeout));
        }
        let limited = lines.get_ref().set_read_timeout(Some(left));
        limited.map_err(|why| End::failed(why.to_string()))?;
        match lines.skip_until(b'\n') {
            Ok(0) => return Ok(Waited::AgentEnded),
            Ok(_) => {}
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => return Err(late(timeout)),
            Err(_) => return Ok(Waited::AgentEnded),
        }
        let Ok(Answer::Status(report)) = ask_in(folder, &Request::Status) else { continue };
        if wanted(&report) {
            return Ok(Waited::Reached);
        }
        let now = under_way(&report);
        if progress && now != said {
            tell(format_args!("{now}\n"));
            said = now;
        }
    }
}

fn under_way(report: &Report) -> String {
    let Some(cluster) = &report.cluster else { return "no cluster is seen".to_owned() };
    let state = format!("{} of {} up", cluster.up, counted(cluster.voters, "voter"));
    match &cluster.pending {
        Some(ticket) => format!("{state}; {} {}: {}", ticket.kind.doing(), ticket.host, ticket.why),
        None => state,
    }
}

fn late(timeout: Duration) -> End {
    End {
        code: EXIT_TIME,
        sentence: format!(
            "not reached within {} s; it goes on by itself: see `quorate cluster status`",
            timeout.as_secs()
        ),
    }
}
