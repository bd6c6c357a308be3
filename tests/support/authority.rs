//! Certificates from an authority of a test's own.
//!
//! Refuses to keep anything: all of it lies in a temporary folder. Each test program that needs it
//! takes this file by its path.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority of a test's own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let file = folder.path().join("ca.crt");
        let own = params.self_signed(&key).expect("a certificate");
        std::fs::write(&file, own.pem()).expect("a file");
        Authority { issuer: Issuer::new(params, key), file, folder }
    }

    /// Certificate and key for these names, good until this year.
    pub(crate) fn issue(&self, stem: &str, names: &[&str], until: i32) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |end: &str| self.folder.path().join(format!("{stem}.{end}"));
        std::fs::write(file("crt"), cert.pem()).expect("a file");
        std::fs::write(file("key"), key.serialize_pem()).expect("a file");
        mode(&file("key"), 0o600);
        (file("crt"), file("key"))
    }
}

/// Gives a file this mode.
pub(crate) fn mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("a mode");
}
