//! The effects of TLS: files read, certificates made and fetched, seeds looked at.
//!
//! Refuses to decide: which files, which sentence, what a token is worth and when to renew are
//! decided by [`crate::cluster::tls`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::rpc::Rpc;
use super::state::write_atomically;
use crate::cluster::address::Addresses;
use crate::cluster::tls::token::Token;
use crate::cluster::tls::{Files, Plan, Secret, TlsError};
use crate::store::etcd::Access;

mod ask;
mod authority;
mod check;
mod config;
pub(super) mod duty;
mod files;
mod join;
mod mint;
mod pin;
mod prepare;
mod probe;
mod service;

use authority::Authority;
use files::Material;
pub(super) use join::obtained;
pub use mint::mint;
pub(super) use prepare::prepare;

/// Certificates and keys of this host, as they are now.
pub(super) struct Credentials {
    /// How etcd is reached.
    pub(super) access: Arc<Access>,
    /// The files that etcd gets: towards clients and among members.
    pub(super) certificates: Option<(Files, Files)>,
    plan: Plan,
    host: String,
    /// Where the cluster's authority keeps its files.
    folder: PathBuf,
    material: watch::Sender<Option<Material>>,
    /// The authority's key in PEM form, when it is here.
    key: Mutex<Option<Secret>>,
    /// What a certificate of the authority is asked for.
    asking: Option<Asking>,
    /// How long what this host issues is good for, in seconds.
    lifetime: u64,
    /// Whom we trust, in words.
    trusted: String,
}

/// What a certificate of the cluster's authority is asked for.
struct Asking {
    /// The key that it is for.
    key: Secret,
    names: Vec<String>,
    token: Option<Token>,
    /// `--join-port`
    port: Option<u16>,
}

impl Credentials {
    /// Whether the cluster's own authority gives the certificates.
    pub(super) fn by_authority(&self) -> bool {
        self.plan == Plan::Authority
    }

    /// Whether certificates have to be looked after.
    pub(super) fn has_duties(&self) -> bool {
        self.plan != Plan::Plain
    }

    /// What is shown and trusted now.
    fn material(&self) -> Option<Material> {
        self.material.borrow().clone()
    }

    /// From now on this is shown and trusted.
    fn take(&self, material: Material) {
        let own = material.own.as_ref().map(|(cert, key)| (cert.as_str(), key.expose()));
        // Who holds the key holds the data, too, and changes members: etcd lets `root` do that.
        let acting = self.key().and_then(|key| mint::operator(&material, &key));
        let own = own.map(|(cert, key)| (acting.as_deref().unwrap_or(cert), key));
        self.access.set_tls(&material.authority, own);
        self.material.send_replace(Some(material));
    }

    /// What this host shows to others as itself: the authority, its certificate and key.
    pub(super) fn shown(&self) -> Option<(String, (String, Secret))> {
        let material = self.material()?;
        Some((material.authority, material.own?))
    }

    /// The key of the authority is here.
    pub(super) fn holds_key(&self) -> bool {
        self.key().is_some() && self.material().is_some()
    }

    /// Keeps a certificate for the operator beside ours, unless there is one; gives the files.
    pub(super) fn save_operator(&self) -> io::Result<[PathBuf; 2]> {
        let files = [self.folder.join(OPERATOR_CERT), self.folder.join(OPERATOR_KEY)];
        if files.iter().all(|file| file.exists()) {
            return Ok(files);
        }
        let made = self.key().zip(self.material()).and_then(|(key, material)| {
            let own = authority::key().ok()?;
            let cert = material.own.as_ref().map(|(cert, _)| cert.clone()).unwrap_or_default();
            let material = Material { own: Some((cert, own.clone())), ..material };
            Some((mint::operator(&material, &key)?, own))
        });
        let (cert, key) =
            made.ok_or_else(|| io::Error::other("the authority's key is not here"))?;
        write_atomically(&files[1], key.expose().as_bytes())?;
        write_atomically(&files[0], cert.as_bytes())?;
        Ok(files)
    }

    fn key(&self) -> Option<Secret> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_key(&self, key: Secret) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// The authority, when its key is here.
    fn authority(&self) -> Option<Result<Authority, String>> {
        let (key, material) = (self.key()?, self.material()?);
        Some(Authority::load(material.authority, &key))
    }

    /// Makes the disk agree with what is held. The certificate is last: it says that all is there.
    ///
    /// # Errors
    /// The disk refused.
    pub(super) fn save(&self) -> io::Result<()> {
        let (Plan::Authority, Some(material)) = (&self.plan, self.material()) else {
            return Ok(());
        };
        std::fs::DirBuilder::new().recursive(true).create(&self.folder)?;
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            match std::fs::read(&path) {
                Ok(old) if old == text.as_bytes() => Ok(()),
                _ => write_atomically(&path, text.as_bytes()),
            }
        };
        write(AUTHORITY_CERT, &material.authority)?;
        if let Some(key) = self.key() {
            write(AUTHORITY_KEY, key.expose())?;
        }
        match &material.own {
            Some((cert, key)) => write(KEY, key.expose()).and_then(|()| write(CERT, cert)),
            None => Ok(()),
        }
    }

    /// Refuses seeds that are there and show that they will never talk to us as we are. One that
    /// answers is enough; silence is no reason.
    pub(super) async fn examine(&self, rpc: &Rpc, addresses: &Addresses) -> Result<(), TlsError> {
        if self.by_authority() && self.material.borrow().is_none() {
            return Ok(());
        }
        let asked = addresses.seeds.iter().map(|seed| rpc.members(&seed.text));
        let answers = futures_util::future::join_all(asked).await;
        match answers.iter().any(Option::is_some) {
            true => Ok(()),
            false => self.verdict(addresses).await.map_or(Ok(()), Err),
        }
    }

    /// What is wrong between us and the seeds, if a handshake with them tells.
    async fn verdict(&self, addresses: &Addresses) -> Option<TlsError> {
        let material = self.material();
        let shown = probe::Shown {
            material: material.as_ref(),
            trusted: &self.trusted,
            access: &self.access,
        };
        let looked = addresses.seeds.iter().map(|seed| probe::verdict(seed, &shown));
        futures_util::future::join_all(looked).await.into_iter().flatten().next()
    }
}

/// The files below `STATE/tls`. All are 0600, in a folder that is 0700.
const AUTHORITY_CERT: &str = "authority.crt";
const AUTHORITY_KEY: &str = "authority.key";
const OPERATOR_CERT: &str = "operator.crt";
const OPERATOR_KEY: &str = "operator.key";
const CERT: &str = "host.crt";
const KEY: &str = "host.key";

/// Where they are.
fn folder(state: &Path) -> PathBuf {
    state.join("tls")
}

/// The files of a state folder that the cluster's authority gave, whether they are there or not.
pub(super) fn given(state: &Path) -> Files {
    own_files(&folder(state))
}

/// What etcd gets of them.
/// The certificate with which whoever holds the authority's key in a state folder acts, if it does.
pub(super) fn acting(state: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(folder(state).join(name)).ok();
    let key = Secret::new(read(AUTHORITY_KEY)?);
    let own = Some((read(CERT)?, Secret::new(read(KEY)?)));
    mint::operator(&Material { authority: read(AUTHORITY_CERT)?, own }, &key)
}

fn own_files(folder: &Path) -> Files {
    Files { cert: folder.join(CERT), key: folder.join(KEY), authority: folder.join(AUTHORITY_CERT) }
}
