//! Rules in mgmt's form: all of one kind act as one, with the last pattern that is not empty.
//!
//! Refuses what mgmt took: paths that leave the pattern's directory, and powerful kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fields::{check_fields, fence, leaves};
use super::{Candidate, One, consent, held};
use crate::collect::record::shown;
use crate::collect::{Code, Held};
use crate::kind::Power;
use crate::kind::file::result_path;
use crate::spec::rule::Consent;
use crate::spec::{CollectRule, Value};

/// What all legacy rules of one kind come to.
pub(super) struct Merged<'a> {
    kind: &'a str,
    /// Replaces the directory of a file.
    pattern: Option<&'a str>,
    /// It is not valid and takes nothing.
    refused: bool,
}

impl Merged<'_> {
    pub(super) fn takes(&self, kind: &str) -> bool {
        self.kind == kind && !self.refused
    }
}

pub(super) fn one_per_kind<'a>(
    rules: &'a [CollectRule],
    messages: &mut Vec<String>,
) -> BTreeMap<&'a str, Merged<'a>> {
    let mut merged: BTreeMap<&str, Merged<'_>> = BTreeMap::new();
    let mut overruled: BTreeMap<&str, bool> = BTreeMap::new();
    for (at, rule) in rules.iter().enumerate() {
        let CollectRule::Legacy { kind, pattern, .. } = rule else { continue };
        let pattern = pattern.as_deref().filter(|pattern| !pattern.is_empty());
        let wrong = pattern.and_then(bad_pattern);
        if let Some(why) = wrong {
            messages.push(format!("{} collect[{at}]: {why}; rule takes nothing", Code::Xc10));
        }
        let Some(rule) = merged.get_mut(kind.as_str()) else {
            merged.insert(kind, Merged { kind, pattern, refused: wrong.is_some() });
            continue;
        };
        rule.refused |= wrong.is_some();
        if rule.pattern != pattern {
            overruled.insert(kind, true);
        }
        rule.pattern = pattern.or(rule.pattern);
    }
    for kind in overruled.keys() {
        if let Some(Merged { pattern: Some(pattern), .. }) = merged.get(kind) {
            let code = Code::Xc11;
            messages.push(format!("{code} legacy rules for {kind}: last pattern {pattern} wins"));
        }
    }
    merged
}

/// The file's reader refuses such a pattern; this is for programs that were made otherwise.
fn bad_pattern(pattern: &str) -> Option<&'static str> {
    if !pattern.ends_with('/') {
        Some("pattern must end in \"/\"")
    } else if !pattern.starts_with('/') {
        Some("pattern must start with \"/\"")
    } else {
        None
    }
}

/// What the rule makes of an export, or why nothing.
pub(super) fn take(rule: &Merged<'_>, one: &One<'_>) -> Result<Candidate, Held> {
    let address = &one.export.address;
    make(rule, one).map_err(|(code, text)| held(address.id(), &address.from, code, &text, ""))
}

/// What a rule would have to consent to; this form of rules has no word for it.
fn cannot_allow(what: &str, consent: Consent) -> (Code, String) {
    let word = consent.as_str();
    let text = format!("{what} needs allow: [{word}], which only a full rule can say; refused");
    (Code::Xc06, text)
}

fn make(rule: &Merged<'_>, one: &One<'_>) -> Result<Candidate, (Code, String)> {
    let (kind, address) = (one.kind, &one.export.address);
    if kind.power() == Power::Powerful {
        return Err(cannot_allow(kind.name(), Consent::Power));
    }
    let fields = one.fields()?;
    check_fields(kind, fields)?;
    if let Some((word, what)) = consent::needs(kind.name(), fields, fields).into_iter().next() {
        return Err(cannot_allow(&what, word));
    }
    let (id, mut fields) = (address.id(), fields.clone());
    if let (Some(pattern), "file") = (rule.pattern, kind.name()) {
        fields.insert("dirname".to_owned(), Value::Str(pattern.to_owned()));
        let path = result_path(id.name(), &fields);
        if leaves(&path, pattern) {
            return Err((Code::Xc04, format!("{} leaves {pattern}; refused", shown(&path))));
        }
    }
    let target = super::fields::build(kind, &id, &fields)?;
    Ok(Candidate {
        id,
        from: vec![address.from.clone()],
        fields,
        meta: Arc::default(),
        target,
        within: rule.pattern.and_then(fence),
        rule: None,
        revision: one.export.revision,
    })
}
