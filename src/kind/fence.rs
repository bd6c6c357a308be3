//! The way to what another host named: it begins in a directory that this host named, and never
//! leaves it.
//!
//! Refuses to pass a link that leads out, whoever it belongs to and whenever it is put there: what
//! was opened is kept open, and nothing goes up but to a directory that was passed before.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use thiserror::Error;

use super::way::{self, LINKS_MAX, link_at, parts, passage};

/// A path, and the directory that the way to it must not leave, if there is one. Both are clean and
/// absolute.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) path: &'a Path,
    pub(super) within: Option<&'a Path>,
}

impl<'a> From<&'a Path> for At<'a> {
    fn from(path: &'a Path) -> Self {
        At { path, within: None }
    }
}

impl<'a> From<&'a PathBuf> for At<'a> {
    fn from(path: &'a PathBuf) -> Self {
        At::from(path.as_path())
    }
}

/// The way leads out of the directory that a rule permits.
#[derive(Debug, Error)]
#[error(
    "XC04: the way to it leaves {within}/{at}, and the collect rule permits nothing outside; \
     remove the link, or give the rule another `within`"
)]
struct Outside {
    within: String,
    at: String,
}

impl At<'_> {
    /// Opens a directory on the way to the path, to be passed.
    pub(super) fn directory(&self, directory: &Path) -> io::Result<OwnedFd> {
        let Some(within) = self.within else { return way::directory(directory) };
        if !self.path.starts_with(within) {
            return Err(outside(within, None));
        }
        match directory.strip_prefix(within) {
            Ok(rest) => beneath(way::directory(within)?, within, rest),
            // How to get to the directory itself is said by this host alone.
            Err(_) if within.starts_with(directory) => way::directory(directory),
            Err(_) => Err(outside(within, None)),
        }
    }
}

fn outside(within: &Path, link: Option<&Path>) -> io::Error {
    let at = link.map(|link| format!(" by the symbolic link {}", link.display()));
    let within = within.display().to_string();
    io::Error::other(Outside { within, at: at.unwrap_or_default() })
}

/// One call, which serves nearly always; part by part when there is a link, or no such call.
fn beneath(base: OwnedFd, within: &Path, rest: &Path) -> io::Result<OwnedFd> {
    if rest.as_os_str().is_empty() {
        return Ok(base);
    }
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match openat2(&base, rest, OpenHow::new().flags(passage()).resolve(resolve)) {
        Ok(handle) => Ok(handle),
        // Somebody renamed a directory meanwhile, or there is a link, or no such call.
        Err(Errno::ELOOP | Errno::EXDEV | Errno::EAGAIN | Errno::ENOSYS | Errno::EPERM) => {
            walk(base, within, rest)
        }
        Err(error) => Err(error.into()),
    }
}

/// Part by part; links that stay inside are followed if they count, as everywhere.
fn walk(base: OwnedFd, within: &Path, rest: &Path) -> io::Result<OwnedFd> {
    let mut passed: Vec<(OsString, OwnedFd)> = Vec::new();
    let mut todo = parts(rest);
    let mut links = 0;
    // The link that the parts before this many from the end came from.
    let mut last: Option<PathBuf> = None;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            if passed.pop().is_none() {
                return Err(outside(within, last.as_deref()));
            }
            continue;
        }
        let here = passed.last().map_or(base.as_fd(), |(_, handle)| handle.as_fd());
        let shown: PathBuf = [within.as_os_str()]
            .into_iter()
            .chain(passed.iter().map(|(name, _)| &**name))
            .collect();
        let Some(target) = link_at(here, &part, &shown)? else {
            let flags = passage() | OFlag::O_NOFOLLOW;
            let handle = openat(here, part.as_os_str(), flags, Mode::empty())?;
            passed.push((part, handle));
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::ELOOP.into());
        }
        let link = shown.join(&part);
        let mut inner = if target.is_absolute() {
            let Ok(inner) = target.strip_prefix(within) else {
                return Err(outside(within, Some(&link)));
            };
            passed.clear();
            parts(inner)
        } else {
            parts(&target)
        };
        inner.append(&mut todo);
        todo = inner;
        last = Some(link);
    }
    Ok(passed.pop().map_or(base, |(_, handle)| handle))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::fstat;

    use super::*;

    fn number(handle: &OwnedFd) -> (u64, u64) {
        let found = fstat(handle).unwrap();
        (found.st_dev, found.st_ino)
    }

    #[test]
    fn links_that_stay_inside_are_followed_and_those_that_lead_out_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let srv = top.join("srv");
        fs::create_dir_all(srv.join("real/deep")).unwrap();
        fs::create_dir(top.join("out")).unwrap();
        symlink("real", srv.join("relative")).unwrap();
        symlink(srv.join("real/deep"), srv.join("absolute")).unwrap();
        symlink("../../relative/deep/..", srv.join("real/deep/round")).unwrap();
        symlink("../out", srv.join("up")).unwrap();
        symlink(top.join("out"), srv.join("away")).unwrap();
        symlink(srv.join("../out"), srv.join("real/sly")).unwrap();
        symlink("../../srv/real", srv.join("real/back")).unwrap();
        symlink("loop", srv.join("loop")).unwrap();
        let open = |name: &str| {
            let (path, within) = (srv.join(name).join("f"), Some(srv.as_path()));
            At { path: &path, within }.directory(&srv.join(name))
        };
        for (name, real) in [
            ("", ""),
            ("real/deep", "real/deep"),
            ("relative", "real"),
            ("absolute", "real/deep"),
            ("absolute/round", "real"),
        ] {
            let real = number(&way::directory(&srv.join(real)).unwrap());
            assert_eq!(number(&open(name).unwrap()), real, "{name}");
        }
        for name in ["up", "away", "real/sly", "relative/sly", "real/back"] {
            let error = open(name).unwrap_err().to_string();
            let shown = srv.display();
            let start =
                format!("XC04: the way to it leaves {shown}/ by the symbolic link {shown}/");
            assert!(error.starts_with(&start), "{name}: {error}");
        }
        for (name, code) in [("loop", Errno::ELOOP), ("none", Errno::ENOENT)] {
            assert_eq!(open(name).unwrap_err().raw_os_error(), Some(code as i32), "{name}");
        }
    }

    #[test]
    fn the_way_to_the_directory_itself_is_this_host_s_and_nothing_beside_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/in")).unwrap();
        symlink("real", top.join("srv")).unwrap();
        let (path, srv) = (top.join("srv/in/f"), top.join("srv"));
        let at = At { path: &path, within: Some(&srv) };
        let real = number(&way::directory(&top.join("real/in")).unwrap());
        assert_eq!(number(&at.directory(&top.join("srv/in")).unwrap()), real);
        assert!(at.directory(&top).is_ok(), "to make it, when it is missing");
        let refused = at.directory(&top.join("real")).unwrap_err().to_string();
        assert!(refused.contains("permits nothing outside"), "{refused}");
    }
}
