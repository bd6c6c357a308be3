//! What a host and the authority of a cluster say to each other at the join port, and where it is.
//!
//! Refuses requests for more than a host's own certificate. The names in it are the host's own
//! word: who holds a token is trusted as far as that.

use serde::{Deserialize, Serialize};

use super::super::address::Url;
use super::names;
use super::token::{JoinRefusal, Token, unhex};
use crate::ident::HostName;

/// The flag of the join port.
pub const FLAG: &str = "--join-port";
/// Where certificates are asked for, and where the authority's key is.
pub const CERTIFICATE: &str = "/1/certificate";
/// See [`CERTIFICATE`].
pub const AUTHORITY: &str = "/1/authority";
/// How far the join port is from that for clients: members have the one between.
const OFFSET: u16 = 2;
/// Names that one certificate may have: more than any host has addresses.
const NAMES: usize = 64;
/// The length of a public key: a point of P-256, uncompressed.
const KEY: usize = 65;

/// Asks for a certificate, by a token or by the present certificate.
#[derive(Serialize, Deserialize)]
pub struct Request {
    /// `ID.SECRET`
    pub token: Option<String>,
    /// The host.
    pub host: String,
    /// What it is known by.
    pub names: Vec<String>,
    /// Its public key, as hex digits.
    pub key: String,
}

/// The answer.
#[derive(Serialize, Deserialize)]
pub struct Grant {
    /// The certificate, in PEM form.
    pub certificate: String,
    /// The authority's, in PEM form.
    pub authority: String,
}

/// Asks for the authority's key.
#[derive(Serialize, Deserialize)]
pub struct KeyRequest {
    /// The host.
    pub host: String,
}

/// The answer.
#[derive(Serialize, Deserialize)]
pub struct KeyGrant {
    /// The key, in PEM form.
    pub key: String,
}

/// A no.
#[derive(Debug, Serialize, Deserialize)]
pub struct No {
    /// Why.
    pub why: String,
}

impl Request {
    /// A request by a token, or else by a certificate.
    pub fn new(token: Option<&Token>, host: &str, names: &[String], key: &[u8]) -> Request {
        Request {
            token: token.map(|token| format!("{}.{}", token.id, token.secret.expose())),
            host: host.to_owned(),
            names: names.to_vec(),
            key: super::token::hex(key),
        }
    }

    /// The public key, when everything asked for may be asked for.
    pub fn judge(&self) -> Result<Vec<u8>, JoinRefusal> {
        let host = names::identity(&self.host);
        if HostName::parse(&self.host).is_err() || host.len() > 253 {
            return Err(JoinRefusal::Name { name: self.host.clone() });
        }
        if self.names.len() > NAMES {
            return Err(JoinRefusal::Form);
        }
        if let Some(name) = self.names.iter().find(|name| !names::may_be_asked_for(name)) {
            return Err(JoinRefusal::Name { name: name.clone() });
        }
        // The first byte says that both coordinates follow.
        let key = unhex(&self.key).filter(|key| key.len() == KEY && key.first() == Some(&4));
        key.ok_or(JoinRefusal::Form)
    }
}

/// The join port beside a port for clients, unless it is named.
pub fn port(client: u16, named: Option<u16>) -> Option<u16> {
    named.or_else(|| client.checked_add(OFFSET))
}

/// Where the host behind a seed, or behind a URL for clients, hands out certificates.
pub fn beside(url: &Url, named: Option<u16>) -> Option<Url> {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let port = port(url.port, named)?;
    Url::parse(FLAG, &format!("https://{host}:{port}"), port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_join_port_follows_from_the_seed() {
        for (seed, named, want) in [
            ("https://h1:2379", None, Some("https://h1:2381")),
            ("https://[fd00::1]:2379", None, Some("https://[fd00::1]:2381")),
            ("https://h1:2379", Some(7), Some("https://h1:7")),
            ("https://h1:65534", None, None),
        ] {
            let url = Url::parse("--seeds", seed, 2379).unwrap();
            assert_eq!(beside(&url, named).map(|u| u.text).as_deref(), want, "{seed}");
        }
    }

    #[test]
    fn only_a_hosts_own_certificate_can_be_asked_for() {
        let key = [4; KEY];
        let judged = |host: &str, names: &[&str], key: &[u8]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            Request::new(None, host, &names, key).judge()
        };
        assert_eq!(judged("h1", &["h1", "10.0.0.1"], &key), Ok(key.to_vec()));
        let name = |name: &str| Err(JoinRefusal::Name { name: name.into() });
        assert_eq!(judged("h1", &["h2.host.quorate"], &key), name("h2.host.quorate"));
        assert_eq!(judged("h1", &["*.example"], &key), name("*.example"));
        assert_eq!(judged("a/b", &[], &key), name("a/b"));
        assert_eq!(judged("h1", &[], &key[1..]), Err(JoinRefusal::Form));
        assert_eq!(judged("h1", &["x"; NAMES + 1], &key), Err(JoinRefusal::Form));
    }
}
