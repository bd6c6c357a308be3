//! The collector: live exports and rules in, resources and reasons out.
//!
//! Rules are asked in the order of the file, and the first that matches takes an export. All legacy
//! rules of one kind act as one, at the place of the first of them. Each export is judged alone
//! (`judge`); only then are those that were taken compared with each other and with the local graph
//! (`settle`), so that a later version can judge only what changed.
//!
//! Refuses to fail: what one host publishes can hold that one resource, never another one.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::collect::policy::{Judge, Policy, Ruling};
use crate::collect::{Code, Collection, Content, DEFAULT_CHANNEL, Export, HostInfo};
use crate::ident::HostName;
use crate::kind::{self, Kind};
use crate::matching::{Me, is_among};
use crate::spec::rule::Own;
use crate::spec::{CollectRule, Collected, Program};

mod candidate;
mod consent;
mod edges;
mod expect;
mod fields;
mod full;
mod gather;
mod gone;
mod judged;
mod legacy;
mod one;
mod owed;
mod settle;
mod shrinking;
mod sorted;
mod told;
mod waiting;

use candidate::{Candidate, Verdict};
use full::Ready;
use one::One;
use sorted::Sorted;
use told::{Trace, held, subject};

pub(super) use told::{Explain, explain};

pub use owed::{read as read_owed, write as write_owed};
pub use settle::Local;

/// Finds a kind by its name.
type Kinds = fn(&str) -> Option<&'static dyn Kind>;

/// Where rules are applied, and what the site says about its hosts.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// This host.
    pub me: &'a Me,
    /// What is known about the others; who is not in here has no labels and proved nothing.
    pub hosts: &'a BTreeMap<HostName, HostInfo>,
    /// What may be exported.
    pub policy: &'a Policy,
    /// What was written from this revision on was written by who it says.
    pub proved: Option<i64>,
}

/// Applies `rules` to `exports` on the host `me`, whose own graph is `local`.
///
/// `previous` is what the last run gave: on a conflict between exporters, what was applied stays.
/// The order of `exports` makes no difference.
pub fn run(
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    me: &HostName,
    local: &Program,
    previous: &[Collected],
) -> Collection {
    let (me, hosts) = (Me::new(me.clone()), BTreeMap::new());
    let site = Site { me: &me, hosts: &hosts, policy: &Policy::Absent, proved: None };
    run_at(&site, exports, rules, local, previous)
}

/// [`run`] at a site that says something about its hosts.
pub fn run_at(
    site: &Site<'_>,
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    local: &Program,
    previous: &[Collected],
) -> Collection {
    run_beside(site, exports, rules, (local, &Local::default()), previous)
}

/// [`run_at`] beside a program of which it is known, or found now, what it manages: who collects
/// again keeps that as long as it keeps the program.
pub fn run_beside(
    site: &Site<'_>,
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    (program, local): (&Program, &Local),
    previous: &[Collected],
) -> Collection {
    let place = Place { me: &site.me.host, program, local, previous };
    let mut messages = Vec::new();
    let declared = rules;
    let rules = Rules::of(kind::find, site, declared, &mut messages);
    let verdicts = local
        .judgements
        .of(exports, site, declared, |export| rules.judge(export, &mut Trace::default()));
    rules.run(exports, &verdicts, &place, messages)
}

/// Where the resources are collected.
struct Place<'a> {
    me: &'a HostName,
    program: &'a Program,
    local: &'a Local,
    previous: &'a [Collected],
}

/// All rules of this host, ready to be asked.
struct Rules<'a> {
    kinds: Kinds,
    site: &'a Site<'a>,
    /// The policy; or why it cannot be read.
    judge: Result<Judge, String>,
    all: Vec<Rule<'a>>,
}

enum Rule<'a> {
    Legacy(legacy::Merged<'a>),
    Full(Box<Ready>),
}

impl Rule<'_> {
    fn covers(&self, channel: &str, kind: &str) -> bool {
        match self {
            Rule::Legacy(rule) => channel == DEFAULT_CHANNEL && rule.takes(kind),
            Rule::Full(rule) => {
                let rule = &rule.rule;
                let one = |all: &[String], it: &str| all.iter().any(|one| one == it);
                one(&rule.channels, channel) && one(&rule.kinds, kind)
            }
        }
    }

    fn listens_to(&self, channel: &str) -> bool {
        match self {
            Rule::Legacy(_) => channel == DEFAULT_CHANNEL,
            Rule::Full(rule) => rule.rule.channels.iter().any(|one| one == channel),
        }
    }
}

