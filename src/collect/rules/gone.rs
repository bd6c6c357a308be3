//! What nobody exports any more, under a rule that wants it removed: the opposite of it, to be
//! applied once.
//!
//! Refuses to remove what may only be held, what anything else here manages, and what the rule
//! would not let itself be talked into now.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::expect::permits;
use super::fields::build;
use super::full::Ready;
use super::{Place, Rule, Rules};
use crate::collect::{Code, Held};
use crate::ident::ResourceId;
use crate::spec::Collected;
use crate::spec::rule::{Consent, Gone};

/// Adds the opposite of what rules made before, would not make now, and want removed. `resources`
/// are sorted by identity, and stay so.
pub(super) fn remove(
    rules: &Rules<'_>,
    place: &Place<'_>,
    held: &[Held],
    resources: &mut Vec<Collected>,
) {
    let there: BTreeSet<&ResourceId> = resources.iter().map(|one| &one.id).collect();
    let mut left = Vec::new();
    for rule in &rules.all {
        let Rule::Full(ready) = rule else { continue };
        if ready.rule.gone != Gone::Remove || !ready.rule.allow.contains(&Consent::Remove) {
            continue;
        }
        let last = place.previous.iter().filter(|one| one.rule.as_ref() == Some(&ready.rule.id));
        let last = last.filter(|one| !there.contains(&one.id));
        left.extend(last.filter_map(|one| Some((one, what(rules, ready, one, held)?))));
    }
    if left.is_empty() {
        return;
    }
    let target = |one: &Collected| {
        let kind = (rules.kinds)(one.id.kind())?;
        build(kind, &one.id, &one.fields).ok().flatten()
    };
    let taken: BTreeSet<PathBuf> = resources.iter().filter_map(target).collect();
    for (one, made) in left {
        let path = target(one);
        let managed = place.local.manages(rules.kinds, place.program, &one.id, path.as_ref());
        if !managed && !path.is_some_and(|path| taken.contains(&path)) {
            resources.push(made);
        }
    }
    resources.sort_by(|a, b| a.id.cmp(&b.id));
}

/// What becomes of one of them.
fn what(rules: &Rules<'_>, ready: &Ready, one: &Collected, held: &[Held]) -> Option<Collected> {
    let kind = (rules.kinds)(one.id.kind())?;
    if !permits(ready, kind, one) {
        return None;
    }
    if one.gone {
        return Some(one.clone());
    }
    let its = |held: &&Held| held.from.iter().any(|host| one.from.contains(host));
    for held in held.iter().filter(its) {
        match held.code {
            // Nobody can tell what it is now, so it stays what it was.
            Code::Xc05 | Code::Xc07 | Code::Xc12 => return Some(one.clone()),
            // It is not for this host any more.
            Code::Xc14 => {}
            _ if held.id == one.id => return None,
            _ => {}
        }
    }
    Some(Collected { fields: kind.inverse(&one.fields)?, gone: true, ..one.clone() })
}
