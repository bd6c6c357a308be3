//! Containers, networks and volumes: list, make, change state, remove.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models;
use bollard::query_parameters as query;
use futures_util::StreamExt;

use super::{
    Answer, Backend, Container, ContainerSpec, Engine, EngineError, Labels, Network, NetworkSpec,
    State, Trouble, Volume,
};

/// Most processes in a node; enough for etcd, the agent and a shell.
const PIDS: i64 = 200;
/// Log files per node and their size: a node that talks all day must not fill the disk.
const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "5m"), ("max-file", "2")];

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code of its process.
    pub(crate) code: i64,
    /// Whether the kernel killed it for its memory limit.
    pub(crate) out_of_memory: bool,
}

/// What to do to a container's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// SIGKILL, and wait until it is gone.
    Kill,
    /// SIGTERM, SIGKILL after ten seconds.
    Stop,
    /// Start again, with the same disk and address.
    Start,
    /// Stop, then start.
    Restart,
    /// Freeze.
    Pause,
    /// Thaw.
    Unpause,
}

impl Engine {
    /// All containers, running or not.
    pub(crate) async fn containers(&self) -> Answer<Vec<Container>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.containers(),
        };
        let options = query::ListContainersOptionsBuilder::new().all(true).build();
        let listed = docker.list_containers(Some(options)).await?;
        Ok(listed.into_iter().map(container).collect())
    }

    /// All networks.
    pub(crate) async fn networks(&self) -> Answer<Vec<Network>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.networks(),
        };
        let listed = docker.list_networks(None::<query::ListNetworksOptions>).await?;
        Ok(listed.into_iter().map(network).collect())
    }

    /// All volumes.
    pub(crate) async fn volumes(&self) -> Answer<Vec<Volume>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.volumes(),
        };
        let listed = docker.list_volumes(None::<query::ListVolumesOptions>).await?;
        let volumes = listed.volumes.unwrap_or_default();
        Ok(volumes
            .into_iter()
            .map(|v| Volume { name: v.name, labels: labels(Some(v.labels)) })
            .collect())
    }

    /// Makes a network and gives its id.
    pub(crate) async fn create_network(&self, spec: &NetworkSpec) -> Answer<String> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.create_network(spec),
        };
        let pool = models::IpamConfig { subnet: Some(spec.subnet.clone()), ..Default::default() };
        let request = models::NetworkCreateRequest {
            name: spec.name.clone(),
            driver: Some("bridge".to_owned()),
            internal: Some(spec.internal),
            ipam: Some(models::Ipam { config: Some(vec![pool]), ..Default::default() }),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..Default::default()
        };
        Ok(docker.create_network(request).await?.id)
    }

    /// Makes a volume.
    pub(crate) async fn create_volume(&self, name: &str, labels: &Labels) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.create_volume(name, labels),
        };
        let request = models::VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..Default::default()
        };
        docker.create_volume(request).await?;
        Ok(())
    }

    /// Makes a container and gives its id; does not start it.
    pub(crate) async fn create_container(&self, spec: &ContainerSpec) -> Answer<String> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.create_container(spec),
        };
        let options = query::CreateContainerOptionsBuilder::new().name(&spec.name).build();
        Ok(docker.create_container(Some(options), body(spec)).await?.id)
    }

    /// Starts, stops, kills or freezes a container.
    pub(crate) async fn power(&self, id: &str, power: Power) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.power(id, power).await,
        };
        let done = match power {
            Power::Kill => kill(docker, id).await,
            Power::Stop => docker.stop_container(id, None::<query::StopContainerOptions>).await,
            Power::Start => docker.start_container(id, None::<query::StartContainerOptions>).await,
            Power::Restart => {
                docker.restart_container(id, None::<query::RestartContainerOptions>).await
            }
            Power::Pause => docker.pause_container(id).await,
            Power::Unpause => docker.unpause_container(id).await,
        };
        match done.map_err(EngineError::from) {
            Err(failure) if failure.trouble == Trouble::Already => Ok(()),
            other => other,
        }
    }

    /// Sends SIGINT to a container's main process and waits until it has ended.
    pub(crate) async fn interrupt(&self, id: &str) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.interrupt(id).await,
        };
        let options = query::KillContainerOptionsBuilder::new().signal("INT").build();
        docker.kill_container(id, Some(options)).await?;
        // Ends with an error for every exit code but 0; both mean that it has ended.
        let _ended = docker.wait_container(id, None::<query::WaitContainerOptions>).next().await;
        Ok(())
    }

    /// How a container that does not run has ended; nothing when it runs.
    pub(crate) async fn ended(&self, id: &str) -> Answer<Option<Ended>> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.ended(id),
        };
        let seen = docker.inspect_container(id, None::<query::InspectContainerOptions>).await?;
        let state = seen.state.unwrap_or_default();
        if state.running == Some(true) {
            return Ok(None);
        }
        Ok(Some(Ended {
            code: state.exit_code.unwrap_or_default(),
            out_of_memory: state.oom_killed.unwrap_or_default(),
        }))
    }

    /// The number that this machine knows a running container's process by; 0 when it runs on
    /// another one, or not at all.
    pub(crate) async fn process(&self, id: &str) -> Answer<u32> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(_) => {
                return Err(EngineError::other("nodes have no roots of their own"));
            }
        };
        let seen = docker.inspect_container(id, None::<query::InspectContainerOptions>).await?;
        let pid = seen.state.and_then(|state| state.pid).unwrap_or_default();
        Ok(u32::try_from(pid).unwrap_or_default())
    }

    /// Removes a container by force, with its anonymous volumes. One that is gone already is no
    /// error.
    pub(crate) async fn remove_container(&self, id: &str) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.remove_container(id).await,
        };
        let options = query::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match gone(docker.remove_container(id, Some(options.clone())).await) {
            // Somebody else removes it already: it is there until he is done.
            Err(failure) if failure.trouble == Trouble::Conflict => {
                removed(docker, id).await;
                gone(docker.remove_container(id, Some(options)).await)
            }
            done => done,
        }
    }

    /// Removes a network. One that is gone already is no error. What containers that are gone left
    /// in it goes first; a container that is there stays in it, and is named in the error.
    pub(crate) async fn remove_network(&self, id: &str) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.remove_network(id),
        };
        let refused = match gone(docker.remove_network(id).await) {
            Err(failure) if failure.trouble == Trouble::Refused => failure,
            done => return done,
        };
        let inside = disconnect_dead(docker, id).await?;
        if inside.is_empty() {
            return gone(docker.remove_network(id).await);
        }
        let names = inside.join(" and ");
        let message = format!("{refused} ({names}; remove it, or disconnect it from the network)");
        Err(EngineError { message, ..refused })
    }

    /// Removes a volume. One that is gone already is no error.
    pub(crate) async fn remove_volume(&self, name: &str) -> Answer<()> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return local.remove_volume(name),
        };
        let options = query::RemoveVolumeOptionsBuilder::new().force(true).build();
        gone(docker.remove_volume(name, Some(options)).await)
    }
}

