//! Settings of the TLS library from certificates and keys.
//!
//! Refuses anything but what is given: no authorities of the system, no other algorithms.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::check;
use super::files::Material;

/// Those of a client.
pub(super) fn client(material: &Material) -> Result<ClientConfig, String> {
    let roots = check::roots(&check::certificates(material.authority.as_bytes())?)?;
    let builder = ClientConfig::builder_with_provider(check::provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_root_certificates(roots);
    let Some((cert, key)) = &material.own else { return Ok(builder.with_no_client_auth()) };
    let chain = check::certificates(cert.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "there is no private key")?;
    builder.with_client_auth_cert(chain, key).map_err(|why| why.to_string())
}

/// Those of a server that lets strangers in, and knows who is none. It shows the authority, too:
/// a joiner knows only that one's hash.
pub(super) fn server(material: &Material) -> Result<ServerConfig, String> {
    let authority = check::certificates(material.authority.as_bytes())?;
    let roots = Arc::new(check::roots(&authority)?);
    let known = WebPkiClientVerifier::builder_with_provider(roots, check::provider());
    let known = known.allow_unauthenticated().build().map_err(|why| why.to_string())?;
    let (cert, key) = material.own.as_ref().ok_or("there is no certificate to show")?;
    let mut chain = check::certificates(cert.as_bytes())?;
    chain.extend(authority);
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "there is no private key")?;
    ServerConfig::builder_with_provider(check::provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_client_cert_verifier(known)
        .with_single_cert(chain, key)
        .map_err(|why| why.to_string())
}
