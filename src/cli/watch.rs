//! `quorate status --watch`: what the agent pushes, shown as it comes.
//!
//! Refuses to ask again and again: the agent says when something changed.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::listing::now_ms;
use super::status::View;
use crate::agent::socket::{self, Topic};
use crate::agent::tell;

/// The longest line that is read, in bytes: some hundred thousand resources.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// How often ages on a terminal are shown anew; the agent is not asked for that.
const AGES: Duration = Duration::from_secs(1);
/// The height of a terminal that does not tell.
const ROWS: u16 = 24;

/// Shows statuses until ctrl-c (0) or the end of the agent (1).
pub(super) fn run(folder: &Path, view: &View) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let followed = runtime.and_then(|runtime| runtime.block_on(follow(folder, view)));
    match followed {
        Ok(End::Asked) => ExitCode::SUCCESS,
        Ok(End::Agent) => {
            tell("the agent has ended\n");
            ExitCode::from(super::EXIT_FAILED)
        }
        Ok(End::Refused(why)) => {
            super::print_error(why);
            ExitCode::from(super::EXIT_FAILED)
        }
        // That nobody reads the output any more is an end like ctrl-c.
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            super::print_error(format!("the agent in {}: {why}", folder.display()));
            ExitCode::from(super::EXIT_FAILED)
        }
    }
}

/// Why there is nothing more to show.
enum End {
    Asked,
    Agent,
    Refused(String),
}

async fn follow(folder: &Path, view: &View) -> std::io::Result<End> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut lines = Lines::new(ask(folder)?)?;
    let mut screen = Screen::new(view);
    let mut ages = tokio::time::interval(AGES);
    loop {
        tokio::select! {
            line = lines.next() => match line? {
                None => return Ok(End::Agent),
                Some(line) => {
                    if let Some(why) = line.get("error").and_then(Value::as_str) {
                        return Ok(End::Refused(why.to_owned()));
                    }
                    screen.take(line)?;
                }
            },
            _ = interrupt.recv() => return Ok(End::Asked),
            _ = terminate.recv() => return Ok(End::Asked),
            _ = ages.tick(), if screen.has_ages() => screen.draw()?,
        }
    }
}

fn ask(folder: &Path) -> std::io::Result<UnixStream> {
    let mut stream = socket::connect(folder)?;
    stream.write_all(socket::question(Topic::Status, true).as_bytes())?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// The documents that come, one a line. What was read of a line is kept when the waiting is given
/// up.
struct Lines {
    reader: BufReader<tokio::net::UnixStream>,
    line: Vec<u8>,
}

impl Lines {
    fn new(stream: UnixStream) -> std::io::Result<Self> {
        let reader = BufReader::new(tokio::net::UnixStream::from_std(stream)?);
        Ok(Lines { reader, line: Vec::new() })
    }

    async fn next(&mut self) -> std::io::Result<Option<Value>> {
        let left = LINE_BYTES_MAX.saturating_sub(self.line.len() as u64);
        let mut limited = (&mut self.reader).take(left);
        if limited.read_until(b'\n', &mut self.line).await? == 0 || !self.line.ends_with(b"\n") {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line).map(Some).map_err(std::io::Error::other)
    }
}

/// Where statuses go: a terminal is redrawn; elsewhere, lines that were not there before follow.
struct Screen<'a> {
    view: &'a View,
    terminal: bool,
    last: Option<Value>,
    shown: BTreeSet<String>,
}

impl<'a> Screen<'a> {
    fn new(view: &'a View) -> Self {
        let terminal = !view.json && std::io::stdout().is_terminal();
        Screen { view, terminal, last: None, shown: BTreeSet::new() }
    }

    fn has_ages(&self) -> bool {
        self.terminal && self.view.wide
    }

    fn take(&mut self, status: Value) -> std::io::Result<()> {
        self.last = Some(status);
        self.draw()
    }

    fn draw(&mut self) -> std::io::Result<()> {
        let Some(status) = &self.last else { return Ok(()) };
        let text = self.view.show(status, now_ms());
        let out = if self.terminal {
            let rows = terminal_size::terminal_size().map_or(ROWS, |(_, height)| height.0);
            redrawn(&text, usize::from(rows))
        } else if self.view.json {
            text
        } else {
            // Without ages: a line that only grew older is not new.
            fresh(&text, &self.view.show(status, 0), &mut self.shown)
        };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(out.as_bytes())?;
        stdout.flush()
    }
}

/// The lines of `text` whose like was not there before; `keys` are the same lines in a form that
/// only changes when what they say does.
fn fresh(text: &str, keys: &str, shown: &mut BTreeSet<String>) -> String {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys: Vec<String> = keys.lines().map(squeezed).collect();
    let new = text.split_inclusive('\n').zip(&keys);
    let new = new.filter(|(_, key)| !key.is_empty() && !shown.contains(*key));
    let new = new.map(|(line, _)| line).collect();
    *shown = keys.into_iter().collect();
    new
}

/// The text from the upper left corner on, over what was there; what does not fit is counted.
fn redrawn(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    // Without wrapping, so that a long line is one line.
    let mut out = String::from("\x1b[?7l\x1b[H");
    for line in &lines[..shown] {
        out.push_str(line);
        out.push_str("\x1b[K\r\n");
    }
    if lines.len() > shown {
        out.push_str(&format!("... {} more lines\x1b[K\r\n", lines.len() - shown));
    }
    out.push_str("\x1b[J\x1b[?7h");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_never_scrolls_and_says_what_it_leaves_out() {
        assert!(redrawn("a\nb\n", 24).contains("\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J"));
        let cut = redrawn("a\nb\nc\nd\ne\n", 4);
        assert_eq!(cut.matches("\r\n").count(), 3);
        assert!(cut.contains("... 3 more lines"), "{cut:?}");
    }

    #[test]
    fn in_a_pipe_a_line_that_only_grew_older_is_not_said_again() {
        let mut shown = BTreeSet::new();
        assert_eq!(fresh("a 1s\n\nb\n", "a 0s\n\nb\n", &mut shown), "a 1s\nb\n");
        assert_eq!(fresh("a 7s\nc  x\n", "a  0s\nc x\n", &mut shown), "c  x\n");
        assert_eq!(fresh("a 9s\nb\n", "a 0s\nb\n", &mut shown), "b\n", "it is back");
    }
}
