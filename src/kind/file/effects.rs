//! Looking at a path and changing it, on the blocking pool.
//!
//! Refuses to follow a symbolic link at the end of the path, and to leave a half-written file:
//! content is written to a temporary file in the same directory, made durable, and renamed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Group, User};
use tokio::sync::Semaphore;

use super::super::{Context, Outcome};
use super::plan::{Action, Attributes, Ids, MODE_MASK, Observed, State, Wanted, describe, plan};

/// How many files are looked at or written at a time: enough to keep a disk busy while some wait
/// for it to be durable, few beside the pool's 512 threads, so that other blocking work is not held
/// up.
const FILE_WORKERS: usize = 16;

static WORKERS: Semaphore = Semaphore::const_new(FILE_WORKERS);

/// How often a path is looked at anew when others change it under our hands.
const TRIES: usize = 3;

/// How much is compared at a time, in bytes.
const COMPARE_CHUNK: usize = 64 << 10;

/// Every temporary file starts like this, so that people know where a left one comes from.
const TEMPORARY: &str = ".quorate-";

/// Looks, and makes right if the context allows it.
pub(super) async fn run(
    path: PathBuf,
    wanted: Arc<Wanted>,
    cx: &Context,
) -> Result<Outcome, String> {
    let permit = tokio::select! {
        biased;
        () = cx.cancel.cancelled() => return Err("cancelled before it started".to_owned()),
        permit = WORKERS.acquire() => permit.map_err(|error| error.to_string())?,
    };
    let apply = cx.apply;
    let work = move || {
        let _permit = permit;
        converge(&path, &wanted, apply)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| format!("the file task ended early: {error}"))?
}

fn converge(path: &Path, wanted: &Wanted, apply: bool) -> Result<Outcome, String> {
    let mut raced = String::new();
    for _ in 0..TRIES {
        match attempt(path, wanted, apply)? {
            Attempt::Done(outcome) => return Ok(outcome),
            Attempt::Raced(error) => raced = error,
        }
    }
    Err(raced)
}

enum Attempt {
    Done(Outcome),
    /// A step failed since somebody else changed the path after it was looked at.
    Raced(String),
}

fn attempt(path: &Path, wanted: &Wanted, apply: bool) -> Result<Attempt, String> {
    let name = shown(path, wanted.directory);
    let cannot_look = |error| format!("{name}: cannot look at it: {}", os_reason(&error));
    let observed = observe(path, wanted).map_err(cannot_look)?;
    let would_change = |words: String| Ok(Attempt::Done(Outcome::WouldChange(words)));
    let ids = match resolve(wanted) {
        Ok(ids) => ids,
        // The user may be the work of another resource that is not allowed to change anything
        // either.
        Err(missing) if !apply => return would_change(missing),
        Err(missing) => return Err(format!("{name}: {missing}")),
    };
    let actions = match plan(&observed, wanted, ids) {
        Ok(actions) => actions,
        Err(problem) if !apply && observed == Observed::Missing => {
            return would_change(problem.to_string());
        }
        Err(problem) => return Err(format!("{name}: {problem}")),
    };
    if actions.is_empty() {
        return Ok(Attempt::Done(Outcome::Unchanged));
    }
    let words = describe(&actions, wanted);
    if !apply {
        return would_change(words);
    }
    for action in &actions {
        let Err(error) = perform(path, wanted, action) else { continue };
        let error = explain(path, &name, action, &error);
        let now = observe(path, wanted).map_err(cannot_look)?;
        return if now == observed { Err(error) } else { Ok(Attempt::Raced(error)) };
    }
    Ok(Attempt::Done(Outcome::Changed(words)))
}

/// The path as the user writes it: directories end in a slash.
fn shown(path: &Path, directory: bool) -> String {
    let text = path.display().to_string();
    if directory && !text.ends_with('/') { text + "/" } else { text }
}

fn observe(path: &Path, wanted: &Wanted) -> io::Result<Observed> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Observed::Missing);
        }
        Err(error) => return Err(error),
    };
    let attributes =
        Attributes { uid: found.uid(), gid: found.gid(), mode: found.mode() & MODE_MASK };
    let kind = found.file_type();
    if kind.is_dir() {
        let looked = wanted.state == State::Absent;
        let empty = looked && fs::read_dir(path)?.next().is_none();
        Ok(Observed::Directory { attributes, empty })
    } else if kind.is_symlink() {
        Ok(Observed::Link)
    } else if kind.is_file() {
        let same = match &wanted.content {
            None => true,
            Some(content) if found.len() != content.len() as u64 => false,
            Some(content) => match same_content(path, content) {
                Ok(same) => same,
                // It went, or a link took its place, since we looked.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Observed::Missing),
                Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
                    return Ok(Observed::Link);
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Observed::File { attributes, same })
    } else {
        Ok(Observed::Special)
    }
}

fn same_content(path: &Path, content: &[u8]) -> io::Result<bool> {
    // Without O_NONBLOCK, a pipe put in the place of the file in this moment would hold us up for
    // good.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut rest = content;
    let mut buffer = vec![0; COMPARE_CHUNK.min(content.len() + 1)];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(after) = rest.strip_prefix(&buffer[..read]) else {
            return Ok(false);
        };
        rest = after;
    }
}

