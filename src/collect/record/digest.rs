//! Digests of what records say.
//!
//! Refuses to leave out anything that a collector goes by.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Seal, json, to_wire, wire_fields};
use crate::spec::{Fields, HostSelector};

pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The digest of fields: of their canonical JSON, with the algorithm in front.
pub fn digest(fields: &Fields) -> String {
    sha256(&json(&wire_fields(fields)))
}

/// What a record says beside its fields.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Who may collect it.
    pub to: &'a HostSelector,
    /// What of it is sealed, and for whom.
    pub seal: Option<&'a Seal>,
}

/// The digest of all that a record says. That of one without terms is the digest of its fields.
pub fn digest_of(fields: &Fields, about: About<'_>) -> String {
    digest_with(digest(fields), about)
}

pub(super) fn digest_with(fields: String, about: About<'_>) -> String {
    let About { labels, to, seal } = about;
    match seal {
        None if labels.is_empty() && to.is_everybody() => fields,
        None => sha256(&json(&(fields, labels, to_wire(to)))),
        Some(seal) => sha256(&json(&(fields, labels, to_wire(to), seal))),
    }
}
