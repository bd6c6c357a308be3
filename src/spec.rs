//! Desired state as plain values: what a user's file says, after it was understood.
//!
//! Refuses to read text, to know a kind's fields, or to be serialised: what is written to the store
//! has its own form in `collect`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::diag::Span;
use crate::ident::{HostName, ResourceId};

mod fields;
mod lifetime;
mod meta;
pub mod rule;

pub use fields::Fields;
pub use meta::{Limit, Meta, Retry, Semaphore, SemaphoreError};
pub use rule::{FullRule, HostSelector, Terms};

/// The value of one field. Scalars were read by the type that the kind's field table gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text; for unquoted scalars the raw text of the file (`0741` stays `0741`).
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// A map with text keys.
    Map(BTreeMap<String, Value>),
}

/// How a resource is published to other hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Published without being applied here; `@@` means this.
    pub hidden: bool,
    /// All else that is said about it, mostly nothing.
    pub terms: Arc<Terms>,
}

impl Default for Export {
    fn default() -> Self {
        Export { hidden: false, terms: Terms::usual() }
    }
}

/// Where the value of a field comes from when another resource sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Who sends it, and runs first.
    pub from: ResourceId,
    /// What it is called there.
    pub key: String,
}

/// [`Receive`] as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSpec {
    /// Where the value comes from.
    pub receive: Receive,
    /// Where the field is named.
    pub span: Span,
    /// Where the sender is named.
    pub from_span: Span,
}

/// One resource as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSpec {
    /// Kind and name, the export mark `@@` already taken off.
    pub id: ResourceId,
    /// The kind's own fields.
    pub fields: Fields,
    /// How the engine treats it.
    pub meta: Arc<Meta>,
    /// Fields whose values other resources send, by field.
    pub receives: BTreeMap<String, ReceiveSpec>,
    /// Set when it is published.
    pub export: Option<Export>,
    /// On which hosts it exists; on all without one.
    pub hosts: Option<Arc<HostSelector>>,
    /// Where its name stands in the file.
    pub span: Span,
    /// Where the values of its fields stand in the file, as far as they do.
    pub field_spans: Vec<(&'static str, Span)>,
}

impl ResourceSpec {
    /// Where the value of this field stands in the file, or else the name of the resource.
    pub fn place(&self, field: Option<&str>) -> Span {
        let mut places = self.field_spans.iter();
        let found = places.find(|(name, _)| Some(*name) == field);
        found.map_or(self.span, |(_, span)| *span)
    }
}

/// One edge as declared: `from` runs first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSpec {
    /// A label; not unique.
    pub name: Option<String>,
    /// Runs first.
    pub from: ResourceId,
    /// Runs after `from` succeeded.
    pub to: ResourceId,
    /// A change in `from` refreshes `to`.
    pub notify: bool,
    /// Where `from` is named.
    pub from_span: Span,
    /// Where `to` is named.
    pub to_span: Span,
}

/// One entry of `collect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectRule {
    /// mgmt's form, `{kind, pattern}`: takes every export of the kind; a non-empty pattern replaces
    /// the directory of a `file`.
    Legacy {
        /// The kind that is taken.
        kind: String,
        /// The directory that replaces the exporter's, with a final slash.
        pattern: Option<String>,
        /// Where the rule stands in the file.
        span: Span,
    },
    /// One that selects and rewrites.
    Full(Arc<FullRule>),
}

impl CollectRule {
    /// Whether it may take exports of this kind.
    pub fn takes(&self, kind: &str) -> bool {
        match self {
            CollectRule::Legacy { kind: own, .. } => own == kind,
            CollectRule::Full(rule) => match &rule.gather {
                Some(gather) => gather.id.kind() == kind,
                None => rule.kinds.iter().any(|own| own == kind),
            },
        }
    }
}

/// A whole file, understood.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Program {
    /// The name of the graph.
    pub name: String,
    /// All resources in file order, exported ones included.
    pub resources: Vec<ResourceSpec>,
    /// All edges in file order.
    pub edges: Vec<EdgeSpec>,
    /// All collect rules in file order.
    pub collect: Vec<CollectRule>,
}

/// A resource that the collector took from other hosts, final: rules applied, consent checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Collected {
    /// Kind and name here.
    pub id: ResourceId,
    /// Its fields, after the rule.
    pub fields: Fields,
    /// From the rule, never from the exporter.
    pub meta: Arc<Meta>,
    /// Who exports it; several when they agree.
    pub from: Vec<HostName>,
    /// The full rule that took it.
    pub rule: Option<Arc<str>>,
    /// The directory that no way to it may leave, clean and absolute, if there is one.
    pub within: Option<Arc<Path>>,
    /// Nobody exports it any more: it says the opposite of what it did, to be applied once.
    pub gone: bool,
}

impl fmt::Debug for Collected {
    /// Without the values: they may have been sealed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("id", &self.id)
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .field("from", &self.from)
            .field("rule", &self.rule)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}
