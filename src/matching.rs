//! What a rule says about one export, made ready to be asked: patterns, conditions, expressions and
//! templates.
//!
//! What an exporter wrote is only ever a value in here, but for the bounded patterns by which it
//! says who may collect; expressions and templates come from this host's own files. Refuses to know
//! rules, exports and kinds, and to run without a bound.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ident::HostName;
use crate::seal::PrivateKey;
use crate::spec::{CollectRule, Fields, HostSelector, Program, ResourceSpec};

mod engine;
mod filter;
mod pattern;
mod template;
mod vars;

pub use filter::{Filter, Miss};
pub use pattern::{Globs, Labels, Pattern};
pub use template::{Expression, Scope, Template, TemplateError, literal_prefix};
pub use vars::Vars;

/// The host that a rule is read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// Its name.
    pub host: HostName,
    /// The labels that an operator gave it.
    pub labels: BTreeMap<String, String>,
    /// What it found out about itself.
    pub facts: BTreeMap<String, String>,
    /// What opens the fields that were sealed for it; nothing where that is not at hand.
    pub key: Option<Arc<PrivateKey>>,
}

impl Me {
    /// A host of which only the name is known.
    pub fn new(host: HostName) -> Self {
        Me { host, labels: BTreeMap::new(), facts: BTreeMap::new(), key: None }
    }
}

/// One export as conditions and templates see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name that it is published under.
    pub name: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Who exports it.
    pub host: &'a HostName,
    /// The channel.
    pub channel: &'a str,
    /// The labels of the export.
    pub labels: &'a BTreeMap<String, String>,
    /// The labels that an operator gave the exporting host.
    pub host_labels: &'a BTreeMap<String, String>,
    /// Its fields.
    pub fields: &'a Fields,
}

/// Whether a host is among those that `selector` means. A selector that is wrong means nobody.
pub fn is_among(
    selector: &HostSelector,
    host: &HostName,
    labels: &BTreeMap<String, String>,
) -> bool {
    Hosts::new(selector).is_ok_and(|hosts| hosts.has(host, labels))
}

/// Which hosts, ready to be asked.
#[derive(Debug)]
pub enum Hosts {
    /// Every one.
    All,
    /// Those with a name of these forms.
    Names(Globs),
    /// Those whose labels fit.
    Labels(Labels),
}

impl Hosts {
    /// Those that a selector means, or why it is wrong.
    pub fn new(selector: &HostSelector) -> Result<Self, String> {
        match selector {
            HostSelector::Names(_) if selector.is_everybody() => Ok(Hosts::All),
            HostSelector::Names(globs) => Globs::new(globs).map(Hosts::Names),
            HostSelector::Labels(tests) => Labels::new(tests).map(Hosts::Labels),
        }
    }

    /// Whether a host with these labels is one of them.
    pub fn has(&self, host: &HostName, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Hosts::All => true,
            Hosts::Names(globs) => globs.matches(host.as_str()),
            Hosts::Labels(tests) => tests.hold(labels),
        }
    }
}

/// Whether a resource exists on this host.
pub fn exists(one: &ResourceSpec, me: &Me) -> bool {
    one.hosts.as_ref().is_none_or(|hosts| is_among(hosts, &me.host, &me.labels))
}

/// What a program says on this host: without what exists on other hosts only.
pub fn here<'a>(program: &'a Program, me: &Me) -> Cow<'a, Program> {
    let rule = |one: &CollectRule| match one {
        CollectRule::Legacy { .. } => true,
        CollectRule::Full(rule) => {
            rule.hosts.as_ref().is_none_or(|hosts| is_among(hosts, &me.host, &me.labels))
        }
    };
    if program.resources.iter().all(|one| exists(one, me)) && program.collect.iter().all(rule) {
        return Cow::Borrowed(program);
    }
    let mut program = program.clone();
    program.resources.retain(|one| exists(one, me));
    program.collect.retain(rule);
    Cow::Owned(program)
}

/// Why a selector is wrong.
pub fn check_hosts(selector: &HostSelector) -> Result<(), String> {
    match selector {
        HostSelector::Names(globs) => Globs::new(globs).map(drop),
        HostSelector::Labels(tests) => Labels::new(tests).map(drop),
    }
}

#[cfg(test)]
mod tests;
