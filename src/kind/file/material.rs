//! What a file is filled with, gathered before anything is looked at or changed.
//!
//! Refuses to take a missing source or fragment for an empty one.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::way::TEMPORARY;
use super::CONTENT_MAX;
use super::effects::{Job, Trouble, os_reason};
use super::mirror::Source;
use super::place::{Filling, Place, Seen, open_source};
use super::plan::{Body, Fragment};
use super::tree::COPIED_BITS;

/// What the wanted content comes from.
pub(super) enum Material<'a> {
    /// Nothing is said about the content.
    Any,
    Bytes(Cow<'a, [u8]>),
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
            Body::Content(content) => Ok(Material::Bytes(content.into())),
            Body::Copy(source) => copy(source),
            Body::Fragments(fragments) => Ok(Material::Bytes(join(fragments)?.into())),
            Body::Tree { source: Some(source), .. } => {
                Ok(Material::Tree(Source::open(source, job)?))
            }
        }
    }

    /// The permissions of what is copied; a copy has them, too, unless others are declared.
    pub(super) fn mode(&self) -> Option<u32> {
        match self {
            Material::Any | Material::Bytes(_) => None,
            Material::File { mode, .. } => Some(mode & COPIED_BITS),
            Material::Tree(source) => Some(source.mode & COPIED_BITS),
        }
    }

    /// Whether the file at this place holds it.
    pub(super) fn is_in(&mut self, place: &Place<'_>, seen: Seen) -> io::Result<bool> {
        match self {
            Material::Any | Material::Tree(_) => Ok(true),
            Material::Bytes(content) => {
                Ok(seen.bytes == content.len() as u64 && place.holds(content)?)
            }
            Material::File { file, bytes, .. } => {
                Ok(seen.bytes == *bytes && place.equals(file, *bytes)?)
            }
        }
    }

    /// To be written, from its beginning.
    pub(super) fn filling(&mut self) -> io::Result<Filling<'_>> {
        match self {
            Material::Any | Material::Tree(_) => Ok(Filling::Bytes(&[])),
            Material::Bytes(content) => Ok(Filling::Bytes(content)),
            Material::File { file, .. } => {
                file.rewind()?;
                Ok(Filling::File(file))
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
    Ok(Material::File { file, bytes: found.len(), mode: found.mode() })
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
fn join(fragments: &[Fragment]) -> Result<Vec<u8>, Trouble> {
    let mut content = Vec::new();
    for fragment in fragments {
        if fragment.directory {
            for path in files_in(&fragment.path)? {
                append(&path, &mut content)?;
            }
        } else {
            append(&fragment.path, &mut content)?;
        }
    }
    Ok(content)
}

/// The files in a directory by name. Hidden ones are no fragments: editors and we ourselves keep
/// what is not whole under such names.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let cannot = |error: io::Error| lacking("fragment", path, &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        debug_assert!(TEMPORARY.starts_with('.'), "ours are hidden");
        // A link to a file is one; what a link points to is asked when it is opened.
        if !hidden && !entry.file_type().map_err(cannot)?.is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn append(path: &Path, content: &mut Vec<u8>) -> Result<(), Trouble> {
    let (file, found) = open_source(path).map_err(|error| lacking("fragment", path, &error))?;
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
    Ok(())
}
