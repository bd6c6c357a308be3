//! What an earlier run of the agent made under rules that remove: it is owed its removal when it is
//! gone, though this run did not make it.
//!
//! Refuses to hold what may have been sealed, what this host exports itself, which it has to export
//! first after its start, and anything but what is needed to undo it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Kinds;
use crate::collect::record::{json_fields, values};
use crate::ident::{HostName, ResourceId};
use crate::spec::rule::{Consent, FullRule, Gone};
use crate::spec::{CollectRule, Collected};

/// The form in which it is kept.
const VERSION: u64 = 1;

/// The opposites of what is owed its removal, each as something that is gone.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<Vec<Collected>>);

impl Owed {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<Collected>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, all: Vec<Collected>) {
        self.with(|owed| *owed = all);
    }

    pub(super) fn all(&self) -> Vec<Collected> {
        self.with(|owed| owed.clone())
    }

    pub(super) fn keep(&self, wanted: impl Fn(&Collected) -> bool) {
        self.with(|owed| owed.retain(wanted));
    }
}

/// Whether the rule undoes what is gone.
pub(super) fn removes(rule: &FullRule) -> bool {
    rule.gone == Gone::Remove && rule.allow.contains(&Consent::Remove)
}

/// What the next run would owe, if all this were gone by then: the opposite of each, and what is
/// owed from before.
pub(super) fn of(
    kinds: Kinds,
    rules: &[CollectRule],
    collected: &[Collected],
    before: Vec<Collected>,
    me: &HostName,
) -> Vec<Collected> {
    let removing = rules.iter().filter_map(|rule| match rule {
        CollectRule::Full(rule) => removes(rule).then_some(&rule.id),
        CollectRule::Legacy { .. } => None,
    });
    let removing: Vec<_> = removing.collect();
    if removing.is_empty() {
        return Vec::new();
    }
    let ours = |one: &&Collected| {
        one.rule.as_ref().is_some_and(|rule| removing.contains(&rule)) && !one.from.contains(me)
    };
    let opposite = |one: &Collected| {
        let kind = kinds(one.id.kind())?;
        let fields = if one.gone { one.fields.clone() } else { kind.inverse(&one.fields)? };
        let shows = fields.keys().any(|name| kind.sealable().contains(&name));
        (!shows).then(|| Collected { fields, gone: true, ..one.clone() })
    };
    let mut owed: Vec<Collected> = collected.iter().filter(ours).filter_map(opposite).collect();
    let there: BTreeSet<&ResourceId> = collected.iter().map(|one| &one.id).collect();
    owed.extend(before.into_iter().filter(|one| !there.contains(&one.id)));
    owed
}

#[derive(Serialize, Deserialize)]
struct Written {
    v: u64,
    owed: Vec<One>,
}

#[derive(Serialize, Deserialize)]
struct One {
    kind: String,
    name: String,
    from: Vec<String>,
    rule: String,
    fields: serde_json::Map<String, serde_json::Value>,
}

/// What is owed, to be kept.
pub fn write(owed: &[Collected]) -> Vec<u8> {
    let one = |one: &Collected| {
        Some(One {
            kind: one.id.kind().to_owned(),
            name: one.id.name().to_owned(),
            from: one.from.iter().map(ToString::to_string).collect(),
            rule: one.rule.as_ref()?.to_string(),
            fields: json_fields(&one.fields),
        })
    };
    let written = Written { v: VERSION, owed: owed.iter().filter_map(one).collect() };
    serde_json::to_vec(&written).expect("texts and fields are JSON")
}

/// What was kept; `None` when it is damaged or of another form.
pub fn read(bytes: &[u8]) -> Option<Vec<Collected>> {
    let written: Written = serde_json::from_slice(bytes).ok()?;
    let one = |one: One| {
        let from = one.from.iter().map(|host| HostName::parse(host).ok());
        Some(Collected {
            id: ResourceId::new(one.kind, one.name),
            fields: values(one.fields).ok()?,
            // The rule says these when it comes to it.
            meta: Default::default(),
            within: None,
            from: from.collect::<Option<_>>()?,
            rule: Some(one.rule.into()),
            gone: true,
        })
    };
    (written.v == VERSION).then(|| written.owed.into_iter().map(one).collect())?
}
