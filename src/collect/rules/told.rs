//! What the collector does with each export, told on the way.
//!
//! Refuses to go another way than the collector.

use std::sync::Arc;

use super::{Rule, Rules, Site, Verdict, run_at};
use crate::collect::Export;
use crate::ident::ResourceId;
use crate::kind;
use crate::spec::{CollectRule, Collected, Program};

/// What became of one export.
pub(in crate::collect) struct Explain {
    /// The resource that it is here.
    pub(in crate::collect) became: Option<ResourceId>,
    /// Why it is none.
    pub(in crate::collect) held: Option<String>,
    /// A rule took it.
    pub(in crate::collect) claimed: bool,
    /// The first rule that did not take it, and what failed there.
    pub(in crate::collect) nearest: Option<(String, String)>,
    /// A word and what there is to say under it, in order.
    pub(in crate::collect) lines: Vec<(String, String)>,
}

/// [`run_at`], told for each export.
pub(in crate::collect) fn explain(
    site: &Site<'_>,
    exports: &[Arc<Export>],
    rules: &[CollectRule],
    local: &Program,
    previous: &[Collected],
) -> Vec<Explain> {
    let collection = run_at(site, exports, rules, local, previous);
    let rules = Rules::of(kind::find, site, rules, &mut Vec::new());
    let one = |export: &Arc<Export>| {
        let mut trace = Trace::default();
        let verdicts = rules.judge(export, &mut trace);
        let (mut became, mut held) = (None, None);
        for verdict in verdicts {
            let id = match verdict {
                Verdict::Taken(_, candidate) => Some(candidate.id),
                Verdict::Gathered(at) => match &rules.all[at] {
                    Rule::Full(rule) => rule.rule.gather.as_ref().map(|gather| gather.id.clone()),
                    Rule::Legacy(_) => None,
                },
                Verdict::Held(reason) => {
                    held.get_or_insert(reason.message);
                    None
                }
            };
            let Some(id) = id else { continue };
            let from = &export.address.from;
            let there = |one: &&Collected| one.id == id && one.from.contains(from);
            match collection.resources.iter().find(there) {
                Some(one) => drop(became.get_or_insert(one.id.clone())),
                None => {
                    let why = collection.held.iter().find(|one| one.id == id);
                    held = held.or(why.map(|one| one.message.clone()));
                }
            }
        }
        let Trace { lines, nearest, claimed } = trace;
        Explain { became, held, claimed, nearest, lines }
    };
    exports.iter().map(one).collect()
}

/// What happened to one export on its way through the rules, for people.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) lines: Vec<(String, String)>,
    pub(super) nearest: Option<(String, String)>,
    pub(super) claimed: bool,
}

impl Trace {
    pub(super) fn say(&mut self, word: &str, text: impl Into<String>) {
        self.lines.push((word.to_owned(), text.into()));
    }
}