static NO_LABELS: LazyLock<BTreeMap<String, String>> = LazyLock::new(BTreeMap::new);

impl<'a> Rules<'a> {
    fn of(
        kinds: Kinds,
        site: &'a Site<'a>,
        rules: &'a [CollectRule],
        messages: &mut Vec<String>,
    ) -> Self {
        let mut legacy = legacy::one_per_kind(rules, messages);
        let mut all = Vec::new();
        for rule in rules {
            match rule {
                CollectRule::Legacy { kind, .. } => {
                    all.extend(legacy.remove(kind.as_str()).map(Rule::Legacy));
                }
                CollectRule::Full(rule) => {
                    let here = |hosts| is_among(hosts, &site.me.host, &site.me.labels);
                    if !rule.hosts.as_ref().is_none_or(here) {
                        continue;
                    }
                    match Ready::new(rule) {
                        Ok(ready) => all.push(Rule::Full(Box::new(ready))),
                        Err(why) => messages.push(format!(
                            "{} {}: {why}; rule takes nothing",
                            Code::Xc10,
                            rule.label()
                        )),
                    }
                }
            }
        }
        Rules { kinds, site, judge: site.policy.judge(), all }
    }

    fn run(
        &self,
        exports: &[Arc<Export>],
        verdicts: &[Arc<[Verdict]>],
        place: &Place<'_>,
        mut messages: Vec<String>,
    ) -> Collection {
        if let Err(why) = &self.judge {
            let text = format!("{} exports: the policy cannot be read ({why})", Code::Xc14);
            messages.push(format!("{text}; nothing new is taken"));
            let resources = place.previous.to_vec();
            let edges = edges::of(&self.all, &resources);
            return Collection { resources, edges, held: Vec::new(), messages };
        }
        let epoch = place.local.judgements.epoch();
        let waiting = place.local.waiting.of(self, exports, verdicts, epoch);
        let sorted = Sorted::of(self.all.len(), exports, verdicts, &waiting);
        let Sorted { mut candidates, mut held, counts, gathered } = sorted;
        for (rule, exports) in self.all.iter().zip(gathered) {
            if let Rule::Full(rule) = rule
                && let Some(gather) = &rule.gather
            {
                match gather::one(self, rule, gather, exports) {
                    Ok(candidate) => candidates.push(candidate),
                    Err(reason) => {
                        // What was refused is not kept; what cannot be made now is.
                        if matches!(reason.code, Code::Xc05 | Code::Xc07) {
                            candidates.extend(expect::made_before(self, rule, place));
                        }
                        held.push(reason);
                    }
                }
            }
        }
        expect::apply(self, &counts, place, &mut candidates, &mut messages);
        expect::freeze(self, place, &held, &mut candidates);
        candidates.sort_by(|a, b| (&a.id, &a.from).cmp(&(&b.id, &b.from)));
        let mut resources = settle::settle(self.kinds, candidates, place, &mut held);
        gone::remove(self, place, &held, &mut resources);
        let (resources, edges) = edges::apply(&self.all, resources, place.program, &mut messages);
        held.sort();
        messages.extend(held.iter().map(|reason| reason.message.clone()));
        messages.sort();
        messages.dedup();
        Collection { resources, edges, held, messages }
    }

    fn labels_of(&self, host: &HostName) -> &BTreeMap<String, String> {
        self.site.hosts.get(host).map_or(&NO_LABELS, |info| &info.labels)
    }

    /// Whether the store knows that its host wrote it.
    fn is_proved(&self, export: &Export) -> bool {
        let info = self.site.hosts.get(&export.address.from);
        info.is_some_and(|info| info.authenticated)
            || self.site.proved.is_some_and(|since| export.revision >= since)
    }

