//! The start: everything that flags and the state folder say about certificates, looked at before
//! anything is touched.
//!
//! Refuses to write, and to ask anybody.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::authority::{self, Authority};
use super::check::{self, Fault};
use super::files::{self, Material};
use super::{AUTHORITY_CERT, AUTHORITY_KEY, Asking, CERT, Credentials, KEY};
use crate::cluster::address::Addresses;
use crate::cluster::shell::{Config, now_seconds};
use crate::cluster::tls::lifetime::{HOST, Validity, WARN};
use crate::cluster::tls::token::Token;
use crate::cluster::tls::{Plan, Secret, TlsError, TlsFlags, names, plan};
use crate::cluster::when::date_to_minute;
use crate::store::etcd::Access;

/// Reads and looks at everything that the flags name. `listen` are the addresses that etcd will
/// listen on.
pub(in crate::cluster::shell) fn prepare(
    config: &Config,
    addresses: &Addresses,
    listen: &[SocketAddr],
) -> Result<Credentials, TlsError> {
    let flags = &config.flags.tls;
    let plan = plan::decide(flags, addresses.tls, !config.flags.no_server)?;
    let state = std::path::absolute(&config.state_dir).unwrap_or_else(|_| config.state_dir.clone());
    let mut credentials = Credentials {
        access: Access::new(user(flags)?),
        certificates: None,
        plan,
        host: config.host.to_string(),
        folder: super::folder(&state),
        material: watch::Sender::new(None),
        key: Mutex::new(None),
        asking: None,
        lifetime: flags.lifetime.map_or(HOST, |lifetime| lifetime.as_secs()),
        trusted: String::new(),
    };
    match credentials.plan.clone() {
        Plan::Plain => {}
        Plan::Authority => {
            let names = names::wanted(&credentials.host, addresses, listen);
            of_authority(&mut credentials, flags, names, !config.flags.no_server)?;
        }
        Plan::ClientFiles(_) | Plan::Files { .. } => of_files(&mut credentials, addresses)?,
    }
    Ok(credentials)
}

fn user(flags: &TlsFlags) -> Result<Option<(String, Zeroizing<String>)>, TlsError> {
    let (Some(user), Some(file)) = (&flags.user, &flags.password_file) else { return Ok(None) };
    let password = files::line("--password-file", file)?;
    Ok(Some((user.clone(), Zeroizing::new(password.expose().to_owned()))))
}

/// Files that somebody else keeps.
fn of_files(credentials: &mut Credentials, addresses: &Addresses) -> Result<(), TlsError> {
    let names = names::advertised(addresses);
    let material = super::duty::read_files(&credentials.plan, &names)?;
    let Some(material) = material else { return Ok(()) };
    let authority = match &credentials.plan {
        Plan::Files { client, peer } => {
            credentials.certificates = Some((files::absolute(client), files::absolute(peer)));
            client.authority.clone()
        }
        Plan::ClientFiles(trust) => trust.authority.clone(),
        Plan::Plain | Plan::Authority => return Ok(()),
    };
    credentials.trusted = format!("those in --trusted-ca-file {}", authority.display());
    warn_of_end(&material, now_seconds());
    credentials.take(material);
    Ok(())
}

/// Says when a certificate ends that nobody renews for us.
fn warn_of_end(material: &Material, now: u64) {
    let validity = material.validity();
    if let Some(validity) = validity.filter(|one| one.until < now.saturating_add(WARN)) {
        tracing::warn!(
            "the certificate of this host ends on {}; renew it",
            date_to_minute(validity.until)
        );
    }
}

/// What the cluster's own authority has given this host before, and what it would be asked for.
fn of_authority(
    credentials: &mut Credentials,
    flags: &TlsFlags,
    names: Vec<String>,
    server: bool,
) -> Result<(), TlsError> {
    if server {
        let files = super::own_files(&credentials.folder);
        credentials.certificates = Some((files.clone(), files));
    }
    let file = credentials.folder.join(AUTHORITY_CERT);
    credentials.trusted = format!("the one of this host's cluster ({})", file.display());
    if let Some(key) = read(credentials, AUTHORITY_KEY)? {
        credentials.set_key(key);
    }
    let may_ask = flags.token.is_some() || flags.token_file.is_some();
    let issued = issued(credentials, may_ask, &names)?;
    // Who has a certificate needs no token any more, and its file may be gone.
    let token = if issued.is_none() { token(flags)? } else { None };
    let key = match issued.as_ref().and_then(|material| material.own.as_ref()) {
        Some((_, key)) => key.clone(),
        None => authority::key().map_err(|why| failed(credentials, why))?,
    };
    credentials.asking = Some(Asking { key, names, token, port: flags.join_port });
    if let Some(material) = issued {
        credentials.take(material);
    }
    Ok(())
}

