//! Files into and out of a container, by tar.

use bollard::query_parameters as query;
use futures_util::StreamExt;

use super::{Answer, Backend, Engine, EngineError};

/// A file or directory to put into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// Path below the folder that is uploaded into, without a leading slash; a directory ends with
    /// one.
    pub(crate) path: String,
    /// Content; empty for a directory.
    pub(crate) bytes: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
}

impl Engine {
    /// Puts files below an existing folder of a container, which need not run.
    pub(crate) async fn upload(&self, id: &str, folder: &str, entries: &[FileEntry]) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.upload(id, folder, entries),
        };
        let archive = archive(entries)
            .map_err(|e| EngineError::other(format!("the upload's archive: {e}")))?;
        let options = query::UploadToContainerOptionsBuilder::new().path(folder).build();
        Ok(docker
            .upload_to_container(id, Some(options), bollard::body_full(archive.into()))
            .await?)
    }

    /// Fetches a file or folder of a container as a tar archive; its names start with the last part
    /// of the path.
    pub(crate) async fn download(&self, id: &str, path: &str) -> Answer<Vec<u8>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.download(id, path),
        };
        let options = query::DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut pieces = std::pin::pin!(docker.download_from_container(id, Some(options)));
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }
}

fn archive(entries: &[FileEntry]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_size(entry.bytes.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(match entry.path.ends_with('/') {
            true => tar::EntryType::Directory,
            false => tar::EntryType::Regular,
        });
        // A changed file must get a new time: tools compare it.
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        header.set_mtime(now.as_secs());
        builder.append_data(&mut header, &entry.path, entry.bytes.as_slice())?;
    }
    builder.into_inner()
}
