//! Validated names: kinds, resource identities, host names, and how they are written in a store
//! key; and how many of something there are, in words.
//!
//! Refuses to know what a kind means, where a name came from, or anything about the world.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// Bytes that a key segment keeps as they are, besides letters and digits.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'-');

/// The longest name that may be exported or used for a host, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// A resource's identity: kind and name, shown as `kind[name]`. Copies share the text and are as
/// small as a pointer, since everything that is kept about a resource begins with one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResourceId(Arc<Parts>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    kind: Arc<str>,
    name: Box<str>,
}

impl ResourceId {
    /// An identity of these two parts. The parts are taken as they are.
    pub fn new(kind: impl Into<Arc<str>>, name: impl Into<Box<str>>) -> Self {
        ResourceId(Arc::new(Parts { kind: kind.into(), name: name.into() }))
    }

    /// The kind, for instance `file`.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The name, without any export mark.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl Ord for ResourceId {
    fn cmp(&self, other: &Self) -> Ordering {
        // Mostly a copy is compared with what it was copied from.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.kind(), self.name())
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostNameError {
    /// Nothing was given.
    #[error("a host name cannot be empty")]
    Empty,
    /// Longer than 253 bytes, the limit of DNS names (RFC 1035, 2.3.4).
    #[error("a host name has at most 253 characters")]
    TooLong,
    /// A character that cannot stand in a host name.
    #[error("`{0}` cannot stand in a host name; use letters, digits, `-`, `_` and `.`")]
    Character(char),
    /// A leading dot or dash would make a hidden folder or look like a flag.
    #[error("a host name starts with a letter or a digit")]
    Start,
}

/// A host's name in the cluster. Also the name of its state folder, so it holds no path parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Checks `text` and makes it a host name.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let first = text.chars().next().ok_or(HostNameError::Empty)?;
        if text.len() > 253 {
            return Err(HostNameError::TooLong);
        }
        if let Some(bad) =
            text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        {
            return Err(HostNameError::Character(bad));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(HostNameError::Start);
        }
        Ok(HostName(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One segment of a store key: every byte outside `A-Za-z0-9._~:-` is percent-encoded, so a name
/// with a slash can never break the split of a key.
pub fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The text behind a key segment; `None` when it is not one that [`encode_segment`] writes.
pub fn decode_segment(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
    (encode_segment(&text) == segment).then_some(text)
}

/// So many of something, in words: `1 voter`, `2 voters`.
pub fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_a_slash_becomes_one_segment() {
        assert_eq!(encode_segment("/tmp/x"), "%2Ftmp%2Fx");
        assert_eq!(decode_segment("%2Ftmp%2Fx").as_deref(), Some("/tmp/x"));
    }

    #[test]
    fn a_segment_that_nobody_would_write_is_not_decoded() {
        assert_eq!(decode_segment("%2ftmp"), None, "lower-case hex is not our form");
        assert_eq!(decode_segment("a b"), None);
        assert_eq!(decode_segment("%FF"), None);
    }

    #[test]
    fn host_names_hold_no_path_parts() {
        assert!(HostName::parse("h1.example").is_ok());
        for bad in ["", ".", "..", "a/b", "-x", "a b"] {
            assert!(HostName::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives_its_key_segment(name in "\\PC{0,60}") {
            let segment = encode_segment(&name);
            prop_assert!(!segment.contains('/'));
            prop_assert_eq!(decode_segment(&segment), Some(name));
        }
    }
}
