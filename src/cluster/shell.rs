//! The effects of clustering: the state folder, the etcd child, and the loops that keep the
//! membership.
//!
//! Refuses to decide: every choice is made by the pure part of [`crate::cluster`] from what is read
//! here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::address::Addresses;
use super::decide::quorum;
use super::identity::show_id;
use super::recover::Recovery;
use super::timers::Timers;
use super::tls::TlsFlags;
use super::told::Told;
use super::{ClusterStatus, Role, writes};
use crate::ident::HostName;
use crate::store::Store;
use crate::store::etcd::{Endpoints, EtcdStore};

mod adopt;
pub mod auth;
pub mod child;
mod controller;
mod entry;
mod fault;
mod loops;
mod member;
mod operate;
mod orders;
mod ports;
mod presence;
mod private;
mod readdress;
mod records;
pub mod recovery;
pub mod reset;
mod roles;
mod rpc;
mod serve;
mod sight;
mod silence;
pub mod snapshots;
pub mod state;
mod stop;
mod tls;

pub use super::ladder::Mode as StopMode;
pub use entry::start;
pub use operate::Operator;
pub use tls::mint;

/// What an agent that clusters was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name.
    pub host: HostName,
    /// The state folder itself.
    pub state_dir: PathBuf,
    /// The flags.
    pub flags: ClusterSettings,
    /// The etcd program; without it `QUORATE_ETCD`, then the search path.
    pub etcd_path: Option<PathBuf>,
    /// The program whose hidden `etcd-child` subcommand starts etcd; without it, this program.
    pub child_program: Option<PathBuf>,
}

/// The cluster flags as typed.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    /// `--seeds`: client addresses of a cluster to join.
    pub seeds: Vec<String>,
    /// `--client-urls`: where etcd serves clients; empty is loopback.
    pub client_urls: Vec<String>,
    /// `--server-urls`: where etcd serves peers; empty is loopback.
    pub server_urls: Vec<String>,
    /// `--advertise-client-urls`: what others are told; empty is the client URLs.
    pub advertise_client_urls: Vec<String>,
    /// `--advertise-server-urls`: what others are told; empty is the server URLs.
    pub advertise_server_urls: Vec<String>,
    /// `--ideal-cluster-size`; without it [`IDEAL_SIZE`]. Only the host that founds the cluster
    /// writes it.
    pub ideal_size: Option<u16>,
    /// `--min-cluster-size`: no decision leaves fewer voters; without it 1. Written by the founder,
    /// like the next.
    pub min_size: Option<u16>,
    /// `--allow-even`: an even number of voters is wanted as well.
    pub allow_even: bool,
    /// `--zone`: what fails together with this host; voters are spread over zones.
    pub zone: Option<String>,
    /// `--etcd-strict`: etcd itself checks changes of members as well.
    pub etcd_strict: bool,
    /// `--etcd-quota`: how many bytes the store may take; without it [`QUOTA`].
    pub quota_bytes: Option<u64>,
    /// `--etcd-heartbeat` and `--etcd-election`: how soon a leader is missed. The founder's count
    /// for all; without them the usual ones.
    pub timers: Option<Timers>,
    /// `--no-server`: never run etcd here.
    pub no_server: bool,
    /// `--no-rejoin`: a member that the others removed stays out.
    pub no_rejoin: bool,
    /// `--insecure-network`: allow unprotected addresses beyond this machine.
    pub insecure_network: bool,
    /// `--dead-after`: how long a voter may be silent, its agent's claim gone, before it is
    /// replaced; without it [`DEAD_AFTER`]. The host that decides goes by its own.
    pub dead_after: Option<Duration>,
    /// Certificates, token and password.
    pub tls: TlsFlags,
}

/// How many voters are wanted when nobody says.
pub const IDEAL_SIZE: u16 = 5;

/// How many bytes the store may take when nobody says: 2 GiB.
pub const QUOTA: u64 = 2 << 30;

/// How long a silent voter is waited for when nobody says.
pub const DEAD_AFTER: Duration = Duration::from_secs(60);

/// What a person wants the agent to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Leave the cluster and end.
    Leave,
    /// Start anew, with the same arguments.
    Restart,
    /// End as failed: the membership cannot be kept.
    Fail,
    /// Recover the state folder while no agent runs on it, and start anew.
    Recover {
        /// Names the outcome in the state folder.
        request: String,
        /// What is to be done.
        recovery: Recovery,
    },
}

