//! The way to a file: its directory is opened once, and all that follows is done in that directory.
//!
//! Refuses to pass a symbolic link that somebody else may have put there: a link on the way counts
//! only when it belongs to root or to us, or lies where nobody else can put one. Otherwise whoever
//! owns a directory on the way could send the agent anywhere.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat, renameat};
use nix::libc::mode_t;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use thiserror::Error;

use super::fence::At;
use super::turn::{Ours, Turns};

/// Every temporary name starts like this, so that people know where a left one comes from, and
/// nobody takes one for content.
pub(super) const TEMPORARY: &str = ".quorate-";

/// How many temporary names are tried when they are taken; they are random.
const TEMPORARY_TRIES: usize = 16;

/// How many links are passed on one way: as many as the kernel passes.
pub(super) const LINKS_MAX: usize = 40;

/// The bits of a mode that let others put a link into a directory.
pub(super) const OTHERS_WRITE: mode_t = 0o022;

/// A link that somebody else may have put on the way.
#[derive(Debug, Error)]
#[error(
    "{link} on the way is a symbolic link to {target} and belongs to user {owner}, who is neither \
     root nor the agent's user, and could lead anywhere; name the path that is meant without it, \
     or give the link to root with `chown -h root {link}`"
)]
pub(super) struct ForeignLink {
    link: String,
    target: String,
    owner: u32,
}

/// Good for opening what is inside, no more: a directory that may be passed and not read will do.
pub(super) fn passage() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Good for reading a file: a pipe that was put there in this moment holds nobody up.
pub(super) fn reading() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC
}

/// The directory that a path lies in, and its name there.
pub(super) struct Way<'a> {
    dir: Arc<OwnedFd>,
    name: &'a Path,
    /// It was opened for an earlier run.
    kept: bool,
}

/// The directory that was opened last, for runs that follow one another at once. Whoever has it
/// gives it up before what comes after one of them can begin: another directory may have its path
/// by then. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ways(Option<Arc<Hand>>);

/// What a thread has at hand, and whom it asks for the turn to change it.
#[derive(Debug)]
struct Hand {
    kept: Mutex<Option<Kept>>,
    turns: Turns,
}

/// A directory by the path that it was opened by, and by the one that the way to it must not leave.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    within: Option<PathBuf>,
    dir: Arc<OwnedFd>,
    turn: Asked,
}

/// The turn to change the directory.
#[derive(Debug)]
enum Asked {
    Not,
    /// It is given back with the directory; nothing when it was waited for too long.
    Given {
        _ours: Option<Ours>,
    },
}

impl Ways {
    /// Keeps one, and takes turns with all that share these; the default does neither.
    pub fn keeping(turns: &Turns) -> Self {
        Ways(Some(Arc::new(Hand { kept: Mutex::default(), turns: turns.clone() })))
    }

    /// Waits for the turn to change the directory that is kept, for this run and those after it.
    pub(super) fn take_turn(&self) {
        if let Some(hand) = &self.0
            && let Some(kept) = &mut *hand.lock()
            && matches!(kept.turn, Asked::Not)
        {
            kept.turn = Asked::Given { _ours: hand.turns.wait(&kept.path) };
        }
    }

    /// The next run opens it anew.
    pub(super) fn forget(&self) {
        if let Some(hand) = &self.0 {
            *hand.lock() = None;
        }
    }
}

impl Hand {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Way<'a> {
    /// Opens the directory of an absolute path. The root directory lies in itself.
    pub(super) fn to(at: impl Into<At<'a>>) -> io::Result<Self> {
        let at = at.into();
        let (parent, name) = split(at.path);
        Ok(Way { dir: Arc::new(at.directory(parent)?), name, kept: false })
    }

    /// The same with a directory that was kept, if it is this one; else keeps it.
    pub(super) fn along(at: At<'a>, ways: &Ways) -> io::Result<Self> {
        let (parent, name) = split(at.path);
        let Some(hand) = &ways.0 else { return Way::to(at) };
        let mut kept = hand.lock();
        if let Some(kept) = &*kept
            && kept.path.as_os_str() == parent.as_os_str()
            && kept.within.as_deref() == at.within
        {
            return Ok(Way { dir: kept.dir.clone(), name, kept: true });
        }
        // Whatever was kept is given back before anything is waited for.
        *kept = None;
        let way = Way::to(at)?;
        let (path, dir) = (parent.to_owned(), way.dir.clone());
        let within = at.within.map(Path::to_owned);
        *kept = Some(Kept { path, within, dir, turn: Asked::Not });
        Ok(way)
    }

