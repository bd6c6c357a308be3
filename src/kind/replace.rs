//! Files that kinds write whole: beside the old one, then in its place; and where a kind keeps what
//! has to survive a restart.
//!
//! Refuses to write through a link or over anything but a regular file, and to leave half a file.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::extras::carry;
use super::fence::At;
use super::way::{Temporary, Way, reading};
use crate::ident::ResourceId;

/// The bits of a mode that are permissions.
const MODE_MASK: u32 = 0o7777;

/// How much is compared at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// Opens a regular file for reading; nothing when there is none. The error is a sentence.
pub(super) fn open<'a>(at: impl Into<At<'a>>) -> Result<Option<File>, String> {
    let at = at.into();
    let shown = at.path.display();
    let opened = Way::to(at).and_then(|way| open_at(&way));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err(format!("{shown} is a symbolic link; name the file that it leads to"));
        }
        Err(error) => return Err(format!("cannot read {shown}: {}", reason(&error))),
    };
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(Some(file)),
        Ok(_) => Err(format!("{shown} is no regular file; remove it, or name another path")),
        Err(error) => Err(format!("cannot look at {shown}: {}", reason(&error))),
    }
}

fn open_at(way: &Way<'_>) -> io::Result<File> {
    Ok(File::from(openat(way.dir(), way.name(), reading(), Mode::empty())?))
}

/// Puts a file with what `fill` writes in the place of the one at `path`, whose owner and mode it
/// keeps. A new one gets `mode`. The error is a sentence.
pub(super) fn replace<'a>(
    at: impl Into<At<'a>>,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), String> {
    replace_if(at, mode, fill, || Ok(()))
}

/// The same, if at the last moment before it nothing is said against it.
pub(super) fn replace_if<'a>(
    at: impl Into<At<'a>>,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
    last: impl FnOnce() -> io::Result<()>,
) -> Result<(), String> {
    let at = at.into();
    let old = open(at)?;
    let write = || -> io::Result<()> {
        let way = Way::to(at)?;
        let first = if old.is_some() { 0o600 } else { mode };
        let (temporary, mut file) = Temporary::file(way.dir(), Mode::from_bits_truncate(first))?;
        if let Some(old) = &old {
            carry(old, &file)?;
        }
        fill(&mut file)?;
        if let Some(old) = &old {
            keep(&old.metadata()?, &file)?;
        }
        file.sync_all()?;
        last()?;
        temporary.put(way.name())
    };
    write().map_err(|error| explain(at.path, &error))
}

/// Gives a new file the owner and the mode of the old one. Owner first: changing it takes the
/// set-id bits off.
fn keep(old: &fs::Metadata, new: &File) -> io::Result<()> {
    let now = new.metadata()?;
    let uid = (old.uid() != now.uid()).then(|| old.uid());
    let gid = (old.gid() != now.gid()).then(|| old.gid());
    if uid.is_some() || gid.is_some() {
        fchown(new, uid, gid)?;
    }
    new.set_permissions(Permissions::from_mode(old.mode() & MODE_MASK))
}

/// Why a file could not be written, with the next step.
fn explain(path: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            let parent = path.parent().unwrap_or(path).display();
            format!("; declare its directory as a file resource (name: {parent}/) or create it")
        }
        ErrorKind::PermissionDenied => "; run the agent as a user who may".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "; mount the file system writable".to_owned(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room".to_owned(),
        _ => String::new(),
    };
    format!("cannot write {}: {}{hint}", path.display(), reason(error))
}

/// The system's reason without the number that the library adds.
pub(super) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// Compares what is written with a file, and holds nothing of either.
pub(super) struct Comparison {
    old: File,
    same: bool,
    buffer: Vec<u8>,
}

impl Comparison {
    pub(super) fn with(old: File) -> Self {
        Comparison { old, same: true, buffer: vec![0; CHUNK] }
    }

