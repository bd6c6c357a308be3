//! What goes into a node: programs, the libraries that they need, and as little of a system as they
//! can live with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::elf;
use super::layer::{Entries, Entry, with_parents};
use super::sources::Given;
use crate::paths::Exit;

/// The image's two layers and the files that they were read from.
pub(crate) struct Contents {
    /// etcd, busybox, libraries, the little system.
    pub(crate) base: Entries,
    /// The agent and what it needs beyond the first.
    pub(crate) agent: Entries,
    /// All files that were read, for the check whether one has changed.
    pub(crate) inputs: Vec<PathBuf>,
}

/// The little system: name lookups by file and by the engine's name service, one user, the empty
/// graph.
const TEXTS: [(&str, &str); 6] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/quorate/site.yaml", "graph: site\n"),
    ("etc/os-release", "ID=quorate-node\nNAME=\"quorate node\"\nPRETTY_NAME=\"quorate node\"\n"),
];

/// Libraries that C libraries before 2.34 open by name for name lookups; taken along where they
/// are.
const LOOKUPS: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];
/// A version that only C libraries define which do all of that themselves.
const LOOKS_UP: &[u8] = b"GLIBC_2.34\0";

/// Collects everything. All programs must be given.
///
/// # Errors
/// A program cannot be read or is not for the nodes' machine, or a library is missing.
pub(crate) fn collect(given: &Given, arch: &str) -> anyhow::Result<Contents> {
    let mut base = Entries::new();
    for (path, text) in TEXTS {
        base.insert(path.to_owned(), Entry::File(0o644, text.as_bytes().to_vec()));
    }
    for (path, mode) in [
        ("tmp", 0o1777),
        ("var/tmp", 0o1777),
        ("root", 0o700),
        ("var/lib/quorate", 0o700),
        ("run", 0o755),
    ] {
        base.insert(path.to_owned(), Entry::Folder(mode));
    }
    let mut libraries = Libraries::new(arch);
    let mut inputs = Vec::new();
    let programs = [
        (&given.etcd, "usr/bin/etcd"),
        (&given.etcdctl, "usr/bin/etcdctl"),
        (&given.busybox, "bin/busybox"),
    ];
    for (source, target) in programs {
        let Some(source) = source else { continue };
        let bytes = libraries.program(source)?;
        if target == "bin/busybox" {
            link_applets(&mut base, &bytes);
        }
        base.insert(target.to_owned(), Entry::File(0o755, bytes));
        inputs.push(source.clone());
    }
    if libraries.dynamic && !libraries.look_up() {
        libraries.optional(&LOOKUPS)?;
    }
    base.append(&mut libraries.take());
    let mut agent = Entries::new();
    if let Some(source) = &given.agent {
        agent.insert("usr/bin/quorate".to_owned(), Entry::File(0o755, libraries.program(source)?));
        inputs.push(source.clone());
    }
    agent.append(&mut libraries.take());
    inputs.extend(libraries.inputs);
    Ok(Contents { base: with_parents(base), agent: with_parents(agent), inputs })
}

/// Only these programs with what they need, below a root that has a `/tmp`.
///
/// # Errors
/// As [`collect`].
pub(crate) fn programs(chosen: &[(&PathBuf, &str)], arch: &str) -> anyhow::Result<Entries> {
    let mut entries = Entries::new();
    entries.insert("tmp".to_owned(), Entry::Folder(0o1777));
    let mut libraries = Libraries::new(arch);
    for (source, target) in chosen {
        let bytes = libraries.program(source)?;
        if *target == "bin/busybox" {
            link_applets(&mut entries, &bytes);
        }
        entries.insert((*target).to_owned(), Entry::File(0o755, bytes));
    }
    entries.append(&mut libraries.take());
    Ok(with_parents(entries))
}

/// A layer that adds nothing.
pub(crate) fn nothing() -> Entries {
    with_parents(Entries::from([("run".to_owned(), Entry::Folder(0o755))]))
}

fn link_applets(entries: &mut Entries, busybox: &[u8]) {
    for applet in applets(busybox) {
        entries.insert(format!("bin/{applet}"), Entry::Link("busybox".to_owned()));
    }
}

/// The libraries that programs need, each once.
struct Libraries {
    arch: String,
    dynamic: bool,
    seen: BTreeSet<PathBuf>,
    /// Where each file of this machine lies in the image: one that is known here by two names, as
    /// the loader is, is not taken twice.
    places: BTreeMap<PathBuf, PathBuf>,
    pending: Entries,
    inputs: Vec<PathBuf>,
}

impl Libraries {
    fn new(arch: &str) -> Libraries {
        Libraries {
            arch: arch.to_owned(),
            dynamic: false,
            seen: BTreeSet::new(),
            places: BTreeMap::new(),
            pending: Entries::new(),
            inputs: Vec::new(),
        }
    }

    /// Where this machine's loader looks by itself. The image keeps those places, since its loader
    /// is the same one.
    fn folders(&self) -> Vec<PathBuf> {
        let triplet = match self.arch.as_str() {
            "arm64" => "aarch64-linux-gnu",
            _ => "x86_64-linux-gnu",
        };
        let folders = [
            format!("/lib/{triplet}"),
            format!("/usr/lib/{triplet}"),
            "/lib64".to_owned(),
            "/usr/lib64".to_owned(),
            "/lib".to_owned(),
            "/usr/lib".to_owned(),
        ];
        folders.into_iter().map(PathBuf::from).collect()
    }

