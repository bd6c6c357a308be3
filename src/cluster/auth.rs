//! Users and roles of etcd: which host may write which keys once the store asks who writes.
//!
//! Every host is a user by the name in its certificate. All hosts read everything and write the
//! values of `kv`; beside that each writes its own keys, and exports only of kinds in channels that
//! were granted. Voters act as `root`: they hold the data and the authority's key anyway.
//!
//! Refuses to give a right to a part of a name: each prefix ends in a slash, so that `h1` is not
//! `h10`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::keys::{PerHost, VERSION};
use crate::ident::encode_segment;
use crate::store::PREFIX;

/// The user and role of etcd that may do everything.
pub const ROOT: &str = "root";
/// The role of what every host may do.
pub const SHARED: &str = "quorate";

/// A channel and a kind that a host may export.
pub type Slot = (String, String);

/// The key that says that the store asks who writes.
pub fn key() -> String {
    format!("{PREFIX}auth")
}

/// `auth`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthRecord {
    /// The version of its form.
    pub v: u32,
    /// It asks.
    pub on: bool,
    /// The host whose agent was asked to do it.
    pub by: String,
    /// Seconds since 1970, for people.
    pub at: u64,
    /// Channels that are granted beside those that are known from elsewhere.
    #[serde(default)]
    pub channels: BTreeSet<String>,
}

impl AuthRecord {
    /// One of now.
    pub fn new(on: bool, by: &str, at: u64, channels: BTreeSet<String>) -> Self {
        AuthRecord { v: VERSION, on, by: by.to_owned(), at, channels }
    }
}

/// What a role may do to keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// It may be written, too.
    pub write: bool,
    /// The first key.
    pub key: String,
    /// The first key after all of them; empty for one key alone.
    pub end: String,
}

impl Right {
    fn one(key: String) -> Self {
        Right { write: true, key, end: String::new() }
    }

    /// All keys below one that ends in a slash.
    fn below(write: bool, key: String) -> Self {
        // The character after the slash.
        let end = key.strip_suffix('/').map(|start| format!("{start}0")).unwrap_or_default();
        Right { write, key, end }
    }
}

/// The role of one host alone.
pub fn role_of(host: &str) -> String {
    format!("{SHARED}-host-{host}")
}

/// What every host may do.
pub fn shared() -> BTreeSet<Right> {
    let all = Right::below(false, PREFIX.to_owned());
    [all, Right::below(true, format!("{PREFIX}kv/"))].into()
}

/// What a host may do beside that.
pub fn rights(host: &str, slots: &BTreeSet<Slot>) -> BTreeSet<Right> {
    let segment = encode_segment(host);
    let of_cluster = [
        PerHost::Host,
        PerHost::Volunteer,
        PerHost::Nominate,
        PerHost::Leave,
        PerHost::Away,
        PerHost::Order,
    ];
    let own = of_cluster.map(|one| Right::one(one.of(host)));
    let exchange =
        ["s", "xo", "conv", "sk"].map(|at| Right::one(format!("{PREFIX}{at}/{segment}")));
    let below = ["s", "xb"].map(|at| Right::below(true, format!("{PREFIX}{at}/{segment}/")));
    let exports = slots.iter().map(|(channel, kind)| {
        let [channel, kind] = [channel, kind].map(|part| encode_segment(part));
        Right::below(true, format!("{PREFIX}x/{channel}/{kind}/{segment}/"))
    });
    own.into_iter().chain(exchange).chain(below).chain(exports).collect()
}

/// What has to be granted to and revoked from who has these rights, in that order.
pub fn change<'a>(
    has: &'a BTreeSet<Right>,
    wanted: &'a BTreeSet<Right>,
) -> (Vec<&'a Right>, Vec<&'a Right>) {
    (wanted.difference(has).collect(), has.difference(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the rights permit to write a key, as etcd judges it.
    fn permits(rights: &BTreeSet<Right>, key: &str) -> bool {
        rights.iter().any(|one| match one.end.as_str() {
            "" => one.write && one.key == key,
            end => one.write && key >= one.key.as_str() && key < end,
        })
    }

    #[test]
    fn a_host_writes_its_own_keys_and_what_was_granted_and_nothing_of_a_longer_name() {
        let slots = BTreeSet::from([("default".to_owned(), "file".to_owned())]);
        let rights: BTreeSet<Right> = rights("h1", &slots).union(&shared()).cloned().collect();
        for (key, wanted) in [
            ("x/default/file/h1/a", true),
            ("x/default/file/h10/a", false),
            ("x/default/file/h2/a", false),
            ("x/default/exec/h1/a", false),
            ("x/other/file/h1/a", false),
            ("xo/h1", true),
            ("xo/h10", false),
            ("xb/h1/00ff/0001", true),
            ("xb/h10/00ff/0001", false),
            ("s/h1", true),
            ("s/h1/10m", true),
            ("s/h2", false),
            ("conv/h1", true),
            ("sk/h1", true),
            ("host/h1", true),
            ("host/h10", false),
            ("volunteer/h1", true),
            ("kv/anything", true),
            ("h/h1", false),
            ("p/exports", false),
            ("auth", false),
            ("controller", false),
            ("change", false),
            ("nominate/h2", false),
            ("token/x", false),
            ("size", false),
        ] {
            assert_eq!(permits(&rights, &format!("{PREFIX}{key}")), wanted, "{key}");
        }
        assert!(!permits(&rights, "/other"));
    }

    #[test]
    fn only_what_differs_is_granted_and_revoked() {
        let slot = |kind: &str| ("default".to_owned(), kind.to_owned());
        let before = rights("h1", &[slot("file"), slot("exec")].into());
        let after = rights("h1", &[slot("file"), slot("kv")].into());
        let (grant, revoke) = change(&before, &after);
        let keys =
            |list: Vec<&Right>| list.into_iter().map(|one| one.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(grant), [format!("{PREFIX}x/default/kv/h1/")]);
        assert_eq!(keys(revoke), [format!("{PREFIX}x/default/exec/h1/")]);
        assert_eq!(change(&after, &after), (Vec::new(), Vec::new()));
    }
}
