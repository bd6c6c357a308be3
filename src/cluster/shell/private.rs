//! An etcd on a state folder's data that nobody is told of: on loopback ports of its own, for as
//! long as a recovery needs it.
//!
//! Refuses to live longer than its caller.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use zeroize::Zeroizing;

use super::child::{self, Running};
use super::rpc::{Probe, Rpc};
use super::state::StateFolder;
use crate::cluster::flags::{self, Child, Mode};
use crate::cluster::timers::Timers;
use crate::store::etcd::Access;

/// How long it may take until it answers, or has a leader.
const READY: Duration = Duration::from_secs(30);
/// How often it is asked; it has no way to tell.
const POLL: Duration = Duration::from_millis(30);
/// After so many equal answers it has read all of its log.
const SAME: u32 = 5;
/// How long it may take to end after TERM.
const TERM: Duration = Duration::from_secs(5);

/// A running one.
pub(super) struct Private {
    running: Running,
    /// Ends it with this value, whatever happens: its parent thread.
    _spawner: child::Spawner,
    /// Where it answers clients, once it has a leader.
    pub(super) url: String,
    /// Where it answers from its start on: etcd serves nobody at the other before it had a leader.
    pub(super) early: String,
    pub(super) rpc: Rpc,
}

impl Private {
    /// Starts one, with further arguments.
    pub(super) async fn start(
        folder: &StateFolder,
        etcd: &child::Program,
        further: &[&str],
    ) -> Result<Private, String> {
        let identity = folder.identity();
        let own = || -> std::io::Result<String> {
            // Free now; nobody else is told of it.
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            Ok(format!("http://{}", listener.local_addr()?))
        };
        let (client, peer) = (own().map_err(|e| e.to_string())?, own().map_err(|e| e.to_string())?);
        let data_dir = folder.etcd_dir();
        let sockets = folder.socket_dir();
        let prepared = std::fs::create_dir_all(&sockets);
        prepared.map_err(|e| format!("{}: {e}", sockets.display()))?;
        // Left behind by a child that was killed; etcd would not listen on it again.
        drop(std::fs::remove_file(sockets.join("client:0")));
        let mut arguments = flags::arguments(&Child {
            identity: &identity,
            mode: Mode::Existing,
            strict: false,
            quota: super::QUOTA,
            timers: Timers::default(),
            data_dir: &data_dir.to_string_lossy(),
            listen_client: std::slice::from_ref(&client),
            listen_peer: std::slice::from_ref(&peer),
            client: &identity.client,
            peer: &identity.peer,
            // Nobody but us talks to it.
            tls: None,
        });
        arguments.extend(further.iter().map(|one| (*one).to_owned()));
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let spawner = child::Spawner::start().map_err(|e| e.to_string())?;
        let start = child::Start {
            via: &program,
            program: &etcd.path,
            arguments,
            directory: &sockets,
            log: folder.path().join("etcd.log"),
        };
        let running = child::spawn(&spawner, start).await.map_err(|e| e.to_string())?;
        Ok(Private {
            running,
            _spawner: spawner,
            url: client,
            early: peer,
            rpc: Rpc::new(access(folder)),
        })
    }

    /// Waits until it leads.
    pub(super) async fn leads(&self) -> Result<Probe, String> {
        let asked = async || self.rpc.probe(&self.url).await;
        self.until(asked, |probe| probe.leader == probe.member).await
    }

    /// Waits until it has read its log, as this member, with or without a leader.
    pub(super) async fn reads(&self, member: u64) -> Result<Probe, String> {
        let (mut index, mut same) = (0, 0);
        let read = |probe: &Probe| {
            same = if probe.index == index { same + 1 } else { 0 };
            index = probe.index;
            index > 0 && same >= SAME
        };
        self.until(async || self.rpc.probe_early(&self.early, member).await, read).await
    }

    async fn until(
        &self,
        asked: impl AsyncFn() -> Option<Probe>,
        mut wanted: impl FnMut(&Probe) -> bool,
    ) -> Result<Probe, String> {
        let deadline = Instant::now() + READY;
        let waited = async {
            while Instant::now() < deadline {
                if let Some(probe) = asked().await
                    && wanted(&probe)
                {
                    return Ok(probe);
                }
                tokio::time::sleep(POLL).await;
            }
            Err(format!("etcd was not ready within {} s", READY.as_secs()))
        };
        tokio::select! {
            answer = waited => answer,
            exit = self.running.ended() => Err(exit.sentence()),
        }
    }

    /// Ends it.
    pub(super) async fn end(self) {
        self.running.signal(Signal::SIGTERM);
        if tokio::time::timeout(TERM, self.running.ended()).await.is_err() {
            self.running.signal(Signal::SIGKILL);
            self.running.ended().await;
        }
    }
}

/// How the other members are reached: with what the cluster's authority gave to this host.
pub(super) fn access(folder: &StateFolder) -> Arc<Access> {
    let access = Access::new(None);
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let files = super::tls::given(folder.path());
    if let (Some(authority), Some(cert), Some(key)) =
        (read(&files.authority), read(&files.cert), read(&files.key).map(Zeroizing::new))
    {
        let cert = super::tls::acting(folder.path()).unwrap_or(cert);
        access.set_tls(&authority, Some((cert.as_str(), key.as_str())));
    }
    access
}

/// Copies a folder with all that is in it. On file systems that can, nothing is copied twice.
pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            std::fs::File::open(&target)?.sync_all()?;
        }
    }
    std::fs::File::open(to)?.sync_all()
}
