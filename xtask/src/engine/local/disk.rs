//! Files of a local node: below its folder, whatever their path in the node is.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::{Local, Node};
use crate::engine::{Answer, EngineError, FileEntry};

/// The graph that a node begins with.
const GRAPH: (&str, &str) = ("etc/quorate/site.yaml", "graph: site\n");

impl Local {
    /// Puts files below a folder of a node. Who watches one sees the old or the new content.
    pub(crate) fn upload(&self, id: &str, folder: &str, entries: &[FileEntry]) -> Answer<()> {
        let node = self.node(id);
        node.made()?;
        for entry in entries {
            let path = node.below(&format!("{folder}/{}", entry.path))?;
            let mode = Permissions::from_mode(entry.mode);
            if entry.path.ends_with('/') {
                fs::create_dir_all(&path)?;
                fs::set_permissions(&path, mode)?;
                continue;
            }
            let parent = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent)?;
            let mut file = tempfile::NamedTempFile::new_in(parent)?;
            file.write_all(&entry.bytes)?;
            fs::set_permissions(file.path(), mode)?;
            file.persist(&path).map_err(|failure| failure.error)?;
        }
        Ok(())
    }

    /// A file or folder of a node as a tar archive; its names start with the last part of the path.
    pub(crate) fn download(&self, id: &str, path: &str) -> Answer<Vec<u8>> {
        let node = self.node(id);
        node.made()?;
        let full = node.below(path)?;
        let name = full.file_name().map(PathBuf::from).unwrap_or_else(|| PathBuf::from("fs"));
        let mut builder = tar::Builder::new(Vec::new());
        builder.follow_symlinks(false);
        match fs::metadata(&full)?.is_dir() {
            true => builder.append_dir_all(name, full)?,
            false => builder.append_path_with_name(full, name)?,
        }
        Ok(builder.into_inner()?)
    }
}

impl Node {
    /// Makes the folders that an image has.
    pub(super) fn furnish(&self) -> Answer<()> {
        for (folder, mode) in [("etc/quorate", 0o755), ("var/lib/quorate", 0o700), ("tmp", 0o755)] {
            let path = self.disk().join(folder);
            fs::create_dir_all(&path)?;
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        let (path, text) = GRAPH;
        Ok(fs::write(self.disk().join(path), text)?)
    }

    /// Lets a folder of the node lie elsewhere, so that it outlives the node.
    pub(super) fn keep(&self, place: &Path, folder: &str) -> Answer<()> {
        fs::create_dir_all(place)?;
        fs::set_permissions(place, Permissions::from_mode(0o700))?;
        let inside = self.below(folder)?;
        fs::remove_dir(&inside)?;
        Ok(std::os::unix::fs::symlink(place, inside)?)
    }

    /// Where a path of the node lies here. One that begins with the node's own folder is there
    /// already: its agent tells such ones.
    fn below(&self, path: &str) -> Answer<PathBuf> {
        let disk = self.disk();
        let inside = Path::new(path).strip_prefix(&disk).unwrap_or(Path::new(path));
        let mut full = disk;
        for part in inside.components() {
            match part {
                Component::Normal(name) => full.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(EngineError::other(format!("{path} leads out of the node")));
                }
            }
        }
        Ok(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_node_stays_below_its_folder() {
        let node = Node { folder: "/r/nodes/n".into(), images: "/r/images".into() };
        for (path, wanted) in [
            ("/srv/x", Some("/r/nodes/n/fs/srv/x")),
            ("//etc/./x", Some("/r/nodes/n/fs/etc/x")),
            ("/r/nodes/n/fs/var/x", Some("/r/nodes/n/fs/var/x")),
            ("/../x", None),
            ("/srv/../../x", None),
        ] {
            assert_eq!(node.below(path).ok(), wanted.map(PathBuf::from), "{path}");
        }
    }
}
