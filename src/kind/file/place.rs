//! One name in one directory: looking at it and changing it with as few calls as possible.
//!
//! Refuses to follow a symbolic link at the name, and to leave a half-written file there: content
//! is written to a temporary file beside it, which takes its place when it is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use super::super::way::{Temporary, Way, passage, reading};
use super::plan::{Attributes, Ids, MODE_MASK};

/// How much is compared at a time, in bytes.
const COMPARE_CHUNK: usize = 64 << 10;

/// What is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kind) enum Sort {
    File,
    Directory,
    Link,
    Special,
}

/// What one look tells.
#[derive(Clone, Copy, Debug)]
pub(in crate::kind) struct Seen {
    pub(in crate::kind) sort: Sort,
    pub(in crate::kind) attributes: Attributes,
    pub(in crate::kind) bytes: u64,
    /// The file system that it lies on, and its number there.
    pub(in crate::kind) identity: (u64, u64),
}

/// What a file is filled with.
pub(in crate::kind) enum Filling<'a> {
    Bytes(&'a [u8]),
    /// From where the file stands to its end.
    File(&'a mut File),
}

/// A name, in an open directory or as a path from the root.
#[derive(Clone, Copy, Debug)]
pub(in crate::kind) struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: &'a Path,
}

impl<'a> Place<'a> {
    /// Where a way leads.
    pub(in crate::kind) fn of(way: &'a Way<'_>) -> Self {
        Place { dir: way.dir(), name: way.name() }
    }

    /// A name in this very directory, whatever its path is by now.
    pub(in crate::kind) fn within(dir: BorrowedFd<'a>, name: &'a Path) -> Self {
        Place { dir, name }
    }

    /// What is here; nothing when the directory is missing, too.
    pub(in crate::kind) fn look(&self) -> io::Result<Option<Seen>> {
        let found = match fstatat(self.dir, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sort = match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Sort::File,
            SFlag::S_IFDIR => Sort::Directory,
            SFlag::S_IFLNK => Sort::Link,
            _ => Sort::Special,
        };
        let attributes =
            Attributes { uid: found.st_uid, gid: found.st_gid, mode: found.st_mode & MODE_MASK };
        let bytes = found.st_size.try_into().unwrap_or_default();
        Ok(Some(Seen { sort, attributes, bytes, identity: (found.st_dev, found.st_ino) }))
    }

    /// Opens what is here to be read. A pipe that was put here in this moment holds nobody up.
    pub(in crate::kind) fn open(&self) -> io::Result<File> {
        Ok(File::from(openat(self.dir, self.name, reading(), Mode::empty())?))
    }

    /// Opens the directory here to be passed.
    pub(in crate::kind) fn enter(&self) -> io::Result<OwnedFd> {
        let flags = passage() | OFlag::O_NOFOLLOW;
        Ok(openat(self.dir, self.name, flags, Mode::empty())?)
    }

