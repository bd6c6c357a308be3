//! The keys of the exchange: `x/CHANNEL/KIND/FROM/NAME`, `xo/FROM` and `s/FROM`, to text and back.
//!
//! Refuses to take a key that it would not have written: what is not ours is not guessed at.

use crate::collect::Address;
use crate::ident::{HostName, decode_segment, encode_segment};
use crate::store::PREFIX;

/// What follows [`PREFIX`] in the key of a record.
const RECORD: &str = "x";
/// What follows [`PREFIX`] in the key of a publisher.
const PUBLISHER: &str = "xo";
/// What follows [`PREFIX`] in the key of a presence.
const PRESENCE: &str = "s";
/// What a host says about its convergence.
const CONVERGENCE: &str = "conv";

/// A key of the exchange, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A record of one export.
    Record(Address),
    /// What a host says about its whole set.
    Publisher(HostName),
    /// That a host is there.
    Presence(HostName),
}

/// The prefix that records and publishers share. They are followed by one watch, since only that
/// keeps a set and the generation that closes it in order.
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
            "/quorate/1/s/h1/10m",
            "/quorate/2/s/h1",
            "/mgmt/s/h1",
        ] {
            assert_eq!(parse(key), None, "{key:?}");
        }
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
            prop_assert_eq!(parse(&presence(&host)), Some(Key::Presence(host)));
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
                None => {}
            }
        }
    }
}
