//! The keys of the exchange: `x/CHANNEL/KIND/FROM/NAME`, `xb/FROM/SHA256/NNNN`, `xo/FROM`,
//! `s/FROM`, `s/FROM/DURATION`, `sk/HOST` and `h/HOST`, to text and back.
//!
//! Refuses to take a key that it would not have written: what is not ours is not guessed at.

use crate::collect::record::Life;
use crate::collect::{Address, Slot};
use crate::ident::{HostName, decode_segment, encode_segment};
use crate::store::PREFIX;

/// What follows [`PREFIX`] in the key of a record.
const RECORD: &str = "x";
/// What follows [`PREFIX`] in the key of a publisher.
const PUBLISHER: &str = "xo";
/// What follows [`PREFIX`] in the key of a presence.
const PRESENCE: &str = "s";
/// What follows [`PREFIX`] in the key of a part of a body.
const BODY: &str = "xb";
/// What follows [`PREFIX`] in the key of what an operator says about a host.
const HOST: &str = "h";
/// What a host says about its convergence.
const CONVERGENCE: &str = "conv";
/// The key that a host shows for others to seal by.
const SEAL: &str = "sk";

/// A key of the exchange, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A record of one export.
    Record(Address),
    /// What a host says about its whole set.
    Publisher(HostName),
    /// That a host is there.
    Presence(HostName),
    /// That a host was there so many seconds ago or later.
    Lifetime(HostName, u64),
    /// What an operator says about a host.
    Host(HostName),
}

/// The prefix of all records of a slot, whoever wrote them.
pub fn slot_prefix(slot: &Slot) -> String {
    let [channel, kind] = [&slot.channel, &slot.kind].map(|part| encode_segment(part));
    format!("{PREFIX}{RECORD}/{channel}/{kind}/")
}

/// The prefix of the records of one host in a slot.
pub fn own_prefix(slot: &Slot, from: &HostName) -> String {
    format!("{}{}/", slot_prefix(slot), encode_segment(from.as_str()))
}

/// The prefix of all records.
pub fn records_prefix() -> String {
    format!("{PREFIX}{RECORD}/")
}

/// The prefix of all publishers.
pub fn publishers_prefix() -> String {
    format!("{PREFIX}{PUBLISHER}/")
}

/// The prefix of what operators say about hosts.
pub fn hosts_prefix() -> String {
    format!("{PREFIX}{HOST}/")
}

/// The key of what operators say about a host.
pub fn host_info(host: &HostName) -> String {
    format!("{PREFIX}{HOST}/{}", encode_segment(host.as_str()))
}

/// The key that lives for so many seconds longer than its host.
pub fn lifetime(host: &HostName, seconds: u64) -> String {
    format!("{}/{}", presence(host), Life::For(seconds))
}

/// The prefix of all bodies of a host.
pub fn bodies_prefix(from: &HostName) -> String {
    format!("{PREFIX}{BODY}/{}/", encode_segment(from.as_str()))
}

/// The key of a part of a body. `digest` is `sha256:` and hexadecimal digits.
pub fn chunk(from: &HostName, digest: &str, number: usize) -> String {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    format!("{}{}/{number:04}", bodies_prefix(from), encode_segment(digits))
}

/// Which part of which body of `from` a key is.
pub fn chunk_of(from: &HostName, key: &str) -> Option<(String, usize)> {
    let (digits, number) = key.strip_prefix(&bodies_prefix(from))?.split_once('/')?;
    let found = (format!("sha256:{}", decode_segment(digits)?), number.parse().ok()?);
    (chunk(from, &found.0, found.1) == key).then_some(found)
}

/// The prefix that records and publishers share, for who reads all of them in the order in which
/// they were written. Bodies are below it too.
pub fn exports_prefix() -> String {
    format!("{PREFIX}{RECORD}")
}

/// The prefix of all presences.
pub fn presence_prefix() -> String {
    format!("{PREFIX}{PRESENCE}/")
}

/// The key of a record.
pub fn record(address: &Address) -> String {
    let Address { channel, kind, from, name } = address;
    let [channel, kind, from, name] = [channel, kind, from.as_str(), name].map(encode_segment);
    format!("{PREFIX}{RECORD}/{channel}/{kind}/{from}/{name}")
}

/// The key of a host's publisher.
pub fn publisher(host: &HostName) -> String {
    format!("{PREFIX}{PUBLISHER}/{}", encode_segment(host.as_str()))
}

/// The key of a host's presence.
pub fn presence(host: &HostName) -> String {
    format!("{PREFIX}{PRESENCE}/{}", encode_segment(host.as_str()))
}

/// The prefix of all that hosts say about their convergence.
pub fn convergence_prefix() -> String {
    format!("{PREFIX}{CONVERGENCE}/")
}

/// The key of what a host says about its convergence.
pub fn convergence(from: &HostName) -> String {
    format!("{PREFIX}{CONVERGENCE}/{}", encode_segment(from.as_str()))
}

/// Whose convergence a key is about.
pub fn convergence_of(key: &str) -> Option<HostName> {
    host(key.strip_prefix(PREFIX)?.strip_prefix(CONVERGENCE)?.strip_prefix('/')?)
}

/// The prefix of all keys that hosts show for others to seal by.
pub fn seal_keys_prefix() -> String {
    format!("{PREFIX}{SEAL}/")
}

/// Where a host shows the key for others to seal by.
pub fn seal_key(host: &HostName) -> String {
    format!("{PREFIX}{SEAL}/{}", encode_segment(host.as_str()))
}

