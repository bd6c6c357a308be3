//! Bytes for some hosts alone: keys, sealing and opening.
//!
//! The bytes are enciphered once, by a key of their own (ChaCha20-Poly1305), which is sealed to
//! each host by HPKE (RFC 9180: X25519, HKDF-SHA256, ChaCha20-Poly1305). All that is random in this
//! comes from the sealer's private key, what is sealed, and for whom: sealing the same again gives
//! the same bytes, whoever has not that key learns no more from them, and there is nothing to go
//! wrong with random numbers.
//!
//! Refuses to know what is sealed, to read or write files, and to show a private key.

use std::collections::BTreeMap;
use std::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use hkdf::Hkdf;
use hpke::kem::{Kem as _, X25519HkdfSha256 as Kem};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use sha2::Sha256;
use zeroize::Zeroizing;

type Cipher = hpke::aead::ChaCha20Poly1305;
type Kdf = hpke::kdf::HkdfSha256;

/// What each key is sealed for.
const PURPOSE: &[u8] = b"quorate seal 1";
/// The bytes of any key here.
const KEY_BYTES: usize = 32;
/// What stands before a public key as text.
const PUBLIC: &str = "x25519:";
/// What stands before a private key as text.
const PRIVATE: &str = "x25519-seed:";

/// What others seal by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// What opens what was sealed, and only its host has.
#[derive(Clone)]
pub struct PrivateKey {
    seed: Zeroizing<[u8; KEY_BYTES]>,
    private: <Kem as hpke::Kem>::PrivateKey,
    public: PublicKey,
}

/// Sealed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// What opens them, by host.
    pub keys: BTreeMap<String, Vec<u8>>,
    /// They.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads one, as it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        of_hex(text.strip_prefix(PUBLIC)?).map(PublicKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", &*hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PrivateKey {
    /// The key that these random bytes make.
    pub fn new(seed: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let (private, public) = Kem::derive_keypair(&*seed);
        PrivateKey { seed, private, public: PublicKey(public.to_bytes().into()) }
    }

    /// Reads one, as it is exposed.
    pub fn parse(text: &str) -> Option<Self> {
        of_hex(text.strip_prefix(PRIVATE)?).map(|seed| PrivateKey::new(Zeroizing::new(seed)))
    }

    /// As text, for the file in which it is kept.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PRIVATE}{}\n", &*hex(&*self.seed)))
    }

    /// What others seal by.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Seals these bytes for these hosts, to be opened in this context only. The same again gives
    /// the same.
    ///
    /// # Errors
    /// The name of a host whose key is none.
    pub fn seal(
        &self,
        context: &[u8],
        plain: &[u8],
        hosts: &BTreeMap<String, PublicKey>,
    ) -> Result<Lock, String> {
        let mut parts: Vec<&[u8]> = vec![context, plain];
        for (host, public) in hosts {
            parts.extend([host.as_bytes(), &public.0]);
        }
        let content = self.derive(b"content", &parts);
        let seal = |(host, public): (&String, &PublicKey)| {
            let seed = self.derive(b"host", &[&*content, host.as_bytes(), &public.0]);
            let sealed = seal_key(host, public, &*content, *seed).ok_or_else(|| host.clone())?;
            Ok((host.clone(), sealed))
        };
        let keys = hosts.iter().map(seal).collect::<Result<_, String>>()?;
        let payload = Payload { msg: plain, aad: context };
        // The key is for these bytes alone, so that no number has to tell them from others.
        let bytes = ChaCha20Poly1305::new(&(*content).into())
            .encrypt(&Nonce::default(), payload)
            .expect("what fits memory is shorter than the cipher's bound of 256 GiB");
        Ok(Lock { keys, bytes })
    }

    /// Opens what was sealed for `host` in this context; nothing when it was not, or is damaged.
    pub fn open(
        &self,
        context: &[u8],
        host: &str,
        key: &[u8],
        bytes: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let (sender, sealed) = key.split_at_checked(KEY_BYTES)?;
        let sender = <Kem as hpke::Kem>::EncappedKey::from_bytes(sender).ok()?;
        let content = hpke::single_shot_open::<Cipher, Kdf, Kem>(
            &OpModeR::Base,
            &self.private,
            &sender,
            PURPOSE,
            sealed,
            host.as_bytes(),
        );
        let content = Zeroizing::new(content.ok()?);
        let cipher = ChaCha20Poly1305::new_from_slice(&content).ok()?;
        let payload = Payload { msg: bytes, aad: context };
        cipher.decrypt(&Nonce::default(), payload).ok().map(Zeroizing::new)
    }

    /// A secret that only this key and these parts give.
    fn derive(&self, label: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut all = Zeroizing::new(Vec::new());
        for part in parts {
            all.extend((part.len() as u64).to_le_bytes());
            all.extend_from_slice(part);
        }
        let mut made = Zeroizing::new([0; KEY_BYTES]);
        Hkdf::<Sha256>::new(Some(&*self.seed), &all)
            .expand(label, &mut *made)
            .expect("so few bytes can always be derived");
        made
    }
}

