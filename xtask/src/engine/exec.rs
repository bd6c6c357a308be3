//! Running a command in a container: its output joined inside, or with a terminal.

use std::pin::Pin;

use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWrite;

use super::{Answer, Engine, EngineError};

/// Most output that is kept of one command; what comes after it is dropped, so that `yes` cannot
/// eat the memory.
const OUTPUT_LIMIT: usize = 8 * 1024 * 1024;

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExecRequest {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
}

/// A command that runs with a terminal of its own in a container.
pub(crate) struct Terminal {
    /// For [`Engine::resize_terminal`] and [`Engine::ended_terminal`].
    pub(crate) exec: String,
    /// What it shows.
    pub(crate) shown: Pin<Box<dyn Stream<Item = Answer<Vec<u8>>> + Send>>,
    /// What is typed.
    pub(crate) typed: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Engine {
    /// Starts a command with a terminal in a running container.
    pub(crate) async fn terminal(&self, id: &str, request: ExecRequest) -> Answer<Terminal> {
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(true),
            cmd: Some(request.argv),
            env: Some(request.env),
            ..Default::default()
        };
        let exec = self.docker.create_exec(id, options).await?.id;
        let start = StartExecOptions { tty: true, ..Default::default() };
        match self.docker.start_exec(&exec, Some(start)).await? {
            StartExecResults::Attached { output, input } => {
                let shown = output.map(|piece| Ok(piece?.into_bytes().to_vec()));
                Ok(Terminal { exec, shown: Box::pin(shown), typed: input })
            }
            StartExecResults::Detached => {
                Err(EngineError::other("the engine detached the command"))
            }
        }
    }

    /// Tells a terminal its width and height.
    pub(crate) async fn resize_terminal(
        &self,
        exec: &str,
        (width, height): (u16, u16),
    ) -> Answer<()> {
        Ok(self.docker.resize_exec(exec, ResizeExecOptions { height, width }).await?)
    }

    /// The exit code of a terminal's command that has ended.
    pub(crate) async fn ended_terminal(&self, exec: &str) -> Answer<i64> {
        let seen = self.docker.inspect_exec(exec).await?;
        seen.exit_code.ok_or_else(|| EngineError::other("the engine gave no exit code"))
    }

    /// Runs a command in a running container; gives its exit code and what it wrote. Both streams
    /// arrive, in no particular order to each other: join them inside.
    pub(crate) async fn exec(&self, id: &str, request: ExecRequest) -> Answer<(i64, Vec<u8>)> {
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(request.argv),
            env: Some(request.env),
            ..Default::default()
        };
        let made = self.docker.create_exec(id, options).await?;
        let mut bytes = Vec::new();
        match self.docker.start_exec(&made.id, None::<StartExecOptions>).await? {
            StartExecResults::Attached { mut output, input: _input } => {
                while let Some(piece) = output.next().await {
                    let piece = piece?.into_bytes();
                    let room = OUTPUT_LIMIT.saturating_sub(bytes.len());
                    bytes.extend_from_slice(&piece[..piece.len().min(room)]);
                }
            }
            StartExecResults::Detached => {
                return Err(EngineError::other("the engine detached the command"));
            }
        }
        let seen = self.docker.inspect_exec(&made.id).await?;
        let code =
            seen.exit_code.ok_or_else(|| EngineError::other("the engine gave no exit code"))?;
        Ok((code, bytes))
    }
}
