//! The kind `tar`: an archive of files and directories.
//!
//! Equal inputs always give equal bytes: entries are sorted, and have neither owner nor time. So
//! the archive is compared with what it should be and written only when it differs. It watches the
//! archive and everything in its inputs. Refuses to write half an archive, and to follow links:
//! they are stored as links.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::tar::{Builder, EntryType, Header};
use async_trait::async_trait;
use nix::errno::Errno;

use super::fence::At;
use super::fields::Reader;
use super::file::place::Sort;
use super::file::root::Root;
use super::replace::{blocking, converge, reason};
use super::way::{TEMPORARY, Way};
use super::{
    Context, FieldDef, FieldError, FieldType, Hints, Kind, Outcome, Power, Resource, Watch,
};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The time of every entry: one second after the epoch, since some programs warn about zero.
const TIME: u64 = 1;

/// Why something has no place in an archive.
const NO_ENTRY: &str = "it is neither a file nor a directory nor a link; keep it elsewhere";

/// The kind `tar`.
#[derive(Debug)]
pub(super) struct TarKind;

const FIELDS: &[FieldDef] = &[
    FieldDef {
        name: "path",
        ty: FieldType::Str,
        doc: "absolute path of the archive; the resource's name when absent",
    },
    FieldDef {
        name: "inputs",
        ty: FieldType::StrList,
        doc: "absolute paths of what goes into it, each under its last part; directories with all \
              they hold",
    },
    FieldDef {
        name: "format",
        ty: FieldType::Str,
        doc: "`gnu` (the default) or `ustar`, which has no names longer than 255 bytes",
    },
];

impl Kind for TarKind {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    /// It may read anything that the agent may.
    fn places(&self) -> &'static [&'static str] {
        &["path"]
    }

    fn power(&self) -> Power {
        Power::Powerful
    }

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut reader = Reader::new(fields);
        let path = reader.path_or_name("path", id.name());
        let choices = [("gnu", Format::Gnu), ("ustar", Format::Ustar)];
        let format = reader.choice("format", &choices, Format::Gnu);
        let inputs = named(reader.absolutes("inputs"), &path, &mut reader);
        reader.done(Arc::new(Tar { path, inputs, format }) as Arc<dyn Resource>)
    }
}

/// The inputs by the names that they get in the archive.
fn named(paths: Vec<PathBuf>, archive: &Path, reader: &mut Reader) -> BTreeMap<OsString, PathBuf> {
    let mut inputs = BTreeMap::new();
    if paths.is_empty() && !reader.has("inputs") {
        let message = "an archive needs `inputs`".to_owned();
        reader.refuse("inputs", message, "list what goes into it");
    }
    for path in paths {
        let shown = path.display().to_string();
        let Some(name) = path.file_name().map(OsString::from) else {
            let message = format!("`inputs` has `{shown}`, which has no name of its own");
            reader.refuse("inputs", message, "list what lies in it");
            continue;
        };
        if path == archive {
            let message = format!("`inputs` has `{shown}`, the archive itself");
            reader.refuse("inputs", message, "take it out of the list");
        } else if inputs.contains_key(&name) {
            let message = format!("`inputs` has two that are called `{}`", name.display());
            reader.refuse("inputs", message, "put them into directories of their own");
        }
        inputs.insert(name, path);
    }
    inputs
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Gnu,
    Ustar,
}

impl Format {
    fn header(self) -> Header {
        match self {
            Format::Gnu => Header::new_gnu(),
            Format::Ustar => Header::new_ustar(),
        }
    }
}

#[derive(Clone, Debug)]
struct Tar {
    path: PathBuf,
    inputs: BTreeMap<OsString, PathBuf>,
    format: Format,
}

impl Tar {
    fn fill(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut builder = Builder::new(to);
        for (name, path) in &self.inputs {
            let way = Way::to(path).map_err(|error| in_words(path, &error))?;
            let dir = way.dir().try_clone_to_owned();
            let root = dir.and_then(Root::of);
            let mut root = root.map_err(|error| in_words(path, &error))?;
            // A stack, so that no depth of directories is too deep. The last one comes first.
            let mut waiting = vec![PathBuf::from(name)];
            while let Some(entry) = waiting.pop() {
                let below = self.append(&mut builder, &mut root, &entry);
                let shown = path.with_file_name(&entry);
                let below = below.map_err(|error| in_words(&shown, &error))?;
                let keep = |name: &OsString| !self.is_own(&shown, name);
                waiting.extend(below.into_iter().filter(keep).rev().map(|name| entry.join(name)));
            }
        }
        builder.finish()
    }

