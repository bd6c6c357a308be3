//! How clients reach nodes that have certificates: with those of the first node, which each node
//! has for all others, too.
//!
//! Refuses to check nothing: a node must show a certificate of its own name.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What is taken out of a node: the authority, its certificate and its key.
pub(super) const FILES: [&str; 3] = ["authority.crt", "host.crt", "host.key"];

/// A connection, with or without certificates.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// From the files in a folder.
///
/// # Errors
/// A file that is not there or cannot be used.
pub(super) fn connector(folder: &Path) -> anyhow::Result<TlsConnector> {
    let [authority, cert, key] = FILES.map(|name| folder.join(name));
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_file_iter(&authority)? {
        roots.add(one?)?;
    }
    let chain = CertificateDer::pem_file_iter(&cert)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&key)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to a node of this name.
///
/// # Errors
/// Nobody listens, or it shows another certificate.
pub(super) async fn connect(
    endpoint: &str,
    host: &str,
    with: Option<&TlsConnector>,
) -> anyhow::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(endpoint).await?;
    let Some(connector) = with else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).context("no host name")?;
    Ok(Box::new(connector.connect(name, stream).await?))
}