/// A key sealed to the key of a host; nothing when that is none.
fn seal_key(host: &str, public: &PublicKey, key: &[u8], seed: [u8; 32]) -> Option<Vec<u8>> {
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&public.0).ok()?;
    let (sender, sealed) = hpke::single_shot_seal_with_rng::<Cipher, Kdf, Kem>(
        &OpModeS::Base,
        &public,
        PURPOSE,
        key,
        host.as_bytes(),
        &mut ChaCha20Rng::from_seed(seed),
    )
    .ok()?;
    let mut all = sender.to_bytes().to_vec();
    all.extend(sealed);
    Some(all)
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public)
    }
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap_or_default();
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    text.extend(digits);
    text
}

fn of_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        let plain = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| plain)?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::new(Zeroizing::new([seed; KEY_BYTES]))
    }

    fn hosts() -> BTreeMap<String, PublicKey> {
        BTreeMap::from([("h1".to_owned(), key(1).public()), ("h2".to_owned(), key(2).public())])
    }

    fn open(by: &PrivateKey, context: &[u8], host: &str, lock: &Lock) -> Option<Vec<u8>> {
        by.open(context, host, &lock.keys["h1"], &lock.bytes).map(|plain| plain.to_vec())
    }

    #[test]
    fn each_host_that_it_is_for_opens_it_and_nobody_else() {
        let lock = key(9).seal(b"here", b"secret", &hosts()).unwrap();
        for (host, seed) in [("h1", 1), ("h2", 2)] {
            let opened = key(seed).open(b"here", host, &lock.keys[host], &lock.bytes).unwrap();
            assert_eq!(&**opened, b"secret");
        }
        assert_eq!(open(&key(2), b"here", "h1", &lock), None, "another key");
        assert_eq!(open(&key(9), b"here", "h1", &lock), None, "not even who sealed it");
        assert_eq!(open(&key(1), b"there", "h1", &lock), None, "another context");
        assert_eq!(open(&key(1), b"here", "h2", &lock), None, "another name");
        assert!(!lock.bytes.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn the_same_again_is_the_same_and_everything_else_is_another() {
        let seal = |seed, context: &[u8], plain: &[u8], hosts: &BTreeMap<_, _>| {
            key(seed).seal(context, plain, hosts).unwrap()
        };
        let first = seal(9, b"c", b"secret", &hosts());
        assert_eq!(seal(9, b"c", b"secret", &hosts()), first);
        let mut fewer = hosts();
        fewer.remove("h2");
        let mut changed = hosts();
        changed.insert("h2".to_owned(), key(3).public());
        for other in [
            seal(8, b"c", b"secret", &hosts()),
            seal(9, b"d", b"secret", &hosts()),
            seal(9, b"c", b"secreT", &hosts()),
            seal(9, b"cs", b"ecret", &hosts()),
            seal(9, b"c", b"secret", &fewer),
            seal(9, b"c", b"secret", &changed),
        ] {
            assert_ne!(other.bytes, first.bytes);
            assert_ne!(other.keys["h1"], first.keys["h1"]);
        }
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let zero = BTreeMap::from([("h3".to_owned(), PublicKey([0; KEY_BYTES]))]);
        assert_eq!(key(9).seal(b"", b"x", &zero), Err("h3".to_owned()));
    }

    #[test]
    fn keys_survive_their_text_and_a_private_one_is_not_shown() {
        let (private, public) = (key(7), key(7).public());
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
        assert_eq!(PrivateKey::parse(private.expose().trim()), Some(private.clone()));
        assert!(!format!("{private:?}").contains("0707"), "{private:?}");
        for wrong in ["", "x25519:", "x25519:00", &public.to_string().to_uppercase()] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
            assert_eq!(PrivateKey::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_damage_opens_and_none_makes_opening_panic(
            at in 0..200usize, bit in 0..8u32, cut in 0..200usize, garbage: Vec<u8>,
        ) {
            let lock = key(9).seal(b"here", b"secret", &hosts()).unwrap();
            let flipped = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
                bytes
            };
            let shorter = |bytes: &[u8]| bytes[..cut % bytes.len()].to_vec();
            let (key, of) = (key(1), &lock.keys["h1"]);
            for (lock, bytes) in [
                (flipped(of), lock.bytes.clone()),
                (of.clone(), flipped(&lock.bytes)),
                (shorter(of), lock.bytes.clone()),
                (of.clone(), shorter(&lock.bytes)),
                (garbage.clone(), lock.bytes.clone()),
                (of.clone(), garbage),
            ] {
                prop_assert_eq!(key.open(b"here", "h1", &lock, &bytes), None);
            }
        }
    }
}
