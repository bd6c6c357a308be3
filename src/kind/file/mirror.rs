//! Making what lies below a directory like a source, and removing what should not be there.
//!
//! Refuses to start when the source is missing, lies in its own copy, or is empty while everything
//! else would be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::super::{Managed, Mover};
use super::effects::{Job, Trouble, os_reason};
use super::place::{Filling, Place, Seen, Sort, Unsteady};
use super::plan::Ids;
use super::root::{ENTRIES_MAX, Root};
use super::tree::{self, Form, Found, Step, Terms, Thing, Want};

/// A source directory and what lies in it.
pub(super) struct Source {
    path: PathBuf,
    root: Root,
    wants: BTreeMap<PathBuf, Want>,
    /// The permissions of the directory itself.
    pub(super) mode: u32,
}

impl Source {
    /// Lists a source; the error of a missing one is [`Trouble::Lacking`].
    pub(super) fn open(path: &Path, job: &Job<'_>) -> Result<Self, Trouble> {
        let shown = format!("{}/", path.display());
        let cannot = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => Trouble::Lacking(format!(
                "the source {shown} does not exist; create it, or name another `source`"
            )),
            ErrorKind::NotADirectory => Trouble::Failed(format!(
                "the source {shown} is not a directory; name a directory, or take the slash off \
                 the end of both paths"
            )),
            _ => {
                Trouble::Failed(format!("the source {shown} cannot be read: {}", os_reason(&error)))
            }
        };
        let mut root = Root::follow(path).map_err(cannot)?;
        let mode = fs::metadata(path).map_err(cannot)?.mode();
        let wants = list_source(path, &mut root, job)?;
        Ok(Source { path: path.to_path_buf(), root, wants, mode })
    }
}

/// What belongs below a directory.
pub(super) struct Mirror<'a> {
    pub(super) path: &'a Path,
    /// The directory, if it is there.
    pub(super) place: Option<Place<'a>>,
    pub(super) source: Option<Source>,
    pub(super) purge: bool,
    pub(super) force: bool,
    pub(super) ids: Ids,
}

impl Mirror<'_> {
    /// Looks, and makes right if the job allows it; in words what was or would be done. There is no
    /// place when the directory itself would only be made.
    pub(super) fn run(mut self, job: &Job<'_>) -> Result<String, Trouble> {
        let nothing = BTreeMap::new();
        self.refuse()?;
        let others = if self.purge || self.force {
            managed_below(self.path, job.managed)
        } else {
            lexically_below(self.path, job.managed)
        };
        let terms = Terms { purge: self.purge, force: self.force, ids: self.ids, others };
        let cannot = |error| failed(self.path, "look at it", &error);
        let root = self.place.map(|place| place.enter().and_then(Root::of));
        let mut root = root.transpose().map_err(cannot)?;
        let found = match &mut root {
            Some(root) => list_there(self.path, root, self.source.as_mut(), &terms, job)?,
            None => BTreeMap::new(),
        };
        let wants = self.source.as_ref().map_or(&nothing, |source| &source.wants);
        let steps = tree::plan(&found, wants, &terms).map_err(|problem| {
            Trouble::Failed(format!("{}: {problem}", self.path.join(problem.path()).display()))
        })?;
        if let (true, Some(root)) = (job.apply, &mut root) {
            for step in &steps {
                job.go_on()?;
                perform(root, self.source.as_mut(), step, job)
                    .map_err(|error| explain(self.path, step, &error))?;
            }
        }
        Ok(tree::describe(&steps))
    }

    /// A source that lies in its own copy would grow for ever, and the other way round a purge
    /// would remove what it copies from.
    fn refuse(&self) -> Result<(), Trouble> {
        let Some(source) = &self.source else { return Ok(()) };
        let shown = source.path.display();
        if self.purge && source.wants.is_empty() {
            return Err(Trouble::Failed(format!(
                "the source {shown}/ is empty, and `purge` would remove everything; fill it, or \
                 remove `purge`"
            )));
        }
        if let (Ok(from), Ok(to)) = (fs::canonicalize(&source.path), fs::canonicalize(self.path))
            && (from.starts_with(&to) || to.starts_with(&from))
        {
            return Err(Trouble::Failed(format!(
                "the source {shown}/ and its copy lie in each other; choose another path"
            )));
        }
        Ok(())
    }
}

