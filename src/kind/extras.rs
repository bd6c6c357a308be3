//! What a file has besides its owner and mode: its access list, its label, and the notes of users.
//!
//! Refuses to give a rewritten file to more people than the one before: what cannot be carried over
//! is an error.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rustix::fs as sys;

/// The access list; a directory may give one to all that is made in it.
const ACCESS: &[u8] = b"system.posix_acl_access";

/// The label of the security module.
const LABEL: &[u8] = b"security.selinux";

/// Notes that users attach.
const NOTES: &[u8] = b"user.";

/// Carries over what the regular file of this name has, if there is one, to a new one. Nobody else
/// may use the new one after that, either, before it gets its mode.
pub(super) fn carry_from(dir: BorrowedFd<'_>, name: &Path, new: &File) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(old) => carry(&File::from(old), new),
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The same, when the old one is open, be it only for naming it.
pub(super) fn carry(old: &File, new: &File) -> io::Result<()> {
    if !old.metadata()?.is_file() {
        return Ok(());
    }
    // The entry in `/proc` names exactly the inode that was opened, whatever it was opened for.
    let [old, inode] = [old, new].map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
    let (theirs, ours) = (names(&old)?, names(&inode)?);
    // The directory gave it one that the old one did not have.
    if ours.iter().any(|name| name == ACCESS) && !theirs.iter().any(|name| name == ACCESS) {
        sys::removexattr(&inode, OsStr::from_bytes(ACCESS))?;
    }
    for name in theirs.iter().filter(|name| is_carried(name)) {
        let shown = OsStr::from_bytes(name);
        let copied = value(&old, shown).and_then(|wanted| {
            let same = value(&inode, shown).is_ok_and(|found| found == wanted);
            if same {
                Ok(())
            } else {
                sys::setxattr(&inode, shown, &wanted, sys::XattrFlags::empty())
            }
        });
        copied.map_err(|error| refusal(shown, io::Error::from(error)))?;
        if name == ACCESS {
            // It comes with permissions of its own.
            new.set_permissions(Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

fn is_carried(name: &[u8]) -> bool {
    name == ACCESS || name == LABEL || name.starts_with(NOTES)
}

fn refusal(name: &OsStr, error: io::Error) -> io::Error {
    let name = name.display();
    io::Error::other(format!(
        "its attribute {name} cannot be kept ({}); run the agent as a user who may, or take it off \
         with `setfattr -x {name}`",
        super::replace::reason(&error)
    ))
}

/// The names of the attributes; none where the file system has no such thing.
fn names(path: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut list = match sys::listxattr_query(path) {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => vec![0; length?],
    };
    let length = sys::listxattr(path, &mut list[..])?;
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

fn value(path: &str, name: &OsStr) -> rustix::io::Result<Vec<u8>> {
    let mut value = vec![0; sys::getxattr_query(path, name)?];
    let length = match value.is_empty() {
        true => 0,
        false => sys::getxattr(path, name, &mut value[..])?,
    };
    value.truncate(length);
    Ok(value)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// The list `u::rw-,u:1000:r--,g::---,m::r--,o::---`, as the kernel takes it.
    pub(in crate::kind) fn list() -> Vec<u8> {
        let none = u32::MAX;
        let entries =
            [(0x01, 6, none), (0x02, 4, 1000), (0x04, 0, none), (0x10, 4, none), (0x20, 0, none)];
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            bytes.extend(u16::to_le_bytes(tag));
            bytes.extend(u16::to_le_bytes(permissions));
            bytes.extend(u32::to_le_bytes(id));
        }
        bytes
    }

    /// Gives a file such a list; false where the file system has none.
    pub(in crate::kind) fn set(path: &Path, name: &str, value: &[u8]) -> bool {
        sys::setxattr(path, name, value, sys::XattrFlags::empty()).is_ok()
    }

    pub(in crate::kind) fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
        value(path.to_str().unwrap(), OsStr::new(name)).ok()
    }

    #[test]
    fn a_list_that_the_directory_gives_does_not_widen_a_file_that_had_none() {
        let dir = tempfile::tempdir().unwrap();
        if !set(dir.path(), "system.posix_acl_default", &list()) {
            return;
        }
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let access = "system.posix_acl_access";
        let [old_file, new_file] = [&old, &new].map(|path| File::create(path).unwrap());
        assert!(get(&new, access).is_some(), "the directory gave it");
        sys::removexattr(&old, access).unwrap();
        carry(&old_file, &new_file).unwrap();
        assert_eq!(get(&new, access), None);
        assert!(set(&old, access, &list()) && set(&old, "user.note", b""));
        carry(&old_file, &new_file).unwrap();
        assert_eq!(get(&new, "user.note").as_deref(), Some(&b""[..]));
        assert!(get(&new, access).is_some());
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o7777, 0o600, "for nobody else yet");
        let refused = refusal(OsStr::new("user.x"), Errno::EPERM.into()).to_string();
        assert!(refused.starts_with("its attribute user.x cannot be kept"), "{refused}");
    }
}
