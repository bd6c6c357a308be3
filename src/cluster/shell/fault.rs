//! Places where a test has this agent die, as if by KILL, or a task of it break off.
//!
//! Refuses to exist in a released program: only debug builds look at the variable.

use crate::cluster::keys::ChangeKind;

/// Dies here when `QUORATE_FAULT` names this step. `STEP@FILE` dies only once the file is there,
/// and takes it away, so that of several hosts that are told the same only one dies. `STEP!` ends
/// the task that comes here, and not the agent.
pub(super) fn point(step: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Ok(wanted) = std::env::var("QUORATE_FAULT") else { return };
    let (wanted, file) = wanted.split_once('@').map_or((&*wanted, None), |(w, f)| (w, Some(f)));
    assert!(wanted.strip_suffix('!') != Some(step), "a test wanted this task to end here");
    if wanted == step && file.is_none_or(|file| std::fs::remove_file(file).is_ok()) {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).ok();
    }
}

/// The same for the deciding host, by what it changes and how far it has come: `add-opened`,
/// `promote-made`, `remove-closed` and so on.
pub(super) fn change(kind: ChangeKind, done: &str) {
    if cfg!(debug_assertions) {
        let kind = match kind {
            ChangeKind::Add => "add",
            ChangeKind::Promote => "promote",
            ChangeKind::Remove => "remove",
        };
        point(&format!("{kind}-{done}"));
    }
}