/// Waits until a container is no more.
async fn removed(docker: &Docker, id: &str) {
    let options = query::WaitContainerOptionsBuilder::new().condition("removed").build();
    // An error says that there is none any more.
    let ended = docker.wait_container(id, Some(options)).next().await;
    drop(ended);
}

/// Disconnects by force what is left in a network of containers that are not there any more; gives
/// the names of those that are.
async fn disconnect_dead(docker: &Docker, network: &str) -> Answer<Vec<String>> {
    let seen = docker.inspect_network(network, None::<query::InspectNetworkOptions>).await;
    let ends = match seen.map_err(EngineError::from) {
        Err(failure) if failure.trouble == Trouble::Missing => return Ok(Vec::new()),
        seen => seen?.containers.unwrap_or_default(),
    };
    let mut inside = Vec::new();
    for (id, end) in ends {
        let name = end.name.unwrap_or_else(|| id.clone());
        let there = docker.inspect_container(&id, None::<query::InspectContainerOptions>).await;
        match there.map_err(EngineError::from) {
            Err(failure) if failure.trouble == Trouble::Missing => {
                // The engine finds the end of a container that is gone by its name only.
                let request =
                    models::NetworkDisconnectRequest { container: name, force: Some(true) };
                gone(docker.disconnect_network(network, request).await)?;
            }
            _ => inside.push(name),
        }
    }
    inside.sort();
    Ok(inside)
}