    /// Whether it was opened for an earlier run.
    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Takes an open directory for the one that the path lies in.
    pub(super) fn within(dir: OwnedFd, path: &'a Path) -> Self {
        let name = path.file_name().map_or(Path::new("."), Path::new);
        Way { dir: Arc::new(dir), name, kept: false }
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn name(&self) -> &'a Path {
        self.name
    }
}

/// The directory of an absolute path and its last part; the root directory lies in itself. Most
/// paths are clean, and then it is where the last slash is.
fn split(path: &Path) -> (&Path, &Path) {
    let bytes = path.as_os_str().as_bytes();
    if let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/') {
        let (above, name) = (&bytes[..slash.max(1)], &bytes[slash + 1..]);
        let is_clean = slash == 0 || above.last() != Some(&b'/');
        if is_clean && !matches!(name, b"" | b"." | b"..") {
            return (Path::new(OsStr::from_bytes(above)), Path::new(OsStr::from_bytes(name)));
        }
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    (parent, path.file_name().map_or(Path::new("."), Path::new))
}

/// Opens a directory to be passed.
pub(super) fn directory(path: &Path) -> io::Result<OwnedFd> {
    straight(path, passage(), |path| walk(path, passage() | OFlag::O_NOFOLLOW))
}

/// Opens a file to be read; a link at the end of its path is like one on the way.
pub(super) fn file(path: &Path) -> io::Result<File> {
    straight(path, reading(), |path| walk(path, reading())).map(File::from)
}

/// One call, which serves nearly always; part by part when there is a link, or no such call.
fn straight(
    path: &Path,
    flags: OFlag,
    otherwise: impl FnOnce(&Path) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Ok(handle) => Ok(handle),
        // What filters calls may answer with EPERM for one that it does not know.
        Err(Errno::ELOOP | Errno::ENOSYS | Errno::EPERM) => otherwise(path),
        Err(error) => Err(error.into()),
    }
}

/// Part by part; `flags` are for the last one.
fn walk(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let mut here = openat(AT_FDCWD, "/", passage(), Mode::empty())?;
    let mut shown = PathBuf::from("/");
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        let target = match link_at(here.as_fd(), &part, &shown)? {
            Some(target) => target,
            None => {
                let last = rest.is_empty();
                let flags = if last { flags } else { passage() | OFlag::O_NOFOLLOW };
                here = openat(here.as_fd(), part.as_os_str(), flags, Mode::empty())?;
                shown.push(part);
                continue;
            }
        };
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::ELOOP.into());
        }
        if target.is_absolute() {
            here = openat(AT_FDCWD, "/", passage(), Mode::empty())?;
            shown = PathBuf::from("/");
        }
        let mut parts = parts(&target);
        parts.append(&mut rest);
        rest = parts;
        if rest.is_empty() {
            rest.push_back(".".into());
        }
    }
    Ok(here)
}

pub(super) fn parts(path: &Path) -> VecDeque<OsString> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    normal.collect()
}

/// Where the link of this name points to; nothing when it is no link.
pub(super) fn link_at(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    shown: &Path,
) -> io::Result<Option<PathBuf>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // What is asked who owns it and where it leads is one and the same link.
    let handle = openat(dir, name, flags, Mode::empty())?;
    let found = fstat(&handle)?;
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        return Ok(None);
    }
    let target = PathBuf::from(readlinkat(&handle, "")?);
    let us = Uid::effective().as_raw();
    if !counts(&found, &fstat(dir)?, us) {
        return Err(io::Error::other(ForeignLink {
            link: shown.join(name).display().to_string(),
            target: target.display().to_string(),
            owner: found.st_uid,
        }));
    }
    Ok(Some(target))
}

/// Whether nobody but root and us can have put this link into this directory.
fn counts(link: &FileStat, directory: &FileStat, us: u32) -> bool {
    let ours = |owner: u32| owner == 0 || owner == us;
    ours(link.st_uid) || (ours(directory.st_uid) && directory.st_mode & OTHERS_WRITE == 0)
}

/// A name in a directory that is put in the place of another one; what is there goes unless it was.
pub(super) struct Temporary<'a> {
    dir: BorrowedFd<'a>,
    pub(super) name: PathBuf,
    put: bool,
}

