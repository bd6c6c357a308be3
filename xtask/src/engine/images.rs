//! Images: load an archive, look one up, list, remove.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard::query_parameters as query;
use futures_util::StreamExt;

use super::objects::{gone, labels};
use super::{Answer, Backend, Engine, EngineError, Image, Labels, Trouble};

impl Engine {
    /// Stores the programs of nodes that are plain processes under a tag.
    pub(crate) fn store_programs(
        &self,
        tag: &str,
        labels: Labels,
        programs: &BTreeMap<&'static str, PathBuf>,
    ) -> Answer<()> {
        match &self.backend {
            Backend::Docker(_) => Err(EngineError::other("an engine loads images, not programs")),
            Backend::Local(local) => local.store_image(tag, labels, programs),
        }
    }

    /// Loads a docker-archive. Its tags move to what it holds.
    pub(crate) async fn load_image(&self, archive: Vec<u8>) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => return Err(unpacked()),
        };
        let options = query::ImportImageOptionsBuilder::new().quiet(true).build();
        let mut steps =
            std::pin::pin!(docker.import_image(options, bollard::body_full(archive.into()), None));
        while let Some(step) = steps.next().await {
            step?;
        }
        Ok(())
    }

    /// Gives an image a tag that it may have already: the engine then notes the time, which a load
    /// does not.
    pub(crate) async fn tag_image(&self, image: &str, repository: &str, tag: &str) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => return Err(unpacked()),
        };
        let options = query::TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        Ok(docker.tag_image(image, Some(options)).await?)
    }

    /// When the image was tagged last: RFC 3339 in UTC, so that text order is time order.
    pub(crate) async fn image_tagged(&self, id: &str) -> Answer<String> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.image_tagged(id),
        };
        let seen = docker.inspect_image(id).await?;
        let time = seen.metadata.and_then(|metadata| metadata.last_tag_time);
        Ok(time.unwrap_or_default())
    }

    /// Size in bytes of the image with this tag; nothing when there is none.
    pub(crate) async fn image_size(&self, tag: &str) -> Answer<Option<i64>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.image_size(tag),
        };
        match docker.inspect_image(tag).await.map_err(EngineError::from) {
            Ok(seen) => Ok(Some(seen.size.unwrap_or_default())),
            Err(failure) if failure.trouble == Trouble::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// All images.
    pub(crate) async fn images(&self) -> Answer<Vec<Image>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.images(),
        };
        let listed = docker.list_images(None::<query::ListImagesOptions>).await?;
        let image = |i: bollard::models::ImageSummary| Image {
            id: i.id,
            tags: i.repo_tags,
            labels: labels(Some(i.labels)),
            size: i.size,
        };
        Ok(listed.into_iter().map(image).collect())
    }

    /// Removes an image's tag, and the image with its last one. One that is gone already is no
    /// error. `false` when a container uses it, one of somebody else's perhaps: it stays.
    pub(crate) async fn remove_image(&self, tag: &str) -> Answer<bool> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.remove_image(tag),
        };
        let options = query::RemoveImageOptionsBuilder::new().build();
        match gone(docker.remove_image(tag, Some(options), None).await.map(|_| ())) {
            Err(failure) if failure.trouble == Trouble::Conflict => Ok(false),
            other => other.map(|()| true),
        }
    }
}

fn unpacked() -> EngineError {
    EngineError::other("nodes that are plain processes have programs, not an image")
}
