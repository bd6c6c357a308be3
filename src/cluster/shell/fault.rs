//! Places where a test has this agent die, as if by KILL.
//!
//! Refuses to exist in a released program: only debug builds look at the variable.

/// Dies here when `QUORATE_FAULT` names this step.
pub(super) fn point(step: &str) {
    if cfg!(debug_assertions) && std::env::var("QUORATE_FAULT").is_ok_and(|wanted| wanted == step) {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).ok();
    }
}
