//! The site's policy on exports: which host may export what, checked by exporters and collectors
//! alike.
//!
//! Refuses to allow anything new while the policy cannot be read, and to take anything away for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{To, of_wire, to_wire};
use crate::collect::{Address, Content};
use crate::ident::HostName;
use crate::matching::{Globs, Hosts};
use crate::spec::HostSelector;
use crate::store::PREFIX;

pub use crate::spec::rule::PolicyRule;

/// How many rules a policy may have: each is asked about each export.
pub const RULES_MAX: usize = 256;
/// The version of its form in the store.
const VERSION: u64 = 1;

/// What the site says about exports.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nothing: all but powerful kinds may be exported by anybody.
    #[default]
    Absent,
    /// It is there and cannot be read, or is not valid; says why.
    Unreadable(String),
    /// The first of these that applies decides.
    Rules(Vec<PolicyRule>),
}

/// What the policy says about one export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The rule with this number, counted from 1, allows it.
    Allowed(usize),
    /// The rule with this number denies it.
    Denied(usize),
    /// No rule says anything about it.
    Silent,
}

/// The key of the policy.
pub fn key() -> String {
    format!("{PREFIX}p/exports")
}

/// A policy that is ready to be asked.
#[derive(Debug, Default)]
pub struct Judge(Vec<Ready>);

#[derive(Debug)]
struct Ready {
    allow: bool,
    hosts: Hosts,
    kinds: Globs,
    names: Globs,
    /// It is not only about some names.
    all_names: bool,
    channels: Globs,
}

impl Policy {
    /// Ready to be asked; or why it cannot be.
    pub fn judge(&self) -> Result<Judge, String> {
        let rules = match self {
            Policy::Absent => &[][..],
            Policy::Unreadable(why) => return Err(why.clone()),
            Policy::Rules(rules) => rules,
        };
        let ready = |(at, rule): (usize, &PolicyRule)| {
            let wrong = |why: String| format!("rule {}: {why}", at + 1);
            Ok(Ready {
                allow: rule.allow,
                hosts: Hosts::new(&rule.hosts).map_err(wrong)?,
                kinds: Globs::new(&rule.kinds).map_err(wrong)?,
                names: Globs::new(&rule.names).map_err(wrong)?,
                all_names: rule.names.iter().any(|one| one == "*"),
                channels: Globs::new(&rule.channels).map_err(wrong)?,
            })
        };
        rules.iter().enumerate().map(ready).collect::<Result<_, String>>().map(Judge)
    }

    /// What the store holds under [`key`]; one that is not in our form is unreadable.
    pub fn decode(bytes: &[u8]) -> Self {
        match read(bytes) {
            Ok(policy) => match policy.judge() {
                Ok(_) => policy,
                Err(why) => Policy::Unreadable(why),
            },
            Err(why) => Policy::Unreadable(why),
        }
    }
}

impl Judge {
    /// What it says about an export of a host with these labels.
    pub fn ruling(&self, address: &Address, labels: &BTreeMap<String, String>) -> Ruling {
        let applies = |rule: &&Ready| {
            rule.kinds.matches(&address.kind)
                && rule.channels.matches(&address.channel)
                && rule.hosts.has(&address.from, labels)
                && rule.names.matches(&address.name)
        };
        match self.0.iter().enumerate().find(|(_, rule)| applies(rule)) {
            Some((at, rule)) if rule.allow => Ruling::Allowed(at + 1),
            Some((at, _)) => Ruling::Denied(at + 1),
            None => Ruling::Silent,
        }
    }

