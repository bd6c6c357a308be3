//! What a file is filled with, gathered before anything is looked at or changed.
//!
//! Refuses to take a missing source or fragment for an empty one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::way::{self, TEMPORARY};
use super::CONTENT_MAX;
use super::effects::{Job, Trouble, os_reason};
use super::mirror::Source;
use super::place::{Filling, Place, Seen, open_source};
use super::plan::{Body, Fragment, Observed, narrowed};
use super::tree::COPIED_BITS;

/// What the wanted content comes from.
pub(super) enum Material<'a> {
    /// Nothing is said about the content.
    Any,
    Bytes(&'a [u8]),
    /// Several files, one after the other.
    Joined {
        content: Vec<u8>,
        /// The permissions that all of them give; nothing when there is none.
        mode: Option<u32>,
    },
    /// A file that has no size to go by, and was read.
    Read {
        content: Vec<u8>,
        mode: u32,
    },
    File {
        file: File,
        bytes: u64,
        mode: u32,
    },
    Tree(Source),
}

impl<'a> Material<'a> {
    pub(super) fn gather(body: &'a Body, job: &Job<'_>) -> Result<Self, Trouble> {
        match body {
            Body::Any | Body::Link(_) | Body::Tree { source: None, .. } => Ok(Material::Any),
            Body::Content(content) => Ok(Material::Bytes(content.bytes())),
            Body::Copy(source) => copy(source),
            Body::Fragments(fragments) => join(fragments),
            Body::Tree { source: Some(source), .. } => {
                Ok(Material::Tree(Source::open(source, job)?))
            }
        }
    }

    /// The permissions of what is copied; a copy has them, too, unless others are declared. What is
    /// made of several files gives nobody more than each of them; one that is there keeps the rest.
    pub(super) fn mode(&self, observed: &Observed) -> Option<u32> {
        match self {
            Material::Any | Material::Bytes(_) => None,
            Material::Joined { mode, .. } => match *observed {
                Observed::File { attributes, .. } => mode.and_then(|all| narrowed(attributes, all)),
                _ => mode.map(|all| all & COPIED_BITS),
            },
            Material::File { mode, .. } | Material::Read { mode, .. } => Some(mode & COPIED_BITS),
            Material::Tree(source) => Some(source.mode & COPIED_BITS),
        }
    }

    /// Whether the file at this place holds it.
    pub(super) fn is_in(
        &mut self,
        place: &Place<'_>,
        seen: Seen,
        job: &Job<'_>,
    ) -> io::Result<bool> {
        match self {
            Material::Any | Material::Tree(_) => Ok(true),
            Material::Bytes(content) => {
                Ok(seen.bytes == content.len() as u64 && place.holds(content)?)
            }
            Material::Joined { content, .. } | Material::Read { content, .. } => {
                Ok(seen.bytes == content.len() as u64 && place.holds(content)?)
            }
            Material::File { file, bytes, .. } => {
                file.rewind()?;
                Ok(seen.bytes == *bytes && place.equals(file, *bytes, job.cancel)?)
            }
        }
    }

    /// To be written, from its beginning.
    pub(super) fn filling<'m>(&'m mut self, job: &'m Job<'_>) -> io::Result<Filling<'m>> {
        match self {
            Material::Any | Material::Tree(_) => Ok(Filling::Bytes(&[])),
            Material::Bytes(content) => Ok(Filling::Bytes(content)),
            Material::Joined { content, .. } | Material::Read { content, .. } => {
                Ok(Filling::Bytes(content))
            }
            Material::File { file, bytes, .. } => {
                file.rewind()?;
                Ok(Filling::File { file, bytes: *bytes, cancel: job.cancel })
            }
        }
    }
}

fn copy(path: &Path) -> Result<Material<'static>, Trouble> {
    let (file, found) = open_source(path).map_err(|error| lacking("source", path, &error))?;
    if !found.is_file() {
        let what = if found.is_dir() { "a directory" } else { "no regular file" };
        return Err(Trouble::Failed(format!(
            "the source {} is {what}; name a file, or end both paths with a slash and add \
             `recurse: true`",
            path.display()
        )));
    }
    let (bytes, mode) = (found.len(), found.mode());
    if bytes > 0 {
        return Ok(Material::File { file, bytes, mode });
    }
    // What the system makes up as it is read, in /proc for instance, has no size until then.
    let mut content = Vec::new();
    let read = file.take(CONTENT_MAX as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| lacking("source", path, &error))?;
    if content.len() > CONTENT_MAX {
        return Err(Trouble::Failed(format!(
            "the source {} tells no size and has more than {CONTENT_MAX} bytes; copy it with an \
             `exec`",
            path.display()
        )));
    }
    Ok(Material::Read { content, mode })
}

/// Why a source or fragment cannot be had.
fn lacking(role: &str, path: &Path, error: &io::Error) -> Trouble {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => Trouble::Lacking(format!(
            "the {role} {path} does not exist; create it, or name another one"
        )),
        _ => Trouble::Failed(format!("the {role} {path} cannot be read: {}", os_reason(error))),
    }
}

/// The fragments, one after the other.
fn join(fragments: &[Fragment]) -> Result<Material<'static>, Trouble> {
    let mut content = Vec::new();
    let mut all: Option<u32> = None;
    let mut add = |path: &Path, opened: io::Result<(File, fs::Metadata)>| {
        let mode = append(path, opened, &mut content)?;
        all = Some(all.map_or(mode, |all| all & mode));
        Ok(())
    };
    for fragment in fragments {
        if fragment.directory {
            for path in files_in(&fragment.path)? {
                // Whoever may put files there may put links to files there that only we may read.
                let opened = way::file(&path);
                add(&path, opened.and_then(|file| file.metadata().map(|found| (file, found))))?;
            }
        } else {
            add(&fragment.path, open_source(&fragment.path))?;
        }
    }
    Ok(Material::Joined { content, mode: all })
}

/// The files in a directory by name. Hidden ones are no fragments: editors and we ourselves keep
/// what is not whole under such names.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let cannot = |error: io::Error| lacking("fragment", path, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        debug_assert!(TEMPORARY.starts_with('.'), "ours are hidden");
        // A link to a file is one if it was not put there by somebody else; that is seen when it is
        // opened.
        if !hidden && !entry.file_type().map_err(cannot)?.is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Adds the content of a file, and tells its mode.
fn append(
    path: &Path,
    opened: io::Result<(File, fs::Metadata)>,
    content: &mut Vec<u8>,
) -> Result<u32, Trouble> {
    let (file, found) = opened.map_err(|error| lacking("fragment", path, &error))?;
    let shown = path.display();
    if !found.is_file() {
        let help = if found.is_dir() {
            "is a directory; end it with a slash"
        } else {
            "is no regular file; remove it or name another one"
        };
        return Err(Trouble::Failed(format!("the fragment {shown} {help}")));
    }
    let left = (CONTENT_MAX - content.len()) as u64;
    file.take(left + 1).read_to_end(content).map_err(|error| lacking("fragment", path, &error))?;
    if content.len() > CONTENT_MAX {
        return Err(Trouble::Failed(format!(
            "the fragments up to {shown} have more than {CONTENT_MAX} bytes; make them smaller"
        )));
    }
    Ok(found.mode())
}
