//! Rules in their full form: what one makes of one export.
//!
//! The order is: which fields stay, what is set, the name, consent, validation, containment.
//! Refuses to let a path out of the rule's directory, whoever wrote it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::fields::{build, check_fields, fence, leaves};
use super::one::Seen;
use super::{Candidate, One, Trace, consent, held};
use crate::collect::record::shown;
use crate::collect::{Code, Held};
use crate::ident::ResourceId;
use crate::kind::file::result_path;
use crate::kind::{FieldType, Kind};
use crate::matching::{Filter, Me, Scope, Template, TemplateError, Vars, literal_prefix};
use crate::spec::rule::Take;
use crate::spec::{Fields, FullRule, Value};

/// A rule, compiled.
pub(super) struct Ready {
    pub(super) rule: Arc<FullRule>,
    pub(super) filter: Filter,
    name: Option<Template>,
    set: Vec<(String, Setting)>,
    pub(super) gather: Option<Vec<(String, Setting)>>,
    /// The directory that no path may leave, as far as the rule names one.
    within: Option<String>,
    /// The same for whoever opens it.
    pub(super) fence: Option<Arc<Path>>,
}

/// A value whose texts are templates.
pub(super) enum Setting {
    Is(Value),
    Text(Template),
    List(Vec<Setting>),
    Map(Vec<(String, Setting)>),
}

impl Ready {
    pub(super) fn new(rule: &Arc<FullRule>) -> Result<Self, String> {
        let settings = |all: &BTreeMap<String, Value>, scope| {
            let one =
                |(name, value): (&String, &Value)| Ok((name.clone(), Setting::new(value, scope)?));
            all.iter().map(one).collect::<Result<Vec<_>, String>>()
        };
        let name = rule.name.as_ref().map(|name| Template::new(name, Scope::Export)).transpose()?;
        let gather = rule.gather.as_ref().map(|gather| settings(&gather.fields, Scope::Gather));
        Ok(Ready {
            filter: Filter::new(&rule.filter)?,
            name,
            set: settings(&rule.set, Scope::Export)?,
            gather: gather.transpose()?,
            within: within(rule).map(str::to_owned),
            fence: within(rule).and_then(fence),
            rule: Arc::clone(rule),
        })
    }

    /// What stands behind each message about what the rule did.
    pub(super) fn suffix(&self) -> String {
        format!(", {}", self.rule.label())
    }

    /// Whether what has this path, made of these fields, lies where the rule wants it.
    pub(super) fn contains(
        &self,
        kind: &dyn Kind,
        id: &ResourceId,
        fields: &Fields,
    ) -> Result<(), (Code, String)> {
        let Some(path) = path_of(kind, id, fields) else { return Ok(()) };
        match &self.within {
            Some(within) if leaves(&path, within) => {
                Err((Code::Xc04, format!("{} leaves {within}; refused", shown(&path))))
            }
            Some(_) => Ok(()),
            None => Err((Code::Xc04, "the rule names no directory for it; refused".to_owned())),
        }
    }
}

/// The directory that paths have to stay in: what the rule says, or else what it makes them of.
pub(super) fn within(rule: &FullRule) -> Option<&str> {
    let set = rule.gather.as_ref().map_or(&rule.set, |gather| &gather.fields);
    rule.within.as_deref().or(rule.into.as_deref()).or_else(|| match set.get("path") {
        Some(Value::Str(path)) => literal_prefix(path),
        _ => None,
    })
}

/// Where a resource of this kind works on the machine, if its fields say so.
fn path_of(kind: &dyn Kind, id: &ResourceId, fields: &Fields) -> Option<String> {
    match kind.places() {
        [] => None,
        _ if kind.name() == "file" => Some(result_path(id.name(), fields)),
        [place, ..] => match fields.get(place) {
            Some(Value::Str(path)) => Some(path.clone()),
            _ => Some(id.name().to_owned()),
        },
    }
}

impl Setting {
    fn new(value: &Value, scope: Scope) -> Result<Self, String> {
        Ok(match value {
            Value::Str(text) => Setting::Text(Template::new(text, scope)?),
            Value::List(items) => Setting::List(
                items.iter().map(|item| Setting::new(item, scope)).collect::<Result<_, _>>()?,
            ),
            Value::Map(entries) => Setting::Map(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Setting::new(value, scope)?)))
                    .collect::<Result<_, String>>()?,
            ),
            value => Setting::Is(value.clone()),
        })
    }

    /// Nothing in it comes from an export.
    pub(super) fn is_literal(&self) -> bool {
        match self {
            Setting::Is(_) => true,
            Setting::Text(template) => template.is_literal(),
            Setting::List(items) => items.iter().all(Setting::is_literal),
            Setting::Map(entries) => entries.iter().all(|(_, value)| value.is_literal()),
        }
    }

    /// The value of a field of this kind.
    pub(super) fn value(
        &self,
        kind: &dyn Kind,
        field: &str,
        vars: &Vars,
    ) -> Result<Value, (Code, String)> {
        let ty = kind.fields().iter().find(|one| one.name == field).map(|one| one.ty);
        let made = match (self, ty) {
            (Setting::Text(template), _) if kind.places().contains(&field) => {
                template.path(vars).map(Value::Str)
            }
            (Setting::Text(template), Some(FieldType::Str)) => template.text(vars).map(Value::Str),
            _ => self.any(vars),
        };
        made.map_err(|error| match error {
            TemplateError::Segment(_) => (Code::Xc04, format!("{error}; refused")),
            TemplateError::Other(_) => (Code::Xc05, format!("{error}; held")),
        })
    }

    /// [`Setting::value`] where some of what templates see was sealed.
    pub(super) fn value_of(
        &self,
        kind: &dyn Kind,
        field: &str,
        seen: &Seen,
    ) -> Result<Value, (Code, String)> {
        self.value(kind, field, seen.of(kind, field)).map_err(|(code, text)| {
            match seen.hides(kind, field) && !self.is_literal() {
                true => (code, format!("`{field}` has no value, and why is not told; held")),
                false => (code, text),
            }
        })
    }

    fn any(&self, vars: &Vars) -> Result<Value, TemplateError> {
        Ok(match self {
            Setting::Is(value) => value.clone(),
            Setting::Text(template) => template.value(vars)?,
            Setting::List(items) => {
                Value::List(items.iter().map(|item| item.any(vars)).collect::<Result<_, _>>()?)
            }
            Setting::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.any(vars)?)))
                    .collect::<Result<_, TemplateError>>()?,
            ),
        })
    }
}

