//! What an agent is told at start, and where its state lies.
//!
//! Refuses to parse command lines and to open anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::desired::Everywhere;
use super::ladder::Signal;
pub use crate::cluster::shell::ClusterSettings;
use crate::ident::HostName;
use crate::spec::Semaphore;

/// Everything that `quorate run` was told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This host.
    pub host: HostName,
    /// The state folder itself, when it was named.
    pub prefix: Option<PathBuf>,
    /// Use a new temporary folder for state.
    pub tmp_prefix: bool,
    /// Where the graph comes from.
    pub input: Input,
    /// A file of further collect rules.
    pub rules: Option<PathBuf>,
    /// Swap the graph when its file changes.
    pub follow: bool,
    /// Change nothing.
    pub noop: bool,
    /// Converged only when what was written has reached the disks.
    pub durable: bool,
    /// How many resources may run at once; `None` bounds nothing.
    pub sema: Option<u32>,
    /// Detect convergence.
    pub converged: Option<Converged>,
    /// Give up after this long.
    pub max_runtime: Option<Duration>,
    /// Cluster settings; `None` runs on its own.
    pub cluster: Option<ClusterSettings>,
    /// INT leaves the cluster.
    pub leave_on_int: bool,
    /// TERM leaves the cluster.
    pub leave_on_term: bool,
    /// Withdraw what is exported at the end, instead of leaving it for a restart to continue.
    pub withdraw: bool,
    /// Serve metrics.
    pub metrics: Option<MetricsSettings>,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The address and port.
    pub address: SocketAddr,
    /// Allow an address beyond this machine.
    pub insecure_network: bool,
}

impl Settings {
    /// Whether the first signal gives up the membership.
    pub(super) fn leaves(&self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt => self.leave_on_int,
            Signal::Terminate => self.leave_on_term,
        }
    }

    /// What they say about every resource.
    pub(super) fn everywhere(&self) -> Everywhere {
        Everywhere { noop: self.noop, lock: self.sema.map(Semaphore::anonymous) }
    }
}

/// Where the graph comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A YAML file.
    Yaml(PathBuf),
    /// There is none.
    Empty,
}

/// When an agent counts as converged, and what it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converged {
    /// How long nothing may have happened.
    pub after: Duration,
    /// Exit then.
    pub exit: bool,
}

/// What of the surroundings decides where state lies.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `$STATE_DIRECTORY`, set by systemd.
    pub state_directory: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Running as root.
    pub root: bool,
}

impl Surroundings {
    /// Reads them from this process.
    pub fn read() -> Self {
        let folder = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        Surroundings {
            state_directory: folder("STATE_DIRECTORY"),
            xdg_state_home: folder("XDG_STATE_HOME"),
            home: folder("HOME"),
            root: nix::unistd::geteuid().is_root(),
        }
    }

    /// The folder that holds one state folder for each host name.
    pub fn state_root(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/var/lib/quorate");
        }
        let home = self.home.clone().unwrap_or_else(|| PathBuf::from("/"));
        let base = self.xdg_state_home.clone().unwrap_or_else(|| home.join(".local/state"));
        base.join("quorate")
    }

    /// The state folder of `host`, when none was named. It contains the host name, so that several
    /// agents on one machine need no flags.
    pub fn state_dir(&self, host: &HostName) -> PathBuf {
        match &self.state_directory {
            Some(folder) => folder.clone(),
            None => self.state_root().join(host.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_on_one_machine_have_two_state_folders() {
        let [h1, h2] = ["h1", "h2"].map(|name| HostName::parse(name).unwrap());
        let root = Surroundings { root: true, ..Surroundings::default() };
        assert_eq!(root.state_dir(&h1), PathBuf::from("/var/lib/quorate/h1"));
        assert_ne!(root.state_dir(&h1), root.state_dir(&h2));
    }

    #[test]
    fn a_plain_user_keeps_state_below_home_unless_xdg_says_otherwise() {
        let h1 = HostName::parse("h1").unwrap();
        let mut user = Surroundings { home: Some("/home/ann".into()), ..Surroundings::default() };
        assert_eq!(user.state_dir(&h1), PathBuf::from("/home/ann/.local/state/quorate/h1"));
        user.xdg_state_home = Some("/xdg".into());
        assert_eq!(user.state_dir(&h1), PathBuf::from("/xdg/quorate/h1"));
        user.state_directory = Some("/systemd".into());
        assert_eq!(user.state_dir(&h1), PathBuf::from("/systemd"));
    }
}
