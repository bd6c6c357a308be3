//! The fields of `exec`, and a resource made of them.
//!
//! Refuses to guess: what contradicts itself or would do nothing is a mistake.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::fields::Reader;
use super::super::process::{Limits, Line, OUTPUT_MAX};
use super::super::{FieldDef, FieldError, FieldType};
use super::guard::Equals;
use super::{Exec, Fallback};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The longest `timeout` in seconds: about 136 years.
const TIMEOUT_MAX: i64 = u32::MAX as i64;

const fn text(name: &'static str, doc: &'static str) -> FieldDef {
    FieldDef { name, ty: FieldType::Str, doc }
}

const fn list(name: &'static str, doc: &'static str) -> FieldDef {
    FieldDef { name, ty: FieldType::StrList, doc }
}

/// All fields.
pub(super) const FIELDS: &[FieldDef] = &[
    text("cmd", "the command, else the name; split at white space unless `args` or `shell` is set"),
    list("args", "arguments as they are; `cmd` is then the program alone"),
    text("shell", "runs `cmd` as `SHELL -c CMD`, for instance `/bin/sh`"),
    text("cwd", "absolute directory to run in"),
    FieldDef {
        name: "env",
        ty: FieldType::StrMap,
        doc: "variables to set on top of the agent's environment",
    },
    FieldDef {
        name: "timeout",
        ty: FieldType::Int,
        doc: "seconds until a command or guard is killed with all it started; 0 waits",
    },
    text("sig", "the signal that a command gets before it is killed; `SIGTERM` when absent"),
    text("user", "run everything here as this user, by name or number; needs root"),
    text("group", "run everything here as this group; needs root"),
    FieldDef {
        name: "refreshonly",
        ty: FieldType::Bool,
        doc: "run only when a notifying edge refreshes it",
    },
    text("ifcmd", "guard: the command runs only when this exits with 0"),
    text("ifshell", "like `shell`, for `ifcmd`"),
    text("ifcwd", "like `cwd`, for `ifcmd`"),
    text("ifequals", "the command does not run when `ifcmd` prints this; a final line end is free"),
    text("ifequals_stdout", "like `ifequals`, for standard output alone"),
    text("nifcmd", "guard: the command does not run when this exits with 0"),
    text("nifshell", "like `shell`, for `nifcmd`"),
    text("nifcwd", "like `cwd`, for `nifcmd`"),
    text(
        "creates",
        "absolute path; the command runs only while nothing is there, and again when it goes",
    ),
    list("mtimes", "absolute paths of files; one newer than the last run lets the command run"),
    text("donecmd", "runs after the command succeeded; has to succeed, too"),
    text("doneshell", "like `shell`, for `donecmd`"),
    text("donecwd", "like `cwd`, for `donecmd`"),
    text("watchcmd", "is kept running; each line that it prints, and its end, is an event"),
    text("watchshell", "like `shell`, for `watchcmd`"),
    text("watchcwd", "like `cwd`, for `watchcmd`"),
    list("watchfiles", "absolute paths; what happens to them, or directly in them, is an event"),
    text(
        "send_output",
        "sent as `output` until the command has run, while a guard keeps it from that",
    ),
    text(
        "send_stdout",
        "sent as `stdout` until the command has run, while a guard keeps it from that",
    ),
    text(
        "send_stderr",
        "sent as `stderr` until the command has run, while a guard keeps it from that",
    ),
];

/// What a run sends.
pub(super) const SENDS: &[FieldDef] = &[
    text("output", "what the command printed, standard output and error as they came"),
    text("stdout", "what the command printed on standard output"),
    text("stderr", "what the command printed on standard error"),
];

/// The fields of one of the commands beside the main one.
struct Part {
    cmd: &'static str,
    shell: &'static str,
    cwd: &'static str,
}

const IF: Part = Part { cmd: "ifcmd", shell: "ifshell", cwd: "ifcwd" };
const NIF: Part = Part { cmd: "nifcmd", shell: "nifshell", cwd: "nifcwd" };
const DONE: Part = Part { cmd: "donecmd", shell: "doneshell", cwd: "donecwd" };
const WATCH: Part = Part { cmd: "watchcmd", shell: "watchshell", cwd: "watchcwd" };

