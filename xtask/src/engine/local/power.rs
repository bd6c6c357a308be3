//! Starting, stopping, killing and freezing the processes of a node.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::supervise::VERB;
use super::{Local, Node, gone, process, read};
use crate::engine::objects::{Ended, Power};
use crate::engine::{Answer, EngineError, State, Trouble};
use crate::paths;

/// How long a node may take to end the soft way, as with an engine.
const SOFT: Duration = Duration::from_secs(10);
/// How often is looked whether processes have ended that are nobody's children here: the system
/// tells only a parent.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The exit code of what was killed.
const KILLED: i64 = 137;

impl Local {
    /// Starts, stops, kills or freezes a node.
    pub(crate) async fn power(&self, id: &str, power: Power) -> Answer<()> {
        let node = self.node(id);
        node.made()?;
        match power {
            Power::Start => node.start(),
            Power::Kill => {
                node.needs(&[State::Running, State::Paused])?;
                node.kill().await
            }
            Power::Stop => node.stop().await,
            Power::Restart => {
                node.stop().await?;
                node.start()
            }
            Power::Pause => {
                node.needs(&[State::Running])?;
                node.all(Signal::SIGSTOP);
                Ok(())
            }
            Power::Unpause => {
                node.needs(&[State::Paused])?;
                node.all(Signal::SIGCONT);
                Ok(())
            }
        }
    }

    /// Sends SIGINT to a node's main process and waits until it has ended.
    pub(crate) async fn interrupt(&self, id: &str) -> Answer<()> {
        let node = self.node(id);
        node.needs(&[State::Running])?;
        node.main(Signal::SIGINT);
        node.ended_within(Duration::MAX).await;
        Ok(())
    }

    /// How a node that does not run has ended; nothing when it runs.
    pub(crate) fn ended(&self, id: &str) -> Answer<Option<Ended>> {
        let node = self.node(id);
        node.made()?;
        if matches!(node.state(), State::Running | State::Paused) {
            return Ok(None);
        }
        let code = fs::read_to_string(node.folder.join("exit")).ok();
        let code = code.and_then(|text| text.trim().parse().ok()).unwrap_or(KILLED);
        Ok(Some(Ended { code, out_of_memory: false }))
    }
}

impl Node {
    /// The process that looks after it, if that is alive.
    pub(super) fn supervisor(&self) -> Option<(u32, process::Seen)> {
        let (pid, started) = read::<(u32, u64)>(&self.folder.join("pid")).ok().flatten()?;
        let seen = process::look(pid)?;
        (seen.started == started && seen.state != 'Z').then_some((pid, seen))
    }

    pub(super) fn state(&self) -> State {
        match self.supervisor() {
            Some((_, seen)) if seen.state == 'T' => State::Paused,
            Some(_) => State::Running,
            None if self.folder.join("pid").exists() => State::Exited,
            None => State::Created,
        }
    }

    pub(super) fn needs(&self, states: &[State]) -> Answer<()> {
        let state = self.state();
        if states.contains(&state) {
            return Ok(());
        }
        let word = match state {
            State::Running => "it runs",
            State::Paused => "it is paused",
            _ => "it does not run",
        };
        Err(EngineError { trouble: Trouble::Conflict, message: word.to_owned() })
    }

    fn start(&self) -> Answer<()> {
        if matches!(self.state(), State::Running | State::Paused) {
            return Ok(());
        }
        gone(fs::remove_file(self.folder.join("exit")))?;
        let program = paths::program().map_err(|e| EngineError::other(e.to_string()))?;
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut command = tokio::process::Command::new(program);
        command.arg(VERB).arg(&self.folder).process_group(0).kill_on_drop(false);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.env(process::MARK, &self.folder);
        let child = command.spawn()?;
        let seen = child.id().and_then(|pid| Some((pid, process::look(pid)?.started)));
        let seen = seen.ok_or_else(|| EngineError::other("it ended at once"))?;
        let text = serde_json::to_vec(&seen).map_err(|e| EngineError::other(e.to_string()))?;
        Ok(fs::write(self.folder.join("pid"), text)?)
    }

    async fn stop(&self) -> Answer<()> {
        if !matches!(self.state(), State::Running | State::Paused) {
            return Ok(());
        }
        self.main(Signal::SIGTERM);
        // A frozen one has to wake up to hear it.
        self.all(Signal::SIGCONT);
        match self.ended_within(SOFT).await {
            true => Ok(()),
            false => self.kill().await,
        }
    }

    pub(super) async fn kill(&self) -> Answer<()> {
        let ran = matches!(self.state(), State::Running | State::Paused);
        loop {
            // Again, since one may have started another meanwhile.
            let all = process::of(&self.folder.to_string_lossy());
            if all.is_empty() {
                break;
            }
            all.iter().for_each(|pid| process::signal(*pid, Signal::SIGKILL));
            sleep(LOOK_AGAIN).await;
        }
        if ran {
            fs::write(self.folder.join("exit"), KILLED.to_string())?;
        }
        Ok(())
    }

    /// A signal for the process that looks after it, which hands it on.
    fn main(&self, signal: Signal) {
        if let Some((pid, _)) = self.supervisor() {
            process::signal(pid, signal);
        }
    }

    fn all(&self, signal: Signal) {
        let all = process::of(&self.folder.to_string_lossy());
        all.iter().for_each(|pid| process::signal(*pid, signal));
    }

    /// Whether it ends within this time; no process of it is left then.
    async fn ended_within(&self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.supervisor().is_some() {
            if start.elapsed() >= limit {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
        true
    }
}