    /// The channels and kinds, of those that are given, that a host may export to at all. A rule
    /// about some names only leaves the rest to those that check each export.
    pub fn permits(
        &self,
        (channel, kind): (&str, &str),
        host: &HostName,
        labels: &BTreeMap<String, String>,
    ) -> Option<bool> {
        let about = |rule: &&Ready| {
            rule.kinds.matches(kind)
                && rule.channels.matches(channel)
                && rule.hosts.has(host, labels)
        };
        for rule in self.0.iter().filter(about) {
            if rule.allow {
                return Some(true);
            }
            if rule.all_names {
                return Some(false);
            }
        }
        None
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u64,
    rules: Vec<WireRule>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRule {
    allow: bool,
    hosts: To,
    kinds: Vec<String>,
    names: Vec<String>,
    channels: Vec<String>,
}

fn read(bytes: &[u8]) -> Result<Policy, String> {
    let wire: Wire = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
    if wire.v != VERSION {
        return Err(format!("version {} of it is unknown here", wire.v));
    }
    if wire.rules.len() > RULES_MAX {
        return Err(format!("{} rules, {RULES_MAX} are permitted", wire.rules.len()));
    }
    let rule = |one: WireRule| {
        let hosts: HostSelector = of_wire(one.hosts).map_err(|why| match why {
            Content::Broken(why) | Content::Unknown(why) => why,
            Content::Fields(_) | Content::Sealed(_) => String::new(),
        })?;
        let WireRule { allow, kinds, names, channels, .. } = one;
        Ok(PolicyRule { allow, hosts, kinds, names, channels })
    };
    wire.rules.into_iter().map(rule).collect::<Result<_, String>>().map(Policy::Rules)
}

/// The bytes of a policy of these rules.
pub fn encode(rules: &[PolicyRule]) -> Vec<u8> {
    let rule = |one: &PolicyRule| WireRule {
        allow: one.allow,
        hosts: to_wire(&one.hosts),
        kinds: one.kinds.clone(),
        names: one.names.clone(),
        channels: one.channels.clone(),
    };
    let wire = Wire { v: VERSION, rules: rules.iter().map(rule).collect() };
    serde_json::to_vec(&wire).expect("maps have text keys and writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, hosts: &[&str], kinds: &[&str], names: &[&str]) -> PolicyRule {
        let all = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            allow,
            hosts: HostSelector::Names(all(hosts)),
            kinds: all(kinds),
            names: all(names),
            channels: all(&["*"]),
        }
    }

    fn address(kind: &str, from: &str, name: &str) -> Address {
        let from = HostName::parse(from).unwrap();
        Address { channel: "default".into(), kind: kind.into(), from, name: name.into() }
    }

    #[test]
    fn the_first_rule_that_applies_decides_and_comes_back_from_the_store_as_it_was() {
        let rules = vec![
            rule(false, &["db*"], &["file"], &["secret-*"]),
            rule(true, &["db*", "web*"], &["file", "kv"], &["*"]),
            rule(false, &["*"], &["*"], &["*"]),
        ];
        let policy = Policy::decode(&encode(&rules));
        assert_eq!(policy, Policy::Rules(rules));
        let judge = policy.judge().unwrap();
        let none = BTreeMap::new();
        for (kind, from, name, wanted) in [
            ("file", "db1", "secret-a", Ruling::Denied(1)),
            ("file", "db1", "a", Ruling::Allowed(2)),
            ("kv", "web1", "secret-a", Ruling::Allowed(2)),
            ("exec", "web1", "a", Ruling::Denied(3)),
        ] {
            assert_eq!(judge.ruling(&address(kind, from, name), &none), wanted, "{kind} {from}");
        }
        let permits =
            |kind, host| judge.permits(("default", kind), &HostName::parse(host).unwrap(), &none);
        assert_eq!(permits("file", "db1"), Some(true), "some of its names");
        assert_eq!(permits("exec", "db1"), Some(false));
        assert_eq!(
            Policy::Absent.judge().unwrap().permits(
                ("a", "file"),
                &address("k", "h", "n").from,
                &none
            ),
            None
        );
    }

    #[test]
    fn e5_what_is_no_policy_is_unreadable_and_says_why() {
        let globs = encode(&[rule(true, &["["], &["*"], &["*"])]);
        let many = encode(&vec![rule(true, &["*"], &["*"], &["*"]); RULES_MAX + 1]);
        for (bytes, wanted) in [
            (&b"{"[..], "EOF"),
            (b"{\"v\":2,\"rules\":[]}", "version 2"),
            (b"{\"v\":1,\"rules\":[],\"more\":1}", "unknown field `more`"),
            (&globs, "rule 1: "),
            (&many, "257 rules"),
        ] {
            let Policy::Unreadable(why) = Policy::decode(bytes) else { panic!("{wanted}") };
            assert!(why.contains(wanted), "{why}");
        }
    }
}
