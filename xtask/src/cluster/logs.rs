//! Logs of several nodes in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{look, name};
use crate::engine::{Answer, Engine, LogLine};

/// How long a line waits for an older one of another node when following.
const WINDOW: Duration = Duration::from_millis(250);
/// Lines on their way from the nodes to the screen; a slow screen slows the reading down.
const IN_FLIGHT: usize = 1024;
/// A colour for each node, the same in each run.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Which lines are wanted, and how.
pub(crate) struct What<'a> {
    /// Of these nodes; of all when empty.
    pub(crate) nodes: &'a [String],
    /// Go on as they write.
    pub(crate) follow: bool,
    /// Not older than this.
    pub(crate) since: Option<Duration>,
    /// That this finds something in.
    pub(crate) only: Option<&'a regex::Regex>,
    /// With the engine's stamp of each line.
    pub(crate) utc: bool,
}

/// `cluster logs`.
pub(crate) async fn logs(
    engine: &Engine,
    cluster: &str,
    what: &What<'_>,
) -> anyhow::Result<ExitCode> {
    let nodes = look::nodes(engine, cluster, what.nodes).await?;
    let follow = what.follow;
    let since = what.since.map_or(0, |age| super::process::now().saturating_sub(age.as_secs()));
    let since = i32::try_from(since).unwrap_or(i32::MAX);
    let width = nodes.iter().map(|(node, _)| node.len()).max().unwrap_or(0);
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    for (node, container) in nodes {
        let (engine, sender) = (engine.clone(), sender.clone());
        tokio::spawn(async move {
            let mut lines = std::pin::pin!(engine.logs(&container.id, follow, since));
            while let Some(Ok(line)) = lines.next().await {
                if sender.send((line, node.clone())).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let window = if follow { WINDOW } else { Duration::MAX };
    let told = merge(receiver, window, &mut |stamp, node, text| {
        if what.only.is_some_and(|only| !only.is_match(text)) {
            return Ok(());
        }
        let stamp = if what.utc { format!("{} ", whole(stamp)) } else { String::new() };
        writeln!(std::io::stdout(), "{stamp}{}", line(node, text, width, colour))
    })
    .await;
    match told {
        // That nobody reads any more is an end like ctrl-c.
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => Err(why.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Everything that a node has logged so far.
pub(crate) async fn all(engine: &Engine, id: &str) -> Answer<Vec<LogLine>> {
    let mut lines = std::pin::pin!(engine.logs(id, false, 0));
    let mut all = Vec::new();
    while let Some(line) = lines.next().await {
        all.push(line?);
    }
    Ok(all)
}

/// Prints lines in the order of their stamps: each once it has waited for the window, or once there
/// are no more.
async fn merge(
    mut lines: mpsc::Receiver<(LogLine, String)>,
    window: Duration,
    print: &mut impl FnMut(&str, &str, &str) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut waiting = BinaryHeap::new();
    let mut arrived: u64 = 0;
    let mut due: Option<Instant> = None;
    loop {
        let wake = due;
        let next = async move {
            match wake {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = lines.recv() => {
                let Some((line, node)) = line else { break };
                let until = Instant::now().checked_add(window);
                due = due.or(until);
                arrived += 1;
                waiting.push(Reverse((line.stamp, arrived, node, line.text, until)));
            }
            () = next => {
                let now = Instant::now();
                while let Some(Reverse((_, _, _, _, Some(until)))) = waiting.peek() {
                    if *until > now { break }
                    let Some(Reverse((stamp, _, node, text, _))) = waiting.pop() else { break };
                    print(&stamp, &node, &text)?;
                }
                due = waiting.peek().and_then(|Reverse((_, _, _, _, until))| *until);
            }
        }
    }
    while let Some(Reverse((stamp, _, node, text, _))) = waiting.pop() {
        print(&stamp, &node, &text)?;
    }
    Ok(())
}

/// A stamp with milliseconds: the engine's has as many digits as the moment happened to need, and
/// columns would not align.
fn whole(stamp: &str) -> String {
    let (seconds, fraction) = stamp.trim_end_matches('Z').split_once('.').unwrap_or((stamp, ""));
    let fraction: String = fraction.chars().take(3).collect();
    format!("{}.{fraction:0<3}Z", seconds.trim_end_matches('Z'))
}

fn line(node: &str, text: &str, width: usize, colour: bool) -> String {
    if !colour {
        return format!("{node:<width$} | {text}");
    }
    let number = usize::from(name::number(node).unwrap_or(1));
    format!("\u{1b}[{}m{node:<width$} |\u{1b}[0m {text}", COLOURS[(number - 1) % COLOURS.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_of_several_nodes_come_in_the_order_of_their_stamps() {
        let (sender, receiver) = mpsc::channel(8);
        for (stamp, node) in [("3", "h1"), ("1", "h2"), ("2", "h1"), ("2", "h3")] {
            let line = LogLine { stamp: stamp.to_owned(), text: stamp.to_owned() };
            sender.send((line, node.to_owned())).await.unwrap();
        }
        drop(sender);
        let mut seen = Vec::new();
        merge(receiver, Duration::MAX, &mut |stamp, node, text| {
            assert_eq!(stamp, text);
            seen.push(format!("{node}:{text}"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(seen, ["h2:1", "h1:2", "h3:2", "h1:3"]);
    }

    #[test]
    fn stamps_have_milliseconds_however_many_digits_the_engine_gives() {
        for (given, wanted) in [
            ("2026-11-22T23:13:35.123456789Z", "2026-11-22T23:13:35.123Z"),
            ("2026-11-22T23:13:35.1Z", "2026-11-22T23:13:35.100Z"),
            ("2026-11-22T23:13:35Z", "2026-11-22T23:13:35.000Z"),
            ("", ".000Z"),
        ] {
            assert_eq!(whole(given), wanted);
        }
    }

    #[test]
    fn a_nodes_colour_depends_on_its_number_alone_and_is_left_out_when_piped() {
        assert_eq!(line("h1", "x", 3, false), "h1  | x");
        assert_eq!(line("h1", "x", 2, true), line("h7", "x", 2, true).replace("h7", "h1"));
    }
}
