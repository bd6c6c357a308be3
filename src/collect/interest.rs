//! What of other hosts' exports a host has to hear about, for the rules that it has.
//!
//! Refuses to leave out what a rule might take: where only the fields could say, they are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::collect::roster::Wanting;
use crate::collect::{DEFAULT_CHANNEL, Export, Slot};
use crate::matching::{Filter, Me, Subject, is_among};
use crate::spec::rule::Own;
use crate::spec::{CollectRule, Fields, FullRule};

/// The rules of a host, for what they want to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    rules: Arc<[CollectRule]>,
    me: Me,
}

impl Interest {
    /// That of `rules` on this host.
    pub fn of(rules: &[CollectRule], me: Me) -> Self {
        let here = |rule: &&CollectRule| match rule {
            CollectRule::Legacy { .. } => true,
            CollectRule::Full(rule) => {
                let among = |hosts| is_among(hosts, &me.host, &me.labels);
                rule.hosts.as_ref().is_none_or(among)
            }
        };
        Interest { rules: rules.iter().filter(here).cloned().collect(), me }
    }

    /// Where those exports are that some rule may take.
    pub fn slots(&self) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        for rule in &*self.rules {
            match rule {
                CollectRule::Legacy { kind, .. } => {
                    slots.insert(Slot::new(DEFAULT_CHANNEL, kind));
                }
                CollectRule::Full(rule) => slots.extend(rule.channels.iter().flat_map(|channel| {
                    rule.kinds.iter().map(move |kind| Slot::new(channel, kind))
                })),
            }
        }
        slots
    }

    /// Whether some rule may take an export of which only the fields are not known.
    pub fn wanting(&self) -> Wanting {
        let full = |rule: &CollectRule| match rule {
            CollectRule::Legacy { .. } => None,
            CollectRule::Full(rule) => Some((Arc::clone(rule), Filter::new(&rule.filter).ok()?)),
        };
        let full: Vec<(Arc<FullRule>, Filter)> = self.rules.iter().filter_map(full).collect();
        let legacy = self.rules.iter().filter_map(|rule| match rule {
            CollectRule::Legacy { kind, .. } => Some(kind.clone()),
            CollectRule::Full(_) => None,
        });
        let legacy: BTreeSet<String> = legacy.collect();
        let me = self.me.clone();
        Wanting::new(move |export| {
            let address = &export.address;
            is_among(&export.to, &me.host, &me.labels)
                && ((address.channel == DEFAULT_CHANNEL && legacy.contains(&address.kind))
                    || full.iter().any(|(rule, filter)| may_take(rule, filter, export, &me)))
        })
    }
}

fn may_take(rule: &FullRule, filter: &Filter, export: &Export, me: &Me) -> bool {
    let address = &export.address;
    let own = address.from == me.host;
    let one = |all: &[String], it: &str| all.iter().any(|one| one == it);
    let wrong_side = matches!((rule.own, own), (Own::Exclude, true) | (Own::Only, false));
    if wrong_side || !one(&rule.channels, &address.channel) || !one(&rule.kinds, &address.kind) {
        return false;
    }
    let (none, no_labels) = (Fields::new(), Default::default());
    let subject = Subject {
        name: &address.name,
        kind: &address.kind,
        host: &address.from,
        channel: &address.channel,
        labels: &export.labels,
        host_labels: &no_labels,
        fields: export.content.open().unwrap_or(&none),
    };
    filter.may_hold(&subject, me)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{Address, Content};
    use crate::ident::HostName;
    use crate::spec::HostSelector;
    use crate::yaml;

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    fn interest(text: &str) -> Interest {
        let (program, found) = yaml::parse(&format!("graph: g\nresources: {{}}\n{text}"));
        let program = program.unwrap_or_else(|| panic!("{found:?}"));
        Interest::of(&program.collect, Me::new(host("lb1")))
    }

    fn export(name: &str, to: HostSelector) -> Export {
        let address = Address {
            channel: "default".into(),
            kind: "file".into(),
            from: host("web1"),
            name: name.into(),
        };
        let content = Content::Unknown("a body".into());
        Export { address, content, revision: 1, labels: Default::default(), to }
    }

    #[test]
    fn a_host_hears_of_the_channels_and_kinds_of_its_rules_only_g4() {
        let slots = |text: &str| {
            let slots = interest(text).slots();
            slots.iter().map(Slot::to_string).collect::<Vec<_>>()
        };
        assert_eq!(slots("collect: []"), [""; 0]);
        assert_eq!(slots("collect: [{kind: file}, {kind: file, pattern: /a/}]"), ["default/file"]);
        let rule = "{rule: r, kind: [kv, file], channel: [a, b], within: /}";
        let wanted = ["a/file", "a/kv", "b/file", "b/kv"];
        assert_eq!(slots(&format!("collect: [{rule}]")), wanted);
        let elsewhere = "{rule: r, hosts: [\"web*\"], kind: file, within: /}";
        assert_eq!(slots(&format!("collect: [{elsewhere}]")), [""; 0]);
    }

    #[test]
    fn a_body_is_wanted_when_all_but_its_fields_matches() {
        let everybody = HostSelector::everybody;
        let wants = |filter: &str, name: &str, to| {
            let rule = format!("collect: [{{rule: r, kind: file, within: /, where: {filter}}}]");
            (interest(&rule).wanting().0)(&export(name, to))
        };
        for (filter, wanted) in [
            ("{name: a}", true),
            ("{name: b}", false),
            ("{fields: {content: x}}", true),
            ("{name: b, fields: {content: x}}", false),
            ("{not: {fields: {content: x}}}", true),
            ("{any: [{name: b}, {if: \"fields.content == 'x'\"}]}", true),
            ("{not: {any: [{name: a}, {fields: {content: x}}]}}", false),
            ("{labels: {role: web}}", false),
        ] {
            assert_eq!(wants(filter, "a", everybody()), wanted, "{filter}");
        }
        assert!(!wants("{name: a}", "a", HostSelector::Names(vec!["lb2".into()])));
    }
}
