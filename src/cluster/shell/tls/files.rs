//! Certificates, keys and secrets in files: read, and looked at before anything rests on them.
//!
//! Refuses to change a file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{Error, sign::CertifiedKey};

use super::check::{self, Fault};
use crate::cluster::tls::lifetime::Validity;
use crate::cluster::tls::{Files, Secret, TlsError, Trust};

/// The flags that a set of files came from.
#[derive(Clone, Copy)]
pub(super) struct Flags {
    cert: &'static str,
    key: &'static str,
    authority: &'static str,
}

/// Those of the files towards clients.
pub(super) const CLIENT: Flags =
    Flags { cert: "--cert-file", key: "--key-file", authority: "--trusted-ca-file" };
/// Those of the files among members.
pub(super) const PEER: Flags =
    Flags { cert: "--peer-cert-file", key: "--peer-key-file", authority: "--peer-trusted-ca-file" };

/// What was read: whom to trust, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Material {
    /// The authorities, in PEM form.
    pub(super) authority: String,
    /// Certificate and key, in PEM form.
    pub(super) own: Option<(String, Secret)>,
}

impl Material {
    /// From when until when the certificate is good.
    pub(super) fn validity(&self) -> Option<Validity> {
        let (cert, _) = self.own.as_ref()?;
        check::certificates(cert.as_bytes()).ok()?.first().and_then(check::validity)
    }
}

/// Reads a whole set and looks at it: the dates, the key, the authority, and that the certificate
/// is one for each of `names`.
pub(super) fn load(
    flags: Flags,
    files: &Files,
    names: &[String],
    now: u64,
) -> Result<Material, TlsError> {
    let (cert, key) = (files.cert.clone(), files.key.clone());
    let trust = Trust { authority: files.authority.clone(), own: Some((cert, key)) };
    load_client(flags, &trust, names, now)
}

/// The same for a host that only has to trust.
pub(super) fn load_client(
    flags: Flags,
    trust: &Trust,
    names: &[String],
    now: u64,
) -> Result<Material, TlsError> {
    let authority = text(flags.authority, &trust.authority)?;
    let bad = |why| TlsError::File { flag: flags.authority, file: trust.authority.clone(), why };
    let roots = check::certificates(authority.expose().as_bytes());
    let roots = Arc::new(roots.and_then(|found| check::roots(&found)).map_err(bad)?);
    let authority = authority.expose().to_owned();
    let Some((cert_file, key_file)) = &trust.own else {
        return Ok(Material { authority, own: None });
    };
    let cert = text(flags.cert, cert_file)?.expose().to_owned();
    let bad = |why| TlsError::File { flag: flags.cert, file: cert_file.clone(), why };
    let chain = check::certificates(cert.as_bytes()).map_err(bad)?;
    let key = secret(flags.key, key_file)?;
    let bad = |why: String| TlsError::File { flag: flags.key, file: key_file.clone(), why };
    let private = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| bad("it holds no private key in PEM form".into()))?;
    match CertifiedKey::from_der(chain.clone(), private, &check::provider()) {
        Ok(_) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(TlsError::KeyMismatch { key: key_file.clone(), cert: cert_file.clone() });
        }
        Err(why) => return Err(bad(why.to_string())),
    }
    // Who stands for no name is judged by issuer and dates, which are looked at first.
    let asked = if names.is_empty() { &["localhost".to_owned()] } else { names };
    for name in asked {
        match check::judge(&chain, Arc::clone(&roots), name, now) {
            Err(Fault::Name(_)) if names.is_empty() => {}
            Err(found) => return Err(refusal(flags, trust, cert_file, name, found)),
            Ok(()) => {}
        }
    }
    Ok(Material { authority, own: Some((cert, key)) })
}

fn refusal(flags: Flags, trust: &Trust, cert: &Path, name: &str, fault: Fault) -> TlsError {
    let cert = cert.to_owned();
    match fault {
        Fault::Ended(at) => TlsError::Expired { cert, at },
        Fault::NotYet(at) => TlsError::NotYet { cert, at },
        Fault::Issuer => TlsError::NotIssued { cert, authority: trust.authority.clone() },
        Fault::Name(presented) => {
            let presented = presented.join(", ");
            TlsError::NotForUs { cert, presented, name: name.to_owned() }
        }
        Fault::Other(why) => TlsError::File { flag: flags.cert, file: cert, why },
    }
}

/// The text of a file.
fn text(flag: &'static str, file: &Path) -> Result<Secret, TlsError> {
    let bad = |why| TlsError::File { flag, file: file.to_owned(), why };
    let bytes = std::fs::read(file).map_err(|error| bad(format!("it cannot be read: {error}")))?;
    String::from_utf8(bytes).map(Secret::new).map_err(|_| bad("it is not text".into()))
}

/// The text of a file that nobody else may read or change.
pub(super) fn secret(flag: &'static str, file: &Path) -> Result<Secret, TlsError> {
    let bad = |why| TlsError::File { flag, file: file.to_owned(), why };
    let found = std::fs::metadata(file);
    let mode = found.map_err(|error| bad(format!("it cannot be read: {error}")))?;
    let mode = mode.permissions().mode() & 0o777;
    // A group may be trusted with a key, as Debian's ssl-cert is.
    if mode & 0o027 != 0 {
        let file = file.display();
        return Err(bad(format!(
            "others may read or change it (mode {mode:04o}); run: chmod 600 {file}"
        )));
    }
    text(flag, file)
}

/// The first line of a file with a token or a password.
pub(super) fn line(flag: &'static str, file: &Path) -> Result<Secret, TlsError> {
    let text = secret(flag, file)?;
    match text.expose().lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::from(line)),
        None => Err(TlsError::File { flag, file: file.to_owned(), why: "it is empty".into() }),
    }
}

/// The same files, wherever a process stands.
pub(super) fn absolute(files: &Files) -> Files {
    let path = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Files { cert: path(&files.cert), key: path(&files.key), authority: path(&files.authority) }
}
