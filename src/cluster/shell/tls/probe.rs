//! Why a seed that is there does not talk to us: one handshake with it, and what that says.
//!
//! Refuses to say anything about a seed that cannot be reached, or that shows nothing wrong.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{ConnectOptions, Error as EtcdError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, ClientConfig, Error, RootCertStore};

use super::check::{self, Fault};
use super::config;
use super::files::Material;
use crate::cluster::address::Url;
use crate::cluster::tls::TlsError;
use crate::cluster::when::date_to_minute;
use crate::store::etcd::Access;

/// How long a connection with its handshake may take. Who is slower is not judged.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// How long the other side may take to say no after a handshake: TLS 1.3 tells it late.
const SECOND_THOUGHTS: Duration = Duration::from_millis(300);

/// What is shown to seeds, and the words for whom we trust.
pub(super) struct Shown<'a> {
    pub(super) material: Option<&'a Material>,
    pub(super) trusted: &'a str,
    pub(super) access: &'a Access,
}

/// What is wrong between us and a seed that did not answer, if a handshake tells.
pub(super) async fn verdict(seed: &Url, shown: &Shown<'_>) -> Option<TlsError> {
    let fault = match (seed.tls, shown.material) {
        (true, Some(material)) => with_tls(seed, config::client(material).ok()?, shown).await,
        // Whatever certificate it shows: that it shows one says enough.
        (false, _) => {
            let nobody = check_nobody()?;
            match timeout(HANDSHAKE, handshake(seed, nobody)).await.ok()? {
                Err(Failed::Tls(Error::InvalidCertificate(_))) => {
                    Some(TlsError::SeedSpeaksTls { url: seed.text.clone() })
                }
                _ => None,
            }
        }
        (true, None) => None,
    };
    match fault {
        None => password(seed, shown.access).await,
        fault => fault,
    }
}

async fn with_tls(seed: &Url, config: ClientConfig, shown: &Shown<'_>) -> Option<TlsError> {
    let url = seed.text.clone();
    let error = match timeout(HANDSHAKE, handshake(seed, config)).await.ok()? {
        Ok(()) | Err(Failed::NoConnection) => return None,
        Err(Failed::Cut) => {
            return speaks_http(seed).await.then_some(TlsError::SeedPlain { url });
        }
        Err(Failed::Tls(Error::AlertReceived(alert))) => {
            return Some(judge_alert(url, alert, shown.material));
        }
        Err(Failed::Tls(error)) => error,
    };
    Some(sentence(seed, &error, shown.trusted))
}

/// What an error of a handshake with a seed means. `trusted` are the words for whom we trust.
pub(super) fn sentence(seed: &Url, error: &Error, trusted: &str) -> TlsError {
    let url = seed.text.clone();
    match error {
        Error::InvalidCertificate(error) => match check::fault(error) {
            Fault::Issuer => TlsError::SeedOtherAuthority { url, trusted: trusted.to_owned() },
            Fault::Ended(at) => {
                TlsError::SeedOutOfTime { url, when: format!("ended on {}", date_to_minute(at)) }
            }
            Fault::NotYet(at) => TlsError::SeedOutOfTime {
                url,
                when: format!("is good only from {}", date_to_minute(at)),
            },
            Fault::Name(presented) => {
                let (presented, host) = (presented.join(", "), seed.host.clone());
                TlsError::SeedOtherHost { url, presented, host }
            }
            Fault::Other(why) => TlsError::SeedOther { url, why },
        },
        Error::InvalidMessage(_) => TlsError::SeedPlain { url },
        other => TlsError::SeedOther { url, why: other.to_string() },
    }
}

/// What the other side does not like about us.
fn judge_alert(url: String, alert: AlertDescription, shown: Option<&Material>) -> TlsError {
    let ours = shown.is_some_and(|material| material.own.is_some());
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::BadCertificate if !ours => {
            TlsError::SeedWantsCertificate { url }
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::CertificateExpired => {
            TlsError::SeedRefusesOurs { url, alert: format!("it says {alert:?}") }
        }
        other => TlsError::SeedOther { url, why: format!("it says {other:?}") },
    }
}

/// How a handshake failed.
pub(super) enum Failed {
    NoConnection,
    /// Cut off without a word.
    Cut,
    Tls(Error),
}

async fn handshake(seed: &Url, config: ClientConfig) -> Result<(), Failed> {
    let host = (seed.host.as_str(), seed.port);
    let stream = TcpStream::connect(host).await.map_err(|_| Failed::NoConnection)?;
    let name = ServerName::try_from(seed.host.clone()).map_err(|_| Failed::NoConnection)?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.map_err(failed)?;
    let mut byte = [0];
    match timeout(SECOND_THOUGHTS, stream.read(&mut byte)).await {
        Ok(Err(error)) => match failed(error) {
            Failed::Cut => Ok(()),
            failed => Err(failed),
        },
        _ => Ok(()),
    }
}

pub(super) fn failed(error: io::Error) -> Failed {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.map_or(Failed::Cut, |error| Failed::Tls(error.clone()))
}

/// Nobody is trusted, so that every certificate is refused when it is shown.
fn check_nobody() -> Option<ClientConfig> {
    let nobody = RootCertStore::empty();
    let builder = ClientConfig::builder_with_provider(check::provider());
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(nobody).with_no_client_auth())
}

/// Whether who cut a handshake off answers a plain request.
async fn speaks_http(seed: &Url) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((seed.host.as_str(), seed.port)).await?;
        stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").await?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await?;
        Ok::<_, io::Error>(&start == b"HTTP/")
    };
    matches!(timeout(HANDSHAKE, asked).await, Ok(Ok(true)))
}

/// Whether the password is what it does not like.
async fn password(seed: &Url, access: &Access) -> Option<TlsError> {
    const REFUSED: [i32; 3] = [3, 9, 16];
    let user = access.user()?.to_owned();
    let answer = access.connect(&seed.text, ConnectOptions::new(), HANDSHAKE).await;
    match answer {
        Err(EtcdError::GRpcStatus(status)) if REFUSED.contains(&(status.code() as i32)) => {
            let why = status.message().to_owned();
            Some(TlsError::SeedRefusesUser { url: seed.text.clone(), user, why })
        }
        _ => None,
    }
}
