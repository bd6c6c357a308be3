//! Processes of a node: which they are, and signals to all of them.
//!
//! A node's processes carry its folder in their environment; those that dropped it are found as
//! descendants of one that has it. Only processes of this user are ever looked at.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable by which a node's processes are known.
pub(super) const MARK: &str = "QUORATE_LAB_NODE";

/// What `/proc` says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// `R`, `S`, `T`, `Z` and so on.
    pub(super) state: char,
    /// Its parent.
    pub(super) parent: u32,
    /// When it started, in ticks since boot: a pid alone comes back.
    pub(super) started: u64,
}

/// Looks at a process; nothing when it is not there.
pub(super) fn look(pid: u32) -> Option<Seen> {
    read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn read(text: &str) -> Option<Seen> {
    // The name before the last parenthesis may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Seen { state, parent, started })
}

/// All processes that belong to the node of this folder, but not the one that asks.
pub(super) fn of(folder: &str) -> BTreeSet<u32> {
    let mark = format!("{MARK}={folder}");
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(seen) = look(pid).filter(|seen| seen.state != 'Z') else { continue };
        let marked = fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()));
        all.push((pid, seen.parent, marked));
    }
    let mut ours: BTreeSet<u32> = all.iter().filter(|one| one.2).map(|one| one.0).collect();
    loop {
        let more: Vec<u32> = (all.iter())
            .filter(|(pid, parent, _)| ours.contains(parent) && !ours.contains(pid))
            .map(|one| one.0)
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    ours.remove(&std::process::id());
    ours
}

/// Sends a signal; one that has ended needs none.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ended = kill(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 1";
        for name in ["sh", "a b", "x) Z 9", ""] {
            let seen = read(&format!("42 ({name}) {rest}"));
            assert_eq!(seen, Some(Seen { state: 'S', parent: 7, started: 4711 }), "{name}");
        }
        assert_eq!(read(""), None);
        assert_eq!(look(std::process::id()).map(|seen| seen.state == 'Z'), Some(false));
    }

    #[test]
    fn the_processes_of_a_node_are_those_with_its_mark_and_what_they_started() {
        let folder = format!("/nowhere/{}", std::process::id());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "env -i sleep 600 & wait"])
            .env(MARK, &folder)
            .spawn()
            .unwrap();
        let start = std::time::Instant::now();
        while of(&folder).len() < 2 && start.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        let ours = of(&folder);
        assert!(ours.len() == 2 && ours.contains(&child.id()), "{ours:?}");
        ours.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
        child.wait().unwrap();
        assert_eq!(of("/nowhere"), BTreeSet::new());
    }
}
