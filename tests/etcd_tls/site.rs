//! Hosts on loopback addresses for the tests of TLS: agents in this process, their etcd as
//! children, and an authority that issues what a test wants.
//!
//! Refuses to keep anything: each site is a temporary folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate::cluster::shell::{ClusterSettings, Config, Handle, StopMode, start};
use quorate::cluster::{ClusterStatus, Role, StartError};
use quorate::ident::HostName;
use quorate::store::{Op, Store, Txn};

use crate::authority::Authority;
use crate::program::{etcd, ports};

/// Longer than anything here takes on a loaded machine with two cores.
const LONG: Duration = Duration::from_secs(40);

/// A host with its folder and its ports, started any number of times.
pub(crate) struct Site {
    pub(crate) name: String,
    dir: tempfile::TempDir,
    pub(crate) client: u16,
    pub(crate) scheme: &'static str,
}

impl Site {
    pub(crate) fn new(name: &str) -> Site {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Site { name: name.into(), dir, client: ports(4), scheme: "https" }
    }

    pub(crate) fn plain(name: &str) -> Site {
        Site { scheme: "http", ..Site::new(name) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn client_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client + 1)
    }

    pub(crate) fn config(&self, seeds: &[&str]) -> Config {
        Config {
            host: HostName::parse(&self.name).expect("a host name"),
            state_dir: self.path("state"),
            flags: ClusterSettings {
                seeds: seeds.iter().map(|s| (*s).to_owned()).collect(),
                client_urls: vec![self.client_url()],
                server_urls: vec![self.peer_url()],
                ideal_size: Some(3),
                dead_after: Some(Duration::from_secs(3)),
                ..ClusterSettings::default()
            },
            etcd_path: Some(etcd()),
            child_program: Some(env!("CARGO_BIN_EXE_quorate").into()),
        }
    }

    /// That of an agent that only is a client.
    pub(crate) fn client_config(&self, seeds: &[&str]) -> Config {
        let mut config = self.config(seeds);
        config.flags.no_server = true;
        config.flags.client_urls.clear();
        config.flags.server_urls.clear();
        config
    }
}

pub(crate) async fn started(config: Config) -> Handle {
    let name = config.host.clone();
    match start(config).await {
        Ok(handle) => handle,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Exit code and sentence of a refused start, which left the state folder as it was: not there.
pub(crate) async fn refused(config: Config) -> (u8, String) {
    let folder = config.state_dir.clone();
    assert!(!folder.exists(), "{} is there before the start", folder.display());
    let error: StartError = match start(config).await {
        Ok(_) => panic!("the start was not refused"),
        Err(error) => error,
    };
    assert!(!folder.exists(), "{error}: {} was made", folder.display());
    (error.exit_code(), error.to_string())
}

/// Waits until the status is as wanted, or fails with the last one.
pub(crate) async fn until(handle: &Handle, what: &str, wanted: impl Fn(&ClusterStatus) -> bool) {
    let mut status = handle.status.clone();
    let reached = tokio::time::timeout(LONG, status.wait_for(|s| wanted(s))).await;
    assert!(reached.is_ok(), "{what}: {:#?}", handle.status.borrow());
}

pub(crate) async fn healthy(handles: &[&Handle], size: usize) {
    for handle in handles {
        until(handle, "voters", |s| {
            let members = s.cluster.iter().flat_map(|c| &c.members);
            members.filter(|m| m.role == Role::Voter && m.up).count() == size
                && s.cluster.as_ref().is_some_and(|c| c.quorum && c.leader.is_some())
        })
        .await;
    }
}

pub(crate) async fn put(store: &Arc<dyn Store>, key: &str, value: &str) -> bool {
    let put = Op::Put { key: key.into(), value: value.into(), lease: None };
    store.txn(Txn { when: Vec::new(), then: vec![put] }).await.is_ok_and(|c| c.applied)
}

pub(crate) async fn stop_all(handles: impl IntoIterator<Item = Handle>) {
    let mode = || tokio::sync::watch::channel(StopMode::Stay).1;
    let stops = handles.into_iter().map(|h| h.stop(mode()));
    futures_util::future::join_all(stops).await;
}

/// What etcdctl says: whether it did, and its words.
pub(crate) async fn etcdctl(words: &[String]) -> (bool, String) {
    let program = etcd().with_file_name("etcdctl");
    let mut command = tokio::process::Command::new(program);
    command.env("ETCDCTL_API", "3").args(["--dial-timeout=2s", "--command-timeout=3s"]);
    let output = command.args(words).output().await.expect("etcdctl is beside etcd");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

impl Authority {
    /// Gives an agent a certificate of this authority.
    pub(crate) fn give(&self, config: &mut Config, names: &[&str], until: i32) {
        let (cert, key) = self.issue(config.host.as_str(), names, until);
        let tls = &mut config.flags.tls;
        tls.cert_file = Some(cert);
        tls.key_file = Some(key);
        tls.trusted_ca_file = Some(self.file.clone());
    }
}

/// What a join port answers to a body, asked with or without a certificate.
pub(crate) async fn post(port: u16, path: &str, body: &str, state: &Path, own: bool) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
    let file = |name: &str| state.join("tls").join(name);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("authority.crt")).expect("a file")).expect("one");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match own {
        true => {
            let cert = CertificateDer::from_pem_file(file("host.crt")).expect("a file");
            let key = PrivateKeyDer::from_pem_file(file("host.key")).expect("a file");
            builder.with_client_auth_cert(vec![cert], key).expect("a certificate")
        }
        false => builder.with_no_client_auth(),
    };
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let name = "127.0.0.1".try_into().expect("an address");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    // The end of the connection comes without a farewell.
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}
