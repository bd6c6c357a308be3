//! What was taken from several hosts, against each other and against the local graph.
//!
//! Refuses to choose between exporters unless the rule says how: what differs is held, and what was
//! applied before stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::judged::Judgements;
use super::owed::{self, Owed};
use super::shrinking::Shrinking;
use super::waiting::Waiting;
use super::{Candidate, Kinds, Place, subject};
use crate::collect::{Code, Held};
use crate::ident::{HostName, ResourceId};
use crate::kind;
use crate::matching::Globs;
use crate::spec::rule::{Conflict, label};
use crate::spec::{CollectRule, Collected, Fields, Program};

/// One identity that at least one exporter may have here.
struct Winner {
    collected: Collected,
    target: Option<PathBuf>,
}

/// The resources that stay; what does not is added to `held`. `candidates` are sorted by identity.
pub(super) fn settle(
    kinds: Kinds,
    candidates: Vec<Candidate>,
    place: &Place<'_>,
    held: &mut Vec<Held>,
) -> Vec<Collected> {
    if candidates.is_empty() {
        return Vec::new();
    }
    let local = place.local.of(kinds, place.program);
    let mut winners = Vec::new();
    for group in candidates.chunk_by(|a, b| a.id == b.id) {
        let Some(first) = group.first() else { continue };
        match local.fields.get(&first.id) {
            Some(fields) => held.extend(against_local(group, fields, place.me)),
            None => winners.extend(among_exporters(group, place, held)),
        }
    }
    one_per_target(winners, local, place, held)
}

/// What a program manages, found when it is first asked for: each of its resources has to be built
/// for that. And what its rules said of each export last.
#[derive(Debug, Default)]
pub struct Local {
    managed: OnceLock<Managed>,
    pub(super) judgements: Judgements,
    pub(super) shrinking: Shrinking,
    pub(super) waiting: Waiting,
    pub(super) owed: Owed,
}

/// The resources of the local graph, and where they work.
#[derive(Debug)]
struct Managed {
    fields: BTreeMap<ResourceId, Fields>,
    targets: BTreeMap<PathBuf, ResourceId>,
    /// What they are about that is no path.
    things: BTreeSet<Subject>,
}

/// What a resource is about, whatever its name: what undoes it must leave alone what another one is
/// about, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A path, whatever the kind.
    Path(PathBuf),
    /// Something that its kind names.
    Thing(&'static str, String),
}

impl Subject {
    /// All of a resource with these fields.
    pub(super) fn of(kinds: Kinds, id: &ResourceId, fields: &Fields) -> Vec<Subject> {
        let Some(kind) = kinds(id.kind()) else { return Vec::new() };
        let path = kind.build(id, fields).ok().and_then(|built| built.hints().path);
        let thing = kind.subject(id, fields).map(|text| Subject::Thing(kind.name(), text));
        path.map(Subject::Path).into_iter().chain(thing).collect()
    }
}

impl Local {
    fn of(&self, kinds: Kinds, program: &Program) -> &Managed {
        self.managed.get_or_init(|| Managed::of(kinds, program))
    }

    /// It is this time now, counted from any moment: rules that hold a set do so for a while.
    /// `complete` says that all exports are known that the rules want.
    pub fn at(&self, now: Duration, complete: bool) {
        self.shrinking.at(now);
        self.waiting.at(now, complete);
    }

    /// When the first rule ceases to hold its last set: the exports have to be looked at then.
    pub fn next_look(&self) -> Option<Duration> {
        self.shrinking.next().into_iter().chain(self.waiting.next()).min()
    }

    /// Something that changed is not taken yet, since its rule waits for more.
    pub fn is_waiting(&self) -> bool {
        self.waiting.next().is_some()
    }

    /// All exports are known that the rules want.
    pub(super) fn is_complete(&self) -> bool {
        self.waiting.is_complete()
    }

    /// Whether a resource of this host has this identity or is about one of these.
    pub(super) fn manages(
        &self,
        kinds: Kinds,
        program: &Program,
        id: &ResourceId,
        subjects: &[Subject],
    ) -> bool {
        let managed = self.of(kinds, program);
        let is_about = |subject: &Subject| match subject {
            Subject::Path(path) => managed.targets.contains_key(path),
            Subject::Thing(..) => managed.things.contains(subject),
        };
        managed.fields.contains_key(id) || subjects.iter().any(is_about)
    }

