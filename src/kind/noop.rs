//! The kind `noop`: does nothing and is always right. A name to hang edges on.
//!
//! Refuses to have effects.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::Fields;

/// The kind `noop`.
#[derive(Debug)]
pub(super) struct NoopKind;

const FIELDS: &[FieldDef] = &[FieldDef {
    name: "comment",
    ty: FieldType::Str,
    doc: "a remark for people; it has no effect",
}];

impl Kind for NoopKind {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn power(&self) -> Power {
        Power::Inert
    }

    fn build(&self, _: &ResourceId, _: &Fields) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        Ok(Arc::new(Noop))
    }
}

#[derive(Debug)]
struct Noop;

#[async_trait]
impl Resource for Noop {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, _: &Context) -> Result<Outcome, String> {
        Ok(Outcome::Unchanged)
    }
}
