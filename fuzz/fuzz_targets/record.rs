//! Any bytes are a record or say why not; one that is understood is written as it was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate::collect::Content;
use quorate::collect::record::{Presence, Publisher, Record, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let _ = (Publisher::decode(bytes), Presence::decode(bytes));
    let decoded = decode("file", bytes);
    assert_eq!(decode("file", bytes), decoded);
    let Content::Fields(fields) = decoded.content.clone() else { return };
    let record = Record {
        generation: decoded.generation,
        session: String::new(),
        life: decoded.life,
        fields,
        labels: decoded.labels.clone(),
        to: decoded.to.clone(),
    };
    let again = decode("file", &encode("file", &record));
    let everybody = decoded.to.is_everybody() && decoded.labels.is_empty();
    // What says nothing is written without terms, and then has the digest of its fields.
    if everybody { assert_eq!(again.content, decoded.content) } else { assert_eq!(again, decoded) }
});
