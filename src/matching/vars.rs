//! The variables of expressions and templates, as values that are never compiled.

use std::collections::BTreeMap;

use minijinja::Value as Jinja;

use super::{Me, Subject};
use crate::spec::{Fields, Value};

/// What an expression or a template sees.
#[derive(Clone, Debug)]
pub struct Vars(pub(super) Jinja);

impl Vars {
    /// Of one export, on this host.
    pub fn of_export(subject: &Subject<'_>, me: &Me) -> Self {
        let mut all = export(subject);
        all.insert("me", of_me(me));
        Vars(Jinja::from(all))
    }

    /// Of this host alone.
    pub fn of_host(me: &Me) -> Self {
        Vars(Jinja::from(BTreeMap::from([("me", of_me(me))])))
    }

    /// Of all exports that are gathered, in this order.
    pub fn of_all(subjects: &[Subject<'_>], me: &Me) -> Self {
        let exports: Vec<Jinja> = subjects.iter().map(|one| Jinja::from(export(one))).collect();
        Vars(Jinja::from(BTreeMap::from([("exports", Jinja::from(exports)), ("me", of_me(me))])))
    }
}

fn export(subject: &Subject<'_>) -> BTreeMap<&'static str, Jinja> {
    BTreeMap::from([
        ("name", Jinja::from(subject.name)),
        ("kind", Jinja::from(subject.kind)),
        ("host", Jinja::from(subject.host.as_str())),
        ("channel", Jinja::from(subject.channel)),
        ("labels", texts(subject.labels)),
        ("host_labels", texts(subject.host_labels)),
        ("fields", fields(subject.fields)),
    ])
}

fn of_me(me: &Me) -> Jinja {
    Jinja::from(BTreeMap::from([
        ("host", Jinja::from(me.host.as_str())),
        ("labels", texts(&me.labels)),
        ("facts", texts(&me.facts)),
    ]))
}

fn texts(map: &BTreeMap<String, String>) -> Jinja {
    Jinja::from(map.iter().map(|(k, v)| (k.as_str(), Jinja::from(v))).collect::<BTreeMap<_, _>>())
}

fn fields(fields: &Fields) -> Jinja {
    Jinja::from(fields.iter().map(|(name, value)| (name, jinja(value))).collect::<BTreeMap<_, _>>())
}

fn jinja(value: &Value) -> Jinja {
    match value {
        Value::Bool(value) => Jinja::from(*value),
        Value::Int(value) => Jinja::from(*value),
        Value::Str(text) => Jinja::from(text),
        Value::List(items) => Jinja::from(items.iter().map(jinja).collect::<Vec<_>>()),
        Value::Map(entries) => Jinja::from(
            entries.iter().map(|(k, v)| (k.as_str(), jinja(v))).collect::<BTreeMap<_, _>>(),
        ),
    }
}
