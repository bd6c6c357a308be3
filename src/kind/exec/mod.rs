//! The kind `exec`: runs a command when its guards allow it. Without a guard it runs each time
//! something made it worth checking: at the start, and when a notifying edge refreshes it.
//!
//! Refuses to guess quoting: without a shell the command is split at white space, or given with
//! `args` as it is.

mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fields::{int, list, map, mistake, no_nul, text};
use super::file::clean;
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::Fields;
use process::{Ended, Line};

/// The longest `timeout` in seconds: about 136 years.
const TIMEOUT_MAX: i64 = u32::MAX as i64;

/// The kind `exec`.
#[derive(Debug)]
pub(super) struct ExecKind;

const FIELDS: &[FieldDef] = &[
    FieldDef {
        name: "cmd",
        ty: FieldType::Str,
        doc: "the command, else the name; split at white space unless `args` or `shell` is set",
    },
    FieldDef {
        name: "args",
        ty: FieldType::StrList,
        doc: "arguments as they are; `cmd` is then the program alone",
    },
    FieldDef {
        name: "shell",
        ty: FieldType::Str,
        doc: "runs `cmd` as `SHELL -c CMD`, for instance `/bin/sh`",
    },
    FieldDef { name: "cwd", ty: FieldType::Str, doc: "absolute directory to run in" },
    FieldDef {
        name: "env",
        ty: FieldType::StrMap,
        doc: "variables to set on top of the agent's environment",
    },
    FieldDef {
        name: "timeout",
        ty: FieldType::Int,
        doc: "seconds until the command, or its guard, is killed with all it started; 0 waits",
    },
    FieldDef {
        name: "ifcmd",
        ty: FieldType::Str,
        doc: "guard: the command runs only when this exits with 0",
    },
    FieldDef { name: "ifshell", ty: FieldType::Str, doc: "like `shell`, for the guard" },
    FieldDef { name: "ifcwd", ty: FieldType::Str, doc: "like `cwd`, for the guard" },
    FieldDef {
        name: "creates",
        ty: FieldType::Str,
        doc: "absolute path; the command runs only while nothing is there, and again when it goes",
    },
    FieldDef { name: "watchcmd", ty: FieldType::Str, doc: "not built yet; leave it empty" },
    FieldDef { name: "watchshell", ty: FieldType::Str, doc: "not built yet; leave it empty" },
    FieldDef { name: "watchcwd", ty: FieldType::Str, doc: "not built yet; leave it empty" },
];

/// The fields that mgmt's files carry, mostly empty, and that have no effect here yet.
const NOT_BUILT: [&str; 3] = ["watchcmd", "watchshell", "watchcwd"];

impl Kind for ExecKind {
    fn name(&self) -> &'static str {
        "exec"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn power(&self) -> Power {
        Power::Powerful
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut errors = Vec::new();
        let texts = ["cmd", "shell", "cwd", "ifcmd", "ifshell", "ifcwd", "creates"];
        no_nul(fields, &texts, &mut errors);
        for name in NOT_BUILT.into_iter().filter(|name| text(fields, name).is_some()) {
            let message = format!("`{name}` is not built yet");
            errors.push(mistake(
                name,
                message,
                "remove it; a timer with a notifying edge can help",
            ));
        }
        let command = check_command(id, fields, &mut errors);
        let guard = check_guard(fields, &mut errors);
        let creates = check_absolute("creates", fields, &mut errors);
        let env = check_env(fields, &mut errors);
        let timeout = check_timeout(fields, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Arc::new(Exec { command, guard, creates, env, timeout }))
    }
}

fn check_command(id: &ResourceId, fields: &Fields, errors: &mut Vec<FieldError>) -> Line {
    let cmd = text(fields, "cmd").unwrap_or(id.name());
    let cwd = check_absolute("cwd", fields, errors);
    match (text(fields, "shell"), list(fields, "args")) {
        (Some(_), Some(_)) => {
            let message = "`args` and `shell` exclude each other".to_owned();
            errors.push(mistake("args", message, "write the arguments into `cmd`"));
            Line::split(cmd, cwd)
        }
        (Some(shell), None) => Line::shell(shell, cmd, cwd),
        (None, Some(args)) => Line { program: cmd.to_owned(), args, cwd },
        (None, None) => {
            let line = Line::split(cmd, cwd);
            if line.program.is_empty() {
                let message = "`cmd` names no program".to_owned();
                errors.push(mistake("cmd", message, "write the command to run"));
            }
            line
        }
    }
}

