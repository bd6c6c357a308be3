//! The authority of a cluster: its certificate and key, and the certificates that it issues.
//!
//! Refuses to read the requests of others: names and keys come in as they were judged.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};

use crate::cluster::auth::ROOT;
use crate::cluster::tls::lifetime::{AUTHORITY, Validity};
use crate::cluster::tls::token::digest;
use crate::cluster::tls::{Secret, names};

/// An authority whose key is here.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM form.
    pub(super) certificate: String,
}

/// A new authority: certificate and key, in PEM form.
pub(super) fn make(now: u64) -> Result<(String, Secret), String> {
    let key = KeyPair::generate().map_err(|why| why.to_string())?;
    let mut params = params(&key).map_err(|why| why.to_string())?;
    limit(&mut params, Validity::new(now, AUTHORITY));
    let certificate = params.self_signed(&key).map_err(|why| why.to_string())?;
    Ok((certificate.pem(), Secret::new(key.serialize_pem())))
}

/// A new key for a host, in PEM form.
pub(super) fn key() -> Result<Secret, String> {
    let key = KeyPair::generate().map_err(|why| why.to_string())?;
    Ok(Secret::new(key.serialize_pem()))
}

/// The public half of a key.
pub(super) fn public(key: &Secret) -> Result<Vec<u8>, String> {
    let key = KeyPair::from_pem(key.expose()).map_err(|why| why.to_string())?;
    Ok(key.public_key_raw().to_vec())
}

impl Authority {
    /// The authority with this certificate and key.
    pub(super) fn load(certificate: String, key: &Secret) -> Result<Authority, String> {
        let key = KeyPair::from_pem(key.expose()).map_err(|why| why.to_string())?;
        let params = params(&key).map_err(|why| why.to_string())?;
        Ok(Authority { issuer: Issuer::new(params, key), certificate })
    }

    /// A certificate for a host, for both ends of a connection. In PEM form.
    pub(super) fn issue(
        &self,
        host: &str,
        known_by: &[String],
        public_key: &[u8],
        validity: Validity,
    ) -> Result<String, String> {
        let mut all = vec![names::identity(host)];
        all.extend_from_slice(known_by);
        let mut params = CertificateParams::new(all).map_err(|why| why.to_string())?;
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, host);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        limit(&mut params, validity);
        let key = PublicKey(public_key);
        let issued = params.signed_by(&key, &self.issuer).map_err(|why| why.to_string())?;
        Ok(issued.pem())
    }
}

/// What the authority's certificate says. It follows from the key, so that the key is enough to
/// issue by.
impl Authority {
    /// A certificate for a public key, for the one user of etcd that may do everything. It names no
    /// host, so nobody takes its holder for a server.
    pub(super) fn operator(&self, public: &[u8], validity: Validity) -> Result<String, String> {
        let mut params = CertificateParams::new(Vec::new()).map_err(|why| why.to_string())?;
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, ROOT);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        limit(&mut params, validity);
        let issued = params.signed_by(&PublicKey(public), &self.issuer);
        issued.map(|cert| cert.pem()).map_err(|why| why.to_string())
    }
}

fn params(key: &KeyPair) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let hash = digest(key.public_key_raw());
    let short = hash.get(..8).unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, format!("quorate authority {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn limit(params: &mut CertificateParams, validity: Validity) {
    let origin = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = origin + Duration::from_secs(validity.from);
    params.not_after = origin + Duration::from_secs(validity.until);
}

/// A public key alone.
struct PublicKey<'a>(&'a [u8]);

impl PublicKeyData for PublicKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{self, Fault};
    use super::*;

    #[test]
    fn what_the_authority_issues_is_good_for_its_names_and_its_time() {
        let now = 1_800_000_000;
        let (certificate, secret) = make(now).unwrap();
        // Loaded, as on another voter.
        let authority = Authority::load(certificate.clone(), &secret).unwrap();
        let public = public(&key().unwrap()).unwrap();
        let validity = Validity::new(now, 100);
        let known_by = ["h1.example".to_owned(), "10.0.0.1".to_owned()];
        let issued = authority.issue("h1", &known_by, &public, validity).unwrap();
        let chain = check::certificates(issued.as_bytes()).unwrap();
        let roots = check::roots(&check::certificates(certificate.as_bytes()).unwrap()).unwrap();
        let judged = |name, at| check::judge(&chain, roots.clone().into(), name, at);
        for name in ["h1.host.quorate", "h1.example", "10.0.0.1"] {
            assert_eq!(judged(name, now), Ok(()), "{name}");
        }
        assert!(matches!(judged("h2.host.quorate", now), Err(Fault::Name(_))));
        assert_eq!(judged("h1.example", now + 101), Err(Fault::Ended(validity.until)));
        assert_eq!(check::validity(&chain[0]), Some(validity));
        let (other, _) = make(now).unwrap();
        let roots = check::roots(&check::certificates(other.as_bytes()).unwrap()).unwrap();
        assert_eq!(check::judge(&chain, roots.into(), "h1.example", now), Err(Fault::Issuer));
    }
}
