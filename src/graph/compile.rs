//! A program and what was collected, made into a graph.
//!
//! Refuses to let another host's resource refuse this host's graph: what cannot be built is left
//! out and reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Edge, EdgeOrigin, Graph, Origin, Vertex, autoedge, cycle};
use crate::diag::{self, Diagnostic};
use crate::ident::ResourceId;
use crate::kind::{self, FieldError, Kind, Resource};
use crate::spec::{Collected, EdgeSpec, Program, ReceiveSpec, ResourceSpec};

/// A graph with what there is to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Ready for the engine.
    pub graph: Graph,
    /// Collected resources that were left out, and why: for the status and the log.
    pub messages: Vec<String>,
    /// Automatic edges that were left out, and why: for the debug log.
    pub notes: Vec<String>,
}

/// Builds all resources that are applied here and orders them. The error lists every local mistake
/// with its place, in the order of the file.
pub fn compile(program: &Program, collected: &[Collected]) -> Result<Compiled, Vec<Diagnostic>> {
    compile_with(kind::all(), program, collected)
}

/// [`compile`] with these kinds.
pub fn compile_with(
    kinds: &[&dyn Kind],
    program: &Program,
    collected: &[Collected],
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut compiled = Compiled::default();
    compiled.graph.name.clone_from(&program.name);
    let stated = stated_edges(program);
    let mut mistakes = cycle::declared_cycles(&stated);
    let here = |spec: &&ResourceSpec| !spec.export.as_ref().is_some_and(|export| export.hidden);
    // Gathered first: a map that is made of all at once has no room to spare.
    let built = program.resources.iter().filter(here).filter_map(|spec| {
        let vertex = build_local(kinds, spec).map_err(|found| mistakes.extend(found)).ok()?;
        Some((spec.id.clone(), Arc::new(vertex)))
    });
    compiled.graph.vertices = built.collect();
    if !mistakes.is_empty() {
        diag::sort(&mut mistakes);
        return Err(mistakes);
    }
    for one in collected {
        if let Err(reason) = add_collected(kinds, &mut compiled.graph, one) {
            compiled.messages.push(reason);
        }
    }
    compiled.graph.edges = declared_edges(&stated, &compiled.graph.vertices);
    compiled.notes = autoedge::add(&mut compiled.graph);
    Ok(compiled)
}

/// A mistake that a kind found in a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMistake {
    /// The field at fault; `None` when it is about the whole resource.
    pub field: Option<&'static str>,
    /// The mistake, at the field's value or else at the resource's name.
    pub diagnostic: Diagnostic,
}

/// Every mistake that its kind finds in the fields of `spec`. A kind that is not among `kinds`
/// finds none.
pub fn field_mistakes(kinds: &[&dyn Kind], spec: &ResourceSpec) -> Vec<FieldMistake> {
    let Some(kind) = kinds.iter().find(|kind| kind.name() == spec.id.kind()) else {
        return Vec::new();
    };
    let found = build(*kind, spec).err().unwrap_or_default();
    found.into_iter().map(|mistake| located(spec, mistake)).collect()
}

/// The resource as far as the file says it. What is received may be missing there: then something
/// that waits takes its place until it came.
fn build(kind: &dyn Kind, spec: &ResourceSpec) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
    kind.build(&spec.id, &spec.fields).or_else(|found| {
        let awaited = |one: &FieldError| {
            let field = one.field.filter(|field| !spec.fields.contains_key(field))?;
            spec.receives.get(field).map(|receive| (field, &receive.receive))
        };
        match found.iter().map(awaited).collect::<Option<Vec<_>>>().as_deref() {
            Some([(field, one), ..]) => Ok(kind::unfilled(field, &one.from, &one.key)),
            _ => Err(found.into_iter().filter(|one| awaited(one).is_none()).collect()),
        }
    })
}

