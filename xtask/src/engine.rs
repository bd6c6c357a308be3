//! The container engine's API in our own words: plain values in, plain values out. Behind the same
//! words is an engine without containers, `local`.
//!
//! The only place that knows bollard. Decides nothing: names, labels, addresses and what to do
//! about a conflict are the callers'. Errors are told apart by status code, never by text, and
//! requests use no field newer than API 1.41 (bollard 0.21 sends requests without a version, so the
//! engine reads them as its newest).

use std::collections::BTreeMap;
use std::fmt;

use bollard::Docker;
use bollard::errors::Error as Bollard;

use crate::paths::Exit;
use local::Local;

mod exec;
mod files;
mod helper;
mod images;
pub(crate) mod local;
mod logs;
mod objects;

pub(crate) use exec::{ExecRequest, Terminal};
pub(crate) use files::FileEntry;
pub(crate) use helper::HelperSpec;
pub(crate) use logs::LogLine;
pub(crate) use objects::Power;

/// The oldest engine API that this tool is tested with.
const OLDEST_API: (u32, u32) = (1, 41);

/// Labels, sorted.
pub(crate) type Labels = BTreeMap<String, String>;

/// A connection to an engine that has answered.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    backend: Backend,
    about: About,
}

/// What answers.
#[derive(Clone, Debug)]
enum Backend {
    Docker(Docker),
    Local(Local),
}

/// What the engine says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// Its version, like `20.10.24`.
    pub(crate) version: String,
    /// Its API version, like `1.41`.
    pub(crate) api: String,
    /// Architecture of its containers in Go's words: `amd64`, `arm64`.
    pub(crate) arch: String,
    /// Kernel that its containers run on.
    pub(crate) kernel: String,
}

/// Limits and abilities of the engine's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Processors.
    pub(crate) cpus: i64,
    /// Memory in bytes.
    pub(crate) memory: i64,
    /// `1` or `2`.
    pub(crate) cgroup: String,
    /// Storage driver.
    pub(crate) storage: String,
    /// The program that runs as init in containers; empty when there is none.
    pub(crate) init: String,
    /// Whether memory, cpu and process limits work, in that order.
    pub(crate) limits: [bool; 3],
}

/// Why a call failed, as far as callers decide on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// 404: no such object.
    Missing,
    /// 409: the name is taken, or the object's state forbids it.
    Conflict,
    /// 403: a subnet overlaps, among others.
    Refused,
    /// 304: it already is so.
    Already,
    /// Anything else.
    Other,
}

/// A failed call.
#[derive(Clone, Debug)]
pub(crate) struct EngineError {
    /// What callers decide on.
    pub(crate) trouble: Trouble,
    message: String,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}

impl EngineError {
    fn other(message: impl Into<String>) -> EngineError {
        EngineError { trouble: Trouble::Other, message: message.into() }
    }
}

impl From<Bollard> for EngineError {
    fn from(failure: Bollard) -> EngineError {
        match failure {
            Bollard::DockerResponseServerError { status_code, message } => {
                let trouble = match status_code {
                    304 => Trouble::Already,
                    403 => Trouble::Refused,
                    404 => Trouble::Missing,
                    409 => Trouble::Conflict,
                    _ => Trouble::Other,
                };
                EngineError { trouble, message }
            }
            other => EngineError::other(other.to_string()),
        }
    }
}

/// What a call returns.
pub(crate) type Answer<T> = Result<T, EngineError>;

/// State of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Exited,
    /// Between states, or broken.
    Other,
}

/// A container that the engine lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// The engine's id.
    pub(crate) id: String,
    /// Its name without the slash.
    pub(crate) name: String,
    /// The image it was made from, as named then.
    pub(crate) image: String,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Its state.
    pub(crate) state: State,
    /// When it was made, in seconds of Unix time.
    pub(crate) created: i64,
}

/// A network that the engine lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The engine's id. Names are not unique on 20.10.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Its subnets, like `10.91.12.0/24`.
    pub(crate) subnets: Vec<String>,
}

/// A volume that the engine lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Its name.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: Labels,
}

/// An image that the engine lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The engine's id.
    pub(crate) id: String,
    /// Its tags.
    pub(crate) tags: Vec<String>,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Size in bytes.
    pub(crate) size: i64,
}

/// A network to make.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NetworkSpec {
    /// Its name.
    pub(crate) name: String,
    /// Its subnet, like `10.91.12.0/24`.
    pub(crate) subnet: String,
    /// Whether the way out is cut.
    pub(crate) internal: bool,
    /// Its labels.
    pub(crate) labels: Labels,
}

