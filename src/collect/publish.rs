//! The publish planner: what this host has in the store and what it wants there in, transactions out.
//!
//! Refuses to touch what another host published.

use crate::spec::{Fields, Program};

/// One export that this host wants in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The routing scope.
    pub channel: String,
    /// The kind.
    pub kind: String,
    /// The name that it is published under.
    pub name: String,
    /// All fields that are set.
    pub fields: Fields,
}

/// What `program` exports. Meta parameters are never published.
pub fn wanted(program: &Program) -> Vec<Published> {
    program
        .resources
        .iter()
        .filter_map(|resource| {
            let export = resource.export.as_ref()?;
            Some(Published {
                channel: export.channel.clone(),
                kind: resource.id.kind().to_owned(),
                name: resource.id.name().to_owned(),
                fields: resource.fields.clone(),
            })
        })
        .collect()
}
