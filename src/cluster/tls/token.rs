//! What a token is, and what it is worth: one certificate for each host that may use it.
//!
//! Refuses to tell a forger which half of his token was right.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Secret, TlsError};
use crate::cluster::when::date_to_minute;

/// The version of the record's form.
const VERSION: u32 = 1;
/// Hex digits of the id, the secret and the authority's hash.
const LENGTHS: [usize; 3] = [12, 32, 64];

/// A token: which one, the proof, and whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The name of its record.
    pub id: String,
    /// What only its holder knows.
    pub secret: Secret,
    /// The SHA-256 of the authority's certificate.
    pub authority: String,
}

impl Token {
    /// Reads `ID.SECRET.HASH`.
    pub fn parse(text: &str) -> Result<Token, TlsError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match parts.as_slice() {
            [id, secret, authority]
                if parts.iter().zip(LENGTHS).all(|(p, n)| p.len() == n && hex(p)) =>
            {
                let (id, authority) = ((*id).to_owned(), (*authority).to_owned());
                Ok(Token { id, secret: Secret::from(*secret), authority })
            }
            _ => Err(TlsError::BadToken),
        }
    }

    /// A new one of these random bytes.
    pub fn new(id: [u8; 6], secret: [u8; 16], authority: &[u8]) -> Token {
        let secret = Secret::new(hex(&secret));
        Token { id: hex(&id), secret, authority: digest(authority) }
    }

    /// The text that [`Token::parse`] reads.
    pub fn text(&self) -> Secret {
        Secret::new(format!("{}.{}.{}", self.id, self.secret.expose(), self.authority))
    }

    /// What its record says of it.
    pub fn record(&self, by: &str, until: u64, limit: u16) -> TokenRecord {
        let hash = digest(self.secret.expose().as_bytes());
        TokenRecord { v: VERSION, hash, until, limit, by: by.to_owned(), uses: Vec::new() }
    }
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its text, for the host that is to join.
    pub token: Secret,
    /// When it expires, in seconds since 1970.
    pub until: u64,
}

/// The SHA-256 of something, as hex digits.
pub fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// Hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect())?
}

/// `token/ID`: it lies in the store without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The form.
    pub v: u32,
    /// The SHA-256 of the secret.
    pub hash: String,
    /// Seconds since 1970.
    pub until: u64,
    /// How many hosts may use it.
    pub limit: u16,
    /// The host that made it, for people.
    pub by: String,
    /// Who has used it.
    pub uses: Vec<Use>,
}

/// One use of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The host.
    pub host: String,
    /// The SHA-256 of the public key that the certificate is for.
    pub key: String,
    /// Seconds since 1970.
    pub at: u64,
}

/// Why a request for a certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinRefusal {
    /// No such token, or a wrong secret.
    #[error("the token is not one of this cluster; make another with quorate cluster token")]
    Unknown,
    /// Too late.
    #[error(
        "the token expired on {}; make another with quorate cluster token",
        date_to_minute(*at)
    )]
    Expired {
        /// When.
        at: u64,
    },
    /// Too often.
    #[error(
        "the token was used by {by} on {}; make another with quorate cluster token",
        date_to_minute(*at)
    )]
    Used {
        /// The last host that used it.
        by: String,
        /// When.
        at: u64,
    },
    /// The name of somebody else.
    #[error("another agent named {host} is alive; host names must be unique")]
    Alive {
        /// The name.
        host: String,
    },
    /// A name that nobody may ask for.
    #[error("no certificate can be for `{name}`")]
    Name {
        /// The name.
        name: String,
    },
    /// Neither a token nor a certificate.
    #[error("it shows neither a token nor its certificate of this cluster")]
    Stranger,
    /// The authority's key is for voters.
    #[error("{host} is no voter, and only voters hold the key of the authority")]
    NoVoter {
        /// The host.
        host: String,
    },
    /// The request cannot be read.
    #[error("the request is of a form that this version does not know")]
    Form,
}

