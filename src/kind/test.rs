//! The kind `test`: a double for trying out files, sending and receiving. It has a field of each
//! type, fails when it is told to, and sends known values.
//!
//! It watches nothing. Refuses to have effects besides a line in the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::fields::Reader;
use super::{Context, FieldDef, FieldError, FieldType, Kind, Outcome, Power, Resource, Watch};
use crate::ident::ResourceId;
use crate::spec::{Fields, Value};

/// The kind `test`.
#[derive(Debug)]
pub(super) struct TestKind;

/// What `answer` is.
const ANSWER: i64 = 42;

const fn field(name: &'static str, ty: FieldType, doc: &'static str) -> FieldDef {
    FieldDef { name, ty, doc }
}

const FIELDS: &[FieldDef] = &[
    field("bool", FieldType::Bool, "a truth value"),
    field("str", FieldType::Str, "a text"),
    field("anotherstr", FieldType::Str, "another text"),
    field("int", FieldType::Int, "a whole number of 64 bits"),
    field("int8", FieldType::Int, "a whole number of 8 bits"),
    field("int16", FieldType::Int, "a whole number of 16 bits"),
    field("int32", FieldType::Int, "a whole number of 32 bits"),
    field("int64", FieldType::Int, "a whole number of 64 bits"),
    field("uint", FieldType::Int, "a whole number that is not negative"),
    field("uint8", FieldType::Int, "a whole number of 8 bits that is not negative"),
    field("uint16", FieldType::Int, "a whole number of 16 bits that is not negative"),
    field("uint32", FieldType::Int, "a whole number of 32 bits that is not negative"),
    field("uint64", FieldType::Int, "a whole number that is not negative"),
    field("slicestring", FieldType::StrList, "a list of texts"),
    field("mapstring", FieldType::StrMap, "a map of texts"),
    field("validate_bool", FieldType::Bool, "true refuses the resource"),
    field("validate_error", FieldType::Str, "refuses the resource with this text"),
    field("send_value", FieldType::Str, "what is sent as `hello`"),
    field("expect_recv", FieldType::StrList, "fields that have to be set when it runs"),
    field("only_show", FieldType::StrList, "the fields that the log shows, in place of all"),
    field("comment", FieldType::Str, "a remark for people; it has no effect"),
];

const SENDS: &[FieldDef] = &[
    field("hello", FieldType::Str, "what `send_value` holds"),
    field("answer", FieldType::Int, "always 42"),
];

/// Numbers that do not reach as far as 64 bits do.
const RANGES: [(&str, i64, i64); 8] = [
    ("int8", i8::MIN as i64, i8::MAX as i64),
    ("int16", i16::MIN as i64, i16::MAX as i64),
    ("int32", i32::MIN as i64, i32::MAX as i64),
    ("uint", 0, i64::MAX),
    ("uint8", 0, u8::MAX as i64),
    ("uint16", 0, u16::MAX as i64),
    ("uint32", 0, u32::MAX as i64),
    ("uint64", 0, i64::MAX),
];

impl Kind for TestKind {
    fn name(&self) -> &'static str {
        "test"
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

    fn build(
        &self,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
        let mut reader = Reader::new(fields);
        for (name, least, most) in RANGES {
            reader.number(name, least..=most, "");
        }
        if reader.flag("validate_bool") {
            let message = "`validate_bool` is true, which refuses the resource".to_owned();
            reader.refuse("validate_bool", message, "remove it");
        }
        if let Some(text) = reader.owned("validate_error") {
            reader.refuse("validate_error", text, "remove it");
        }
        let expected = names("expect_recv", &mut reader);
        let only = names("only_show", &mut reader);
        let all = fields.iter().filter(|(name, _)| only.is_empty() || only.contains(*name));
        let shown = all.map(|(name, value)| format!(" {name}={value:?}")).collect();
        let missing = expected.into_iter().find(|name| !fields.contains_key(name));
        let hello = reader.raw("send_value");
        reader.done(Arc::new(Double { id: id.clone(), shown, missing, hello }) as Arc<dyn Resource>)
    }
}

/// Names of fields.
fn names(list: &'static str, reader: &mut Reader) -> BTreeSet<String> {
    let names: BTreeSet<String> = reader.list(list).unwrap_or_default().into_iter().collect();
    for name in names.iter().filter(|name| !FIELDS.iter().any(|field| field.name == **name)) {
        let message = format!("`{list}` has `{name}`, which is no field");
        reader.refuse(list, message, "name fields of this kind");
    }
    names
}

#[derive(Debug)]
struct Double {
    id: ResourceId,
    shown: String,
    missing: Option<String>,
    hello: Option<String>,
}

#[async_trait]
impl Resource for Double {
    fn watches(&self) -> Vec<Watch> {
        Vec::new()
    }

    async fn run(&self, cx: &Context) -> Result<Outcome, String> {
        tracing::info!("{}:{}", self.id, self.shown);
        if let Some(name) = &self.missing {
            return Err(format!("`{name}` was not received; add it below `recv`"));
        }
        if let Some(hello) = &self.hello {
            cx.outbox.put("hello", Value::Str(hello.clone()));
        }
        cx.outbox.put("answer", Value::Int(ANSWER));
        Ok(super::passed_on(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{build, build_values, changed, context};
    use super::*;

    #[test]
    fn it_is_refused_when_it_says_so_and_where_a_number_does_not_fit() {
        let list = |name: &str| Value::List(vec![Value::Str(name.to_owned())]);
        let cases: [(&str, Value); 6] = [
            ("validate_bool", Value::Bool(true)),
            ("validate_error", Value::Str("no".to_owned())),
            ("int8", Value::Int(128)),
            ("uint64", Value::Int(-1)),
            ("expect_recv", list("nothing")),
            ("only_show", list("nothing")),
        ];
        for (field, value) in cases {
            let errors = build_values("test", "t", &[(field, value)]).unwrap_err();
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].field, Some(field));
        }
        for (name, least, most) in RANGES {
            for edge in [least, most] {
                assert!(build_values("test", "t", &[(name, Value::Int(edge))]).is_ok(), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn it_sends_known_values_and_a_refresh_passes_through() {
        let cx = context();
        let test = build("test", "t", &[("send_value", "hi")]).unwrap();
        assert_eq!(test.run(&cx).await, Ok(Outcome::Unchanged));
        let sent = cx.outbox.take();
        assert_eq!(sent.get("hello"), Some(&Value::Str("hi".to_owned())));
        assert_eq!(sent.get("answer"), Some(&Value::Int(42)));
        changed(test.run(&Context { refresh: true, ..cx }).await);
    }

    #[tokio::test]
    async fn a_field_that_has_to_be_received_is_missed_until_it_is_set() {
        let expect = ("expect_recv", Value::List(vec![Value::Str("str".to_owned())]));
        let test = build_values("test", "t", std::slice::from_ref(&expect)).unwrap();
        let error = test.run(&context()).await.unwrap_err();
        assert_eq!(error, "`str` was not received; add it below `recv`");
        let received = ("str", Value::Str("x".to_owned()));
        let test = build_values("test", "t", &[expect, received]).unwrap();
        assert_eq!(test.run(&context()).await, Ok(Outcome::Unchanged));
    }
}