impl<'a> Temporary<'a> {
    pub(super) fn make<T>(
        dir: BorrowedFd<'a>,
        make: impl Fn(BorrowedFd<'a>, &Path) -> nix::Result<T>,
    ) -> io::Result<(Self, T)> {
        let mut taken = Errno::EEXIST;
        for _ in 0..TEMPORARY_TRIES {
            let random = RandomState::new().hash_one(TEMPORARY);
            let name = PathBuf::from(format!("{TEMPORARY}{random:016x}"));
            match make(dir, &name) {
                Ok(made) => return Ok((Temporary { dir, name, put: false }, made)),
                Err(Errno::EEXIST) => taken = Errno::EEXIST,
                Err(error) => return Err(error.into()),
            }
        }
        Err(taken.into())
    }

    /// A new file for nobody else to use.
    pub(super) fn file(dir: BorrowedFd<'a>, mode: Mode) -> io::Result<(Self, File)> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        Self::make(dir, |dir, name| openat(dir, name, flags, mode).map(File::from))
    }

    pub(super) fn put(mut self, name: &Path) -> io::Result<()> {
        renameat(self.dir, &self.name, self.dir, name)?;
        self.put = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.put
            && let Err(error) = unlinkat(self.dir, &self.name, UnlinkatFlags::NoRemoveDir)
        {
            tracing::debug!("{} is left: {error}", self.name.display());
        }
    }
}

/// The missing part of a way stands for nothing there.
pub(super) fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    use nix::fcntl::AtFlags;
    use nix::sys::stat::fstatat;

    use super::*;

    /// Whatever the call, the answer is the same.
    fn both(path: &Path) -> [io::Result<OwnedFd>; 2] {
        [directory(path), walk(path, passage() | OFlag::O_NOFOLLOW)]
    }

    #[test]
    fn a_path_is_split_as_the_library_does_it() {
        for path in ["/a", "/a/b", "/a/b/", "/a//b", "/a/./b", "/a/.", "/a/..", "//a", "/.b/.c"] {
            let path = Path::new(path);
            let name = path.file_name().map_or(Path::new("."), Path::new);
            let expected = (path.parent().unwrap(), name);
            assert_eq!(split(path), expected, "{path:?}");
        }
        assert_eq!(split(Path::new("/")), (Path::new("/"), Path::new(".")));
    }

    #[test]
    fn our_own_links_lead_where_they_lead_and_loops_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("real/deep")).unwrap();
        symlink("real", at("relative")).unwrap();
        symlink(at("relative/deep"), at("absolute")).unwrap();
        symlink("../../real/.", at("real/deep/up")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("/", at("top")).unwrap();
        fs::write(at("file"), "x").unwrap();
        let number =
            |handle: OwnedFd| (fstat(&handle).unwrap().st_dev, fstat(&handle).unwrap().st_ino);
        let pairs = [
            ("relative", "real"),
            ("absolute", "real/deep"),
            ("real/deep/up", "real"),
            ("real/deep", "real/deep"),
        ];
        for (path, real) in pairs {
            let real = number(directory(&at(real)).unwrap());
            for found in both(&at(path)) {
                assert_eq!(number(found.unwrap()), real, "{path}");
            }
        }
        let root = number(directory(Path::new("/")).unwrap());
        for found in both(&at("top")) {
            assert_eq!(number(found.unwrap()), root);
        }
        for (path, code) in [
            ("loop", Errno::ELOOP),
            ("none", Errno::ENOENT),
            ("file", Errno::ENOTDIR),
            ("file/x", Errno::ENOTDIR),
        ] {
            for found in both(&at(path)) {
                assert_eq!(found.unwrap_err().raw_os_error(), Some(code as i32), "{path}");
            }
        }
    }

    #[test]
    fn only_root_s_links_and_ours_and_those_that_nobody_else_can_put_there_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut link = fstatat(AT_FDCWD, dir.path(), AtFlags::empty()).unwrap();
        let mut directory = link;
        for (owner, holder, mode, expected) in [
            (0, 1000, 0o777, true),
            (7, 1000, 0o777, true),
            (1000, 1000, 0o700, false),
            (1000, 0, 0o755, true),
            (1000, 7, 0o755, true),
            (1000, 0, 0o1777, false),
            (1000, 0, 0o775, false),
        ] {
            (link.st_uid, directory.st_uid, directory.st_mode) = (owner, holder, mode);
            assert_eq!(counts(&link, &directory, 7), expected, "{owner} {holder} {mode:o}");
        }
    }

    /// Needs a user who may give links away.
    #[test]
    fn a_link_of_somebody_else_is_named_with_its_owner_and_not_passed() {
        if !Uid::effective().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (home, link) = (dir.path().join("ann"), dir.path().join("ann/link"));
        fs::create_dir(&home).unwrap();
        symlink("/etc", &link).unwrap();
        for path in [&home, &link] {
            lchown(path, Some(1000), Some(1000)).unwrap();
        }
        for path in [link.clone(), link.join("ssl"), home.join("../ann/link/ssl")] {
            for found in both(&path) {
                let error = found.unwrap_err().to_string();
                assert!(error.contains("belongs to user 1000"), "{error}");
                assert!(
                    error.contains("ann/link on the way is a symbolic link to /etc"),
                    "{error}"
                );
            }
        }
        assert!(file(&link.join("passwd")).is_err(), "nor is anything read");
    }
}
