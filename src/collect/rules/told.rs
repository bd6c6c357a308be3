//! What the collector does with each export, told on the way.
//!
//! Refuses to go another way than the collector.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Rule, Rules, Site, Verdict, run_at};
use crate::collect::policy::Policy;
use crate::collect::record::shown;
use crate::collect::{Code, Export, Held};
use crate::ident::{HostName, ResourceId};
use crate::kind;
use crate::matching::{Globs, Me};
use crate::spec::{CollectRule, Collected, HostSelector, Program};

/// What became of one export.
pub(in crate::collect) struct Explain {
    /// The resource that it is here.
    pub(in crate::collect) became: Option<ResourceId>,
    /// Why it is none.
    pub(in crate::collect) held: Option<String>,
    /// A rule took it.
    pub(in crate::collect) claimed: bool,
    /// The first rule that did not take it, and what failed there.
    pub(in crate::collect) nearest: Option<(String, String)>,
    /// The store knows that its host wrote it.
    pub(in crate::collect) proved: bool,
    /// A word and what there is to say under it, in order.
    pub(in crate::collect) lines: Vec<(String, String)>,
}

/// [`run_at`], told for each export.
pub(in crate::collect) fn explain(
    site: &Site<'_>,
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    local: &Program,
    previous: &[Collected],
) -> Vec<Explain> {
    let collection = run_at(site, exports, rules, local, previous);
    let rules = Rules::of(kind::find, site, rules, &mut Vec::new());
    // By name: to look through all of them for each export would take its square.
    let made: BTreeMap<&ResourceId, &Collected> =
        collection.resources.iter().map(|one| (&one.id, one)).collect();
    let mut refused: BTreeMap<&ResourceId, &Held> = BTreeMap::new();
    for one in collection.held.iter().rev() {
        refused.insert(&one.id, one);
    }
    let one = |export: &Arc<Export>| {
        let mut trace = Trace::default();
        let verdicts = rules.judge(export, &mut trace);
        let (mut became, mut held) = (None, None);
        for verdict in verdicts {
            let id = match verdict {
                Verdict::Taken(_, candidate) => Some(candidate.id),
                Verdict::Gathered(at) => match &rules.all[at] {
                    Rule::Full(rule) => rule.rule.gather.as_ref().map(|gather| gather.id.clone()),
                    Rule::Legacy(_) => None,
                },
                Verdict::Held(reason) => {
                    held.get_or_insert(reason.message);
                    None
                }
            };
            let Some(id) = id else { continue };
            let from = &export.address.from;
            match made.get(&id).filter(|one| one.from.contains(from)) {
                Some(one) => drop(became.get_or_insert(one.id.clone())),
                None => {
                    held = held.or(refused.get(&id).map(|one| one.message.clone()));
                }
            }
        }
        let Trace { lines, nearest, claimed } = trace;
        let proved = rules.is_proved(export);
        Explain { became, held, claimed, nearest, lines, proved }
    };
    exports.iter().map(one).collect()
}

/// What happened to one export on its way through the rules, for people.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) lines: Vec<(String, String)>,
    pub(super) nearest: Option<(String, String)>,
    pub(super) claimed: bool,
}

impl Trace {
    pub(super) fn say(&mut self, word: &str, text: impl Into<String>) {
        self.lines.push((word.to_owned(), text.into()));
    }
}

/// A rule of the policy in words: `rule 2: web* may export file`.
pub(super) fn policy_rule(number: usize, policy: &Policy) -> String {
    let rule = match policy {
        Policy::Rules(rules) => rules.get(number.saturating_sub(1)),
        _ => None,
    };
    let Some(rule) = rule else { return format!("rule {number}") };
    let list = |globs: &[String], all: &str, lead: &str| match globs {
        [one] if one == "*" => all.to_owned(),
        globs => format!("{lead}{}", globs.join(", ")),
    };
    let hosts = match &rule.hosts {
        all if all.is_everybody() => "every host".to_owned(),
        HostSelector::Names(names) => names.join(", "),
        HostSelector::Labels(tests) => {
            let keys: Vec<&str> = tests.keys().map(String::as_str).collect();
            format!("hosts by label {}", keys.join(", "))
        }
    };
    let verb = if rule.allow { "may export" } else { "may not export" };
    let kinds = list(&rule.kinds, "anything", "");
    let names = list(&rule.names, "", " named ");
    let channels = list(&rule.channels, "", " to channel ");
    format!("rule {number}: {hosts} {verb} {kinds}{names}{channels}")
}

/// Why an export is for this host.
pub(super) fn to_us(to: &HostSelector, me: &Me) -> String {
    match to {
        all if all.is_everybody() => "everybody".to_owned(),
        HostSelector::Names(names) => {
            let fits = |name: &&String| {
                let one = std::slice::from_ref(*name);
                Globs::new(one).is_ok_and(|glob| glob.matches(me.host.as_str()))
            };
            let name = names.iter().find(fits).map(|name| shown(name)).unwrap_or_default();
            format!("{name} matches {}", me.host)
        }
        HostSelector::Labels(_) => format!("the labels of {} match", me.host),
    }
}

/// The line of an export that is not taken. `suffix` names the rule.
pub(super) fn held(id: ResourceId, from: &HostName, code: Code, text: &str, suffix: &str) -> Held {
    let message = format!("{code} {} from {from}: {text}{suffix}", subject(&id));
    Held { id, from: vec![from.clone()], code, message }
}

/// The identity in a message; its name is another host's text.
pub(super) fn subject(id: &ResourceId) -> String {
    format!("{}[{}]", shown(id.kind()), shown(id.name()))
}
