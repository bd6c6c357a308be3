//! What this machine can do at best: the least that any program has to do for the same result, on
//! one thread, with nothing around it.
//!
//! Refuses to use anything of the agent.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::work;

/// Writes `n` files into a folder, each beside its place and then renamed.
pub(super) fn write(folder: &Path, n: usize) -> anyhow::Result<Duration> {
    let files = files(n);
    let started = Instant::now();
    for (name, content) in &files {
        put(folder, name, content.as_bytes())?;
    }
    Ok(started.elapsed())
}

/// Name and content of each file: to make them up is no part of the work.
fn files(n: usize) -> Vec<(String, String)> {
    (0..n).map(|at| (work::name(at), work::content(at))).collect()
}

/// The same, and waits for the disk once.
pub(super) fn write_durably(folder: &Path, n: usize) -> anyhow::Result<Duration> {
    let written = write(folder, n)?;
    let started = Instant::now();
    nix::unistd::syncfs(File::open(folder)?).context("cannot wait for the disk")?;
    Ok(written + started.elapsed())
}

/// One file, written beside its place and renamed.
pub(super) fn put(folder: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let beside = folder.join(format!(".{name}.tmp"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(&beside, folder.join(name)).context("cannot rename")
}

/// Opens, reads and compares the `n` files of a folder.
pub(super) fn check(folder: &Path, n: usize) -> anyhow::Result<Duration> {
    let files = files(n);
    let started = Instant::now();
    let mut buffer = [0; 128];
    for (name, content) in &files {
        let mut file = File::open(folder.join(name))?;
        let mode = file.metadata()?.mode() & 0o7777;
        let read = file.read(&mut buffer)?;
        ensure!(buffer[..read] == *content.as_bytes(), "file {name} holds something else");
        ensure!(mode == 0o644, "file {name} has mode {mode:o}");
    }
    Ok(started.elapsed())
}

/// That exactly the `n` files are there and right: what follows every timed run.
pub(super) fn verify(folder: &Path, n: usize) -> anyhow::Result<()> {
    let found = fs::read_dir(folder).context("cannot list the folder")?.count();
    if found != n {
        bail!("{} holds {found} files instead of {n}", folder.display());
    }
    check(folder, n).map(drop)
}

/// Starts a process that does nothing and waits for it.
pub(super) fn spawn() -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut command = Command::new("/bin/true");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    ensure!(command.status().context("cannot start /bin/true")?.success(), "/bin/true failed");
    Ok(started.elapsed())
}

/// The ways to damage a file.
pub(super) const DAMAGES: [&str; 4] = ["unlink", "truncate", "chmod", "replace"];

/// Damages a file in one of [`DAMAGES`].
pub(super) fn damage(how: &str, folder: &Path, name: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    match how {
        "truncate" => drop(OpenOptions::new().write(true).truncate(true).open(path)?),
        "chmod" => fs::set_permissions(path, Permissions::from_mode(0o600))?,
        "replace" => put(folder, name, b"damage")?,
        _ => fs::remove_file(path)?,
    }
    Ok(())
}

/// Whether a file holds this and has mode 0644.
pub(super) fn is_right(path: &Path, content: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut found = Vec::with_capacity(content.len() + 1);
    let mode = file.metadata().map(|it| it.mode() & 0o7777);
    file.read_to_end(&mut found).is_ok() && found == content && mode.is_ok_and(|it| it == 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_right_and_any_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 4).unwrap();
        verify(folder.path(), 4).unwrap();
        assert!(verify(folder.path(), 3).is_err(), "one file too many");
        for (at, how) in DAMAGES.into_iter().enumerate() {
            let (name, content) = (work::name(at), work::content(at));
            assert!(is_right(&folder.path().join(&name), content.as_bytes()), "{how}");
            damage(how, folder.path(), &name).unwrap();
            assert!(!is_right(&folder.path().join(&name), content.as_bytes()), "{how}");
        }
    }
}
