//! Running a command in a container: its output joined inside, or with a terminal.

use std::pin::Pin;

use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWrite;

use super::{Answer, Backend, Engine, EngineError};

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
    /// Runs a command on this very terminal where nodes are plain processes; nothing where
    /// [`Engine::terminal`] is for that.
    pub(crate) async fn interact(&self, id: &str, request: &ExecRequest) -> Option<Answer<i64>> {
        match &self.backend {
            Backend::Docker(_) => None,
            Backend::Local(local) => Some(local.interact(id, request).await),
        }
    }

    /// Starts a command with a terminal in a running container.
    pub(crate) async fn terminal(&self, id: &str, request: ExecRequest) -> Answer<Terminal> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => return Err(no_terminal()),
        };
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(true),
            cmd: Some(request.argv),
            env: Some(request.env),
            ..Default::default()
        };
        let exec = docker.create_exec(id, options).await?.id;
        let start = StartExecOptions { tty: true, ..Default::default() };
        match docker.start_exec(&exec, Some(start)).await? {
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
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => return Err(no_terminal()),
        };
        Ok(docker.resize_exec(exec, ResizeExecOptions { height, width }).await?)
    }

    /// The exit code of a terminal's command that has ended.
    pub(crate) async fn ended_terminal(&self, exec: &str) -> Answer<i64> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => return Err(no_terminal()),
        };
        let seen = docker.inspect_exec(exec).await?;
        seen.exit_code.ok_or_else(|| EngineError::other("the engine gave no exit code"))
    }

    /// Runs a command in a running container; gives its exit code and what it wrote. Both streams
    /// arrive, in no particular order to each other: join them inside.
    pub(crate) async fn exec(&self, id: &str, request: ExecRequest) -> Answer<(i64, Vec<u8>)> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.exec(id, request).await,
        };
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(request.argv),
            env: Some(request.env),
            ..Default::default()
        };
        let made = docker.create_exec(id, options).await?;
        let mut bytes = Vec::new();
        match docker.start_exec(&made.id, None::<StartExecOptions>).await? {
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
        let seen = docker.inspect_exec(&made.id).await?;
        let code =
            seen.exit_code.ok_or_else(|| EngineError::other("the engine gave no exit code"))?;
        Ok((code, bytes))
    }
}

fn no_terminal() -> EngineError {
    EngineError::other("a plain process has the terminal that it was started on")
}
