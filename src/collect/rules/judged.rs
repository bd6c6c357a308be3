//! What was said about each export, kept until the export, the rules or the site differ: a change
//! of one export among many costs the judgement of one.
//!
//! Refuses to keep anything that another set of rules has said.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Site, Verdict};
use crate::collect::policy::Policy;
use crate::collect::{Export, HostInfo};
use crate::ident::HostName;
use crate::matching::Me;
use crate::spec::CollectRule;

/// What was said last, and under which circumstances.
#[derive(Default)]
pub(super) struct Judgements(Mutex<Last>);

#[derive(Default)]
struct Last {
    under: Option<Under>,
    said: Vec<(Arc<Export>, Arc<[Verdict]>)>,
    judged: usize,
    /// How often the circumstances were other ones.
    epoch: u64,
}

/// All that a judgement depends on beside the export.
#[derive(PartialEq)]
struct Under {
    me: Me,
    hosts: Vec<(HostName, HostInfo)>,
    policy: Policy,
    rules: Vec<CollectRule>,
}

impl Under {
    fn of(site: &Site<'_>, rules: &[CollectRule]) -> Self {
        let hosts = site.hosts.iter().map(|(host, info)| (host.clone(), info.clone()));
        Under {
            me: site.me.clone(),
            hosts: hosts.collect(),
            policy: site.policy.clone(),
            rules: rules.to_vec(),
        }
    }

    fn is(&self, site: &Site<'_>, rules: &[CollectRule]) -> bool {
        self.me == *site.me
            && self.policy == *site.policy
            && self.rules == rules
            && self.hosts.len() == site.hosts.len()
            && self.hosts.iter().map(|(host, info)| (host, info)).eq(site.hosts.iter())
    }
}

impl Judgements {
    /// What `judge` says of each of `exports`, in their order; asked only about those of which
    /// nothing was said under the same circumstances.
    pub(super) fn of(
        &self,
        exports: &[Arc<Export>],
        site: &Site<'_>,
        rules: &[CollectRule],
        judge: impl Fn(&Export) -> Vec<Verdict>,
    ) -> Vec<Arc<[Verdict]>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.under.as_ref().is_some_and(|under| under.is(site, rules)) {
            let epoch = last.epoch + 1;
            *last = Last { under: Some(Under::of(site, rules)), epoch, ..Last::default() };
        }
        let mut known = std::mem::take(&mut last.said).into_iter().peekable();
        let mut judged = 0;
        let mut said = Vec::with_capacity(exports.len());
        for export in exports {
            // Both are sorted by address; if they were not, more would be judged again.
            while known.next_if(|(old, _)| old.address < export.address).is_some() {}
            let same = known.next_if(|(old, _)| Arc::ptr_eq(old, export));
            let verdicts = match same {
                Some((_, verdicts)) => verdicts,
                None => {
                    judged += 1;
                    Arc::from(judge(export))
                }
            };
            said.push((Arc::clone(export), verdicts));
        }
        let verdicts = said.iter().map(|(_, verdicts)| Arc::clone(verdicts)).collect();
        (last.said, last.judged) = (said, judged);
        verdicts
    }

    /// Another number whenever exports were judged under other circumstances than before.
    pub(super) fn epoch(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// How many exports were judged in the last run.
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).judged
    }
}

impl std::fmt::Debug for Judgements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judgements").field("judged", &self.count()).finish_non_exhaustive()
    }
}