    /// Reads a program and takes along what it needs.
    fn program(&mut self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let bytes = std::fs::read(path)
            .map_err(|e| Exit::error(Exit::MISSING, format!("{}: {e}", path.display())))?;
        let needs =
            elf::needs(path, &bytes, &self.arch).map_err(|e| Exit::error(Exit::MISSING, e))?;
        if let Some(loader) = &needs.loader {
            self.dynamic = true;
            self.take_along(loader, loader)?;
        }
        self.all_of(path, &needs)?;
        Ok(bytes)
    }

    fn all_of(&mut self, user: &Path, needs: &elf::Needs) -> anyhow::Result<()> {
        for name in &needs.libraries {
            let origin = user.parent().unwrap_or(Path::new("/")).display().to_string();
            let own = needs.folders.iter().map(|folder| {
                PathBuf::from(folder.display().to_string().replace("$ORIGIN", &origin))
            });
            let Some(found) = own.chain(self.folders()).map(|f| f.join(name)).find(|p| p.is_file())
            else {
                return Err(Exit::error(
                    Exit::MISSING,
                    format!(
                        "{} needs the library {name}, which is not on this machine. \
                         Install it, or give a static \
                         program.",
                        user.display()
                    ),
                ));
            };
            let place = match self.folders().iter().any(|folder| found.parent() == Some(folder)) {
                true => found.clone(),
                false => self.folders()[0].join(name),
            };
            self.take_along(&found, &place)?;
        }
        Ok(())
    }

    /// Whether the C library that was taken along looks names up by itself.
    fn look_up(&self) -> bool {
        self.pending.iter().any(|(path, entry)| match entry {
            Entry::File(_, bytes) if path.ends_with("/libc.so.6") => {
                bytes.windows(LOOKS_UP.len()).any(|part| part == LOOKS_UP)
            }
            _ => false,
        })
    }

    fn optional(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            if let Some(found) = self.folders().iter().map(|f| f.join(name)).find(|p| p.is_file()) {
                self.take_along(&found, &found)?;
            }
        }
        Ok(())
    }

    fn take_along(&mut self, source: &Path, place: &Path) -> anyhow::Result<()> {
        if !self.seen.insert(place.to_owned()) {
            return Ok(());
        }
        let unreadable =
            |e: std::io::Error| Exit::error(Exit::MISSING, format!("{}: {e}", source.display()));
        let inside = place.display().to_string().trim_start_matches('/').to_owned();
        let file = source.canonicalize().map_err(unreadable)?;
        if let Some(first) = self.places.get(&file) {
            self.pending.insert(inside, Entry::Link(first.display().to_string()));
            return Ok(());
        }
        self.places.insert(file, place.to_owned());
        let bytes = std::fs::read(source).map_err(unreadable)?;
        let needs =
            elf::needs(source, &bytes, &self.arch).map_err(|e| Exit::error(Exit::MISSING, e))?;
        self.inputs.push(source.to_owned());
        self.pending.insert(inside, Entry::File(0o755, bytes));
        self.all_of(source, &needs)
    }

    /// What was taken along since the last call.
    fn take(&mut self) -> Entries {
        std::mem::take(&mut self.pending)
    }
}

/// The names under which busybox answers, read from its own sorted table, so that it need not be
/// run.
pub(crate) fn applets(busybox: &[u8]) -> Vec<String> {
    let start = b"\0[\0[[\0";
    let Some(at) = busybox.windows(start.len()).position(|window| window == start) else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    for piece in busybox[at + 1..].split(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(piece).into_owned();
        let fine = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"[-_.".contains(&b))
            && names.last().is_none_or(|last| *last < name);
        if !fine {
            break;
        }
        names.push(name);
    }
    names.retain(|name| name != "busybox");
    names
}

#[cfg(test)]
mod tests {
    use super::{Entry, Libraries, applets};

    #[test]
    fn libraries_for_lookups_are_left_out_where_the_c_library_has_them() {
        let with = |path: &str, bytes: &[u8]| {
            let mut libraries = Libraries::new("amd64");
            libraries.pending.insert(path.to_owned(), Entry::File(0o755, bytes.to_vec()));
            libraries.look_up()
        };
        assert!(with("lib/x86_64-linux-gnu/libc.so.6", b"\0GLIBC_2.33\0GLIBC_2.34\0"));
        assert!(!with("lib/x86_64-linux-gnu/libc.so.6", b"\0GLIBC_2.31\0"));
        assert!(!with("lib/x86_64-linux-gnu/libm.so.6", b"\0GLIBC_2.34\0"));
    }

    #[test]
    fn a_library_that_has_two_names_is_taken_once() {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let mut libraries = Libraries::new(arch);
        libraries.program(&std::env::current_exe().unwrap()).unwrap();
        let taken = libraries.take();
        let mut files: Vec<&Vec<u8>> = taken
            .values()
            .filter_map(|entry| match entry {
                Entry::File(_, bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        let count = files.len();
        files.sort();
        files.dedup();
        assert!(count > 1 && files.len() == count, "{:?}", taken.keys());
        for entry in taken.values() {
            let Entry::Link(to) = entry else { continue };
            let to = taken.get(to.trim_start_matches('/'));
            assert!(matches!(to, Some(Entry::File(..))), "a link leads to what was taken");
        }
    }

    #[test]
    fn applets_are_read_from_the_table_until_it_ends() {
        let binary = b"junk\0[\0[[\0ash\0busybox\0cat\0timeout\0\0other\0";
        assert_eq!(applets(binary), ["[", "[[", "ash", "cat", "timeout"]);
        assert_eq!(applets(b"no table"), Vec::<String>::new());
        assert_eq!(applets(b"\0[\0[[\0sh\0ash\0"), ["[", "[[", "sh"]);
    }
}
