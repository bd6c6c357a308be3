//! Why an agent refuses to start, one sentence each.
//!
//! Refuses to hold more than a person needs: what, where, why, and the next step.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::tls::TlsError;

/// Why the start is refused.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another agent holds the folder.
    #[error(
        "state folder {} is in use by {holder}; give this agent its own --hostname or --prefix",
        folder.display()
    )]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
        /// Host, pid and start time of its holder.
        holder: String,
    },
    /// The folder was made for another host.
    #[error(
        "state folder {} belongs to host {owner}, not to {host}; give this agent its own --prefix",
        folder.display()
    )]
    FolderOfOther {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who asked for it.
        host: String,
    },
    /// The folder's identity file cannot be understood.
    #[error(
        "{} is damaged ({why}); move the folder aside and start again to join as a new member",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// etcd data without an identity.
    #[error(
        "{} holds etcd data but no identity of quorate; give this agent its own --prefix",
        folder.display()
    )]
    ForeignData {
        /// The folder.
        folder: PathBuf,
    },
    /// The member's data are gone and nobody answers who could replace them.
    #[error(
        "the etcd data of this member in {} {found} and no other member answers; start the others \
        first",
        folder.display()
    )]
    DataGone {
        /// The folder.
        folder: PathBuf,
        /// What is there instead, for instance `are gone`.
        found: &'static str,
    },
    /// The folder is a copy of one that is in use.
    #[error(
        "state folder {} is a copy of the one that {host} runs on{at} (a cloned machine?); move it \
        aside and give this agent its own --hostname",
        folder.display()
    )]
    FolderCopied {
        /// The folder.
        folder: PathBuf,
        /// Whose folder was copied.
        host: String,
        /// ` at http://10.0.0.7:2379`, or empty when it serves nobody.
        at: String,
    },
    /// Another agent uses the host name.
    #[error("another agent named {host} is alive ({who}); host names must be unique")]
    HostTaken {
        /// The name.
        host: String,
        /// Instance and address of the other.
        who: String,
    },
    /// A port is taken.
    #[error("port {port} on {address} is taken{by}; free it or choose another with {flag}{advice}")]
    PortTaken {
        /// The port.
        port: u16,
        /// The address.
        address: String,
        /// ` by etcd (pid 401)`, or empty when the owner cannot be seen.
        by: String,
        /// The flag that chooses it.
        flag: &'static str,
        /// How to be rid of an owner that is known, or empty.
        advice: &'static str,
    },
    /// The address is not one of this host.
    #[error("{address} port {port} cannot be listened on: {why}; choose another with {flag}")]
    NoAddress {
        /// The address.
        address: String,
        /// The port.
        port: u16,
        /// What the system says.
        why: String,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// Others could not reach what would be advertised.
    #[error(
        "this agent would advertise {url}, which other hosts cannot reach; pass {flag} \
        {scheme}://ADDRESS:{port}"
    )]
    LoopbackAdvertised {
        /// The URL.
        url: String,
        /// The flag to change.
        flag: &'static str,
        /// The scheme to use with it.
        scheme: &'static str,
        /// The port to use with it.
        port: u16,
    },
    /// The network could read and write everything.
    #[error(
        "{url} is reachable from the network without certificates; pass --insecure-network if that \
        is what you want"
    )]
    InsecureNetwork {
        /// The URL.
        url: String,
    },
    /// The same for what could have them.
    #[error(
        "{url} is reachable from the network without certificates; write https:// for TLS, or pass \
        --insecure-network if that is what you want"
    )]
    OpenNetwork {
        /// The URL.
        url: String,
    },
    /// Certificates, tokens, or what a seed shows.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The seed is a peer port.
    #[error("{seed} is the peer port of {host}; pass --seeds {client}, its port for clients")]
    PeerPort {
        /// The seed as given.
        seed: String,
        /// Whose it is.
        host: String,
        /// What to use instead.
        client: String,
    },
    /// The seed belongs to another cluster.
    #[error(
        "{seed} belongs to cluster {theirs} but this folder belongs to cluster {ours}; wrong seed, \
        or it was set up anew"
    )]
    ForeignCluster {
        /// The seed.
        seed: String,
        /// Its cluster.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// A name cannot be listened on.
    #[error("{name} does not resolve on this host; etcd needs an address to listen on")]
    Unresolved {
        /// The name.
        name: String,
    },
    /// A URL is not one that we can use.
    #[error("{flag} {url}: {why}")]
    BadUrl {
        /// The flag.
        flag: &'static str,
        /// The URL.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// No usable etcd program on a host that must run one.
    #[error(
        "{why}; install it (Debian, Ubuntu: apt install etcd-server) or name it with QUORATE_ETCD"
    )]
    NoEtcd {
        /// What was found.
        why: String,
    },
    /// `--no-server` without anybody to be a client of.
    #[error("--no-server needs --seeds: there is no cluster to be a client of")]
    NoSeeds,
    /// The operating system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried, for instance `cannot write`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// The agent's exit code: 2 for bad usage, 1 when the system failed us, else 3, refused at
    /// start.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::BadUrl { .. } | StartError::NoSeeds => 2,
            StartError::Io { .. } => 1,
            StartError::Tls(error) => error.exit_code(),
            _ => 3,
        }
    }
}
