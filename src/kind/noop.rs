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

    fn build(&self, id: &ResourceId, _: &Fields) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        Ok(Arc::new(Noop { id: id.clone() }))
    }
}

#[derive(Debug)]
struct Noop {
    id: ResourceId,
}

#[async_trait]
impl Resource for Noop {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        if cx.refresh {
            tracing::info!("{}: a refresh reached it and ends here", self.id);
        }
        Ok(Outcome::Unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{build, context};
    use super::*;

    #[tokio::test]
    async fn it_is_always_right_and_a_refresh_ends_at_it() {
        let noop = build("noop", "n", &[("comment", "x")]).unwrap();
        assert_eq!(noop.watches(), []);
        for (apply, refresh) in [(true, false), (true, true), (false, true)] {
            let cx = Context { apply, refresh, ..context() };
            assert_eq!(noop.run(&cx).await, Ok(Outcome::Unchanged));
        }
    }
}