/// What other resources manage below a directory, by the paths as they are declared.
fn lexically_below(path: &Path, managed: &Managed) -> BTreeSet<PathBuf> {
    let below = managed.paths().range(path.to_path_buf()..);
    below
        .take_while(|one| one.starts_with(path))
        .filter_map(|one| one.strip_prefix(path).ok())
        .filter(|below| !below.as_os_str().is_empty())
        .map(Path::to_path_buf)
        .collect()
}

/// The same, and what is declared by another way that leads here through links.
pub(super) fn managed_below(path: &Path, managed: &Managed) -> BTreeSet<PathBuf> {
    let mut all = lexically_below(path, managed);
    let Ok(real) = fs::canonicalize(path) else { return all };
    let mut parent: Option<(&Path, Option<PathBuf>)> = None;
    for one in managed.paths() {
        let (Some(directory), Some(name)) = (one.parent(), one.file_name()) else { continue };
        if parent.as_ref().is_none_or(|(known, _)| *known != directory) {
            parent = Some((directory, fs::canonicalize(directory).ok()));
        }
        if let Some((_, Some(directory))) = &parent
            && let Ok(below) = directory.strip_prefix(&real)
        {
            all.insert(below.join(name));
        }
    }
    all
}

fn list_source(
    base: &Path,
    root: &mut Root,
    job: &Job<'_>,
) -> Result<BTreeMap<PathBuf, Want>, Trouble> {
    let mut wants = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        job.go_on()?;
        let cannot = |path: &Path, error: io::Error| failed(&base.join(path), "read it", &error);
        for name in root.names(&directory).map_err(|error| cannot(&directory, error))? {
            let path = directory.join(name);
            let place = root.at(&path).map_err(|error| cannot(&path, error))?;
            let Some(seen) = place.look().map_err(|error| cannot(&path, error))? else { continue };
            let form = match seen.sort {
                Sort::File => Form::File,
                Sort::Directory => Form::Directory,
                Sort::Link => {
                    Form::Link(place.target().map_err(|error| cannot(&path, error))?.into())
                }
                Sort::Special => {
                    return Err(Trouble::Failed(format!(
                        "{} is a device, socket or pipe, which cannot be copied; remove it from \
                         the source",
                        base.join(&path).display()
                    )));
                }
            };
            if form == Form::Directory {
                directories.push(path.clone());
            }
            let want = Want { form, mode: seen.attributes.mode, bytes: seen.bytes };
            wants.insert(path, want);
            bounded(base, wants.len())?;
        }
    }
    Ok(wants)
}

fn bounded(base: &Path, entries: usize) -> Result<(), Trouble> {
    if entries <= ENTRIES_MAX {
        return Ok(());
    }
    Err(Trouble::Failed(format!(
        "{}/ has more than {ENTRIES_MAX} entries; split it into several resources",
        base.display()
    )))
}

