//! The join port of a voter: certificates for who shows a token or his present certificate, and the
//! authority's key for voters.
//!
//! Refuses to let a client hold it up: connections, the size of a request and its time are bounded.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::ask::BODY_MAX;
use super::{check, config};
use crate::cluster::flags::host_of;
use crate::cluster::keys::{self, PerHost};
use crate::cluster::shell::{Agent, auth, now_seconds};
use crate::cluster::tls::join::{self, Grant, KeyGrant, KeyRequest, No};
use crate::cluster::tls::lifetime::Validity;
use crate::cluster::tls::token::{self, JoinRefusal, Judged};
use crate::cluster::tls::{Secret, names};
use crate::store::{Compare, Op, Store, StoreError, Txn};

/// Clients that are served at once: hosts of a rack that start together, others wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a client has for all that he wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a client could not be accepted, or the port could not be had.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a token that others use at the same moment is judged anew.
const TRIES: usize = 8;

/// Serves for as long as it is polled.
pub(super) async fn serve(agent: &Arc<Agent>) {
    let mut listeners = JoinSet::new();
    for url in &agent.listen.join {
        let at = url.split_once("://").and_then(|(_, at)| at.parse::<SocketAddr>().ok());
        if let Some(at) = at {
            listeners.spawn(listen(Arc::clone(agent), at));
        }
    }
    tracing::info!("joiners get certificates at {}", agent.listen.join.join(", "));
    while listeners.join_next().await.is_some() {}
}

