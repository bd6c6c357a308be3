//! Silence is not withdrawal: a rule that gets more or fewer exports than it expects keeps what it
//! made last, and so does one that freezes what is gone.
//!
//! Refuses to make a part of a set that is not what was expected.

use std::collections::BTreeSet;

use super::{Candidate, Place, Rule, Rules};
use crate::collect::Code;
use crate::spec::Collected;
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
        let last = place.previous.iter().filter(|one| one.rule.as_ref() == Some(id));
        let before = candidates.len();
        candidates.extend(last.filter_map(|one| {
            let kind = (rules.kinds)(one.id.kind())?;
            Some(Candidate {
                id: one.id.clone(),
                from: one.from.clone(),
                fields: one.fields.clone(),
                meta: one.meta.clone(),
                target: super::fields::build(kind, &one.id, &one.fields).ok()?,
                rule: Some(ready.rule.clone()),
                revision: 0,
            })
        }));
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

/// With what rules that freeze made before and would not make now.
pub(super) fn frozen(
    rules: &Rules<'_>,
    mut resources: Vec<Collected>,
    place: &Place<'_>,
) -> Vec<Collected> {
    let freezing: BTreeSet<&str> = rules
        .all
        .iter()
        .filter_map(|rule| match rule {
            Rule::Full(ready) if ready.rule.gone == Gone::Freeze => Some(&*ready.rule.id),
            _ => None,
        })
        .collect();
    if freezing.is_empty() {
        return resources;
    }
    let local: BTreeSet<_> = place.program.resources.iter().map(|one| &one.id).collect();
    for old in place.previous {
        let freezes = old.rule.as_ref().is_some_and(|rule| freezing.contains(&**rule));
        let taken = resources.iter().any(|one| one.id == old.id);
        if freezes && !taken && !local.contains(&old.id) {
            resources.push(old.clone());
        }
    }
    resources.sort_by(|a, b| a.id.cmp(&b.id));
    resources
}
