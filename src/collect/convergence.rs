//! When a whole cluster has converged: each host says how far it is, and all who are present have
//! to have said so about the same exports.
//!
//! A host that has not seen the newest exports may be at rest and still have work ahead. So what it
//! says carries a digest of what it has seen. Refuses to know why a host is not done.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::collect::Export;
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

/// The digest of a set of live exports: the same on every host that sees the same set.
pub fn digest(exports: &[Arc<Export>]) -> String {
    let mut hash = Sha256::new();
    for export in exports {
        let address = &export.address;
        let from = address.from.as_str();
        for part in [&address.channel, &address.kind, from, &address.name] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.update(export.revision.to_le_bytes());
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
    use crate::collect::{Address, Content};
    use crate::spec::{Fields, HostSelector};

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    fn export(name: &str, revision: i64) -> Arc<Export> {
        let (channel, kind) = ("default".to_owned(), "file".to_owned());
        let address = Address { channel, kind, from: host("h1"), name: name.to_owned() };
        Arc::new(Export {
            address,
            content: Content::Fields(Fields::new()),
            revision,
            labels: BTreeMap::new(),
            to: HostSelector::everybody(),
        })
    }

    #[test]
    fn a_cluster_waits_for_each_host_that_is_not_done_with_the_same_exports() {
        let now = digest(&[export("a", 2)]);
        let said = BTreeMap::from([
            (host("done"), Said::new(1, &now, true)),
            (host("busy"), Said::new(9, &now, false)),
            (host("late"), Said::new(1, &digest(&[export("a", 1)]), true)),
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
        let digests: Vec<String> = sets
            .iter()
            .map(|set| digest(&set.iter().map(|(name, at)| export(name, *at)).collect::<Vec<_>>()))
            .collect();
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
