//! Any bytes are a record, a body, a publisher, a presence or a policy, or say why not; what is
//! understood is written as it was read.
//!
//! A digest that is wrong would end every run at once: it is put right, and the rest is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::collect::record::{
    About, Body, Decoded, Presence, Publisher, Record, content_of, decode, decode_any, digest_of,
    encode, encode_apart,
};
use quorate::collect::{Content, Policy, sealing};
use quorate::spec::Fields;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

fuzz_target!(|bytes: &[u8]| {
    let _ = (Publisher::decode(bytes), Presence::decode(bytes), Policy::decode(bytes).judge());
    let _ = sealing::decode(bytes)
        .map(|key| assert_eq!(sealing::decode(&sealing::encode(&key)), Some(key)));
    read(bytes);
    if let Some(mended) = mended(bytes) {
        read(&mended);
    }
    if let Content::Fields(fields) = body(bytes) {
        apart(&fields);
    }
});

/// The fields that these bytes are as the body of a record.
fn body(bytes: &[u8]) -> Content {
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        digest.push_str(&format!("{byte:02x}"));
    }
    content_of(&Body { digest, size: bytes.len() }, bytes)
}

/// The record with the digest that it should have.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let Ok(Json::Object(mut map)) = serde_json::from_slice(bytes) else { return None };
    let fields = serde_json::to_vec(map.get("fields")?).ok()?;
    let Content::Fields(fields) = body(&fields) else { return None };
    let Decoded { labels, to, seal, .. } = decode("file", bytes);
    let about = About { labels: &labels, to: &to, seal: seal.as_ref() };
    map.insert("digest".to_owned(), digest_of(&fields, about).into());
    serde_json::to_vec(&map).ok()
}

/// Reads a record, and what it says once more.
fn read(bytes: &[u8]) {
    let decoded = decode("file", bytes);
    assert_eq!(decode("file", bytes), decoded);
    let fields = match &decoded.content {
        Content::Fields(fields) => fields.clone(),
        Content::Sealed(sealed) => sealed.fields(),
        Content::Unknown(_) | Content::Broken(_) => return,
    };
    let record = Record {
        generation: decoded.generation,
        session: decoded.at.map_or_else(String::new, |at| format!("s@{at}")),
        life: decoded.life,
        fields,
        labels: decoded.labels.clone(),
        to: decoded.to.clone(),
        seal: decoded.seal.clone(),
    };
    // Written again it may be longer than what was read, and than what is read of others.
    assert_eq!(decode_any("file", &encode("file", &record)), decoded);
}

/// Writes fields beside their record and reads both.
fn apart(fields: &Fields) {
    let record = Record {
        generation: 1,
        session: String::new(),
        life: quorate::collect::record::Life::Session,
        fields: fields.clone(),
        labels: Default::default(),
        to: quorate::spec::HostSelector::everybody(),
        seal: None,
    };
    let (written, body, bytes) = encode_apart("file", &record);
    assert_eq!(decode("file", &written).body, Some(body.clone()));
    assert_eq!(content_of(&body, &bytes), Content::Fields(fields.clone()));
}