pub(super) fn build_local(
    kinds: &[&dyn Kind],
    spec: &ResourceSpec,
) -> Result<Vertex, Vec<Diagnostic>> {
    let Some(kind) = kinds.iter().find(|kind| kind.name() == spec.id.kind()) else {
        let message = format!("{}: unknown kind `{}`", spec.id, spec.id.kind());
        return Err(vec![Diagnostic::error(spec.span, message)]);
    };
    let resource = build(*kind, spec).map_err(|found| {
        found.into_iter().map(|mistake| located(spec, mistake).diagnostic).collect::<Vec<_>>()
    })?;
    let receive = |(field, one): (&String, &ReceiveSpec)| (field.clone(), one.receive.clone());
    Ok(Vertex {
        id: spec.id.clone(),
        fields: spec.fields.clone(),
        meta: spec.meta.clone(),
        receives: spec.receives.iter().map(receive).collect(),
        origin: Origin::Local,
        resource,
    })
}

fn located(spec: &ResourceSpec, mistake: FieldError) -> FieldMistake {
    let FieldError { field, message, help } = mistake;
    let found = Diagnostic::error(spec.place(field), format!("{}: {message}", spec.id));
    FieldMistake { field, diagnostic: Diagnostic { help, ..found } }
}

fn add_collected(kinds: &[&dyn Kind], graph: &mut Graph, one: &Collected) -> Result<(), String> {
    let from: Vec<&str> = one.from.iter().map(|host| host.as_str()).collect();
    let from = from.join(", ");
    let left_out = |why: &str| Err(format!("XC07 {} from {from}: {why}; left out", one.id));
    if let Some(present) = graph.vertices.get(&one.id) {
        return match present.origin {
            Origin::Local => Err(format!("XC02 {}: local resource wins over {from}", one.id)),
            Origin::Collected { .. } => left_out("it was already collected"),
        };
    }
    if !kinds.iter().any(|kind| kind.name() == one.id.kind()) {
        return Err(format!("XC12 {} from {from}: unknown kind; left out", one.id));
    }
    let vertex = match build_collected(kinds, one) {
        Ok(vertex) => vertex,
        Err(mistakes) => {
            let why: Vec<String> = mistakes.into_iter().map(|mistake| mistake.message).collect();
            return left_out(&why.join("; "));
        }
    };
    graph.vertices.insert(one.id.clone(), Arc::new(vertex));
    Ok(())
}

/// Its vertex; a kind that is not among `kinds` has nothing to say.
pub(super) fn build_collected(
    kinds: &[&dyn Kind],
    one: &Collected,
) -> Result<Vertex, Vec<FieldError>> {
    let kind = kinds.iter().find(|kind| kind.name() == one.id.kind()).ok_or_else(Vec::new)?;
    Ok(Vertex {
        id: one.id.clone(),
        fields: one.fields.clone(),
        meta: one.meta.clone(),
        receives: BTreeMap::new(),
        origin: Origin::Collected { from: one.from.clone(), within: one.within.clone() },
        resource: kind.build(&one.id, &one.fields)?,
    })
}

/// All edges that the file says: the ones under `edges`, and one from each sender to who receives
/// from it.
pub fn stated_edges(program: &Program) -> Vec<EdgeSpec> {
    let hidden = |spec: &ResourceSpec| spec.export.as_ref().is_some_and(|export| export.hidden);
    let receivers = program.resources.iter().filter(|spec| !hidden(spec));
    let implied = receivers.flat_map(|spec| {
        spec.receives.values().map(|one| EdgeSpec {
            name: None,
            from: one.receive.from.clone(),
            to: spec.id.clone(),
            notify: false,
            from_span: one.from_span,
            to_span: one.span,
        })
    });
    program.edges.iter().cloned().chain(implied).collect()
}

/// The declared edges whose ends are both here; what is not collected yet has no edges yet. Of two
/// with the same ends one is made: it notifies if one of them does, and keeps the first name.
fn declared_edges(
    stated: &[EdgeSpec],
    vertices: &BTreeMap<ResourceId, Arc<Vertex>>,
) -> BTreeMap<(ResourceId, ResourceId), Edge> {
    let mut edges: BTreeMap<(ResourceId, ResourceId), Edge> = BTreeMap::new();
    for spec in stated {
        if !vertices.contains_key(&spec.from) || !vertices.contains_key(&spec.to) {
            continue;
        }
        let edge = edges.entry((spec.from.clone(), spec.to.clone())).or_insert_with(|| Edge {
            notify: false,
            origin: EdgeOrigin::Declared,
            name: None,
        });
        edge.notify |= spec.notify;
        if edge.name.is_none() {
            edge.name.clone_from(&spec.name);
        }
    }
    edges
}
