//! A directory that is held open, and everything below it by relative path.
//!
//! Refuses to follow a symbolic link on the way down, whoever puts one there and whenever: each
//! part of a path is opened in the directory before it. Refuses to leave the file system when it
//! removes.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat};
use tokio_util::sync::CancellationToken;

use super::super::way::{TEMPORARY, passage};
use super::place::{Place, Sort};

/// How many entries a tree may have: each costs memory while it is looked at.
pub(in crate::kind) const ENTRIES_MAX: usize = 1_000_000;

/// A directory, whatever its path is by now.
pub(in crate::kind) struct Root {
    top: OwnedFd,
    /// The file system that it lies on.
    pub(in crate::kind) device: u64,
    /// The directory that was used last: entries come sorted, so it is mostly the next one, too.
    last: Option<(PathBuf, OwnedFd)>,
    /// No mount is passed on the way down, not even one of the same file system.
    stay: bool,
}

impl Root {
    /// Opens a directory that is only read; every link on the way is followed.
    pub(in crate::kind) fn follow(path: &Path) -> io::Result<Self> {
        Root::of(openat(AT_FDCWD, path, passage(), Mode::empty())?)
    }

    /// Takes a directory that was opened.
    pub(in crate::kind) fn of(top: OwnedFd) -> io::Result<Self> {
        let device = fstat(&top)?.st_dev;
        Ok(Root { top, device, last: None, stay: false })
    }

    /// The entry at this path, which is not empty.
    pub(in crate::kind) fn at<'a>(&'a mut self, path: &'a Path) -> io::Result<Place<'a>> {
        let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok(Place::within(self.directory(parent)?, Path::new(name)))
    }

    /// The names in a directory, without our own temporary ones.
    pub(in crate::kind) fn names(&mut self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = self.all_names(path)?;
        names.retain(|name| !name.as_bytes().starts_with(TEMPORARY.as_bytes()));
        Ok(names)
    }

    /// Removes a directory and all that is in it, or nothing when something is mounted somewhere in
    /// it. What is listed at a time is what lies in one directory and those above it.
    pub(in crate::kind) fn remove_tree(
        &mut self,
        path: &Path,
        cancel: &CancellationToken,
    ) -> io::Result<()> {
        self.forget();
        self.stay = true;
        let done = self.sweep(path, false, cancel).and_then(|()| self.sweep(path, true, cancel));
        self.stay = false;
        self.forget();
        done
    }

    /// Looks at all that is in a directory, the deepest first, and removes it if asked to.
    fn sweep(&mut self, path: &Path, remove: bool, cancel: &CancellationToken) -> io::Result<()> {
        let mut open = vec![(path.to_path_buf(), self.all_names(path)?.into_iter())];
        while let Some((directory, names)) = open.last_mut() {
            go_on(cancel)?;
            let Some(name) = names.next() else {
                if remove {
                    gone_is_fine(self.at(directory)?.remove_directory())?;
                }
                open.pop();
                continue;
            };
            let entry = directory.join(name);
            match self.at(&entry)?.look()? {
                Some(seen) if seen.identity.0 != self.device => return Err(Errno::EBUSY.into()),
                Some(seen) if seen.sort == Sort::Directory => {
                    let names = self.all_names(&entry)?.into_iter();
                    open.push((entry, names));
                }
                Some(_) if remove => gone_is_fine(self.at(&entry)?.remove_file())?,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Whether something is mounted on this directory, be it of the same file system.
    pub(in crate::kind) fn is_mount(&mut self, path: &Path) -> io::Result<bool> {
        let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        let dir = self.directory(path.parent().unwrap_or(Path::new("")))?;
        match enter(dir, name, true) {
            Err(Errno::EBUSY) => Ok(true),
            entered => Ok(entered.map(|_| false)?),
        }
    }

    /// The names with our own temporary ones: they must not keep a directory from going.
    pub(in crate::kind) fn all_names(&mut self, path: &Path) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = openat(self.directory(path)?, ".", flags, Mode::empty())?;
        let names: nix::Result<Vec<OsString>> = Dir::from_fd(handle)?
            .iter()
            .map(|entry| Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned()))
            .collect();
        Ok(names?.into_iter().filter(|name| name != "." && name != "..").collect())
    }

    /// Forgets the directory that was used last: it may be gone, or another one has its name.
    pub(in crate::kind) fn forget(&mut self) {
        self.last = None;
    }

    fn directory(&mut self, path: &Path) -> io::Result<BorrowedFd<'_>> {
        if path.as_os_str().is_empty() {
            return Ok(self.top.as_fd());
        }
        if !matches!(&self.last, Some((last, _)) if last == path) {
            let handle = self.descend(path)?;
            self.last = Some((path.to_path_buf(), handle));
        }
        Ok(self.last.as_ref().map_or(self.top.as_fd(), |(_, handle)| handle.as_fd()))
    }

