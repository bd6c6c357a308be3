//! An authority and one certificate for this machine, which agents and scripts are given alike.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// The files of a host: all hosts have the same, since what they cost is what counts.
pub(super) struct Certificates {
    pub(super) authority: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificates {
    /// Makes them.
    pub(super) fn make(folder: &Path) -> anyhow::Result<Certificates> {
        let mut own = CertificateParams::new(Vec::<String>::new())?;
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.distinguished_name.push(DnType::CommonName, "bench");
        let issuer = CertifiedIssuer::self_signed(own, KeyPair::generate()?)?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &issuer)?;
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            private(&file)?;
            anyhow::Ok(file)
        };
        Ok(Certificates {
            authority: write("authority.crt", issuer.pem())?,
            cert: write("host.crt", cert.pem())?,
            key: write("host.key", key.serialize_pem())?,
        })
    }
}

/// The agent refuses keys that others may read.
fn private(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
