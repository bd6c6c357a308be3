//! Why no seed answers, in words: what a plain connection to each of them says.
//!
//! Refuses to decide anything: seeking goes on whatever it finds.

use std::io::{self, ErrorKind};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::cluster::address::Url;

/// How long a connection may take. The first packet that is lost is sent again after a second.
const CONNECT: Duration = Duration::from_secs(2);

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Somebody is there.
    Open,
    /// The name means nothing here.
    NoName,
    /// The host is there, and nothing listens.
    Refused,
    /// Nobody said anything.
    Silent,
    /// The system could not even try.
    Failed(ErrorKind),
}

/// One clause for each seed; `None` when one of them can be reached.
pub(super) async fn reasons(seeds: &[Url]) -> Option<String> {
    let found = join_all(seeds.iter().map(connect)).await;
    if seeds.is_empty() || found.contains(&Found::Open) {
        return None;
    }
    let clauses: Vec<String> =
        seeds.iter().zip(found).map(|(seed, found)| clause(seed, found)).collect();
    Some(format!("waiting: {}", clauses.join("; ")))
}

async fn connect(seed: &Url) -> Found {
    let connected = timeout(CONNECT, async {
        let addresses: Vec<_> = match lookup_host((seed.host.as_str(), seed.port)).await {
            Ok(addresses) => addresses.collect(),
            Err(_) => return Ok(Found::NoName),
        };
        TcpStream::connect(addresses.as_slice()).await.map(|_| Found::Open)
    });
    match connected.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => judge(&error),
        Err(_) => Found::Silent,
    }
}

fn judge(error: &io::Error) -> Found {
    match error.kind() {
        ErrorKind::ConnectionRefused => Found::Refused,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Found::Silent
        }
        other => Found::Failed(other),
    }
}

fn clause(seed: &Url, found: Found) -> String {
    let url = &seed.text;
    match found {
        Found::Open => format!("{url} accepts connections"),
        Found::NoName => format!("{} of {url} does not resolve on this host", seed.host),
        Found::Refused if seed.is_loopback() => {
            format!("{url} refuses the connection: its agent is not up")
        }
        Found::Refused => format!(
            "{url} refuses the connection: its agent is not up, or listens on loopback only and \
             needs --client-urls {url}"
        ),
        Found::Silent => format!("{url} does not answer: the host is down or out of reach"),
        Found::Failed(kind) => format!("{url} cannot be tried: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse("--seeds", text, 2379).unwrap()
    }

    #[test]
    fn a_seed_on_another_host_that_refuses_is_told_the_flag_that_it_needs() {
        for (seed, found, want) in [
            ("http://h1:2379", Found::Refused, "needs --client-urls http://h1:2379"),
            ("http://10.0.0.1:2379", Found::Refused, "needs --client-urls http://10.0.0.1:2379"),
            ("http://h1:2379", Found::NoName, "h1 of http://h1:2379 does not resolve"),
            ("http://h1:2379", Found::Silent, "http://h1:2379 does not answer"),
            ("http://127.0.0.1:2379", Found::Refused, "its agent is not up"),
            ("http://localhost:2379", Found::Refused, "its agent is not up"),
        ] {
            let said = clause(&url(seed), found);
            assert!(said.contains(want), "{said}");
            let local = seed.contains("127.0.0.1") || seed.contains("localhost");
            assert!(!(local && said.contains("--client-urls")), "{said}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_told_from_one_that_is_open() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = open.local_addr().unwrap().port();
        let seed = url(&format!("http://127.0.0.1:{port}"));
        assert_eq!(reasons(std::slice::from_ref(&seed)).await, None);
        drop(open);
        let said = reasons(&[seed]).await.unwrap();
        assert!(said.ends_with("refuses the connection: its agent is not up"), "{said}");
        assert_eq!(reasons(&[]).await, None);
    }
}