impl Order {
    fn as_str(&self) -> &'static str {
        match self {
            Order::Leave => "leave",
            Order::Restart => "restart",
            Order::Fail => "fail",
            Order::Recover { .. } => "recover",
        }
    }

    /// What another host may order; data are recovered only from where they lie.
    fn parse(word: &str) -> Option<Order> {
        [Order::Leave, Order::Restart].into_iter().find(|order| order.as_str() == word)
    }
}

/// A running membership. Dropping it without [`Handle::stop`] kills the child.
pub struct Handle {
    /// The store. Its calls wait, within a bound, while the cluster forms.
    pub store: Arc<dyn Store>,
    /// What this host is and sees.
    pub status: watch::Receiver<ClusterStatus>,
    /// The state folder, locked for as long as the handle lives.
    pub state: Arc<state::StateFolder>,
    /// Answers requests about the cluster.
    pub operator: Operator,
    /// What the agent is wanted to do.
    pub orders: mpsc::Receiver<Order>,
    stop: watch::Sender<Option<StopMode>>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Ends the membership's tasks and the etcd child; returns when the child is gone. The mode
    /// only ever gets harder: a further signal sends the next one while the stop is under way.
    pub async fn stop(mut self, mut mode: watch::Receiver<StopMode>) {
        loop {
            let wanted = *mode.borrow_and_update();
            self.stop.send_if_modified(|wish| {
                let harder = *wish < Some(wanted);
                if harder {
                    *wish = Some(wanted);
                }
                harder
            });
            tokio::select! {
                ended = &mut self.task => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the membership's task ended in disorder");
                    }
                    return;
                }
                Ok(()) = mode.changed() => {}
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What our own etcd is, while it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Serving {
    cluster: u64,
    member: u64,
}

/// What the loops share.
struct Agent {
    host: String,
    instance: String,
    machine: String,
    /// Seconds since 1970, for people.
    started: u64,
    addresses: Addresses,
    /// Listened on, with addresses only.
    listen: Listen,
    /// Our own etcd, for us.
    own_url: String,
    etcd: Option<child::Program>,
    /// Why there is no etcd program, on a host that was to have one.
    no_etcd: Option<String>,
    no_rejoin: bool,
    child_program: PathBuf,
    ideal: u16,
    floor: u16,
    allow_even: bool,
    zone: Option<String>,
    strict: bool,
    quota: u64,
    timers: Option<Timers>,
    dead_after: Duration,
    folder: Arc<state::StateFolder>,
    endpoints: Arc<Endpoints>,
    store: Arc<EtcdStore>,
    rpc: rpc::Rpc,
    tls: tls::Credentials,
    spawner: child::Spawner,
    child: Mutex<Option<child::Running>>,
    status: watch::Sender<ClusterStatus>,
    /// What this host wrote last about its decisions.
    told: Mutex<Option<Told>>,
    /// What a person wants this agent to do.
    orders: mpsc::Sender<Order>,
    /// The cluster is known, and is the one that this folder belongs to.
    settled: watch::Sender<bool>,
    claim: watch::Sender<Option<writes::Claim>>,
    serving: watch::Sender<Option<Serving>>,
    /// Others have a quorum and do not list our member.
    unlisted: Notify,
}

/// What is listened on.
#[derive(Clone, Debug, Default)]
struct Listen {
    client: Vec<String>,
    peer: Vec<String>,
    /// By us, for joiners.
    join: Vec<String>,
}

impl Listen {
    /// The addresses where etcd listens.
    fn addresses(&self) -> Vec<SocketAddr> {
        let urls = self.client.iter().chain(&self.peer);
        urls.filter_map(|url| url.split_once("://")?.1.parse().ok()).collect()
    }
}

impl Agent {
    /// Says what this host is.
    fn say(&self, role: Role, reason: Option<String>) {
        self.status.send_if_modified(|status| {
            let new = status.role != role || status.reason != reason;
            if new {
                match &reason {
                    Some(reason) => tracing::info!("{}: {reason}", role.as_str()),
                    None => tracing::info!("this host's role: {}", role.as_str()),
                }
                status.role = role;
                status.reason.clone_from(&reason);
            }
            new
        });
    }

    /// Whether the other voters that were last seen answering are a quorum by themselves.
    fn others_have_quorum(&self) -> bool {
        let Some(member) = self.folder.identity().member else { return false };
        let own = show_id(member);
        let status = self.status.borrow();
        let members = status.cluster.iter().flat_map(|view| &view.members);
        let voters: Vec<_> = members.filter(|m| m.role == Role::Voter).collect();
        let up = voters.iter().filter(|m| m.up && m.id != own).count();
        up >= quorum(voters.len())
    }

    fn child(&self) -> Option<child::Running> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_child(&self, running: Option<child::Running>) {
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

/// Seconds since 1970, for values that people read.
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default()
}
