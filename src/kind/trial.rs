//! Building and running a resource in the tests of the kinds.
//!
//! Refuses to be part of the agent.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Context, FieldError, Outcome, Resource, find};
use crate::ident::{HostName, ResourceId};
use crate::spec::Value;
use crate::store::Store;
use crate::store::memory::MemoryStore;

/// Fields as they stand in a file.
pub(super) type Given<'a> = &'a [(&'a str, Value)];

/// A resource of text fields.
pub(super) fn build(
    kind: &str,
    name: &str,
    fields: &[(&str, &str)],
) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
    let values: Vec<(&str, Value)> =
        fields.iter().map(|(key, text)| (*key, Value::Str((*text).to_owned()))).collect();
    build_values(kind, name, &values)
}

/// A resource of any fields.
pub(super) fn build_values(
    kind: &str,
    name: &str,
    fields: &[(&str, Value)],
) -> Result<Arc<dyn Resource>, Vec<FieldError>> {
    let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    find(kind).unwrap().build(&ResourceId::new(kind, name), &fields)
}

/// A run that may change things, on a store of its own.
pub(super) fn context() -> Context {
    context_on(Arc::new(MemoryStore::new()))
}

/// A run that may change things, on this store.
pub(super) fn context_on(store: Arc<dyn Store>) -> Context {
    Context {
        store,
        host: HostName::parse("h1").unwrap(),
        state_dir: Path::new("/nonexistent/state").into(),
        apply: true,
        refresh: false,
        outbox: super::Outbox::default(),
        managed: super::Managed::default(),
        mover: super::Mover::default(),
        ways: super::Ways::default(),
        within: None,
        cancel: CancellationToken::new(),
    }
}

/// The words of a change that was made.
pub(super) fn changed(result: Result<Outcome, String>) -> String {
    match result {
        Ok(Outcome::Changed(words)) => words,
        other => panic!("not a change: {other:?}"),
    }
}

/// The words of a change that was not allowed.
pub(super) fn would_change(result: Result<Outcome, String>) -> String {
    match result {
        Ok(Outcome::WouldChange(words)) => words,
        other => panic!("not a change that was left: {other:?}"),
    }
}

/// The fields at fault, `-` for what is about the whole resource.
pub(super) fn mistakes(kind: &str, name: &str, fields: &[(&str, Value)]) -> Vec<&'static str> {
    let errors = build_values(kind, name, fields).err().unwrap_or_default();
    errors.iter().map(|error| error.field.unwrap_or("-")).collect()
}