    /// Whether this is the archive, or what is written to become it.
    fn is_own(&self, directory: &Path, name: &OsString) -> bool {
        self.path.parent() == Some(directory)
            && (self.path.file_name() == Some(name)
                || name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()))
    }

    /// Stores one entry, and tells what lies in it, sorted.
    fn append(
        &self,
        builder: &mut Builder<&mut dyn Write>,
        root: &mut Root,
        name: &Path,
    ) -> io::Result<Vec<OsString>> {
        let place = root.at(name)?;
        let seen = place.look()?.ok_or_else(|| io::Error::from(Errno::ENOENT))?;
        let mut header = self.format.header();
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(seen.attributes.mode);
        header.set_size(0);
        match seen.sort {
            Sort::Directory => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, name, io::empty())?;
                let mut names = root.all_names(name)?;
                names.sort();
                return Ok(names);
            }
            Sort::Link => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, name, place.target()?)?;
            }
            Sort::File => {
                let file = place.open()?;
                let found = file.metadata()?;
                // Another one may be there by now than was looked at.
                if !found.is_file() {
                    return Err(io::Error::other(NO_ENTRY));
                }
                header.set_entry_type(EntryType::Regular);
                header.set_mode(found.permissions().mode() & 0o7777);
                header.set_size(found.len());
                let mut exact = Exact { file: file.take(found.len()), left: found.len() };
                builder.append_data(&mut header, name, &mut exact)?;
            }
            Sort::Special => return Err(io::Error::other(NO_ENTRY)),
        }
        Ok(Vec::new())
    }
}

/// An error that says which input it is about, once.
fn in_words(path: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot store {}: {}", path.display(), reason(error)))
}

/// A file that has to have as many bytes as its header says.
struct Exact {
    file: io::Take<File>,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.left -= read as u64;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it was cut while it was read"));
        }
        Ok(read)
    }
}

#[async_trait]
impl Resource for Tar {
    fn watches(&self) -> Vec<Watch> {
        let archive = Watch::Path { path: self.path.as_path().into(), children: false };
        let inputs = self.inputs.values().map(|path| Watch::Tree(path.as_path().into()));
        [archive].into_iter().chain(inputs).collect()
    }

