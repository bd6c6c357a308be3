//! Which certificates an agent uses, from its flags.
//!
//! Refuses half a set of files, and to mix files with the cluster's own authority.

use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, TlsError};

/// The flags about certificates, tokens and passwords.
#[derive(Clone, Debug, Default)]
pub struct TlsFlags {
    /// `--cert-file`
    pub cert_file: Option<PathBuf>,
    /// `--key-file`
    pub key_file: Option<PathBuf>,
    /// `--trusted-ca-file`
    pub trusted_ca_file: Option<PathBuf>,
    /// `--peer-cert-file`
    pub peer_cert_file: Option<PathBuf>,
    /// `--peer-key-file`
    pub peer_key_file: Option<PathBuf>,
    /// `--peer-trusted-ca-file`
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// `--token`
    pub token: Option<Secret>,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--join-port`
    pub join_port: Option<u16>,
    /// `--user`
    pub user: Option<String>,
    /// `--password-file`
    pub password_file: Option<PathBuf>,
    /// How long certificates that this host issues are good for; without it
    /// [`lifetime::HOST`](super::lifetime::HOST).
    pub lifetime: Option<Duration>,
}

impl TlsFlags {
    /// The first flag that only makes sense with TLS.
    pub fn asks_for_tls(&self) -> Option<&'static str> {
        let files = [
            ("--cert-file", &self.cert_file),
            ("--key-file", &self.key_file),
            ("--trusted-ca-file", &self.trusted_ca_file),
            ("--peer-cert-file", &self.peer_cert_file),
            ("--peer-key-file", &self.peer_key_file),
            ("--peer-trusted-ca-file", &self.peer_trusted_ca_file),
            ("--token-file", &self.token_file),
        ];
        let file = files.iter().find(|(_, path)| path.is_some()).map(|(flag, _)| *flag);
        file.or(self.token.as_ref().map(|_| "--token"))
    }
}

/// The files of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, with what leads to the authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that others must come from.
    pub authority: PathBuf,
}

/// What a host that never serves is given: whom to trust, and perhaps what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The authorities that servers must come from.
    pub authority: PathBuf,
    /// Certificate and key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Which certificates are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// None: nothing is encrypted.
    Plain,
    /// Files that somebody else keeps.
    Files {
        /// Towards clients, and as a client.
        client: Files,
        /// Among members.
        peer: Files,
    },
    /// Files of a host that is only a client.
    ClientFiles(Trust),
    /// The cluster's own authority.
    Authority,
}

/// Decides. `tls` says that the URLs are `https`, `server` that this host may run etcd.
pub fn decide(flags: &TlsFlags, tls: bool, server: bool) -> Result<Plan, TlsError> {
    let needs = |given, missing| Err(TlsError::Needs { given, missing });
    match (&flags.user, &flags.password_file) {
        (Some(_), None) => return needs("--user", "--password-file"),
        (None, Some(_)) => return needs("--password-file", "--user"),
        (Some(_), Some(_)) if server => return needs("--user", "--no-server"),
        _ => {}
    }
    if flags.token.is_some() && flags.token_file.is_some() {
        return Err(TlsError::Excludes { one: "--token", other: "--token-file" });
    }
    let Some(first) = flags.asks_for_tls() else {
        return Ok(if tls { Plan::Authority } else { Plan::Plain });
    };
    if flags.token.is_some() || flags.token_file.is_some() {
        return match first {
            "--token" | "--token-file" => Ok(Plan::Authority),
            file => Err(TlsError::Excludes { one: file, other: "--token" }),
        };
    }
    let own = match (&flags.cert_file, &flags.key_file) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (Some(_), None) => return needs("--cert-file", "--key-file"),
        (None, Some(_)) => return needs("--key-file", "--cert-file"),
        (None, None) => None,
    };
    let Some(authority) = flags.trusted_ca_file.clone() else {
        return needs(first, "--trusted-ca-file");
    };
    let (cert, key) = match (own, server) {
        (own, false) => return Ok(Plan::ClientFiles(Trust { authority, own })),
        (Some(own), true) => own,
        (None, true) => return needs(first, "--cert-file"),
    };
    let client = Files { cert, key, authority };
    let peer = peer(flags, &client)?;
    Ok(Plan::Files { client, peer })
}

/// Among members the files for clients are used, unless others are named.
fn peer(flags: &TlsFlags, client: &Files) -> Result<Files, TlsError> {
    let (cert, key) = match (&flags.peer_cert_file, &flags.peer_key_file) {
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        (None, None) => (client.cert.clone(), client.key.clone()),
        (Some(_), None) => {
            return Err(TlsError::Needs { given: "--peer-cert-file", missing: "--peer-key-file" });
        }
        (None, Some(_)) => {
            return Err(TlsError::Needs { given: "--peer-key-file", missing: "--peer-cert-file" });
        }
    };
    let authority = flags.peer_trusted_ca_file.as_ref().unwrap_or(&client.authority).clone();
    Ok(Files { cert, key, authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `c` certificate, `k` key, `a` authority, upper case for peers; `t` token, `T` token file,
    /// `u` user, `p` password file.
    fn flags(letters: &str) -> TlsFlags {
        let file =
            |letter: char| letters.contains(letter).then(|| PathBuf::from(letter.to_string()));
        TlsFlags {
            cert_file: file('c'),
            key_file: file('k'),
            trusted_ca_file: file('a'),
            peer_cert_file: file('C'),
            peer_key_file: file('K'),
            peer_trusted_ca_file: file('A'),
            token: letters.contains('t').then(|| Secret::from("x")),
            token_file: file('T'),
            join_port: None,
            user: letters.contains('u').then(|| "ann".into()),
            password_file: file('p'),
            lifetime: None,
        }
    }

    fn said(letters: &str, tls: bool, server: bool) -> String {
        let show =
            |f: &Files| format!("{}{}{}", f.cert.display(), f.key.display(), f.authority.display());
        match decide(&flags(letters), tls, server) {
            Ok(Plan::Plain) => "plain".into(),
            Ok(Plan::Authority) => "authority".into(),
            Ok(Plan::Files { client, peer }) => format!("{} {}", show(&client), show(&peer)),
            Ok(Plan::ClientFiles(trust)) => {
                let own = trust.own.map(|(c, k)| format!(" {}{}", c.display(), k.display()));
                format!("{}{}", trust.authority.display(), own.unwrap_or_default())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_flags_decide_which_certificates_are_used() {
        for (letters, tls, server, want) in [
            ("", false, true, "plain"),
            ("", true, true, "authority"),
            ("", true, false, "authority"),
            ("t", true, true, "authority"),
            ("T", true, false, "authority"),
            ("cka", true, true, "cka cka"),
            ("ckaCKA", true, true, "cka CKA"),
            ("ckaA", true, true, "cka ckA"),
            ("ckaCK", true, true, "cka CKa"),
            ("a", true, false, "a"),
            ("cka", true, false, "a ck"),
            ("aup", true, false, "a"),
            ("up", false, false, "plain"),
        ] {
            assert_eq!(said(letters, tls, server), want, "{letters} tls={tls} server={server}");
        }
    }

    #[test]
    fn half_a_set_is_refused_with_what_is_missing() {
        for (letters, server, want) in [
            ("c", true, "--cert-file needs --key-file"),
            ("k", true, "--key-file needs --cert-file"),
            ("ck", true, "--cert-file needs --trusted-ca-file"),
            ("ck", false, "--cert-file needs --trusted-ca-file"),
            ("a", true, "--trusted-ca-file needs --cert-file"),
            ("ckaC", true, "--peer-cert-file needs --peer-key-file"),
            ("ckaK", true, "--peer-key-file needs --peer-cert-file"),
            ("u", false, "--user needs --password-file"),
            ("p", false, "--password-file needs --user"),
            ("up", true, "--user needs --no-server"),
            ("tT", true, "--token and --token-file exclude each other"),
            ("ckat", true, "--cert-file and --token exclude each other"),
        ] {
            let said = said(letters, true, server);
            assert!(said.starts_with(want), "{letters}: {said}");
            assert_eq!(decide(&flags(letters), true, server).unwrap_err().exit_code(), 2);
        }
    }
}
