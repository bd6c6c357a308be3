//! Why something is not watched, in words. Pure.
//!
//! Refuses to know what was wanted there.

use std::path::Path;

/// Why a directory cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not exist, or is no directory.
    Missing,
    /// It may not be read.
    Denied,
    /// No watches are left.
    Limit,
    /// Anything else.
    Other(String),
}

/// Why something is not fully watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchError {
    /// The cause and the next step.
    pub message: String,
    /// The kernel has no watches left; looking every now and then is what remains.
    pub exhausted: bool,
}

impl From<String> for WatchError {
    fn from(message: String) -> Self {
        WatchError { message, exhausted: false }
    }
}

impl WatchError {
    pub(super) fn of(path: &Path, refusal: &Refusal) -> Self {
        WatchError { message: explain(path, refusal), exhausted: *refusal == Refusal::Limit }
    }
}

fn explain(path: &Path, refusal: &Refusal) -> String {
    let path = path.display();
    match refusal {
        Refusal::Missing => format!("{path} does not exist"),
        Refusal::Denied => format!(
            "cannot watch {path}: permission denied; run the agent as a user who may read it"
        ),
        Refusal::Limit => format!(
            "cannot watch {path}: no inotify watches are left; raise fs.inotify.max_user_watches \
             with sysctl"
        ),
        Refusal::Other(why) => format!("cannot watch {path}: {why}"),
    }
}
