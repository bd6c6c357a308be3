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
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::super::Mover;
use super::super::extras::carry_from;
use super::super::way::{OTHERS_WRITE, Temporary, Way, passage, reading};
use super::plan::{Attributes, Ids, MODE_MASK, Rights};
use super::root::go_on;

/// How much is compared at a time, in bytes.
const COMPARE_CHUNK: usize = 64 << 10;

/// The modes that let others read and run a file, and no more.
const OTHERS_READ: u32 = 0o755;

/// How much is copied before it is asked whether the run was given up, in bytes.
const COPY_CHUNK: u64 = 8 << 20;

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
    /// From where the file stands to its end, which has to be after as many bytes.
    File {
        file: &'a mut File,
        bytes: u64,
        cancel: &'a CancellationToken,
    },
}

/// A file that holds other than its size says, or that changed meanwhile.
#[derive(Debug, Error)]
#[error(
    "what is copied holds more or less than its size says: it changes, or the system makes it up \
     as it is read; try again, or copy it with an `exec`"
)]
pub(in crate::kind) struct Unsteady;

impl Unsteady {
    /// Whether this is why.
    pub(in crate::kind) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Unsteady>())
    }
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
    /// long. That is no proof: files that the system makes up have no true size.
    pub(in crate::kind) fn equals(
        &self,
        other: &mut File,
        bytes: u64,
        cancel: &CancellationToken,
    ) -> io::Result<bool> {
        if bytes == 0 {
            return ends(other).map(|()| true);
        }
        let mut file = self.open()?;
        let chunk = usize::try_from(bytes).map_or(COMPARE_CHUNK, |all| COMPARE_CHUNK.min(all + 1));
        let (mut ours, mut theirs) = (vec![0; chunk], vec![0; chunk]);
        let mut left = bytes;
        while left > 0 {
            go_on(cancel)?;
            let part = usize::try_from(left).map_or(chunk, |left| chunk.min(left));
            let mine = fill(&mut file, &mut ours[..part])?;
            let theirs_filled = fill(other, &mut theirs[..part])?;
            if theirs_filled < part {
                return Err(io::Error::other(Unsteady));
            }
            if ours[..mine] != theirs[..part] {
                return Ok(false);
            }
            left -= part as u64;
        }
        ends(other).map(|()| true)
    }

    /// Where the link here points to.
    pub(in crate::kind) fn target(&self) -> io::Result<OsString> {
        Ok(readlinkat(self.dir, self.name)?)
    }

    /// Puts a whole file in the place of whatever is here, other than a directory, after `room` was
    /// made for it. One that is not `new` keeps what a file has besides owner and mode. The disk is
    /// not waited for: `docs/decisions/0007-files-are-renamed-not-synced.md`.
    pub(in crate::kind) fn replace(
        &self,
        filling: Filling<'_>,
        rights: Rights,
        new: bool,
        room: impl FnOnce() -> io::Result<()>,
        mover: &Mover,
    ) -> io::Result<()> {
        let first = first_mode(rights, new);
        let (temporary, mut file) = Temporary::file(self.dir, first)?;
        if !new {
            carry_from(self.dir, self.name, &file)?;
        }
        match filling {
            Filling::Bytes(content) => file.write_all(content)?,
            Filling::File { file: source, bytes, cancel } => {
                pour(source, &mut file, bytes, cancel)?
            }
        }
        finish(&file, rights, first)?;
        drop(file);
        room()?;
        let name = temporary.name.clone();
        let put = || temporary.put(self.name);
        if is_ours_alone(rights) { mover.announced(&name, put) } else { put() }
    }

    /// Puts a link in the place of whatever is here, other than a directory.
    pub(in crate::kind) fn link(
        &self,
        target: &Path,
        ids: Ids,
        room: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let (temporary, ()) = Temporary::make(self.dir, |dir, name| symlinkat(target, dir, name))?;
        Place { dir: self.dir, name: &temporary.name }.chown(ids)?;
        room()?;
        temporary.put(self.name)
    }

    /// Makes an empty file where nothing is.
    pub(in crate::kind) fn make_file(&self, ids: Ids, mode: Option<u32>) -> io::Result<()> {
        let rights = Rights { ids, mode };
        let first = first_mode(rights, true);
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = File::from(openat(self.dir, self.name, flags, first)?);
        finish(&file, rights, first)
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
        fchownat(self.dir, self.name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let found = fstatat(self.dir, self.name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let same = |wanted: Option<u32>, found| wanted.is_none_or(|wanted| wanted == found);
        stuck("owner", same(ids.uid, found.st_uid) && same(ids.gid, found.st_gid))
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
        fs::set_permissions(inode, Permissions::from_mode(mode & MODE_MASK))?;
        stuck("mode", handle.metadata()?.mode() & MODE_MASK == mode & MODE_MASK)
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

/// Whether nobody else can have written to a file with these rights by the time that it takes its
/// place: who hears nothing of the move would not look at that either.
fn is_ours_alone(rights: Rights) -> bool {
    let ours = |owner| owner == 0 || owner == Uid::effective().as_raw();
    rights.ids.uid.is_none_or(ours) && rights.mode.is_some_and(|mode| mode & OTHERS_WRITE == 0)
}

/// Some file systems say that it is done and keep what was: it would be done again for ever.
fn stuck(what: &str, same: bool) -> io::Result<()> {
    if same {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the system says that it is done, and the {what} is not what it should be; declare what \
         the file system can keep, or leave it out"
    )))
}

/// Copies exactly as many bytes, which have to be all that there are.
fn pour(from: &mut File, to: &mut File, bytes: u64, cancel: &CancellationToken) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        go_on(cancel)?;
        let copied = io::copy(&mut Read::by_ref(from).take(left.min(COPY_CHUNK)), to)?;
        if copied == 0 {
            return Err(io::Error::other(Unsteady));
        }
        left -= copied;
    }
    ends(from)
}

