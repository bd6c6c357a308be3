//! One request to a join port.
//!
//! Refuses to try again: the caller knows what a second try would mean.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::probe;
use crate::cluster::address::Url;
use crate::cluster::tls::TlsError;
use crate::cluster::tls::join::No;

/// How long one request may take with its connection. Who issues writes to the store first.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read: some certificates.
pub(super) const BODY_MAX: usize = 64 << 10;

/// Why there is no answer that helps.
pub(super) enum Failed {
    /// Nobody there, or not able now: later perhaps.
    Silent(String),
    /// No.
    Refused(TlsError),
}

/// Asks. `trusted` are the words for whom `config` trusts.
pub(super) async fn post<T: DeserializeOwned>(
    at: &Url,
    path: &str,
    body: &impl Serialize,
    (config, trusted): (ClientConfig, &str),
) -> Result<T, Failed> {
    let asked = timeout(PATIENCE, send(at, path, body, config, trusted)).await;
    let silent = |why: &str| Failed::Silent(format!("{}: {why}", at.text));
    let (status, bytes) = asked.map_err(|_| silent("no answer in time"))??;
    match status {
        StatusCode::OK => serde_json::from_slice(&bytes).map_err(|_| silent("no such answer")),
        StatusCode::SERVICE_UNAVAILABLE => Err(silent("it cannot reach the store")),
        _ => {
            let no = serde_json::from_slice::<No>(&bytes).map_err(|_| silent("no such answer"))?;
            Err(Failed::Refused(TlsError::JoinRefused { url: at.text.clone(), why: no.why }))
        }
    }
}

async fn send(
    at: &Url,
    path: &str,
    body: &impl Serialize,
    config: ClientConfig,
    trusted: &str,
) -> Result<(StatusCode, Bytes), Failed> {
    let silent = |why: &dyn std::fmt::Display| Failed::Silent(format!("{}: {why}", at.text));
    let stream = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(|e| silent(&e))?;
    let name = ServerName::try_from(at.host.clone()).map_err(|why| silent(&why))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(name, stream).await.map_err(|error| match probe::failed(error) {
            probe::Failed::Tls(error) => Failed::Refused(probe::sentence(at, &error, trusted)),
            _ => silent(&"the connection was cut off"),
        })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|why| silent(&why))?;
    // Ends with the answer, or when the sender is dropped.
    tokio::spawn(connection);
    let body = serde_json::to_vec(body).map_err(|why| silent(&why))?;
    let request = Request::post(path).header(HOST, at.host.as_str());
    let request = request.body(Full::new(Bytes::from(body))).map_err(|why| silent(&why))?;
    let answer = sender.send_request(request).await.map_err(|why| silent(&why))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(|why| silent(&why))?;
    Ok((status, body.to_bytes()))
}
