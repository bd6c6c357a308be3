//! When a whole cluster has converged: each host says how far it is, and all who are present have
//! to have said so about the same exports.
//!
//! A host that has not seen the newest exports may be at rest and still have work ahead. So what it
//! says carries a digest of what it has seen. Refuses to know why a host is not done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ident::HostName;

/// The version of the form.
const VERSION: u64 = 1;

/// What a host says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    v: u64,
    /// The number of its running graph, counted since it started; for listing.
    pub generation: u64,
    /// The digest of the exports that it has seen.
    pub exports: String,
    /// Nothing is pending or running there.
    pub converged: bool,
}

impl Said {
    /// A statement in the present form.
    pub fn new(generation: u64, exports: &str, converged: bool) -> Self {
        Said { v: VERSION, generation, exports: exports.to_owned(), converged }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has text keys and writing to memory cannot fail")
    }

    /// Reads one; `None` when it is not in our form.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let said: Said = serde_json::from_slice(bytes).ok()?;
        (said.v == VERSION).then_some(said)
    }
}

/// The digest of what all hosts say of their sets, and of whether they are seen as a whole: the
/// same on every host that has seen the same, whatever kinds it follows. Each is a host, the
/// revision of what it says, and whether it is live and whole.
pub fn digest_of_sets<'a>(
    sets: impl IntoIterator<Item = (&'a HostName, i64, [bool; 2])>,
) -> String {
    let mut hash = Sha256::new();
    for (host, revision, flags) in sets {
        hash.update(host.as_str().len().to_le_bytes());
        hash.update(host.as_str());
        hash.update(revision.to_le_bytes());
        hash.update(flags.map(u8::from));
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A host that the cluster waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Who.
    pub host: String,
    /// What is known about it.
    pub why: &'static str,
}

/// The hosts that stand in the way of a converged cluster; none when it is.
pub fn missing(
    present: &[HostName],
    said: &BTreeMap<HostName, Said>,
    exports: &str,
) -> Vec<Missing> {
    let why = |host: &HostName| match said.get(host) {
        None => Some("has not said anything yet"),
        Some(said) if !said.converged => Some("is at work"),
        Some(said) if said.exports != exports => Some("has not seen the same exports"),
        Some(_) => None,
    };
    let missing = present.iter().filter_map(|host| Some((host, why(host)?)));
    missing.map(|(host, why)| Missing { host: host.to_string(), why }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    /// Of live and whole sets with these revisions.
    fn digest(sets: &[(&str, i64)]) -> String {
        let sets: Vec<(HostName, i64)> = sets.iter().map(|(name, at)| (host(name), *at)).collect();
        digest_of_sets(sets.iter().map(|(host, revision)| (host, *revision, [true, true])))
    }

    #[test]
    fn a_cluster_waits_for_each_host_that_is_not_done_with_the_same_exports() {
        let now = digest(&[("a", 2)]);
        let said = BTreeMap::from([
            (host("done"), Said::new(1, &now, true)),
            (host("busy"), Said::new(9, &now, false)),
            (host("late"), Said::new(1, &digest(&[("a", 1)]), true)),
            (host("gone"), Said::new(1, "", false)),
        ]);
        let present = ["busy", "done", "late", "new"].map(host);
        let found = missing(&present, &said, &now);
        let found: Vec<(&str, &str)> = found.iter().map(|one| (&*one.host, one.why)).collect();
        let expected = [
            ("busy", "is at work"),
            ("late", "has not seen the same exports"),
            ("new", "has not said anything yet"),
        ];
        assert_eq!(found, expected);
        assert_eq!(missing(&present[1..2], &said, &now), []);
    }

    #[test]
    fn a_digest_tells_sets_apart_and_names_cannot_run_together() {
        let sets = [vec![], vec![("a", 1)], vec![("a", 2)], vec![("a", 1), ("b", 1)]];
        let mut digests: Vec<String> = sets.iter().map(|set| digest(set)).collect();
        let a = host("a");
        let flags = [[false, true], [true, false], [false, false]];
        digests.extend(flags.map(|flags| digest_of_sets([(&a, 1, flags)])));
        for (at, one) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(one), "{at}");
        }
    }

    #[test]
    fn what_is_not_in_our_form_says_nothing() {
        let said = Said::new(3, "e", true);
        assert_eq!(Said::decode(&said.encode()), Some(said));
        assert_eq!(Said::decode(b"{}"), None);
        assert_eq!(Said::decode(br#"{"v":2,"generation":1,"exports":"","converged":true}"#), None);
    }
}
