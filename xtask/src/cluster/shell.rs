//! `cluster shell`: a node's shell on this terminal.
//!
//! Refuses to run without a terminal: `cluster exec` is for that. Everything typed goes to the
//! node, ctrl-c as well; the shell's own end ends it.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use futures_util::StreamExt;
use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::look;
use crate::engine::{Engine, ExecRequest, Terminal};
use crate::paths::Exit;

/// Pieces of typed text on their way to the node; a slow node slows the reading down.
const TYPED: usize = 64;

/// This terminal, which shows what it is sent as it is; put back when dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn new() -> anyhow::Result<Raw> {
        let before = termios::tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before) {
            eprintln!("the terminal cannot be put back: {error}; type: reset");
        }
    }
}

/// `cluster shell`; exits as the shell does.
///
/// # Errors
/// No terminal, no such node, a node that does not run, or an engine that fails.
pub(crate) async fn shell(
    engine: &Engine,
    cluster: &str,
    node: &str,
    command: &[String],
) -> anyhow::Result<ExitCode> {
    let nodes = look::nodes(engine, cluster, &[node.to_owned()]).await?;
    let [(host, container)] = nodes.as_slice() else {
        return Err(Exit::error(Exit::USAGE, "a shell is in one node"));
    };
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let text = format!(
            "a shell needs a terminal. Without one: cargo xtask cluster exec {host} -- CMD"
        );
        return Err(Exit::error(Exit::USAGE, text));
    }
    let shell = || vec!["/bin/sh".to_owned()];
    let request = ExecRequest {
        argv: if command.is_empty() { shell() } else { command.to_vec() },
        env: vec![
            format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned())),
            format!("PS1={host}:\\w# "),
        ],
    };
    if let Some(done) = engine.interact(&container.id, &request).await {
        return Ok(ExitCode::from(u8::try_from(done?).unwrap_or(Exit::FAILED)));
    }
    let terminal = engine.terminal(&container.id, request).await?;
    let exec = terminal.exec.clone();
    let raw = Raw::new()?;
    let talked = talk(engine, terminal).await;
    drop(raw);
    talked?;
    let code = engine.ended_terminal(&exec).await?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(Exit::FAILED)))
}

/// Carries what is typed and what is shown until the command ends.
async fn talk(engine: &Engine, mut terminal: Terminal) -> anyhow::Result<()> {
    let mut typed = keyboard();
    let mut resized = signal(SignalKind::window_change())?;
    resize(engine, &terminal.exec).await;
    loop {
        tokio::select! {
            piece = terminal.shown.next() => {
                let Some(piece) = piece else { return Ok(()) };
                let mut screen = std::io::stdout();
                screen.write_all(&piece?)?;
                screen.flush()?;
            }
            Some(piece) = typed.recv() => {
                // A shell that has just ended takes nothing more; its end is seen next.
                if terminal.typed.write_all(&piece).await.is_ok() {
                    terminal.typed.flush().await.ok();
                }
            }
            _ = resized.recv() => resize(engine, &terminal.exec).await,
        }
    }
}

/// A terminal that does not know its size still works.
async fn resize(engine: &Engine, exec: &str) {
    if let Some((width, height)) = terminal_size::terminal_size() {
        engine.resize_terminal(exec, (width.0, height.0)).await.ok();
    }
}

/// What is typed, read by a thread that nobody waits for: a read of a terminal cannot be given up.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (sender, typed) = mpsc::channel(TYPED);
    std::thread::spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut piece) {
            if sender.blocking_send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}
