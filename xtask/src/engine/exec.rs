//! Running a command in a container, its output joined inside.

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;

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

impl Engine {
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
