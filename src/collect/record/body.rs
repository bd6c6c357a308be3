//! Fields that are too large for a record: where they stand, and their bytes in pieces.
//!
//! Refuses more than [`BODY_BYTES_MAX`], whoever names it, and bytes that are not the ones named.

use serde_json::Value as Json;

use super::{broken, sha256, text, values};
use crate::collect::Content;
use crate::spec::Fields;

/// The most that the fields of one export may have, in bytes of JSON.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// The bytes of one piece: two of them fit one transaction.
pub const CHUNK_BYTES: usize = 500 << 10;

/// Fields that stand in pieces beside the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The digest of all pieces together: `sha256:` and digits.
    pub digest: String,
    /// How many bytes they have together.
    pub size: usize,
}

impl Body {
    /// How many pieces there are.
    pub fn chunks(&self) -> usize {
        self.size.div_ceil(CHUNK_BYTES)
    }

    /// How many bytes the piece with this number has.
    pub fn bytes_of(&self, number: usize) -> usize {
        self.size.saturating_sub(number * CHUNK_BYTES).min(CHUNK_BYTES)
    }

    /// What the export says as long as nobody here wants it.
    pub fn unread(&self) -> Content {
        Content::Unknown(format!("a body of {} bytes that was not fetched", self.size))
    }
}

/// A body in pieces, in order.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(CHUNK_BYTES)
}

/// The fields that these bytes are, if they are those of `body`.
pub fn content_of(body: &Body, bytes: &[u8]) -> Content {
    if bytes.len() != body.size || sha256(bytes) != body.digest {
        return broken("the digest of the body is not the one that the record names");
    }
    let fields = match serde_json::from_slice(bytes) {
        Ok(Json::Object(map)) => values::<Fields>(map),
        _ => Err(broken("the body is not a JSON object")),
    };
    fields.map_or_else(|content| content, Content::Fields)
}

/// The body that a record names.
pub(super) fn named(map: &mut serde_json::Map<String, Json>) -> Result<Body, Content> {
    let digest = text(map, "body")?;
    let digits = digest.strip_prefix("sha256:").unwrap_or_default();
    let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 64 || !plain {
        return Err(broken("the body is not named by its digest"));
    }
    let size = map.remove("size").as_ref().and_then(Json::as_u64);
    let size = size.ok_or_else(|| broken("the record does not say how large its body is"))?;
    match usize::try_from(size) {
        Ok(size) if (1..=BODY_BYTES_MAX).contains(&size) => Ok(Body { digest, size }),
        _ => Err(broken(format!("the body has {size} bytes, at most {BODY_BYTES_MAX} are read"))),
    }
}