/// The numbers of the wanted owner and group. The error names who does not exist.
fn resolve(wanted: &Wanted) -> Result<Ids, String> {
    let uid = wanted.owner.as_deref().map(user_id).transpose()?;
    let gid = wanted.group.as_deref().map(group_id).transpose()?;
    Ok(Ids { uid, gid })
}

fn user_id(owner: &str) -> Result<u32, String> {
    match User::from_name(owner) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => owner.parse().map_err(|_| {
            format!("the user `{owner}` does not exist; create it, or name another `owner`")
        }),
        Err(error) => Err(format!("cannot look up the user `{owner}`: {error}; try again")),
    }
}

fn group_id(group: &str) -> Result<u32, String> {
    match Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => group.parse().map_err(|_| {
            format!("the group `{group}` does not exist; create it, or name another `group`")
        }),
        Err(error) => Err(format!("cannot look up the group `{group}`: {error}; try again")),
    }
}

fn perform(path: &Path, wanted: &Wanted, action: &Action) -> io::Result<()> {
    match *action {
        Action::MakeDirectory { ids, mode } => {
            // Nobody else may use it before it has its owner and mode.
            let first = if mode.is_some() { 0o700 } else { 0o777 };
            fs::DirBuilder::new().mode(first).create(path)?;
            lchown(path, ids.uid, ids.gid)?;
            mode.map_or(Ok(()), |mode| set_mode(path, mode))
        }
        Action::MakeFile { ids, mode } => {
            let first = if mode.is_some() { 0o600 } else { 0o666 };
            let file = OpenOptions::new().write(true).create_new(true).mode(first).open(path)?;
            finish(&file, ids, mode)
        }
        Action::Write { ids, mode, .. } => {
            write(path, wanted.content.as_deref().unwrap_or_default(), ids, mode)
        }
        Action::SetOwner(ids) => lchown(path, ids.uid, ids.gid),
        Action::SetMode { to, .. } => set_mode(path, to),
        Action::RemoveFile => fs::remove_file(path),
        Action::RemoveDirectory => fs::remove_dir(path),
    }
}

/// Writes a whole file beside the old one and puts it in its place. The directory itself is not
/// made durable: after a crash the old file may be back, and the next start writes again.
fn write(path: &Path, content: &[u8], ids: Ids, mode: Option<u32>) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::from(ErrorKind::IsADirectory))?;
    let first = Permissions::from_mode(if mode.is_some() { 0o600 } else { 0o666 });
    let mut temporary =
        tempfile::Builder::new().prefix(TEMPORARY).permissions(first).tempfile_in(parent)?;
    temporary.write_all(content)?;
    finish(temporary.as_file(), ids, mode)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map(drop).map_err(|error| error.error)
}

/// Owner first: changing it takes the set-id bits off.
fn finish(file: &File, ids: Ids, mode: Option<u32>) -> io::Result<()> {
    let now = file.metadata()?;
    let uid = ids.uid.filter(|uid| *uid != now.uid());
    let gid = ids.gid.filter(|gid| *gid != now.gid());
    if uid.is_some() || gid.is_some() {
        fchown(file, uid, gid)?;
    }
    mode.map_or(Ok(()), |mode| file.set_permissions(Permissions::from_mode(mode & MODE_MASK)))
}

/// Sets the mode of what is at the path, which must not be a link. A handle that is good for naming
/// only works on files that we may not read, and its entry in `/proc` names exactly the inode that
/// was opened.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let handle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if handle.metadata()?.is_symlink() {
        return Err(io::Error::other("became a symbolic link"));
    }
    let inode = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fs::set_permissions(inode, Permissions::from_mode(mode))
}

/// The error in words, with the next step. A missing parent is looked up and named.
fn explain(path: &Path, name: &str, action: &Action, error: &io::Error) -> String {
    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        && let Some(reason) = blocked_parent(path)
    {
        return format!("{name}: {reason}");
    }
    let failed = match action {
        Action::MakeDirectory { .. } | Action::MakeFile { .. } => "cannot create it",
        Action::Write { .. } => "cannot write it",
        Action::SetOwner(_) => "cannot set its owner",
        Action::SetMode { .. } => "cannot set its mode",
        Action::RemoveFile | Action::RemoveDirectory => "cannot remove it",
    };
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "; run the agent as a user who may",
        ErrorKind::ReadOnlyFilesystem => "; mount the file system writable",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room",
        _ => "",
    };
    format!("{name}: {failed}: {}{hint}", os_reason(error))
}

/// The system's reason without the number that the library adds.
fn os_reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// The first directory on the way to `path` that is missing or is something else, and what to do
/// about it.
fn blocked_parent(path: &Path) -> Option<String> {
    let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    ancestors.reverse();
    for directory in ancestors {
        let name = shown(directory, true);
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Some(format!(
                    "{} is not a directory; remove it or choose another path",
                    directory.display()
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Some(format!(
                    "directory {name} does not exist; declare it as a file resource \
                     (name: {name}) or create it"
                ));
            }
            Err(_) => return None,
        }
    }
    None
}