/// Whether a rule that gathers may take an export.
pub(super) fn gathers(rule: &Ready, one: &One<'_>) -> Result<(), Held> {
    let address = &one.export.address;
    one.fields()
        .map(drop)
        .map_err(|(code, text)| held(address.id(), &address.from, code, &text, &rule.suffix()))
}

/// What the rule makes of an export, or why nothing.
pub(super) fn take(
    rule: &Ready,
    one: &One<'_>,
    me: &Me,
    trace: &mut Trace,
) -> Result<Candidate, Held> {
    let address = &one.export.address;
    let suffix = rule.suffix();
    let refuse = |id: ResourceId, (code, text): (Code, String)| {
        held(id, &address.from, code, &text, &suffix)
    };
    consent::kind(&rule.rule, one).map_err(|why| refuse(address.id(), why))?;
    one.fields().map_err(|why| refuse(address.id(), why))?;
    // A rule that makes nothing of the export's data needs no copy of them.
    let seen = match rule.name.is_none() && rule.set.is_empty() {
        true => Seen { open: Vars::of_host(me), opened: None },
        false => one.seen(me),
    };
    let id = match &rule.name {
        None => address.id(),
        Some(name) => {
            let name = name
                .text(&seen.open)
                .map_err(|error| refuse(address.id(), (Code::Xc05, format!("{error}; held"))))?;
            ResourceId::new(address.kind.as_str(), name)
        }
    };
    make(rule, one, &id, &seen, trace).map_err(|why| refuse(id, why))
}

fn make(
    rule: &Ready,
    one: &One<'_>,
    id: &ResourceId,
    seen: &Seen,
    trace: &mut Trace,
) -> Result<Candidate, (Code, String)> {
    let (kind, said) = (one.kind, &rule.rule);
    if id.name().is_empty() {
        return Err((Code::Xc07, "its name here is empty; held".to_owned()));
    }
    let mut fields = one.fields()?.clone();
    let dropped = keep(&said.take, &mut fields);
    // What the exporter had a word in, for the consents.
    let mut given = fields.clone();
    for (field, setting) in &rule.set {
        let value = setting.value_of(kind, field, seen)?;
        match seen.hides(kind, field) {
            true => trace.say("set", format!("{field}: not told, since fields are sealed")),
            false => tell_set(trace, field, fields.get(field), &value),
        }
        match setting.is_literal() {
            true => drop(given.remove(field)),
            false => drop(given.insert(field.clone(), value.clone())),
        }
        fields.insert(field.clone(), value);
    }
    for field in &said.unset {
        fields.remove(field);
        given.remove(field);
    }
    if let (Some(into), "file") = (&said.into, kind.name()) {
        fields.insert("dirname", Value::Str(into.clone()));
    }
    if !dropped.is_empty() {
        trace.say("dropped", dropped.join(", "));
    }
    check_fields(kind, &fields)?;
    consent::fields(said, kind.name(), &given, &fields)?;
    rule.contains(kind, id, &fields)?;
    let target = build(kind, id, &fields)?;
    if let Some(within) = &rule.within
        && target.is_some()
    {
        trace.say("within", within.as_str());
    }
    Ok(Candidate {
        id: id.clone(),
        from: vec![one.export.address.from.clone()],
        fields,
        meta: Arc::clone(&said.meta),
        target,
        within: rule.fence.clone(),
        rule: Some(Arc::clone(said)),
        revision: one.export.revision,
    })
}

/// Takes the fields out that the rule does not want, and says which.
fn keep(take: &Take, fields: &mut Fields) -> Vec<String> {
    let stays = |name: &str| match take {
        Take::All => true,
        Take::Only(names) => names.iter().any(|one| one == name),
        Take::Without(names) => !names.iter().any(|one| one == name),
    };
    let dropped: Vec<String> = fields.keys().filter(|name| !stays(name)).map(shown).collect();
    if !dropped.is_empty() {
        fields.retain(|name, _| stays(name));
    }
    dropped
}

fn tell_set(trace: &mut Trace, field: &str, before: Option<&Value>, after: &Value) {
    let text = |value: &Value| match value {
        Value::Str(text) => shown(text),
        Value::Int(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(entries) => format!("a map of {}", entries.len()),
    };
    let before = before.map_or_else(|| "(nothing)".to_owned(), text);
    trace.say("set", format!("{field}: {before} -> {}", text(after)));
}
