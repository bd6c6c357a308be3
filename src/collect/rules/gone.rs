//! What nobody exports any more, under a rule that wants it removed: the opposite of it, to be
//! applied once.
//!
//! Refuses to remove what may only be held, what anything else here manages, what the rule would
//! not let itself be talked into now, and anything as long as not all exports are known.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::expect::permits;
use super::full::Ready;
use super::owed::removes;
use super::settle::Subject;
use super::{Place, Rule, Rules};
use crate::collect::{Code, Held};
use crate::ident::ResourceId;
use crate::kind::Kind;
use crate::spec::Collected;

/// Adds the opposite of what rules made before, would not make now, and want removed. `resources`
/// are sorted by identity, and stay so.
pub(super) fn remove(
    rules: &Rules<'_>,
    place: &Place<'_>,
    held: &[Held],
    resources: &mut Vec<Collected>,
) {
    let mut left: Vec<Collected> = Vec::new();
    {
        let there: BTreeSet<&ResourceId> = resources.iter().map(|one| &one.id).collect();
        for ready in removing(rules) {
            let of_rule = |one: &&Collected| one.rule.as_ref() == Some(&ready.rule.id);
            let last = place.previous.iter().filter(of_rule);
            let last = last.filter(|one| !there.contains(&one.id));
            left.extend(last.filter_map(|one| what(rules, ready, place, one, held)));
        }
        left.extend(of_earlier_runs(rules, place, held, &there));
    }
    if left.is_empty() {
        return;
    }
    let subjects = |one: &Collected| Subject::of(rules.kinds, &one.id, &one.fields);
    let taken: BTreeSet<Subject> = resources.iter().flat_map(subjects).collect();
    for one in left {
        let its = subjects(&one);
        let managed = place.local.manages(rules.kinds, place.program, &one.id, &its);
        match managed || its.iter().any(|subject| taken.contains(subject)) {
            true => place.local.removed(&one.id),
            false => resources.push(one),
        }
    }
    resources.sort_by(|a, b| a.id.cmp(&b.id));
}

/// The rules that undo what is gone.
fn removing<'a>(rules: &'a Rules<'_>) -> impl Iterator<Item = &'a Ready> {
    let full = rules.all.iter().filter_map(|rule| match rule {
        Rule::Full(ready) => Some(&**ready),
        Rule::Legacy(_) => None,
    });
    full.filter(|ready| removes(&ready.rule))
}

/// What becomes of one that was made in this run.
fn what(
    rules: &Rules<'_>,
    ready: &Ready,
    place: &Place<'_>,
    one: &Collected,
    held: &[Held],
) -> Option<Collected> {
    let kind = (rules.kinds)(one.id.kind())?;
    match fate(kind, ready, place, one, held) {
        Fate::Forgotten => None,
        Fate::Stays => Some(one.clone()),
        Fate::Goes if one.gone => Some(one.clone()),
        Fate::Goes => {
            Some(Collected { fields: kind.inverse(&one.fields)?, gone: true, ..one.clone() })
        }
    }
}

/// What earlier runs made that goes now; what has no reason to go any more is forgotten, once all
/// is known.
fn of_earlier_runs(
    rules: &Rules<'_>,
    place: &Place<'_>,
    held: &[Held],
    there: &BTreeSet<&ResourceId>,
) -> Vec<Collected> {
    let owed = place.local.owed.all();
    if owed.is_empty() {
        return Vec::new();
    }
    let previous: BTreeSet<&ResourceId> = place.previous.iter().map(|one| &one.id).collect();
    let (mut going, mut forgotten) = (Vec::new(), BTreeSet::new());
    for one in owed {
        let ready = removing(rules).find(|ready| one.rule.as_ref() == Some(&ready.rule.id));
        let found = ready.zip((rules.kinds)(one.id.kind()));
        let Some((ready, kind)) = found.filter(|_| !there.contains(&one.id)) else {
            forgotten.insert(one.id);
            continue;
        };
        // What this run made or removes is not an earlier one's any more.
        if previous.contains(&one.id) {
            continue;
        }
        match fate(kind, ready, place, &Collected { gone: false, ..one.clone() }, held) {
            Fate::Forgotten => drop(forgotten.insert(one.id)),
            Fate::Stays => {}
            Fate::Goes => {
                let (meta, within) = (Arc::clone(&ready.rule.meta), ready.fence.clone());
                going.push(Collected { meta, within, ..one });
            }
        }
    }
    if place.local.is_complete() && !forgotten.is_empty() {
        place.local.owed.keep(|one| !forgotten.contains(&one.id));
    }
    going
}

enum Fate {
    /// Nobody removes it, now or later.
    Forgotten,
    /// It is as it is until more is known.
    Stays,
    Goes,
}

/// What becomes of something that its rule made before and would not make now.
fn fate(kind: &dyn Kind, ready: &Ready, place: &Place<'_>, one: &Collected, held: &[Held]) -> Fate {
    if !permits(ready, kind, one) {
        return Fate::Forgotten;
    }
    // What was begun goes on.
    if one.gone {
        return Fate::Goes;
    }
    let its = |held: &&Held| {
        held.id.kind() == one.id.kind() && held.from.iter().any(|host| one.from.contains(host))
    };
    for held in held.iter().filter(its) {
        match held.code {
            // Nobody can tell what it is now, so it stays what it was.
            Code::Xc05 | Code::Xc07 | Code::Xc12 => return Fate::Stays,
            // It may be this one, whatever it would be called here: that it is not taken is no
            // reason to remove it.
            Code::Xc06 | Code::Xc13 => return Fate::Forgotten,
            // It is not for this host any more.
            Code::Xc14 => {}
            _ if held.id == one.id => return Fate::Forgotten,
            _ => {}
        }
    }
    // What is not heard of may still be there.
    if place.local.is_complete() { Fate::Goes } else { Fate::Stays }
}
