//! The effects of clustering: the state folder, the etcd child, and the loops that keep the membership.
//!
//! Refuses to decide: every choice is made by the pure part of [`crate::cluster`] from what is read here.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{ClusterStatus, StartError};
use crate::ident::HostName;
use crate::store::Store;

pub mod state;

/// What an agent that clusters was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name.
    pub host: HostName,
    /// The state folder itself.
    pub state_dir: PathBuf,
    /// `--seeds`, as typed.
    pub seeds: Vec<String>,
    /// `--client-urls`, as typed; empty is loopback.
    pub client_urls: Vec<String>,
    /// `--server-urls`, as typed; empty is loopback.
    pub server_urls: Vec<String>,
    /// `--advertise-client-urls`, as typed; empty is the client URLs.
    pub advertise_client_urls: Vec<String>,
    /// `--advertise-server-urls`, as typed; empty is the server URLs.
    pub advertise_server_urls: Vec<String>,
    /// `--ideal-cluster-size`; without it [`IDEAL_SIZE`]. Only the host that founds the cluster writes it.
    pub ideal_size: Option<u16>,
    /// `--no-server`: never run etcd here.
    pub no_server: bool,
    /// `--insecure-network`.
    pub insecure_network: bool,
    /// The etcd program; without it `QUORATE_ETCD`, then the search path.
    pub etcd_path: Option<PathBuf>,
    /// The program whose hidden `etcd-child` subcommand starts etcd; without it, this program.
    pub child_program: Option<PathBuf>,
}

/// How many voters are wanted when nobody says.
pub const IDEAL_SIZE: u16 = 5;

/// How an agent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// Stop and stay a member (TERM).
    Stay,
    /// Leave the cluster (INT).
    Leave,
    /// Skip waits (second signal).
    Hurry,
    /// Kill the child (third signal).
    Now,
}

/// A running membership.
pub struct Handle {
    /// The store. Its calls wait, within a bound, while the cluster forms.
    pub store: Arc<dyn Store>,
    /// What this host is and sees.
    pub status: watch::Receiver<ClusterStatus>,
    /// The state folder, locked for as long as the handle lives.
    pub state: Arc<state::StateFolder>,
}

impl Handle {
    /// Ends the membership's tasks and the etcd child; returns when the child is gone. The mode only
    /// ever gets harder: a further signal sends the next one while the stop is under way.
    pub async fn stop(self, mode: watch::Receiver<StopMode>) {
        let _ = mode;
    }
}

/// Starts clustering. Returns as soon as the start is decided and every refusal is known; the cluster may still form.
///
/// # Errors
/// One sentence each; see [`StartError`].
pub async fn start(config: Config) -> Result<Handle, StartError> {
    let _state = state::open(&config.state_dir, &config.host)?;
    Err(StartError::NoEtcd {
        why: "clustering is not built yet".into(),
    })
}