    /// For another program: what an earlier run of the agent made is owed its removal still.
    pub fn anew(&self) -> Local {
        let local = Local::default();
        local.owe(self.owed.all());
        local
    }

    /// These, of an earlier run of the agent, are owed their removal when they are gone.
    pub fn owe(&self, earlier: Vec<Collected>) {
        self.owed.set(earlier);
    }

    /// The removal of this one was done.
    pub fn removed(&self, id: &ResourceId) {
        self.owed.keep(|one| one.id != *id);
    }

    /// What the next run of the agent would owe its removal, after `collected` was made by `rules`
    /// on the host `me`.
    pub fn owing(
        &self,
        rules: &[CollectRule],
        collected: &[Collected],
        me: &HostName,
    ) -> Vec<Collected> {
        owed::of(kind::find, rules, collected, self.owed.all(), me)
    }

    /// A person takes the next set of this rule as it is; false when the rule holds none.
    pub fn accept(&self, rule: &str) -> bool {
        self.shrinking.accept(rule)
    }

    /// How many exports the rules were asked about in the last run: those that differ.
    pub fn judged(&self) -> usize {
        self.judgements.count()
    }
}

impl Managed {
    fn of(kinds: Kinds, program: &Program) -> Self {
        let (fields, targets, things) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut managed = Managed { fields, targets, things };
        let here = program
            .resources
            .iter()
            .filter(|resource| !resource.export.as_ref().is_some_and(|export| export.hidden));
        for resource in here {
            managed.fields.insert(resource.id.clone(), resource.fields.clone());
            for subject in Subject::of(kinds, &resource.id, &resource.fields) {
                match subject {
                    Subject::Path(path) => {
                        managed.targets.entry(path).or_insert_with(|| resource.id.clone());
                    }
                    thing => drop(managed.things.insert(thing)),
                }
            }
        }
        managed
    }
}

/// The local resource wins; that is worth a word unless all say the same, or it is our own export.
fn against_local(group: &[Candidate], local: &Fields, me: &HostName) -> Option<Held> {
    let others: Vec<HostName> = group
        .iter()
        .filter(|candidate| candidate.from != [me.clone()] && candidate.fields != *local)
        .flat_map(|candidate| candidate.from.clone())
        .collect();
    let id = group.first().filter(|_| !others.is_empty())?.id.clone();
    let (code, rules) = (Code::Xc02, suffix(group));
    let hosts = names(&others);
    let message = format!("{code} {}: local resource wins over {hosts}{rules}", subject(&id));
    Some(Held { id, from: others, code, message })
}

/// Equal ones are one resource. Otherwise what was applied before stays while somebody still says
/// so, and the rest is held.
fn among_exporters(group: &[Candidate], place: &Place<'_>, held: &mut Vec<Held>) -> Option<Winner> {
    let first = group.first()?;
    if group.iter().all(|candidate| candidate.fields == first.fields) {
        return Some(winner(first, group));
    }
    if let Some(chosen) = chosen(group) {
        return Some(winner(chosen, group));
    }
    let stays = place.previous.iter().find(|collected| collected.id == first.id);
    let code = Code::Xc01;
    let mut from: Vec<HostName> = group.iter().flat_map(|one| one.from.clone()).collect();
    from.dedup();
    let (id, hosts, fields) = (subject(&first.id), names(&from), differing(group));
    let differ = if from.len() == 1 { "differs" } else { "differ" };
    let message = format!("{code} {id}: {hosts} {differ} in {fields}; held{}", suffix(group));
    held.push(Held { id: first.id.clone(), from, code, message });
    let kept = group
        .iter()
        .find(|candidate| stays.is_some_and(|collected| collected.fields == candidate.fields))?;
    Some(winner(kept, group))
}

