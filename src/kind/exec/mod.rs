//! The kind `exec`: runs a command when its guards allow it. Without a guard it runs each time
//! something made it worth checking: at the start, by an event, and when a notifying edge refreshes
//! it.
//!
//! It watches `creates`, `mtimes`, `watchfiles`, and what `watchcmd` prints. Refuses to guess
//! quoting: without a shell the command is split at white space, or given with `args` as it is.

mod fields;
mod guard;
mod stamp;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::process::{self, Ended, Limits, Line, OUTPUT_MAX};
use super::replace::{blocking, state_file};
use super::{Context, FieldDef, FieldError, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::{Fields, Value};
use guard::{Equals, Times, allows, allows_not, is_newer};

/// The kind `exec`.
#[derive(Debug)]
pub(super) struct ExecKind;

impl Kind for ExecKind {
    fn name(&self) -> &'static str {
        "exec"
    }

    fn fields(&self) -> &'static [FieldDef] {
        fields::FIELDS
    }

    fn sends(&self) -> &'static [FieldDef] {
        fields::SENDS
    }

    fn power(&self) -> Power {
        Power::Powerful
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        Ok(Arc::new(fields::build(id, fields)?))
    }

    fn build_received(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut exec = fields::build(id, fields)?;
        let others = [&mut exec.guard, &mut exec.nif, &mut exec.after, &mut exec.watch];
        others.into_iter().flatten().chain([&mut exec.command]).for_each(|line| line.terse = true);
        Ok(Arc::new(exec))
    }
}

/// What is sent while a guard keeps the command from running, as long as it has not run.
#[derive(Debug, Default)]
struct Fallback {
    output: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
}

#[derive(Debug)]
struct Exec {
    id: ResourceId,
    command: Line,
    limits: Limits,
    refresh_only: bool,
    guard: Option<Line>,
    equals: Equals,
    nif: Option<Line>,
    creates: Option<PathBuf>,
    mtimes: Vec<PathBuf>,
    after: Option<Line>,
    watch: Option<Line>,
    watch_files: Vec<PathBuf>,
    fallback: Fallback,
    /// The command ran since the agent started: what it printed was sent, and stays.
    ran: AtomicBool,
}

impl Exec {
    async fn start(&self, line: &Line, cx: &Context) -> Result<Ended, String> {
        process::run(line, self.limits, &cx.cancel).await
    }

    async fn start_guard(&self, line: &Line, cx: &Context) -> Result<Ended, String> {
        self.start(line, cx).await.map_err(|why| format!("guard: {why}"))
    }

    /// Whether the guards let the command run. `times` are those of `mtimes`.
    async fn allowed(&self, cx: &Context, times: &Times) -> Result<bool, String> {
        if self.refresh_only && !cx.refresh {
            return Ok(false);
        }
        if !self.mtimes.is_empty() {
            let last = on_note(cx, &self.id, |note| stamp::load(&note)).await?;
            if is_newer(times, &last) {
                return Ok(true);
            }
            // Alone they are the guard; beside others they only overrule them.
            let alone = self.creates.is_none() && self.guard.is_none() && self.nif.is_none();
            if alone && !cx.refresh {
                return Ok(false);
            }
        }
        if self.is_created().await? {
            return Ok(false);
        }
        if let Some(guard) = &self.guard
            && !allows(guard, &self.start_guard(guard, cx).await?, &self.equals)?
        {
            return Ok(false);
        }
        match &self.nif {
            Some(guard) => allows_not(guard, &self.start_guard(guard, cx).await?),
            None => Ok(true),
        }
    }

    async fn is_created(&self) -> Result<bool, String> {
        let Some(path) = &self.creates else { return Ok(false) };
        // A link that points nowhere is there, too.
        match tokio::fs::symlink_metadata(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(format!("cannot look for {} (creates): {error}", path.display())),
        }
    }

    /// The times of `mtimes`.
    async fn times(&self) -> Result<Times, String> {
        if self.mtimes.is_empty() {
            return Ok(Times::new());
        }
        let paths = self.mtimes.clone();
        blocking(move || stamp::look(&paths)).await
    }

    fn would_run(&self) -> Outcome {
        Outcome::WouldChange(format!("`{}` run", self.command))
    }

    /// The command, what follows it, and the note of its time.
    async fn perform(&self, cx: &Context, times: Times) -> Result<Ended, String> {
        let ended = self.start(&self.command, cx).await?;
        if ended.code != Some(0) {
            return Err(ended.describe(&self.command));
        }
        if let Some(after) = &self.after {
            let done = self.start(after, cx).await.map_err(|why| format!("done: {why}"))?;
            if done.code != Some(0) {
                return Err(format!("done: {}", done.describe(after)));
            }
        }
        if !times.is_empty() {
            on_note(cx, &self.id, move |note| stamp::save(&note, &times)).await?;
        }
        Ok(ended)
    }

    fn send_fallback(&self, cx: &Context) {
        if self.ran.load(Ordering::Relaxed) {
            return;
        }
        let Fallback { output, stdout, stderr } = &self.fallback;
        for (key, value) in [("output", output), ("stdout", stdout), ("stderr", stderr)] {
            value.iter().for_each(|value| cx.outbox.put(key, Value::Str(value.clone())));
        }
    }

    fn send(&self, ended: &Ended, cx: &Context) {
        self.ran.store(true, Ordering::Relaxed);
        let printed =
            [("output", &ended.output), ("stdout", &ended.stdout), ("stderr", &ended.stderr)];
        for (key, head) in printed {
            match head.text() {
                Some(text) => cx.outbox.put(key, Value::Str(text.to_owned())),
                // Nobody may take a part for the whole.
                None => tracing::debug!(
                    "{}: `{key}` is not sent: it is no text of at most {OUTPUT_MAX} bytes",
                    self.id
                ),
            }
        }
    }
}

/// Work on this resource's note, on the pool for it.
async fn on_note<T: Send + 'static>(
    cx: &Context,
    id: &ResourceId,
    work: impl FnOnce(PathBuf) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let note = state_file(&cx.state_dir, id);
    blocking(move || work(note)).await
}

#[async_trait]
impl Resource for Exec {
    fn watches(&self) -> Vec<Watch> {
        let path = |path: &PathBuf, children| Watch::Path { path: path.as_path().into(), children };
        let alone = self.creates.iter().chain(&self.mtimes).map(|one| path(one, false));
        let files = self.watch_files.iter().map(|one| path(one, true));
        alone.chain(files).chain(self.watch.clone().map(Watch::Command)).collect()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        let times = match self.times().await {
            // What makes the files may not be allowed to change anything either.
            Err(_) if !cx.apply => return Ok(self.would_run()),
            times => times?,
        };
        if !self.allowed(cx, &times).await? {
            self.send_fallback(cx);
            return Ok(Outcome::Unchanged);
        }
        if !cx.apply {
            self.send_fallback(cx);
            return Ok(self.would_run());
        }
        let ended = self.perform(cx, times).await?;
        self.send(&ended, cx);
        Ok(Outcome::Changed(format!("`{}` run", self.command)))
    }
}

#[cfg(test)]
mod tests;
