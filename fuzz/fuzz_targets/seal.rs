//! Whatever another host calls sealed does not open, and makes nothing panic; what was sealed opens
//! for whom it is for, and not when any of it was changed.
//!
//! Refuses to know which bytes are keys: any may be.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use quorate::collect::record::{Seal, Sealed};
use quorate::collect::{Address, Content, Export, offline, sealing};
use quorate::ident::HostName;
use quorate::matching::Me;
use quorate::seal::{PrivateKey, PublicKey};
use quorate::spec::{Fields, HostSelector};

/// Who seals, and who opens.
static KEYS: LazyLock<[PrivateKey; 2]> = LazyLock::new(|| {
    [1, 2].map(|n| {
        let text = format!("x25519-seed:{}", format!("{n:02x}").repeat(32));
        PrivateKey::parse(&text).expect("it is a key")
    })
});

fuzz_target!(|input: (&str, &[u8], u16, u8, &str, &[u8])| {
    let (context, plain, at, change, text, bytes) = input;
    let [sealer, opener] = &*KEYS;
    let mut key = String::from("x25519:");
    bytes.iter().take(32).for_each(|byte| key.push_str(&format!("{byte:02x}")));
    for text in [text, key.as_str()] {
        if let Some(key) = PublicKey::parse(text) {
            assert_eq!(key.to_string(), text);
            // Some keys are none: that is said, and not more.
            let one = BTreeMap::from([("lb1".to_owned(), key)]);
            let _ = sealer.seal(context.as_bytes(), plain, &one);
        }
        let _ = PrivateKey::parse(text);
    }
    let hosts = BTreeMap::from([("lb1".to_owned(), opener.public())]);
    let sealed = sealer.seal(context.as_bytes(), plain, &hosts).expect("the key is good");
    let open = |lock: &[u8], bytes: &[u8]| opener.open(context.as_bytes(), "lb1", lock, bytes);
    let lock = &sealed.keys["lb1"];
    assert_eq!(open(lock, &sealed.bytes).as_deref().map(Vec::as_slice), Some(plain));
    let mut both = [lock.as_slice(), &sealed.bytes].concat();
    let at = usize::from(at) % both.len();
    both[at] ^= change;
    let (other_lock, other) = both.split_at(lock.len());
    assert_eq!(open(other_lock, other).is_some(), change == 0);
    let cut = &both[..at];
    assert!(open(cut, &sealed.bytes).is_none_or(|_| cut == lock));
    assert!(open(bytes, plain).is_none() && open(plain, bytes).is_none());
    exported(text, context, bytes);
});

/// An export with such a seal is held or ignored, with a reason that is one line.
fn exported(name: &str, lock: &str, bytes: &[u8]) {
    let host = |name| HostName::parse(name).expect("it is a name");
    let mut me = Me::new(host("lb1"));
    me.key = Some(Arc::new(KEYS[1].clone()));
    let keys = BTreeMap::from([("lb1".to_owned(), lock.to_owned())]);
    for field in [name, "content"] {
        let sealed = Sealed {
            open: Fields::new(),
            seal: Seal { fields: BTreeSet::from([field.to_owned()]), keys: keys.clone() },
            bytes: String::from_utf8_lossy(bytes).into_owned(),
        };
        let export = Export {
            address: Address {
                channel: "default".to_owned(),
                kind: "file".to_owned(),
                from: host("web1"),
                name: name.to_owned(),
            },
            content: Content::Sealed(Arc::new(sealed.clone())),
            revision: 1,
            labels: BTreeMap::new(),
            to: HostSelector::everybody(),
        };
        let (_, why) = sealing::open(&export, &sealed, &me).expect_err("nobody sealed it");
        assert!(!why.chars().any(char::is_control), "{why:?}");
        let _ = offline::parse(name);
    }
}