async fn listen(agent: Arc<Agent>, at: SocketAddr) {
    let listener = loop {
        match TcpListener::bind(at).await {
            Ok(listener) => break listener,
            Err(why) => {
                tracing::warn!("no certificates for joiners at {at}: {why}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut clients = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        while clients.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: nothing tells when one is free again.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let agent = Arc::clone(&agent);
        clients.spawn(async move {
            match timeout(PATIENCE, converse(agent, stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::debug!("join port: {why}"),
                Err(_) => tracing::debug!("join port: a client took too long"),
            }
            drop(place);
        });
    }
}

async fn converse(agent: Arc<Agent>, stream: TcpStream) -> Result<(), String> {
    let material = agent.tls.material().ok_or("there is no certificate to show")?;
    let acceptor = TlsAcceptor::from(Arc::new(config::server(&material)?));
    let stream = acceptor.accept(stream).await.map_err(|why| why.to_string())?;
    let (_, session) = stream.get_ref();
    let shown: Vec<CertificateDer<'static>> = session
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|one| one.clone().into_owned())
        .collect();
    let shown = Arc::new(shown);
    let answer = service_fn(move |request: Request<Incoming>| {
        let (agent, shown) = (Arc::clone(&agent), Arc::clone(&shown));
        async move { Ok::<_, Infallible>(answer(&agent, &shown, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .map_err(|why| why.to_string())
}

/// Why a request is not granted.
enum Denied {
    Refused(JoinRefusal),
    /// Later perhaps.
    Unable(String),
}

impl From<JoinRefusal> for Denied {
    fn from(refusal: JoinRefusal) -> Self {
        Denied::Refused(refusal)
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Denied::Unable(error.to_string())
    }
}

async fn answer(
    agent: &Agent,
    shown: &[CertificateDer<'static>],
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map(|body| body.to_bytes());
    let body = body.unwrap_or_default();
    let granted = match (&head.method, head.uri.path()) {
        (&Method::POST, join::CERTIFICATE) => certificate(agent, shown, &body).await.map(json),
        (&Method::POST, join::AUTHORITY) => key(agent, shown, &body).await.map(json),
        _ => Err(JoinRefusal::Form.into()),
    };
    let (status, bytes) = match granted {
        Ok(bytes) => (StatusCode::OK, bytes),
        Err(Denied::Refused(refusal)) => {
            tracing::warn!("a request at the join port is refused: {refusal}");
            (StatusCode::FORBIDDEN, json(No { why: refusal.to_string() }))
        }
        Err(Denied::Unable(why)) => {
            tracing::debug!(why, "a request at the join port has to wait");
            (StatusCode::SERVICE_UNAVAILABLE, json(No { why }))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    response
}

fn json(value: impl Serialize) -> Vec<u8> {
    keys::write(&value)
}

/// A certificate, by a token or by the present one.
async fn certificate(
    agent: &Agent,
    shown: &[CertificateDer<'static>],
    body: &[u8],
) -> Result<Grant, Denied> {
    let request: join::Request = serde_json::from_slice(body).map_err(|_| JoinRefusal::Form)?;
    let public = request.judge()?;
    match &request.token {
        Some(token) => admit(agent, token, &request.host, &token::digest(&public)).await?,
        None => known(agent, shown, &request.host)?,
    }
    auth::expect(agent, &request.host).await.map_err(Denied::Unable)?;
    let broken = |why: &str| Denied::Unable(why.to_owned());
    let authority = agent.tls.authority().ok_or_else(|| broken("the key is not here"))?;
    let authority = authority.map_err(|why| broken(&why))?;
    let validity = Validity::new(now_seconds(), agent.tls.lifetime);
    let issued = authority.issue(&request.host, &request.names, &public, validity);
    let certificate = issued.map_err(|why| broken(&why))?;
    tracing::info!("{} gets a certificate, for {}", request.host, request.names.join(", "));
    Ok(Grant { certificate, authority: authority.certificate })
}

/// Uses the token up, or refuses it.
async fn admit(agent: &Agent, text: &str, host: &str, key: &str) -> Result<(), Denied> {
    let (id, secret) = text.split_once('.').ok_or(JoinRefusal::Form)?;
    let (place, secret) = (keys::token(id), Secret::from(secret));
    let claimed = PerHost::Host.of(host);
    for _ in 0..TRIES {
        let snapshot = agent.store.range(&place).await?;
        let entry = snapshot.entries.iter().find(|entry| entry.key == place);
        let record = entry.and_then(|entry| keys::read(&entry.value));
        let next = match token::judge(record.as_ref(), &secret, (host, key), now_seconds()) {
            Judged::Again => return Ok(()),
            Judged::Refuse(refusal) => return Err(refusal.into()),
            Judged::Admit(next) => next,
        };
        let Some(entry) = entry else { return Err(JoinRefusal::Unknown.into()) };
        let taken = agent.store.range(&claimed).await?;
        if taken.entries.iter().any(|entry| entry.key == claimed) {
            return Err(JoinRefusal::Alive { host: host.to_owned() }.into());
        }
        let value = keys::write(&next);
        let put = Op::Put { key: place.clone(), value, lease: entry.lease };
        let when = vec![Compare::Revision(place.clone(), entry.revision)];
        if agent.store.txn(Txn { when, then: vec![put] }).await?.applied {
            return Ok(());
        }
    }
    Err(Denied::Unable("others use the token at the same time".into()))
}

/// Whether the certificate that was shown in the handshake is the host's. That the authority issued
/// it is checked there already.
fn known(agent: &Agent, shown: &[CertificateDer<'static>], host: &str) -> Result<(), Denied> {
    let material = agent.tls.material().ok_or(JoinRefusal::Stranger)?;
    let roots = check::certificates(material.authority.as_bytes());
    let roots = roots.and_then(|found| check::roots(&found)).map_err(Denied::Unable)?;
    let name = names::identity(host);
    let judged = check::judge(shown, Arc::new(roots), &name, now_seconds());
    judged.map_err(|_| JoinRefusal::Stranger.into())
}

/// The authority's key, for voters.
async fn key(
    agent: &Agent,
    shown: &[CertificateDer<'static>],
    body: &[u8],
) -> Result<KeyGrant, Denied> {
    let request: KeyRequest = serde_json::from_slice(body).map_err(|_| JoinRefusal::Form)?;
    known(agent, shown, &request.host)?;
    let unable = |why: &str| Denied::Unable(why.to_owned());
    let members = agent.rpc.members(&agent.own_url).await;
    let (_, members) = members.ok_or_else(|| unable("the members are not known now"))?;
    if !members.iter().any(|one| !one.learner && host_of(&one.name) == request.host) {
        return Err(JoinRefusal::NoVoter { host: request.host }.into());
    }
    let key = agent.tls.key().ok_or_else(|| unable("the key is not here"))?;
    tracing::info!("{} gets the key of the authority, as a voter", request.host);
    Ok(KeyGrant { key: key.expose().to_owned() })
}