/// Makes the resource, or names every mistake.
pub(super) fn build(id: &ResourceId, fields: &Fields) -> Result<Exec, Vec<FieldError>> {
    let mut reader = Reader::new(fields);
    let texts: Vec<&'static str> = FIELDS
        .iter()
        .filter(|field| field.ty == FieldType::Str && !field.name.contains("equals"))
        .filter(|field| !field.name.starts_with("send_"))
        .map(|field| field.name)
        .collect();
    reader.no_nul(&texts);
    let main = main_line(id, &mut reader);
    let seconds = reader.number("timeout", 0..=TIMEOUT_MAX, " seconds").unwrap_or(0);
    let time = (seconds > 0).then(|| Duration::from_secs(seconds.unsigned_abs()));
    let limits = Limits { time, signal: signal(&mut reader) };
    let (user, group) = (reader.owned("user"), reader.owned("group"));
    let settings = Line { env: env(&mut reader), user, group, ..Line::default() };
    let guard = line(&IF, &settings, &mut reader);
    let equals = equals(&mut reader);
    let nif = line(&NIF, &settings, &mut reader);
    let creates = reader.absolute("creates");
    let mtimes = reader.absolutes("mtimes");
    let after = line(&DONE, &settings, &mut reader);
    let watch = line(&WATCH, &settings, &mut reader);
    let watch_files = reader.absolutes("watchfiles");
    let fallback = Fallback {
        output: reader.raw("send_output"),
        stdout: reader.raw("send_stdout"),
        stderr: reader.raw("send_stderr"),
    };
    let refresh_only = reader.flag("refreshonly");
    reader.done(Exec {
        id: id.clone(),
        command: Line {
            program: main.program,
            args: main.args,
            cwd: main.cwd,
            terse: main.terse,
            ..settings
        },
        limits,
        refresh_only,
        guard,
        equals,
        nif,
        creates,
        mtimes,
        after,
        watch,
        watch_files,
        fallback,
        ran: AtomicBool::new(false),
    })
}

/// The command itself: program, arguments and directory.
fn main_line(id: &ResourceId, reader: &mut Reader) -> Line {
    let cmd = reader.text("cmd").unwrap_or(id.name());
    let cwd = reader.absolute("cwd");
    let line = match (reader.text("shell"), reader.list("args")) {
        (Some(shell), args) => {
            if args.is_some() {
                let message = "`args` and `shell` exclude each other".to_owned();
                reader.refuse("args", message, "write the arguments into `cmd`");
            }
            Line::shell(shell, cmd)
        }
        (None, Some(args)) => {
            Line { program: cmd.to_owned(), args, terse: true, ..Line::default() }
        }
        (None, None) => Line::split(cmd),
    };
    if line.program.is_empty() {
        reader.refuse("cmd", "`cmd` names no program".to_owned(), "write the command to run");
    }
    Line { cwd, ..line }
}

/// One of the other commands, run with the same settings, but in its own directory.
fn line(part: &Part, settings: &Line, reader: &mut Reader) -> Option<Line> {
    let cwd = reader.absolute(part.cwd);
    reader.need(&[part.shell, part.cwd], part.cmd);
    let cmd = reader.text(part.cmd)?;
    let line = match reader.text(part.shell) {
        Some(shell) => Line::shell(shell, cmd),
        None => Line::split(cmd),
    };
    if line.program.is_empty() {
        let message = format!("`{}` names no program", part.cmd);
        reader.refuse(part.cmd, message, "write the command to run, or remove it");
    }
    Some(Line { cwd, program: line.program, args: line.args, ..settings.clone() })
}

fn equals(reader: &mut Reader) -> Equals {
    reader.need(&["ifequals", "ifequals_stdout"], "ifcmd");
    for name in ["ifequals", "ifequals_stdout"] {
        if reader.raw(name).is_some_and(|text| text.len() >= OUTPUT_MAX) {
            let message = format!("`{name}` is longer than the {OUTPUT_MAX} bytes that are kept");
            reader.refuse(name, message, "compare inside of `ifcmd`");
        }
    }
    Equals { output: reader.raw("ifequals"), stdout: reader.raw("ifequals_stdout") }
}

fn env(reader: &mut Reader) -> BTreeMap<String, String> {
    let env = reader.map("env");
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("`env` sets `{name}`, which cannot be a variable");
            reader.refuse("env", message, "names have no `=`, and nothing has a NUL byte");
        }
    }
    env
}

fn signal(reader: &mut Reader) -> Signal {
    let Some(name) = reader.text("sig") else { return Signal::SIGTERM };
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    full.parse().unwrap_or_else(|_| {
        let help = "write its name, for instance `SIGINT`";
        reader.refuse("sig", format!("`sig` is `{name}`, which is no signal"), help);
        Signal::SIGTERM
    })
}
