//! Containers that do one thing in the network of another one: the only ones with a right of their
//! own, to change routes there.

use bollard::models;
use bollard::query_parameters as query;
use futures_util::StreamExt;

use super::{Answer, Backend, Engine, EngineError, Labels, Power};

/// The right to change routes.
const RIGHT: &str = "NET_ADMIN";
/// The right to send packets of any kind, for those that measure.
const PROBES: &str = "NET_RAW";
/// What a helper may use: it is a shell and `ip`.
const MEMORY: i64 = 32 << 20;

/// A helper to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HelperSpec {
    /// Tag of the image.
    pub(crate) image: String,
    /// Id of the container whose network it works in; without one it has a loopback device only.
    pub(crate) beside: Option<String>,
    /// The shell script.
    pub(crate) script: String,
    /// Whether it sends packets to measure.
    pub(crate) probes: bool,
    /// Its labels.
    pub(crate) labels: Labels,
}

impl Engine {
    /// Runs a helper to its end; gives its exit code and what it wrote.
    pub(crate) async fn help(&self, spec: &HelperSpec) -> Answer<(i64, Vec<String>)> {
        let id = self.create_helper(spec, false).await?;
        let done = self.help_out(&id).await;
        let removed = self.remove_container(&id).await;
        let done = done?;
        removed.map(|()| done)
    }

    /// Starts a helper that removes itself when it ends.
    pub(crate) async fn start_helper(&self, spec: &HelperSpec) -> Answer<()> {
        let id = self.create_helper(spec, true).await?;
        match self.power(&id, Power::Start).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.remove_container(&id).await?;
                Err(failure)
            }
        }
    }

    async fn create_helper(&self, spec: &HelperSpec, passing: bool) -> Answer<String> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => {
                let text = "it is a plain process of this machine, whose network it shares";
                return Err(EngineError::other(text));
            }
        };
        let options = query::CreateContainerOptionsBuilder::new().build();
        Ok(docker.create_container(Some(options), body(spec, passing)).await?.id)
    }

    async fn help_out(&self, id: &str) -> Answer<(i64, Vec<String>)> {
        self.power(id, Power::Start).await?;
        // Ends with an error for every exit code but 0; both mean that it has ended.
        if let Backend::Docker(docker) = &self.backend {
            let _ended =
                docker.wait_container(id, None::<query::WaitContainerOptions>).next().await;
        }
        let ended = self.ended(id).await?;
        let code = ended.ok_or_else(|| EngineError::other("a helper does not end"))?.code;
        let mut lines = Vec::new();
        let mut log = std::pin::pin!(self.logs(id, false, 0));
        while let Some(line) = log.next().await {
            lines.push(line?.text);
        }
        Ok((code, lines))
    }
}

fn body(spec: &HelperSpec, passing: bool) -> models::ContainerCreateBody {
    models::ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), spec.script.clone()]),
        labels: Some(spec.labels.clone().into_iter().collect()),
        host_config: Some(models::HostConfig {
            memory: Some(MEMORY),
            // So that one that sleeps ends at once when it is told to.
            init: Some(true),
            auto_remove: Some(passing),
            network_mode: Some(match &spec.beside {
                Some(beside) => format!("container:{beside}"),
                None => "none".to_owned(),
            }),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(if spec.probes {
                vec![PROBES.to_owned()]
            } else {
                vec![RIGHT.to_owned()]
            }),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