fn check_guard(fields: &Fields, errors: &mut Vec<FieldError>) -> Option<Line> {
    let cwd = check_absolute("ifcwd", fields, errors);
    let Some(cmd) = text(fields, "ifcmd") else {
        for name in ["ifshell", "ifcwd"] {
            if text(fields, name).is_some() {
                let message = format!("`{name}` without `ifcmd` guards nothing");
                errors.push(mistake(name, message, "add `ifcmd`, or remove it"));
            }
        }
        return None;
    };
    let guard = match text(fields, "ifshell") {
        Some(shell) => Line::shell(shell, cmd, cwd),
        None => Line::split(cmd, cwd),
    };
    if guard.program.is_empty() {
        let message = "`ifcmd` names no program".to_owned();
        errors.push(mistake("ifcmd", message, "write the command to run, or remove it"));
    }
    Some(guard)
}

fn check_absolute(
    name: &'static str,
    fields: &Fields,
    errors: &mut Vec<FieldError>,
) -> Option<PathBuf> {
    let path = text(fields, name)?;
    if !path.starts_with('/') {
        let message = format!("`{name}` is `{path}`, which is not absolute");
        errors.push(mistake(name, message, "give a path that starts with a slash"));
    }
    Some(PathBuf::from(clean(path)))
}

fn check_env(fields: &Fields, errors: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let env = map(fields, "env").unwrap_or_default();
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("`env` sets `{name}`, which cannot be a variable");
            errors.push(mistake("env", message, "names have no `=`, and nothing has a NUL byte"));
        }
    }
    env
}

fn check_timeout(fields: &Fields, errors: &mut Vec<FieldError>) -> Option<Duration> {
    match int(fields, "timeout")? {
        0 => None,
        seconds @ 1..=TIMEOUT_MAX => Some(Duration::from_secs(seconds.unsigned_abs())),
        bad => {
            let message = format!("`timeout` is {bad}; it has to be 0 to {TIMEOUT_MAX} seconds");
            errors.push(mistake("timeout", message, "write a whole number of seconds"));
            None
        }
    }
}

#[derive(Debug)]
struct Exec {
    command: Line,
    guard: Option<Line>,
    creates: Option<PathBuf>,
    env: BTreeMap<String, String>,
    timeout: Option<Duration>,
}

impl Exec {
    async fn start(&self, line: &Line, cx: &Context) -> Result<Ended, String> {
        process::run(line, &self.env, self.timeout, &cx.cancel).await
    }

    /// Whether the guards let the command run.
    async fn allowed(&self, cx: &Context) -> Result<bool, String> {
        if let Some(path) = &self.creates {
            // A link that points nowhere is there, too.
            match tokio::fs::symlink_metadata(path).await {
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = path.display();
                    return Err(format!("cannot look for {path} (creates): {error}"));
                }
            }
        }
        let Some(guard) = &self.guard else {
            return Ok(true);
        };
        let ended = self.start(guard, cx).await.map_err(|why| format!("guard: {why}"))?;
        match ended.signal {
            None => Ok(ended.code == Some(0)),
            Some(_) => Err(format!("guard: {}", ended.describe(guard))),
        }
    }
}

#[async_trait]
impl Resource for Exec {
    fn watches(&self) -> Vec<Watch> {
        let creates = self.creates.iter().cloned();
        creates.map(|path| Watch::Path { path, children: false }).collect()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        if !self.allowed(cx).await? {
            return Ok(Outcome::Unchanged);
        }
        if !cx.apply {
            return Ok(Outcome::WouldChange(format!("`{}` run", self.command)));
        }
        let ended = self.start(&self.command, cx).await?;
        if ended.code == Some(0) {
            Ok(Outcome::Changed(format!("`{}` run", self.command)))
        } else {
            Err(ended.describe(&self.command))
        }
    }
}

#[cfg(test)]
mod tests;