/// A container to make.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ContainerSpec {
    /// Its name.
    pub(crate) name: String,
    /// Host name inside, and alias in the network.
    pub(crate) host: String,
    /// Tag of the image.
    pub(crate) image: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Name of the network.
    pub(crate) network: String,
    /// Fixed address in it.
    pub(crate) address: String,
    /// A port of the container, published on this port of the host's loopback.
    pub(crate) publish: Option<(u16, u16)>,
    /// Name of a volume, and the folder of the container that it stands for.
    pub(crate) state: Option<(String, String)>,
    /// Memory in bytes.
    pub(crate) memory: i64,
    /// Thousand millionths of a processor.
    pub(crate) nano_cpus: i64,
    /// Its labels.
    pub(crate) labels: Labels,
}

impl Engine {
    /// Connects to `DOCKER_HOST` or the default socket and asks for the version, so that a wrong or
    /// missing engine is told in one sentence before anything else is done.
    pub(crate) async fn connect() -> anyhow::Result<Engine> {
        let place = match std::env::var("DOCKER_HOST") {
            Ok(host) => host,
            Err(_) => "the default socket".to_owned(),
        };
        let unreachable = |why: &str| {
            Exit::error(
                Exit::MISSING,
                format!(
                    "no container engine answered at {place} ({why}). Start Docker, or set \
                     DOCKER_HOST. Details: \
                     cargo xtask doctor"
                ),
            )
        };
        let docker = Docker::connect_with_defaults().map_err(|e| unreachable(&reason(&e)))?;
        let version = docker.version().await.map_err(|e| unreachable(&reason(&e)))?;
        let about = About {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            arch: version.arch.unwrap_or_default(),
            kernel: version.kernel_version.unwrap_or_default(),
        };
        if !new_enough(&about.api) {
            return Err(Exit::error(
                Exit::MISSING,
                format!(
                    "engine API {} is older than {}.{}, the oldest this tool is tested with. \
                     Upgrade Docker to 20.10 \
                     or later.",
                    about.api, OLDEST_API.0, OLDEST_API.1
                ),
            ));
        }
        Ok(Engine { backend: Backend::Docker(docker), about })
    }

    /// The engine whose nodes are plain processes of this machine.
    ///
    /// # Errors
    /// This system has none.
    pub(crate) fn local() -> anyhow::Result<Engine> {
        let local = Local::new()?;
        let about = local.about();
        Ok(Engine { backend: Backend::Local(local), about })
    }

    /// Whether nodes are plain processes of this machine.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.backend, Backend::Local(_))
    }

    /// What the engine said about itself when the connection was made.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// Limits and abilities of the engine's machine.
    pub(crate) async fn machine(&self) -> Answer<Machine> {
        let docker = match &self.backend {
            Backend::Docker(docker) => docker,
            Backend::Local(local) => return Ok(local.machine()),
        };
        let info = docker.info().await?;
        Ok(Machine {
            cpus: info.ncpu.unwrap_or_default(),
            memory: info.mem_total.unwrap_or_default(),
            cgroup: info.cgroup_version.map(|v| v.to_string()).unwrap_or_default(),
            storage: info.driver.unwrap_or_default(),
            init: info.init_binary.unwrap_or_default(),
            limits: [
                info.memory_limit.unwrap_or_default(),
                info.cpu_cfs_quota.unwrap_or_default(),
                info.pids_limit.unwrap_or_default(),
            ],
        })
    }
}

/// The innermost cause: the outer ones only say that a request failed.
fn reason(failure: &Bollard) -> String {
    if let Bollard::SocketNotFoundError(path) = failure {
        return format!("no socket at {path}");
    }
    let mut cause: &dyn std::error::Error = failure;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if let Some(io) = cause.downcast_ref::<std::io::Error>() {
        match io.kind() {
            std::io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
            std::io::ErrorKind::PermissionDenied => return "permission denied".to_owned(),
            _ => {}
        }
    }
    cause.to_string()
}

fn new_enough(api: &str) -> bool {
    let mut parts = api.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_API,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn an_engine_older_than_20_10_or_without_a_version_is_refused() {
        for (api, fine) in [
            ("1.41", true),
            ("1.53", true),
            ("2.0", true),
            ("1.40", false),
            ("1.4", false),
            ("", false),
        ] {
            assert_eq!(new_enough(api), fine, "{api}");
        }
    }
}
