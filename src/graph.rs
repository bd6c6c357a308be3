//! The graph: resources built and ordered, ready for the engine.
//!
//! Pure, and the only module that names petgraph. Refuses to run anything and to know the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ident::{HostName, ResourceId};
use crate::kind::Resource;
use crate::spec::{Fields, Meta, Receive};

mod amend;
mod autoedge;
mod compile;
mod cycle;
mod rank;

pub use amend::{amend, amend_collected};
pub use autoedge::add as add_automatic_edges;
pub use compile::{Compiled, FieldMistake, compile, compile_with, field_mistakes, stated_edges};
pub use cycle::declared_cycles;
pub use rank::ranks;

/// Resources and their order. Edges only name vertices that are in the graph, and close no cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The name in the file.
    pub name: String,
    /// All resources that are applied here.
    pub vertices: BTreeMap<ResourceId, Arc<Vertex>>,
    /// All edges by (first, second); the first runs before the second.
    pub edges: BTreeMap<(ResourceId, ResourceId), Edge>,
}

/// One resource of the graph. Two are equal when they say the same; the built resource is not
/// compared.
#[derive(Clone)]
pub struct Vertex {
    /// Kind and name.
    pub id: ResourceId,
    /// The kind's own fields.
    pub fields: Fields,
    /// How the engine treats it.
    pub meta: Arc<Meta>,
    /// Fields whose values other resources send.
    pub receives: BTreeMap<String, Receive>,
    /// Who wants it.
    pub origin: Origin,
    /// What watches and runs.
    pub resource: Arc<dyn Resource>,
}

impl fmt::Debug for Vertex {
    /// Without the values: those of other hosts may have been sealed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vertex")
            .field("id", &self.id)
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Vertex {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.fields == other.fields
            && self.meta == other.meta
            && self.receives == other.receives
            && self.origin == other.origin
    }
}

impl Eq for Vertex {}

/// Who wants a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This host's own file.
    Local,
    /// Other hosts export it.
    Collected {
        /// All that do, when they agree.
        from: Vec<HostName>,
        /// The directory that it must not leave, if there is one.
        within: Option<Arc<Path>>,
    },
}

impl Origin {
    /// The directory that the resource must not leave, if there is one.
    pub fn within(&self) -> Option<Arc<Path>> {
        match self {
            Origin::Local => None,
            Origin::Collected { within, .. } => within.clone(),
        }
    }
}

/// An edge's data. Equal edges are the same edge across two graphs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// A change in the first refreshes the second.
    pub notify: bool,
    /// Written by a person or derived.
    pub origin: EdgeOrigin,
    /// A label; not unique.
    pub name: Option<String>,
}

/// Where an edge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeOrigin {
    /// The file says so.
    Declared,
    /// From what the resources manage.
    Automatic,
}

impl Graph {
    /// Takes over each vertex of `old` that says the same, with its resource: that may remember
    /// what its runs did. Whoever compares the two from now on compares pointers.
    pub fn keep(&mut self, old: &Graph) {
        for (id, vertex) in &mut self.vertices {
            if let Some(before) = old.vertices.get(id).filter(|before| *before == vertex) {
                *vertex = Arc::clone(before);
            }
        }
    }

    /// The paths that the resources manage.
    pub fn managed_paths(&self) -> BTreeSet<PathBuf> {
        self.vertices.values().filter_map(|vertex| vertex.resource.hints().path).collect()
    }
}

#[cfg(test)]
mod tests;
