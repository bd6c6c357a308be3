//! The kind `value`: hands a value on. What it has, from the file or from another resource, is what
//! it sends.
//!
//! It watches nothing. Refuses to have effects; a refresh passes through it.

use std::sync::Arc;

use async_trait::async_trait;

use super::fields::Reader;
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::{Fields, Value};

/// The kind `value`.
#[derive(Debug)]
pub(super) struct ValueKind;

const FIELDS: &[FieldDef] = &[FieldDef {
    name: "any",
    ty: FieldType::Str,
    doc: "the value, as it is written; absent sends nothing",
}];

const SENDS: &[FieldDef] = &[
    FieldDef { name: "any", ty: FieldType::Str, doc: "the value" },
    FieldDef { name: "value", ty: FieldType::Str, doc: "the value, too" },
];

impl Kind for ValueKind {
    fn name(&self) -> &'static str {
        "value"
    }

    fn fields(&self) -> &'static [FieldDef] {
        FIELDS
    }

    fn sends(&self) -> &'static [FieldDef] {
        SENDS
    }

    fn power(&self) -> Power {
        Power::Inert
    }

    fn build(&self, _: &ResourceId, fields: &Fields) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let reader = Reader::new(fields);
        let any = reader.raw("any");
        reader.done(Arc::new(Handed { any }) as Arc<dyn Resource>)
    }
}

#[derive(Debug)]
struct Handed {
    any: Option<String>,
}

#[async_trait]
impl Resource for Handed {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        if let Some(any) = &self.any {
            for sent in SENDS {
                cx.outbox.put(sent.name, Value::Str(any.clone()));
            }
        }
        Ok(super::passed_on(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{build, changed, context, would_change};
    use super::*;

    #[tokio::test]
    async fn what_it_has_is_sent_and_nothing_is_sent_when_it_has_none() {
        let cx = context();
        for text in ["0741", ""] {
            let value = build("value", "v", &[("any", text)]).unwrap();
            assert_eq!(value.run(&cx).await, Ok(Outcome::Unchanged));
            let sent = Value::Str(text.to_owned());
            let expected = [("any", &sent), ("value", &sent)];
            let found = cx.outbox.take();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
        build("value", "v", &[]).unwrap().run(&cx).await.unwrap();
        assert_eq!(cx.outbox.take(), Fields::new());
    }

    #[tokio::test]
    async fn a_refresh_passes_through() {
        let value = build("value", "v", &[]).unwrap();
        let refreshed = Context { refresh: true, ..context() };
        changed(value.run(&refreshed).await);
        would_change(value.run(&Context { apply: false, ..refreshed }).await);
    }
}
