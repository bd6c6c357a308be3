//! Files between this machine and nodes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{look, run};
use crate::engine::{Container, Engine, FileEntry, State, Trouble};
use crate::paths::Exit;

/// How long making a folder or moving a file in a node may take.
const MOVE: Duration = Duration::from_secs(10);
/// Folders that the image has; their modes are not to be touched.
const THERE: [&str; 10] =
    ["bin", "etc", "etc/quorate", "root", "run", "tmp", "usr", "usr/bin", "var", "var/lib"];

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// On this machine.
    Here(PathBuf),
    /// In a node.
    There(String, String),
}

/// Reads `PATH` or `H:PATH`. A path here that looks like a node's is written `./h1:x`.
pub(crate) fn end(text: &str) -> End {
    match text.split_once(':') {
        Some((node, path)) if super::name::number(node).is_some() || node == "all" => {
            End::There(node.to_owned(), path.to_owned())
        }
        _ => End::Here(PathBuf::from(text)),
    }
}

/// `cluster cp`.
pub(crate) async fn copy(
    engine: &Engine,
    cluster: &str,
    from: &str,
    to: &str,
) -> anyhow::Result<Vec<String>> {
    match (end(from), end(to)) {
        (End::Here(from), End::There(node, to)) => {
            let named = if node == "all" { vec![] } else { vec![node] };
            let nodes = look::nodes(engine, cluster, &named).await?;
            let files = read(&from, &to)?;
            let mut lines = Vec::new();
            for (node, container) in nodes {
                for (path, bytes, mode) in &files {
                    put(engine, &container, path, bytes, *mode).await?;
                }
                lines.push(format!("{} to {node}:{to}", from.display()));
            }
            Ok(lines)
        }
        (End::There(node, from), End::Here(to)) => {
            let nodes = look::nodes(engine, cluster, std::slice::from_ref(&node)).await?;
            for (node, container) in nodes {
                fetch(engine, &node, &container.id, &from, &to).await?;
            }
            Ok(vec![format!("{node}:{from} to {}", to.display())])
        }
        _ => Err(Exit::error(
            2,
            "one end of a copy is in a node and one is here: cp SRC H:DST, or cp H:SRC DST",
        )),
    }
}

type File = (String, Vec<u8>, u32);

/// The files below a path here and where each goes. A target that ends in `/` is a folder to put it
/// into.
fn read(from: &Path, to: &str) -> anyhow::Result<Vec<File>> {
    let missing = |e: std::io::Error, path: &Path| {
        Exit::error(Exit::FAILED, format!("{}: {e}", path.display()))
    };
    let own = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let target = if to.ends_with('/') { format!("{to}{own}") } else { to.to_owned() };
    let mut files = Vec::new();
    let mut pending = vec![(from.to_owned(), target)];
    while let Some((path, target)) = pending.pop() {
        let data = std::fs::metadata(&path).map_err(|e| missing(e, &path))?;
        if data.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(|e| missing(e, &path))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                pending.push((entry.path(), format!("{target}/{name}")));
            }
        } else {
            use std::os::unix::fs::PermissionsExt;
            let bytes = std::fs::read(&path).map_err(|e| missing(e, &path))?;
            files.push((target, bytes, data.permissions().mode() & 0o7777));
        }
    }
    files.sort();
    Ok(files)
}