async fn kill(docker: &Docker, id: &str) -> Result<(), bollard::errors::Error> {
    let options = query::KillContainerOptionsBuilder::new().signal("KILL").build();
    docker.kill_container(id, Some(options)).await?;
    // Ends with an error for every exit code but 0; both mean that it has ended.
    let _ended = docker.wait_container(id, None::<query::WaitContainerOptions>).next().await;
    Ok(())
}

/// A removal that found nothing has reached its aim.
pub(super) fn gone(done: Result<(), bollard::errors::Error>) -> Answer<()> {
    match done.map_err(EngineError::from) {
        Err(failure) if failure.trouble == Trouble::Missing => Ok(()),
        other => other,
    }
}

/// Labels of any listed object.
pub(super) fn labels(listed: Option<HashMap<String, String>>) -> Labels {
    listed.unwrap_or_default().into_iter().collect()
}

fn container(listed: models::ContainerSummary) -> Container {
    use models::ContainerSummaryStateEnum as Listed;
    let name = listed.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    Container {
        id: listed.id.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        image: listed.image.unwrap_or_default(),
        labels: labels(listed.labels),
        state: match listed.state {
            Some(Listed::CREATED) => State::Created,
            Some(Listed::RUNNING) => State::Running,
            Some(Listed::PAUSED) => State::Paused,
            Some(Listed::EXITED | Listed::DEAD) => State::Exited,
            _ => State::Other,
        },
        created: listed.created.unwrap_or_default(),
    }
}

fn network(listed: models::Network) -> Network {
    let pools = listed.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Network {
        id: listed.id.unwrap_or_default(),
        name: listed.name.unwrap_or_default(),
        labels: labels(listed.labels),
        subnets: pools.into_iter().filter_map(|pool| pool.subnet).collect(),
    }
}

fn body(spec: &ContainerSpec) -> models::ContainerCreateBody {
    let endpoint = models::EndpointSettings {
        aliases: Some(vec![spec.host.clone()]),
        ipam_config: Some(models::EndpointIpamConfig {
            ipv4_address: Some(spec.address.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    models::ContainerCreateBody {
        hostname: Some(spec.host.clone()),
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        exposed_ports: spec.publish.map(|(inside, _)| vec![format!("{inside}/tcp")]),
        host_config: Some(host_config(spec)),
        networking_config: Some(models::NetworkingConfig {
            endpoints_config: Some(HashMap::from([(spec.network.clone(), endpoint)])),
        }),
        ..Default::default()
    }
}

fn host_config(spec: &ContainerSpec) -> models::HostConfig {
    let ports = spec.publish.map(|(inside, outside)| {
        let binding = models::PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(outside.to_string()),
        };
        HashMap::from([(format!("{inside}/tcp"), Some(vec![binding]))])
    });
    let log_options = LOG_OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    models::HostConfig {
        memory: Some(spec.memory),
        nano_cpus: Some(spec.nano_cpus),
        pids_limit: Some(PIDS),
        init: Some(true),
        network_mode: Some(spec.network.clone()),
        binds: spec.state.as_ref().map(|(volume, folder)| vec![format!("{volume}:{folder}")]),
        port_bindings: ports,
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: Some(models::HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from(log_options)),
        }),
        ..Default::default()
    }
}
