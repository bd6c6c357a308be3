//! What a certificate says, as our TLS library reads it.
//!
//! Refuses to judge: what it finds becomes a sentence elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use super::files::Material;
use crate::cluster::tls::lifetime::Validity;

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Over since.
    Ended(u64),
    /// Good only from.
    NotYet(u64),
    /// Of another authority.
    Issuer,
    /// For these names, and not for the one that was asked for.
    Name(Vec<String>),
    /// Something else, in the library's words.
    Other(String),
}

/// The algorithms; one set for everything.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM text.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it holds no certificate in PEM form".into()),
        Ok(found) => Ok(found),
        Err(why) => Err(format!("it is no PEM file: {why}")),
    }
}

/// Authorities to believe.
pub(super) fn roots(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for one in certificates {
        roots.add(one.clone()).map_err(|why| format!("it is no certificate: {why}"))?;
    }
    Ok(roots)
}

/// Whether the first certificate of `chain` is one for `name`, at the time `now`.
pub(super) fn judge(
    chain: &[CertificateDer<'static>],
    roots: Arc<RootCertStore>,
    name: &str,
    now: u64,
) -> Result<(), Fault> {
    let other = |why: &dyn std::fmt::Display| Fault::Other(why.to_string());
    let (own, between) = chain.split_first().ok_or_else(|| other(&"there is no certificate"))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider());
    let verifier = verifier.build().map_err(|why| other(&why))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|why| other(&why))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    match verifier.verify_server_cert(own, between, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(error)) => Err(fault(&error)),
        Err(error) => Err(other(&error)),
    }
}

/// Whether what a host shows is good for `name` to who trusts what it trusts.
pub(super) fn holds(material: &Material, name: &str, now: u64) -> Result<(), Fault> {
    let (cert, _) = material.own.as_ref().ok_or_else(|| Fault::Other("there is none".into()))?;
    let chain = certificates(cert.as_bytes()).map_err(Fault::Other)?;
    let trusted = certificates(material.authority.as_bytes()).map_err(Fault::Other)?;
    let trusted = roots(&trusted).map_err(Fault::Other)?;
    judge(&chain, Arc::new(trusted), name, now)
}

/// What the library's error means.
pub(super) fn fault(error: &CertificateError) -> Fault {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => Fault::Ended(not_after.as_secs()),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Fault::NotYet(not_before.as_secs())
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::Issuer,
        CertificateError::NotValidForNameContext { presented, .. } => {
            Fault::Name(presented.iter().map(|name| plain(name)).collect())
        }
        other => Fault::Other(other.to_string()),
    }
}

/// `DnsName("h1")` as `h1`.
fn plain(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').to_owned()
}

/// From when until when a certificate is good. The library tells the bounds only to whom they stop,
/// so it is asked about the beginning and the end of time.
pub(super) fn validity(certificate: &CertificateDer<'static>) -> Option<Validity> {
    let mut roots = RootCertStore::empty();
    // Whichever authority: the dates are looked at first.
    roots.add(certificate.clone()).ok()?;
    let roots = Arc::new(roots);
    let chain = std::slice::from_ref(certificate);
    let far = Duration::from_hours(24 * 365 * 9_000).as_secs();
    match (judge(chain, roots.clone(), "h", 0), judge(chain, roots, "h", far)) {
        (Err(Fault::NotYet(from)), Err(Fault::Ended(until))) => Some(Validity { from, until }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn made(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["h1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 9, 9);
        params.not_after = rcgen::date_time_ymd(2033, 5, 18);
        let made = params.self_signed(&key).unwrap();
        let validity = validity(made.der()).unwrap();
        let dates = [validity.from, validity.until].map(crate::cluster::when::date_to_minute);
        assert_eq!(dates, ["2001-09-09 00:00 UTC", "2033-05-18 00:00 UTC"]);
    }

    #[test]
    fn a_certificate_for_other_names_is_told_with_its_names() {
        let certificate = made(&["h1", "10.0.0.1"]);
        let trusted = roots(std::slice::from_ref(&certificate)).unwrap();
        let now = 1_700_000_000;
        let judged =
            |name| judge(std::slice::from_ref(&certificate), trusted.clone().into(), name, now);
        assert_eq!(judged("h1"), Ok(()));
        assert_eq!(judged("10.0.0.1"), Ok(()));
        let names = vec!["h1".to_owned(), "10.0.0.1".to_owned()];
        assert_eq!(judged("h2"), Err(Fault::Name(names)));
    }

    #[test]
    fn a_certificate_of_another_authority_is_told() {
        let trusted = roots(&[made(&["authority"])]).unwrap();
        let judged = judge(&[made(&["h1"])], trusted.into(), "h1", 1_700_000_000);
        assert_eq!(judged, Err(Fault::Issuer));
        assert!(certificates(b"nonsense").unwrap_err().contains("no certificate in PEM form"));
    }
}
