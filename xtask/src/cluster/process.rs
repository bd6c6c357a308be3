//! This process and others: who owns what, the lock of a cluster, the time.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::gc::Owned;
use super::label::Owner;
use crate::paths::Exit;

/// Seconds of Unix time.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// This process.
pub(crate) fn me() -> Owner {
    let pid = std::process::id();
    Owner { place: place(), pid, started: started(pid).unwrap_or_default() }
}

/// What is known about an owner from here.
pub(crate) fn owned(owner: &Owner) -> Owned {
    if owner.place != place() {
        return Owned::Elsewhere;
    }
    match started(owner.pid) {
        Some(started) if started == owner.started => Owned::Alive,
        _ => Owned::Dead,
    }
}

/// Boot and process namespace: a pid means nothing outside of them.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let number: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    match boot.trim() {
        // A system without /proc: its name has to do.
        "" => nix::unistd::gethostname().unwrap_or_default().to_string_lossy().replace('/', "-"),
        boot => format!("{boot}/{number}"),
    }
}

/// When a process started, in ticks since boot; 0 where that cannot be known; nothing when it does
/// not run.
fn started(pid: u32) -> Option<u64> {
    if !std::path::Path::new("/proc/self/stat").exists() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
        return nix::sys::signal::kill(pid, None).is_ok().then_some(0);
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything; the start is the twentieth field
    // after it.
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Held while a command changes a cluster; freed when dropped, and by the system when the process
/// dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock of a cluster's name for this user.
///
/// # Errors
/// Another process of this user works on it: who and since when.
pub(crate) fn lock(cluster: &str) -> anyhow::Result<Lock> {
    let folder = runtime_folder();
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{cluster}.lock"));
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            return Err(Exit::error(Exit::CONFLICT, busy(cluster, &text, now())));
        }
        Err(TryLockError::Error(failure)) => return Err(failure.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{} {}", std::process::id(), now())?;
    Ok(Lock { _file: file })
}

/// Waits for this user's turn to choose a place for a cluster. Two that choose at once would both
/// find the same ports free: they are taken only when the nodes start.
///
/// # Errors
/// The lock's file cannot be made.
pub(crate) async fn turn() -> anyhow::Result<Lock> {
    let wait = || -> std::io::Result<Lock> {
        let folder = runtime_folder();
        std::fs::create_dir_all(&folder)?;
        // No cluster's name begins with a dot.
        let path = folder.join(".places.lock");
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(Lock { _file: file })
    };
    Ok(tokio::task::spawn_blocking(wait).await??)
}

fn busy(cluster: &str, text: &str, now: u64) -> String {
    let mut words = text.split(' ');
    let pid = words.next().unwrap_or_default();
    let since = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(now);
    format!(
        "another xtask (pid {pid}) is working on cluster {cluster} since {} s. \
         Wait, or use another --name.",
        now.saturating_sub(since)
    )
}

fn runtime_folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if PathBuf::from(&folder).is_dir() => PathBuf::from(folder).join("quorate"),
        _ => std::env::temp_dir().join(format!("quorate-{}", nix::unistd::getuid())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_chooses_a_place_waits_for_who_chose_before() {
        let first = turn().await.unwrap();
        let second = tokio::spawn(turn());
        // Other tests may be in between; while the first has it, nobody else does.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!second.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(30), second).await.unwrap().unwrap().unwrap();
    }

    #[test]
    fn this_process_is_alive_and_its_pid_with_another_start_is_not() {
        assert_eq!(owned(&me()), Owned::Alive);
        assert_eq!(Owner::from_label(&me().to_label()), Some(me()));
        if cfg!(target_os = "linux") {
            assert_eq!(owned(&Owner { started: 1, ..me() }), Owned::Dead);
        }
        assert_eq!(owned(&Owner { place: "mars".to_owned(), ..me() }), Owned::Elsewhere);
    }

    #[test]
    fn a_cluster_that_is_worked_on_says_by_whom_and_since_when() {
        assert_eq!(
            busy("demo", "4121 1000", 1012),
            "another xtask (pid 4121) is working on cluster demo since 12 s. \
             Wait, or use another --name."
        );
    }
}
