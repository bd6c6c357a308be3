//! The agent started anew in its own process, with the same arguments: a program that was replaced
//! meanwhile is the new one then. In between, while nothing runs on its state, that may be
//! recovered.
//!
//! Refuses to run while anything of the agent before is left: its etcd has ended, and whatever it
//! held open is closed by the system.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{EXIT_FAILED, tell};
use crate::cluster::shell::{Order, recovery};
use crate::ident::HostName;

/// What the system adds to the name of a program that was replaced.
const REPLACED: &str = " (deleted)";

/// Becomes the new agent; the exit code if that cannot be.
pub(super) fn start(order: &Order, folder: &Path, host: &HostName) -> u8 {
    if let Order::Recover { request, recovery } = order {
        recovery::and_note(folder, host, request, recovery);
    }
    let program = match std::env::current_exe() {
        Ok(path) => original(path),
        Err(why) => {
            tell(format_args!(
                "error: the agent cannot find its own program to start anew: {why}\n"
            ));
            return EXIT_FAILED;
        }
    };
    tracing::info!("starting anew");
    let why = Command::new(&program).args(std::env::args_os().skip(1)).exec();
    tell(format_args!("error: {} cannot be started anew: {why}\n", program.display()));
    EXIT_FAILED
}

fn original(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(REPLACED)) {
        Some(name) if !path.exists() => PathBuf::from(name),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_found_under_its_name() {
        let replaced = PathBuf::from("/usr/bin/quorate (deleted)");
        assert_eq!(original(replaced), PathBuf::from("/usr/bin/quorate"));
        assert_eq!(original("/usr/bin/quorate".into()), PathBuf::from("/usr/bin/quorate"));
    }
}
