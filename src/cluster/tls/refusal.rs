//! Why certificates, tokens and what others show are refused, one sentence each.
//!
//! Refuses to hold secrets: what is named here may be printed.

use std::path::PathBuf;

use thiserror::Error;

use crate::cluster::when::date_to_minute;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsError {
    /// A flag without the one that completes it.
    #[error("{given} needs {missing}")]
    Needs {
        /// The flag.
        given: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// Two flags that say different things.
    #[error("{one} and {other} exclude each other")]
    Excludes {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// `http` beside something that asks for TLS.
    #[error("{url} is without TLS, but {asks} asks for it; write https:// for all or for none")]
    Mixed {
        /// The URL without.
        url: String,
        /// What asks.
        asks: String,
    },
    /// A file cannot be read or holds something else.
    #[error("{flag} {}: {why}", file.display())]
    File {
        /// Its flag.
        flag: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong, and the next step.
        why: String,
    },
    /// The key belongs to another certificate.
    #[error(
        "{} is not the key of {}; give the two that belong together",
        key.display(),
        cert.display()
    )]
    KeyMismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        cert: PathBuf,
    },
    /// Our certificate is over.
    #[error("the certificate {} ended on {}; renew it", cert.display(), date_to_minute(*at))]
    Expired {
        /// The certificate.
        cert: PathBuf,
        /// When.
        at: u64,
    },
    /// What the cluster's authority had issued is over.
    #[error(
        "the certificate {} of this host ended on {}; pass --token (quorate cluster token on a \
         host of the cluster prints one)",
        cert.display(),
        date_to_minute(*at)
    )]
    Ended {
        /// The certificate.
        cert: PathBuf,
        /// When.
        at: u64,
    },
    /// A text that is no token.
    #[error(
        "this is no token: pass what quorate cluster token printed, three groups of hex digits \
         with dots between them"
    )]
    BadToken,
    /// The authority says no.
    #[error("{url} gives this host no certificate: {why}")]
    JoinRefused {
        /// The join port.
        url: String,
        /// Why.
        why: String,
    },
    /// Our certificate is not good yet.
    #[error(
        "the certificate {} is good only from {}; is the clock of this host right?",
        cert.display(),
        date_to_minute(*at)
    )]
    NotYet {
        /// The certificate.
        cert: PathBuf,
        /// From when.
        at: u64,
    },
    /// Our certificate comes from elsewhere.
    #[error(
        "the certificate {} was not issued by an authority in {}; give the two that belong \
         together",
        cert.display(),
        authority.display()
    )]
    NotIssued {
        /// The certificate.
        cert: PathBuf,
        /// The authorities.
        authority: PathBuf,
    },
    /// Our certificate does not say what we advertise.
    #[error(
        "the certificate {} is for {presented}, not for {name}, which this host advertises; \
         advertise one of those names, or have it issued for {name}",
        cert.display()
    )]
    NotForUs {
        /// The certificate.
        cert: PathBuf,
        /// What it is for.
        presented: String,
        /// What is missing.
        name: String,
    },
    /// Nothing to show.
    #[error(
        "this host has no certificate of the cluster; pass --token (quorate cluster token on a \
         host of it prints one), or --cert-file, --key-file and --trusted-ca-file"
    )]
    NoCertificate,
    /// The seed's certificate comes from elsewhere.
    #[error(
        "{url} shows a certificate of another authority than {trusted}; wrong seed, or it belongs \
         to another cluster"
    )]
    SeedOtherAuthority {
        /// The seed.
        url: String,
        /// Whom we trust.
        trusted: String,
    },
    /// The seed's certificate is over, or not good yet.
    #[error("{url} shows a certificate that {when}; renew it there, or set the clock of this host")]
    SeedOutOfTime {
        /// The seed.
        url: String,
        /// `ended on …` or `is good only from …`.
        when: String,
    },
    /// The seed's certificate names another host.
    #[error(
        "{url} shows a certificate for {presented}, not for {host}; seed by one of those names"
    )]
    SeedOtherHost {
        /// The seed.
        url: String,
        /// What it is for.
        presented: String,
        /// What was asked for.
        host: String,
    },
    /// The seed does not speak TLS.
    #[error(
        "{url} does not speak TLS; if that cluster was started with --insecure-network, seed with \
         http:// and start this host the same way"
    )]
    SeedPlain {
        /// The seed.
        url: String,
    },
    /// The seed speaks TLS only.
    #[error(
        "{url} speaks TLS only; write https:// and pass --token (quorate cluster token), or \
         --cert-file, --key-file and --trusted-ca-file"
    )]
    SeedSpeaksTls {
        /// The seed.
        url: String,
    },
    /// The seed wants to know who we are.
    #[error(
        "{url} asks for a certificate of this host; pass --token (quorate cluster token), or \
         --cert-file and --key-file"
    )]
    SeedWantsCertificate {
        /// The seed.
        url: String,
    },
    /// The seed does not want our certificate.
    #[error(
        "{url} does not accept the certificate of this host ({alert}); it trusts another authority"
    )]
    SeedRefusesOurs {
        /// The seed.
        url: String,
        /// What it said.
        alert: String,
    },
    /// The password.
    #[error("{url} does not accept the user {user} ({why}); check --user and --password-file")]
    SeedRefusesUser {
        /// The seed.
        url: String,
        /// The user.
        user: String,
        /// What etcd said.
        why: String,
    },
    /// The handshake failed in some other way.
    #[error("{url}: no TLS connection: {why}")]
    SeedOther {
        /// The seed.
        url: String,
        /// What was said.
        why: String,
    },
}

impl TlsError {
    /// 2 for bad usage, else 3, refused at start.
    pub fn exit_code(&self) -> u8 {
        match self {
            TlsError::Needs { .. }
            | TlsError::Excludes { .. }
            | TlsError::Mixed { .. }
            | TlsError::BadToken => 2,
            _ => 3,
        }
    }
}