/// What is there. Directories that nobody wants anything in are not entered.
fn list_there(
    base: &Path,
    root: &mut Root,
    mut source: Option<&mut Source>,
    terms: &Terms,
    job: &Job<'_>,
) -> Result<BTreeMap<PathBuf, Found>, Trouble> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        job.go_on()?;
        let cannot = |path: &Path, error: io::Error| failed(&base.join(path), "read it", &error);
        for name in root.names(&directory).map_err(|error| cannot(&directory, error))? {
            let path = directory.join(name);
            let want = source.as_deref().and_then(|source| source.wants.get(&path)).cloned();
            if want.is_none() && !terms.purge {
                continue;
            }
            let place = root.at(&path).map_err(|error| cannot(&path, error))?;
            let Some(seen) = place.look().map_err(|error| cannot(&path, error))? else { continue };
            let wanted = want.as_ref().is_some_and(|want| want.form == Form::Directory);
            let thing = match seen.sort {
                Sort::Special => Thing::Special,
                // One that stays as it is may be a mount; one that goes must not be.
                Sort::Directory => {
                    let other = seen.identity.0 != root.device;
                    let mut bound = || root.is_mount(&path).map_err(|error| cannot(&path, error));
                    Thing::Directory { mount: other || (!wanted && bound()?) }
                }
                Sort::Link => {
                    Thing::Link(place.target().map_err(|error| cannot(&path, error))?.into())
                }
                Sort::File => {
                    let source = source.as_deref_mut();
                    let same = same(root, source, &path, seen, want.as_ref(), job);
                    Thing::File { same: same.map_err(|error| cannot(&path, error))? }
                }
            };
            if matches!(thing, Thing::Directory { mount } if wanted || !mount)
                && (wanted || terms.holds_others(&path))
            {
                directories.push(path.clone());
            }
            found.insert(path, Found { thing, attributes: seen.attributes });
            bounded(base, found.len())?;
        }
    }
    Ok(found)
}

/// Whether a file holds what its source holds.
fn same(
    root: &mut Root,
    source: Option<&mut Source>,
    path: &Path,
    seen: Seen,
    want: Option<&Want>,
    job: &Job<'_>,
) -> io::Result<bool> {
    let (Some(source), Some(want)) = (source, want) else { return Ok(true) };
    if want.form != Form::File || want.bytes != seen.bytes {
        return Ok(false);
    }
    let mut original = source.root.at(path)?.open()?;
    root.at(path)?.equals(&mut original, seen.bytes, job.cancel)
}

fn perform(
    root: &mut Root,
    source: Option<&mut Source>,
    step: &Step,
    job: &Job<'_>,
) -> io::Result<()> {
    match step {
        Step::RemoveTree(path) => root.remove_tree(path, job.cancel),
        Step::Remove(path) => root.at(path)?.remove_file(),
        Step::MakeDirectory(path, rights) => root.at(path)?.make_directory(rights.ids, rights.mode),
        Step::Write { path, rights, new } => {
            let source = source.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
            let mut original = source.root.at(path)?.open()?;
            let bytes = original.metadata()?.len();
            let filling = Filling::File { file: &mut original, bytes, cancel: job.cancel };
            root.at(path)?.replace(filling, *rights, *new, || Ok(()), &Mover::default())
        }
        Step::Link { path, target, ids, .. } => root.at(path)?.link(target, *ids, || Ok(())),
        Step::SetOwner(path, ids) => root.at(path)?.chown(*ids),
        Step::SetMode(path, mode) => root.at(path)?.set_mode(*mode),
    }
}

fn explain(base: &Path, step: &Step, error: &io::Error) -> Trouble {
    let doing = match step {
        Step::RemoveTree(_) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            let path = base.join(step.path());
            return Trouble::Failed(format!(
                "{}/ holds another file system, which stays; unmount it",
                path.display()
            ));
        }
        Step::RemoveTree(_) | Step::Remove(_) => "remove it",
        Step::MakeDirectory(..) => "create it",
        Step::Write { .. } | Step::Link { .. } => "write it",
        Step::SetOwner(..) => "set its owner",
        Step::SetMode(..) => "set its mode",
    };
    failed(&base.join(step.path()), doing, error)
}

/// An error at a path; one that comes from others who change the tree meanwhile is tried again.
fn failed(path: &Path, doing: &str, error: &io::Error) -> Trouble {
    let text = format!("{}: cannot {doing}: {}", path.display(), os_reason(error));
    let raced = [Errno::ENOENT, Errno::ENOTDIR, Errno::EEXIST, Errno::ENOTEMPTY, Errno::ELOOP];
    match error.raw_os_error() {
        Some(code) if raced.contains(&Errno::from_raw(code)) => Trouble::Raced(text),
        _ if Unsteady::is(error) => Trouble::Raced(text),
        _ => Trouble::Failed(text),
    }
}
