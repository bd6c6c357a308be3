//! The order that rules ask for: what they make before or after other resources.
//!
//! Refuses an edge that would close a cycle: its rule makes nothing then, and the rest runs.

use std::collections::{BTreeMap, BTreeSet};

use super::Rule;
use crate::collect::Code;
use crate::diag::Span;
use crate::graph::stated_edges;
use crate::ident::ResourceId;
use crate::spec::rule::Reference;
use crate::spec::{Collected, EdgeSpec, FullRule, Program};

/// How many edges one rule may ask for.
const EDGES_MAX: usize = 100_000;

/// The edges of all rules; a rule whose edges close a cycle loses what it made.
pub(super) fn apply(
    rules: &[Rule<'_>],
    mut resources: Vec<Collected>,
    local: &Program,
    messages: &mut Vec<String>,
) -> (Vec<Collected>, Vec<EdgeSpec>) {
    if full(rules).all(|rule| references(rule).next().is_none()) {
        return (resources, Vec::new());
    }
    loop {
        let mut after: Followers = BTreeMap::new();
        let stated = stated_edges(local);
        stated.iter().for_each(|edge| add(&mut after, edge));
        let mut edges = Vec::new();
        let mut refused = None;
        'rules: for rule in full(rules) {
            let wanted = count(rule, &resources);
            if wanted > EDGES_MAX {
                refused = Some((rule, format!("{wanted} edges, {EDGES_MAX} are permitted")));
                break;
            }
            for edge in of_rule(rule, &resources) {
                if let Some(way) = way(&after, &edge.to, &edge.from) {
                    let way: Vec<String> =
                        way.iter().chain(way.first()).map(ToString::to_string).collect();
                    refused = Some((rule, format!("cycle {}", way.join(" -> "))));
                    break 'rules;
                }
                add(&mut after, &edge);
                edges.push(edge);
            }
        }
        let Some((rule, why)) = refused else { return (resources, edges) };
        let (code, label) = (Code::Xc09, rule.label());
        messages.push(format!("{code} {label}: {why}; rule held"));
        resources.retain(|one| one.rule.as_ref() != Some(&rule.id));
    }
}

/// The edges of all rules, known not to close a cycle.
pub(super) fn of(rules: &[Rule<'_>], resources: &[Collected]) -> Vec<EdgeSpec> {
    full(rules).flat_map(|rule| of_rule(rule, resources)).collect()
}

fn full<'a>(rules: &'a [Rule<'_>]) -> impl Iterator<Item = &'a FullRule> {
    rules.iter().filter_map(|rule| match rule {
        Rule::Full(ready) => Some(&*ready.rule),
        Rule::Legacy(_) => None,
    })
}

fn references(rule: &FullRule) -> impl Iterator<Item = &Reference> {
    rule.after.iter().chain(&rule.before).chain(&rule.notify)
}

fn of_rule<'a>(rule: &'a FullRule, resources: &'a [Collected]) -> Vec<EdgeSpec> {
    let mine = made_by(&rule.id, resources);
    let mut edges = Vec::new();
    let mut link = |from: &ResourceId, to: &ResourceId, notify| {
        if from != to {
            let (from, to, name) = (from.clone(), to.clone(), None);
            let (from_span, to_span) = (Span::default(), Span::default());
            edges.push(EdgeSpec { name, from, to, notify, from_span, to_span });
        }
    };
    let all = |list: &'a [Reference]| -> Vec<&'a ResourceId> {
        list.iter().flat_map(|one| behind(one, resources)).collect()
    };
    let (after, before, notify) = (all(&rule.after), all(&rule.before), all(&rule.notify));
    for own in mine {
        after.iter().for_each(|other| link(other, own, false));
        before.iter().for_each(|other| link(own, other, false));
        notify.iter().for_each(|other| link(own, other, true));
    }
    edges
}

/// How many edges the rule asks for. It grows with the product of what two rules make, which
/// exporters decide.
fn count(rule: &FullRule, resources: &[Collected]) -> usize {
    let others: usize = references(rule).map(|one| behind(one, resources).len()).sum();
    made_by(&rule.id, resources).len().saturating_mul(others)
}

fn made_by<'a>(id: &str, resources: &'a [Collected]) -> Vec<&'a ResourceId> {
    let mine = |one: &&Collected| one.rule.as_deref() == Some(id);
    resources.iter().filter(mine).map(|one| &one.id).collect()
}

/// The resources that a reference means.
fn behind<'a>(reference: &'a Reference, resources: &'a [Collected]) -> Vec<&'a ResourceId> {
    match reference {
        Reference::Resource(id) => vec![id],
        Reference::Rule(rule) => made_by(rule, resources),
    }
}

type Followers = BTreeMap<ResourceId, BTreeSet<ResourceId>>;

fn add(after: &mut Followers, edge: &EdgeSpec) {
    after.entry(edge.from.clone()).or_default().insert(edge.to.clone());
}

/// A way from one to the other along the edges, both included.
fn way(after: &Followers, from: &ResourceId, to: &ResourceId) -> Option<Vec<ResourceId>> {
    let mut came: BTreeMap<&ResourceId, &ResourceId> = BTreeMap::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            let mut way = vec![at.clone()];
            let mut last = at;
            while let Some(before) = came.get(last).filter(|_| last != from) {
                way.push((*before).clone());
                last = before;
            }
            way.reverse();
            // From the one that the edge would start at.
            way.rotate_right(1);
            return Some(way);
        }
        for next in after.get(at).into_iter().flatten() {
            if next != from && !came.contains_key(next) {
                came.insert(next, at);
                open.push(next);
            }
        }
    }
    None
}
