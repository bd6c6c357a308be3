//! Remembers what the last image was made of, so that an unchanged one is recognised without being
//! read.
//!
//! Only a memory: when it is wrong, damaged or gone, the image is read and its key computed again.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::sources::Given;
use crate::paths;

/// A file as `stat` sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    path: PathBuf,
    length: u64,
    changed: u64,
}

#[derive(Serialize, Deserialize)]
struct Memory {
    programs: Vec<Option<PathBuf>>,
    arch: String,
    inputs: Vec<Seen>,
    key: String,
}

/// How a file looks now; nothing when it is not there.
pub(crate) fn look(path: &Path) -> Option<Seen> {
    let data = std::fs::metadata(path).ok()?;
    let changed = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let changed = u64::try_from(changed).ok()?;
    Some(Seen { path: path.to_owned(), length: data.len(), changed })
}

/// Whether every file looks as it did.
pub(crate) fn unchanged(seen: &[Seen]) -> bool {
    !seen.is_empty() && seen.iter().all(|before| look(&before.path).as_ref() == Some(before))
}

/// Reads a memory from the target folder.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(name: &str) -> Option<T> {
    let bytes = std::fs::read(folder().join(name)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes a memory to the target folder. Failing costs time later, nothing else.
pub(crate) fn write(name: &str, memory: &impl Serialize) {
    let written = std::fs::create_dir_all(folder()).and_then(|()| {
        let file = tempfile::NamedTempFile::new_in(folder())?;
        serde_json::to_writer(&file, memory)?;
        file.persist(folder().join(name)).map_err(|e| e.error)
    });
    drop(written);
}

/// The key of the image that these programs gave, if all that went into it is unchanged.
pub(crate) fn recall(given: &Given, arch: &str) -> Option<String> {
    let memory: Memory = read("image.json")?;
    let same = memory.programs == programs(given) && memory.arch == arch;
    (same && unchanged(&memory.inputs)).then_some(memory.key)
}

/// Remembers an image.
pub(crate) fn remember(given: &Given, arch: &str, inputs: &[PathBuf], key: &str) {
    let inputs = inputs.iter().filter_map(|path| look(path)).collect();
    let memory =
        Memory { programs: programs(given), arch: arch.to_owned(), inputs, key: key.to_owned() };
    write("image.json", &memory);
}

fn programs(given: &Given) -> Vec<Option<PathBuf>> {
    vec![given.etcd.clone(), given.etcdctl.clone(), given.busybox.clone(), given.agent.clone()]
}

fn folder() -> PathBuf {
    paths::target().join("lab")
}