/// Writes a file in a node so that whoever watches it sees the old or the new content, never a
/// part: beside its place, then renamed. In a node that does not run nobody watches, and nothing
/// can be renamed.
pub(crate) async fn put(
    engine: &Engine,
    node: &Container,
    path: &str,
    bytes: &[u8],
    mode: u32,
) -> anyhow::Result<()> {
    let Some((folder, name)) =
        path.strip_prefix('/').map(|_| path.rsplit_once('/').unwrap_or(("", path)))
    else {
        return Err(Exit::error(2, format!("{path} is not an absolute path of the node")));
    };
    let folder = if folder.is_empty() { "/" } else { folder };
    if name.is_empty() {
        return Err(Exit::error(
            2,
            format!("{path} is a folder; say what the file is to be called"),
        ));
    }
    // A plain process's files are here, where they can be replaced in one step.
    if node.state != State::Running || engine.is_local() {
        let entries = entries(path, bytes, mode);
        return Ok(engine.upload(&node.id, "/", &entries).await?);
    }
    let waiting = format!(".{name}.quorate-cp");
    let entry = [FileEntry { path: waiting.clone(), bytes: bytes.to_vec(), mode }];
    match engine.upload(&node.id, folder, &entry).await {
        Err(failure) if failure.trouble == Trouble::Missing => {
            in_node(engine, &node.id, &format!("mkdir -p {}", quoted(folder))).await?;
            engine.upload(&node.id, folder, &entry).await?;
        }
        other => other?,
    }
    let from = quoted(&format!("{}/{waiting}", folder.trim_end_matches('/')));
    in_node(engine, &node.id, &format!("mv -f {from} {}", quoted(path))).await
}

async fn in_node(engine: &Engine, id: &str, command: &str) -> anyhow::Result<()> {
    let output = run::shell(engine, id, command, MOVE).await?;
    match output.exit {
        0 => Ok(()),
        _ => Err(Exit::error(Exit::FAILED, output.lines.join("; "))),
    }
}

/// A file and those of its folders that the image does not have, for a node that does not run.
pub(crate) fn entries(path: &str, bytes: &[u8], mode: u32) -> Vec<FileEntry> {
    let path = path.trim_start_matches('/');
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    let new = folders.filter(|folder| !THERE.contains(folder));
    let mut entries: Vec<FileEntry> = new
        .map(|folder| FileEntry { path: format!("{folder}/"), bytes: vec![], mode: 0o755 })
        .collect();
    entries.push(FileEntry { path: path.to_owned(), bytes: bytes.to_vec(), mode });
    entries
}

/// Copies a file or a folder of a node to here.
///
/// # Errors
/// It is not there, or cannot be written here.
pub(crate) async fn fetch(
    engine: &Engine,
    node: &str,
    id: &str,
    from: &str,
    to: &Path,
) -> anyhow::Result<()> {
    let archive = engine.download(id, from).await.map_err(|failure| match failure.trouble {
        Trouble::Missing => {
            let text = format!("there is no {from} in {node}");
            Exit::error(Exit::FAILED, text)
        }
        _ => failure.into(),
    })?;
    let own = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let target = if to.is_dir() { to.join(own) } else { to.to_owned() };
    let mut archive = tar::Archive::new(archive.as_slice());
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let below: PathBuf = path.components().skip(1).collect();
        let place = if below.as_os_str().is_empty() { target.clone() } else { target.join(below) };
        // A node is not to write beside the target.
        if place.components().any(|part| part == std::path::Component::ParentDir) && !to.is_dir() {
            continue;
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&place)?,
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut bytes)?;
                std::fs::write(&place, bytes)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_with_a_nodes_name_is_in_that_node() {
        let there = |node: &str, path: &str| End::There(node.to_owned(), path.to_owned());
        for (text, wanted) in [
            ("h1:/etc/x", there("h1", "/etc/x")),
            ("all:/etc/x", there("all", "/etc/x")),
            ("./h1:x", End::Here("./h1:x".into())),
            ("x.yaml", End::Here("x.yaml".into())),
            ("c:/x", End::Here("c:/x".into())),
        ] {
            assert_eq!(end(text), wanted, "{text}");
        }
    }

    #[test]
    fn folders_that_the_image_has_keep_their_modes() {
        let paths = |path: &str| -> Vec<String> {
            entries(path, b"", 0o644).into_iter().map(|entry| entry.path).collect()
        };
        assert_eq!(paths("/etc/quorate/site.yaml"), ["etc/quorate/site.yaml"]);
        assert_eq!(paths("/tmp/x"), ["tmp/x"]);
        assert_eq!(paths("/srv/a/b"), ["srv/", "srv/a/", "srv/a/b"]);
    }

    #[test]
    fn a_quote_in_a_name_stays_a_quote() {
        assert_eq!(quoted("a'b c"), "'a'\\''b c'");
    }
}
