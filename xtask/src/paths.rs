//! Where things lie in the repository, and the exit codes that `cargo xtask` promises.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

/// How a verb ended, other than well. Attached to an error as its root, it decides the exit code.
#[derive(Debug)]
pub(crate) struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// A check failed: drift, a degraded cluster.
    pub(crate) const FAILED: u8 = 1;
    /// Not a request that makes sense.
    pub(crate) const USAGE: u8 = 2;
    /// The engine does not answer, or a program is missing.
    pub(crate) const MISSING: u8 = 3;
    /// No such cluster or node.
    pub(crate) const ABSENT: u8 = 4;
    /// A name, subnet, port or lock is held by something that is not ours.
    pub(crate) const CONFLICT: u8 = 5;
    /// Not done in time.
    pub(crate) const TIMED_OUT: u8 = 6;
    /// A fault that this machine cannot make, or that had no effect.
    pub(crate) const NO_EFFECT: u8 = 7;
    /// Some of several objects failed.
    pub(crate) const PARTIAL: u8 = 8;
    /// Stopped by the user.
    pub(crate) const INTERRUPTED: u8 = 130;

    /// An error with its exit code and its text: what, why, one next step.
    pub(crate) fn error(code: u8, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Exit { code, message: message.into() })
    }

    /// The code for the shell.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// The repository's root: where the workspace's manifest lies.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The program that runs. Linux marks the name of one that was built anew in the meantime.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this program lies is not known")?;
    let name = own.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map_or_else(|| own.clone(), PathBuf::from))
}

/// The target folder of this workspace.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
