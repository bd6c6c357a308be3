//! Which kinds a host may export to which channels, as far as that does not depend on names: what a
//! store that knows who writes has to permit.
//!
//! Refuses powerful kinds that no rule of the policy allows.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::Parts;
use super::policy::{self, Policy};
use super::{DEFAULT_CHANNEL, keys};
use crate::collect::grants::{HostRecord, host_of};
use crate::ident::HostName;
use crate::kind::{self, Power};

/// The channels and kinds of each of these hosts.
pub fn slots(
    parts: &Parts,
    hosts: &BTreeSet<HostName>,
    more_channels: &BTreeSet<String>,
) -> BTreeMap<HostName, BTreeSet<(String, String)>> {
    let policy = parts.policy.entries.iter().find(|entry| entry.key == policy::key());
    let policy = policy.map_or(Policy::Absent, |entry| Policy::decode(&entry.value));
    let channels = channels(parts, &policy, more_channels);
    // Nobody may do anything new by a policy that cannot be read.
    let Ok(judge) = policy.judge() else { return BTreeMap::new() };
    let said: BTreeMap<HostName, HostRecord> = parts
        .hosts
        .entries
        .iter()
        .filter_map(|entry| Some((host_of(&entry.key)?, HostRecord::decode(&entry.value)?)))
        .collect();
    let of_host = |host: &HostName| {
        let said = said.get(host).cloned().unwrap_or_default();
        let mut slots = BTreeSet::new();
        for channel in channels.iter().filter(|_| !said.decommissioned) {
            for kind in kind::all() {
                let ruled = judge.permits((channel.as_str(), kind.name()), host, &said.labels);
                if ruled.unwrap_or(kind.power() != Power::Powerful) {
                    slots.insert((channel.clone(), kind.name().to_owned()));
                }
            }
        }
        (host.clone(), slots)
    };
    hosts.iter().map(of_host).collect()
}

/// All channels that are used, or named.
fn channels(parts: &Parts, policy: &Policy, more: &BTreeSet<String>) -> BTreeSet<String> {
    let mut channels = more.clone();
    channels.insert(DEFAULT_CHANNEL.to_owned());
    for entry in &parts.records.entries {
        if let Some(keys::Key::Record(address)) = keys::parse(&entry.key) {
            channels.insert(address.channel);
        }
    }
    if let Policy::Rules(rules) = policy {
        let named = rules.iter().flat_map(|rule| &rule.channels);
        let plain = |name: &&String| !name.contains(['*', '?', '[', '{', '\\']);
        channels.extend(named.filter(plain).cloned());
    }
    channels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::HostSelector;
    use crate::spec::rule::PolicyRule;
    use crate::store::{Entry, Snapshot};

    #[test]
    fn e6_each_host_gets_what_the_policy_allows_it_and_powerful_kinds_only_by_name() {
        let all = || vec!["*".to_owned()];
        let rule = |allow, host: &str, kind: &str| PolicyRule {
            allow,
            hosts: HostSelector::Names(vec![host.to_owned()]),
            kinds: vec![kind.to_owned()],
            names: all(),
            channels: all(),
        };
        let only = PolicyRule { channels: vec!["keys".into()], ..rule(true, "web*", "exec") };
        let rules = [only, rule(false, "db*", "file")];
        let policy = policy::encode(&rules);
        let entry = Entry { key: policy::key(), value: policy, revision: 1, lease: None };
        let policy = Snapshot { entries: vec![entry], revision: 1 };
        let parts = Parts { policy, ..Parts::default() };
        let host = |name: &str| HostName::parse(name).unwrap();
        let more = BTreeSet::from(["side".to_owned()]);
        let found = slots(&parts, &[host("web1"), host("db1")].into(), &more);
        let has = |name: &str, channel: &str, kind: &str| {
            found[&host(name)].contains(&(channel.to_owned(), kind.to_owned()))
        };
        for (name, channel, kind, wanted) in [
            ("web1", "default", "file", true),
            ("web1", "side", "kv", true),
            ("web1", "keys", "exec", true),
            ("web1", "default", "exec", false),
            ("db1", "default", "file", false),
            ("db1", "default", "kv", true),
            ("db1", "keys", "exec", false),
        ] {
            assert_eq!(has(name, channel, kind), wanted, "{name} {channel} {kind}");
        }
    }
}