/// Refuses a file that goes on.
fn ends(file: &mut File) -> io::Result<()> {
    match read(file, &mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other(Unsteady)),
    }
}

/// The mode that a file is made with: nobody else may use it before it has its owner and mode. A
/// new one that stays ours and that others at most read has its mode from the beginning, and needs
/// no further call for that.
fn first_mode(rights: Rights, new: bool) -> Mode {
    Mode::from_bits_truncate(match rights.mode {
        None => 0o666,
        Some(mode) if new && rights.ids == Ids::default() && mode & !OTHERS_READ == 0 => mode,
        Some(_) => 0o600,
    })
}

/// Gives a file that was made with the mode `first` its owner and mode. Owner first: changing it
/// takes the set-id bits off.
fn finish(file: &File, Rights { ids, mode }: Rights, first: Mode) -> io::Result<()> {
    // The process's mask and the directory's defaults may have taken some of it away.
    let asked = ids == Ids::default() && mode == Some(first.bits());
    if asked && file.metadata()?.mode() & MODE_MASK == first.bits() {
        return Ok(());
    }
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

/// Reads until the buffer is full or the end is met.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let read = read(file, &mut buffer[filled..])?;
        filled += read;
        if read == 0 {
            break;
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_announced_only_of_what_nobody_else_could_write_to() {
        let us = Uid::effective().as_raw();
        for (uid, mode, alone) in [
            (None, Some(0o644), true),
            (Some(us), Some(0o4755), true),
            (Some(0), Some(0o600), true),
            (Some(us + 1), Some(0o600), false),
            (None, Some(0o664), false),
            (None, Some(0o602), false),
            (None, None, false),
        ] {
            let rights = Rights { ids: Ids { uid, gid: None }, mode };
            assert_eq!(is_ours_alone(rights), alone, "{rights:?}");
        }
    }

    #[test]
    fn a_copy_is_all_of_its_source_or_refused_and_ends_when_it_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "12345").unwrap();
        let cancel = CancellationToken::new();
        for (bytes, whole) in [(5, true), (4, false), (6, false), (0, false)] {
            let mut source = File::open(&from).unwrap();
            let poured = pour(&mut source, &mut File::create(&to).unwrap(), bytes, &cancel);
            assert!(poured.as_ref().err().is_none_or(Unsteady::is), "{poured:?}");
            assert_eq!(poured.is_ok(), whole, "{bytes}");
        }
        cancel.cancel();
        let mut source = File::open(&from).unwrap();
        let poured = pour(&mut source, &mut File::create(&to).unwrap(), 5, &cancel);
        assert!(poured.unwrap_err().to_string().contains("cancelled"));
        assert!(stuck("mode", true).is_ok() && stuck("mode", false).is_err());
    }
}
