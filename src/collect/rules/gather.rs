//! One resource of many exports.
//!
//! Refuses to depend on the order in which exports came: they are sorted by host and name.

use std::sync::Arc;

use super::fields::{build, check_fields};
use super::full::{Ready, Setting};
use super::one::{Seen, opened};
use super::{Candidate, Rules, consent, subject};
use crate::collect::{Code, Export, Held};
use crate::ident::{HostName, ResourceId};
use crate::kind::{Kind, Power};
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
            within: rule.fence.clone(),
            rule: Some(Arc::clone(&rule.rule)),
            revision: exports.iter().map(|one| one.revision).max().unwrap_or_default(),
        })
        .map_err(|(code, text)| {
            let message = format!("{code} {}: {text}{}", subject(&id), rule.suffix());
            Held { id, from, code, message }
        })
}

/// A powerful kind made of what others wrote needs the same consents as one that is taken from
/// them.
fn consents(
    rules: &Rules<'_>,
    rule: &Ready,
    kind: &dyn Kind,
    exports: &[&Export],
) -> Result<(), (Code, String)> {
    let allows = |consent| rule.rule.allow.contains(&consent);
    if kind.power() != Power::Powerful {
        return Ok(());
    }
    if !allows(Consent::Power) {
        return Err((Code::Xc06, format!("{} needs allow: [power]; refused", kind.name())));
    }
    let stranger = |one: &&&Export| !rules.is_proved(one);
    match exports.iter().find(stranger) {
        Some(one) if !allows(Consent::Unauthenticated) => {
            let text = format!("exporter {} not authenticated; refused", one.address.from);
            Err((Code::Xc06, text))
        }
        _ => Ok(()),
    }
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
    consents(rules, rule, kind, exports)?;
    let seen = seen(rules, exports);
    let (mut fields, mut given) = (Fields::new(), Fields::new());
    for (field, setting) in settings {
        let value = setting.value_of(kind, field, &seen)?;
        if !setting.is_literal() {
            given.insert(field.clone(), value.clone());
        }
        fields.insert(field.clone(), value);
    }
    check_fields(kind, &fields)?;
    consent::fields(&rule.rule, kind.name(), &given, &fields)?;
    rule.contains(kind, id, &fields)?;
    let target = build(kind, id, &fields)?;
    Ok((fields, target))
}

/// What templates see of all these exports, once without and once with what was sealed.
fn seen(rules: &Rules<'_>, exports: &[&Export]) -> Seen {
    let (none, me) = (Fields::new(), rules.site.me);
    let open: Vec<Subject<'_>> = exports
        .iter()
        .map(|one| Subject {
            name: &one.address.name,
            kind: &one.address.kind,
            host: &one.address.from,
            channel: &one.address.channel,
            labels: &one.labels,
            host_labels: rules.labels_of(&one.address.from),
            fields: one.content.open().unwrap_or(&none),
        })
        .collect();
    let secret: Vec<Option<Fields>> =
        exports.iter().map(|one| opened(one, me).ok().flatten()).collect();
    let all = open.iter().zip(&secret).map(|(subject, secret)| Subject {
        fields: secret.as_ref().unwrap_or(subject.fields),
        ..*subject
    });
    Seen {
        open: Vars::of_all(&open, me),
        opened: secret.iter().any(Option::is_some).then(|| {
            let all: Vec<Subject<'_>> = all.collect();
            Vars::of_all(&all, me)
        }),
    }
}