    fn descend(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut here: Option<OwnedFd> = None;
        let mut rest = path;
        if let Some((last, handle)) = &self.last
            && let Ok(below) = path.strip_prefix(last)
        {
            here = Some(handle.try_clone()?);
            rest = below;
        }
        for part in rest.components() {
            let Component::Normal(name) = part else {
                return Err(ErrorKind::InvalidInput.into());
            };
            let dir = here.as_ref().map_or(self.top.as_fd(), |handle| handle.as_fd());
            here = Some(enter(dir, name, self.stay)?);
        }
        here.ok_or_else(|| ErrorKind::InvalidInput.into())
    }
}

/// Opens a directory to be passed; one that something is mounted on is busy for who has to `stay`.
fn enter(dir: BorrowedFd<'_>, name: &OsStr, stay: bool) -> nix::Result<OwnedFd> {
    let flags = passage() | OFlag::O_NOFOLLOW;
    if stay {
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
        match openat2(dir, name, how) {
            Err(Errno::EXDEV) => return Err(Errno::EBUSY),
            // Without the call, other file systems are still told by their numbers.
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            entered => return entered,
        }
    }
    openat(dir, name, flags, Mode::empty())
}

/// Refuses when the run was given up.
pub(in crate::kind) fn go_on(cancel: &CancellationToken) -> io::Result<()> {
    match cancel.is_cancelled() {
        true => Err(io::Error::other("cancelled before it was done")),
        false => Ok(()),
    }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_on_the_way_down_is_passed_however_late_it_is_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let (top, out) = (dir.path().join("top"), dir.path().join("out"));
        fs::create_dir_all(top.join("sub/deep")).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join("f"), "untouched").unwrap();
        let mut root = Root::follow(&top).unwrap();
        let ours = Path::new("sub/f");
        root.at(ours).unwrap().make_file(super::super::plan::Ids::default(), None).unwrap();
        fs::rename(top.join("sub"), dir.path().join("moved")).unwrap();
        symlink(&out, top.join("sub")).unwrap();
        // What was opened before is still the directory that it was.
        root.at(ours).unwrap().remove_file().unwrap();
        assert!(!dir.path().join("moved/f").exists());
        root.forget();
        for path in ["sub/f", "sub/deep/f"] {
            let refused = root.at(Path::new(path)).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(Errno::ENOTDIR as i32), "{path}");
        }
        assert!(root.names(Path::new("sub")).is_err());
        assert!(root.remove_tree(Path::new("sub"), &CancellationToken::new()).is_err());
        assert_eq!(fs::read_to_string(out.join("f")).unwrap(), "untouched");
        for path in ["../out/f", "/etc/f", "."] {
            assert!(root.at(Path::new(path)).is_err(), "{path} leads outside");
        }
    }

    #[test]
    fn a_removal_that_is_given_up_ends_and_a_deep_tree_goes_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut root = Root::follow(dir.path()).unwrap();
        let mut deep = dir.path().join("d");
        for _ in 0..200 {
            deep.push("e");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "").unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(root.remove_tree(Path::new("d"), &cancel).is_err());
        assert!(deep.join("f").exists());
        root.remove_tree(Path::new("d"), &CancellationToken::new()).unwrap();
        assert!(!dir.path().join("d").exists());
    }

    /// Says in the run of this very test that has a mount where it happens.
    const BOUND: &str = "QUORATE_TEST_BOUND";

    /// Needs a user who may mount; the mount is in a namespace of its own.
    #[test]
    fn nothing_is_removed_through_a_bind_mount_of_the_same_file_system() {
        if let Some(dir) = std::env::var_os(BOUND).map(PathBuf::from) {
            let mut root = Root::follow(&dir).unwrap();
            assert!(root.is_mount(Path::new("d/bound")).unwrap());
            assert!(!root.is_mount(Path::new("d")).unwrap());
            for path in ["d", "d/bound"] {
                let refused = root.remove_tree(Path::new(path), &CancellationToken::new());
                let code = refused.unwrap_err().raw_os_error();
                assert_eq!(code, Some(Errno::EBUSY as i32), "{path}");
            }
            assert!(dir.join("d/other").exists(), "all or nothing");
            return;
        }
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/bound")).unwrap();
        fs::create_dir(dir.path().join("precious")).unwrap();
        fs::write(dir.path().join("precious/f"), "untouched").unwrap();
        fs::write(dir.path().join("d/other"), "").unwrap();
        let script = "mount --bind precious d/bound || exit 0; exec \"$0\" --exact \"$1\"";
        let name = std::thread::current().name().unwrap().to_owned();
        let mut run = std::process::Command::new("unshare");
        run.args(["--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap()).arg(name);
        let done = run.current_dir(dir.path()).env(BOUND, dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(fs::read_to_string(dir.path().join("precious/f")).unwrap(), "untouched");
    }
}