    /// Whether the directory here has nothing in it.
    pub(in crate::kind) fn is_empty(&self) -> io::Result<bool> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut dir = Dir::from_fd(openat(self.dir, self.name, flags, Mode::empty())?)?;
        for entry in dir.iter() {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the file holds exactly this. The caller has seen that it is as long.
    pub(in crate::kind) fn holds(&self, content: &[u8]) -> io::Result<bool> {
        if content.is_empty() {
            return Ok(true);
        }
        let mut file = self.open()?;
        let mut buffer = vec![0; COMPARE_CHUNK.min(content.len() + 1)];
        let mut rest = content;
        loop {
            let read = read(&mut file, &mut buffer)?;
            let Some(after) = rest.strip_prefix(&buffer[..read]) else { return Ok(false) };
            // A read that is not filled met the end: no need to ask once more.
            if read == 0 || (after.is_empty() && read < buffer.len()) {
                return Ok(after.is_empty());
            }
            rest = after;
        }
    }

    /// Whether the file holds the same as another one, of which the caller has seen that it is as
    /// long.
    pub(in crate::kind) fn equals(&self, other: &mut File, bytes: u64) -> io::Result<bool> {
        if bytes == 0 {
            return Ok(true);
        }
        let mut file = self.open()?;
        let chunk = usize::try_from(bytes).map_or(COMPARE_CHUNK, |all| COMPARE_CHUNK.min(all + 1));
        let (mut ours, mut theirs) = (vec![0; chunk], vec![0; chunk]);
        loop {
            let mine = fill(&mut file, &mut ours, bytes)?;
            let other = fill(other, &mut theirs, bytes)?;
            if ours[..mine] != theirs[..other] {
                return Ok(false);
            }
            if mine < chunk {
                return Ok(true);
            }
        }
    }

    /// Where the link here points to.
    pub(in crate::kind) fn target(&self) -> io::Result<OsString> {
        Ok(readlinkat(self.dir, self.name)?)
    }

    /// Puts a whole file in the place of whatever is here, other than a directory. The disk is not
    /// waited for: `docs/decisions/0007-files-are-renamed-not-synced.md`.
    pub(in crate::kind) fn replace(
        &self,
        filling: Filling<'_>,
        ids: Ids,
        mode: Option<u32>,
    ) -> io::Result<()> {
        // Nobody else may use it before it has its owner and mode.
        let first = Mode::from_bits_truncate(if mode.is_some() { 0o600 } else { 0o666 });
        let (temporary, mut file) = Temporary::file(self.dir, first)?;
        match filling {
            Filling::Bytes(content) => file.write_all(content)?,
            Filling::File(source) => drop(io::copy(source, &mut file)?),
        }
        finish(&file, ids, mode)?;
        drop(file);
        temporary.put(self.name)
    }

    /// Puts a link in the place of whatever is here, other than a directory.
    pub(in crate::kind) fn link(&self, target: &Path, ids: Ids) -> io::Result<()> {
        let (temporary, ()) = Temporary::make(self.dir, |dir, name| symlinkat(target, dir, name))?;
        Place { dir: self.dir, name: &temporary.name }.chown(ids)?;
        temporary.put(self.name)
    }

    /// Makes an empty file where nothing is.
    pub(in crate::kind) fn make_file(&self, ids: Ids, mode: Option<u32>) -> io::Result<()> {
        let first = Mode::from_bits_truncate(if mode.is_some() { 0o600 } else { 0o666 });
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = File::from(openat(self.dir, self.name, flags, first)?);
        finish(&file, ids, mode)
    }

    /// Makes a directory where nothing is.
    pub(in crate::kind) fn make_directory(&self, ids: Ids, mode: Option<u32>) -> io::Result<()> {
        let first = Mode::from_bits_truncate(if mode.is_some() { 0o700 } else { 0o777 });
        mkdirat(self.dir, self.name, first)?;
        self.chown(ids)?;
        mode.map_or(Ok(()), |mode| self.set_mode(mode))
    }

    /// Gives it to somebody else; a link itself, not what it points to.
    pub(in crate::kind) fn chown(&self, ids: Ids) -> io::Result<()> {
        if ids == Ids::default() {
            return Ok(());
        }
        let (uid, gid) = (ids.uid.map(Uid::from_raw), ids.gid.map(Gid::from_raw));
        Ok(fchownat(self.dir, self.name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Sets the mode of what is here, which must not be a link. A handle that is good for naming
    /// only works on files that we may not read, and its entry in `/proc` names exactly the inode
    /// that was opened.
    pub(in crate::kind) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = File::from(openat(self.dir, self.name, flags, Mode::empty())?);
        if handle.metadata()?.is_symlink() {
            return Err(Errno::ELOOP.into());
        }
        let inode = format!("/proc/self/fd/{}", handle.as_raw_fd());
        fs::set_permissions(inode, Permissions::from_mode(mode & MODE_MASK))
    }

    /// Removes what is no directory.
    pub(in crate::kind) fn remove_file(&self) -> io::Result<()> {
        Ok(unlinkat(self.dir, self.name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes a directory that is empty.
    pub(in crate::kind) fn remove_directory(&self) -> io::Result<()> {
        Ok(unlinkat(self.dir, self.name, UnlinkatFlags::RemoveDir)?)
    }
}

/// Opens a file that others declared as what to copy: a link is followed, only regular files count.
pub(in crate::kind) fn open_source(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let flags = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    Ok((file, found))
}

/// Owner first: changing it takes the set-id bits off.
fn finish(file: &File, ids: Ids, mode: Option<u32>) -> io::Result<()> {
    if ids != Ids::default() {
        let now = file.metadata()?;
        let uid = ids.uid.filter(|uid| *uid != now.uid());
        let gid = ids.gid.filter(|gid| *gid != now.gid());
        if uid.is_some() || gid.is_some() {
            fchown(file, uid, gid)?;
        }
    }
    mode.map_or(Ok(()), |mode| file.set_permissions(Permissions::from_mode(mode & MODE_MASK)))
}

fn read(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads until the buffer is full or the end is met, which a file of this length shows by itself.
fn fill(file: &mut File, buffer: &mut [u8], bytes: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = read(file, &mut buffer[filled..])?;
        filled += read;
        if read == 0 || filled as u64 == bytes {
            break;
        }
    }
    Ok(filled)
}
