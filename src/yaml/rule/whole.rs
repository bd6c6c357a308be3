//! What only a whole rule tells: keys that exclude each other, and consents that its kinds need.
//!
//! Refuses a rule that would take more than it says.

use super::Reader;
use crate::kind::{Kind, Power};
use crate::matching::{check_hosts, literal_prefix};
use crate::spec::rule::{Consent, Gone};
use crate::spec::{Fields, FullRule, Value};
use crate::yaml::node::Entry;
use crate::yaml::select;

/// Keys that a rule that gathers cannot have: it does not make one resource of each.
const NOT_WITH_GATHER: [&str; 7] = ["take", "drop", "as", "into", "set", "unset", "conflict"];

impl Reader<'_> {
    /// What only the whole rule tells.
    pub(super) fn whole(&mut self, rule: &FullRule, entries: &[Entry]) {
        let has =
            |name: &str| entries.iter().any(|one| &*one.key.text == name && !one.value.is_null());
        if has("take") && has("drop") {
            self.say(rule.span, "`take` and `drop` together; keep one");
        }
        if rule.into.is_some() && rule.set.contains_key("path") {
            self.say(rule.span, "`into` and `set.path` together; keep one");
        }
        if (rule.gone != Gone::Forget || has("expect") || has("wait")) && !has("rule") {
            let text = "what it made is kept under its name; give it one: `rule: NAME`";
            self.say(rule.span, text);
        }
        if rule.gather.is_some() {
            for key in NOT_WITH_GATHER.into_iter().filter(|key| has(key)) {
                self.say(rule.span, format!("`{key}` does nothing in a rule that gathers"));
            }
        }
        if let Some(Err(why)) = rule.hosts.as_ref().map(check_hosts) {
            self.say(rule.span, why);
        }
        let gathered = rule.gather.as_ref().map(|gather| gather.id.kind());
        let made: Vec<&dyn Kind> = match gathered {
            Some(name) => self.kinds.iter().copied().filter(|kind| kind.name() == name).collect(),
            None => self.of.clone(),
        };
        if rule.gone == Gone::Remove {
            self.removes(rule, &made);
        }
        let set = rule.gather.as_ref().map_or(&rule.set, |gather| &gather.fields);
        for kind in made {
            if kind.power() == Power::Powerful {
                if !rule.allow.contains(&Consent::Power) {
                    self.say(rule.span, format!("{} needs allow: [power]", kind.name()));
                } else if !select::chooses_hosts(&rule.filter) {
                    self.say(rule.span, "powerful kinds need a host filter");
                }
            }
            let placed = kind.places().first().is_some_and(|place| match set.get(*place) {
                Some(Value::Str(path)) => literal_prefix(path).is_some(),
                _ => false,
            });
            let into = has("into") && kind.name() == "file";
            if !kind.places().is_empty() && !placed && !into && !has("within") {
                self.say(rule.span, format!("{} needs within, into or set.path", kind.name()));
            }
        }
    }

    /// What a rule needs that removes what is no longer exported.
    fn removes(&mut self, rule: &FullRule, made: &[&dyn Kind]) {
        if !rule.allow.contains(&Consent::Remove) {
            self.say(rule.span, "`gone: remove` needs allow: [remove]");
        }
        if rule.gather.is_some() {
            self.say(rule.span, "`gone: remove` does nothing in a rule that gathers");
        }
        for kind in made.iter().filter(|kind| kind.inverse(&Fields::new()).is_none()) {
            let able = self.kinds.iter().filter(|kind| kind.inverse(&Fields::new()).is_some());
            let able: Vec<&str> = able.map(|kind| kind.name()).collect();
            let text = format!("nothing undoes {}; `gone: remove` is for", kind.name());
            self.say(rule.span, format!("{text} {}", able.join(", ")));
        }
    }
}
