//! Commands in a local node: in its folder, with its programs and its agent's folders.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::supervise::{code, scrub};
use super::{Local, Node};
use crate::engine::{Answer, EngineError, ExecRequest, State};

/// As much as an engine keeps of one command.
const OUTPUT_LIMIT: u64 = 8 * 1024 * 1024;

impl Local {
    /// Runs a command in a running node; gives its exit code and what it wrote.
    pub(crate) async fn exec(&self, id: &str, request: ExecRequest) -> Answer<(i64, Vec<u8>)> {
        let mut command = self.node(id).command(&request)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let out = child.stdout.take().ok_or_else(|| EngineError::other("no output"))?;
        let err = child.stderr.take().ok_or_else(|| EngineError::other("no output"))?;
        let (mut out, err, status) = tokio::try_join!(all(out), all(err), child.wait())?;
        out.extend(err);
        Ok((code(status), out))
    }

    /// Runs a command in a running node on this very terminal; gives its exit code.
    pub(crate) async fn interact(&self, id: &str, request: &ExecRequest) -> Answer<i64> {
        Ok(code(self.node(id).command(request)?.status().await?))
    }
}

impl Node {
    fn command(&self, request: &ExecRequest) -> Answer<Command> {
        let made = self.made()?;
        self.needs(&[State::Running])?;
        let programs = self.programs(&made);
        let words: Vec<String> =
            request.argv.iter().map(|word| self.mapped(word, &programs)).collect();
        let Some((program, arguments)) = words.split_first() else {
            return Err(EngineError::other("there is no command"));
        };
        let mut command = Command::new(program);
        scrub(&mut command);
        command.args(arguments).envs(self.environment(&made)).current_dir(self.disk());
        command.envs(request.env.iter().filter_map(|pair| pair.split_once('=')));
        Ok(command)
    }
}

/// Everything up to the limit; what comes after it is read and dropped, so that nobody waits.
async fn all(mut from: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut from).take(OUTPUT_LIMIT).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}
