//! Silence is not withdrawal: a rule that gets more or fewer exports than it expects keeps what it
//! made last, and so does one that freezes what is gone.
//!
//! Refuses to make a part of a set that is not what was expected.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fields::build;
use super::full::Ready;
use super::{Candidate, Place, Rule, Rules};
use crate::collect::{Code, Held};
use crate::ident::ResourceId;
use crate::kind::{Kind, Power};
use crate::spec::Collected;
use crate::spec::rule::{Consent, Expect, Gone};

/// Puts the last set of each rule in the place of one that is not as expected. `counts` says how
/// many exports each rule took.
pub(super) fn apply(
    rules: &Rules<'_>,
    counts: &[usize],
    place: &Place<'_>,
    candidates: &mut Vec<Candidate>,
    messages: &mut Vec<String>,
) {
    for (rule, count) in rules.all.iter().zip(counts) {
        let Rule::Full(ready) = rule else { continue };
        let (expect, id) = (ready.rule.expect, &ready.rule.id);
        let shrunk = || place.local.shrinking.violated(id, expect, *count);
        let Some(wanted) = violated(expect, *count).or_else(shrunk) else { continue };
        candidates.retain(|one| one.rule.as_ref().is_none_or(|rule| rule.id != *id));
        let before = candidates.len();
        candidates.extend(made_before(rules, ready, place));
        let holding = candidates.len() - before;
        let (label, exports) = (ready.rule.label(), if *count == 1 { "export" } else { "exports" });
        messages.push(format!(
            "{} {label}: {count} {exports}, wanted {wanted}; holding {holding}",
            Code::Xc08
        ));
    }
}

fn violated(expect: Expect, count: usize) -> Option<String> {
    match expect.max {
        _ if count < expect.min => Some(format!("at least {}", expect.min)),
        Some(max) if count > max => Some(format!("at most {max}")),
        _ => None,
    }
}

/// What a rule made last, as if it made it again. What is being removed it did not make.
pub(super) fn made_before(rules: &Rules<'_>, ready: &Ready, place: &Place<'_>) -> Vec<Candidate> {
    let its = |one: &&Collected| !one.gone && one.rule.as_ref() == Some(&ready.rule.id);
    place
        .previous
        .iter()
        .filter(its)
        .filter_map(|one| {
            let kind = (rules.kinds)(one.id.kind())?;
            if !permits(ready, kind, one) {
                return None;
            }
            Some(Candidate {
                id: one.id.clone(),
                from: one.from.clone(),
                fields: one.fields.clone(),
                meta: Arc::clone(&one.meta),
                target: build(kind, &one.id, &one.fields).ok()?,
                within: ready.fence.clone(),
                rule: Some(Arc::clone(&ready.rule)),
                revision: 0,
            })
        })
        .collect()
}

/// Whether the rule, as it is now, could have made this: it may have been another one of the same
/// name, or have permitted more.
pub(super) fn permits(ready: &Ready, kind: &dyn Kind, one: &Collected) -> bool {
    let rule = &ready.rule;
    let fits = match &rule.gather {
        Some(gather) => gather.id == one.id,
        None => rule.kinds.iter().any(|kind| kind == one.id.kind()),
    };
    let powerful = kind.power() == Power::Powerful;
    fits && ready.contains(kind, &one.id, &one.fields).is_ok()
        && (!powerful || rule.allow.contains(&Consent::Power))
}

/// Adds what rules that freeze made before and would not make now. What was refused in this run for
/// want of a consent is not frozen.
pub(super) fn freeze(
    rules: &Rules<'_>,
    place: &Place<'_>,
    held: &[Held],
    candidates: &mut Vec<Candidate>,
) {
    let refused = |one: &Candidate| {
        let refusal = |held: &&Held| matches!(held.code, Code::Xc04 | Code::Xc06 | Code::Xc14);
        held.iter().filter(refusal).any(|held| held.id == one.id)
    };
    for rule in &rules.all {
        let Rule::Full(ready) = rule else { continue };
        if ready.rule.gone == Gone::Freeze {
            let there: BTreeSet<ResourceId> = candidates.iter().map(|one| one.id.clone()).collect();
            let last = made_before(rules, ready, place).into_iter();
            candidates.extend(last.filter(|one| !there.contains(&one.id) && !refused(one)));
        }
    }
}
