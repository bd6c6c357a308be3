//! The flags about certificates, tokens and passwords.
//!
//! Refuses to read what they name.

use std::path::PathBuf;

use crate::cluster::tls::{Secret, TlsFlags};

/// The flags. Their names are etcd's where etcd has one.
#[derive(clap::Args)]
#[command(next_help_heading = "Security")]
#[group(skip)]
pub(super) struct Args {
    /// A one-time token of the cluster to join, from `quorate cluster token`: this host gets its
    /// certificate for it. Others on this host see it in the list of processes: prefer the variable
    /// or --token-file
    #[arg(long, global = true, env = "QUORATE_TOKEN", value_name = "TOKEN",
        hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,
    /// The same, from a file that only this user may read
    #[arg(long, global = true, env = "QUORATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where voters hand certificates to joiners; the same on all hosts [default: the client port
    /// plus 2]
    #[arg(long, global = true, env = "QUORATE_JOIN_PORT", value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..))]
    join_port: Option<u16>,
    /// The certificate of this host, in place of one from the cluster's own authority
    #[arg(long, global = true, env = "QUORATE_CERT_FILE", value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, global = true, env = "QUORATE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The authorities that everybody else's certificates must come from
    #[arg(long, global = true, env = "QUORATE_TRUSTED_CA_FILE", value_name = "FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// The certificate among members [default: that of --cert-file]
    #[arg(long, global = true, env = "QUORATE_PEER_CERT_FILE", value_name = "FILE")]
    peer_cert_file: Option<PathBuf>,
    /// The key of the certificate among members [default: that of --key-file]
    #[arg(long, global = true, env = "QUORATE_PEER_KEY_FILE", value_name = "FILE")]
    peer_key_file: Option<PathBuf>,
    /// The authorities of members [default: those of --trusted-ca-file]
    #[arg(long, global = true, env = "QUORATE_PEER_TRUSTED_CA_FILE", value_name = "FILE")]
    peer_trusted_ca_file: Option<PathBuf>,
    /// A user of an existing etcd; with --no-server
    #[arg(long, global = true, env = "QUORATE_USER", value_name = "NAME")]
    user: Option<String>,
    /// The file with the user's password
    #[arg(long, global = true, env = "QUORATE_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::from(text))
}

impl From<Args> for TlsFlags {
    fn from(args: Args) -> Self {
        TlsFlags {
            cert_file: args.cert_file,
            key_file: args.key_file,
            trusted_ca_file: args.trusted_ca_file,
            peer_cert_file: args.peer_cert_file,
            peer_key_file: args.peer_key_file,
            peer_trusted_ca_file: args.peer_trusted_ca_file,
            token: args.token,
            token_file: args.token_file,
            join_port: args.join_port,
            user: args.user,
            password_file: args.password_file,
            lifetime: None,
        }
    }
}
