//! `seal` below `export`: the fields that only the hosts in `to` can read.
//!
//! Refuses what would show all the same, and hosts that are not named one by one: a seal is for
//! those whose keys were known, not for whoever gets a name or a label later.

use std::collections::BTreeSet;

use super::node::{Data, Entry, Node};
use super::{Sink, select};
use crate::diag::{Diagnostic, Span, suggest};
use crate::ident::HostName;
use crate::kind::Kind;
use crate::spec::{HostSelector, Terms};

/// The fields to be sealed.
pub(super) fn read(kind: &dyn Kind, value: &Node, sink: &mut Sink) -> BTreeSet<String> {
    let names = select::texts("`seal`", value, sink).unwrap_or_default();
    let Data::List(items) = &value.data else { return BTreeSet::new() };
    for (name, item) in names.iter().zip(items) {
        let known = kind.fields().iter().map(|one| one.name);
        if !known.clone().any(|one| one == name) {
            let found = format!("`{}` has no field `{name}`", kind.name());
            let found = Diagnostic::error(item.span, found);
            sink.add_with_hint(found, || suggest(name, known, "known fields"));
        } else if !kind.sealable().contains(&name.as_str()) {
            let message = format!("`{name}` of `{}` cannot be sealed: others see it", kind.name());
            let found = Diagnostic::error(item.span, message);
            sink.add(found.with_help(match kind.sealable() {
                [] => "nothing of this kind can be sealed; `file` can carry it".to_owned(),
                fields => format!("what can be sealed: {}", fields.join(", ")),
            }));
        }
    }
    names.into_iter().collect()
}

/// Whether it is plain for whom, and everything that is sealed is published.
pub(super) fn check(terms: &Terms, entries: &[Entry], sink: &mut Sink) {
    let entry = |name: &str| entries.iter().find(|one| &*one.key.text == name);
    let Some(seal) = entry("seal").map(|one| one.key.span) else { return };
    let unpublished = |only: &Vec<String>| terms.seal.iter().find(|name| !only.contains(name));
    if let Some(name) = terms.only.as_ref().and_then(unpublished) {
        let message = format!("`{name}` is sealed, and `only` does not publish it");
        sink.add(Diagnostic::error(seal, message).with_help("add it to `only`"));
    }
    let to = entry("to").map(|one| &one.value).filter(|to| !to.is_null());
    let refuse = |span: Span, what: &str, sink: &mut Sink| {
        let message = format!("XE06: `seal` wants `to` to name each host, not {what}");
        let help = "write the hosts one by one, as `to: [web1, web2]`";
        sink.add(Diagnostic::error(span, message).with_help(help));
    };
    match (&terms.to, to.map(|to| (to.span, &to.data))) {
        (_, None) => refuse(seal, "everybody", sink),
        (HostSelector::Labels(_), Some((span, _))) => refuse(span, "labels", sink),
        (HostSelector::Names(names), Some((span, _))) if names.is_empty() => {
            refuse(span, "nobody", sink);
        }
        (HostSelector::Names(names), Some((_, Data::List(items)))) => {
            for (name, item) in names.iter().zip(items) {
                // What is no form of a name was reported where it was read.
                let as_read = matches!(&item.data, Data::Scalar { text, .. } if text == name);
                if as_read && HostName::parse(name).is_err() {
                    refuse(item.span, &format!("`{name}`"), sink);
                }
            }
        }
        // It was reported where it was read.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::yaml;

    fn found(kind: &str, export: &str) -> Vec<String> {
        let entry = format!("{{name: a, hidden: true, export: {export}}}");
        let (_, found) = yaml::parse(&format!("graph: g\nresources:\n  {kind}:\n  - {entry}\n"));
        found.into_iter().filter(|one| one.is_error()).map(|one| one.message).collect()
    }

    #[test]
    fn a_seal_names_its_hosts_and_only_fields_that_do_not_show() {
        let none: [&str; 0] = [];
        assert_eq!(found("file", "{to: [lb1, lb2], seal: [content]}"), none);
        assert_eq!(found("file", "{to: [\"lb*\"], seal: []}"), none);
        let hosts = |what: &str| format!("XE06: `seal` wants `to` to name each host, not {what}");
        for (export, wanted) in [
            ("{seal: [content]}", hosts("everybody")),
            ("{to: [], seal: [content]}", hosts("nobody")),
            ("{to: {labels: {role: lb}}, seal: [content]}", hosts("labels")),
            ("{to: [lb1, \"lb*\"], seal: [content]}", hosts("`lb*`")),
            (
                "{to: [lb1], seal: [mode]}",
                "`mode` of `file` cannot be sealed: others see it".to_owned(),
            ),
            ("{to: [lb1], seal: [contents]}", "`file` has no field `contents`".to_owned()),
            (
                "{to: [lb1], seal: [content], only: [path]}",
                "`content` is sealed, and `only` does not publish it".to_owned(),
            ),
        ] {
            assert_eq!(found("file", export), [wanted], "{export}");
        }
        let kv = found("kv", "{to: [lb1], seal: [value]}");
        assert_eq!(kv[0], "`value` of `kv` cannot be sealed: others see it");
    }
}
