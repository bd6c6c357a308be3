//! From what the file says and what other hosts export to the graph that should run.
//!
//! Pure. Refuses to keep anything.

use std::sync::Arc;

use crate::collect::{self, Export};
use crate::diag::Diagnostic;
use crate::graph::{self, Graph};
use crate::ident::HostName;
use crate::spec::{Collected, Meta, Program, ResourceSpec, Semaphore};

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

/// Compiles.
pub(super) fn compile(
    program: &Program,
    exports: &[Arc<Export>],
    previous: &[Collected],
    me: &HostName,
    everywhere: &Everywhere,
) -> Result<Desired, Vec<Diagnostic>> {
    let collection = collect::run(exports, &program.collect, me, program, previous);
    let collected = collection.resources;
    let mut messages = collection.messages;
    let compiled = if everywhere.is_usual() {
        graph::compile(program, &collected)?
    } else {
        let (mut program, mut here) = (program.clone(), collected.clone());
        let resources = program.resources.iter_mut().map(|one| &mut one.meta);
        let metas = resources.chain(here.iter_mut().map(|one| &mut one.meta));
        metas.for_each(|meta| everywhere.apply(Arc::make_mut(meta)));
        graph::compile(&program, &here)?
    };
    messages.extend(compiled.messages);
    Ok(Desired { graph: compiled.graph, messages, notes: compiled.notes, collected })
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