/// The one that the rule's own word chooses.
fn chosen(group: &[Candidate]) -> Option<&Candidate> {
    let rule = group.first()?.rule.as_ref()?;
    if group.iter().any(|one| one.rule.as_ref().is_none_or(|other| other.id != rule.id)) {
        return None;
    }
    match &rule.conflict {
        Conflict::Hold => None,
        // Of two with one revision the first host's, so that all collectors choose alike.
        Conflict::Newest => group.iter().rev().max_by_key(|one| one.revision),
        Conflict::Prefer(globs) => {
            let globs = Globs::new(globs).ok()?;
            let rank =
                |one: &Candidate| one.from.iter().filter_map(|h| globs.first(h.as_str())).min();
            let best = group.iter().filter_map(rank).min()?;
            let mut ranked = group.iter().filter(|one| rank(one) == Some(best));
            let first = ranked.next()?;
            // Several that are preferred alike have to agree.
            ranked.all(|one| one.fields == first.fields).then_some(first)
        }
    }
}

/// Names the rules that took these.
fn suffix(group: &[Candidate]) -> String {
    let rules: BTreeSet<&str> =
        group.iter().filter_map(|one| Some(&*one.rule.as_ref()?.id)).collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    match rules[..] {
        [] => String::new(),
        [one] => format!(", {}", label(one)),
        _ => format!(", rules {}", rules.join(", ")),
    }
}

fn winner(kept: &Candidate, group: &[Candidate]) -> Winner {
    let agree = group.iter().filter(|candidate| candidate.fields == kept.fields);
    let mut from: Vec<HostName> = agree.flat_map(|candidate| candidate.from.clone()).collect();
    from.dedup();
    Winner {
        collected: Collected {
            id: kept.id.clone(),
            fields: kept.fields.clone(),
            meta: Arc::clone(&kept.meta),
            from,
            rule: kept.rule.as_ref().map(|rule| Arc::clone(&rule.id)),
            within: kept.within.clone(),
            gone: false,
        },
        target: kept.target.clone(),
    }
}

/// The names of the fields in which not all agree.
fn differing(group: &[Candidate]) -> String {
    let all: BTreeSet<&str> = group.iter().flat_map(|candidate| candidate.fields.keys()).collect();
    let differ = |name: &&str| {
        let mut values = group.iter().map(|candidate| candidate.fields.get(name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    all.into_iter().filter(differ).collect::<Vec<_>>().join(", ")
}

/// Holds what has the target of a local resource, and all that share one target, except the one
/// that had it before.
fn one_per_target(
    winners: Vec<Winner>,
    local: &Managed,
    place: &Place<'_>,
    held: &mut Vec<Held>,
) -> Vec<Collected> {
    let mut shared: BTreeMap<PathBuf, Vec<Collected>> = BTreeMap::new();
    let mut stay = Vec::new();
    for Winner { collected, target } in winners {
        match target {
            Some(path) => shared.entry(path).or_default().push(collected),
            None => stay.push(collected),
        }
    }
    for (path, mut group) in shared {
        let owner = local.targets.get(&path);
        if owner.is_none() && group.len() == 1 {
            stay.append(&mut group);
            continue;
        }
        let code = Code::Xc03;
        let subjects: Vec<String> = group.iter().map(|collected| subject(&collected.id)).collect();
        let subjects = subjects.join(", ");
        let whose = owner.map(|id| format!(" as local {id}")).unwrap_or_default();
        let path = path.display();
        let message = format!("{code} {subjects}: same target {path}{whose}; held");
        let mut before = group.iter().filter(|collected| was_there(collected, place));
        let keeps = match (owner, before.next(), before.next()) {
            (None, Some(one), None) => Some(one.id.clone()),
            _ => None,
        };
        for collected in group {
            if Some(&collected.id) == keeps.as_ref() {
                stay.push(collected);
            } else {
                let Collected { id, from, .. } = collected;
                held.push(Held { id, from, code, message: message.clone() });
            }
        }
    }
    stay.sort_by(|a, b| a.id.cmp(&b.id));
    stay
}

fn was_there(collected: &Collected, place: &Place<'_>) -> bool {
    place.previous.iter().any(|old| old.id == collected.id && old.fields == collected.fields)
}

fn names(hosts: &[HostName]) -> String {
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}