/// What a token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// A certificate, once this record has taken the place of the old one.
    Admit(TokenRecord),
    /// A certificate: the same host with the same key has not got its answer.
    Again,
    /// Nothing.
    Refuse(JoinRefusal),
}

/// Judges the use of a token by `host` for the public key with the hash `key`.
pub fn judge(
    record: Option<&TokenRecord>,
    secret: &Secret,
    (host, key): (&str, &str),
    now: u64,
) -> Judged {
    let known = record.filter(|one| one.hash == digest(secret.expose().as_bytes()));
    let Some(record) = known else { return Judged::Refuse(JoinRefusal::Unknown) };
    if record.uses.iter().any(|one| one.host == host && one.key == key) {
        return Judged::Again;
    }
    if let Some(last) = record.uses.last().filter(|_| record.uses.len() >= record.limit.into()) {
        return Judged::Refuse(JoinRefusal::Used { by: last.host.clone(), at: last.at });
    }
    if now > record.until {
        return Judged::Refuse(JoinRefusal::Expired { at: record.until });
    }
    let mut next = record.clone();
    next.uses.push(Use { host: host.to_owned(), key: key.to_owned(), at: now });
    Judged::Admit(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new([1; 6], [2; 16], b"authority")
    }

    #[test]
    fn a_token_survives_its_text_and_anything_else_is_refused() {
        let text = token().text();
        assert_eq!(Token::parse(&format!(" {}\n", text.expose())), Ok(token()));
        let text = text.expose();
        for bad in ["", "a.b.c", &text[1..], &text.to_uppercase(), &format!("{text}.")] {
            assert_eq!(Token::parse(bad), Err(TlsError::BadToken), "{bad}");
        }
        let shown = format!("{:?} {:?}", token(), token().record("h1", 0, 1));
        assert!(!shown.contains(token().secret.expose()), "{shown}");
    }

    #[test]
    fn a_token_is_worth_one_certificate_until_it_expires() {
        let (token, now) = (token(), 1_000);
        let record = token.record("h1", now + 60, 1);
        let judged = |record: Option<&TokenRecord>, secret: &Secret, who, now| {
            judge(record, secret, who, now)
        };
        let (h2, h3) = (("h2", "k2"), ("h3", "k3"));
        let Judged::Admit(used) = judged(Some(&record), &token.secret, h2, now) else {
            panic!("not admitted")
        };
        let expired = record.until + 1;
        let used_by = JoinRefusal::Used { by: "h2".into(), at: now };
        let forged = Secret::from("0123");
        for (record, secret, who, at, want) in [
            (Some(&used), &token.secret, h2, expired, Judged::Again),
            (Some(&used), &token.secret, h3, now, Judged::Refuse(used_by.clone())),
            (Some(&used), &token.secret, ("h2", "k3"), now, Judged::Refuse(used_by)),
            (Some(&used), &forged, h2, now, Judged::Refuse(JoinRefusal::Unknown)),
            (None, &token.secret, h2, now, Judged::Refuse(JoinRefusal::Unknown)),
            (
                Some(&record),
                &token.secret,
                h2,
                expired,
                Judged::Refuse(JoinRefusal::Expired { at: record.until }),
            ),
        ] {
            assert_eq!(judged(record, secret, who, at), want, "{who:?} at {at}");
        }
    }

    #[test]
    fn a_token_for_two_is_good_for_two() {
        let token = token();
        let mut record = token.record("h1", 10, 2);
        for (host, admitted) in [("h2", true), ("h3", true), ("h4", false)] {
            match judge(Some(&record), &token.secret, (host, host), 5) {
                Judged::Admit(next) if admitted => record = next,
                Judged::Refuse(JoinRefusal::Used { by, .. }) if !admitted => assert_eq!(by, "h3"),
                other => panic!("{host}: {other:?}"),
            }
        }
    }

    #[test]
    fn hex_digits_are_read_again() {
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!((unhex("0"), unhex("zz"), unhex("é")), (None, None, None));
    }
}