    /// Whether all that was written is all of the file.
    pub(super) fn finish(mut self) -> io::Result<bool> {
        Ok(self.same && self.old.read(&mut [0])? == 0)
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(CHUNK)];
        if self.same {
            let old = &mut self.buffer[..part.len()];
            self.same = match self.old.read_exact(old) {
                Ok(()) => old == part,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
                Err(error) => return Err(error),
            };
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the file at `path` what `fill` writes, unless it is that already; `fill` is asked twice
/// then, and has to write the same both times. A new file is for nobody else to read:
/// what it is made of may be secret.
pub(super) fn converge<'a>(
    at: impl Into<At<'a>>,
    apply: bool,
    cancel: &CancellationToken,
    fill: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<Outcome, String> {
    let at = at.into();
    let words = match open(at)? {
        None => "created",
        Some(old) => {
            let mut to = Guarded { to: Comparison::with(old), cancel };
            let compared = fill(&mut to).and_then(|()| to.to.finish());
            match compared {
                Ok(true) => return Ok(Outcome::Unchanged),
                Ok(false) => "written",
                Err(error) => return Err(format!("{}: {}", at.path.display(), reason(&error))),
            }
        }
    };
    if !apply {
        return Ok(Outcome::WouldChange(words.to_owned()));
    }
    replace(at, 0o600, |file| {
        let mut to = Guarded { to: BufWriter::new(file), cancel };
        fill(&mut to)?;
        to.flush()
    })?;
    Ok(Outcome::Changed(words.to_owned()))
}

/// Lets long work on the blocking pool end when the run is given up.
struct Guarded<'a, W> {
    to: W,
    cancel: &'a CancellationToken,
}

impl<W: Write> Write for Guarded<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::other("cancelled")),
            false => self.to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Work on files, on the pool for what blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| format!("the file task ended early: {error}"))?
}

/// Where a resource keeps what has to survive a restart. Names may be long and hold anything, so
/// the file has their digest as its name.
pub(super) fn state_file(state_dir: &Path, id: &ResourceId) -> PathBuf {
    let digest = Sha256::digest(id.name().as_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    state_dir.join("kinds").join(id.kind()).join(name)
}

/// Writes such a file, for nobody else to read. The error is a sentence.
pub(super) fn write_state(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(parent);
        made.map_err(|error| format!("cannot create {}: {}", parent.display(), reason(&error)))?;
    }
    replace(path, 0o600, |file| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_only_when_all_of_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let long = vec![7; 3 * CHUNK + 1];
        for (old, new, same) in [
            (&b"abc"[..], &b"abc"[..], true),
            (b"abc", b"abd", false),
            (b"abcd", b"abc", false),
            (b"abc", b"abcd", false),
            (b"", b"", true),
            (&long, &long, true),
            (&long, &long[1..], false),
        ] {
            fs::write(&path, old).unwrap();
            let mut comparison = Comparison::with(open(&path).unwrap().unwrap());
            comparison.write_all(new).unwrap();
            assert_eq!(comparison.finish().unwrap(), same, "{} {}", old.len(), new.len());
        }
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_failed_one_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, 0o600, |file| file.write_all(b"one")).unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & MODE_MASK;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o2751)).unwrap();
        replace(&path, 0o600, |file| file.write_all(b"two")).unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o2751, b"two".to_vec()));
        let half = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        };
        assert!(replace(&path, 0o600, half).unwrap_err().ends_with("; make room"));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn the_last_look_is_when_the_new_file_is_whole_and_its_no_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "old").unwrap();
        let refuse = || {
            let contents = fs::read_dir(dir.path())?.map(|entry| fs::read(entry.unwrap().path()));
            let mut contents: Vec<Vec<u8>> = contents.collect::<io::Result<_>>()?;
            contents.sort();
            assert_eq!(contents, [b"new", b"old"]);
            Err(io::Error::other("changed by others"))
        };
        let error = replace_if(&path, 0o600, |file| file.write_all(b"new"), refuse).unwrap_err();
        assert!(error.ends_with("changed by others"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn links_and_what_is_no_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(replace(&link, 0o600, |_| Ok(())).unwrap_err().contains("is a symbolic link"));
        let error = replace(dir.path(), 0o600, |_| Ok(())).unwrap_err();
        assert!(error.contains("is no regular file"), "{error}");
        let deep = dir.path().join("no/f");
        let error = replace(&deep, 0o600, |_| Ok(())).unwrap_err();
        assert!(error.contains("declare its directory as a file resource"), "{error}");
    }

    #[test]
    fn state_of_any_name_has_a_short_private_place() {
        let dir = tempfile::tempdir().unwrap();
        let id = ResourceId::new("password", "../../x/".repeat(300).as_str());
        let path = state_file(dir.path(), &id);
        write_state(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & MODE_MASK, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & MODE_MASK, 0o700);
    }
}