    /// What each rule that takes an export makes of it.
    fn judge(&self, export: &Export, trace: &mut Trace) -> Vec<Verdict> {
        let address = &export.address;
        let ignored = |code, text: &str| {
            vec![Verdict::Held(held(address.id(), &address.from, code, text, ""))]
        };
        let listens = self.all.iter().any(|rule| rule.listens_to(&address.channel));
        let Some(kind) = (self.kinds)(&address.kind).filter(|_| listens) else {
            trace.say("rules", "none is about its channel and kind");
            return match listens {
                true => ignored(Code::Xc12, "unknown kind; ignored"),
                false => Vec::new(),
            };
        };
        if !self.all.iter().any(|rule| rule.covers(&address.channel, &address.kind)) {
            trace.say("rules", "none is about its channel and kind");
            return Vec::new();
        }
        let host_labels = self.labels_of(&address.from);
        if self.site.hosts.get(&address.from).is_some_and(|info| info.decommissioned) {
            trace.say("host", "decommissioned");
            return ignored(Code::Xc14, "its host is decommissioned; ignored");
        }
        let Ok(judge) = &self.judge else { return Vec::new() };
        let ruling = judge.ruling(address, host_labels);
        match ruling {
            Ruling::Denied(number) => {
                trace.say(
                    "policy",
                    format!("denied by {}", told::policy_rule(number, self.site.policy)),
                );
                let text = format!("denied by policy rule {number}; ignored");
                return ignored(Code::Xc14, &text);
            }
            Ruling::Allowed(number) => {
                trace.say(
                    "policy",
                    format!("allow ({})", told::policy_rule(number, self.site.policy)),
                );
            }
            Ruling::Silent => trace.say("policy", "allow (no rule is about it)"),
        }
        let me = self.site.me;
        let opened = one::opened(export, me);
        if let Content::Sealed(sealed) = &export.content {
            trace.say("sealed", format!("{}, {}", sealed.seal.names(), sealed.seal.words()));
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err((code, text)) => return ignored(code, &text),
        };
        if !is_among(&export.to, &me.host, &me.labels) {
            trace.say("to", format!("not for {}", me.host));
            return ignored(Code::Xc14, &format!("not for {}; ignored", me.host));
        }
        trace.say("to", told::to_us(&export.to, me));
        let authenticated = self.is_proved(export);
        let one = One { kind, export, host_labels, authenticated, ruling, opened };
        self.ask(&one, trace)
    }

    fn ask(&self, one: &One<'_>, trace: &mut Trace) -> Vec<Verdict> {
        let address = &one.export.address;
        let mut verdicts = Vec::new();
        for (at, rule) in self.all.iter().enumerate() {
            if !rule.covers(&address.channel, &address.kind) {
                continue;
            }
            match rule {
                Rule::Legacy(rule) => {
                    trace.claimed = true;
                    trace.say(&format!("legacy {}", address.kind), "claimed");
                    verdicts.push(match legacy::take(rule, one) {
                        Ok(candidate) => Verdict::Taken(at, candidate),
                        Err(reason) => Verdict::Held(reason),
                    });
                    return verdicts;
                }
                Rule::Full(rule) => {
                    if let Err((what, why)) = self.matches(rule, one) {
                        let label = rule.rule.label();
                        trace.say(&label, format!("no: {why}"));
                        trace.nearest.get_or_insert((label, what));
                        continue;
                    }
                    trace.claimed = true;
                    trace.say(&rule.rule.label(), "claimed");
                    let made = match rule.gather {
                        Some(_) => full::gathers(rule, one).map(|()| Verdict::Gathered(at)),
                        None => full::take(rule, one, self.site.me, trace)
                            .map(|candidate| Verdict::Taken(at, candidate)),
                    };
                    verdicts.push(made.unwrap_or_else(Verdict::Held));
                    if rule.rule.last {
                        return verdicts;
                    }
                }
            }
        }
        verdicts
    }

    fn matches(&self, rule: &Ready, one: &One<'_>) -> Result<(), (String, String)> {
        let me = self.site.me;
        let own = one.export.address.from == me.host;
        match (rule.rule.own, own) {
            (Own::Exclude, true) => {
                return Err(("self".to_owned(), "it is our own".to_owned()));
            }
            (Own::Only, false) => {
                return Err(("self".to_owned(), "it is not our own".to_owned()));
            }
            _ => {}
        }
        match rule.filter.test(&one.subject(), me) {
            None => Ok(()),
            Some(miss) if miss.skipped => Err((miss.what, format!("skipped: {}", miss.why))),
            Some(miss) => Err((miss.what, miss.why)),
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod rows;
#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