/// Whose seal key stands here.
pub fn seal_key_of(key: &str) -> Option<HostName> {
    let found = host(key.strip_prefix(&seal_keys_prefix())?)?;
    (seal_key(&found) == key).then_some(found)
}

/// The meaning of a full key; `None` when it is none of the exchange, or not in our form.
pub fn parse(key: &str) -> Option<Key> {
    let parts: Vec<&str> = key.strip_prefix(PREFIX)?.split('/').collect();
    match parts[..] {
        [RECORD, channel, kind, from, name] => Some(Key::Record(Address {
            channel: filled(channel)?,
            kind: filled(kind)?,
            from: host(from)?,
            name: filled(name)?,
        })),
        [PUBLISHER, from] => Some(Key::Publisher(host(from)?)),
        [PRESENCE, from] => Some(Key::Presence(host(from)?)),
        [PRESENCE, from, duration] => match Life::parse(duration)? {
            life @ Life::For(seconds) if life.to_string() == duration => {
                Some(Key::Lifetime(host(from)?, seconds))
            }
            _ => None,
        },
        [HOST, name] => Some(Key::Host(host(name)?)),
        _ => None,
    }
}

fn filled(segment: &str) -> Option<String> {
    decode_segment(segment).filter(|text| !text.is_empty())
}

fn host(segment: &str) -> Option<HostName> {
    HostName::parse(&decode_segment(segment)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(channel: &str, kind: &str, from: &str, name: &str) -> Address {
        Address {
            channel: channel.into(),
            kind: kind.into(),
            from: HostName::parse(from).unwrap(),
            name: name.into(),
        }
    }

    #[test]
    fn a_name_with_a_slash_is_one_segment_of_its_key() {
        let address = address("default", "file", "h1", "/tmp/x");
        assert_eq!(record(&address), "/quorate/1/x/default/file/h1/%2Ftmp%2Fx");
        assert_eq!(parse(&record(&address)), Some(Key::Record(address)));
    }

    #[test]
    fn keys_that_nobody_would_write_mean_nothing() {
        for key in [
            "",
            "/quorate/1/",
            "/quorate/1/x",
            "/quorate/1/x/default/file/h1",
            "/quorate/1/x/default/file/h1/",
            "/quorate/1/x/default/file/h1/a/b",
            "/quorate/1/x/default/file/-h1/a",
            "/quorate/1/x/default/file/h1/%2fa",
            "/quorate/1/xb/h1",
            "/quorate/1/xo/h1/x",
            "/quorate/1/s/h1/600s",
            "/quorate/1/s/h1/session",
            "/quorate/1/s/h1/1s",
            "/quorate/1/h/",
            "/quorate/2/s/h1",
            "/mgmt/s/h1",
        ] {
            assert_eq!(parse(key), None, "{key:?}");
        }
    }

    #[test]
    fn a_part_of_a_body_is_found_again_below_its_host_only() {
        let [h1, h10] = ["h1", "h10"].map(|name| HostName::parse(name).unwrap());
        let key = chunk(&h1, "sha256:00ff", 7);
        assert_eq!(key, "/quorate/1/xb/h1/00ff/0007");
        assert_eq!(chunk_of(&h1, &key), Some(("sha256:00ff".to_owned(), 7)));
        assert_eq!(chunk_of(&h10, &key), None);
        assert_eq!(chunk_of(&h1, "/quorate/1/xb/h1/00ff/7"), None);
        assert_eq!(parse(&key), None);
    }

    #[test]
    fn records_and_publishers_are_below_one_prefix_and_presences_are_not() {
        let host = HostName::parse("h1").unwrap();
        assert!(publisher(&host).starts_with(&exports_prefix()));
        assert!(record(&address("c", "file", "h1", "a")).starts_with(&exports_prefix()));
        assert!(!presence(&host).starts_with(&exports_prefix()));
        assert!(presence(&host).starts_with(&presence_prefix()));
    }

    proptest! {
        #[test]
        fn every_key_survives_its_text(
            channel in "\\PC{1,8}", kind in "\\PC{1,8}", from in "[a-z0-9][a-zA-Z0-9_.-]{0,20}",
            name in "(?s).{1,60}",
        ) {
            let address = address(&channel, &kind, &from, &name);
            let host = address.from.clone();
            prop_assert_eq!(parse(&record(&address)), Some(Key::Record(address)));
            prop_assert_eq!(parse(&publisher(&host)), Some(Key::Publisher(host.clone())));
            prop_assert_eq!(parse(&presence(&host)), Some(Key::Presence(host.clone())));
            prop_assert_eq!(parse(&host_info(&host)), Some(Key::Host(host.clone())));
            for seconds in [10, 90, 600, 7_200, 86_400] {
                let wanted = Some(Key::Lifetime(host.clone(), seconds));
                prop_assert_eq!(parse(&lifetime(&host, seconds)), wanted);
            }
        }

        #[test]
        fn a_key_that_means_something_is_the_one_that_we_would_write(
            tail in "(x|xo|s)(/[a-z%2F.~-]{0,6}){0,5}",
        ) {
            let key = format!("{PREFIX}{tail}");
            match parse(&key) {
                Some(Key::Record(address)) => prop_assert_eq!(record(&address), key),
                Some(Key::Publisher(host)) => prop_assert_eq!(publisher(&host), key),
                Some(Key::Presence(host)) => prop_assert_eq!(presence(&host), key),
                Some(Key::Lifetime(host, s)) => prop_assert_eq!(lifetime(&host, s), key),
                Some(Key::Host(host)) => prop_assert_eq!(host_info(&host), key),
                None => {}
            }
        }
    }
}
