//! The site's policy on exports: which host may export what, checked by exporters and collectors
//! alike.
//!
//! Refuses to allow anything new while the policy cannot be read, and to take anything away for it.

use std::collections::BTreeMap;

use crate::collect::Address;
use crate::matching::{Globs, is_among};
use crate::spec::HostSelector;

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

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// It allows; otherwise it denies.
    pub allow: bool,
    /// The exporters that it applies to.
    pub hosts: HostSelector,
    /// Forms of the kinds that it applies to.
    pub kinds: Vec<String>,
    /// Forms of the published names that it applies to.
    pub names: Vec<String>,
    /// Forms of the channels that it applies to.
    pub channels: Vec<String>,
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

impl Policy {
    /// What it says about an export of a host with these labels.
    pub fn judge(&self, address: &Address, labels: &BTreeMap<String, String>) -> Ruling {
        let Policy::Rules(rules) = self else { return Ruling::Silent };
        let applies = |rule: &&PolicyRule| {
            is_among(&rule.hosts, &address.from, labels)
                && one_of(&rule.kinds, &address.kind)
                && one_of(&rule.names, &address.name)
                && one_of(&rule.channels, &address.channel)
        };
        match rules.iter().enumerate().find(|(_, rule)| applies(rule)) {
            Some((at, rule)) if rule.allow => Ruling::Allowed(at + 1),
            Some((at, _)) => Ruling::Denied(at + 1),
            None => Ruling::Silent,
        }
    }
}

fn one_of(globs: &[String], text: &str) -> bool {
    Globs::new(globs).is_ok_and(|globs| globs.matches(text))
}