    fn hints(&self) -> Hints {
        Hints { path: Some(self.path.clone()), directory: false }
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        let (tar, apply, cancel) = (self.clone(), cx.apply, cx.cancel.clone());
        let within = cx.within.clone();
        blocking(move || {
            // What makes an input may not be allowed to change anything either.
            let missing = |path: &&PathBuf| fs::symlink_metadata(path).is_err();
            if let (false, Some(path)) = (apply, tar.inputs.values().find(missing)) {
                let words = format!("made of {}, which is not there yet", path.display());
                return Ok(Outcome::WouldChange(words));
            }
            let at = At { path: &tar.path, within: within.as_deref() };
            converge(at, apply, &cancel, |to| tar.fill(to))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::super::trial::{
        Given, build, build_values, changed, context, mistakes, would_change,
    };
    use super::*;
    use crate::spec::Value;

    fn list(paths: &[&Path]) -> (&'static str, Value) {
        let text = |path: &&Path| Value::Str(path.display().to_string());
        ("inputs", Value::List(paths.iter().map(text).collect()))
    }

    /// Names, types and sizes in an archive.
    fn entries(path: &Path) -> Vec<String> {
        let mut archive = ::tar::Archive::new(File::open(path).unwrap());
        let shown = |entry: io::Result<::tar::Entry<File>>| {
            let entry = entry.unwrap();
            let (header, name) = (entry.header(), entry.path().unwrap().display().to_string());
            let times = (header.mtime().unwrap(), header.uid().unwrap());
            assert_eq!(times, (TIME, 0), "neither time nor owner");
            format!("{name} {:?} {}", header.entry_type(), entry.size())
        };
        archive.entries().unwrap().map(shown).collect()
    }

    #[tokio::test]
    async fn a_tree_is_stored_sorted_and_written_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, archive) = (dir.path().join("tree"), dir.path().join("tree/a.tar"));
        fs::create_dir_all(tree.join("sub")).unwrap();
        let long = "n".repeat(200);
        for (name, size) in [("z", 3), ("b", 0), ("sub/x", 20_000), (long.as_str(), 1)] {
            fs::write(tree.join(name), vec![7; size]).unwrap();
        }
        symlink("z", tree.join("link")).unwrap();
        let tar = build_values("tar", archive.to_str().unwrap(), &[list(&[&tree])]).unwrap();
        let cx = context();
        assert_eq!(changed(tar.run(&cx).await), "created");
        let long_entry = format!("tree/{long} Regular 1");
        let expected = [
            "tree Directory 0",
            "tree/b Regular 0",
            "tree/link Symlink 0",
            &long_entry,
            "tree/sub Directory 0",
            "tree/sub/x Regular 20000",
            "tree/z Regular 3",
        ];
        let found = entries(&archive);
        assert_eq!(found.iter().map(|one| one.replace("/ ", " ")).collect::<Vec<_>>(), expected);
        let inode = fs::metadata(&archive).unwrap().ino();
        File::open(tree.join("z")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(tar.run(&cx).await, Ok(Outcome::Unchanged));
        assert_eq!(fs::metadata(&archive).unwrap().ino(), inode, "what is right is not rewritten");
        fs::write(tree.join("z"), "new").unwrap();
        assert_eq!(would_change(tar.run(&Context { apply: false, ..cx.clone() }).await), "written");
        assert_eq!(changed(tar.run(&cx).await), "written");
        assert_eq!(tar.run(&cx).await, Ok(Outcome::Unchanged));
    }

    #[tokio::test]
    async fn an_input_that_is_missing_or_cannot_be_stored_leaves_the_old_archive() {
        let dir = tempfile::tempdir().unwrap();
        let (input, archive) = (dir.path().join("in"), dir.path().join("a.tar"));
        let tar = build_values("tar", archive.to_str().unwrap(), &[list(&[&input])]).unwrap();
        let cx = context();
        let error = tar.run(&cx).await.unwrap_err();
        assert!(error.contains("cannot store") && error.contains("no such file"), "{error}");
        would_change(tar.run(&Context { apply: false, ..cx.clone() }).await);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left over");
        fs::write(&input, "x").unwrap();
        changed(tar.run(&cx).await);
        let old = fs::read(&archive).unwrap();
        fs::remove_file(&input).unwrap();
        nix::unistd::mkfifo(&input, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = tar.run(&cx).await.unwrap_err();
        assert!(error.contains("neither a file nor a directory"), "{error}");
        assert_eq!(fs::read(&archive).unwrap(), old);
    }

    #[tokio::test]
    async fn a_pipe_is_refused_at_once_and_a_new_archive_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, archive) = (dir.path().join("tree"), dir.path().join("a.tar"));
        fs::create_dir(&tree).unwrap();
        nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let tar = build_values("tar", archive.to_str().unwrap(), &[list(&[&tree])]).unwrap();
        let error = tar.run(&context()).await.unwrap_err();
        assert!(error.ends_with(NO_ENTRY), "{error}");
        fs::remove_file(tree.join("pipe")).unwrap();
        fs::write(tree.join("secret"), "").unwrap();
        changed(tar.run(&context()).await);
        assert_eq!(fs::metadata(&archive).unwrap().mode() & 0o7777, 0o600);
    }

    /// Needs a user who may give links away.
    #[tokio::test]
    async fn no_input_is_reached_through_somebody_else_s_link() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (ann, archive) = (dir.path().join("ann"), dir.path().join("a.tar"));
        fs::create_dir(&ann).unwrap();
        symlink("/etc", ann.join("link")).unwrap();
        for path in [&ann, &ann.join("link")] {
            std::os::unix::fs::lchown(path, Some(1000), Some(1000)).unwrap();
        }
        let input = ann.join("link/passwd");
        let tar = build_values("tar", archive.to_str().unwrap(), &[list(&[&input])]).unwrap();
        let error = tar.run(&context()).await.unwrap_err();
        assert!(error.contains("belongs to user 1000"), "{error}");
        let tar = build_values("tar", archive.to_str().unwrap(), &[list(&[&ann])]).unwrap();
        changed(tar.run(&context()).await);
        assert_eq!(entries(&archive)[1], "ann/link Symlink 0", "stored, not followed");
    }

    #[test]
    fn every_mistake_is_reported_and_the_watches_are_of_all_inputs() {
        let (a, b) = (Path::new("/x/same"), Path::new("/y/same"));
        let cases: [(&str, Given, &[&str]); 4] = [
            ("/a.tar", &[], &["inputs"]),
            ("rel", &[list(&[a, b])], &["path", "inputs"]),
            ("/a.tar", &[list(&[Path::new("/"), Path::new("/a.tar")])], &["inputs", "inputs"]),
            ("/a.tar", &[list(&[Path::new("rel")])], &["inputs"]),
        ];
        for (name, fields, wrong) in cases {
            assert_eq!(mistakes("tar", name, fields), wrong, "{fields:?}");
        }
        assert!(build("tar", "/a", &[("format", "zip")]).is_err());
        let watches = build_values("tar", "/a.tar", &[list(&[a])]).unwrap().watches();
        let archive = Watch::Path { path: Path::new("/a.tar").into(), children: false };
        assert_eq!(watches, [archive, Watch::Tree(a.into())]);
    }
}