/// The token that the flags name.
fn token(flags: &TlsFlags) -> Result<Option<Token>, TlsError> {
    let text = match (&flags.token, &flags.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => files::line("--token-file", file)?,
        (None, None) => return Ok(None),
    };
    Token::parse(text.expose()).map(Some)
}

fn failed(credentials: &Credentials, why: String) -> TlsError {
    TlsError::File { flag: "the folder", file: credentials.folder.clone(), why }
}

/// A file of the folder, if it is there.
fn read(credentials: &Credentials, name: &str) -> Result<Option<Secret>, TlsError> {
    let file = credentials.folder.join(name);
    match file.exists() {
        true => files::secret("the file", &file).map(Some),
        false => Ok(None),
    }
}

/// What was issued to this host, as far as it is still good.
fn issued(
    credentials: &Credentials,
    may_ask: bool,
    names: &[String],
) -> Result<Option<Material>, TlsError> {
    let (Some(authority), Some(cert), Some(key)) =
        (read(credentials, AUTHORITY_CERT)?, read(credentials, CERT)?, read(credentials, KEY)?)
    else {
        return Ok(None);
    };
    let authority = authority.expose().to_owned();
    let material = Material { authority, own: Some((cert.expose().to_owned(), key.clone())) };
    let now = now_seconds();
    let file = credentials.folder.join(CERT);
    match check::holds(&material, &names::identity(&credentials.host), now) {
        Ok(()) => Ok(Some(material)),
        Err(Fault::Ended(_)) if credentials.key().is_some() => {
            let own = credentials.key().unwrap_or_else(|| Secret::from(""));
            let anew = Authority::load(material.authority.clone(), &own).and_then(|authority| {
                let validity = Validity::new(now, credentials.lifetime);
                authority.issue(&credentials.host, names, &authority::public(&key)?, validity)
            });
            let cert = anew.map_err(|why| failed(credentials, why))?;
            Ok(Some(Material { own: Some((cert, key)), ..material }))
        }
        Err(Fault::Ended(_)) if may_ask => Ok(None),
        Err(Fault::Ended(at)) => Err(TlsError::Ended { cert: file, at }),
        Err(Fault::NotYet(at)) => Err(TlsError::NotYet { cert: file, at }),
        Err(Fault::Issuer) => {
            let authority = credentials.folder.join(AUTHORITY_CERT);
            Err(TlsError::NotIssued { cert: file, authority })
        }
        Err(Fault::Name(presented)) => {
            let (presented, name) = (presented.join(", "), credentials.host.clone());
            Err(TlsError::NotForUs { cert: file, presented, name })
        }
        Err(Fault::Other(why)) => Err(TlsError::File { flag: "the file", file, why }),
    }
}

/// The founder makes the authority and its own certificate.
impl Credentials {
    pub(in crate::cluster::shell) fn found(&self) -> Result<(), TlsError> {
        let (Some(asking), None) = (&self.asking, self.material()) else { return Ok(()) };
        let now = now_seconds();
        let made = authority::make(now).and_then(|(certificate, key)| {
            let authority = Authority::load(certificate.clone(), &key)?;
            let validity = Validity::new(now, self.lifetime);
            let public = authority::public(&asking.key)?;
            let own = authority.issue(&self.host, &asking.names, &public, validity)?;
            Ok((certificate, key, own))
        });
        let (authority, key, own) = made.map_err(|why| failed(self, why))?;
        self.set_key(key);
        self.take(Material { authority, own: Some((own, asking.key.clone())) });
        Ok(())
    }

    /// Refuses to go on without a certificate and without a way to one.
    pub(in crate::cluster::shell) fn needs_token(&self) -> Result<(), TlsError> {
        let asks = self.asking.as_ref().is_some_and(|asking| asking.token.is_none());
        match asks && self.material.borrow().is_none() {
            true => Err(TlsError::NoCertificate),
            false => Ok(()),
        }
    }
}
