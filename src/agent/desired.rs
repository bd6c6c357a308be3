//! From what the file says and what other hosts export to the graph that should run.
//!
//! Pure. Refuses to keep anything.

use std::sync::Arc;

use crate::collect::{self, Export};
use crate::diag::Diagnostic;
use crate::graph::{self, Graph};
use crate::ident::HostName;
use crate::spec::{Collected, Program};

/// A graph to run, and what there is to say about how it came about.
pub(super) struct Desired {
    pub(super) graph: Arc<Graph>,
    /// One line for each export that was held or refused, and each warning.
    pub(super) messages: Vec<String>,
    /// The resources that came from exports, own ones included. The next compilation wants them: on
    /// a conflict between exporters, what was applied stays.
    pub(super) collected: Vec<Collected>,
}

/// Compiles. `noop` makes every resource only look.
pub(super) fn compile(
    program: &Program,
    exports: &[Arc<Export>],
    previous: &[Collected],
    me: &HostName,
    noop: bool,
) -> Result<Desired, Vec<Diagnostic>> {
    let collection = collect::run(exports, &program.collect, me, program, previous);
    let collected = collection.resources;
    let mut messages = collection.messages;
    let compiled = if noop {
        let mut program = program.clone();
        program.resources.iter_mut().for_each(|one| one.meta.noop = true);
        let mut quiet = collected.clone();
        quiet.iter_mut().for_each(|one| one.meta.noop = true);
        graph::compile(&program, &quiet)?
    } else {
        graph::compile(program, &collected)?
    };
    messages.extend(compiled.messages);
    Ok(Desired { graph: Arc::new(compiled.graph), messages, collected })
}
