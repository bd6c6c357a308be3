//! Silence is not withdrawal: a rule that gets more or fewer exports than it expects keeps what it
//! made last, and so does one that freezes what is gone.
//!
//! Refuses to make a part of a set that is not what was expected.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fields::build;
use super::full::Ready;
use super::{Candidate, Place, Rule, Rules};
use crate::collect::Code;
use crate::ident::ResourceId;
use crate::spec::rule::{Expect, Gone};

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
        let Some(wanted) = violated(ready.rule.expect, *count) else { continue };
        let id = &ready.rule.id;
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

/// What a rule made last, as if it made it again.
fn made_before(rules: &Rules<'_>, ready: &Ready, place: &Place<'_>) -> Vec<Candidate> {
    let last = place.previous.iter().filter(|one| one.rule.as_ref() == Some(&ready.rule.id));
    last.filter_map(|one| {
        Some(Candidate {
            id: one.id.clone(),
            from: one.from.clone(),
            fields: one.fields.clone(),
            meta: Arc::clone(&one.meta),
            target: build((rules.kinds)(one.id.kind())?, &one.id, &one.fields).ok()?,
            rule: Some(Arc::clone(&ready.rule)),
            revision: 0,
        })
    })
    .collect()
}

/// Adds what rules that freeze made before and would not make now.
pub(super) fn freeze(rules: &Rules<'_>, place: &Place<'_>, candidates: &mut Vec<Candidate>) {
    for rule in &rules.all {
        let Rule::Full(ready) = rule else { continue };
        if ready.rule.gone == Gone::Freeze {
            let there: BTreeSet<ResourceId> = candidates.iter().map(|one| one.id.clone()).collect();
            let last = made_before(rules, ready, place).into_iter();
            candidates.extend(last.filter(|one| !there.contains(&one.id)));
        }
    }
}
