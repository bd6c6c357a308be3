//! `--prometheus-listen`: serves the metrics over HTTP.
//!
//! Refuses everything but reading `/metrics`, and to let a client hold up the agent: connections,
//! the size of a request and its time are bounded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::body::Body;
use super::socket::{self, Topic};
use crate::metrics::{self, Cluster, Reading};

/// Clients that are served at once. Scrapers are few; others wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// The longest request that is read, in bytes; hyper takes no smaller bound.
const REQUEST_BYTES_MAX: usize = 8192;
/// How long a client has for its request and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a client could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening side; ends when dropped.
#[derive(Debug)]
pub(super) struct Listener {
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers on a port with what the loop behind `sender` says.
pub(super) fn listen(
    listener: TcpListener,
    sender: mpsc::Sender<socket::Request>,
) -> std::io::Result<Listener> {
    // With port 0 the system chose one.
    tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
    Ok(Listener { task: tokio::spawn(accept(listener, sender)).abort_handle() })
}

async fn accept(listener: TcpListener, sender: mpsc::Sender<socket::Request>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(failure) => {
                // Out of descriptors: nothing tells when one is free again.
                tracing::warn!("metrics: {failure}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, serve(stream, sender)).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => tracing::debug!("metrics: {failure}"),
                Err(_) => tracing::debug!("metrics: a client took too long"),
            }
            drop(place);
        });
    }
}

/// Answers one request; hyper answers what is not HTTP with 400.
async fn serve(stream: TcpStream, sender: mpsc::Sender<socket::Request>) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move { Ok::<_, Infallible>(answer(&request, &sender).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn answer(
    request: &Request<Incoming>,
    sender: &mpsc::Sender<socket::Request>,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return said(StatusCode::NOT_FOUND, "not found; the metrics are at /metrics\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match socket::from_loop(sender, Topic::Metrics).await {
        Ok(text) => said(StatusCode::OK, text),
        Err(_) => said(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n"),
    }
}

fn said(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

impl Body {
    /// The answer to a question for metrics.
    pub(super) fn metrics(&self) -> String {
        let mut now = Reading {
            generation: self.generation,
            graph_since: self.graph_since,
            refused: self.graph_error.is_some(),
            converged: self.settled(),
            exports: self.published.borrow().exports,
            collected: self.collected.len(),
            ..Reading::default()
        };
        for one in self.engine.vertices() {
            let key = (one.id.resource.kind().to_owned(), one.state.as_str());
            *now.resources.entry(key).or_default() += 1;
        }
        now.cluster = self.cluster.as_ref().map(|status| {
            let status = status.borrow();
            let mut cluster = Cluster { role: status.role.as_str(), ..Cluster::default() };
            if let Some(view) = &status.cluster {
                cluster.voters_wanted = view.desired;
                cluster.quorum = view.quorum;
                for member in &view.members {
                    *cluster.members.entry((member.role.as_str(), member.up)).or_default() += 1;
                }
            }
            cluster
        });
        metrics::render(env!("CARGO_PKG_VERSION"), &self.counters, &now)
    }
}
