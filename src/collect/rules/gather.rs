//! One resource of many exports.
//!
//! Refuses to depend on the order in which exports came: they are sorted by host and name.

use std::sync::Arc;

use super::fields::{build, check_fields};
use super::full::{Ready, Setting};
use super::{Candidate, Rules, subject};
use crate::collect::{Code, Content, Export, Held};
use crate::ident::{HostName, ResourceId};
use crate::kind::Power;
use crate::matching::{Subject, Vars};
use crate::spec::Fields;
use crate::spec::rule::Consent;

/// The resource that the rule makes of these.
pub(super) fn one(
    rules: &Rules<'_>,
    rule: &Ready,
    fields: &[(String, Setting)],
    mut exports: Vec<&Export>,
) -> Result<Candidate, Held> {
    exports.sort_by(|a, b| (&a.address.from, &a.address).cmp(&(&b.address.from, &b.address)));
    exports.sort_by(|a, b| {
        (&a.address.from, &a.address.name).cmp(&(&b.address.from, &b.address.name))
    });
    let mut from: Vec<HostName> = exports.iter().map(|one| one.address.from.clone()).collect();
    from.dedup();
    if from.is_empty() {
        from.push(rules.site.me.host.clone());
    }
    let id = rule.rule.gather.as_ref().map(|gather| gather.id.clone());
    let id = id.unwrap_or_else(|| ResourceId::new("", ""));
    make(rules, rule, fields, &exports, &id)
        .map(|(fields, target)| Candidate {
            id: id.clone(),
            from: from.clone(),
            fields,
            meta: Arc::clone(&rule.rule.meta),
            target,
            rule: Some(Arc::clone(&rule.rule)),
            revision: exports.iter().map(|one| one.revision).max().unwrap_or_default(),
        })
        .map_err(|(code, text)| {
            let message = format!("{code} {}: {text}{}", subject(&id), rule.suffix());
            Held { id, from, code, message }
        })
}

type Made = (Fields, Option<std::path::PathBuf>);

fn make(
    rules: &Rules<'_>,
    rule: &Ready,
    settings: &[(String, Setting)],
    exports: &[&Export],
    id: &ResourceId,
) -> Result<Made, (Code, String)> {
    let Some(kind) = (rules.kinds)(id.kind()) else {
        return Err((Code::Xc12, "unknown kind; ignored".to_owned()));
    };
    if kind.power() == Power::Powerful && !rule.rule.allow.contains(&Consent::Power) {
        return Err((Code::Xc06, format!("{} needs allow: [power]; refused", kind.name())));
    }
    let none = Fields::new();
    let subjects: Vec<Subject<'_>> = exports
        .iter()
        .map(|one| Subject {
            name: &one.address.name,
            kind: &one.address.kind,
            host: &one.address.from,
            channel: &one.address.channel,
            labels: &one.labels,
            host_labels: rules.host(&one.address.from).0,
            fields: match &one.content {
                Content::Fields(fields) => fields,
                _ => &none,
            },
        })
        .collect();
    let vars = Vars::of_all(&subjects, rules.site.me);
    let mut fields = Fields::new();
    for (field, setting) in settings {
        fields.insert(field.clone(), setting.value(kind, field, &vars)?);
    }
    check_fields(kind, &fields)?;
    rule.contains(kind, id, &fields)?;
    let target = build(kind, id, &fields)?;
    Ok((fields, target))
}
