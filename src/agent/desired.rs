//! From what the file says and what other hosts export to the graph that should run.
//!
//! Pure. Refuses to keep anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::collect::explain::Explained;
use crate::collect::publish::{self, Published};
use crate::collect::{self, Export, Local, Site};
use crate::diag::Diagnostic;
use crate::graph::{self, Graph};
use crate::matching::here;
use crate::spec::{CollectRule, Collected, Meta, Program, ResourceSpec, Semaphore};

/// A graph to run, and what there is to say about how it came about.
pub(super) struct Desired {
    pub(super) graph: Graph,
    /// One line for each export that was held or refused, and each warning.
    pub(super) messages: Vec<String>,
    /// Automatic edges that were left out, and why.
    pub(super) notes: Vec<String>,
    /// The resources that came from exports, own ones included. The next compilation wants them: on
    /// a conflict between exporters, what was applied stays.
    pub(super) collected: Vec<Collected>,
}

/// What the command line says about every resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Everywhere {
    /// Each only looks.
    pub(super) noop: bool,
    /// Each holds this lock while it runs.
    pub(super) lock: Option<Semaphore>,
}

impl Everywhere {
    fn is_usual(&self) -> bool {
        !self.noop && self.lock.is_none()
    }

    fn apply(&self, meta: &mut Meta) {
        meta.noop |= self.noop;
        if let Some(lock) = &self.lock {
            meta.hold(lock.clone());
        }
    }
}

/// The program of the file, with what is known about it.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) program: &'a Program,
    /// What it manages, if that was wanted already.
    pub(super) local: &'a Local,
    /// What is known about this host and the others.
    pub(super) site: Site<'a>,
    pub(super) everywhere: &'a Everywhere,
}

/// Compiles.
pub(super) fn compile(
    of: Here<'_>,
    exports: &[Arc<Export>],
    previous: &[Collected],
) -> Result<Desired, Vec<Diagnostic>> {
    let Here { program, local, site, everywhere } = of;
    let mut program = here(program, site.me);
    twice(&program)?;
    let beside = (&*program, local);
    let collection = collect::run_beside(&site, exports, &program.collect, beside, previous);
    let collected = collection.resources;
    if !collection.edges.is_empty() {
        program.to_mut().edges.extend(collection.edges);
    }
    let mut messages = collection.messages;
    let compiled = if everywhere.is_usual() {
        graph::compile(&program, &collected)?
    } else {
        let (mut program, mut here) = (program.into_owned(), collected.clone());
        let resources = program.resources.iter_mut().map(|one| &mut one.meta);
        let metas = resources.chain(here.iter_mut().map(|one| &mut one.meta));
        metas.for_each(|meta| everywhere.apply(Arc::make_mut(meta)));
        graph::compile(&program, &here)?
    };
    messages.extend(compiled.messages);
    Ok(Desired { graph: compiled.graph, messages, notes: compiled.notes, collected })
}

/// What the program exports on this host.
pub(super) fn exports(program: &Program, site: &Site<'_>) -> Vec<Published> {
    publish::wanted(program, site.me, site.policy)
}

/// What becomes of each of `exports` on this host, after the rules and beside the resources of the
/// program; `previous` is what was collected last.
pub(super) fn explain(
    program: &Program,
    exports: &[Arc<Export>],
    previous: &[Collected],
    site: &Site<'_>,
) -> Vec<Explained> {
    let program = here(program, site.me);
    collect::explain::explain(site, exports, &program.collect, &program, previous)
}

/// Says which resources are there twice on this host. Those without `hosts` were compared when the
/// file was read.
fn twice(program: &Program) -> Result<(), Vec<Diagnostic>> {
    if program.resources.iter().all(|one| one.hosts.is_none()) {
        return Ok(());
    }
    let applied =
        program.resources.iter().filter(|one| !one.export.as_ref().is_some_and(|it| it.hidden));
    let mut seen = BTreeSet::new();
    let again = applied.filter(|one| !seen.insert(&one.id));
    let found: Vec<Diagnostic> = again
        .map(|one| {
            let message = format!("{} is declared twice for this host", one.id);
            let found = Diagnostic::error(one.span, message);
            found.with_help("let their `hosts` have no host in common")
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// `graph` with what these resources of the file say now; `None` when more than they has to be
/// compiled.
pub(super) fn amend(
    graph: &Arc<Graph>,
    resources: &[ResourceSpec],
    everywhere: &Everywhere,
) -> Option<Arc<Graph>> {
    if everywhere.is_usual() {
        return graph::amend(graph, resources);
    }
    let mut resources = resources.to_vec();
    resources.iter_mut().for_each(|one| everywhere.apply(Arc::make_mut(&mut one.meta)));
    graph::amend(graph, &resources)
}

/// A graph in which only values of other hosts' resources differ.
pub(super) struct Recollected {
    pub(super) graph: Arc<Graph>,
    pub(super) messages: Vec<String>,
    pub(super) collected: Vec<Collected>,
}

/// `graph`, which came of the same program and of `previous`, with what others export now; `None`
/// when everything has to be compiled.
pub(super) fn recollect(
    of: Here<'_>,
    exports: &[Arc<Export>],
    previous: &[Collected],
    graph: &Arc<Graph>,
) -> Option<Recollected> {
    let Here { program, local, site, everywhere } = of;
    if program.collect.iter().any(orders) {
        return None;
    }
    let program = here(program, site.me);
    let beside = (&*program, local);
    let collection = collect::run_beside(&site, exports, &program.collect, beside, previous);
    let collected = collection.resources;
    if !collected.iter().map(|one| &one.id).eq(previous.iter().map(|one| &one.id)) {
        return None;
    }
    let graph = if everywhere.is_usual() {
        graph::amend_collected(graph, &collected)?
    } else {
        let mut applied = collected.clone();
        applied.iter_mut().for_each(|one| everywhere.apply(Arc::make_mut(&mut one.meta)));
        graph::amend_collected(graph, &applied)?
    };
    Some(Recollected { graph, messages: collection.messages, collected })
}

/// Whether a rule asks for an order, which may change with what it takes.
fn orders(rule: &CollectRule) -> bool {
    match rule {
        CollectRule::Legacy { .. } => false,
        CollectRule::Full(rule) => {
            !(rule.before.is_empty() && rule.after.is_empty() && rule.notify.is_empty())
        }
    }
}

#[cfg(test)]
mod tests;
