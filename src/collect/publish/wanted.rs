//! What a program exports on one host: names and fields by its terms.
//!
//! Refuses to publish half of what was said: what cannot be made is named and left out.

use crate::collect::Address;
use crate::collect::policy::{Judge, Policy, Ruling};
use crate::collect::record::shown;
use crate::kind::{self, FieldType};
use crate::matching::{Me, Scope, Template, Vars, is_among};
use crate::spec::{Program, ResourceSpec, Terms, Value};

use super::{Published, Sealing};

/// What `program` exports on the host `me`. Meta parameters are never published.
pub fn wanted(program: &Program, me: &Me, policy: &Policy) -> Vec<Published> {
    let here = |one: &&ResourceSpec| {
        one.hosts.as_ref().is_none_or(|hosts| is_among(hosts, &me.host, &me.labels))
    };
    // Whoever cannot read it changes nothing; collectors take nothing new then.
    let judge = policy.judge().unwrap_or_default();
    let mut vars = None;
    let resources = program.resources.iter().filter(here);
    resources
        .filter_map(|resource| {
            let terms = &*resource.export.as_ref()?.terms;
            let mut published = Published {
                labels: terms.labels.clone(),
                to: terms.to.clone(),
                life: terms.lifetime,
                awaits: terms.when_ready.then(|| resource.id.clone()),
                ..Published::plain(
                    &terms.channel,
                    resource.id.kind(),
                    resource.id.name(),
                    resource.fields.clone(),
                )
            };
            if let Some(only) = &terms.only {
                published.fields.retain(|name, _| only.iter().any(|one| one == name));
            }
            if terms.name.is_some() || !terms.set.is_empty() {
                let vars = vars.get_or_insert_with(|| Vars::of_host(me));
                if let Err(why) = fill(resource, &mut published, vars) {
                    published.problem = Some(format!("XE01 {}: {why}", resource.id));
                }
            }
            let refusal = || denied(&published, me, &judge).or_else(|| missing(terms, &published));
            published.problem = published.problem.clone().or_else(refusal);
            if !terms.seal.is_empty() {
                published.sealing = Sealing::Wanted(terms.seal.clone());
            }
            Some(published)
        })
        .collect()
}

/// Says so when there is nothing to seal where something should be sealed.
fn missing(terms: &Terms, published: &Published) -> Option<String> {
    let lacks = |field: &&String| !published.fields.contains_key(field);
    let field = terms.seal.iter().find(lacks)?;
    let id = shown(&format!("{}[{}]", published.kind, published.name));
    Some(format!("XE06 {id}: `{field}` should be sealed and has no value"))
}

fn denied(published: &Published, me: &Me, judge: &Judge) -> Option<String> {
    let (channel, kind) = (published.channel.clone(), published.kind.clone());
    let address = Address { channel, kind, from: me.host.clone(), name: published.name.clone() };
    match judge.ruling(&address, &me.labels) {
        Ruling::Denied(number) => {
            let id = shown(&address.id().to_string());
            Some(format!("XE03 {id}: denied by policy rule {number}"))
        }
        Ruling::Allowed(_) | Ruling::Silent => None,
    }
}

fn fill(resource: &ResourceSpec, published: &mut Published, vars: &Vars) -> Result<(), String> {
    let Some(export) = &resource.export else { return Ok(()) };
    let template = |text: &str| Template::new(text, Scope::Host);
    if let Some(name) = &export.terms.name {
        published.name = template(name)?.text(vars).map_err(|why| why.to_string())?;
    }
    for (field, value) in &export.terms.set {
        published.fields.insert(field.clone(), made(resource, field, value, vars)?);
    }
    Ok(())
}

fn made(resource: &ResourceSpec, field: &str, value: &Value, vars: &Vars) -> Result<Value, String> {
    let fields = kind::find(resource.id.kind()).map(|kind| kind.fields()).unwrap_or_default();
    let is_text = fields.iter().any(|one| one.name == field && one.ty == FieldType::Str);
    match value {
        Value::Str(text) => {
            let template = Template::new(text, Scope::Host)?;
            let made =
                if is_text { template.text(vars).map(Value::Str) } else { template.value(vars) };
            made.map_err(|why| why.to_string())
        }
        Value::List(items) => {
            let items = items.iter().map(|item| made(resource, "", item, vars));
            items.collect::<Result<_, _>>().map(Value::List)
        }
        Value::Map(entries) => {
            let one = |(key, value): (&String, &Value)| {
                Ok((key.clone(), made(resource, "", value, vars)?))
            };
            entries.iter().map(one).collect::<Result<_, String>>().map(Value::Map)
        }
        value => Ok(value.clone()),
    }
}
