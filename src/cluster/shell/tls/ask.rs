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
use tokio::time::{Instant, timeout_at};
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
    with: (ClientConfig, &str),
) -> Result<T, Failed> {
    post_within(PATIENCE, at, path, body, with).await
}

async fn post_within<T: DeserializeOwned>(
    patience: Duration,
    at: &Url,
    path: &str,
    body: &impl Serialize,
    with: (ClientConfig, &str),
) -> Result<T, Failed> {
    let deadline = Instant::now() + patience;
    let silent = |why: &str| Failed::Silent(format!("{}: {why}", at.text));
    // A network that swallows everything is another trouble than a host that is too busy to answer.
    let connected = timeout_at(deadline, TcpStream::connect((at.host.as_str(), at.port))).await;
    let connected = connected.map_err(|_| silent("no connection in time"))?;
    let stream = connected.map_err(|why| silent(&why.to_string()))?;
    let asked = timeout_at(deadline, send(stream, at, path, body, with)).await;
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
    stream: TcpStream,
    at: &Url,
    path: &str,
    body: &impl Serialize,
    (config, trusted): (ClientConfig, &str),
) -> Result<(StatusCode, Bytes), Failed> {
    let silent = |why: &dyn std::fmt::Display| Failed::Silent(format!("{}: {why}", at.text));
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;
    use tokio::time::timeout;
    use tokio_rustls::rustls::RootCertStore;

    use super::super::check;
    use super::*;

    async fn asked(port: u16) -> String {
        let at = Url::parse("--seeds", &format!("https://127.0.0.1:{port}"), 1).unwrap();
        let config = ClientConfig::builder_with_provider(check::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let patience = Duration::from_millis(300);
        let answer = post_within::<()>(patience, &at, "/1/x", &"body", (config, "nobody")).await;
        match answer {
            Err(Failed::Silent(why)) => why.replace(&at.text, "it"),
            Err(Failed::Refused(why)) => panic!("{why}"),
            Ok(()) => panic!("it answered"),
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_not_made_is_told_from_one_that_is_not_answered() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // It takes nobody: the kernel makes the first connections, and swallows what comes then.
        let silent = socket.listen(1).unwrap();
        let at = silent.local_addr().unwrap();
        assert_eq!(asked(at.port()).await, "it: no answer in time");
        let mut held = Vec::new();
        let moment = Duration::from_millis(300);
        while let Ok(Ok(one)) = timeout(moment, TcpStream::connect(at)).await {
            held.push(one);
        }
        assert_eq!(asked(at.port()).await, "it: no connection in time");
        drop((held, silent));
        let gone = asked(at.port()).await;
        assert!(gone.contains("refused"), "{gone}");
    }
}
